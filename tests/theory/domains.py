"""Ranges of arguments, with what is nearest to their ends, and every public function's arguments.

The list is kept by hand; ``test_edges.py`` sees to it that no public function is missing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import theory
from theory import (
    arora2021,
    barber2021,
    binomial,
    bousquet2002,
    bousquet2020,
    closeness,
    exact,
    feldman2018,
    hardt2016,
    hoeffding1963,
    inexact_minimisers,
    langford2005,
    lei2020,
    masked_gaussian,
    maurer2004,
    readings,
    second_moment,
    soloff2024,
    stability,
    zhu2024,
)

SMALLEST, LARGEST = 5e-324, float(np.finfo(np.float64).max)
#: Powers, products and sums of these are no doubles.
SIZES = [SMALLEST, 1e-310, 1e-170, 1e-16, 0.3, 1.0, 7.5, 1e16, 1e170, LARGEST]
BELOW_ONE = math.nextafter(1, 0)
ABOVE_ONE = math.nextafter(1, 2)
INFINITE = [math.inf, -math.inf, math.nan]


@dataclass(frozen=True)
class Range:
    """Values that an argument may have.

    Attributes:
        inside: draws one, its ends and their neighbours often.
        outside: values that must be refused.
        allowed: how the message of the error says what is allowed (a regular expression).
        usual: one that is neither large nor small.
        number: whether arrays are allowed and broadcast.
    """

    inside: st.SearchStrategy
    outside: list[Any]
    allowed: str
    usual: Any = 1.0
    number: bool = True


def _floats(ends: list[float], *between: float | None, **more: bool) -> st.SearchStrategy:
    return st.sampled_from(ends) | st.floats(*between, **more)


NONNEGATIVE = Range(
    _floats([0.0, *SIZES, math.inf], 0), [-SMALLEST, -1, -math.inf, math.nan], "at least 0"
)
POSITIVE = Range(
    _floats([*SIZES, math.inf], 0, exclude_min=True), [0, -1, -math.inf, math.nan], "above 0"
)
RATE = Range(
    _floats([0.0, SMALLEST, 1e-170, 0.5, BELOW_ONE, 1.0], 0, 1),
    [-SMALLEST, ABOVE_ONE, 2, *INFINITE], r"in \[0, 1\]", 0.5,
)  # fmt: skip
RATE_BELOW_ONE = Range(
    _floats([0.0, SMALLEST, 1e-170, 0.5, BELOW_ONE], 0, 1, exclude_max=True),
    [-SMALLEST, 1, ABOVE_ONE, *INFINITE], r"in \[0, 1\)", 0.5,
)  # fmt: skip
PROBABILITY = Range(
    _floats([SMALLEST, 1e-170, 0.5, BELOW_ONE, 1.0], 0, 1, exclude_min=True),
    [0, -SMALLEST, ABOVE_ONE, *INFINITE], r"in \(0, 1\]", 0.5,
)  # fmt: skip
COUNT = Range(
    _floats([1.0, ABOVE_ONE, 2.0, 7.0, 8.0, 1e16, 1e170, LARGEST, math.inf], 1),
    [0, BELOW_ONE, -1, -math.inf, math.nan], "at least 1",
)  # fmt: skip
ANY = Range(
    _floats([0.0, *SIZES, *(-size for size in SIZES), math.inf], -LARGEST),
    [-math.inf, math.nan], "a number above -inf",
)  # fmt: skip
FINITE = Range(
    _floats([0.0, *SIZES, *(-size for size in SIZES)], -LARGEST, LARGEST), INFINITE, "finite"
)
FINITE_NONNEGATIVE = Range(
    _floats([0.0, *SIZES], 0, LARGEST), [-SMALLEST, -1, *INFINITE], "at least 0|finite"
)
WHOLE = Range(
    st.sampled_from([0.0, 1.0, 2.0, 1e10, 1e16, 1e170]) | st.integers(0, 10**4),
    [-1, 0.5, *INFINITE], "at least 0|a whole number",
)  # fmt: skip
WHOLE_FROM_ONE = Range(
    st.sampled_from([1.0, 2.0, 1e10, 1e16, 1e170, LARGEST]) | st.integers(1, 10**4),
    [0, 1.5, -1, *INFINITE], "at least 1|a whole number",
)  # fmt: skip
FROM_TWO = Range(
    st.sampled_from([2.0, 1e10, 1e16, 1e170, LARGEST]) | st.integers(2, 10**4),
    [0, 1.5, -1, *INFINITE], "at least 1|a whole number", 3.0,
)  # fmt: skip
CURVATURE = Range(NONNEGATIVE.inside, [-math.inf, math.nan], "a number above -inf")


def matrix(rows: int, columns: int, entries: st.SearchStrategy = FINITE.inside) -> Range:
    shape = (rows, columns)
    return Range(
        arrays.arrays(np.float64, shape, elements=entries),
        [np.full(shape, bad) for bad in INFINITE], "finite", np.eye(*shape), number=False,
    )  # fmt: skip


def losses(shape: tuple[int, ...]) -> Range:
    return Range(
        arrays.arrays(np.float64, shape, elements=ANY.inside),
        [np.full(shape, -math.inf), np.full(shape, math.nan)], "a number above -inf",
        np.ones(shape), number=False,
    )  # fmt: skip


def scalar(values: Range) -> Range:
    outside = [*values.outside, [values.usual] * 2]
    return Range(values.inside, outside, f"{values.allowed}|one number", values.usual, number=False)


@dataclass(frozen=True)
class Case:
    """A function with the ranges of its arguments, and in which of them it rises or falls.

    Attributes:
        function: what is called, by names of arguments.
        ranges: of every argument.
        rises: arguments in which the result never falls.
        falls: arguments in which the result never rises.
        only: a narrower range of an argument for the two above, where the statement is only there.
        admits: which arguments go together.
    """

    function: Callable[..., Any]
    ranges: dict[str, Range]
    rises: tuple[str, ...] = ()
    falls: tuple[str, ...] = ()
    only: dict[str, st.SearchStrategy] = field(default_factory=dict)
    admits: Callable[[dict[str, Any]], bool] = lambda arguments: True


#: Which of 4 examples 6 bags of 2 hold; each is missing somewhere.
_PAIRS = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1],
                   [0, 0, 1, 1]], np.float64)  # fmt: skip
BAGS = Range(
    st.sampled_from([_PAIRS, 1 - _PAIRS, _PAIRS * 0]),
    [_PAIRS * math.nan, _PAIRS / 2, _PAIRS[:3], _PAIRS[:0], _PAIRS[0]],
    "finite|0 or 1|a table|such that", _PAIRS, number=False,
)  # fmt: skip
_UNIT = Range(
    arrays.arrays(np.float64, 6, elements=st.floats(0, 1)),
    [np.full(6, math.nan), np.ones(5), 1.0], "finite|6, one a bag", np.ones(6), number=False,
)  # fmt: skip
_SIZES_OF_FOUR = Range(
    arrays.arrays(np.float64, 4, elements=NONNEGATIVE.inside),
    [np.full(4, -1), np.full(4, math.nan)], "at least 0", np.ones(4), number=False,
)  # fmt: skip
_WIDENING = scalar(
    Range(_floats([0.0, *SIZES], 0, LARGEST), [-SMALLEST, *INFINITE], "at least 0|finite")
)
_PENALIZED = {"curvature": CURVATURE, "strength": NONNEGATIVE, "p": RATE}
_SURE = {"n": COUNT, "delta": PROBABILITY}
_REPLACING = {"loss_bound": NONNEGATIVE, "gamma": NONNEGATIVE, **_SURE}
_LAYER = {"residual": matrix(3, 2), "features": matrix(3, 2), "update": matrix(2, 2)}
_MASKED = {**_LAYER, "p": scalar(RATE)}
#: Second moments of these are regular at every rate; the third is 1e-100 times an ordinary one.
_REGULAR = [np.array([[1.0, 0.5], [0.2, -1.0], [0.3, 0.4]]) * unit for unit in (1, 1e200, 1e-200)]


def _rescaled(function: Callable[..., Any]) -> Callable[..., Any]:
    def rescaled(**arguments: Any) -> Any:
        return function(rescale=True, **arguments)

    return rescaled


def _reading(form: readings.Form, loss: readings.Stable) -> Case:
    return Case(
        readings.Reading(form=form, loss=loss).bound,
        {"lipschitz": NONNEGATIVE, "lipschitz_regularized": NONNEGATIVE, "mu": NONNEGATIVE,
         "n": COUNT},
        ("lipschitz", "lipschitz_regularized"), ("mu", "n"),
    )  # fmt: skip


#: Cases by the name of what they are about: a function's, or that and a setting.
CASES: dict[str, Case] = {
    "sparsity": Case(theory.sparsity, {"p": RATE, "p_out": RATE}, ("p", "p_out")),
    "expected_penalty": Case(
        theory.expected_penalty,
        {"delta": matrix(2, 2), "p": RATE, "strength": NONNEGATIVE}, ("p", "strength"),
    ),
    "regularized_curvature": Case(
        theory.regularized_curvature, _PENALIZED, ("curvature", "strength", "p")
    ),
    "convexity": Case(
        lambda **known: stability.convexity(**known).array(), _PENALIZED,
        ("curvature", "strength", "p"),
    ),
    "stability_bound": Case(
        theory.stability_bound, {"lipschitz": NONNEGATIVE, **_PENALIZED, "n": COUNT},
        ("lipschitz",), ("curvature", "strength", "p", "n"),
    ),
    "pointwise_stability": Case(
        theory.pointwise_stability, {"loss_left_out": losses((2, 3)), "loss_kept": losses((2, 3))}
    ),
    "stability_gap_bound": Case(
        theory.stability_gap_bound, {"loss_bound": NONNEGATIVE, "beta": NONNEGATIVE, **_SURE},
        ("loss_bound", "beta"), ("n", "delta"),
    ),
    "two_stabilities_gap_bound": Case(
        theory.two_stabilities_gap_bound,
        {"loss_bound": NONNEGATIVE, "beta_pointwise": NONNEGATIVE, "beta_hypothesis": NONNEGATIVE,
         **_SURE},
        ("loss_bound", "beta_pointwise", "beta_hypothesis"), ("n", "delta"),
    ),
    "sparsity_gap_bound": Case(
        theory.sparsity_gap_bound,
        {"loss_bound": NONNEGATIVE, "lipschitz": NONNEGATIVE, **_PENALIZED, **_SURE},
        ("loss_bound", "lipschitz"), ("curvature", "strength", "p", "n", "delta"),
    ),
    "is_vacuous": Case(
        theory.is_vacuous, {"bound": ANY, "loss_bound": NONNEGATIVE}, ("bound",), ("loss_bound",)
    ),
    "ensemble_risk_bound": Case(theory.ensemble_risk_bound, {"member_risks": losses((3, 2))}),
    "ensemble_cross_entropy": Case(
        theory.ensemble_cross_entropy, {"limit": ANY, "spread": ANY, "ensemble": COUNT},
        ("limit", "spread"), ("ensemble",),
        only={"limit": NONNEGATIVE.inside, "spread": NONNEGATIVE.inside},
    ),
    "ensemble_cross_entropy_of_probabilities": Case(
        theory.ensemble_cross_entropy_of_probabilities,
        {"limit": ANY, "relative_variance": ANY, "ensemble": COUNT},
        ("limit", "relative_variance"), ("ensemble",),
        only={"limit": NONNEGATIVE.inside, "relative_variance": NONNEGATIVE.inside},
    ),
    "ensemble_risk": Case(
        theory.ensemble_risk, {"single": ANY, "limit": ANY, "ensemble": COUNT},
        ("single", "limit"), ("ensemble",),
        only={"single": NONNEGATIVE.inside, "limit": NONNEGATIVE.inside},
        admits=lambda known: known["limit"] <= known["single"],
    ),
    "uniform_stability_gap_bound": Case(  # it rises with n at fixed beta
        bousquet2002.uniform_stability_gap_bound,
        {"loss_bound": NONNEGATIVE, "beta": NONNEGATIVE, **_SURE}, ("loss_bound", "beta"),
        ("delta",),
    ),
    "second_moment_gap_bound": Case(
        second_moment.second_moment_gap_bound, _REPLACING, ("loss_bound", "gamma"), ("n", "delta")
    ),
    "feldman_vondrak_gap_bound": Case(
        feldman2018.feldman_vondrak_gap_bound, _REPLACING, ("loss_bound", "gamma"), ("n", "delta")
    ),
    "moment_gap_bound": Case(  # the logarithm of n is a staircase that rises
        bousquet2020.moment_gap_bound, _REPLACING, ("loss_bound", "gamma"), ("delta",),
        only={"delta": st.sampled_from([SMALLEST, 1e-170, 0.135]) | st.floats(SMALLEST, 0.135)},
    ),
    "pac_bayes_gap_bound": Case(
        maurer2004.pac_bayes_gap_bound,
        {"loss_bound": NONNEGATIVE, "divergence": NONNEGATIVE, **_SURE},
        ("loss_bound", "divergence"), ("n", "delta"),
    ),
    "pac_bayes_loss_bound": Case(
        maurer2004.pac_bayes_loss_bound,
        {"train_loss": RATE, "divergence": NONNEGATIVE, **_SURE}, ("train_loss", "divergence"),
        ("n", "delta"),
    ),
    "sample_mean_bound": Case(
        hoeffding1963.sample_mean_bound, {"mean": RATE, **_SURE}, ("mean",), ("n", "delta")
    ),
    "convex_descent_stability_bound": Case(
        hardt2016.convex_descent_stability_bound,
        {"lipschitz": NONNEGATIVE, "step_sum": NONNEGATIVE, "n": COUNT}, ("lipschitz", "step_sum"),
        ("n",),
    ),
    "strongly_convex_descent_stability_bound": Case(
        hardt2016.strongly_convex_descent_stability_bound,
        {"lipschitz": NONNEGATIVE, "curvature": NONNEGATIVE, "n": COUNT}, ("lipschitz",),
        ("curvature", "n"),
    ),
    "decreasing_step_stability_bound": Case(
        hardt2016.decreasing_step_stability_bound,
        {"lipschitz": NONNEGATIVE, "smoothness": NONNEGATIVE, "curvature": NONNEGATIVE,
         "loss_bound": NONNEGATIVE, "n": COUNT},
        ("lipschitz", "smoothness", "loss_bound"), ("curvature", "n"),
    ),
    "nonconvex_descent_stability_bound": Case(
        hardt2016.nonconvex_descent_stability_bound,
        {"lipschitz": NONNEGATIVE, "smoothness": POSITIVE, "step_scale": NONNEGATIVE,
         "steps": WHOLE_FROM_ONE, "loss_bound": NONNEGATIVE, "n": COUNT},
        ("lipschitz", "step_scale", "steps", "loss_bound"), ("n",),
    ),
    "lipschitz_gap_bound": Case(
        lei2020.lipschitz_gap_bound, {"lipschitz": NONNEGATIVE, "stability": NONNEGATIVE},
        ("lipschitz", "stability"),
    ),
    "smooth_gap_bound": Case(
        lei2020.smooth_gap_bound,
        {"train_loss": NONNEGATIVE, "smoothness": NONNEGATIVE, "stability": NONNEGATIVE},
        ("train_loss", "smoothness", "stability"),
    ),
    "quantized_gap_bound": Case(
        zhu2024.quantized_gap_bound,
        {"bits": NONNEGATIVE, "parameters": NONNEGATIVE, "loss_bound": NONNEGATIVE, "n": COUNT},
        ("bits", "parameters", "loss_bound"), ("n",),
    ),
    "dropout_regularizer": Case(
        arora2021.dropout_regularizer,
        {"features": matrix(3, 2), "A": matrix(2, 2), "B": matrix(3, 2),
         "p_in": scalar(RATE_BELOW_ONE), "p_rank": scalar(RATE_BELOW_ONE),
         "p_out": scalar(RATE_BELOW_ONE)},
    ),
    "masked_gaussian_divergence": Case(
        masked_gaussian.masked_gaussian_divergence,
        {"update": matrix(2, 2), "p": scalar(RATE), "deviation": scalar(POSITIVE)},
        falls=("p", "deviation"),
    ),
    "binomial_tail_bound": Case(
        langford2005.binomial_tail_bound,
        {"errors": WHOLE, "examples": WHOLE_FROM_ONE, "delta": PROBABILITY},
        ("errors",), ("examples", "delta"),
        admits=lambda known: known["errors"] <= known["examples"],
    ),
    "upper_limit": Case(  # trusts its caller: no value is outside
        binomial.upper_limit,
        {"wrong": Range(WHOLE.inside.map(float), [], "", number=False),
         "size": Range(WHOLE_FROM_ONE.inside.map(float), [], "", number=False),
         "delta": Range(PROBABILITY.inside, [], "", number=False)},
        ("wrong",), ("size", "delta"),
    ),
    "dropout_loss_terms": Case(exact.dropout_loss_terms, _MASKED),
    "dropout_loss_terms, rescaled": Case(
        _rescaled(exact.dropout_loss_terms), {**_LAYER, "p": scalar(RATE_BELOW_ONE)}
    ),
    "masked_loss_terms": Case(
        exact.masked_loss_terms,
        {**_LAYER, "mean": scalar(FINITE), "variance": scalar(FINITE_NONNEGATIVE)},
    ),
    "expected_dropout_loss": Case(exact.expected_dropout_loss, _MASKED),
    "expected_dropout_loss, rescaled": Case(
        _rescaled(exact.expected_dropout_loss), {**_LAYER, "p": scalar(RATE_BELOW_ONE)}
    ),
    "elementwise_difference": Case(
        exact.elementwise_difference,
        {"covariance": matrix(2, 2), "update": matrix(2, 2), "p": scalar(RATE_BELOW_ONE)},
    ),
    "effective_strength": Case(
        exact.effective_strength, {"variance": NONNEGATIVE, "p": RATE_BELOW_ONE}, ("variance", "p")
    ),
    "unscaled_effective_strength": Case(
        exact.unscaled_effective_strength, {"variance": NONNEGATIVE, "p": RATE}, ("variance",),
        ("p",),
    ),
    "optimal_update": Case(
        exact.optimal_update,
        {"residual": matrix(3, 2),
         "features": Range(st.sampled_from(_REGULAR), matrix(3, 2).outside, "finite",
                           _REGULAR[0], number=False),
         "p": scalar(RATE_BELOW_ONE), "rank": scalar(WHOLE_FROM_ONE)},
    ),
    "bound, mean, raw": _reading("mean", "raw"),
    "bound, mean, regularized": _reading("mean", "regularized"),
    "bound, sum, raw": _reading("sum", "raw"),
    "bound, sum, regularized": _reading("sum", "regularized"),
    "displacement_bound": Case(
        readings.displacement_bound, {"gradient": NONNEGATIVE, "mu": NONNEGATIVE, "n": COUNT},
        ("gradient",), ("mu", "n"),
    ),
    "stationarity_slack": Case(
        inexact_minimisers.stationarity_slack,
        {"lipschitz": NONNEGATIVE, "mu": NONNEGATIVE, "gradient_norm": NONNEGATIVE,
         "gradient_norm_left_out": NONNEGATIVE},
        ("lipschitz", "gradient_norm", "gradient_norm_left_out"), ("mu",),
    ),
    "expansion_constant": Case(
        closeness.expansion_constant, {"error": RATE, "step": RATE}, ("error",)
    ),
    "close_constant": Case(closeness.close_constant, {"error": RATE}, ("error",)),
    "is_close": Case(closeness.is_close, {"reach": Range(NONNEGATIVE.inside, [], "")}, ("reach",)),
    "expansion_reach": Case(
        lambda **known: closeness.expansion_reach(lambda step: step * known["change"],
                                                  slope=known["slope"],
                                                  curvature=known["curvature"]),
        {name: Range(ANY.inside | st.just(math.nan), [], "", number=False)
         for name in ("change", "slope", "curvature")},
    ),
    "subbagging_stability_bound": Case(
        soloff2024.subbagging_stability_bound,
        {"n": FROM_TWO, "m": WHOLE_FROM_ONE, "value_range": NONNEGATIVE}, ("m", "value_range"),
        ("n",), admits=lambda known: known["m"] <= known["n"] - 1,
    ),
    "drawn_bags_stability_bound": Case(
        soloff2024.drawn_bags_stability_bound, {"bags": BAGS, "value_range": scalar(NONNEGATIVE)},
        ("value_range",),
    ),
    "leave_one_out_changes": Case(
        soloff2024.leave_one_out_changes, {"predictions": _UNIT, "bags": BAGS}
    ),
    "jackknife_plus_coverage": Case(
        barber2021.jackknife_plus_coverage, {"alpha": PROBABILITY}, falls=("alpha",)
    ),
    "jackknife_coverage": Case(
        barber2021.jackknife_coverage, {"alpha": PROBABILITY, "unstable": RATE},
        falls=("alpha", "unstable"),
    ),
    "jackknife_interval": Case(
        barber2021.jackknife_interval,
        {"prediction": matrix(2, 2), "residuals": _SIZES_OF_FOUR, "alpha": scalar(PROBABILITY),
         "widening": _WIDENING},
    ),
    "jackknife_plus_interval": Case(
        barber2021.jackknife_plus_interval,
        {"left_out": matrix(4, 2), "residuals": _SIZES_OF_FOUR, "alpha": scalar(PROBABILITY)},
    ),
    "jackknife_accepts": Case(
        barber2021.jackknife_accepts,
        {"scores": losses((2, 2)), "left_out": losses((4,)), "alpha": scalar(PROBABILITY),
         "widening": _WIDENING},
    ),
    "jackknife_plus_accepts": Case(
        barber2021.jackknife_plus_accepts,
        {"scores": losses((4, 2)), "left_out": losses((4,)), "alpha": scalar(PROBABILITY)},
    ),
}  # fmt: skip
