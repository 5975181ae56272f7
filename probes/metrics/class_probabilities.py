"""Probabilities of the classes, from the outputs of a classifier, and labels, from its targets."""

import torch
from torch import Tensor

from probes.models.losses import Loss, cross_entropy, logistic


def has_classes(loss: Loss) -> bool:
    """Whether outputs are those of a classifier."""
    return loss is cross_entropy or loss is logistic


def class_probabilities(loss: Loss, outputs: Tensor) -> Tensor:
    """Turn a classifier's outputs into probabilities.

    Args:
        loss: cross-entropy (k classes) or logistic (k = 1, two classes).
        outputs: logits, (..., k, m).

    Returns:
        Probabilities, (..., classes, m); NaN for an example with an output that is not finite.
    """
    if loss is logistic:
        # An output z is that of the two outputs 0 and z.
        outputs = torch.cat([torch.zeros_like(outputs), outputs], -2)
    outputs = outputs.where(outputs.isfinite().all(-2, keepdim=True), float("nan"))
    return outputs.softmax(-2)


def labels_of(targets: Tensor) -> Tensor:
    """Classes of examples, (m,), int64, by one-hot targets, (k, m), or 0/1 labels, (1, m)."""
    return targets[0].long() if len(targets) == 1 else targets.argmax(0)
