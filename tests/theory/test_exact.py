"""The closed forms for dropped rows and columns, against SymPy's exact expectations."""

from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from theory import expected_penalty, sparsity
from theory.exact import (
    dropout_loss_terms,
    effective_strength,
    elementwise_difference,
    expected_dropout_loss,
    masked_loss_terms,
    optimal_update,
    unscaled_effective_strength,
)

rates = st.floats(0.01, 0.95)


def symbolic_expectation(rescale):
    """E (t - c m_B (d1 m_1 x1 + d2 m_2 x2))^2, for one output and two inputs."""
    t, x1, x2, d1, d2, p = sympy.symbols("t x1 x2 d1 d2 p")
    keep = 1 - p
    scale = keep**-2 if rescale else 1
    total = 0
    for row, one, two in product((0, 1), repeat=3):
        weight = sympy.prod([keep if bit else p for bit in (row, one, two)])
        total += weight * (t - scale * row * (d1 * one * x1 + d2 * two * x2)) ** 2
    return sympy.lambdify((t, x1, x2, d1, d2, p), sympy.expand(total))


@pytest.mark.parametrize("rescale", [False, True])
def test_expected_loss_is_the_symbolic_expectation(rescale):
    exact = symbolic_expectation(rescale)
    generator = np.random.default_rng(0)
    for p in (0.0, 0.1, 0.5, 0.9):
        t, x1, x2, d1, d2 = generator.standard_normal(5)
        found = expected_dropout_loss([[t]], [[x1, x2]], [[d1, d2]], p, rescale)
        assert found[0] == pytest.approx(exact(t, x1, x2, d1, d2, p), rel=1e-10)


@given(rates, st.integers(0, 1000))
def test_white_features_make_it_the_papers_penalty(p, seed):
    generator = np.random.default_rng(seed)
    d = 4
    features = np.linalg.qr(generator.standard_normal((20, d)))[0] * np.sqrt(20) * 1.5
    update = generator.standard_normal((3, d))
    terms = dropout_loss_terms(np.zeros((20, 3)), features, update, p, rescale=True)
    penalty = effective_strength(1.5**2, p) * sparsity(p) * np.square(update).sum()
    assert (terms["rows"] + terms["columns"]).mean() == pytest.approx(penalty, rel=1e-9)
    assert elementwise_difference(features.T @ features / 20, update, p) == pytest.approx(
        0, abs=1e-8
    )


def test_what_dropout_adds_diverges_where_the_papers_penalty_does_not():
    update, features = np.array([[1.0, -2.0], [0.5, 3.0]]), np.sqrt(2) * np.eye(2)
    for p in (0.5, 0.9, 0.99, 0.999):
        terms = dropout_loss_terms(np.zeros((2, 2)), features, update, p, rescale=True)
        added = (terms["rows"] + terms["columns"]).mean()
        paper = expected_penalty(update, p)
        assert paper < np.square(update).sum()
        assert added / paper == pytest.approx(effective_strength(1.0, p), rel=1e-9)
    assert added > 1e5 * paper


WHITE = np.sqrt(2) * np.eye(2)


def mean_loss_over_all_masks(residual, update, p, scale):
    """Mean loss of white features over the 2^4 masks of the rows and columns of a 2 by 2 update."""
    total = 0.0
    for bits in product((0, 1), repeat=4):
        mask = np.outer(bits[:2], bits[2:])
        chance = (1 - p) ** sum(bits) * p ** (4 - sum(bits))
        total += chance * np.square(residual - scale * WHITE @ (mask * update).T).sum(1).mean()
    return total


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("variance", [1.0, 4.0])
def test_unscaled_masks_amount_to_a_lambda_that_vanishes(p, variance):
    residual, update = np.array([[1.0, -2.0], [0.5, 0.3]]), np.array([[1.0, -2.0], [0.5, 3.0]])
    keep, scale = (1 - p) ** 2, np.sqrt(variance)  # features times sigma: Sigma = sigma^2 I
    enumerated = mean_loss_over_all_masks(residual, update, p, scale)
    fit = np.square(residual - keep * scale * WHITE @ update.T).sum(1).mean()
    penalty = unscaled_effective_strength(variance, p) * sparsity(p) * np.square(update).sum()
    assert enumerated == pytest.approx(fit + penalty, rel=1e-12)
    if p < 1:  # the same terms, said of the expected update
        expected = effective_strength(variance, p) * expected_penalty(keep * update, p)
        assert penalty == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_rescaled_masks_amount_to_a_lambda_that_diverges(p):
    residual, update = np.array([[1.0, -2.0], [0.5, 0.3]]), np.array([[1.0, -2.0], [0.5, 3.0]])
    enumerated = mean_loss_over_all_masks(residual, update, p, (1 - p) ** -2)
    fit = np.square(residual - WHITE @ update.T).sum(1).mean()
    penalty = effective_strength(1.0, p) * expected_penalty(update, p)
    assert enumerated == pytest.approx(fit + penalty, rel=1e-12)


