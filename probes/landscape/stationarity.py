"""How far trained networks are from being minimisers of the objective of the theorems."""

import torch
from torch import Tensor

from probes.models.network import Factors, Inputs, Network
from probes.training.blocks import blocks, replicas_per_block


@torch.enable_grad()
def objective_gradient_norms(
    network: Network, factors: Factors, inputs: Inputs, weights: Tensor, penalty_weight: float
) -> Tensor:
    r"""Norm of every replica's gradient of its regularized loss, in the adapted *weights* W.

    .. math:: \|\nabla_W\bigl(\textstyle\sum_j w_{rj}\,\ell_j(W)+s\|W-W_0\|^2\bigr)\|

    It vanishes at a minimiser over all W. A minimiser over updates of a rank that is too small need
    not be one: its gradient in W does not vanish, and the proof of Proposition 4.2 does not apply.

    Args:
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.
        weights: of the examples in each replica's loss, (R, m); rows sum to 1.
        penalty_weight: s = lambda (2p - p^2).

    Returns:
        Norms over all adapted layers together, (R,), float64 on the CPU, in units of the loss per
        unit of weight; not finite for a replica that diverged.
    """
    exact = torch.empty((), dtype=torch.float64)
    network, inputs, weights = network.place(exact), inputs.place(exact), weights.to(exact)
    rows = blocks(len(weights), replicas_per_block(network, len(inputs)))
    return torch.cat(
        [
            _norms(
                network, [(A[some].to(exact), B[some].to(exact)) for A, B in factors], inputs,
                weights[some], penalty_weight,
            )
            for some in rows
        ]
    )  # fmt: skip


def _norms(
    network: Network, factors: Factors, inputs: Inputs, weights: Tensor, penalty_weight: float
) -> Tensor:
    merged = [weight.detach().requires_grad_(True) for weight in network.merged_weights(factors)]
    losses = network.loss.value(network.outputs(merged, inputs), inputs.targets)
    moved = sum(
        (weight - frozen).square().sum()
        for weight, frozen in zip(merged, network.weights, strict=True)
    )
    # Replicas have nothing in common: the gradient of the sum is that of each.
    gradients = torch.autograd.grad((weights * losses).sum() + penalty_weight * moved, merged)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1)
