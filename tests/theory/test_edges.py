"""Every public function over its whole domain: no nan, no warning, nothing in wrong order."""

import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from tests.theory.domains import CASES, LARGEST, SMALLEST, Case
from tests.theory.information_domains import INFORMATION_CASES
from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.exact import (
    dropout_loss_terms,
    effective_strength,
    elementwise_difference,
    expected_dropout_loss,
    optimal_update,
)

CASES = CASES | INFORMATION_CASES
#: Modules of what the others are made of. They have tests of their own.
FOUNDATIONS = {"bisection", "domain", "wide"}
#: Methods that take no number.
WORDS = {"missing_premise"}
#: A monotone formula stays monotone in floating point up to some units in the last place.
ROUNDING = 1e-14
#: The binomial tail is accurate to this; sums of logarithms up to 4,000 to 4,000 times 2^-52.
ACCURACY = {
    "binomial_tail_bound": 2e-13, "upper_limit": 2e-13, "nonconvex_descent_stability_bound": 1e-12,
}  # fmt: skip


def public_functions():
    for module in pkgutil.iter_modules(theory.__path__):
        if module.name not in FOUNDATIONS:
            found = importlib.import_module(f"theory.{module.name}")
            for name, value in vars(found).items():
                if not name.startswith("_") and getattr(value, "__module__", "") == found.__name__:
                    yield from functions_of(name, value)


def functions_of(name, value):
    if inspect.isfunction(value):
        yield name
    elif inspect.isclass(value):
        methods = (n for n, m in vars(value).items() if inspect.isfunction(m) and n[0] != "_")
        yield from (n for n in methods if n not in WORDS)


def test_no_public_function_is_left_out():
    listed = {name.split(",")[0] for name in CASES}
    assert listed == set(public_functions())
    assert set(theory.__all__) <= listed


def arguments_of(case: Case, data, **only):
    ranges = {name: only.get(name, values.inside) for name, values in case.ranges.items()}
    # Filtered here, as it is drawn again: several sets would seldom be admitted all at once.
    return data.draw(st.fixed_dictionaries(ranges).filter(case.admits))


def numbers_in(result):
    parts = result.values() if isinstance(result, dict) else [result]
    return np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_inside_its_domain_a_function_has_an_answer(name, data):
    """Warnings are errors here, as in all tests."""
    known = arguments_of(CASES[name], data)
    assert not np.isnan(numbers_in(CASES[name].function(**known))).any()


BROADCASTING = [
    name for name, case in CASES.items() if any(range_.number for range_ in case.ranges.values())
]


@pytest.mark.slow
@pytest.mark.parametrize("name", BROADCASTING)
@settings(max_examples=20)
@given(data=st.data())
def test_arrays_have_the_answers_of_their_entries(name, data):
    case = CASES[name]
    entries = [arguments_of(case, data) for _ in range(3)]
    fixed = {key: entries[0][key] for key, values in case.ranges.items() if not values.number}
    varied = [key for key in case.ranges if key not in fixed]
    entries = [entry | fixed for entry in entries]
    together = case.function(**fixed, **{key: [entry[key] for entry in entries] for key in varied})
    alone = [case.function(**entry) for entry in entries]
    assert all(isinstance(one, float | bool | np.ndarray) for one in alone)
    # NumPy's logarithm of many numbers may differ in the last place from that of one.
    np.testing.assert_allclose(together, alone, rtol=ROUNDING, atol=SMALLEST)
    empty = case.function(**fixed, **{key: [] for key in varied})
    assert np.shape(empty) == (0,)


OUTSIDE = [
    (name, argument)
    for name, case in CASES.items()
    for argument, values in case.ranges.items()
    if values.outside
]


@pytest.mark.parametrize(("name", "argument"), OUTSIDE)
def test_outside_its_domain_an_argument_is_refused_by_name(name, argument):
    case = CASES[name]
    usual = {key: values.usual for key, values in case.ranges.items()}
    for bad in case.ranges[argument].outside:
        with pytest.raises(
            ValueError, match=f"{argument} must be ({case.ranges[argument].allowed})"
        ):
            case.function(**usual | {argument: bad})
        if case.ranges[argument].number:
            with pytest.raises(ValueError, match=f"{argument} must be"):
                case.function(**usual | {argument: [usual[argument], bad]})


