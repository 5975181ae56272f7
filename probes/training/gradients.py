"""The gradient of a block of replicas' objective, in held memory."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from lora_dropout.functional import penalty_gradient
from probes.models.feedforward import Columns, FeedForward
from probes.models.network import Factors, Inputs, Masks, Network
from probes.training.replica_maps import ReplicaMap, cheaper_map, in_one_call

# Named overloads: finding the overload at every call goes through exceptions, which make the
# threads of a process wait for each other.
relu_gradient = torch.ops.aten.threshold_backward.grad_input


class ObjectiveGradient(ABC):
    """Gradient of every replica's weighted loss, averaged over N mask samples.

    The loss of replica r is the sum over examples of weights[r, j] * loss_j.

    Args:
        network: the frozen network.
        factors: of R replicas, read in place.
        gradient: receives the gradient; laid out as ``factors``, both by ``Network.views``.
        samples: N.
    """

    def __init__(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int
    ) -> None:
        self.loss, self.scaling = network.loss, network.scaling
        self.factors, self.gradient, self.samples = factors, gradient, samples

    def feed(self, inputs: Inputs, weights: Tensor) -> None:
        """Take the examples of the next steps and their weights.

        Args:
            inputs: m examples.
            weights: one replica a row, (R, m), in the dtype of the network.
        """
        self.targets = inputs.targets
        self.weights = weights.unsqueeze(1) / self.samples

    @abstractmethod
    def write(self, masks: Masks) -> None:
        """Write the gradient at the factors as they are, under N mask pairs a layer."""

    def add_penalty(self, *penalty_weights: float) -> None:
        """Add the gradient of penalty_weight * (sum of the squared norms of all updates).

        Args:
            *penalty_weights: one of every cell whose replicas these are.
        """
        cells = len(penalty_weights)
        for (A, B), (grad_A, grad_B) in zip(self.factors, self.gradient, strict=True):
            add_A, add_B = penalty_gradient(A, B, self.scaling)
            for grad, add in ((grad_A, add_A), (grad_B, add_B)):
                parts = zip(grad.chunk(cells), add.chunk(cells), penalty_weights, strict=True)
                for of_cell, more, weight in parts:
                    of_cell.add_(more, alpha=weight)


class AutogradGradient(ObjectiveGradient):
    """For any network, by automatic differentiation, one pass a mask sample.

    Args:
        network, factors, gradient, samples: as for :class:`ObjectiveGradient`.
    """

    def __init__(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int
    ) -> None:
        super().__init__(network, factors, gradient, samples=samples)
        self.network = network

    def feed(self, inputs: Inputs, weights: Tensor) -> None:
        """Take examples and weights, as in :meth:`ObjectiveGradient.feed`."""
        super().feed(inputs, weights)
        self.inputs = inputs

    def outputs_of(self, factors: Factors, drawn: Masks) -> Tensor:
        """Compute outputs under the masks of one sample.

        Args:
            factors: of R replicas.
            drawn: one pair a layer, of one sample.

        Returns:
            Outputs, (R, k, m), differentiable in the factors.
        """
        return self.network.replica_outputs(factors, self.inputs, masks=drawn)

    def write(self, masks: Masks) -> None:
        """Write the gradient at the factors as they are, under N mask pairs a layer."""
        leaves = [[factor.detach().requires_grad_() for factor in pair] for pair in self.factors]
        total: list[Tensor] | None = None
        for sample in range(self.samples):
            drawn = [(mask_in[sample], mask_out[sample]) for mask_in, mask_out in masks]
            with torch.enable_grad():
                outputs = self.outputs_of([(A, B) for A, B in leaves], drawn)
                losses = self.loss.value(outputs, self.targets)
                value = (losses * self.weights.squeeze(1)).sum()
            found = torch.autograd.grad(value, [factor for pair in leaves for factor in pair])
            total = (
                list(found)
                if total is None
                else [held.add_(new) for held, new in zip(total, found, strict=True)]
            )
        assert total is not None
        for written, new in zip((g for pair in self.gradient for g in pair), total, strict=True):
            written.copy_(new)


class FeedForwardGradient(ObjectiveGradient):
    """For a feed-forward network, with the backward pass written out, in held memory.

    Args:
        network, factors, gradient, samples: as for :class:`ObjectiveGradient`.
        examples: m, the examples of a step.
        cells: whose replicas these are, as many of each; examples and masks then have the cells
            in front, as :class:`ReplicaMap` reads them.
    """

    maps: list[ReplicaMap]
    #: Chooses the kind of map of every layer.
    map_kind = staticmethod(cheaper_map)

    def __init__(
        self,
        network: FeedForward,
        factors: Factors,
        gradient: Factors,
        *,
        samples: int,
        examples: int,
        cells: int = 1,
    ) -> None:
        super().__init__(network, factors, gradient, samples=samples)
        self.maps, self.cells = [], cells
        activation = None
        layers = zip(network.weights, network.biases, factors, gradient, strict=True)
        for weight, bias, pair, grad_pair in layers:
            d_out, d_in = weight.shape
            kind = self.map_kind(network.rank, d_in, d_out, examples, common=activation is None)
            layer = kind(
                weight,
                bias,
                pair,
                grad_pair,
                scaling=network.scaling,
                samples=samples,
                examples=examples,
                input=activation,
                cells=cells,
            )
            self.maps.append(layer)
            activation = layer.output
        self.outputs, self.grad = self.maps[-1].output, self.maps[-1].output_gradient
        self.grad_by_sample = self.grad.unflatten(0, (samples, -1))
        self.output_parts, self.grad_parts = self._parts(self.outputs), self._parts(self.grad)

    def feed(self, inputs: Inputs, weights: Tensor) -> None:
        """Take examples and weights, as in :meth:`ObjectiveGradient.feed`."""
        assert isinstance(inputs, Columns)
        super().feed(inputs, weights)
        self.target_parts = self._targets_of_parts()
        self.maps[0].feed(inputs.features, inputs.frozen)

    def write(self, masks: Masks) -> None:
        """Write the gradient at the factors as they are, under N mask pairs a layer."""
        for layer, pair in zip(self.maps, masks, strict=True):
            layer.hold_masks(*pair)
        self._forward()
        parts = zip(self.output_parts, self.target_parts, self.grad_parts, strict=True)
        for outputs, targets, grad in parts:
            self.loss.gradient(outputs, targets, grad)
        self.grad_by_sample.mul_(self.weights)
        self._backward()

    def _parts(self, tensor: Tensor) -> Sequence[Tensor]:
        """Cut (N C R, k, m) into what the loss is applied to: (R, k, m), or (N, C, R, k, m)."""
        if in_one_call(tensor):
            return [tensor.unflatten(0, (self.samples, self.cells, -1))]
        return tensor.chunk(self.samples * self.cells)

    def _targets_of_parts(self) -> Sequence[Tensor]:
        if in_one_call(self.outputs):
            return [self.targets if self.cells == 1 else self.targets.unsqueeze(1)]
        of_cells = [self.targets] if self.cells == 1 else self.targets.unbind(0)
        return [*of_cells] * self.samples

    def _forward(self) -> None:
        *hidden, last = self.maps
        for layer in hidden:
            layer.forward()
            layer.output.relu_()
        last.forward()

    def _backward(self) -> None:
        for below, layer in zip(reversed(self.maps[:-1]), reversed(self.maps[1:]), strict=True):
            layer.backward()
            grad = below.output_gradient
            layer.input_gradient(grad)
            relu_gradient(grad, below.output, 0, grad_input=grad)
        self.maps[0].backward()


def objective_gradient(
    network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
) -> ObjectiveGradient:
    """Choose the fastest gradient that there is for a network.

    Args:
        network, factors, gradient, samples: as for :class:`ObjectiveGradient`.
        examples: m, the examples of a step.

    Returns:
        A :class:`FeedForwardGradient` where the network is feed-forward, otherwise an
        :class:`AutogradGradient`. Examples are not fed yet.
    """
    if isinstance(network, FeedForward):
        return FeedForwardGradient(network, factors, gradient, samples=samples, examples=examples)
    return AutogradGradient(network, factors, gradient, samples=samples)
