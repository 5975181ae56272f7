"""The protocol: the same budget for all, and nothing of the choice touches what measures."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from probes import rivals
from probes.cells import rival_cells, tuning_parts
from probes.cells.rival_cells import SHARES, run_rival_cell
from probes.jobs.job import TableKind
from probes.jobs.store import Store
from probes.jobs.sweep import Sweep
from probes.jobs.time_limit import TimeLimit
from probes.rivals import END, IMPLIED, RivalsSettings, family_of
from probes.tasks import TASKS
from probes.training.rivals import RIVALS, Method, Rival
from tests.probes.commands import assert_refused, run_here

pytestmark = pytest.mark.slow

SMALL = {
    "task": "breast_cancer", "n": 8, "steps": 12, "draws": 2, "tuning_draws": 2, "trainings": 6,
    "method": ["LoRA Dropout", "weight decay"],
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return rivals.measure(**SMALL)


def tuning_of(result):
    return result.more[TableKind.TUNING]


def choice_after(change, monkeypatch):
    """The tuning table after the targets were changed."""
    true = TASKS["breast_cancer"]()
    targets = true.targets.clone()
    change(targets)
    monkeypatch.setitem(TASKS, "breast_cancer", lambda: replace(true, targets=targets))
    return tuning_of(rivals.measure(**SMALL))


#: Of the 569 examples, those on which what was chosen is measured.
MEASURING = tuning_parts.examples_of("measuring", 569, 0)


def mix_what_measures(targets):
    """Give the examples that measure each other's labels; turning all would be a symmetry."""
    targets[MEASURING] = targets[MEASURING].roll(7, 0)


def test_the_choice_is_the_same_whatever_the_examples_are_that_measure(result, monkeypatch):
    pd.testing.assert_frame_equal(choice_after(mix_what_measures, monkeypatch), tuning_of(result))


def tune_on_what_measures(monkeypatch):
    cut = tuning_parts.examples_of
    monkeypatch.setattr(
        tuning_parts, "examples_of", lambda part, examples, seed: cut("measuring", examples, seed)
    )


def judge_by_test_data(monkeypatch):
    """S is drawn from the part that tunes; the test data of the other part judge."""
    prepared, cell = rival_cells.prepare_part, rivals.TuningCell

    def leaking(base, part):
        return replace(prepared(base, part), test=prepared(base, "measuring").test)

    monkeypatch.setattr(rival_cells, "prepare_part", leaking)
    monkeypatch.setattr(rivals, "TuningCell", lambda *known, folds: cell(*known, folds=not folds))


@pytest.mark.parametrize("leak", [tune_on_what_measures, judge_by_test_data])
def test_a_planted_leak_is_found(leak, monkeypatch):
    leak(monkeypatch)
    before = tuning_of(rivals.measure(**SMALL))
    after = choice_after(mix_what_measures, monkeypatch)
    assert not np.allclose(before["validation_loss"], after["validation_loss"])


def test_tuning_and_measuring_share_no_start_and_no_masks(result):
    assert not {*tuning_of(result)["draw"]} & {*result.rows["draw"]}


@pytest.mark.parametrize("method", [name for name in RIVALS if name != IMPLIED])
@pytest.mark.parametrize("trainings", [1, 4, 8, 16])
def test_every_method_has_the_same_budget(method, trainings):
    """As many trainings as given, or the next smaller multiple of its strengths."""
    settings = RivalsSettings(method=(method,), trainings=trainings, n=(16,), tuning_draws=1)
    (cell,) = [one for one in settings.cells() if one.method == method]
    strengths, rates = len({*cell.strengths}), len({*cell.rates})
    assert trainings - strengths < strengths * rates <= trainings
    assert {*cell.strengths} <= {*RIVALS[method].strengths}
    assert rates >= 3 or strengths == 1
    assert cell.shares == SHARES
    assert trainings == 1 or (min(cell.rates), max(cell.rates)) == pytest.approx((1e-3, 32e-3))