ORDERED = [name for name, case in CASES.items() if case.rises or case.falls]


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDERED)
@given(data=st.data())
def test_a_function_rises_or_falls_up_to_the_edges(name, data):
    """In each of its arguments alone, from one point."""
    case = CASES[name]
    known = arguments_of(case, data, **case.only)
    for argument in (*case.rises, *case.falls):
        other = data.draw(case.only.get(argument, case.ranges[argument].inside), label=argument)
        if case.admits(known | {argument: other}):
            ends = sorted((known[argument], other), reverse=argument in case.falls)
            smaller, larger = (float(case.function(**known | {argument: end})) for end in ends)
            allowed = larger * (1 + ACCURACY.get(name, ROUNDING)) + SMALLEST
            assert smaller <= allowed, argument


def test_values_whose_steps_are_no_doubles():
    """Worked out by hand, as powers of ten."""
    known = {"curvature": 0.0, "strength": 1.0, "p": 1.0, "n": 10}
    bound = theory.stability_bound
    # 2 (1e-170)^2 / (2 * 1e-250 * 10)
    assert bound(**known | {"lipschitz": 1e-170, "strength": 1e-250}) == pytest.approx(1e-91)
    # 2 (1e200)^2 / (2 * 1e300 * 10)
    assert bound(**known | {"lipschitz": 1e200, "strength": 1e300}) == pytest.approx(1e99)
    # s = 2e-200, so 2 (1e-150)^2 / (2 * 1e-150 * 2e-200 * 10)
    assert bound(**known | {"lipschitz": 1e-150, "strength": 1e-150, "p": 1e-200}) == pytest.approx(
        5e48
    )
    # -1e308 + 2e308 * 3/4, of which the first product is beyond a double
    found = theory.regularized_curvature(curvature=-1e308, strength=1e308, p=0.5)
    assert found == pytest.approx(0.5e308)
    # sqrt((C^2 + 12 C n beta)/(2 n delta)), both terms beyond a double
    assert theory.stability_gap_bound(loss_bound=1e250, beta=1e250, n=1, delta=1) == pytest.approx(
        math.sqrt(13 / 2) * 1e250
    )
    assert theory.expected_penalty([1e200], p=1, strength=1e-200) == pytest.approx(1e200)


def test_no_rate_means_no_penalty_however_strong_and_any_rate_an_endless_one():
    known = {"lipschitz": 1.0, "curvature": 0.0, "strength": math.inf, "n": 10}
    assert theory.stability_bound(**known, p=0.0) == math.inf
    assert theory.stability_bound(**known | {"curvature": 2.0}, p=0.0) == 0.1
    assert theory.stability_bound(**known, p=SMALLEST) == 0
    assert theory.stability_bound(**known | {"lipschitz": math.inf}, p=0.5) == math.inf
    assert theory.regularized_curvature(curvature=-1.0, strength=math.inf, p=0.5) == math.inf


def test_a_gradient_that_is_not_0_on_a_flat_loss_has_no_bound_however_small():
    known = {"curvature": 0.0, "strength": 1.0, "p": 0.0, "n": 10}
    for lipschitz in (SMALLEST, 1e-170, LARGEST, math.inf):
        assert theory.stability_bound(lipschitz=lipschitz, **known) == math.inf
    assert theory.stability_bound(lipschitz=0.0, **known) == 0


def test_a_loss_bounded_by_0_has_no_gap_and_one_without_bound_no_bound():
    known = {"curvature": 0.0, "strength": 1.0, "p": 0.1, "n": 10, "delta": 0.1}
    bound = theory.sparsity_gap_bound
    assert bound(loss_bound=0.0, lipschitz=math.inf, **known) == 0
    assert bound(loss_bound=math.inf, lipschitz=0.0, **known) == math.inf
    assert bound(loss_bound=0.0, lipschitz=1.0, **known | {"p": 0.0}) == 0


def test_endless_counts_give_the_limits():
    lemma = theory.stability_gap_bound(loss_bound=1.0, beta=0.06, n=math.inf, delta=0.04)
    assert lemma == pytest.approx(3)  # sqrt(6 C beta / delta)
    known = {"loss_bound": 1.0, "n": math.inf, "delta": 0.1}
    assert uniform_stability_gap_bound(beta=0.0, **known) == 0
    assert uniform_stability_gap_bound(beta=SMALLEST, **known) == math.inf
    assert moment_gap_bound(gamma=0.0, **known) == 0
    assert moment_gap_bound(gamma=SMALLEST, **known) == math.inf
    assert theory.ensemble_risk(1.0, 0.25, math.inf) == 0.25


