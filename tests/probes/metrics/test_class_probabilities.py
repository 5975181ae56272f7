"""Probabilities sum to 1, those of two classes are a sigmoid's, and what diverged has none."""

import pytest
import torch

from probes.metrics.class_probabilities import class_probabilities, has_classes, labels_of
from probes.models.losses import cross_entropy, logistic, squared


def test_two_classes_have_the_probabilities_of_a_sigmoid():
    outputs = torch.linspace(-50, 50, 101, dtype=torch.float64).view(1, 1, -1)
    found = class_probabilities(logistic, outputs)
    torch.testing.assert_close(found[:, 1], outputs[:, 0].sigmoid())
    # Also where 1 less a sigmoid would have lost all digits.
    torch.testing.assert_close(found[:, 0], (-outputs[:, 0]).sigmoid(), rtol=1e-14, atol=0)


def test_probabilities_of_every_replica_are_its_own():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)
    found = class_probabilities(cross_entropy, outputs)
    assert torch.equal(found[1], class_probabilities(cross_entropy, outputs[1]))
    torch.testing.assert_close(found.sum(-2), torch.ones(2, 5, dtype=torch.float64))


@pytest.mark.parametrize("lost", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("loss", [cross_entropy, logistic], ids=lambda loss: loss.name)
def test_outputs_that_are_not_finite_have_no_probabilities(loss, lost):
    """A sigmoid of infinity is 1, of which a network that diverged must not be sure."""
    outputs = torch.zeros(2 if loss is cross_entropy else 1, 3, dtype=torch.float64)
    outputs[0, 1] = lost
    probabilities = class_probabilities(loss, outputs)
    assert probabilities[:, 1].isnan().all()
    assert (probabilities[:, [0, 2]] == 0.5).all()


def test_a_regression_has_no_classes():
    assert [has_classes(loss) for loss in (cross_entropy, logistic, squared)] == [True, True, False]


def test_labels_are_those_of_one_hot_and_of_binary_targets():
    assert labels_of(torch.eye(3)[[2, 0]].T).tolist() == [2, 0]
    assert labels_of(torch.tensor([[1.0, 0.0]])).tolist() == [1, 0]
