"""Halves of S: which networks make the predictor of S, and of S without an example."""

import numpy as np
import pytest

from probes.cells.subbagging import draw_subsets, with_replacements, without_training
from theory.soloff2024 import leave_one_out_changes


def test_subsets_have_their_size_and_all_are_equally_likely():
    """Counts of the 6 pairs of 4 examples, by a chi-square test that errs once in 10^6 runs."""
    drawn = draw_subsets(4, 2, 6000, np.random.default_rng(0))
    assert (drawn.sum(1) == 2).all()
    counts = np.unique(drawn @ [1, 2, 4, 8], return_counts=True)[1]
    assert len(counts) == 6
    assert np.square(counts - 1000).sum() / 1000 < 35.9


def test_those_without_an_example_are_the_predictor_of_the_rest():
    bags = without_training(7, 40, np.random.default_rng(1))
    assert (bags.inside.sum(1) == 3).all()
    answers = np.random.default_rng(2).random(40)
    averaged = bags.mixing @ answers
    expected = leave_one_out_changes(answers, bags.inside)
    assert averaged[1:] - averaged[0] == pytest.approx(expected)
    assert np.allclose(bags.weights.sum(1), 1)


def test_too_few_halves_are_refused():
    with pytest.raises(ValueError, match="bags must be more: all 1 hold the same example of 4"):
        without_training(4, 1, np.random.default_rng(0))


@pytest.mark.parametrize(("n", "count"), [(4, 3), (7, 5), (10, 1)])
def test_a_lost_example_is_replaced_and_nothing_else(n, count):
    bags = with_replacements(n, count, np.random.default_rng(3))
    assert (bags.inside.sum(1) == n // 2).all()
    assert np.allclose(bags.mixing.sum(1), 1)
    first = bags.inside[:count]
    for i in range(n):
        used = np.flatnonzero(bags.mixing[1 + i])
        assert len(used) == count
        assert not bags.inside[used, i].any()
        # In order, each differs from the half of S by the exchange alone.
        kept = first[first[:, i] == 0]
        assert sorted(map(tuple, bags.inside[used[used < count]])) == sorted(map(tuple, kept))
        for changed in bags.inside[used[used >= count]]:
            assert (np.abs(first[first[:, i] == 1] - changed).sum(1) == 2).any()


def test_halves_of_the_rest_are_all_equally_likely_after_replacement():
    """The 3 pairs of the 3 others of 4 examples; chi-square, one false alarm in 10^6 runs."""
    bags = with_replacements(4, 6000, np.random.default_rng(4))
    used = bags.inside[np.flatnonzero(bags.mixing[1])]
    counts = np.unique(used @ [1, 2, 4, 8], return_counts=True)[1]
    assert counts.sum() == 6000
    assert len(counts) == 3
    assert np.square(counts - 2000).sum() / 2000 < 27.7