def test_a_hessian_that_is_not_outweighed_is_refused_at_the_edges_too():
    for curvature, strength, p in ((-SMALLEST, 1.0, 0.0), (-SMALLEST, math.inf, 0.0),
                                   (-LARGEST, 1.0, 1.0), (-1.0, SMALLEST, 1.0)):  # fmt: skip
        with pytest.raises(ValueError, match="convex point"):
            theory.regularized_curvature(curvature=curvature, strength=strength, p=p)


def test_what_is_just_outside_is_said_with_all_its_digits():
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1\.0000000000000002"):
        theory.sparsity(math.nextafter(1, 2))


def test_two_infinite_losses_differ_by_an_unknown_amount():
    assert theory.pointwise_stability([math.inf, 1.0], [math.inf, 1.0]) == math.inf
    assert theory.pointwise_stability([1.0], [math.inf]) == math.inf
    assert theory.pointwise_stability([LARGEST, 1.0], [-LARGEST, 1.0]) == LARGEST


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="number of examples"):
        theory.pointwise_stability([], [])
    with pytest.raises(ValueError, match="axis must be one of the array's 1, got 1"):
        theory.pointwise_stability([1.0], [1.0], axis=1)
    with pytest.raises(ValueError, match="number of members must be counted in an array"):
        theory.ensemble_risk_bound(1.0)
    with pytest.raises(ValueError, match="loss_kept must have the shape"):
        theory.pointwise_stability([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="number of examples"):
        optimal_update(np.zeros((0, 2)), np.zeros((0, 3)), 0.5, 1)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_features_without_an_optimum_are_refused(p):
    for features in (np.zeros((3, 2)), np.array([[1.0, 0.0], [2.0, 0.0]])):
        with pytest.raises(ValueError, match="features must have a regular second moment"):
            optimal_update(np.ones((len(features), 2)), features, p, 1)


def test_at_rate_1_everything_is_dropped_and_nothing_can_be_rescaled():
    t, x, update = [[3.0, 4.0]], [[1.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]
    assert expected_dropout_loss(t, x, update, 1.0).tolist() == [25.0]
    assert {k: v.tolist() for k, v in dropout_loss_terms(t, x, update, 1.0).items()} == {
        "mean": [25.0], "rows": [0.0], "columns": [0.0],
    }  # fmt: skip
    for call in (
        lambda: expected_dropout_loss(t, x, update, 1.0, rescale=True),
        lambda: elementwise_difference(np.eye(2), update, 1.0),
        lambda: effective_strength(1.0, 1.0),
        lambda: optimal_update(t, x, 1.0, 1),
    ):
        with pytest.raises(ValueError, match=r"p must be in \[0, 1\), got 1"):
            call()


def test_the_closed_forms_scale_beyond_doubles():
    """Powers of two scale exactly; sums of what is no double are found all the same."""
    generator = np.random.default_rng(0)
    t, x = generator.standard_normal((5, 2)), generator.standard_normal((5, 3))
    update, sigma = generator.standard_normal((2, 3)), x.T @ x / 5
    many = 2.0**600
    terms = dropout_loss_terms(t, x, update, 0.3)
    scaled = dropout_loss_terms(t, x * many, update / many, 0.3)
    assert all((scaled[name] == terms[name]).all() for name in terms)
    exact = elementwise_difference(sigma, update, 0.3)
    for power in (900, -900):
        scaled = elementwise_difference(sigma / 2.0**power, update * 2.0 ** (power // 2), 0.3)
        assert scaled == pytest.approx(exact, rel=1e-12)
    # Delta (Sigma - diag Sigma) overflows, its product with Delta^T does not.
    far = np.array([[2.0**1000, 2.0**-1000]])
    off = np.array([[0.0, 2.0**30], [2.0**30, 0.0]])
    assert elementwise_difference(off, far, 0.5) == 2.0**31
    best = optimal_update(t, x, 0.3, 1)
    np.testing.assert_allclose(optimal_update(t, x * many, 0.3, 1) * many, best, rtol=1e-12)
    np.testing.assert_allclose(optimal_update(t * many, x, 0.3, 1) / many, best, rtol=1e-12)
    # Sums that overflow and cancel: x Delta^T is 1e300 (1e300 - 1e300) + 1.
    big = 1e300
    found = dropout_loss_terms([[0.0]], [[big, big, 1.0]], [[big, -big, 1.0]], 0.0)
    assert found["mean"].tolist() in ([0.0], [1.0])  # beside 1e600, 1 is below rounding
