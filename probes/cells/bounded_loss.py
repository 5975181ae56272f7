"""Losses in [0, C] that take few values: what information bounds ask for."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from probes.cells.supersample import Integers, Outcome, Reals
from probes.metrics.quantile_bins import quantile_bins

#: What the losses are called.
LOSSES = (ZERO_ONE, CLIPPED) = ("0-1", "clipped")


@dataclass(frozen=True)
class BoundedLoss:
    r"""A loss in [0, C] of K replicas on n pairs, beside one that takes few values.

    The information that a loss holds is counted over its values, so that a loss of a continuum is
    rounded to a few. The bounds then speak of the rounded loss. Rounding moves the mean loss on the
    selected examples by at most the mean of \|loss - rounded\| there, and the same on the others,
    so that the gap moves by at most :attr:`rounding`: added to the bound of the rounded loss it
    gives one for the loss itself. Values and C may depend on the losses of all K replicas: in the
    uniform law on these replicas they are fixed
    (:func:`probes.cells.supersample.balanced_selections`).

    Attributes:
        name: of the loss.
        loss_bound: C, in units of the loss.
        values: losses in [0, C], (K, 2, n).
        rounded: those that take few values, (K, 2, n).
        codes: numbers of the rounded values, (K, 2, n), from 0.
        selections: U, (K, n).
        test: mean losses of the replicas on the held-out examples, (K,); NaN for none.
    """

    name: str
    loss_bound: float
    values: Reals
    rounded: Reals
    codes: Integers
    selections: Integers
    test: Reals

    def first(self, count: int) -> Self:
        """The same of the first replicas alone, with their values and C as for all."""
        return replace(
            self, values=self.values[:count], rounded=self.rounded[:count],
            codes=self.codes[:count], selections=self.selections[:count], test=self.test[:count],
        )  # fmt: skip

    @property
    def rounding(self) -> float:
        """By how much rounding may change the gap, in units of the loss."""
        return 2 * float(np.abs(self.values - self.rounded).mean())

    @property
    def train_loss(self) -> float:
        """Mean loss of the replicas on the examples that they trained on."""
        return float(chosen(self.values, self.selections).mean())

    @property
    def new_loss(self) -> float:
        """Mean loss of the replicas on the other example of each pair."""
        return float(chosen(self.values, 1 - self.selections).mean())

    @property
    def gap(self) -> float:
        """The mean gap over the selections, in units of the loss: what the bounds speak of."""
        return self.new_loss - self.train_loss

    @property
    def gap_test(self) -> float:
        """The mean gap with the loss on the held-out examples in place of the others'."""
        return float(self.test.mean()) - self.train_loss

    @property
    def rounded_train_loss(self) -> float:
        """Mean rounded loss of the replicas on the examples that they trained on, at most C."""
        # The mean of many losses that are all C may exceed it in the last digit.
        return min(float(chosen(self.rounded, self.selections).mean()), self.loss_bound)

    @property
    def pair_codes(self) -> Integers:
        """Numbers of the pairs of rounded losses, (K, n)."""
        return self.codes[:, 0] * (self.codes.max() + 1) + self.codes[:, 1]

    @property
    def difference_codes(self) -> Integers:
        """Numbers of the differences of a pair's rounded losses, (K, n)."""
        difference = self.rounded[:, 1] - self.rounded[:, 0]
        return np.unique(difference, return_inverse=True)[1].reshape(difference.shape)


def zero_one_loss(pairs: Outcome, test: Outcome | None, selections: Integers) -> BoundedLoss:
    """The 0-1 loss, which takes two values as it is.

    Args:
        pairs: of K replicas on the 2n examples of the pairs, classes known.
        test: of the same replicas on the held-out examples; None for none.
        selections: U, (K, n).

    Returns:
        The loss, with C = 1.
    """
    assert pairs.wrong is not None
    codes = by_pair(pairs.wrong.astype(np.int64))
    values = codes.astype(np.float64)
    held_out = None if test is None else test.wrong
    means = np.full(len(codes), np.nan) if held_out is None else held_out.mean(1)
    return BoundedLoss(ZERO_ONE, 1.0, values, values, codes, selections, means)


def clipped_loss(
    pairs: Outcome,
    test: Outcome | None,
    selections: Integers,
    loss_bound: float | None,
    bins: int,
) -> BoundedLoss:
    """The task's loss, clipped at C and rounded to the means of quantile bins.

    Args:
        pairs, test, selections: as for :func:`zero_one_loss`; losses are finite.
        loss_bound: C; None for the largest loss of the K replicas on the pairs.
        bins: largest number of bins.

    Returns:
        The loss.
    """
    ceiling = float(pairs.losses.max()) if loss_bound is None else loss_bound
    values = by_pair(np.minimum(pairs.losses, ceiling))
    binned = quantile_bins(values, bins)
    means = np.full(len(values), np.nan)
    if test is not None:
        means = np.minimum(test.losses, ceiling).mean(1)
    return BoundedLoss(CLIPPED, ceiling, values, binned.values, binned.codes, selections, means)


def chosen(values: Reals, selections: Integers) -> Reals:
    """The value of the selected example of every pair.

    Args:
        values: (K, 2, n).
        selections: (K, n), 0 or 1.

    Returns:
        (K, n).
    """
    return np.take_along_axis(values, selections[:, None], axis=1)[:, 0]


def by_pair(values: NDArray) -> NDArray:
    """Values (K, 2n) of the examples as (K, 2, n), as pair i holds the examples i and n + i."""
    return values.reshape(len(values), 2, -1)
