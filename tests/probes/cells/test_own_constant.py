"""The best prediction that is the same for every example, of models with outputs of many kinds."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes.cells.own_constant import best_constant_of
from probes.metrics.constant_prediction import best_constant
from probes.tasks import load_task
from probes.tasks.own_model import OwnModel
from tests.probes.test_own_model import digits_model

EVERY = torch.arange(30)
FEATURES = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
CLASSES = (FEATURES[:, 0] > 0.3).long()
#: Far from what the model returns at first.
AMOUNTS = 0.01 + 0.02 * FEATURES[:, 1].abs()


class Returns(nn.Module):
    """A linear model that returns what a function makes of its two outputs."""

    def __init__(self, made):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.made = nn.Linear(4, 2), made

    def forward(self, x):
        return self.made(self.layer(x))


def found(made, loss, targets=CLASSES, **settings):
    return best_constant_of(OwnModel(Returns(made), FEATURES, targets, loss, **settings), EVERY)


def cross_entropy(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


def test_the_best_constant_is_that_of_the_class_shares():
    index = torch.arange(100)
    task = load_task("digits")
    risk, score = best_constant(task.loss, task.targets[index].T)
    # A convex function of ten numbers; L-BFGS stops at a gradient of 1e-7.
    assert best_constant_of(digits_model(), index) == pytest.approx((risk, score), abs=1e-6)


PLAIN = found(lambda z: z, cross_entropy)


def viewed(outputs, targets):
    """As of language models: every token is a row."""
    losses = F.cross_entropy(outputs.view(-1, 2), targets.repeat_interleave(3), reduction="none")
    return losses.view(-1, 3).mean(1)


def in_place(outputs, targets):
    return cross_entropy(outputs.sub_(outputs.detach().mean()), targets)


@pytest.mark.parametrize(
    ("made", "loss"),
    [
        (lambda z: {"logits": z, "aux": z.sum()}, lambda o, y: cross_entropy(o["logits"], y)),
        (lambda z: (None, [z], 3), lambda o, y: cross_entropy(o[1][0], y)),
        (lambda z: z.unsqueeze(1).repeat(1, 3, 1), viewed),
        (lambda z: z, in_place),
    ],
    ids=["a number beside", "nested", "viewed", "in place"],
)
def test_the_form_of_the_outputs_does_not_matter(made, loss):
    assert found(made, loss) == pytest.approx(PLAIN, rel=1e-6, nan_ok=True)


def likelihood(log_probabilities, targets):
    return F.nll_loss(log_probabilities, targets, reduction="none")


def of_tokens(log_probabilities, targets):
    """Classes in the second dimension, as of segmentation."""
    each = targets.unsqueeze(1).expand(-1, log_probabilities.shape[2])
    return likelihood(log_probabilities, each).mean(1)


@pytest.mark.parametrize(
    ("made", "loss"),
    [
        (lambda z: z.log_softmax(1), likelihood),
        (lambda z: z.softmax(1), lambda p, y: likelihood(p.log(), y)),
        (lambda z: z.softmax(1).bfloat16(), lambda p, y: likelihood(p.float().log(), y)),
        (lambda z: z.unsqueeze(2).repeat(1, 1, 3).log_softmax(1), of_tokens),
    ],
    ids=["logarithms", "probabilities", "in half precision", "of tokens"],
)
def test_probabilities_stay_so(made, loss):
    """Free outputs had a loss of minus infinity, and nothing was ever said to be learned."""
    relative = 2e-3 if made(torch.zeros(1, 2)).dtype == torch.bfloat16 else 1e-6
    assert found(made, loss)[0] == pytest.approx(PLAIN[0], rel=relative)


def test_vectors_of_length_one_stay_so():
    directions = F.normalize(FEATURES[:, :2] + 1, dim=1)
    risk, _ = found(F.normalize, lambda z, y: -(z * y).sum(1), directions)
    assert risk == pytest.approx(-directions.mean(0).norm().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("made", "loss", "targets", "best"),
    [
        (lambda z: z[:, 0].sigmoid(), nn.BCELoss(reduction="none"), CLASSES.float(), PLAIN[0]),
        (lambda z: F.softplus(z[:, 0]), lambda z, y: z.log() + y / z, AMOUNTS,
         1 + AMOUNTS.mean().log().item()),
        (lambda z: z.exp(), lambda z, y: z[:, 1].log() + (y - z[:, 0]) ** 2 / (2 * z[:, 1] ** 2),
         AMOUNTS, 0.5 + AMOUNTS.std(unbiased=False).log().item()),
    ],
    ids=["probabilities", "rates", "spreads"],
)  # fmt: skip
def test_outputs_that_no_loss_is_known_of_are_none(made, loss, targets, best):
    """Steps from the model's first outputs lead below 0 or above 1."""
    risk, score = found(made, loss, targets, score=lambda z, y: loss(z, y))
    assert risk == pytest.approx(best, abs=1e-3)
    assert score == pytest.approx(risk, abs=1e-6)


@pytest.mark.parametrize(
    ("made", "loss"),
    [
        (lambda z: SimpleNamespace(logits=z), lambda o, y: cross_entropy(o.logits, y)),
        (lambda z: z.mT, lambda z, y: cross_entropy(z.mT, y)),
        (lambda z: z, lambda z, y: cross_entropy(z, y) / 0 * 0),
    ],
    ids=["no tensors", "examples last", "never finite"],
)
def test_a_constant_that_cannot_be_found_has_an_infinite_loss(made, loss):
    assert found(made, loss) == pytest.approx((float("inf"), float("nan")), nan_ok=True)
