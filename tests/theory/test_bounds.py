"""Laws and values of the statements."""

import math
import sys
from itertools import product

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theory

rates = st.floats(0, 1)
positive = st.floats(1e-3, 1e3)
counts = st.integers(1, 10**6)
deltas = st.floats(1e-6, 1)
factors_above_one = st.floats(1.01, 10)
#: A monotone formula stays monotone in floating point up to a few units in the last place.
SLACK = 1 + 1e-12


def proposition(**changes):
    known = {"lipschitz": 1.5, "curvature": 0.2, "strength": 0.4, "p": 0.3, "n": 50}
    return theory.stability_bound(**known | changes)


def lemma(**changes):
    known = {"loss_bound": 2.0, "beta": 0.05, "n": 50, "delta": 0.1}
    return theory.stability_gap_bound(**known | changes)


def theorem(**changes):
    known = {
        "loss_bound": 2.0, "lipschitz": 1.5, "curvature": 0.2, "strength": 0.4, "p": 0.3,
        "n": 50, "delta": 0.1,
    }  # fmt: skip
    return theory.sparsity_gap_bound(**known | changes)


DECREASING = [
    (proposition, "strength", positive), (proposition, "curvature", positive),
    (lemma, "delta", st.floats(1e-6, 0.09)), (theorem, "strength", positive),
    (theorem, "curvature", positive), (theorem, "delta", st.floats(1e-6, 0.09)),
    (proposition, "n", st.floats(1, 1e6)), (lemma, "n", st.floats(1, 1e6)),
    (theorem, "n", st.floats(1, 1e6)),
]  # fmt: skip
INCREASING = [
    (proposition, "lipschitz", positive), (lemma, "loss_bound", positive),
    (lemma, "beta", positive),
    (theorem, "loss_bound", positive), (theorem, "lipschitz", positive),
]  # fmt: skip


def case_name(case):
    return f"{case[0].__name__}-{case[1]}"


@pytest.mark.parametrize("case", DECREASING, ids=case_name)
@given(data=st.data(), factor=factors_above_one)
def test_bound_decreases(case, data, factor):
    bound, name, values = case
    value = data.draw(values)
    assert bound(**{name: value * factor}) < bound(**{name: value})


@pytest.mark.parametrize("case", INCREASING, ids=case_name)
@given(data=st.data(), factor=factors_above_one)
def test_bound_increases(case, data, factor):
    bound, name, values = case
    value = data.draw(values)
    assert bound(**{name: value * factor}) > bound(**{name: value})


@pytest.mark.parametrize("bound", [proposition, theorem])
@given(first=rates, second=rates)
def test_bound_decreases_in_p(bound, first, second):
    low, high = sorted((first, second))
    assert bound(p=high) <= bound(p=low) * SLACK
    if high - low > 1e-6 and low < 0.99:
        assert bound(p=high) < bound(p=low)


@given(p=rates, q=rates)
def test_sparsity_is_the_chance_that_row_or_column_is_dropped(p, q):
    assert theory.sparsity(p, q) == pytest.approx(1 - (1 - p) * (1 - q), abs=1e-15)
    assert theory.sparsity(p, q) == pytest.approx(theory.sparsity(q, p), abs=1e-15)
    assert p * (1 - 1e-15) <= theory.sparsity(p) <= 1


def test_sparsity_values():
    assert theory.sparsity(0.1) == 0.19
    assert theory.sparsity(0) == 0
    assert theory.sparsity(1) == 1
    # 1 - (1 - p)^2 would be 0 here.
    assert theory.sparsity(1e-20) == pytest.approx(2e-20, rel=1e-15)


@given(scale=positive, p=rates)
def test_penalty_is_quadratic_in_the_update(scale, p):
    delta = np.array([[1.0, -2.0], [0.5, 3.0]])
    assert theory.expected_penalty(scale * delta, p) == pytest.approx(
        scale**2 * theory.expected_penalty(delta, p), rel=1e-12
    )


@given(c=positive, lipschitz=positive, curvature=positive, strength=positive, p=rates, n=counts,
       delta=deltas)  # fmt: skip
def test_theorem_is_lemma_at_the_proposition(c, lipschitz, curvature, strength, p, n, delta):
    beta = theory.stability_bound(
        lipschitz=lipschitz, curvature=curvature, strength=strength, p=p, n=n
    )
    assert theory.sparsity_gap_bound(
        loss_bound=c,
        lipschitz=lipschitz,
        curvature=curvature,
        strength=strength,
        p=p,
        n=n,
        delta=delta,
    ) == pytest.approx(  # fmt: skip
        theory.stability_gap_bound(loss_bound=c, beta=beta, n=n, delta=delta), rel=1e-12
    )


