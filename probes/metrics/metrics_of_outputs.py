"""What is measured of a trained network: losses, gap, and how far an example moves its own loss."""

import math

import torch
from torch import Tensor

from probes.metrics.change_statistics import change_statistics
from probes.models.losses import Loss
from probes.models.network import Inputs


def measure_outputs(
    loss: Loss, on_train: Tensor, train: Inputs, on_test: Tensor, test: Inputs
) -> dict[str, float]:
    """Measure from outputs, in float64 on the CPU.

    Args:
        loss: of the outputs.
        on_train: outputs on S of the replica trained on S, then of those trained without example 0,
            1, ..., (n + 1, k, n); or of the first alone, (1, k, n).
        train: S.
        on_test: outputs of the first replica on test data, (1, k, m).
        test: the test data.

    Returns:
        ``train_loss``, ``test_loss``, ``train_score``, ``test_score``, ``gap``; with all replicas
        also the statistics of ``probes.metrics.change_statistics``, of which ``beta_signed``
        estimates the gap without test data. What is measured of the first replica is NaN where its
        outputs are not finite, its scores, too; other replicas that diverged are counted as
        ``diverged`` and left out.
    """
    on_train, on_test = on_train.double().cpu(), on_test.double().cpu()
    train_targets, test_targets = (held.targets.double().cpu() for held in (train, test))
    scores = {
        "train_score": loss.score(on_train[:1], train_targets).mean().item(),
        "test_score": loss.score(on_test, test_targets).mean().item(),
    }
    on_train, on_test = loss.value(on_train, train_targets), loss.value(on_test, test_targets)
    return measure_losses(on_train, on_test) | scores


def measure_losses(on_train: Tensor, on_test: Tensor) -> dict[str, float]:
    """Measure from losses, float64 on the CPU.

    Args:
        on_train: of the n + 1 replicas (or of the first alone) on S, (n + 1, n) or (1, n).
        on_test: of the first replica on test data, (m,) or (1, m).

    Returns:
        As :func:`measure_outputs`, without scores.
    """
    train_loss, test_loss = on_train[0].mean().item(), on_test.mean().item()
    record = {"train_loss": train_loss, "test_loss": test_loss, "gap": test_loss - train_loss}
    if len(on_train) == 1:
        return record
    # Nothing is known of any change where the network trained on S diverged.
    kept = on_train[0] if math.isfinite(train_loss) else torch.full_like(on_train[0], math.nan)
    change = on_train[1:].diagonal() - kept
    return record | change_statistics(change.numpy())
