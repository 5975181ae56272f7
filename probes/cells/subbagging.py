"""Networks on random subsets of S: which examples they see, and how an example is left out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Bags:
    """Subsets of S that networks are trained on, and their averages.

    Attributes:
        inside: 1 where a network sees an example and 0 elsewhere, (networks, n).
        mixing: weights of the networks in the predictor of S (row 0) and in those of all S^i (row
            1 + i), (n + 1, networks); rows sum to 1.
    """

    inside: Reals
    mixing: Reals

    @property
    def weights(self) -> Reals:
        """Example weights of the networks, (networks, n); rows sum to 1."""
        return self.inside / self.inside.sum(1, keepdims=True)


def draw_subsets(n: int, size: int, count: int, generator: np.random.Generator) -> Reals:
    """Draw subsets of S, all equally likely, independently of one another.

    Args:
        n: number of examples.
        size: of a subset.
        count: number of subsets.
        generator: of the subsets.

    Returns:
        1 where a subset holds an example and 0 elsewhere, (count, n).
    """
    return (generator.random((count, n)).argsort(1) < size).astype(np.float64)


def without_training(n: int, count: int, generator: np.random.Generator) -> Bags:
    """Many networks on halves of S, of which those without example i are the predictor of S^i.

    Source: Soloff, Barber & Willett 2024 (arXiv 2301.12600): such a half is a uniform half-sized
    subset of the other examples, so that no network is trained for it.

    Args:
        n: number of examples, at least 2.
        count: number of networks, so many that every example is left out by one of them.
        generator: of the subsets.

    Returns:
        The bags; the last rows of ``mixing`` average fewer networks than the first.

    Raises:
        ValueError: an example is in every subset.
    """
    inside = draw_subsets(n, n // 2, count, generator)
    without = 1 - inside
    kept = without.sum(0)
    if not kept.all():
        raise ValueError(f"bags must be more: all {count} hold the same example of {n}")
    return Bags(inside, np.vstack([np.full(count, 1 / count), (without / kept).T]))


def with_replacements(n: int, count: int, generator: np.random.Generator) -> Bags:
    """Few networks on halves of S; where one loses example i, it gets another one in its place.

    The new one is drawn from those that it does not have. A half of S without i, whether or not it
    ever had it, is then a uniform half-sized subset of the others, so that the predictor of S^i
    has as many networks as that of S and is drawn by the same rule: a coupling of the two that
    moves no network needlessly.

    Args:
        n: number of examples, at least 2.
        count: number of networks of a predictor.
        generator: of the subsets and of the replacements.

    Returns:
        The bags: first those of S, then one for each of their examples.
    """
    first = draw_subsets(n, n // 2, count, generator)
    rows, mixing = list(first), np.zeros((n + 1, count + int(first.sum())))
    mixing[:, :count] = 1 / count
    for bag, held in enumerate(first):
        outside = np.flatnonzero(held == 0)
        for i in np.flatnonzero(held):
            changed = held.copy()
            changed[i], changed[generator.choice(outside)] = 0, 1
            mixing[1 + i, bag], mixing[1 + i, len(rows)] = 0, 1 / count
            rows.append(changed)
    return Bags(np.array(rows), mixing)
