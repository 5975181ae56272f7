"""The masked low-rank map of many replicas at once, forward and backward, in held memory.

Features come first and examples last: an activation is (samples x replicas, features, examples).
Products of all replicas with an input common to them are then one large product, and a softmax over
classes runs along contiguous examples. A map's views and buffers are made once: with the small
matrices of a probe, making them anew at every step takes longer than multiplying.

The replicas may be those of several cells, R of each, one cell after the other: what is common to
the replicas of a cell, its input and its masks, then differs from cell to cell.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

#: One layer's factors, or their gradient: A (R, r, d_in) and B (R, d_out, r).
Pair = tuple[Tensor, Tensor]


def in_one_call(tensor: Tensor) -> bool:
    """Whether samples and cells are computed together, and not one by one.

    On a GPU they are, as their launches would take longer than their arithmetic. On the CPU each
    then rounds alike whatever is beside it: the last numbers of a call round in their own way.

    Args:
        tensor: that is computed with.
    """
    return tensor.is_cuda


class ReplicaMap(ABC):
    """A linear layer W0 x + b with a masked low-rank update, of R replicas and N mask samples.

    Args:
        weight: W0, (d_out, d_in).
        bias: (d_out, 1).
        factors: the trained factors, read in place at every step.
        gradient: where their gradient is written; shaped as ``factors``, B's transpose contiguous.
        scaling: alpha / r.
        samples: N.
        examples: m.
        input: memory that holds the input, (N R, d_in, m); None where the input is common to the
            replicas of a cell and comes by :meth:`feed`.
        cells: C; ``factors`` then hold C R replicas, and R stands for C R in all shapes.

    Attributes:
        output: (N R, d_out, m), written by :meth:`forward`.
        output_gradient: (N R, d_out, m), read by :meth:`backward`.
        read: what the update reads, the input unless a subclass perturbs it.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        factors: Pair,
        gradient: Pair,
        *,
        scaling: float,
        samples: int,
        examples: int,
        input: Tensor | None,
        cells: int = 1,
    ) -> None:
        self.weight, self.scaling, self.samples, self.cells = weight, scaling, samples, cells
        self.bias = bias if bias.any() else None
        self.A, self.B = factors
        self.B_T = self.B.mT
        self.grad_A, self.grad_B_T = gradient[0], gradient[1].mT
        self.count = samples * len(self.A)
        self.output = weight.new_empty(self.count, len(weight), examples)
        self.output_gradient = torch.empty_like(self.output)
        self.output_gradient_T = self.output_gradient.mT
        self.common = input is None
        if input is not None:
            self.input, self.input_T = input, input.mT
            self.read, self.read_T = self.input, self.input_T

    def feed(self, X: Tensor, frozen: Tensor) -> None:
        """Take an input common to all replicas of a cell.

        Args:
            X: the input, (d_in, m); of several cells (C, d_in, m).
            frozen: W0 X + b, (d_out, m) or (C, d_out, m).
        """
        if self.cells > 1:
            # Written there anew at every step: of all replicas it would be large.
            self.base, self.frozen_of_cells = self.output, frozen.unsqueeze(1)
        else:
            self.base = frozen.expand(self.count, *frozen.shape)
        self.input, self.input_T = X, X.mT
        self.read, self.read_T = self.input, self.input_T

    def hold_masks(self, mask_in: Tensor, mask_out: Tensor) -> None:
        """Take the masks of the next pass, common to all replicas of a cell.

        Args:
            mask_in: of A's columns, (N, 1, 1, d_in); of several cells (N, C, 1, 1, d_in).
            mask_out: of B's rows, (N, 1, 1, d_out) or (N, C, 1, 1, d_out).
        """
        self.mask_in = mask_in
        self.mask_out = mask_out if self.scaling == 1 else mask_out * self.scaling

    def by_cell(self, tensor: Tensor) -> Tensor:
        """View what has the replicas third from the end as masks read it: (..., C, R, a, b)."""
        return tensor if self.cells == 1 else tensor.unflatten(-3, (self.cells, -1))

    def rows_of(self, tensor: Tensor) -> Sequence[Tensor]:
        """View (N R, a, b) as what a common input multiplies: (R a, b) of every sample and cell.

        In one call they are one tensor.
        """
        rows = tensor.view(self.samples * self.cells, -1, tensor.shape[-1])
        return (rows,) if in_one_call(rows) else rows.unbind(0)

    def multiply_common(
        self, rows: Sequence[Tensor], common: Tensor, out: Sequence[Tensor]
    ) -> None:
        """Multiply :meth:`rows_of` something by what is common to the replicas of a cell.

        Args:
            rows: the left factors.
            common: the right factor, (b, c), or of several cells (C, b, c).
            out: :meth:`rows_of` the result.
        """
        each = (common,) if common.dim() == 2 else common.unbind(0)
        if rows[0].dim() == 3:
            of_one_sample = common.dim() == 3 and self.samples == 1
            every = common if of_one_sample else torch.stack(each * self.samples)
            torch.bmm(rows[0], every, out=out[0])
            return
        for left, right, place in zip(rows, each * self.samples, out, strict=True):
            torch.mm(left, right, out=place)

    @abstractmethod
    def forward(self) -> None:
        """Write the output."""

    @abstractmethod
    def backward(self) -> None:
        """Write the gradient of the factors, summed over the N samples."""

    @abstractmethod
    def input_gradient(self, out: Tensor) -> None:
        """Write the gradient in the input, (N R, d_in, m); after :meth:`backward`."""