@pytest.mark.parametrize(("rank", "kept"), [(2, {1}), (3, {1, 2}), (4, {1, 2}), (8, {1, 2, 4})])
def test_no_rank_is_tried_twice(rank, kept):
    """Shares that leave the same rank are the same trainings, and would waste some of them."""
    settings = RivalsSettings(rank=rank, method=("smaller rank",), tuning_draws=1)
    _, cell = settings.cells()
    assert sorted(Rival(cell.method, one).rank(rank) for one in cell.strengths) == sorted(kept)
    assert len(cell.strengths) * len(cell.rates) > 16 - len(kept)


def test_what_is_measured_is_what_was_tuned(result):
    tuning = tuning_of(result)
    for method in ("LoRA", "LoRA Dropout", "weight decay"):
        means = (
            tuning[tuning["method"] == method]
            .groupby(["strength", "lr", "share"])["validation_loss"]
            .mean()
        )
        row = result.summary.set_index("method").loc[method]
        strength, lr, share = means.idxmin()
        assert (row["strength"], row["lr"]) == (strength, lr)
        assert row["stop"] == max(1, round(share * 12))
        assert row["draws"] == 2
    to_the_end = tuning.query("method == 'LoRA' and share == 1")
    best = to_the_end.groupby("lr")["validation_loss"].mean().idxmin()
    row = result.summary.set_index("method").loc[END]
    assert (row["lr"], row["stop"]) == (best, 12)


def test_the_frontier_has_every_strength_that_was_tried_and_of_lora_every_stopping_time(result):
    counts = result.frontier.groupby("method").size()
    assert counts.to_dict() == {"LoRA": len(SHARES), "LoRA Dropout": 2, "weight decay": 2}
    assert not result.rows.duplicated(["draw", "method", "strength", "lr", "share"]).any()


def test_every_point_of_the_frontier_is_a_mean_over_the_same_draws(monkeypatch):
    monkeypatch.setattr(rivals, "FRONTIER_DRAWS", 1)
    result = rivals.measure(**SMALL)
    assert set(result.frontier["test_loss_draws"]) == {1}
    assert set(result.summary["test_loss_draws"]) == {2}


def test_after_some_draws_the_tuned_strength_alone_is_measured(monkeypatch):
    monkeypatch.setattr(rivals, "FRONTIER_DRAWS", 1)
    rows = rivals.measure(**SMALL).rows
    sizes = rows.groupby(["draw", "method"]).size().unstack()
    assert sizes["weight decay"].tolist() == [2, 1]
    assert sizes["LoRA"].iloc[1] in (1, 2)  # and to the end, unless that is the same


def test_a_short_time_is_one_draw_that_tunes_and_two_of_the_tuned_strengths(capsys):
    short = rivals.measure(**SMALL | {"draws": 4, "minutes": 1e-9})
    assert tuning_of(short)["draw"].nunique() == 1
    assert short.rows["draw"].nunique() == 2
    assert short.frontier["method"].value_counts()[["LoRA Dropout", "weight decay"]].tolist() == [
        1,
        1,
    ]
    caption = " ".join(short.plot().get_supxlabel().split())
    assert "for the other strengths there was no time" in caption
    assert "the fewest draws took 0." in capsys.readouterr().err


@pytest.mark.parametrize("time", ["too short", "enough"])
def test_a_run_that_is_resumed_plans_what_is_left(monkeypatch, tmp_path, time):
    """Where the first draws were kept it once had time for everything."""
    known = RivalsSettings(**SMALL | {"method": ("weight decay",), "tuning_draws": 1, "n": (8,)})
    done = []

    def run(cell, progress):
        done.append(cell)
        return run_rival_cell(cell, progress)

    def gathered(seconds):
        done.clear()
        limit = partial(TimeLimit, clock=lambda: sum(cell.replica_steps for cell in done))
        monkeypatch.setattr(rivals, "TimeLimit", limit)
        swept = Sweep(run, Store(tmp_path, "code"))
        settings = replace(known, minutes=seconds / 60)
        rivals._gather(settings, settings.cells(), swept)
        return sum(cell.replica_steps for cell in done)

    least, everything = gathered(1), gathered(1e9)
    # One cell is measured again, as what is kept says nothing of the time that others take.
    again = done[0].replica_steps
    for file in (tmp_path / "cells").iterdir():
        file.unlink()
    assert gathered(1) == least
    seconds = everything + (1 if time == "enough" else -1)
    assert gathered(seconds) == (everything if time == "enough" else again)
    assert gathered(seconds) == again


