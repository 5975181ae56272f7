"""Which learning rate a sweep chooses."""

import pandas as pd
import pytest

from recipes.choose import best_rates
from tests.recipes.shell import run_module
from tests.recipes.test_compare import run_rows


def tried(rate, method="LoRA Dropout", inference="ensemble", **columns):
    rows = run_rows("glue/rte", method, 0.5, inference, **columns)
    return rows.assign(draw=0, training_learning_rate=str(rate)).head(1)


def test_the_best_score_of_the_ensemble_decides():
    rows = pd.concat([
        tried(1e-3, test_score=0.7, test_loss=0.5),
        tried(1e-3, inference="expected weight", test_score=0.9, test_loss=0.1),
        tried(2e-3, test_score=0.8, test_loss=0.9),
        tried(4e-3, test_score=0.6, test_loss=0.5),
    ])  # fmt: skip
    assert best_rates(rows).to_dict("records") == [
        {"method": "LoRA Dropout", "rate": 2e-3, "edge": False}
    ]


def test_the_loss_decides_among_equal_scores_and_where_there_is_none():
    scored = pd.concat([tried(1e-3, test_score=0.7, test_loss=0.6),
                        tried(2e-3, test_score=0.7, test_loss=0.5)])  # fmt: skip
    assert best_rates(scored)["rate"].tolist() == [2e-3]
    assert best_rates(scored.drop(columns="test_score"))["rate"].tolist() == [2e-3]


@pytest.mark.parametrize("lost", ["test_score", "test_loss"])
def test_what_diverged_is_never_chosen(lost):
    good = {"test_score": 0.5, "test_loss": 0.7}
    rows = pd.concat([tried(1e-3, **good), tried(2e-3, **good | {lost: float("nan")})])
    assert best_rates(rows)["rate"].tolist() == [1e-3]


def test_a_line_a_method_and_a_word_about_the_end_of_the_sweep(tmp_path):
    for rate, score in ((1e-3, 0.7), (2e-3, 0.8)):
        place = tmp_path / f"sweep/p0.5-{rate}"
        place.mkdir(parents=True)
        methods = [
            tried(rate, name, test_score=score, test_loss=0.5) for name in ("lora", "adalora")
        ]
        pd.concat(methods).to_parquet(place / "rows.parquet")
    folders = [str(folder) for folder in sorted((tmp_path / "sweep").iterdir())]
    status, said, complaint = run_module(str(tmp_path), ["recipes.choose", *folders])
    assert status == 0
    assert said.splitlines() == ["lora 0.002", "adalora 0.002"]
    assert (
        len([line for line in complaint.splitlines() if "end of the learning rates" in line]) == 2
    )


def test_a_word_that_is_no_flag_is_refused_with_the_nearest(tmp_path):
    status, _, complaint = run_module(str(tmp_path), ["recipes.choose", "a", "--folder", "b"])
    assert (status, complaint) == (
        2, "error: unknown arguments: --folder b, did you mean --folders? (see --help)\n",
    )  # fmt: skip
