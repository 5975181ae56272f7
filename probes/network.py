"""A frozen feed-forward network with LoRA factors on its linear layers, for all replicas at once.

Activations hold features first and examples last, replicas in front: (R, features, examples). The
low-rank maps are the kernels of ``lora_dropout.functional``, the same that the full-scale layer
runs; the gradient is written out beside the forward pass, which takes half the time of autograd.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lora_dropout.functional import (
    add_update_columns,
    mask_factors,
    matmul_columns,
    merge_weight,
    merged_gradient,
    penalty,
    penalty_gradient,
    update_gradient_columns,
)
from lora_dropout.layer import initial_factor
from probes.losses import Loss

#: One (A, B) pair a layer: A (R, r, d_in), B (R, d_out, r).
Factors = list[tuple[Tensor, Tensor]]
#: One (mask_in, mask_out) pair a layer: (d_in,) and (d_out,), or (N, 1, d_in) and (N, 1, d_out).
Masks = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Inputs:
    """Examples as the network reads them, with what never changes computed once.

    Attributes:
        features: X, (d_in, m).
        targets: (k, m).
        frozen: output of the first frozen layer, W0 X + b, (d_out, m).
    """

    features: Tensor
    targets: Tensor
    frozen: Tensor

    def __len__(self) -> int:
        return self.features.shape[-1]

    def take(self, index: Tensor) -> "Inputs":
        """Return the examples of a mini-batch."""
        return Inputs(self.features[:, index], self.targets[:, index], self.frozen[:, index])


class Network:
    """ReLU network of frozen linear layers, each with a low-rank update.

    Args:
        weights: W0 of every layer, (d_out, d_in), in order; all of one dtype and device.
        biases: of every layer, (d_out,).
        rank: r, of every layer.
        alpha: the update is multiplied by alpha / rank.
        loss: of the network's output.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        *,
        rank: int,
        alpha: float,
        loss: Loss,
    ) -> None:
        self.weights, self.biases = list(weights), [bias.unsqueeze(-1) for bias in biases]
        self.rank, self.scaling, self.loss = rank, alpha / rank, loss

    @property
    def sides(self) -> list[tuple[int, int]]:
        """(d_in, d_out) of every layer."""
        return [(weight.shape[1], weight.shape[0]) for weight in self.weights]

    @property
    def size(self) -> int:
        """Number of trained numbers a replica."""
        return sum(self.rank * (d_in + d_out) for d_in, d_out in self.sides)

    def read(self, features: Tensor, targets: Tensor) -> Inputs:
        """Prepare examples: features (m, d_in) and targets (m, k), rows as data sets hold them."""
        weight = self.weights[0]
        columns = features.to(weight).mT.contiguous()
        frozen = torch.addmm(self.biases[0], weight, columns)
        return Inputs(columns, targets.to(weight).mT.contiguous(), frozen)

    def initial_factors(self, generator: torch.Generator) -> Factors:
        """Draw one replica's initial factors: LoRA's uniform A, and B = 0."""
        like = self.weights[0]
        return [
            (
                initial_factor(self.rank, d_in, generator).to(like).unsqueeze(0),
                like.new_zeros(1, d_out, self.rank),
            )
            for d_in, d_out in self.sides
        ]

    def views(self, flat: Tensor, replicas: int) -> Factors:
        """See a flat buffer of replicas * size numbers as factors; B is stored transposed."""
        pairs, start = [], 0
        for d_in, d_out in self.sides:
            middle = start + replicas * self.rank * d_in
            end = middle + replicas * d_out * self.rank
            pairs.append(
                (
                    flat[start:middle].view(replicas, self.rank, d_in),
                    flat[middle:end].view(replicas, self.rank, d_out).mT,
                )
            )
            start = end
        return pairs

    def outputs(
        self, factors: Factors, inputs: Inputs, masks: Masks | None = None, shrink: float = 1.0
    ) -> Tensor:
        """Outputs of all replicas on all examples.

        Args:
            factors: of R replicas.
            inputs: m examples.
            masks: one or N mask pairs a layer, the same for all replicas; none if left out.
            shrink: factor of every update, such as its expected mask (1-p)^2.

        Returns:
            (R, k, m), or (N, R, k, m) with N mask pairs.
        """
        replicas = factors[0][0].shape[0]
        *_, last = self._forward(
            _masked(factors, masks), inputs, self.scaling * shrink, Scratch(reuse=False)
        )
        if masks is None or masks[0][0].dim() == 1:
            return last.output
        return last.output.unflatten(0, (-1, replicas))

    def losses(self, factors: Factors, inputs: Inputs, shrink: float = 1.0) -> Tensor:
        """Loss of every replica without masks on every example, (R, m)."""
        return self.loss.value(self.outputs(factors, inputs, shrink=shrink), inputs.targets)

    def objective_gradient(
        self,
        factors: Factors,
        inputs: Inputs,
        weights: Tensor,
        masks: Masks | None,
        out: Factors,
        scratch: "Scratch",
    ) -> None:
        """Write the gradient of every replica's weighted loss into ``out``.

        The loss of replica r is the sum over examples of weights[r, j] * loss_j, averaged over the
        N mask pairs.

        Args:
            factors: of R replicas.
            inputs: m examples.
            weights: (R, m).
            masks: N mask pairs a layer; none if left out.
            out: receives the gradient, shaped as ``factors``.
            scratch: memory for the activations, the same at every step.
        """
        masked = _masked(factors, masks)
        passes = self._forward(masked, inputs, self.scaling, scratch)
        samples = masked[0][0].shape[0] // weights.shape[0]
        grad = self._loss_gradient(passes[-1].output, inputs, scratch)
        if samples > 1:
            weights = (weights / samples).repeat(samples, 1)
        grad.mul_(weights.unsqueeze(-2))
        for layer in reversed(range(len(passes))):
            grad_A, grad_B, grad = self._backward(passes, layer, grad, scratch)
            _unmask(grad_A, grad_B, None if masks is None else masks[layer], out[layer])

    def add_penalty_gradient(self, factors: Factors, strength: float, out: Factors) -> None:
        """Add the gradient of strength * (sum of the squared norms of all updates) to ``out``."""
        for (A, B), (grad_A, grad_B) in zip(factors, out, strict=True):
            add_A, add_B = penalty_gradient(A, B, self.scaling)
            grad_A.add_(add_A, alpha=strength)
            grad_B.add_(add_B, alpha=strength)

    def penalties(self, factors: Factors) -> Tensor:
        """Squared norm of every replica's update, (R,)."""
        return torch.stack([penalty(A, B, self.scaling) for A, B in factors]).sum(0)

    def merged_weights(self, factors: Factors, shrink: float = 1.0) -> list[Tensor]:
        """Weights with the update added, one (R, d_out, d_in) a layer."""
        return [
            merge_weight(weight, A, B, self.scaling * shrink)
            for weight, (A, B) in zip(self.weights, factors, strict=True)
        ]

    def gradient_norms(self, factors: Factors, inputs: Inputs, shrink: float = 1.0) -> Tensor:
        """Norm of every example's loss gradient in the adapted *weights*, (R, m).

        The gradient of a linear layer's weight is the outer product of its output's gradient and
        its input, so its norm is the product of theirs and no gradient is formed.
        """
        scratch = Scratch(reuse=False)
        passes = self._forward(factors, inputs, self.scaling * shrink, scratch)
        grad = self._loss_gradient(passes[-1].output, inputs, scratch)
        total = torch.zeros_like(grad[:, 0])
        for layer in reversed(range(len(passes))):
            total += grad.square().sum(-2) * passes[layer].input.square().sum(-2)
            grad = self._input_gradient(passes, layer, grad, scratch)
        return total.sqrt_()

    def _forward(
        self, factors: Factors, inputs: Inputs, scaling: float, scratch: "Scratch"
    ) -> "list[_Pass]":
        X, passes, m = inputs.features, [], len(inputs)
        for layer, (weight, bias, (A, B)) in enumerate(
            zip(self.weights, self.biases, factors, strict=True)
        ):
            replicas, d_out, rank = B.shape
            memory = scratch.take(f"output {layer}", (replicas, d_out, m), X)
            if _merging_is_cheaper(A, B, X):
                place = scratch.take(f"merged {layer}", (replicas, *weight.shape), X)
                merged = merge_weight(weight, A, B, scaling, out=place)
                output = matmul_columns(merged, X, out=memory).add_(bias)
                passes.append(_Pass(A, B, X, scaling, output, merged=merged))
            else:
                base = inputs.frozen
                if layer > 0:
                    frozen = weight.expand(replicas, *weight.shape)
                    base = matmul_columns(frozen, X, out=memory).add_(bias)
                place = scratch.take(f"hidden {layer}", (replicas, rank, m), X)
                hidden = matmul_columns(A, X, out=place)
                output = add_update_columns(base, hidden, B, scaling, out=memory)
                passes.append(_Pass(A, B, X, scaling, output, hidden=hidden))
            if layer + 1 < len(self.weights):
                X = output.relu_()
        return passes

    def _loss_gradient(self, output: Tensor, inputs: Inputs, scratch: "Scratch") -> Tensor:
        memory = scratch.take("loss gradient", output.shape, output)
        return self.loss.gradient(output, inputs.targets, memory)

    def _backward(
        self, passes: "list[_Pass]", layer: int, grad: Tensor, scratch: "Scratch"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the layer's (masked) factors and of its input."""
        step = passes[layer]
        if step.hidden is None:
            memory = scratch.take(f"weight gradient {layer}", _shape(step.merged), grad)
            grad_weight = matmul_columns(grad, step.input.mT, out=memory)
            grad_A, grad_B = merged_gradient(grad_weight, step.A, step.B, step.scaling)
            return grad_A, grad_B, self._input_gradient(passes, layer, grad, scratch)
        memory = scratch.take(f"hidden gradient {layer}", step.hidden.shape, grad)
        grad_A, grad_B, grad_hidden = update_gradient_columns(
            grad, step.input, step.hidden, step.A, step.B, step.scaling, out=memory
        )
        return grad_A, grad_B, self._input_gradient(passes, layer, grad, scratch, grad_hidden)

    def _input_gradient(
        self,
        passes: "list[_Pass]",
        layer: int,
        grad: Tensor,
        scratch: "Scratch",
        grad_hidden: Tensor | None = None,
    ) -> Tensor:
        """Gradient in the layer's input, through the ReLU that made it; as given for the first."""
        if layer == 0:
            return grad
        step = passes[layer]
        memory = scratch.take(f"input gradient {layer}", step.input.shape, grad)
        if step.merged is not None:
            grad_input = torch.bmm(step.merged.mT, grad, out=memory)
        else:
            if grad_hidden is None:
                grad_hidden = torch.bmm(step.B.mT, grad).mul_(step.scaling)
            frozen = self.weights[layer].mT
            grad_input = torch.bmm(frozen.expand(len(grad), *frozen.shape), grad, out=memory)
            grad_input.baddbmm_(step.A.mT, grad_hidden)
        return torch.ops.aten.threshold_backward(grad_input, step.input, 0, grad_input=grad_input)


class Scratch:
    """Memory that is taken again at every step.

    Allocating the activations of all replicas anew costs more than computing them: the system
    hands such large pieces out page by page.
    """

    def __init__(self, reuse: bool = True) -> None:
        self._reuse = reuse
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor | None:
        """Return uninitialised memory of this name and shape; None where none is held."""
        if not self._reuse:
            return None
        held = self._held.get(name)
        if held is None or held.shape != torch.Size(shape):
            held = self._held[name] = like.new_empty(shape)
        return held


@dataclass(frozen=True)
class _Pass:
    """What a layer's forward pass leaves for its backward pass: merged weight or hidden units."""

    A: Tensor
    B: Tensor
    input: Tensor
    scaling: float
    output: Tensor
    merged: Tensor | None = None
    hidden: Tensor | None = None


def _shape(tensor: Tensor | None) -> Sequence[int]:
    assert tensor is not None
    return tensor.shape


def loss_of_weights(network: Network, weights: Sequence[Tensor], inputs: Inputs) -> Tensor:
    """Mean loss of one network as a plain differentiable function of its weights; a scalar."""
    X = inputs.features
    for layer, (weight, bias) in enumerate(zip(weights, network.biases, strict=True)):
        X = torch.addmm(bias, weight, X)
        if layer + 1 < len(weights):
            X = X.relu()
    return network.loss.value(X, inputs.targets).mean()


def random_network_weights(
    widths: Sequence[int], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw the weights (He's normal law) and zero biases of a frozen random ReLU network."""
    for d_in, d_out in pairwise(widths):
        weight = torch.randn(d_out, d_in, generator=generator, dtype=torch.float64)
        yield weight * (2 / d_in) ** 0.5, torch.zeros(d_out, dtype=torch.float64)


def _merging_is_cheaper(A: Tensor, B: Tensor, X: Tensor) -> bool:
    """Count the multiplications a replica of W0 + BA, then times X, against B(AX) beside W0 X."""
    rank, d_in, d_out, examples = A.shape[-2], A.shape[-1], B.shape[-2], X.shape[-1]
    merged = rank * d_in * d_out + examples * d_in * d_out
    # W0 X of a common X was computed once, before the training.
    frozen = 0 if X.dim() == 2 else examples * d_in * d_out
    return merged < frozen + examples * rank * (d_in + d_out)


def _masked(factors: Factors, masks: Masks | None) -> Factors:
    """Masked factors with the N samples and R replicas in one leading dimension, N outside."""
    if masks is None:
        return factors
    pairs = [mask_factors(*pair, *mask) for pair, mask in zip(factors, masks, strict=True)]
    if masks[0][0].dim() == 1:
        return pairs
    return [(A.flatten(0, 1), B.flatten(0, 1)) for A, B in pairs]


def _unmask(
    grad_A: Tensor, grad_B: Tensor, masks: tuple[Tensor, Tensor] | None, out: tuple[Tensor, Tensor]
) -> None:
    """Gradient of the factors from that of the masked factors: masked again, summed over N."""
    if masks is None:
        out[0].copy_(grad_A)
        out[1].copy_(grad_B)
        return
    mask_in, mask_out = masks[0].unsqueeze(-2), masks[1].unsqueeze(-1)
    if masks[0].dim() == 1:
        torch.mul(grad_A, mask_in, out=out[0])
        torch.mul(grad_B, mask_out, out=out[1])
        return
    samples = (len(mask_in), -1)
    torch.sum(grad_A.unflatten(0, samples) * mask_in, 0, out=out[0])
    torch.sum(grad_B.unflatten(0, samples) * mask_out, 0, out=out[1])
