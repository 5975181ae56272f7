"""A linear map of a transformer with the updates of R replicas: merged, or beside the frozen map.

Merged is what weights that are points of their own need, such as those of a Hessian. For factors of
small rank the other is cheaper, most of all where the input is common to all replicas: its frozen
product is then computed once for all of them and for all steps.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F


class AdaptedMap(ABC):
    """W x for the weights W of R replicas; the bias is the caller's."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Map (R or 1, m, tokens, d_in) to (R, m, tokens, d_out)."""

    @abstractmethod
    def averaged(self, attention: Tensor, x: Tensor) -> Tensor:
        """Average the mapped tokens, every head by its own attention and in its own outputs.

        Args:
            attention: weights of the tokens, (R, m, heads, tokens).
            x: tokens, (R or 1, m, tokens, d_in).

        Returns:
            Averages, (R, m, heads, d_out / heads).
        """


class MergedMap(AdaptedMap):
    """Every replica's weight formed: (R, d_out, d_in)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        """Map (R or 1, m, tokens, d_in) to (R, m, tokens, d_out)."""
        return torch.matmul(_rows(x), self.weight.mT).unflatten(1, x.shape[1:3])

    def averaged(self, attention: Tensor, x: Tensor) -> Tensor:
        """Average the tokens, then map, as in :meth:`AdaptedMap.averaged`.

        W (sum_t a_t x_t) is sum_t a_t (W x_t).
        """
        return _by_head(self.weight, average(attention, x))


class LowRankMap(AdaptedMap):
    """The frozen product and, beside it, B (A x).

    Args:
        weight: W0, (d_out, d_in).
        A: (R, r, d_in), masked where it is.
        B: (R, d_out, r), masked and scaled.
        frozen: W0 x of the input that this map will get, (m, tokens, d_out), where that is common
            to all replicas.

    Attributes:
        input_mask: of what A reads, common to all replicas, (m, tokens, d_in); None for none.
        rank_mask: of A x, common to all replicas, (r, m, tokens); None for none.
    """

    input_mask: Tensor | None = None
    rank_mask: Tensor | None = None

    def __init__(self, weight: Tensor, A: Tensor, B: Tensor, frozen: Tensor | None = None) -> None:
        self.weight, self.A, self.B, self.frozen = weight, A, B, frozen

    def __call__(self, x: Tensor) -> Tensor:
        """Map (R or 1, m, tokens, d_in) to (R, m, tokens, d_out)."""
        base = F.linear(x, self.weight) if self.frozen is None else self.frozen.unsqueeze(0)
        base = base.flatten(1, 2).expand(len(self.A), -1, -1)
        added = torch.baddbmm(base, self._hidden(x).mT, self.B.mT)
        return added.unflatten(1, x.shape[1:3])

    def averaged(self, attention: Tensor, x: Tensor) -> Tensor:
        """Average mapped tokens, as in :meth:`AdaptedMap.averaged`.

        Frozen products and A x are averaged where they are common to all replicas, and otherwise
        the tokens.
        """
        heads = attention.shape[2]
        masked = self.input_mask is not None or self.rank_mask is not None
        if self.frozen is None:
            averages = average(attention, x)
            base = _by_head(self.weight.expand(len(self.A), -1, -1), averages)
            hidden = torch.einsum("rkd,rmhd->rmhk", self.A, averages)
        else:
            values = self.frozen.unflatten(-1, (heads, -1))
            base = torch.einsum("rmht,mthe->rmhe", attention, values)
        if masked or self.frozen is not None:
            of_tokens = self._hidden(x).unflatten(2, x.shape[1:3])
            hidden = torch.einsum("rmht,rkmt->rmhk", attention, of_tokens)
        return base + _by_head(self.B, hidden)

    def _hidden(self, x: Tensor) -> Tensor:
        """A x, (R, r, m tokens), under the masks that there are."""
        tokens = x.shape[2]
        if self.input_mask is not None:
            x = x * self.input_mask[:, :tokens]
        rows = _rows(x)
        if rows.dim() == 3:
            hidden = self.A @ rows.mT
        else:
            # Of all replicas in one product.
            hidden = (self.A.flatten(0, 1) @ rows.mT).unflatten(0, self.A.shape[:2])
        if self.rank_mask is None:
            return hidden
        return hidden * self.rank_mask[:, :, :tokens].flatten(1)


def average(attention: Tensor, x: Tensor) -> Tensor:
    """Average tokens by the attention of every head.

    A product that broadcasts would make R copies of what is common to all replicas.

    Args:
        attention: weights of the tokens, (R, m, heads, tokens).
        x: tokens, (R or 1, m, tokens, d).

    Returns:
        Averages, (R, m, heads, d).
    """
    if len(x) == 1:
        return torch.einsum("rmht,mtd->rmhd", attention, x[0])
    return attention @ x


def _rows(x: Tensor) -> Tensor:
    """Tokens of all examples in a row: (m tokens, d) where they are common, or (R, m tokens, d)."""
    return x[0].flatten(0, 1) if len(x) == 1 else x.flatten(1, 2)


def _by_head(weight: Tensor, x: Tensor) -> Tensor:
    """Every head's part of the weights, (R, d_out, d), of its own input: (R, m, heads, d)."""
    parts = weight.unflatten(1, (x.shape[2], -1))
    return torch.einsum("rmhd,rhed->rmhe", x, parts)
