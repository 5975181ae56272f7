"""What is reported beside what was measured: cells, gains, claims, and what is missing."""

import numpy as np
import pandas as pd
import pytest

from probes.metrics.confidence_intervals import mean_interval
from recipes.compare import HERE, check_claims, compare_cells
from recipes.runs import once, read_runs
from tests.recipes.shell import run_module

pytestmark = pytest.mark.slow

REPORTED = pd.read_csv(HERE / "reported.csv")
CLAIMS = pd.read_csv(HERE / "claims.csv")
GLUE = REPORTED[
    (REPORTED["table"] == "GLUE")
    & ~REPORTED["metric"].isin(["average", "F1", "accuracy (mismatched)"])
]
SEEDS = (1, 2, 3, 4, 5)
NOT_OF_MMLU = ["step", "steps", "rank", "device"]


def run_rows(task="glue/rte", method="lora", p=0.0, inference="no masks", samples=4, **columns):
    """Rows of five seeds at the end of training, as a run keeps them."""
    return pd.DataFrame({
        "task": task, "method": method, "p": p, "inference": inference, "samples": samples,
        "ensemble": 4, "draw": SEEDS, "step": 10, "steps": 10, "rank": 8,
        "device": "cuda:0",
    } | columns)  # fmt: skip


def kept(folder, *tables):
    """Keep each table as a run of its own, and read them all."""
    for number, table in enumerate(tables):
        place = folder / f"run{number}"
        place.mkdir(parents=True)
        table.to_parquet(place / "rows.parquet")
    return once(read_runs([folder]))


def accuracies(generator, level):
    return level + 0.01 * generator.standard_normal(len(SEEDS))


def cell(cells, task, method, metric):
    chosen = cells[["task", "method", "metric"]].eq([task, method, metric]).all(axis=1)
    return cells[chosen].squeeze()


def test_the_reported_averages_are_those_of_the_reported_tasks():
    """So both rows, which come from two papers, are told as they stand there."""
    for method in ("LoRA", "AdaLoRA"):
        average = cell(REPORTED, "glue", method, "average")["value"]
        single = GLUE[GLUE["method"] == method]
        assert len(single) == 8
        assert average == pytest.approx(single["value"].mean(), abs=0.00501)


def test_a_cell_is_the_mean_over_seeds_and_its_difference_from_what_is_reported(tmp_path):
    measured = accuracies(np.random.default_rng(0), 0.85)
    other = run_rows(p=0.3, inference="ensemble", accuracy=0.1)  # not the paper's rate
    unmasked = run_rows(p=0.5, inference="expected weight", accuracy=0.2)  # not its inference
    rows = kept(tmp_path, run_rows(accuracy=measured), other, unmasked)
    cells = compare_cells(REPORTED, rows)
    found = cell(cells, "glue/rte", "LoRA", "accuracy")
    assert (found["measured"], found["low"], found["high"]) == mean_interval(100 * measured)
    assert found["difference"] == pytest.approx(100 * measured.mean() - 85.20)
    assert found["seeds"] == 5
    assert cell(cells, "glue/rte", "LoRA Dropout", "accuracy")["seeds"] == 0
    assert len(cells) > len(REPORTED)


def test_the_gain_of_dropout_is_paired_by_seed(tmp_path):
    """What a seed adds to both cancels, so that the interval of a constant gain has no width."""
    plain = accuracies(np.random.default_rng(1), 0.85)
    dropped = run_rows(p=0.5, inference="ensemble", accuracy=plain + 0.03)
    cells = compare_cells(REPORTED, kept(tmp_path, run_rows(accuracy=plain), dropped))
    gain = cell(cells, "glue/rte", "LoRA Dropout - LoRA", "accuracy")
    assert gain["value"] == pytest.approx(88.09 - 85.20)
    assert [gain["measured"], gain["low"], gain["high"]] == pytest.approx([3.0] * 3)


