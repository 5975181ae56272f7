"""On-average model stability: the identity enumerated, tightness, and what is assumed."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.lei2020 import lipschitz_gap_bound, smooth_gap_bound

positive = st.floats(1e-3, 1e3)


def enumerate_replacements(values, n, learn, loss):
    """Gap, train loss and both stabilities over all samples of n from equally likely values."""
    gaps, trained, moves = [], [], []
    for draw in product(values, repeat=n):
        w = learn(np.array(draw))
        trained.append(np.mean([loss(w, z) for z in draw]))
        gaps.append(np.mean([loss(w, z) for z in values]) - trained[-1])
        for i, other in product(range(n), values):
            moves.append(learn(np.array([*draw[:i], other, *draw[i + 1 :]])) - w)
    return np.mean(gaps), np.mean(trained), np.mean(np.abs(moves)), np.mean(np.square(moves)) ** 0.5


def square(w, z):
    return (w - z) ** 2 / 2


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_smooth_bound_holds_with_every_draw_enumerated(shrinkage, n):
    """Shrunk means under squared loss, which is 1-smooth."""
    gap, trained, _, moved = enumerate_replacements(
        (-1.0, 0.3, 2.0), n, lambda z: shrinkage * z.mean(), square
    )
    assert 0 < gap <= smooth_gap_bound(train_loss=trained, smoothness=1.0, stability=moved)


def test_memory_of_a_single_example_reaches_the_smooth_bound():
    """n = 1 and w = z: no train loss, and the gap is half the squared move."""
    gap, trained, _, moved = enumerate_replacements((-1.0, 1.0), 1, np.mean, square)
    assert trained == 0
    assert gap == pytest.approx(smooth_gap_bound(train_loss=0.0, smoothness=1.0, stability=moved))


def test_a_linear_loss_reaches_the_lipschitz_bound_and_breaks_the_smooth_one():
    """1 - w z at z = 1 or -1 has slope 1 and smoothness 0, and is below 0 at large w."""
    gap, trained, moved, root = enumerate_replacements(
        (-1.0, 1.0), 1, np.mean, lambda w, z: 1 - w * z
    )
    assert gap == pytest.approx(lipschitz_gap_bound(lipschitz=1.0, stability=moved))
    assert gap > smooth_gap_bound(train_loss=trained, smoothness=0.0, stability=root)


def test_a_steeper_loss_breaks_the_lipschitz_bound():
    gap, _, moved, _ = enumerate_replacements((-1.0, 1.0), 1, np.mean, lambda w, z: 2 - 2 * w * z)
    assert gap > lipschitz_gap_bound(lipschitz=1.0, stability=moved)


@given(positive, positive, positive, positive)
def test_no_constant_is_better_than_the_best(loss, smoothness, stability, gamma):
    """Theorem 2 as it is stated, with its free constant."""
    printed = smoothness / gamma * loss + (smoothness + gamma) / 2 * stability**2
    best = smooth_gap_bound(train_loss=loss, smoothness=smoothness, stability=stability)
    assert best <= printed * (1 + 1e-12)
    chosen = (2 * smoothness * loss) ** 0.5 / stability
    at_best = smoothness / chosen * loss + (smoothness + chosen) / 2 * stability**2
    assert best == pytest.approx(at_best, rel=1e-9)
