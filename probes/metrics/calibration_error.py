"""Predicted probabilities, and whether they are right."""

from torch import Tensor, sigmoid, softmax, stack
from torchmetrics.functional.classification import multiclass_calibration_error

from probes.models.losses import Loss, cross_entropy, logistic

#: Bins of the calibration error, as in Guo et al. 2017.
ECE_BINS = 15


def has_classes(loss: Loss) -> bool:
    """Whether outputs are those of a classifier."""
    return loss is cross_entropy or loss is logistic


def class_probabilities(loss: Loss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities (m, classes) and labels (m,), from outputs and targets (k, m)."""
    if loss is logistic:
        positive = sigmoid(outputs[0])
        return stack([1 - positive, positive], 1), targets[0].long()
    return softmax(outputs, 0).T, targets.argmax(0)


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Expected calibration error of the most probable class (Guo et al. 2017), by torchmetrics.

    Args:
        probabilities: (m, classes).
        labels: (m,).
    """
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, labels, classes, n_bins=ECE_BINS))