def test_the_two_lambdas_part_as_p_grows():
    p = np.array([0.0, 0.5, 0.9, 1 - 2.0**-20])
    rescaled, unscaled = effective_strength(1.0, p), unscaled_effective_strength(1.0, p)
    assert rescaled[0] == unscaled[0] == 1
    assert rescaled[-1] == 2.0**40
    assert unscaled[-1] == 2.0**-40
    np.testing.assert_allclose(rescaled * unscaled, 1)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_rows_and_columns_add_more_than_independent_entries_where_features_correlate(p):
    """All 16 masks of independent entries of a 2 by 2 update, at equal sparsity."""
    features = np.array([[1.0, 0.5], [2.0, 1.5], [-1.0, -2.0]])
    update, keep = np.array([[1.0, 2.0], [0.5, 3.0]]), (1 - p) ** 2
    independent = 0.0
    for bits in product((0, 1), repeat=4):
        mask = np.reshape(bits, (2, 2))
        chance = keep ** mask.sum() * (1 - keep) ** (4 - mask.sum())
        independent += chance * np.square(features @ (mask * update / keep).T).sum(1).mean()
    structured = expected_dropout_loss(np.zeros((3, 2)), features, update, p, rescale=True).mean()
    difference = elementwise_difference(features.T @ features / 3, update, p)
    assert structured - independent == pytest.approx(difference, rel=1e-9)
    assert difference > 0.1


@given(rates, st.integers(1, 3), st.booleans(), st.integers(0, 1000))
def test_no_update_of_the_rank_is_better_than_the_optimal_one(p, rank, rescale, seed):
    generator = np.random.default_rng(seed)
    features, residual = generator.standard_normal((30, 5)), generator.standard_normal((30, 4))
    best = optimal_update(residual, features, p, rank, rescale)
    assert np.linalg.matrix_rank(best, tol=1e-9 * np.linalg.norm(best)) == rank
    lowest = expected_dropout_loss(residual, features, best, p, rescale).mean()
    U, singular, V = np.linalg.svd(best, full_matrices=False)
    for _ in range(10):
        left = U[:, :rank] * singular[:rank] + 0.1 * generator.standard_normal((4, rank))
        right = V[:rank] + 0.1 * generator.standard_normal((rank, 5))
        other = expected_dropout_loss(residual, features, left @ right, p, rescale).mean()
        assert other >= lowest - 1e-9


