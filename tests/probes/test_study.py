"""Curves, ablation, calibration, sensitivity, cost: equal to other probes where they meet."""

import numpy as np
import pytest
import torch
import tyro

from probes import ablation as ablation_probe
from probes import calibration as calibration_probe
from probes import cost, curves, sensitivity
from probes.cli.study_settings import StudySettings
from probes.cost import CostSettings
from probes.jobs.job import TableKind
from probes.metrics.calibration_error import ECE_BINS, calibration_error, class_probabilities
from probes.metrics.confidence_intervals import means
from probes.models.losses import cross_entropy, logistic
from probes.stability import measure
from tests.probes.commands import assert_refused, run_probe

SMALL = {"task": "digits", "n": 10, "draws": 2, "steps": 12}


def table_of(p, **more):
    """What the stability probe measures, by draw and size of the ensemble."""
    table = measure(p=p, **(SMALL | more)).table
    return table.set_index(["ensemble", "draw"])


def assert_same(rows, expected, names=("train_loss", "test_loss", "test_score")):
    rows = rows.set_index("draw")
    for name in names:
        found = [rows.loc[draw, name] for draw in expected.index]
        assert found == pytest.approx(expected[name].tolist(), rel=2e-4, abs=1e-6)


@pytest.fixture(scope="module")
def curve():
    return curves.measure(p=[0.0, 0.4], **SMALL)


def test_curves_of_lora_end_where_the_stability_probe_ends(curve):
    end = curve.rows[curve.rows["step"] == SMALL["steps"]]
    for p in (0.0, 0.4):
        rows = end[(end["method"] == "LoRA") & (end["p"] == p)]
        assert_same(rows, table_of(p).loc[0])


def test_all_curves_begin_at_the_frozen_network(curve):
    start = curve.rows[curve.rows["step"] == 0]
    assert len(start) == 8
    assert start.groupby("draw")["test_loss"].nunique().tolist() == [1, 1]


def test_adalora_ends_with_the_ranks_of_lora(curve):
    end = curve.rows[curve.rows["step"] == SMALL["steps"]]
    assert set(end["ranks"]) == {2 * 8}
    first = curve.rows[(curve.rows["step"] == 1) & (curve.rows["method"] == "AdaLoRA")]
    assert set(first["ranks"]) == {12 + 10}


def test_the_best_checkpoint_is_no_worse_than_the_end(curve):
    assert (curve.summary["rise"] >= 0).all()
    assert (curve.summary["best_loss"] <= curve.summary["test_loss"]).all()


@pytest.fixture(scope="module")
def ablation():
    return ablation_probe.measure(p=0.4, ensemble=3, **SMALL)


def variant(result, part, name):
    return result.rows[(result.rows["part"] == part) & (result.rows["variant"] == name)]


STATISTICS = ("train_loss", "test_loss", "test_score", "beta", "gap")


def test_arms_of_the_ablation_are_what_the_stability_probe_measures(ablation):
    dropped, plain = table_of(0.4, ensemble=3), table_of(0.0)
    same = [
        ("dropout when", "training and ensemble", dropped.loc[3]),
        ("dropout when", "training alone", dropped.loc[0]),
        ("dropout when", "never", plain.loc[0]),
        ("dropped where", "both", dropped.loc[0]),
        ("inference", "expected weight", dropped.loc[0]),
        ("inference", "ensemble", dropped.loc[3]),
    ]
    for part, name, expected in same:
        assert_same(variant(ablation, part, name), expected, STATISTICS)
    rescaled = table_of(0.4, ensemble=3, rescale=True)
    assert_same(variant(ablation, "inference", "rescaled, no masks"), rescaled.loc[0], STATISTICS)
    assert_same(variant(ablation, "inference", "rescaled, ensemble"), rescaled.loc[3], STATISTICS)


def test_differences_are_paired_and_zero_at_the_reference(ablation):
    summary = ablation.summary.set_index(["part", "variant"])
    assert summary.loc[("inference", "expected weight"), "difference"] == 0
    ensemble = variant(ablation, "inference", "ensemble").set_index("draw")["test_loss"]
    expected = variant(ablation, "inference", "expected weight").set_index("draw")["test_loss"]
    found = summary.loc[("inference", "ensemble"), "difference"]
    assert found == pytest.approx((ensemble - expected).mean())


def test_every_place_is_measured_once_a_draw(ablation):
    where = ablation.rows[ablation.rows["part"] == "dropped where"]
    assert sorted(where["variant"].unique()) == [
        "both", "columns of A", "entries", "inputs", "rank", "rows of B",
    ]  # fmt: skip
    assert len(where) == 6 * 2


def test_sensitivity_is_the_stability_probe_over_a_grid():
    result = sensitivity.measure(p=[0.4], samples=[1, 2], **SMALL)
    for samples in (1, 2):
        expected = table_of(0.4, samples=samples, ensemble=samples)
        rows = result.rows[result.rows["samples"] == samples]
        for inference, size in (("expected weight", 0), ("ensemble", samples)):
            assert_same(rows[rows["inference"] == inference], expected.loc[size], STATISTICS)


