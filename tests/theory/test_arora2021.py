"""The explicit regularizer, against every mask enumerated, and beyond squared loss."""

from itertools import product

import numpy as np
import pytest

from theory.arora2021 import dropout_regularizer
from theory.exact import expected_dropout_loss

RATES = [
    {}, {"p_in": 0.3}, {"p_rank": 0.3}, {"p_out": 0.3}, {"p_in": 0.2, "p_out": 0.2},
    {"p_in": 0.1, "p_rank": 0.5, "p_out": 0.8},
]  # fmt: skip


def layer(seed=0, m=4, d_in=3, rank=2, d_out=3):
    generator = np.random.default_rng(seed)
    shapes = {"x": (m, d_in), "A": (rank, d_in), "B": (d_out, rank), "t": (m, d_out)}
    return {name: generator.standard_normal(shape) for name, shape in shapes.items()}


def masks(size, p):
    """All masks of one place with their probabilities, rescaled."""
    for kept in product((0, 1), repeat=size):
        chance = np.prod([1 - p if one else p for one in kept])
        if chance > 0:
            yield np.array(kept) / (1 - p), chance


def enumerated(loss, x, A, B, p_in=0.0, p_rank=0.0, p_out=0.0):
    """Expected loss of the masked output over all masks, and that of the output, (m,) each."""
    total = 0.0
    for (into, a), (rank, b), (out, c) in product(
        masks(x.shape[1], p_in), masks(len(A), p_rank), masks(len(B), p_out)
    ):
        total = total + a * b * c * loss(((x * into) @ A.T * rank) @ B.T * out)
    return total, loss(x @ A.T @ B.T)


@pytest.mark.parametrize("rates", RATES, ids=str)
def test_it_is_what_all_masks_add_to_the_squared_loss(rates):
    found = layer()
    t = found.pop("t")
    masked, plain = enumerated(lambda y: np.square(t - y).sum(1), **found, **rates)
    added = dropout_regularizer(found["x"], found["A"], found["B"], **rates)
    np.testing.assert_allclose(added, masked - plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_inputs_and_outputs_together_are_lora_dropout(p):
    found = layer(1)
    x, A, B, t = (found[name] for name in "xABt")
    plain = np.square(t - x @ A.T @ B.T).sum(1)
    added = dropout_regularizer(x, A, B, p_in=p, p_out=p)
    np.testing.assert_allclose(
        plain + added, expected_dropout_loss(t, x, B @ A, p, rescale=True), rtol=1e-12
    )


def test_two_factors_of_one_update_differ_in_what_dropping_the_rank_adds():
    """The update decides for inputs and outputs; the rank sees how it is factored."""
    found = layer(2)
    x, A, B = (found[name] for name in "xAB")
    mixed = np.array([[1.0, 2.0], [0.0, 1.0]])
    other = (x, mixed @ A, B @ np.linalg.inv(mixed))
    for place in ("p_in", "p_out"):
        np.testing.assert_allclose(
            dropout_regularizer(x, A, B, **{place: 0.4}),
            dropout_regularizer(*other, **{place: 0.4}), rtol=1e-10,
        )  # fmt: skip
    one, another = (dropout_regularizer(*factors, p_rank=0.4) for factors in ((x, A, B), other))
    assert (np.abs(one - another) > 0.01 * one).all()


def test_for_another_loss_it_is_not_what_masks_add():
    """Logistic loss at label 1: a second-order term would be a quarter or less of the squares."""
    found = layer(3, d_out=1)
    found.pop("t")
    masked, plain = enumerated(lambda y: np.logaddexp(0, -y[:, 0]), **found, p_rank=0.5)
    added = dropout_regularizer(found["x"], found["A"], found["B"], p_rank=0.5)
    assert (masked - plain > 0).all()
    assert (masked - plain < added / 4).all()


def test_shapes_that_do_not_fit_are_named():
    x, A, B = np.ones((2, 3)), np.ones((1, 3)), np.ones((4, 1))
    with pytest.raises(ValueError, match="A must have 3 columns, got 2"):
        dropout_regularizer(x, A[:, :2], B)
    with pytest.raises(ValueError, match="B must have 1 columns, got 4"):
        dropout_regularizer(x, A, B.T)
    with pytest.raises(ValueError, match="features must be a matrix, got 1 dim"):
        dropout_regularizer(x[0], A, B)
