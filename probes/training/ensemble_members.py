"""The members of a test-time ensemble, for all replicas of a network."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lora_dropout.masks import ENSEMBLE_STEP
from probes.models.network import Factors, Network
from probes.training.mask_draws import draw_steps


def member_outputs(
    network: Network,
    factors: Factors,
    inputs: Any,
    members: int,
    *,
    p: float,
    seed: int,
    rescale: bool = False,
) -> Iterator[Tensor]:
    """Compute the outputs of one sampled member after the other.

    Members are the same for all replicas, and those of a smaller ensemble the first of a larger.

    Args:
        network: the frozen network.
        factors: of R replicas.
        inputs: the m examples.
        members: N.
        p: dropout rate.
        seed: of the masks.
        rescale: whether masks are divided by 1 - p.

    Yields:
        Outputs of members 0 to N - 1, (R, k, m) each.
    """
    steps = range(ENSEMBLE_STEP, ENSEMBLE_STEP + 1)
    for member in range(members):
        number = range(member, member + 1)
        (masks,) = draw_steps(network, p, steps, number, seed, rescale)
        yield network.replica_outputs(factors, inputs, masks=masks)


def ensemble_output(
    network: Network,
    factors: Factors,
    inputs: Any,
    members: int,
    *,
    p: float,
    seed: int,
    rescale: bool = False,
) -> Tensor:
    """Average the members' outputs before the softmax.

    Source: arXiv 2404.09610, Eq. 8.

    Args:
        network, factors, inputs, p, seed, rescale: as for :func:`member_outputs`.
        members: N, at least 1.

    Returns:
        Mean outputs, (R, k, m).
    """
    outputs = member_outputs(network, factors, inputs, members, p=p, seed=seed, rescale=rescale)
    total = next(outputs)
    for output in outputs:
        total = total + output
    return total / members
