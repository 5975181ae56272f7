"""The best prediction that ignores the input: entropy and majority class, or mean and variance."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from probes.metrics.constant_prediction import best_constant
from probes.models.losses import cross_entropy, logistic, squared

LABELS = torch.tensor([0, 2, 2, 1, 2])
CLASSES = torch.nn.functional.one_hot(LABELS, 4).T.double()
BINARY = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
VALUES = torch.tensor([[0.5, -1.0, 2.0, 0.0, 3.0]], dtype=torch.float64)
CASES = [(cross_entropy, CLASSES), (logistic, BINARY), (squared, VALUES)]


def test_of_classes_it_is_the_entropy_and_the_majority():
    """One class of the four is in none of the examples."""
    loss, score = best_constant(cross_entropy, CLASSES)
    assert loss == pytest.approx(entropy([1, 1, 3]), rel=1e-12)
    assert score == 0.6


def test_of_two_classes_it_is_the_entropy_and_the_majority():
    loss, score = best_constant(logistic, BINARY)
    assert loss == pytest.approx(entropy([2, 3]), rel=1e-12)
    assert score == 0.6


def test_of_values_it_is_the_variance():
    assert best_constant(squared, VALUES) == pytest.approx([np.var(VALUES.numpy())] * 2, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10])
def test_of_equal_classes_it_is_the_log_of_their_number(classes):
    targets = torch.eye(classes, dtype=torch.float64).repeat(1, 3)
    assert best_constant(cross_entropy, targets)[0] == pytest.approx(np.log(classes), rel=1e-12)


def test_of_a_single_class_nothing_is_lost():
    for label in (0.0, 1.0):
        found = best_constant(logistic, torch.full((1, 3), label, dtype=torch.float64))
        assert found == pytest.approx((0, 1), abs=1e-300)
    one = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert best_constant(cross_entropy, one) == (0, 1)


@pytest.mark.parametrize(("loss", "targets"), CASES)
def test_no_other_constant_has_less(loss, targets):
    generator = torch.Generator().manual_seed(0)
    constants = torch.randn(200, len(targets), 1, dtype=torch.float64, generator=generator)
    losses = loss.value(constants.expand(-1, -1, targets.shape[1]), targets).mean(-1)
    assert float(losses.min()) > best_constant(loss, targets)[0]


@pytest.mark.parametrize(("loss", "targets"), CASES)
def test_over_permuted_targets_no_outputs_have_less_on_average(loss, targets):
    """What makes it a baseline that labels without meaning cannot pass."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(targets.shape, dtype=torch.float64, generator=generator)
    orders = list(permutations(range(targets.shape[1])))
    mean = np.mean([float(loss.value(outputs, targets[:, list(one)]).mean()) for one in orders])
    assert mean > best_constant(loss, targets)[0]
