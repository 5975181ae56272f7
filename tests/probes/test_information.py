"""Bounds from supersamples: exact on all selections, and valid over tasks."""

import json
from functools import partial
from itertools import product

import numpy as np
import pytest

from probes import information
from probes.cells.bounded_loss import by_pair, clipped_loss, zero_one_loss
from probes.cells.cell import objective_of
from probes.cells.evaluation import inferred_outputs
from probes.cells.information_bounds import WITHOUT_CHANCE, bounds_of
from probes.cells.prepare import prepare
from probes.cells.supersample import Supersample, draw_supersample, outcomes, train_selections
from probes.cli.stability_settings import StabilitySettings
from probes.information import InformationSettings
from probes.metrics.confidence_intervals import mean_p_value
from probes.metrics.multiple_comparisons import holm
from probes.stability import measure as measure_stability
from tests.probes.commands import assert_refused, run_here
from theory.information import plug_in_information

pytestmark = pytest.mark.slow

SMALL = {"task": "breast_cancer", "draws": 2, "steps": 20, "selections": 8}
QUICK = ["--task", "breast_cancer", "--n", "6", "--p", "0", "0.5", "--draws", "2",
         "--steps", "4", "--selections", "4"]  # fmt: skip


def every_selection(n, seed, **settings):
    """The losses of the networks of all 2^n selections, 0-1 and clipped."""
    (cell,) = StabilitySettings(n=n, draws=1, seed=seed, **settings).cells()
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 4)
    every = np.array(list(product((0, 1), repeat=n)))
    sample = Supersample(sample.pairs, sample.test, every)
    factors = train_selections(ready, sample, objective_of(cell), lambda _: None)
    ((_, pairs),) = outcomes(
        ready.network, factors, sample.pairs, partial(inferred_outputs, cell, ready.network)
    )
    ((_, test),) = outcomes(
        ready.network, factors, sample.test, partial(inferred_outputs, cell, ready.network)
    )
    return (
        (zero_one_loss(pairs, test, every), by_pair(pairs.classes)),
        (clipped_loss(pairs, test, every, None, 4), None),
    )


@pytest.fixture(scope="module")
def enumerated():
    """Of two tasks and two draws each, the losses of all selections of 5 pairs."""
    return [
        one
        for task, seed in product(("digits", "breast_cancer"), (0, 1))
        for one in every_selection(5, seed, task=task, p=(0.3,), steps=60)
    ]


def test_over_all_selections_every_bound_holds(enumerated):
    for loss, classes in enumerated:
        found = bounds_of(loss, classes)
        assert len(found) >= 4
        for name, one in found.items():
            assert loss.gap <= one.bound + 1e-12, name


def test_predictions_tell_no_less_than_losses_and_these_no_less_than_their_difference(enumerated):
    for loss, classes in enumerated:
        found = bounds_of(loss, classes)
        assert found["ld-CMI"].information <= found["e-CMI"].information + 1e-12
        if classes is not None:
            assert found["e-CMI"].information <= found["f-CMI"].information + 1e-12


def test_few_selections_never_tell_too_little_in_expectation(enumerated):
    """The expectation over all 1,024 draws of two selections and their opposites is exact."""
    loss, classes = enumerated[0]
    every = len(loss.selections)
    for codes in (loss.difference_codes, loss.pair_codes, classes[:, 0] * 10 + classes[:, 1]):
        exact = plug_in_information(loss.selections, codes)
        total = np.zeros_like(exact)
        for first, second in product(range(every), repeat=2):
            # The opposite of selection u is selection 2^n - 1 - u.
            some = [first, every - 1 - first, second, every - 1 - second]
            total += plug_in_information(loss.selections[some], codes[some])
        assert (total / every**2 >= exact - 1e-12).all()


def test_a_wrong_selection_is_found():
    """Planted flaw: were the selections others than those trained on, the bounds would break."""
    (loss, classes), _ = every_selection(6, 0, task="digits", p=(0.0,), steps=200)
    generator = np.random.default_rng(0)
    foreign = type(loss)(
        loss.name, loss.loss_bound, loss.values, loss.rounded, loss.codes,
        generator.permuted(loss.selections, axis=0), loss.test,
    )  # fmt: skip
    found = bounds_of(foreign, classes)
    assert loss.gap > found["ld-CMI"].bound
    assert loss.gap > found["binary kl"].bound


@pytest.fixture(scope="module")
def over_grid():
    """Results of two tasks over n and p."""
    return [
        information.measure(
            task=task, n=[6, 12], p=[0, 0.5], draws=4, steps=20, selections=8, **more
        )
        for task, more in (("breast_cancer", {}), ("digits", {}), ("ridge", {"bins": 3}))
    ]


def test_no_bound_is_below_the_gap_over_its_own_replicas(over_grid):
    for result in over_grid:
        rows = result.rows[result.rows["name"].isin(WITHOUT_CHANCE)].dropna(subset="bound")
        assert set(rows["n"]) == {6, 12}
        assert (rows["gap"] <= rows["bound"] + 1e-12).all()


