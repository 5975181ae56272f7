"""What each step of the design of retraining gives, one added to the other, in one run.

    python -m benchmarks.ladder --repetitions 5

Time per replica of leave-one-out cells, in one process: digits at n = 64 and 256, and tweets at
n = 32. The last step, workers of one thread, is timed by ``benchmarks.loo`` and ``loo_text``.
"""

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks import loo, loo_text
from benchmarks.interleaved_timing import Variant, compare
from probes.cli.command_line import run_functions
from probes.models.network import Factors, Masks, Network, one_after_another
from probes.training.blocks import blocks, replicas_per_block
from probes.training.gradients import AutogradGradient, ObjectiveGradient, objective_gradient
from probes.training.mask_draws import draw_steps
from probes.training.optimizers import AdamStep
from probes.training.replica_maps import LowRank

Cell = loo.Cell | loo_text.Cell
#: From a network, factors and memory for their gradient to what writes it.
MakeGradient = Callable[[Network, Factors, Factors, int], ObjectiveGradient]
#: From the flat buffers, the factors, their gradient and the rate to what takes the step.
MakeOptimizer = Callable[[Tensor, Tensor, Factors, Factors, float], Callable[[], object]]


class MergedGradient(AutogradGradient):
    """Every replica's masked weights formed, then the network; differentiated by autograd."""

    def write(self, masks: Masks) -> None:
        """Write the gradient with the weights of all replicas merged."""
        with patch.object(type(self.network), "replica_outputs", Network.replica_outputs):
            super().write(masks)


def autograd(kind: type[AutogradGradient]) -> MakeGradient:
    """What makes gradients of a kind by automatic differentiation."""
    return lambda network, factors, gradient, examples: kind(network, factors, gradient, samples=1)


def written_out(
    network: Network, factors: Factors, gradient: Factors, examples: int
) -> ObjectiveGradient:
    """The backward pass written out, with the cheaper contraction of each layer.

    Args:
        network: the frozen network.
        factors: of R replicas, read in place.
        gradient: receives the gradient; laid out as ``factors``.
        examples: m, of a step.

    Returns:
        What writes the gradient.
    """
    return objective_gradient(network, factors, gradient, samples=1, examples=examples)


def always_low_rank(
    network: Network, factors: Factors, gradient: Factors, examples: int
) -> ObjectiveGradient:
    """The same with the update beside the frozen product; arguments as of :func:`written_out`."""
    with patch("probes.training.gradients.cheaper_map", lambda *sizes, **more: LowRank):
        return written_out(network, factors, gradient, examples)


def torch_adam(
    flat: Tensor, gradient: Tensor, factors: Factors, grads: Factors, lr: float
) -> Callable[[], object]:
    """PyTorch's optimizer over the factors of all layers.

    Args:
        flat, gradient: buffers of all factors and of their gradient.
        factors, grads: views of the buffers, one pair a layer.
        lr: learning rate.

    Returns:
        A function that takes a step.
    """
    leaves = [factor.requires_grad_() for pair in factors for factor in pair]
    for leaf, grad in zip(leaves, (grad for pair in grads for grad in pair), strict=True):
        leaf.grad = grad
    return torch.optim.Adam(leaves, lr=lr, fused=True).step


def flat_adam(
    flat: Tensor, gradient: Tensor, factors: Factors, grads: Factors, lr: float
) -> Callable[[], object]:
    """One fused kernel over a flat buffer; arguments as of :func:`torch_adam`."""
    return AdamStep(flat, gradient, lr, 0.0)


@torch.no_grad()
def train(
    cell: Cell, lr: float, make_gradient: MakeGradient, make_optimizer: MakeOptimizer, size: int
) -> Tensor:
    """Train all replicas in blocks of a size; return their losses.

    Args:
        cell: what is trained.
        lr: learning rate of Adam.
        make_gradient: makes what writes the gradient of a block.
        make_optimizer: makes what takes its steps.
        size: largest number of replicas of a block.

    Returns:
        Losses of all replicas on S, (R, n).
    """
    network, p = cell.network, loo.P
    masks = draw_steps(network, p, range(cell.steps), range(1), 0)
    kept: list[Factors] = []
    for rows in blocks(len(cell.weights), size):
        count = rows.stop - rows.start
        flat = torch.empty(count * network.size)
        gradient = torch.empty_like(flat)
        factors, grads = network.views(flat, count), network.views(gradient, count)
        for pair, start in zip(factors, cell.start, strict=True):
            for factor, first in zip(pair, start, strict=True):
                factor.copy_(first.expand_as(factor))
        of = make_gradient(network, factors, grads, len(cell.inputs))
        of.feed(cell.inputs, cell.weights[rows])
        step = make_optimizer(flat, gradient, factors, grads, lr)
        for drawn in masks:
            of.write(drawn)
            step()
        kept.append([(A.detach(), B.detach()) for A, B in factors])
    return network.losses(one_after_another(kept), cell.inputs, update_scale=(1 - p) ** 2)


def digits_variants(cell: loo.Cell) -> list[Variant]:
    """What each step of the design adds on ``digits``, every variant with those before."""
    replicas = cell.replicas
    run = partial(train, cell, loo.LR)
    fitting = replicas_per_block(cell.network, len(cell.inputs))
    merged = autograd(MergedGradient)
    return [
        Variant("vmap, examples first", lambda: loo.run_vmap(cell), replicas),
        Variant("features first, autograd", lambda: run(merged, torch_adam, replicas), replicas),
        Variant("+ one flat buffer for Adam", lambda: run(merged, flat_adam, replicas), replicas),
        Variant(
            "+ backward written out", lambda: run(always_low_rank, flat_adam, replicas), replicas
        ),
        Variant("+ cheapest contraction", lambda: run(written_out, flat_adam, replicas), replicas),
        Variant(
            "+ blocks that fit the cache", lambda: run(written_out, flat_adam, fitting), replicas
        ),
    ]


def tweets_variants(cell: loo_text.Cell) -> list[Variant]:
    """The same on ``tweets``."""
    replicas = len(cell.weights)
    run = partial(train, cell, cell.lr)
    merged, low_rank = autograd(MergedGradient), autograd(AutogradGradient)
    return [
        Variant("vmap, our algebra", lambda: loo_text.run_vmap(cell), replicas),
        Variant("weights merged, blocks of 4", lambda: run(merged, flat_adam, 4), replicas),
        Variant("+ update beside the frozen", lambda: run(low_rank, flat_adam, 4), replicas),
        Variant(
            "+ all replicas in one block", lambda: run(low_rank, flat_adam, replicas), replicas
        ),
    ]


def main(repetitions: int = 5, n: tuple[int, ...] = (64, 256), steps: int = 100) -> None:
    """Print the tables.

    Args:
        repetitions: interleaved repetitions; medians are shown.
        n: sizes of the training set of digits.
        steps: optimizer steps on digits; tweets takes 60.
    """
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for size in n:
        print(f"\ndigits, n = {size}, {steps} steps")
        variants = digits_variants(loo.make_cell(size, steps, torch.float32))
        compare(variants, repetitions, [variants[0].name])
    print("\ntweets, n = 32, 60 steps")
    variants = tweets_variants(loo_text.make_cell(32, 60))
    compare(variants, repetitions, [variants[0].name])


if __name__ == "__main__":
    run_functions(main)
