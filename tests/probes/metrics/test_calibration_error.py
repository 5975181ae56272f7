"""The expected calibration error is its definition."""

import pytest
import torch

from probes.metrics.calibration_error import ECE_BINS, calibration_error, class_probabilities
from probes.models.losses import cross_entropy, logistic


def by_hand(probabilities, labels):
    """Expected calibration error, bin by bin."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    total = 0.0
    for number in range(ECE_BINS):
        low, high = number / ECE_BINS, (number + 1) / ECE_BINS
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            distance = (right[inside].mean() - confidence[inside].mean()).abs()
            total += float(distance * inside.double().mean())
    return total


@pytest.mark.parametrize("loss", [cross_entropy, logistic], ids=lambda loss: loss.name)
def test_calibration_error_is_the_definition(loss):
    generator = torch.Generator().manual_seed(0)
    rows = 4 if loss is cross_entropy else 1
    outputs = 2 * torch.randn(rows, 200, generator=generator, dtype=torch.float64)
    labels = torch.randint(4 if rows == 4 else 2, (200,), generator=generator)
    targets = torch.eye(4)[labels].T if rows == 4 else labels.unsqueeze(0)
    probabilities, found = class_probabilities(loss, outputs, targets.double())
    assert torch.equal(found, labels)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(200, dtype=torch.float64))
    assert calibration_error(probabilities, labels) == pytest.approx(by_hand(probabilities, labels))
