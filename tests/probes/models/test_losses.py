"""Scores say what is right, and have none where outputs are not finite; gradients are right."""

import pytest
import torch

from probes.models import losses
from probes.models.losses import Loss, cross_entropy, logistic, squared

NAN, INFINITE = float("nan"), float("inf")
#: Also one that is added there.
LOSSES = [one for one in vars(losses).values() if isinstance(one, Loss)]


def test_scores_are_one_where_the_class_is_right():
    outputs = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]])
    targets = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert cross_entropy.score(outputs, targets).tolist() == [1, 0, 1]
    assert logistic.score(outputs[:1] - 0.5, targets[:1]).tolist() == [1, 0, 1]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_the_gradient_is_that_of_the_value(loss):
    """Of every loss of the module: a wrong one would train something else without a word."""
    classes = 3 if loss is cross_entropy else 1
    outputs = torch.randn(
        2, classes, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    targets = torch.arange(5).remainder(2)[None].double()
    if loss is cross_entropy:
        targets = torch.eye(3, dtype=torch.float64)[:, torch.arange(5) % 3]
    outputs.requires_grad_(True)
    (slope,) = torch.autograd.grad(loss.value(outputs, targets).sum(), outputs)
    memory = torch.empty_like(slope)
    torch.testing.assert_close(loss.gradient(outputs.detach(), targets, None), slope)
    assert loss.gradient(outputs.detach(), targets, memory) is memory
    torch.testing.assert_close(memory, slope)


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
