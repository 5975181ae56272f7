"""Sample splitting: some draws of S choose among candidates, the others say what that gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probes.metrics.confidence_intervals import told_interval
from probes.metrics.paired_differences import less

#: One draw in so many chooses, and the others measure ("tell"). Few draws find a good candidate; a
#: narrow interval needs many: more gains are shown if a third of the draws chooses than if half do.
EVERY = 3

Interval = tuple[float, float, float]
UNKNOWN: Interval = (float("nan"),) * 3


@dataclass(frozen=True)
class SplitChoice:
    """What was chosen, and what the draws that had no part in the choice say of it.

    Attributes:
        telling: draws that did not choose, (draws,), bool.
        diverged: draws in which a candidate's loss is not finite, (candidates,), int.
        simplest: the candidate of least price that never diverged; None if all diverged.
        rival: what the choosing draws chose of the others; None if there are fewer than three draws
            or no others.
        gain: loss of ``simplest`` less that of ``rival`` on the telling draws, paired: mean and
            ends of the 95 % interval.
        learner: of these two the one with the lower mean loss on the choosing draws.
        margin: loss of chance less that of ``learner`` on the telling draws, likewise.
    """

    telling: NDArray[np.bool_]
    diverged: NDArray[np.int_]
    simplest: int | None
    rival: int | None
    gain: Interval
    learner: int | None
    margin: Interval

    @property
    def gains(self) -> bool:
        """Whether it is claimed that the rival has a lower loss than the simplest."""
        return self.gain[1] > 0

    @property
    def learned(self) -> bool | None:
        """Whether the learner's loss is detectably below chance; None if one draw has to tell."""
        if self.learner is None:
            return False
        return None if np.isnan(self.margin[1]) else self.margin[1] > 0

    @property
    def recommended(self) -> int | None:
        """The rival if it gains, otherwise the simplest; None if nothing was learned."""
        if self.learned is False:
            return None
        return self.rival if self.gains else self.simplest


def split_choice(
    losses: ArrayLike,
    price: ArrayLike,
    chance: ArrayLike,
    *,
    telling: ArrayLike | None = None,
    overlap: float = 0.0,
) -> SplitChoice:
    """Choose on some draws, and tell on the others.

    The choosing draws name a rival of the simplest candidate: the cheapest whose mean loss is
    within one standard error (of the paired difference) of the least (the one-standard-error rule
    of Breiman, Friedman, Olshen & Stone 1984, *Classification and Regression Trees*, chapter 3,
    here with paired differences). Only the telling draws say what the rival gains and whether
    anything is better than chance.

    *Guarantees*, if draws are independent and differences between two candidates, and between a
    candidate and chance, are normal: the interval of ``gain`` covers the rival's expected gain in
    95 % of runs, however many candidates there are; if no candidate is better than the simplest, a
    gain is claimed in at most 2.5 % of runs, and in the others the simplest is recommended; if none
    is better than chance, "learned" is claimed in at most 2.5 %. Draws of S that share many
    examples are not independent; ``overlap`` makes intervals the wider for it.

    The telling draws do decide one thing: whether the rival or the simplest is recommended. The
    rival's loss and gain are unbiased if they are read whatever is recommended; among
    those runs alone that claim a gain, gains are too large.

    Choosing on all draws but one and measuring on that one, in turn, does not give this: a
    candidate that wins by luck wins every time, and the draws that chose it tell its loss.

    Args:
        losses: one row a draw, one column a candidate; a loss that is not finite has diverged, and
            such a candidate is never chosen.
        price: of each candidate, (candidates,): what is simpler costs less.
        chance: loss of the constant prediction, (draws,); that of draws that choose is not read.
        telling: draws that do not choose, (draws,), bool; all but every third if left out.
        overlap: correlation of two draws, in [0, 1), as for
            :func:`probes.metrics.confidence_intervals.mean_interval`.

    Returns:
        The choice.

    >>> losses = [[1.0, 0.5], [1.2, 0.6], [1.1, 0.5], [1.0, 0.4], [1.1, 0.6]]
    >>> choice = split_choice(losses, price=[0, 1], chance=[2.3] * 5)
    >>> choice.rival, [round(value, 3) for value in choice.gain], choice.recommended
    (1, [0.55, 0.458, 0.642], 1)
    """
    losses, price = np.asarray(losses, np.float64), np.asarray(price, np.float64)
    every_third = np.arange(len(losses)) % EVERY == EVERY - 1
    telling = ~every_third if telling is None else np.asarray(telling, np.bool_)
    diverged = (~np.isfinite(losses)).sum(axis=0)
    sound = np.flatnonzero(diverged == 0)
    if len(sound) == 0:
        return SplitChoice(telling, diverged, None, None, UNKNOWN, None, UNKNOWN)
    # Of equal prices the first.
    simplest = learner = int(sound[np.argmin(price[sound])])
    rival, gain = None, UNKNOWN
    others = sound[sound != simplest]
    if len(others) and not telling.all():
        chose = losses[~telling]
        rival = int(others[_within_one_error(chose[:, others], price[others])])
        gained = less(losses[:, simplest], losses[:, rival])[telling]
        gain = told_interval(gained, overlap=overlap)
        learner = min(simplest, rival, key=lambda one: float(chose[:, one].mean()))
    above = less(np.asarray(chance, np.float64), losses[:, learner])
    margin = told_interval(above[telling], overlap=overlap)
    return SplitChoice(telling, diverged, simplest, rival, gain, learner, margin)


def _within_one_error(losses: NDArray[np.float64], price: NDArray[np.float64]) -> int:
    """The cheapest within one paired standard error of the least loss; of equal ones the best."""
    means = losses.mean(axis=0)
    behind = losses - losses[:, [means.argmin()]]
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else 0.0
    close = behind.mean(axis=0) <= error
    return int(np.lexsort((means, price, ~close))[0])
