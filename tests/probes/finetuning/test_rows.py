"""The reliability diagram of a fine-tuning run is that of its best evaluation."""

import pandas as pd

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