def cheaper_map(rank: int, d_in: int, d_out: int, examples: int, common: bool) -> type[ReplicaMap]:
    """Choose the contraction that takes fewer multiplications.

    Args:
        rank, d_in, d_out: of the layer.
        examples: m.
        common: whether all replicas have the same input, so that W0 X is computed once for all.

    Returns:
        :class:`Merged` or :class:`LowRank`.
    """
    frozen = 0 if common else examples * d_in * d_out
    merged = (rank + examples) * d_in * d_out
    return Merged if merged < frozen + examples * rank * (d_in + d_out) else LowRank


class LowRank(ReplicaMap):
    """The update as B (A x), beside the frozen product.

    Args:
        *tensors, **sizes: arguments of :class:`ReplicaMap`.
    """

    def __init__(self, *tensors: Any, **sizes: Any) -> None:
        super().__init__(*tensors, **sizes)
        new, leading = self.A.new_empty, (self.samples, len(self.A))
        self.masked_A = new(*leading, *self.A.shape[1:])
        self.masked_B_T = new(*leading, *self.B_T.shape[1:])
        self.A_by_cell, self.masked_A_by_cell = self.by_cell(self.A), self.by_cell(self.masked_A)
        self.B_T_by_cell = self.by_cell(self.B_T)
        self.masked_B_T_by_cell = self.by_cell(self.masked_B_T)
        self.A_each = self.masked_A.flatten(0, 1)
        self.A_rows = self.rows_of(self.A_each)
        self.A_each_T = self.A_each.mT
        self.B_T_each = self.masked_B_T.flatten(0, 1)
        self.B_each = self.B_T_each.mT
        self.hidden = new(self.count, self.A.shape[1], self.output.shape[-1])
        self.hidden_rows = self.rows_of(self.hidden)
        self.hidden_gradient = torch.empty_like(self.hidden)
        self.hidden_gradient_rows = self.rows_of(self.hidden_gradient)
        self.many_A, self.many_B_T = self._place(self.grad_A), self._place(self.grad_B_T)
        self.many_A_rows = self.rows_of(self.many_A)
        self.each_A = self.many_A.unflatten(0, (self.samples, -1))
        self.each_B_T = self.many_B_T.unflatten(0, (self.samples, -1))
        self.each_A_by_cell = self.by_cell(self.each_A)
        self.each_B_T_by_cell = self.by_cell(self.each_B_T)
        self.output_by_cell = self.by_cell(self.output.unflatten(0, (self.samples, -1)))
        self.frozen_each = self.weight.expand(self.count, *self.weight.shape)
        self.frozen_each_T = self.frozen_each.mT

    def forward(self) -> None:
        """Write the output."""
        torch.mul(self.A_by_cell, self.mask_in, out=self.masked_A_by_cell)
        torch.mul(self.B_T_by_cell, self.mask_out, out=self.masked_B_T_by_cell)
        if self.common:
            self.multiply_common(self.A_rows, self.read, self.hidden_rows)
            if self.cells > 1:
                self.output_by_cell.copy_(self.frozen_of_cells)
        else:
            torch.bmm(self.A_each, self.read, out=self.hidden)
            self.base = torch.bmm(self.frozen_each, self.input, out=self.output)
            if self.bias is not None:
                self.base.add_(self.bias)
        self.mask_hidden(self.hidden)
        torch.baddbmm(self.base, self.B_each, self.hidden, out=self.output)

    def backward(self) -> None:
        """Write the gradient of the factors, summed over the N samples."""
        torch.bmm(self.B_T_each, self.output_gradient, out=self.hidden_gradient)
        self.mask_hidden(self.hidden_gradient)
        torch.bmm(self.hidden, self.output_gradient_T, out=self.many_B_T)
        if self.common:
            self.multiply_common(self.hidden_gradient_rows, self.read_T, self.many_A_rows)
        else:
            torch.bmm(self.hidden_gradient, self.read_T, out=self.many_A)
        self.each_A_by_cell.mul_(self.mask_in)
        self.each_B_T_by_cell.mul_(self.mask_out)
        if self.samples > 1:
            torch.sum(self.each_A, 0, out=self.grad_A)
            torch.sum(self.each_B_T, 0, out=self.grad_B_T)

    def input_gradient(self, out: Tensor) -> None:
        """Write the gradient in the input; arguments as of :meth:`ReplicaMap.input_gradient`."""
        torch.bmm(self.frozen_each_T, self.output_gradient, out=out)
        out.baddbmm_(self.A_each_T, self.hidden_gradient)

    def mask_hidden(self, hidden: Tensor) -> None:
        """Perturb A x, or its gradient, (N R, r, m), in place: here, not at all."""

    def _place(self, gradient: Tensor) -> Tensor:
        """Memory for the masked factor's gradient; of one sample, that of the factor itself."""
        if self.samples == 1:
            return gradient
        return gradient.new_empty(self.count, *gradient.shape[1:])


