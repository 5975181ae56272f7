"""Information of a selection: exact where all are enumerated, too large on average otherwise."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import mutual_info_score

from tests.theory.pair_laws import law, laws, means
from theory.information import (
    information_gap_bound,
    leave_one_out_information,
    mean_information,
    plug_in_bias,
    plug_in_information,
    train_share,
)

EVERY = np.array(list(product((0, 1), repeat=4)))
tables = arrays.arrays(np.int64, (16, 4), elements=st.integers(0, 3))


@given(tables)
def test_of_all_selections_it_is_scikit_learns_mutual_information(codes):
    expected = [mutual_info_score(u, x) for u, x in zip(EVERY.T, codes.T, strict=True)]
    np.testing.assert_allclose(plug_in_information(EVERY, codes), expected, atol=1e-14)


@given(tables, st.integers(-10, 10))
def test_names_of_codes_and_the_order_of_selections_do_not_matter(codes, shift):
    found = plug_in_information(EVERY, codes)
    np.testing.assert_allclose(plug_in_information(EVERY, 3 * codes + shift), found, atol=1e-14)
    order = np.argsort(codes[:, 0])
    np.testing.assert_allclose(plug_in_information(EVERY[order], codes[order]), found, atol=1e-14)


@given(tables, st.sampled_from([2, 3, 4]))
def test_what_is_a_function_of_the_codes_knows_less(codes, modulus):
    """Data processing, also of an estimate from a few selections."""
    for rows in (slice(None), slice(0, 5)):
        known = plug_in_information(EVERY[rows], codes[rows])
        assert (plug_in_information(EVERY[rows], codes[rows] % modulus) <= known + 1e-14).all()


def test_a_code_that_tells_the_selection_knows_ln_2_however_few_are_drawn():
    few = EVERY[:3]
    assert plug_in_information(few, few).tolist() == pytest.approx([np.log(2)] * 4)
    assert plug_in_information(EVERY, np.zeros_like(EVERY)).tolist() == [0.0] * 4


def estimates(joint, draws):
    """Probability and value of every plug-in estimate, from draws of (U, code) with a joint law."""
    cells = list(product((0, 1), range(joint.shape[1])))
    for drawn in product(cells, repeat=draws):
        selections, codes = np.array(drawn).T[:, :, None]
        chance = np.prod([joint[cell] for cell in drawn])
        yield chance, plug_in_information(selections, codes)[0], plug_in_bias(selections, codes)[0]


@pytest.mark.parametrize("given_u", [[[1, 1], [1, 1]], [[3, 1], [1, 3]], [[1, 0], [0, 1]],
                                     [[4, 0], [1, 3]]])  # fmt: skip
@pytest.mark.parametrize("draws", [1, 2, 5])
def test_on_average_an_estimate_is_too_large_by_twice_the_first_order_bias_at_most(given_u, draws):
    """Every sequence of draws is enumerated."""
    one = law(np.zeros((2, 2)), given_u)
    chance, found, bias = np.array(list(estimates(one.given / 2, draws))).T
    assert chance.sum() == pytest.approx(1)
    excess = chance @ found - one.of_predictions
    assert -1e-12 <= excess <= 2 * chance @ bias + 1e-12


def test_the_first_order_bias_is_that_of_many_draws():
    """Of a code that knows nothing: K_x of K draws, a binomial number, have U = 1."""
    from scipy.stats import binom

    draws, codes = 400, np.arange(400) % 4
    ones = np.arange(101)
    entropy = np.array([plug_in_information((np.arange(100) < k)[:, None], np.zeros((100, 1), int))
                        for k in ones])[:, 0]  # fmt: skip
    expected = binom.pmf(ones, 100, 0.5) @ entropy
    found = plug_in_bias(np.zeros((draws, 1), int), codes[:, None])[0]
    assert found == 4 / (2 * draws)
    # Miller's next term, 1/(12 K_x^2) for each of two sides, less 1: (1/p + 1/q - 1) / (12 K_x^2).
    assert expected == pytest.approx(found + 3 / (12 * 100**2), rel=1e-3)


@given(st.integers(1, 16), tables, st.randoms(use_true_random=False))
def test_of_the_selections_it_was_estimated_from_the_gap_is_within_the_bound(few, codes, random):
    """So that comparing these two tests nothing."""
    rows = [random.randrange(16) for _ in range(few)]
    differences = codes[rows] / 3
    gap = np.mean((1 - 2 * EVERY[rows]) * differences)
    known = plug_in_information(EVERY[rows], codes[rows])
    assert abs(gap) <= information_gap_bound(information=known, loss_bound=1.0) + 1e-12


def test_a_left_out_index_is_known_by_as_much_as_its_observation_varies():
    assert leave_one_out_information(np.zeros(8)) == 0
    assert leave_one_out_information(np.arange(8)) == pytest.approx(np.log(8))
    rows = np.array([[0, 0], [0, 1], [0, 0], [1, 0]])
    assert leave_one_out_information(rows) == pytest.approx(
        mutual_info_score(range(4), [0, 1, 0, 2])
    )


@given(st.lists(st.floats(0, 0.7), min_size=1), st.floats(0, 10))
def test_the_mean_of_roots_is_within_the_root_of_the_mean(information, unit):
    bound = information_gap_bound(information=information, loss_bound=unit)
    assert bound <= unit * np.sqrt(2 * mean_information(information)) * (1 + 1e-12)


@given(st.lists(laws(), min_size=1, max_size=3))
def test_with_anything_that_gives_the_differences_the_bound_is_larger(several):
    bounds = [
        information_gap_bound(information=means(several, name), loss_bound=1.0)
        for name in ("of_differences", "of_losses", "of_predictions")
    ]
    assert bounds[0] <= bounds[1] + 1e-9
    assert bounds[1] <= bounds[2] + 1e-9


def test_the_last_axis_is_that_of_pairs():
    bound = information_gap_bound(information=[[0.5, 0.0], [0.02, 0.02]], loss_bound=[[1.0], [2.0]])
    np.testing.assert_allclose(bound, [[0.5, 0.2], [1.0, 0.4]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plug_in_information([[0, 2]], [[0, 0]]), "selections must be 0 or 1, got 2"),
        (lambda: plug_in_information([[0, 1]], [[0.5, 0]]), "codes must be whole numbers"),
        (lambda: plug_in_information([[0, 1]], [[0]]), r"\(1, 2\) and \(1, 1\)"),
        (lambda: plug_in_bias(np.zeros((0, 2)), np.zeros((0, 2))), "K at least 1"),
        (lambda: plug_in_information([0, 1], [0, 1]), r"one shape \(K, n\)"),
        (lambda: leave_one_out_information([]), "observations must be at least 1"),
        (lambda: leave_one_out_information([[0.0], [np.nan]]), "must be numbers, got nan"),
        (lambda: leave_one_out_information(["a", "b"]), "must be numbers, got an array of <U1"),
        (lambda: mean_information([]), "number of pairs must be at least 1"),
        (lambda: mean_information(0.5), "number of pairs must be counted in an array"),
        (lambda: train_share(2.0, loss_bound=1.0), "train_loss must be at most loss_bound, 1"),
    ],
)
def test_what_cannot_be_observations_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
