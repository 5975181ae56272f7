"""Bounds from supersamples: exact on all selections, valid over tasks, and what is said of them."""

import json
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest

from probes import information
from probes.cells.bounded_loss import by_pair, clipped_loss, zero_one_loss
from probes.cells.cell import objective_of
from probes.cells.information_bounds import WITHOUT_CHANCE, bounds_of
from probes.cells.measure_cell import inferred_outputs
from probes.cells.prepare import prepare
from probes.cells.supersample import Supersample, draw_supersample, outcomes, train_selections
from probes.cli.stability_settings import StabilitySettings
from probes.information import InformationResult, InformationSettings
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
    factors = train_selections(ready, sample, ready.training, objective_of(cell), lambda _: None)
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


def rows_of(bounds, gap=0.25, spread=0.02, **more):
    """Rows of draws with made-up bounds on one gap, two draws ``spread`` apart."""
    records = [
        {
            "task": "made up", "n": 8, "p": p, "draw": draw, "inference": "expected weight",
            "ensemble": 0, "name": name, "bound": bound + spread * draw, "bound_half": bound,
            "gap": gap, "gap_test": gap + 0.01 * draw, "train_loss": 0.0, "test_loss": gap,
            "information": 0.1, "information_bias": 0.01, "rounding": 0.0, "loss_bound": 1.0,
            "largest_loss": 1.0,
            "loss": "0-1", "task_loss": "cross-entropy", "rank": 2, "steps": 40, "lr": 1e-3,
            "selections": 16, "pool": 1000,
        } | more
        for (name, p), bound in bounds.items()
        for draw in (0, 1)
    ]  # fmt: skip
    return InformationResult(pd.DataFrame(records))


def test_verdicts_say_vacuous_violated_and_what_does_not_apply():
    result = rows_of(
        {
            ("ld-CMI", 0.1): 0.5, ("e-CMI", 0.1): 1.5, ("f-CMI", 0.1): 0.2, ("no error", 0.1): 0.3,
            ("Theorem 4.4", 0.1): 40.0, ("Lemma 4.3", 0.1): 0.6, ("fast rate", 0.1): np.nan,
        }
    )  # fmt: skip
    found = result.summary.set_index("name")["verdict"].to_dict()
    assert found == {
        "ld-CMI": "holds", "e-CMI": "vacuous", "f-CMI": "violated", "no error": "holds",
        "Theorem 4.4": "vacuous", "Lemma 4.3": "not exceeded", "fast rate": "does not apply",
    }  # fmt: skip
    ratio = result.summary.set_index("name")["ratio"]
    assert ratio["ld-CMI"] == pytest.approx(0.51 / 0.25)
    assert "fast rate" not in result.text()["statement"].tolist()
    assert "the smallest is no error" in result.conclusion
    assert "n = 8, p = 0.1: 2 bounds say something" in result.conclusion


def test_what_dropout_does_not_promise_is_exceeded_and_not_violated():
    small = {("Theorem 4.4", 0.1): 0.1, ("Lemma 4.3", 0.1): 0.1, ("e-CMI", 0.1): 0.1}
    found = rows_of(small, spread=0.0001).summary.set_index("name")["verdict"].to_dict()
    assert found == {"Theorem 4.4": "exceeded", "Lemma 4.3": "exceeded", "e-CMI": "violated"}


def test_a_c_far_above_every_loss_makes_no_bound_say_something():
    result = rows_of({("e-CMI", 0.1): 2.5, ("ld-CMI", 0.1): 0.5}, loss_bound=9.0, largest_loss=2.0)
    assert result.summary["verdict"].tolist() == ["vacuous", "holds"]
    said = result.plot().get_supxlabel().replace("\n", " ")
    assert said.endswith("; C: the largest loss that was seen, where that is less")


def test_a_margin_of_rounding_is_none():
    """Seventeen draws in which losses that are all C have means that differ in the last digit."""
    rows = rows_of({("e-CMI", 0.1): 0.0}, gap=0.0, spread=0.0).rows
    draws = pd.concat([rows.iloc[:1].assign(draw=draw, gap_test=1e-17) for draw in range(17)])
    assert InformationResult(draws).summary["verdict"].tolist() == ["holds"]


@pytest.mark.parametrize(("loss_bound", "says"), [(0.01, "1 of 1"), (1e3, "0 of 1")])
def test_a_given_c_may_clip_every_loss_or_none(loss_bound, says):
    """The mean of 64 losses that are all 0.01 is more than that in its last digit."""
    result = information.measure(
        task="breast_cancer", n=8, draws=2, steps=2, selections=8, loss="clipped", p=0.3,
        loss_bound=loss_bound,
    )  # fmt: skip
    assert f"at {says} setting of n and p" in result.answer
    assert (result.rows["largest_loss"] <= loss_bound).all()


def test_where_no_bound_says_anything_that_is_said():
    assert rows_of({("e-CMI", 0.1): 1.5}).conclusion == "n = 8, p = 0.1: no bound says anything."


def test_what_diverged_is_not_measured():
    nothing = dict.fromkeys(("gap", "train_loss", "test_loss", "bound", "bound_half"), np.nan)
    result = rows_of({("e-CMI", 0.1): 0.5}, **nothing)
    assert result.summary["verdict"].tolist() == ["not measured"]
    assert "2 of 2 losses are not finite" in result.caption


def test_a_run_that_diverges_is_told():
    result = information.measure(n=6, p=0.3, lr=1e30, **SMALL)
    assert set(result.summary["verdict"]) == {"not measured"}
    result.plot().canvas.draw()


def test_draws_that_share_examples_are_told():
    result = rows_of({("e-CMI", 0.1): 0.5}, pool=40)
    for said in (result.caption, repr(result), "".join(result.restrictions)):
        assert "a draw holds 40% of the data" in said
        assert "S holds" not in said
    alone = rows_of({("e-CMI", 0.1): 0.5}).summary.iloc[0]
    shared = result.summary.iloc[0]
    assert shared["bound_high"] > alone["bound_high"]


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
