"""Rows of a fine-tuning run are its log; its reliability diagram is that of its best evaluation."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from probes.finetuning.cell import FinetuneCell
from probes.finetuning.classification import MEASURED, classification_metrics
from probes.finetuning.rows import _diagram, tables_of
from probes.finetuning.task import Corpus
from probes.jobs.job import TableKind

NAN = float("nan")


CELL = FinetuneCell(
    "glue/mnli", "", Corpus(None, "", "", None, None, None, 7), "model", False, None, "lora", 0.3,
    2, False, True, 8, 16.0, (), 4, False, (("bf16", True), ("learning_rate", 0.01)),
)  # fmt: skip


def evaluated(step, inference, held_out, seen, **more):
    """What the trainer logs of an evaluation, in two entries of one step."""
    return [
        {"step": step, "epoch": step / 10, f"eval_{inference}_loss": held_out,
         **{f"eval_{inference}_{name}": value for name, value in more.items()}},
        {"step": step, f"eval_train_{inference}_loss": seen},
    ]  # fmt: skip


def tables(log, task=None):
    trainer = SimpleNamespace(
        state=SimpleNamespace(log_history=log, max_steps=20), args=SimpleNamespace(device="cpu"),
        modes={"expected weight": 0, "ensemble": 4},
    )  # fmt: skip
    known = SimpleNamespace(n=12, score_name="accuracy", pool=30)
    return tables_of(CELL, task or known, trainer, 1.5)


def test_rows_are_the_log_one_an_inference_and_step():
    bins = [[0.6, 0.5]]
    log = [
        {"step": 20, "loss": 0.1},
        *evaluated(20, "ensemble", 0.7, 0.3, score=0.6, validation_loss=0.8, bins=bins),
        *evaluated(20, "expected_weight", 0.9, 0.4, score=0.5, validation_loss=0.9, bins=bins),
        {"step": 20, "eval_beside_expected_weight_accuracy": 0.25},
        *evaluated(10, "expected_weight", 1.0, 0.8, score=0.4, validation_loss=1.0, bins=bins),
    ]
    found = tables(log)
    rows = found[TableKind.ROWS]
    assert rows[["step", "epoch", "inference"]].to_numpy().tolist() == [
        [10, 1.0, "expected weight"], [20, 2.0, "expected weight"], [20, 2.0, "ensemble"],
    ]  # fmt: skip
    assert rows["test_loss"].tolist() == [1.0, 0.9, 0.7]
    assert rows["train_loss"].tolist() == [0.8, 0.4, 0.3]
    assert rows["gap"].tolist() == pytest.approx([0.2, 0.5, 0.4])
    assert rows["test_score"].tolist() == [0.4, 0.5, 0.6]
    assert rows["accuracy_mismatched"].tolist() == pytest.approx([NAN, 0.25, NAN], nan_ok=True)
    settings = {
        "task": "glue/mnli", "n": 12, "draw": 7, "method": "lora", "regularizer": "", "p": 0.3,
        "samples": 2, "own_masks": True, "rank": 8, "alpha": 16.0, "ensemble": 4, "model": "model",
        "steps": 20, "score_name": "accuracy", "seconds": 1.5, "device": "cpu", "pool": 30,
        "training_bf16": "True", "training_learning_rate": "0.01",
    }  # fmt: skip
    assert rows[list(settings)].drop_duplicates().to_dict("records") == [settings]
    assert "bins" not in rows
    assert found[TableKind.DIAGRAM]["confidence"].tolist() == [0.6, 0.6]


def test_a_task_without_a_score_says_so_and_a_pool_that_is_not_known_is_no_column():
    task = SimpleNamespace(n=12, score_name="", pool=None)
    found = tables(evaluated(20, "expected_weight", 0.9, 0.4), task)
    rows = found[TableKind.ROWS]
    assert rows["score_name"].tolist() == ["none"]
    assert not {"pool", "test_score", "bins"} & {*rows}
    assert found[TableKind.DIAGRAM].empty
    assert found[TableKind.DIAGRAM].dtypes.eq(float).all()


def rows(losses):
    """Evaluations by inference: validation loss and bins, pairs of confidence and accuracy."""
    return pd.DataFrame(
        [
            {"p": 0.3, "method": "lora", "draw": 7, "inference": inference,
             "validation_loss": loss, "bins": bins}
            for inference, along in losses.items()
            for loss, bins in along
        ]
    )  # fmt: skip


FIRST, SECOND, THIRD = [[0.5, 0.4], [0.9, 0.8]], [[0.6, 0.5]], [[NAN, 0.5]]


def test_the_least_validation_loss_chooses():
    found = _diagram(rows({"expected weight": [(0.5, FIRST), (0.4, SECOND), (NAN, THIRD)],
                           "ensemble": [(0.3, FIRST), (0.4, SECOND)]}))  # fmt: skip
    expected = pd.DataFrame(
        {"p": 0.3, "method": "lora", "draw": 7, "inference": ["ensemble"] * 2 + ["expected weight"],
         "confidence": [0.5, 0.9, 0.6], "accuracy": [0.4, 0.8, 0.5]}
    )  # fmt: skip
    pd.testing.assert_frame_equal(found, expected)


def test_an_inference_that_diverged_has_no_diagram_and_spoils_no_other():
    diverged = [(NAN, THIRD), (float("inf"), THIRD)]
    found = _diagram(rows({"expected weight": diverged, "ensemble": [(0.3, SECOND)]}))
    assert found["inference"].tolist() == ["ensemble"]
    nothing = _diagram(rows({"expected weight": diverged}))
    assert nothing.empty
    # A column of another type would change that of the runs that it is put together with.
    together = pd.concat([found, nothing])
    assert together.dtypes.to_dict() == found.dtypes.to_dict()


def test_a_task_without_classes_has_none():
    found = _diagram(rows({"ensemble": [(0.3, FIRST)]}).drop(columns="bins"))
    assert found.empty
    assert found.columns[-2:].tolist() == ["confidence", "accuracy"]


def test_a_model_whose_logits_are_not_finite_has_no_score():
    found = classification_metrics("accuracy", predicted(np.full((8, 2), np.nan, np.float32)))
    assert found.pop("bins") == []
    assert set(found) == set(MEASURED)
    assert all(math.isnan(value) for value in found.values())


def test_a_confidence_of_one_stands_in_the_last_bin():
    """Confidences 0.961 and 1, each right half of the time: one bin, as the diagram has it."""
    logits = np.array([[0, 0]] * 4 + [[3.2, 0], [40, 0]] * 2, np.float32)
    found = classification_metrics("accuracy", predicted(logits))
    ((confidence, accuracy),) = found["bins"]
    assert found["ece"] == pytest.approx(confidence - accuracy)
    assert 0 < found["ece_floor"] < 0.5


def predicted(logits):
    return SimpleNamespace(predictions=logits, label_ids=np.array([0, 1] * 4))