def test_no_bound_is_below_the_gap_on_held_out_examples(over_grid):
    """Student's tests over draws of all rows together, wrong with a probability of 1e-3 (Holm)."""
    p_values, margins = [], []
    for result in over_grid:
        assert "violated" not in set(result.summary["verdict"])
        rows = result.rows[result.rows["name"].isin(WITHOUT_CHANCE[:-1])]
        rows = rows[rows["name"] != "no error"]
        rows = rows.assign(margin=rows["bound"] - rows["gap_test"]).dropna(subset="margin")
        for _, group in rows.groupby(["n", "p", "name"]):
            margins.append(group["margin"].mean())
            p_values.append(mean_p_value(group["margin"]))
    margins, p_values = np.array(margins), holm(p_values)
    assert len(margins) >= 3 * 4 * 5
    assert not ((margins < 0) & (p_values <= 1e-3)).any()


def test_what_leaves_one_out_is_what_the_stability_probe_measures(over_grid):
    rows = over_grid[0].rows
    lemma = rows[(rows["name"] == "Lemma 4.3") & (rows["p"] == 0.5) & (rows["n"] == 12)]
    table = measure_stability(task="breast_cancer", n=12, p=0.5, draws=4, steps=20).table.set_index(
        "draw"
    )
    for _, row in lemma.iterrows():
        assert 1 - row["train_loss"] == pytest.approx(table.loc[row["draw"], "train_score"])


def test_half_of_the_selections_are_those_of_a_smaller_run():
    few = information.measure(n=6, p=0.3, **(SMALL | {"selections": 4}))
    more = information.measure(n=6, p=0.3, **SMALL)
    half = more.rows.loc[more.rows["name"] == "e-CMI", "bound_half"]
    assert half.tolist() == few.rows.loc[few.rows["name"] == "e-CMI", "bound"].tolist()


def test_ensembles_are_bounded_beside_the_expected_weight():
    result = information.measure(n=6, p=0.5, ensemble=4, **SMALL)
    assert result.summary["ensemble"].unique().tolist() == [0, 4]
    assert "ensemble, N = 4" in result.text()["inference"].tolist()


@pytest.mark.parametrize(("loss_bound", "says"), [(0.01, "1 of 1"), (1e3, "0 of 1")])
def test_a_given_c_may_clip_every_loss_or_none(loss_bound, says):
    """The mean of 64 losses that are all 0.01 is more than that in its last digit."""
    result = information.measure(
        task="breast_cancer", n=8, draws=2, steps=2, selections=8, loss="clipped", p=0.3,
        loss_bound=loss_bound,
    )  # fmt: skip
    assert f"at {says} setting of n and p" in result.answer
    assert (result.rows["largest_loss"] <= loss_bound).all()


def test_a_run_that_diverges_is_told():
    result = information.measure(n=6, p=0.3, lr=1e30, **SMALL)
    assert set(result.summary["verdict"]) == {"not measured"}
    result.plot().draw_without_rendering()


def test_the_command_line_measures_resumes_and_keeps(tmp_path):
    done = run_here("information", *QUICK, "--details", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "which makes bounds larger" in done.stdout
    kept = {path.name for path in (tmp_path / "here").iterdir()}
    assert kept == {"cells", "rows.parquet", "table.csv", "information.png", "manifest.json"}
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "here/cells").rglob("*.parquet")}
    assert len(cells) == 4
    again = run_here("information", *QUICK, "--details", "--out", "here", cwd=tmp_path)
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in cells} == cells


def test_json_has_a_verdict_for_every_bound(tmp_path):
    done = run_here("information", *QUICK, "--json", cwd=tmp_path)
    records = json.loads(done.stdout)
    assert len(records) == 2 * 10
    for name in ("task", "n", "p", "loss", "name", "bound", "gap", "ratio", "vacuous", "verdict"):
        assert all(name in record for record in records)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--n", "899"], ["n must be from 2 to", "digits"]),
        (["--n", "1"], ["n must be from 2"]),
        (["--selections", "6"], ["selections must be a multiple of 4", "6"]),
        (["--selections", "0"], ["selections must be at least 4"]),
        (["--bins", "1"], ["bins must be from 2"]),
        (["--loss", "log"], ["loss must be one of 0-1, clipped", "'log'"]),
        (["--task", "ridge", "--loss", "0-1"], ["loss must be one of clipped", "'0-1'"]),
        (["--loss-bound", "2"], ["loss_bound must be left out for loss 0-1"]),
        (["--p", "1"], ["p must be in [0, 1)"]),
        (["--delta", "0"], ["delta must be in (0, 1]"]),
        (["--matched", "--p", "0"], ["p must be above 0", "--matched"]),
        (["--matched", "--ensemble", "4"], ["ensemble must be left out with --matched"]),
        (["--matched", "--p", "2"], ["p must be in [0, 1)"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_status_2(arguments, words, tmp_path):
    assert_refused("information", arguments, words, tmp_path)


def test_settings_are_checked_in_python_too():
    with pytest.raises(ValueError, match="n must be at least one value"):
        InformationSettings(n=()).cells()


def test_matched_compares_on_the_command_line(tmp_path):
    done = run_here("information", *QUICK, "--matched", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Of 24 comparisons of a bound at equal fit: ")
    kept = {path.name for path in (tmp_path / "here").iterdir()}
    assert kept == {
        "cells", "matched_information.parquet", "matched_information.png", "table.csv",
        "manifest.json",
    }  # fmt: skip
