"""Rankings at two scales: what is compared, and that nothing is measured twice."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks import rivals_at_scale
from benchmarks.rivals_at_scale import COLUMNS, ITEMS, Files, compare, differences, full, small
from probes import finetune


def write(file, losses):
    """Rows of a table whose methods have these test losses: one row a method, one column a draw."""
    pd.DataFrame(
        [
            {"task": "made up", "n": 8, "method": rival.name, "strength": rival.strength,
             "draw": draw, "test_loss": loss}
            for rival, row in zip(ITEMS, losses, strict=False)
            for draw, loss in enumerate(row)
        ]
    ).to_csv(file, index=False)  # fmt: skip


@pytest.mark.parametrize(("sign", "said"), [(1, "+1.00 (+1.00 to +1.00"), (-1, "-1.00 (-1.00 to")])
def test_a_table_predicts_its_own_order(sign, said, tmp_path, capsys):
    generator = np.random.default_rng(0)
    truth = np.arange(6.0)[:, None] + 0.1 * generator.random((6, 3))
    write(tmp_path / "rivals-full-tweets-8.csv", truth)
    # In another order, and with a method more.
    write(tmp_path / "rivals-small-digits-8.csv", np.append(sign * truth, [[9, 9, 9]], 0))
    compare(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert said in lines[-1]
    assert "6 methods, 3 seeds" in lines[-1]
    assert "by its other seeds: 6 methods, 3 seeds: +1.00" in lines[-2]


def test_draws_of_some_methods_alone_do_not_count(tmp_path, capsys):
    """As after ``full --method LoRA --seeds 5``: the other methods have three seeds."""
    generator = np.random.default_rng(0)
    truth = list(np.arange(6.0)[:, None] + 0.1 * generator.random((6, 3)))
    truth[0] = np.append(truth[0], [99.0, 99.0])
    write(tmp_path / "rivals-full-tweets-8.csv", truth)
    write(tmp_path / "rivals-small-digits-8.csv", truth)
    compare(tmp_path)
    *_, own, other = capsys.readouterr().out.splitlines()
    assert "by its other seeds: 6 methods, 3 seeds: +1.00 (+1.00 to" in own
    assert "by rivals-small-digits-8, 3 draws: 6 methods, 3 seeds: +1.00 (+1.00 to" in other


def test_what_is_kept_is_not_measured_again(tmp_path, capsys):
    file = tmp_path / "rows.csv"
    run = {"task": "breast_cancer", "n": 8, "draws": 2, "tuning_draws": 1, "trainings": 2}
    small(**run, method=("LoRA",), rows=file)
    kept = pd.read_csv(file)
    assert list(kept) == COLUMNS
    small(**run, method=("LoRA", "LoRA Dropout 0.3"), rows=file)
    more = pd.read_csv(file)
    assert more["method"].tolist() == ["LoRA"] * 2 + ["LoRA Dropout"] * 2
    pd.testing.assert_frame_equal(more[:2], kept, check_dtype=False)
    assert "LoRA Dropout 0.3: " in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"trainings": 1}, {"tuning_draws": 2}, {"seed": 1}])
def test_rows_of_other_settings_are_not_taken_for_those_that_are_asked_for(change, tmp_path):
    file = tmp_path / "rows.csv"
    run = {"task": "breast_cancer", "n": 8, "draws": 1, "tuning_draws": 1, "trainings": 2}
    small(**run, method=("LoRA",), rows=file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="rows must be a file of rows with steps "):
        small(**run | change, method=("LoRA",), rows=file)
    assert file.read_bytes() == before


def test_another_seed_has_other_draws_in_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rivals_at_scale, "KEPT", tmp_path)
    run = {"task": "breast_cancer", "n": 8, "draws": 1, "tuning_draws": 1, "trainings": 1}
    for seed in (0, 1):
        small(**run, method=("LoRA", "LoRA Dropout 0.3"), seed=seed)
    files = [
        folder / "rivals-small-breast_cancer-8.csv" for folder in (tmp_path, tmp_path / "seed-1")
    ]
    losses = [pd.read_csv(file)["test_loss"] for file in files]
    assert not losses[0].isin(losses[1]).any()
    capsys.readouterr()
    differences("breast_cancer", 8, folder=tmp_path / "seed-1")
    assert f"LoRA: {losses[1][0]:.4f}" in capsys.readouterr().out
    other = "LoRA Dropout 0.3"
    differences("breast_cancer", 8, folder=tmp_path / "seed-1", reference=other)
    less = losses[1][0] - losses[1][1]
    assert f"LoRA: {losses[1][0]:.4f}, {less:.4f}" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"reference must be one of LoRA, .*; got 'X'"):
        differences("breast_cancer", 8, folder=tmp_path / "seed-1", reference="X")


def test_rows_that_do_not_say_their_settings_are_taken_and_that_is_said(tmp_path, capsys):
    file = tmp_path / "rows.csv"
    run = {"task": "breast_cancer", "n": 8, "draws": 1, "tuning_draws": 1, "trainings": 1}
    small(**run, method=("LoRA",), rows=file)
    pd.read_csv(file).drop(columns="settings").to_csv(file, index=False)
    before = file.read_bytes()
    small(**run, method=("LoRA",), rows=file)
    assert "1 row says nothing of steps, rates and what tuned" in capsys.readouterr().err
    assert file.read_bytes() == before
    small(**run, method=("LoRA Dropout 0.3",), rows=file)
    assert pd.read_csv(file)["settings"].isna().tolist() == [True, False]


@pytest.fixture
def fine_tuned(monkeypatch):
    """Runs that are made up: every one that is asked for, by its part, rate and seeds."""
    asked, folders = [], []

    def measure(*, task, training, draws, seed, regularizer, ensemble, out, **rest):
        # As finetune.measure: a folder holds one run alone.
        assert out not in folders
        folders.append(out)
        lr = training["learning_rate"]
        seeds = range(seed, seed + draws)
        asked.append((Path(task).stem, regularizer[0], lr, *seeds))
        ways = ["expected weight", "ensemble"] if ensemble else ["no masks"]
        return SimpleNamespace(
            rows=pd.DataFrame(
                {"draw": draw, "inference": way, "step": step, "n": rest["n"], "pool": 90,
                 # The lower rate is the better one; the second step is, by what stops.
                 "test_loss": lr + abs(step - 2), "validation_loss": abs(step - 2),
                 "half_loss": draw + 0.5 * (way == "ensemble"), "train_loss": 0.1}
                for draw in seeds for way in ways for step in (1, 2, 3)
            )
        )  # fmt: skip

    monkeypatch.setattr(finetune, "measure", measure)
    monkeypatch.setattr(
        rivals_at_scale, "_written", lambda *_: Files(Path("tuning.csv"), Path("measuring.csv"))
    )
    return asked


def test_at_full_scale_a_rate_is_tuned_once_and_missing_seeds_are_added(fine_tuned, tmp_path):
    run = {"method": ("LoRA",), "rates": (0.2, 0.1), "rows": tmp_path / "rows.csv"}
    full(**run, seeds=2)
    tuned = [("tuning", "LoRA", lr, 0) for lr in (0.2, 0.1)]
    assert fine_tuned == [*tuned, *(("measuring", "LoRA", 0.1, seed) for seed in (1000, 1001))]
    kept = pd.read_csv(run["rows"])
    assert list(kept) == COLUMNS
    assert kept[["lr", "stop", "draw", "test_loss"]].to_numpy().tolist() == [
        [0.1, 2, 1000, 1000], [0.1, 2, 1001, 1001],
    ]  # fmt: skip
    for change in ({"steps": 32}, {"held_out": 200}, {"rates": (0.2,)}, {"tuning_seeds": 2}):
        with pytest.raises(ValueError, match="held out 300"):
            full(**run | change, seeds=3)
    full(**run, seeds=3)
    assert fine_tuned[4:] == [("measuring", "LoRA", 0.1, 1002)]
    assert pd.read_csv(run["rows"])["draw"].tolist() == [1000, 1001, 1002]


def test_an_ensemble_is_stopped_and_measured_as_an_ensemble(fine_tuned, tmp_path):
    file = tmp_path / "rows.csv"
    full(method=("LoRA Dropout, ensemble of 16 0.3",), seeds=1, rows=file)
    assert pd.read_csv(file)["test_loss"].tolist() == [1000.5]


@pytest.mark.parametrize("n", [64, 4096])
def test_what_judges_the_measured_is_never_trained_on(n, tmp_path):
    files = rivals_at_scale._written(n, 300, tmp_path)
    texts = {place: {*pd.read_csv(place)["text"]} for place in tmp_path.iterdir()}
    assert sum(map(len, texts.values())) == 7075
    assert not set.intersection(*texts.values())
    assert (files.held_out is None) == (n == 64)
    if files.held_out is not None:
        assert len(texts[files.held_out]) == 300
        assert len(texts[files.measuring]) >= n + 300


def test_tweets_of_another_number_of_held_out_ones_are_not_taken_for_these(tmp_path):
    drawn = []
    for held_out in (300, 500):
        files = rivals_at_scale._written(4096, held_out, tmp_path)
        assert len(pd.read_csv(files.held_out)) == held_out
        drawn.append(len(pd.read_csv(files.measuring)))
    assert drawn[0] - drawn[1] == 200
    written = [place.stat().st_mtime_ns for place in tmp_path.iterdir()]
    rivals_at_scale._written(4096, 500, tmp_path)
    assert [place.stat().st_mtime_ns for place in tmp_path.iterdir()] == written


def test_a_size_beyond_the_part_that_tunes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n must be from 8 to 227 for breast_cancer, as one part"):
        small("breast_cancer", n=512, rows=tmp_path / "rows.csv")


def test_a_method_is_asked_for_with_its_strength(tmp_path):
    with pytest.raises(ValueError, match=r"method must be one of LoRA; LoRA Dropout 0.3; "):
        full(method=("LoRA Dropout",), rows=tmp_path / "rows.csv")


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder must be one with rows of small"):
        compare(tmp_path)
