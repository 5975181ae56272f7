"""Scores say what is right; outputs that are not finite have none."""

import pytest
import torch

from probes.models.losses import cross_entropy, logistic, squared

NAN, INFINITE = float("nan"), float("inf")


def test_scores_are_one_where_the_class_is_right():
    outputs = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]])
    targets = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert cross_entropy.score(outputs, targets).tolist() == [1, 0, 1]
    assert logistic.score(outputs[:1] - 0.5, targets[:1]).tolist() == [1, 0, 1]


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("loss", [cross_entropy, logistic, squared], ids=lambda loss: loss.name)
def test_a_diverged_replica_has_no_score_and_spoils_no_others(loss, value):
    """Replica 1 of three has one output that is not finite."""
    generator = torch.Generator().manual_seed(0)
    classes = 3 if loss is cross_entropy else 1
    outputs = torch.randn(3, classes, 4, generator=generator)
    targets = torch.eye(3, 4)[:classes]
    sound = loss.score(outputs, targets)
    outputs[1, 0, 2] = value
    found = loss.score(outputs, targets)
    assert found.shape == (3, 4)
    assert found.dtype == outputs.dtype
    assert not found[1, 2].isfinite()
    assert not found[1].mean().isfinite()
    assert torch.equal(found[::2], sound[::2])
    assert torch.equal(found[1, [0, 1, 3]], sound[1, [0, 1, 3]])


@pytest.mark.parametrize("loss", [cross_entropy, logistic], ids=lambda loss: loss.name)
def test_where_the_loss_is_nan_the_score_is(loss):
    classes = 3 if loss is cross_entropy else 1
    targets = torch.eye(3, 3)[:classes]
    for value in (NAN, INFINITE, -INFINITE):
        outputs = torch.zeros(classes, 3)
        outputs[0] = value
        assert (loss.value(outputs, targets).isnan() <= loss.score(outputs, targets).isnan()).all()