def test_methods_with_chance_have_a_panel_of_their_own():
    assert family_of(END) == family_of("LoRA") == "plain"
    assert family_of("LoRA Dropout, rescaled") == "LoRA Dropout"
    assert family_of("noise on A") == "other random perturbations"
    assert family_of("shrinking") == family_of("subbag of 4") == rivals.WITHOUT_CHANCE


def test_the_figure_has_the_tables_numbers(result):
    axes = result.plot().axes
    titles = [one.get_title().replace("\n", " ") for one in axes]
    assert [title for title in titles if title] == [
        "LoRA Dropout", rivals.WITHOUT_CHANCE, "Tuned, paired over draws",
    ]  # fmt: skip


def test_beta_can_be_left_out(result):
    without = rivals.measure(**SMALL, without_beta=True)
    assert "beta" not in without.summary
    assert "β" not in without.text()
    assert "β" not in without.conclusion
    assert "; its β is" in result.conclusion
    losses = [one.summary["test_loss"] for one in (without, result)]
    # The same networks; float32 sums of other shapes differ in the last digit of each of 12 steps.
    np.testing.assert_allclose(*losses, rtol=12 * np.finfo(np.float32).eps)
    assert not any("β" in axes.get_ylabel() for axes in without.plot().axes)
    assert any("β" in axes.get_ylabel() for axes in result.plot().axes)


def test_the_command_line_answers_and_goes_on_from_what_is_kept(tmp_path):
    flags = ["--task", "breast_cancer", "--n", "8", "--steps", "4", "--draws", "2",
             "--tuning-draws", "1", "--trainings", "2", "--method", "weight decay",
             "LoRA Dropout"]  # fmt: skip
    done = run_here("rivals", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "On breast_cancer, n = 8, tuned LoRA Dropout" in " ".join(done.stdout.split())
    folder = tmp_path / "runs/rivals"
    assert (folder / "rivals.png").exists()
    kept = {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}
    content = json.loads(run_here("rivals", *flags, "--json", cwd=tmp_path).stdout)
    assert [one["method"] for one in content][:2] == ["LoRA", "weight decay"]
    assert kept == {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], ["minutes must be positive"]),
        (["--draws", "1"], ["draws must be at least 2"]),
        (["--method", "magic"], ["method must be one of LoRA;", "magic"]),
        (["--method", IMPLIED], ["method must be one of LoRA;"]),
        (["--method", "label smoothing", "--task", "ridge"], ["applies to ridge", "classes"]),
        (
            ["--method", "smaller rank", "--task", "breast_cancer"],
            ["applies to breast_cancer", "rank"],
        ),
        (["--n", "4"], ["n must be from 8 to 718 for digits"]),
        (["--margin", "1"], ["margin must be in (0, 1)"]),
    ],
)
def test_bad_values_are_refused(arguments, words, tmp_path):
    assert_refused("rivals", arguments, words, tmp_path)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"rule": "weight decy"}, "rule of mine must be one of LoRA, .*did you mean weight decay"),
        ({"strengths": ()}, "strengths of mine must be at least one value; got none"),
        ({"strengths": (0.5, 1.5)}, r"strength of mine must lie in \[0, 1\), got 1.5"),
    ],
)
def test_an_entry_that_cannot_be_trained_is_refused_before_anything_is(entry, said, monkeypatch):
    """A rule that does not exist ended in a KeyError, and no strengths in an IndexError."""
    whole = {"rule": "LoRA", "strength": "a share", "strengths": (0.5,), "source": "this test"}
    monkeypatch.setitem(RIVALS, "mine", Method(**(whole | entry)))
    for asked in (("mine",), ()):
        with pytest.raises(ValueError, match=said):
            RivalsSettings(method=asked).cells()
