"""The ensemble probe: the same members as everywhere, Jensen's inequality, the 1/N law."""

import json

import numpy as np
import pytest
import torch

from probes import ensemble
from probes.cells.ensemble_rivals import PREDICTORS
from probes.ensemble import EnsembleSettings, _spread
from probes.jobs.job import TableKind
from probes.models.losses import cross_entropy, logistic, squared
from probes.stability import measure
from tests.probes.commands import assert_refused, run_here

SMALL = {"task": "breast_cancer", "n": 12, "draws": 2, "steps": 15}


@pytest.fixture(scope="module")
def result():
    return ensemble.measure(p=[0.0, 0.5], sizes=[4, 1], **SMALL)


def test_ensembles_are_those_of_the_stability_probe(result):
    table = measure(p=[0.0, 0.5], ensemble=[1, 4], **SMALL).table
    keys = ["p", "draw", "ensemble"]
    expected = table.set_index(keys)[["test_loss", "test_score"]].sort_index()
    found = result.rows.set_index(keys)[["test_loss", "test_score"]].sort_index()
    assert len(found) == len(expected) == 2 * 2 * 3
    for name in found:
        assert found[name].tolist() == pytest.approx(expected[name].tolist(), rel=1e-5)


def test_no_ensemble_is_worse_than_its_average_member(result):
    rows = result.rows[result.rows["ensemble"] > 0]
    assert (rows["test_loss"] <= rows["members"] * (1 + 1e-12)).all()
    alone = rows[rows["ensemble"] == 1]
    assert alone["test_loss"].tolist() == pytest.approx(alone["members"].tolist())


def test_without_masks_nothing_depends_on_n(result):
    summary = result.summary.query("p == 0")
    assert summary["test_loss"].max() == pytest.approx(summary["test_loss"].min(), rel=1e-6)


def test_the_law_meets_the_largest_ensemble(result):
    rows = result.rows[result.rows["ensemble"] == 4]
    assert rows["predicted"].tolist() == pytest.approx(rows["test_loss"].tolist())


def test_a_network_that_diverged_has_no_prediction():
    rows = ensemble.measure(p=[0.5], sizes=[1, 2], **SMALL | {"draws": 1, "lr": 1e30}).rows
    assert len(rows) == 3
    assert rows["predicted"].isna().all()


@pytest.mark.parametrize("loss", [cross_entropy, logistic, squared], ids=lambda loss: loss.name)
def test_the_spread_is_the_trace_of_hessian_and_covariance(loss):
    generator = torch.Generator().manual_seed(0)
    classes = 3 if loss is cross_entropy else 1
    outputs = torch.randn(5, classes, 4, generator=generator, dtype=torch.float64)
    targets = torch.eye(3, 4, dtype=torch.float64)[:classes]
    total = 0.0
    for example in range(4):
        one = targets[:, example : example + 1]
        mean = outputs.mean(0)[:, example]
        hessian = torch.autograd.functional.hessian(
            lambda z, one=one: loss.value(z.unsqueeze(1), one).sum(), mean
        )
        covariance = torch.cov(outputs[:, :, example].T).reshape(classes, classes)
        total += torch.trace(hessian @ covariance).item() / 4
    assert _spread(loss, outputs, targets) == pytest.approx(total, rel=1e-9)


def test_the_figure_draws_every_rate(result):
    left, right = result.plot().axes
    assert [c.get_label() for c in left.containers] == ["p = 0", "p = 0.5"]
    expected = result.summary.query("p == 0.5 and ensemble > 0")["test_score"]
    assert right.containers[1][0].get_ydata().tolist() == expected.tolist()


@pytest.fixture(scope="module")
def compared():
    return ensemble.measure(p=[0.0, 0.5], sizes=[2], rivals=2, bags=64, **SMALL)


def test_rivals_are_compared_with_the_mask_ensemble_draw_by_draw(compared):
    table = compared.rivals.set_index(["p", "predictor"])
    assert len(table) == 2 * len(PREDICTORS)
    rows = compared.more[TableKind.RIVALS].query("p == 0.5").set_index(["predictor", "draw"])
    less = rows.loc["starts", "test_loss"] - rows.loc["masks", "test_loss"]
    assert table.loc[(0.5, "starts"), "loss_less"] == pytest.approx(less.mean())
    assert table.loc[(0.5, "masks"), ["loss_less", "change_less", "beta_less"]].isna().all()
    # Without masks it is the one network, of which no test can tell it.
    assert table.loc[(0.0, "one network"), ["loss_less", "beta_less"]].tolist() == [0, 0]
    assert np.isnan(table.loc[(0.0, "one network"), "beta_less_holm"])
    assert "in 4 of 4 draws and rates" in compared.conclusion


def test_rivals_have_a_table_and_a_figure_of_their_own(result, compared):
    assert list(compared.figures()) == ["ensemble", "rivals"]
    assert set(compared.tables()) == {"rows", "rivals"}
    text = compared.text_tables()[1].table
    assert text["variant"].tolist()[:2] == ["one network", "masks, N = 2"]
    assert len(result.text_tables()) == len(result.figures()) == 1
    assert len(result.rivals) == 0
    assert result.conclusion == ""


def test_the_command_line_prints_and_keeps(tmp_path):
    quick = ["--task", "ridge", "--n", "8", "--draws", "2", "--steps", "10", "--sizes", "1", "3"]
    done = run_here("ensemble", *quick, "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "N = 3" in done.stdout
    kept = {path.name for path in (tmp_path / "here").iterdir()}
    assert kept == {"cells", "rows.parquet", "table.csv", "ensemble.png", "manifest.json"}
    again = run_here("ensemble", *quick, "--out", "here", "--json", cwd=tmp_path)
    assert {row["ensemble"] for row in json.loads(again.stdout)} == {0, 1, 3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sizes", "0"], ["sizes must be at least 1", "0"]),
        (["--p", "1"], ["p must be in [0, 1)"]),
        (["--rivals", "-1"], ["rivals must be 0 or from 2 to", "-1"]),
        (["--rivals", "1"], ["rivals must be 0 or from 2 to", "got 1"]),
        (["--bags", "63"], ["bags must be from 64 to", "63"]),
        (["--task", "ridge", "--rivals", "4"], ["rivals must be left out for ridge", "4"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_status_2(arguments, words, tmp_path):
    assert_refused("ensemble", arguments, words, tmp_path)


def test_settings_are_checked_in_python_too():
    with pytest.raises(ValueError, match="sizes must be at least one value"):
        EnsembleSettings(sizes=()).cells()
