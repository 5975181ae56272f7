"""Rammal, Achille, Golatkar, Diggavi & Soatto 2022 (arXiv 2206.14025): leave-one-out CMI."""

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, unwrap
from theory.wide import Wide


def leave_one_out_gap_bound(
    *, information: ArrayLike, loss_bound: ArrayLike, n: ArrayLike
) -> float | Real:
    """Square-root form (rough): C (1 + 1/n) sqrt(I / 2)."""
    known, examples = Wide(nonnegative("information", information)), count("n", n)
    ceiling = Wide(nonnegative("loss_bound", loss_bound))
    return unwrap((ceiling * (1 + 1 / examples) * (known / 2).root()).array())