def by_hand(probabilities, labels):
    """Expected calibration error, bin by bin."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    total = 0.0
    for number in range(ECE_BINS):
        low, high = number / ECE_BINS, (number + 1) / ECE_BINS
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            distance = (right[inside].mean() - confidence[inside].mean()).abs()
            total += float(distance * inside.double().mean())
    return total


@pytest.mark.parametrize("loss", [cross_entropy, logistic], ids=lambda loss: loss.name)
def test_calibration_error_is_the_definition(loss):
    generator = torch.Generator().manual_seed(0)
    rows = 4 if loss is cross_entropy else 1
    outputs = 2 * torch.randn(rows, 200, generator=generator, dtype=torch.float64)
    labels = torch.randint(4 if rows == 4 else 2, (200,), generator=generator)
    targets = torch.eye(4)[labels].T if rows == 4 else labels.unsqueeze(0)
    probabilities, found = class_probabilities(loss, outputs, targets.double())
    assert torch.equal(found, labels)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(200, dtype=torch.float64))
    assert calibration_error(probabilities, labels) == pytest.approx(by_hand(probabilities, labels))


@pytest.fixture(scope="module")
def calibration():
    return calibration_probe.measure(p=0.4, ensemble=3, **SMALL)


def test_calibration_is_measured_on_the_other_half_of_the_held_out_data(calibration):
    """At the end, losses on both halves average to the stability probe's test loss."""
    end = calibration.rows[calibration.rows["step"] == SMALL["steps"]]
    held_out = 1797 - SMALL["n"]
    first = held_out // 2
    for inference, size in (("expected weight", 0), ("ensemble", 3)):
        rows = end[(end["inference"] == inference) & (end["p"] == 0.4)]
        together = first * rows["validation_loss"] + (held_out - first) * rows["test_loss"]
        expected = table_of(0.4, ensemble=3).loc[size]["test_loss"].tolist()
        assert (together / held_out).tolist() == pytest.approx(expected, rel=2e-4)


def test_the_best_checkpoint_has_the_least_validation_loss(calibration):
    keys = ["p", "inference", "draw"]
    least = calibration.rows.groupby(keys)["validation_loss"].min()
    best = calibration.best.set_index(keys)["validation_loss"]
    assert best.sort_index().tolist() == least.sort_index().tolist()


def test_the_diagram_lies_between_zero_and_one(calibration):
    diagram = calibration.more[TableKind.DIAGRAM]
    assert diagram[["confidence", "accuracy"]].min().min() >= 0
    assert diagram[["confidence", "accuracy"]].max().max() <= 1
    assert set(diagram["inference"]) == {"no masks", "expected weight", "ensemble"}


def test_the_figure_of_calibration_shows_the_summary(calibration):
    figure = calibration.plot()
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 2]
    points = means(calibration.rows, ["p", "inference", "step"], ["ece"])
    shown = np.concatenate([line.get_ydata() for line in lines])
    assert sorted(shown) == pytest.approx(sorted(points["ece"]))


def test_peak_memory_grows_with_groups_and_not_with_passes():
    result = cost.measure(
        width=48, heads=4, batch=4, tokens=16, rounds=1, samples=[1, 4], ensemble=2
    )
    memory = result.summary.set_index(["variant", "N"])["memory"]
    one_pass, four = (float(memory["N passes", count]) for count in (1, 4))
    # Beside the activations there is what a step holds anyway.
    assert float(memory["one grouped pass", 4]) > 2 * four
    assert four == pytest.approx(one_pass, rel=0.1)
    assert memory["LoRA again (control)", 0].tolist() == pytest.approx([1.0, 1.0])
    assert (result.rows.query("variant == 'LoRA'")["ratio"] == 1).all()


def test_means_leave_out_what_is_not_there_and_keep_the_order():
    rows = curves.measure(task="ridge", p=[0.5, 0.1], methods="LoRA", n=6, draws=3, steps=3).rows
    table = means(rows, ["p"], ["test_loss", "nothing"])
    assert table["p"].tolist() == [0.5, 0.1]
    assert list(table) == ["p", "draws", "test_loss", "test_loss_low", "test_loss_high"]


@pytest.mark.parametrize("name", ["curves", "ablation", "calibration", "sensitivity"])
def test_a_probe_prints_keeps_and_goes_on(name, tmp_path):
    flags = ["--task", "breast_cancer", "--n", "8", "--draws", "2", "--steps", "5", "--p", "0.4"]
    done = run_probe(name, *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "breast_cancer, n = 8" in done.stdout
    out = tmp_path / "runs" / name
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert {"rows.parquet", "manifest.json"} <= {path.name for path in out.iterdir()}
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert run_probe(name, *flags, "--json", cwd=tmp_path).returncode == 0
    assert cells == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("curves", ["--methods", "DoRA"], ["methods must be LoRA or AdaLoRA", "DoRA"]),
        ("curves", ["--p", "1"], ["p must be in [0, 1)"]),
        ("ablation", ["--p", "0"], ["p must be in (0, 1)"]),
        ("ablation", ["--ensemble", "0"], ["ensemble must be at least 1"]),
        ("calibration", ["--task", "ridge"], ["task must be one with classes"]),
        ("sensitivity", ["--samples", "0"], ["samples must be at least 1"]),
        ("cost", ["--width", "100", "--heads", "7"], ["width must be a multiple of heads = 7"]),
        ("cost", ["--device", "cuda:99"], ["device must be one of cpu"]),
    ],
)
def test_bad_values_are_refused(name, arguments, words, tmp_path):
    assert_refused(name, arguments, words, tmp_path)


@pytest.mark.parametrize("kind", [StudySettings, CostSettings])
def test_settings_document_every_flag(kind, capsys):
    with pytest.raises(SystemExit):
        tyro.cli(kind, args=["--help"])
    shown = capsys.readouterr().out
    for word in ("--seed", "--out", "--p"):
        assert word in shown
