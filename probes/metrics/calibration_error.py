"""Predicted probabilities, and whether they are right."""

from torch import Tensor, sigmoid, softmax, stack
from torchmetrics.functional.classification import multiclass_calibration_error

from probes.models.losses import Loss, cross_entropy, logistic

#: Bins of the calibration error, as in the experiments of Guo et al. 2017, arXiv 1706.04599.
ECE_BINS = 15


def has_classes(loss: Loss) -> bool:
    """Whether outputs are those of a classifier."""
    return loss is cross_entropy or loss is logistic


def class_probabilities(loss: Loss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a classifier's outputs into probabilities.

    Args:
        loss: cross-entropy (k classes) or logistic (k = 1, two classes).
        outputs: logits, (k, m).
        targets: one-hot classes, or 0/1 labels for the logistic loss, (k, m).

    Returns:
        Probabilities, (m, classes), and labels, (m,), int64.
    """
    if loss is logistic:
        positive = sigmoid(outputs[0])
        return stack([1 - positive, positive], 1), targets[0].long()
    return softmax(outputs, 0).T, targets.argmax(0)


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Expected calibration error of the most probable class, by torchmetrics.

    Examples are put into ``ECE_BINS`` bins of equal width by the probability of their most probable
    class. The error is the mean over examples of |accuracy - mean probability| of their bin.

    Source: Guo et al. 2017, arXiv 1706.04599.

    Args:
        probabilities: (m, classes), rows sum to 1.
        labels: (m,), int64.

    Returns:
        The error, in [0, 1].
    """
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, labels, classes, n_bins=ECE_BINS))