@given(factor=factors_above_one)
def test_scaling_laws(factor):
    assert proposition(n=50 * factor) == pytest.approx(proposition() / factor)
    assert proposition(lipschitz=1.5 * factor) == pytest.approx(proposition() * factor**2)
    # Units: a loss multiplied by a factor multiplies C, eta, the curvature, lambda and the gap.
    assert theorem(
        loss_bound=2 * factor, lipschitz=1.5 * factor, curvature=0.2 * factor,
        strength=0.4 * factor,
    ) == pytest.approx(factor * theorem())  # fmt: skip
    assert lemma(loss_bound=2 * factor, beta=0.05 * factor) == pytest.approx(factor * lemma())
    assert lemma(delta=0.1 / factor) == pytest.approx(lemma() * math.sqrt(factor))


@given(p=rates, strength=positive, curvature=st.floats(0, 1e3), n=counts, lipschitz=positive)
def test_values_against_arbitrary_precision(p, strength, curvature, n, lipschitz):
    with mpmath.workdps(400):
        s = 1 - (1 - mpmath.mpf(p)) ** 2
        denominator = (mpmath.mpf(curvature) + 2 * mpmath.mpf(strength) * s) * n
        exact = 2 * mpmath.mpf(lipschitz) ** 2 / denominator if denominator else mpmath.inf
        # Beyond the largest double the bound is inf.
        exact = float(exact) if exact < mpmath.mpf(sys.float_info.max) else math.inf
    bound = theory.stability_bound(
        lipschitz=lipschitz, curvature=curvature, strength=strength, p=p, n=n
    )
    if p < 1e-290:  # the product of subnormal numbers has no relative precision
        assert bound >= 0
    else:
        assert bound == pytest.approx(exact, rel=1e-12)


def test_limits_at_p_zero_and_one():
    assert proposition(p=0, curvature=0) == math.inf
    assert theorem(p=0, curvature=0) == math.inf
    assert proposition(p=0) == pytest.approx(2 * 1.5**2 / (0.2 * 50))
    assert proposition(p=1) == pytest.approx(2 * 1.5**2 / ((0.2 + 0.8) * 50))
    assert proposition(lipschitz=0, curvature=0, p=0) == 0
    assert lemma(beta=math.inf) == math.inf
    assert lemma(beta=math.inf, loss_bound=0) == 0
    assert lemma(beta=0) == pytest.approx(2.0 / math.sqrt(2 * 50 * 0.1))


def test_the_published_comparison():
    """s = 0.05, n = 10^4, C = eta = 1, delta = 0.05: Theorem 4.4 gives 0.49."""
    bound = theory.sparsity_gap_bound(
        loss_bound=1, lipschitz=1, curvature=0, strength=0.05 / theory.sparsity(0.1), p=0.1,
        n=10**4, delta=0.05,
    )  # fmt: skip
    assert round(bound, 2) == 0.49
    assert not theory.is_vacuous(bound, 1)


def test_negative_curvature_is_refused_unless_outweighed():
    with pytest.raises(ValueError, match="convex point"):
        proposition(curvature=-1)
    with pytest.raises(ValueError, match="convex point"):
        theorem(curvature=-1)
    assert proposition(curvature=-0.2) > 0


@pytest.mark.parametrize(
    ("bound", "bad"),
    [
        (proposition, {"p": 1.1}), (proposition, {"p": -0.1}), (proposition, {"p": math.nan}),
        (proposition, {"n": 0}), (proposition, {"strength": -1}), (proposition, {"lipschitz": -1}),
        (lemma, {"delta": 0}), (lemma, {"delta": 1.5}), (lemma, {"beta": -1}),
        (lemma, {"loss_bound": -1}), (theorem, {"delta": 0}), (theorem, {"n": 0.5}),
    ],
)  # fmt: skip
def test_bad_argument_is_named(bound, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        bound(**bad)


def test_functions_broadcast():
    p, n = np.linspace(0, 1, 5), np.array([[10], [100], [1000]])
    for bound in (proposition, theorem):
        table = bound(p=p, n=n)
        assert table.shape == (3, 5)
        assert table[1, 3] == bound(p=p[3], n=100)
    assert lemma(beta=p, n=n).shape == (3, 5)
    assert theory.sparsity(p).shape == (5,)
    assert theory.is_vacuous(np.array([0.5, 1.0, 2.0]), 1.0).tolist() == [False, True, True]
    assert isinstance(proposition(), float)


def test_means_are_over_the_last_axis_of_examples_and_the_first_of_members():
    """Unless another axis is asked for."""
    left_out, kept = np.array([[1.0, 0.5], [2.0, 0.0]]), np.array([[0.5, 0.75], [1.0, 1.0]])
    assert theory.pointwise_stability(left_out, kept).tolist() == [0.375, 1.0]
    assert theory.pointwise_stability(left_out, kept, axis=0).tolist() == [0.75, 0.625]
    assert theory.ensemble_risk_bound(left_out).tolist() == [1.5, 0.25]
    assert theory.ensemble_risk_bound(left_out, axis=-1).tolist() == [0.75, 1.0]


def test_lemma_needs_more_than_pointwise_stability():
    """Outside its assumptions: memorise n examples, answer a constant with n - 1 of them.

    Labels are fair coins and the constant is chosen so that the loss on the left-out example is 0,
    as a loss of the pair (constant, example) may be; the loss on a fresh example at size n is 1.
    Then beta = 0 and the empirical risk is 0, but the gap is 1, above the lemma's bound.
    """
    n = 1000
    loss_kept, loss_left_out, risk = np.zeros(n), np.zeros(n), 1.0
    beta = theory.pointwise_stability(loss_left_out, loss_kept)
    gap = risk - loss_kept.mean()
    assert gap > theory.stability_gap_bound(loss_bound=1.0, beta=beta, n=n, delta=0.05)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(-5, 5))