def test_an_average_needs_every_task(tmp_path):
    def rows_of(tasks):
        return [run_rows(task, accuracy=0.9, test_score=0.7, spearman=0.5) for task in tasks]

    tasks = GLUE["task"].unique()
    some = compare_cells(REPORTED, kept(tmp_path / "some", *rows_of(tasks[:-1])))
    assert cell(some, "glue", "LoRA", "average")["seeds"] == 0
    every = compare_cells(REPORTED, kept(tmp_path / "every", *rows_of(tasks)))
    found = cell(every, "glue", "LoRA", "average")
    # Six accuracies, CoLA's Matthews correlation, and the mean of STS-B's two correlations.
    assert found["measured"] == pytest.approx((6 * 90 + 70 + 60) / 8)


def test_costs_are_ratios_within_a_task_and_seed(tmp_path):
    plain = run_rows(seconds=np.arange(1.0, 6.0), peak_mib=100.0)
    dropped = run_rows(p=0.5, inference="ensemble", seconds=4 * np.arange(1.0, 6.0), peak_mib=110.0)
    cells = compare_cells(REPORTED, kept(tmp_path, plain, dropped))
    for metric, ratio in (("times the seconds of LoRA", 4), ("times the memory of LoRA", 1.1)):
        assert cell(cells, "any", "LoRA Dropout", metric)["measured"] == pytest.approx(ratio)
    # On a CPU it is the memory of the process so far.
    on_cpu = [rows.assign(device="cpu") for rows in (plain, dropped)]
    cells = compare_cells(REPORTED, kept(tmp_path / "cpu", *on_cpu))
    found = cells[cells["table"] == "replication"].set_index("metric")["seeds"]
    assert found["times the seconds of LoRA"] == 5
    assert found["times the memory of LoRA"] == 0


@pytest.mark.parametrize("value", [0.1, 6 / 13, 0.9])
def test_equal_values_in_all_seeds_have_no_verdict(value, tmp_path):
    """As of a network that always predicts one class: the interval has no width."""
    kept(tmp_path, run_rows(accuracy=value))
    status, said, _ = run_module(str(tmp_path), ["recipes.compare", str(tmp_path)])
    assert status == 0
    assert any(f"{100 * value:.2f}" in line and "equal in all seeds" in line
               for line in said.splitlines())  # fmt: skip


def test_claims_are_measured_by_the_difference_that_they_are_about(tmp_path):
    generator = np.random.default_rng(2)
    plain = run_rows(ece=0.1 + 0.001 * generator.standard_normal(5), test_score=0.9)
    dropped = run_rows(p=0.5, inference="ensemble", ece=0.04, test_score=0.8)
    mmlu = [
        run_rows("mmlu", method, p, inference, accuracy=value).drop(columns=NOT_OF_MMLU)
        for method, p, inference, value in (
            ("base model", 0.0, "no adapter", 0.44), ("lora", 0.0, "no masks", 0.43),
            ("lora", 0.5, "ensemble", 0.46), ("lora", 0.5, "expected weight", 0.1),
        )
    ]  # fmt: skip
    rows = kept(tmp_path, plain, dropped, *mmlu)
    found = check_claims(CLAIMS, rows, rows).set_index("claim")
    error = found.loc["the calibration error of LoRA is above that of LoRA Dropout"]
    assert error["difference"] == pytest.approx(100 * (plain["ece"].mean() - 0.04))
    assert error["low"] > 0
    never = found.loc["dropping in training and at test is above never dropping"]
    assert never["high"] < 0
    for claim, difference in (("LoRA Dropout is above the base model", 2),
                              ("the base model is above LoRA", 1)):  # fmt: skip
        assert found.loc[claim, "difference"] == pytest.approx(difference)
    assert found.loc["the score rises with N: N = 8 is above 1", "seeds"] == 0


def test_a_claim_at_the_best_evaluation_is_of_the_step_with_the_best_score(tmp_path):
    """Of the steps 0, 5 and 10 the second has the best score; of the ensemble the end is known."""
    along = [run_rows(ece=0.1 * step, test_score=score).assign(step=step)
             for step, score in ((0, 0.5), (5, 0.9), (10, 0.8))]  # fmt: skip
    end = run_rows(p=0.5, inference="ensemble", ece=0.3, test_score=0.9)
    kept(tmp_path, pd.concat(along), end)
    best = once(read_runs([tmp_path], best=True))
    assert best["step"].tolist() == [5] * 5
    assert best["ece"].tolist() == [0.5] * 5
    ends = once(read_runs([tmp_path]))
    found = check_claims(CLAIMS, ends, best).set_index("claim")
    assert found.loc["the calibration error of LoRA is above that of LoRA Dropout", "seeds"] == 0


