"""What a prediction that ignores the input can reach: the baseline called chance."""

import torch
from torch import Tensor

from probes.models.losses import Loss, cross_entropy, logistic

#: In place of the logarithm of a frequency of 0.
LEAST = torch.finfo(torch.float64).tiny


def best_constant(loss: Loss, targets: Tensor) -> tuple[float, float]:
    """Mean loss and score of the best constant prediction for these targets.

    For classes it predicts their frequencies, and the loss is the entropy of the frequencies: log k
    for k classes of equal size. For values it predicts their mean, and the loss is their variance.

    It is fitted to these very targets, so that no network beats it by luck: whatever
    outputs a network gives, its loss averaged over all permutations of the targets is at least
    this one, as (1/m!) sum over permutations of the mean loss is the mean over outputs f of
    (1/m) sum_j loss(f, y_j), and no f has less than the best constant. For cross-entropy a
    constant that was fixed beforehand has a larger loss, by about (k - 1)/(2m) nats.

    Args:
        loss: cross-entropy, logistic or squared.
        targets: one-hot classes, 0/1 labels or values, (k, m), float64.

    Returns:
        The mean loss, in the loss's unit, and the mean score: for classes the share of the
        majority, otherwise the mean squared error.

    >>> from probes.models.losses import logistic
    >>> targets = torch.tensor([[0.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    >>> [round(value, 6) for value in best_constant(logistic, targets)]
    [0.562335, 0.75]
    """
    mean = targets.mean(-1, keepdim=True)
    output = mean
    if loss is cross_entropy:
        output = mean.clamp_min(LEAST).log()
    if loss is logistic:
        output = mean.clamp_min(LEAST).log() - (1 - mean).clamp_min(LEAST).log()
    outputs = output.expand_as(targets)
    return float(loss.value(outputs, targets).mean()), float(loss.score(outputs, targets).mean())