class Merged(ReplicaMap):
    """The update formed and added: W0 + D * (B A), D the outer product of the masks.

    Args:
        *tensors, **sizes: arguments of :class:`ReplicaMap`.
    """

    def __init__(self, *tensors: Any, **sizes: Any) -> None:
        super().__init__(*tensors, **sizes)
        replicas, shape = len(self.A), self.weight.shape
        self.update = self.A.new_empty(replicas, *shape)
        self.merged = self.A.new_empty(self.samples, replicas, *shape)
        self.update_by_cell = self.by_cell(self.update)
        self.merged_by_cell = self.by_cell(self.merged)
        self.each = self.merged.flatten(0, 1)
        self.rows = self.rows_of(self.each)
        self.each_T = self.each.mT
        self.weight_gradient = torch.empty_like(self.merged)
        self.gradient_each = self.weight_gradient.flatten(0, 1)
        self.gradient_rows = self.rows_of(self.gradient_each)
        self.gradient_by_cell = self.by_cell(self.weight_gradient)
        self.update_gradient = (
            self.weight_gradient[0] if self.samples == 1 else torch.empty_like(self.update)
        )
        self.update_gradient_T = self.update_gradient.mT
        self.output_rows = self.rows_of(self.output)
        self.output_gradient_rows = self.rows_of(self.output_gradient)

    def hold_masks(self, mask_in: Tensor, mask_out: Tensor) -> None:
        """Take the masks, as in :meth:`ReplicaMap.hold_masks`, and their outer product."""
        super().hold_masks(mask_in, mask_out)
        self.mask = self.mask_out.mT * self.mask_in

    def forward(self) -> None:
        """Write the output."""
        torch.bmm(self.B, self.A, out=self.update)
        torch.addcmul(self.weight, self.mask, self.update_by_cell, out=self.merged_by_cell)
        if self.common:
            self.multiply_common(self.rows, self.input, self.output_rows)
        else:
            torch.bmm(self.each, self.input, out=self.output)
        if self.bias is not None:
            self.output.add_(self.bias)

    def backward(self) -> None:
        """Write the gradient of the factors, summed over the N samples."""
        if self.common:
            self.multiply_common(self.output_gradient_rows, self.input_T, self.gradient_rows)
        else:
            torch.bmm(self.output_gradient, self.input_T, out=self.gradient_each)
        self.gradient_by_cell.mul_(self.mask)
        if self.samples > 1:
            torch.sum(self.weight_gradient, 0, out=self.update_gradient)
        torch.bmm(self.B_T, self.update_gradient, out=self.grad_A)
        torch.bmm(self.A, self.update_gradient_T, out=self.grad_B_T)

    def input_gradient(self, out: Tensor) -> None:
        """Write the gradient in the input; arguments as of :meth:`ReplicaMap.input_gradient`."""
        torch.bmm(self.each_T, self.output_gradient, out=out)