def test_a_cell_takes_runs_of_its_rank(tmp_path):
    rows = kept(
        tmp_path, run_rows("squad", exact_match=0.86), run_rows("squad", rank=2, exact_match=0.85)
    )
    cells = compare_cells(REPORTED, rows)
    ours = cells[cells["task"].eq("squad") & cells["method"].eq("LoRA")]
    measured = ours[ours["metric"] == "exact match"].set_index("rank")["measured"]
    assert measured.to_dict() == pytest.approx({2: 85.0, 8: 86.0})


def test_a_cell_whose_value_is_not_known_is_measured_all_the_same(tmp_path):
    kept(
        tmp_path,
        run_rows("glue/mrpc", p=0.5, inference="ensemble", accuracy=[0.5, 0.6] * 2 + [0.7]),
    )
    status, said, _ = run_module(str(tmp_path), ["recipes.compare", str(tmp_path)])
    assert status == 0
    (line,) = [one for one in said.splitlines() if "58.00 ± " in one]
    assert [one.strip() for one in line.split("│")[1:]] == [
        "GLUE", "glue/mrpc", "8", "LoRA Dropout", "accuracy", "", "58.00 ± 10.39", "", "", "5",
        "not known", "",
    ]  # fmt: skip
    assert "not run: SQuAD, MMLU, cost, replication" in " ".join(said.split())


def test_a_diverged_seed_is_left_out_and_said(tmp_path):
    kept(tmp_path, run_rows(accuracy=[0.8, 0.9, float("nan"), 0.7, 0.6]))
    status, said, _ = run_module(str(tmp_path), ["recipes.compare", str(tmp_path)])
    assert status == 0
    assert any("75.00" in line and "4 (1 diverged)" in line for line in said.splitlines())


def test_the_same_run_counts_once_and_a_sweep_not_at_all(tmp_path):
    first = run_rows(accuracy=0.9)
    kept(tmp_path, first, first.assign(accuracy=0.1))
    kept(tmp_path / "sweep", first.assign(draw=0))
    rows = once(read_runs([tmp_path]))
    assert rows["accuracy"].tolist() == [0.9] * 5


def test_the_command_prints_verdicts_and_keeps_the_cells(tmp_path):
    kept(tmp_path, run_rows(accuracy=np.array([0.5, 0.501, 0.502, 0.503, 0.504])))
    status, said, _ = run_module(
        str(tmp_path), ["recipes.compare", str(tmp_path), "--out", "cells.csv"]
    )
    assert status == 0
    (line,) = [line for line in said.splitlines() if "glue/rte" in line and "50.20" in line]
    assert "-35.00 ± 0.20" in line
    assert "lower" in line
    assert "not run" in said
    assert len(pd.read_csv(tmp_path / "cells.csv")) > len(REPORTED)


@pytest.mark.parametrize("module", ["recipes.compare", "recipes.choose"])
def test_a_folder_without_runs_is_one_line(module, tmp_path):
    said_of = {
        "damaged": "cannot be read", "empty": "no finished runs", "stability": "say no step",
        "calibration": "say no method",
    }  # fmt: skip
    if module == "recipes.choose":
        said_of["mmlu"] = "say no training_learning_rate"
    for name in said_of:
        (tmp_path / name).mkdir()
    (tmp_path / "damaged/rows.parquet").write_bytes(b"PAR1 damaged")
    for name, column in (("stability", "step"), ("calibration", "method"), ("mmlu", "rank")):
        if name in said_of:
            run_rows().drop(columns=column).to_parquet(tmp_path / name / "rows.parquet")
    for name, words in said_of.items():
        status, said, complaint = run_module(str(tmp_path), [module, str(tmp_path / name)])
        assert (status, said) == (2, "")
        assert words in complaint
        assert len(complaint.strip().splitlines()) == 1