def test_rescaled_and_unscaled_masks_have_the_same_optimum_value():
    generator = np.random.default_rng(0)
    features, residual = generator.standard_normal((30, 5)), generator.standard_normal((30, 4))
    values = [
        expected_dropout_loss(
            residual, features, optimal_update(residual, features, 0.3, 2, rescale), 0.3, rescale
        ).mean()
        for rescale in (False, True)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def bernoulli(p):
    """Values of a mask's entry and their probabilities."""
    return np.array([0.0, 1.0]), np.array([p, 1 - p])


def gaussian(p, points):
    """Gauss-Hermite nodes and weights, exact for polynomials of degree 2 points - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return 1 - p + np.sqrt(p * (1 - p)) * nodes, weights / weights.sum()


def expectation(function, law, entries):
    """Expected value of a function of that many independent entries, by enumeration."""
    values, probabilities = law
    chosen = product(range(len(values)), repeat=entries)
    return sum(
        probabilities[list(each)].prod() * function(values[list(each)]) for each in chosen
    )  # fmt: skip


@given(rates, st.integers(0, 1000))
def test_masks_of_equal_mean_and_variance_have_the_same_expected_loss(p, seed):
    generator = np.random.default_rng(seed)
    t, x, update = (generator.standard_normal(shape) for shape in (2, 2, (2, 2)))

    def loss(masks):
        return np.square(t - masks[:2] * (update @ (masks[2:] * x))).sum()

    terms = masked_loss_terms([t], [x], update, mean=1 - p, variance=p * (1 - p))
    expected = sum(float(term[0]) for term in terms.values())
    # Two nodes are the two-point masks themselves.
    for law in (bernoulli(p), gaussian(p, 2), gaussian(p, 3)):
        assert expectation(loss, law, entries=4) == pytest.approx(expected, rel=1e-10)
    # Masks that are their mean alone lack what the noise adds.
    assert expectation(loss, (np.array([1 - p]), np.ones(1)), 4) == pytest.approx(
        float(terms["mean"][0]), rel=1e-10, abs=1e-12
    )


@settings(max_examples=10)
@given(rates, st.integers(0, 1000))
def test_two_linear_layers_see_mean_and_variance_alone(p, seed):
    """The output is linear in each entry of the masks, however many linear layers there are."""
    generator = np.random.default_rng(seed)
    frozen, updates = generator.standard_normal((2, 2, 2)), generator.standard_normal((2, 2, 2))
    x, t = generator.standard_normal((2, 2))

    def loss(masks):
        masks = np.append(masks, 1.0).reshape(2, 2, 2)  # the last row of the last layer stays
        hidden = x
        for weight, update, (rows, columns) in zip(frozen, updates, masks, strict=True):
            hidden = weight @ hidden + columns * (update @ (rows * hidden))
        return np.square(t - hidden).sum()

    dropped = expectation(loss, bernoulli(p), entries=7)
    assert expectation(loss, gaussian(p, 2), entries=7) == pytest.approx(dropped, rel=1e-9)


def test_with_a_logistic_loss_masks_of_equal_mean_and_variance_differ():
    """Outside what the closed form assumes: so the assumption matters."""

    def loss(masks):
        return np.log1p(np.exp(-4 * masks.prod()))

    dropped = expectation(loss, bernoulli(0.5), entries=2)
    # By hand: masks survive together with probability 1/4.
    assert dropped == pytest.approx(0.75 * np.log(2) + 0.25 * np.log1p(np.exp(-4)))
    found, finer = (expectation(loss, gaussian(0.5, points), entries=2) for points in (60, 80))
    # By 0.2 %, a thousand times what another number of nodes changes.
    assert abs(finer - dropped) > 1000 * abs(finer - found)


def test_behind_a_relu_masks_of_equal_mean_and_variance_differ():
    """A Gaussian entry is negative with some probability, at which the ReLU cuts it off."""
    p = 0.5
    law = stats.norm(1 - p, np.sqrt(p * (1 - p)))
    found = integrate.quad(lambda m: law.pdf(m) * (1 - max(m, 0)) ** 2, -8, 8, points=[0])[0]
    dropped = expectation(lambda m: (1 - max(m[0], 0)) ** 2, bernoulli(p), entries=1)
    assert dropped == 0.5  # the linear layer's, too: (1 - mu)^2 + v
    # What is cut off: E[(1 - m)^2 - 1; m < 0] for m of mean and deviation 1/2.
    below = integrate.quad(lambda m: law.pdf(m) * ((1 - m) ** 2 - 1), -8, 0)[0]
    assert found == pytest.approx(dropped - below, abs=1e-9)
    assert below > 0.1


X, T, UPDATE = np.ones((3, 2)), np.ones((3, 4)), np.ones((4, 2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: expected_dropout_loss(T[:1], X, UPDATE, 0.5), r"features must be \(1, 2\), got"),
        (lambda: expected_dropout_loss(T[:, :1], X, UPDATE, 0.5), r"update must be \(1, 2\), got"),
        (lambda: dropout_loss_terms(T, X, UPDATE.T, 0.5), r"update must be \(4, 2\), got"),
        (lambda: masked_loss_terms(T[:, 0], X, UPDATE, 1, 0), "residual must be a matrix, got 1"),
        (lambda: masked_loss_terms(T, X, UPDATE[0], 1, 0), "update must be a matrix, got 1"),
        (lambda: elementwise_difference(np.eye(3), UPDATE, 0.5), r"covariance must be \(2, 2\)"),
        (lambda: elementwise_difference(1.0, UPDATE, 0.5), "covariance must be a matrix, got 0"),
        (lambda: optimal_update(T, X[:2], 0.5, 1), r"features must be \(3, 2\), got \(2, 2\)"),
        (lambda: optimal_update(T, X[0], 0.5, 1), "features must be a matrix, got 1"),
    ],
)
def test_matrices_that_do_not_fit_are_named_and_never_stretched(call, said):
    with pytest.raises(ValueError, match=said):
        call()