def test_average_output_is_no_worse_than_the_average_member(outputs, target):
    losses = np.square(np.array(outputs) - target)
    averaged = (np.mean(outputs) - target) ** 2
    assert averaged <= theory.ensemble_risk_bound(losses) + 1e-12


def test_average_output_can_be_worse_for_a_loss_that_is_not_convex():
    """0-1 loss: two members are right, one is very wrong, and the average is wrong."""
    outputs = np.array([1.0, 1.0, -5.0])
    assert float(outputs.mean() <= 0) > theory.ensemble_risk_bound(outputs <= 0)


def test_average_output_can_be_worse_for_a_loss_that_is_convex_in_the_parameters():
    """The appendix's premise (Theorem A.3): the output θ² under the loss √f has the loss |θ|."""
    parameters = np.array([0.0, 2.0])
    outputs = parameters**2
    bound = theory.ensemble_risk_bound(np.sqrt(outputs))
    assert np.sqrt(outputs).tolist() == np.abs(parameters).tolist()
    assert np.sqrt(outputs.mean()) == pytest.approx(math.sqrt(2))
    assert bound == 1
    # Of the mean parameters Jensen's inequality does speak.
    assert np.abs(parameters.mean()) <= bound


@given(single=st.floats(0, 10), fraction=rates, size=counts)
def test_one_over_n_law_decreases_to_its_limit(single, fraction, size):
    limit = single * fraction
    here, next_ = (theory.ensemble_risk(single, limit, k) for k in (size, size + 1))
    assert limit <= next_ * SLACK
    assert next_ <= here * SLACK
    assert theory.ensemble_risk(single, limit, 1) == pytest.approx(single)


def test_one_over_n_law_is_exact_for_squared_loss():
    """Enumerate all pairs of two equally likely outputs."""
    outputs, target = np.array([0.0, 3.0]), 1.0
    pairs = (outputs[:, None] + outputs) / 2
    exact = np.square(pairs - target).mean()
    single, limit = np.square(outputs - target).mean(), (outputs.mean() - target) ** 2
    assert theory.ensemble_risk(single, limit, 2) == pytest.approx(exact)


def test_empty_ensemble_is_refused():
    with pytest.raises(ValueError, match="members"):
        theory.ensemble_risk_bound([])
    with pytest.raises(ValueError, match="ensemble"):
        theory.ensemble_risk(1.0, 0.5, 0)


def test_one_stability_twice_is_the_lemma():
    known = {"loss_bound": 2.0, "n": 50, "delta": 0.1}
    found = theory.two_stabilities_gap_bound(beta_pointwise=0.05, beta_hypothesis=0.05, **known)
    assert found == pytest.approx(lemma())
    one, other = (
        theory.two_stabilities_gap_bound(beta_pointwise=a, beta_hypothesis=0.1 - a, **known)
        for a in (0.0, 0.1)
    )
    assert one == other == pytest.approx(lemma())


@pytest.mark.parametrize("ensemble", [1, 2, 5])
def test_cross_entropy_of_an_ensemble_to_second_order(ensemble):
    """All outcomes of N members with logits at z + s or z - s: the rest is of order s^4."""
    z, way, errors = np.array([0.3, -0.5, 0.9]), np.array([1.0, -0.4, 0.2]), []
    for size in (0.2, 0.1):
        members = np.array(list(product((-size, size), repeat=ensemble))).mean(1)
        logits = z + members[:, None] * way
        entropy = (np.log(np.exp(logits).sum(1)) - logits[:, 0]).mean()
        limit = np.log(np.exp(z).sum()) - z[0]
        pi = np.exp(z) / np.exp(z).sum()
        spread = size**2 * (pi @ way**2 - (pi @ way) ** 2)
        errors.append(entropy - theory.ensemble_cross_entropy(limit, spread, ensemble))
        assert abs(errors[-1]) < 0.01 * spread
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.05)


@pytest.mark.parametrize("ensemble", [1, 2, 5])
def test_cross_entropy_of_averaged_probabilities_to_second_order(ensemble):
    mean, errors = 0.6, []
    for size in (0.02, 0.01):
        members = np.array(list(product((-size, size), repeat=ensemble))).mean(1)
        entropy = -np.log(mean + members).mean()
        found = theory.ensemble_cross_entropy_of_probabilities(
            -np.log(mean), size**2 / mean**2, ensemble
        )
        errors.append(entropy - found)
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.05)
