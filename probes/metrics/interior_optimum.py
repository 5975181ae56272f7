"""Is a rate inside the range better than both its ends?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from probes.metrics.confidence_intervals import mean_p_value, overlap_of
from probes.metrics.multiple_comparisons import LEVEL, holm


@dataclass(frozen=True)
class Optimum:
    """Where a quantity is least over the rates.

    Attributes:
        p: the rate with the least mean; NaN where the smallest or the largest diverged in a draw.
        inside: whether it lies between the smallest and the largest rate.
        told: whether tests show it. For a rate inside: that it is better than both ends. For an
            end: that every rate inside is worse, and the other end too.
        like_the_other_end: whether of an end the last alone is not shown.
        flat: whether the mean is the same at every rate, so that no rate has less.
    """

    p: float
    inside: bool
    told: bool
    like_the_other_end: bool = False
    flat: bool = False

    def __str__(self) -> str:
        if np.isnan(self.p):
            return "not known"
        if self.flat:
            return "the same at every rate"
        if not self.inside:
            rival = "the other end" if self.like_the_other_end else "a rate inside"
            other = "" if self.told else f", not told apart from {rival}"
            return f"least at the end p = {self.p:g}{other}"
        return f"least inside, at p = {self.p:g}" + (
            "" if self.told else ", not told apart from an end"
        )


def interior_optimum(rows: pd.DataFrame, quantity: str) -> Optimum:
    """Find the rate at which a quantity is least, and test it against both ends.

    Every rate inside is tested against the smallest and against the largest rate, paired over
    draws; p-values are corrected for all of these tests (Holm), as the rate is chosen by the same
    draws. So the smallest rate is shown to be the best only where every rate inside is detectably
    worse, and the largest rate by a test of its own: two that must both reject need no correction
    for each other. A rate that diverged in any draw is left out: its other draws would be compared
    with more.

    Args:
        rows: one a rate and draw, with ``p``, ``draw`` and the quantity.
        quantity: of which less is better.

    Returns:
        The optimum.
    """
    # Also the draws in which no rate is known.
    wide = rows.pivot_table(
        index="draw", columns="p", values=quantity, aggfunc="mean", dropna=False
    )
    finite = wide.where(np.isfinite(wide)).dropna(axis=1)
    average = finite.mean()
    ends = [float(rows["p"].min()), float(rows["p"].max())]
    if not set(ends) <= set(average.dropna().index):
        return Optimum(float("nan"), inside=False, told=False)
    best = float(average.index[int(average.to_numpy(na_value=np.inf).argmin())])
    if average.nunique() == 1 and 1 < len(average) == rows["p"].nunique():
        return Optimum(best, inside=False, told=False, flat=True)
    inside = [float(p) for p in finite.columns if p not in ends]
    overlap = overlap_of(rows)
    tests = {
        (p, end): mean_p_value(finite[end] - finite[p], overlap=overlap)
        for p in inside
        for end in ends
    }
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    if best in inside:
        told = all(adjusted[best, end] <= LEVEL and average[end] > average[best] for end in ends)
    else:
        # A rate that diverged in a draw is not known to be worse.
        between = {float(p) for p in rows["p"]} - set(ends)
        told = between <= set(inside) and all(
            adjusted[p, best] <= LEVEL and average[p] > average[best] for p in inside
        )
        other = ends[0] if best == ends[1] else ends[1]
        apart = (
            other == best or mean_p_value(finite[other] - finite[best], overlap=overlap) <= LEVEL
        )
        return Optimum(
            best, inside=False, told=told and apart, like_the_other_end=told and not apart
        )
    return Optimum(best, inside=True, told=told)
