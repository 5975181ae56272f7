"""Means over draws: their order, and what is not there."""

from probes import curves
from probes.metrics.confidence_intervals import means


def test_means_leave_out_what_is_not_there_and_keep_the_order():
    rows = curves.measure(task="ridge", p=[0.5, 0.1], methods="LoRA", n=6, draws=3, steps=3).rows
    table = means(rows, ["p"], ["test_loss", "nothing"])
    assert table["p"].tolist() == [0.5, 0.1]
    assert list(table) == ["p", "draws", "test_loss", "test_loss_low", "test_loss_high"]
