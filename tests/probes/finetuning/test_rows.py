"""The reliability diagram of a fine-tuning run is that of its best evaluation."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from probes.finetuning.classification import MEASURED, classification_metrics
from probes.finetuning.rows import _diagram

NAN = float("nan")


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
