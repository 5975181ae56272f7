"""A search for problems in which a statement fails that we claim is true.

The same search must find the flaw in statements that are wrong on purpose: a search that finds
nothing anywhere proves nothing. ``make falsify`` searches longer.
"""

import os

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings, target
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from probes.statements.case import ROUNDING
from probes.statements.counterexample_cases import logistic_problem, paired_problem
from probes.statements.exact_minimisers import Problem, minimisers
from probes.statements.linear_losses import LOGISTIC, SOFTMAX, SQUARED
from probes.statements.stability_cases import measure, stopping_error
from theory import sparsity
from theory.closeness import is_close
from theory.readings import (
    AT_POINT,
    CORRECTED,
    READINGS,
    WHERE_CLOSE,
    Reading,
    displacement_bound,
)

pytestmark = pytest.mark.slow

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
#: Problems that the search for a planted flaw may look at.
TRIES = 20_000 if LONG else 2_000
LOSSES = (SQUARED, LOGISTIC, SOFTMAX)
#: Losses for which a reading is proved, where theta(S^i) is close if that is its premise.
PROVABLE = {
    reading: losses
    for reading in READINGS
    if (
        losses := tuple(
            loss for loss in LOSSES if not reading.missing_premise(loss.quadratic, close=True)
        )
    )
}

entries = st.sampled_from([-4.0, -1.0, -0.25, 0.0, 0.25, 1.0, 4.0]) | st.floats(-5, 5)
log_strengths = st.floats(-4, 2)


@st.composite
def problems(draw, losses=LOSSES):
    """A small problem of any scale and conditioning, its rate and its strength."""
    loss = draw(st.sampled_from(losses))
    n, d = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    rows = st.lists(entries, min_size=d, max_size=d)
    features = np.array(draw(st.lists(rows, min_size=n, max_size=n)))
    if loss is SQUARED:
        targets = np.array(draw(st.lists(entries, min_size=n, max_size=n)))[:, None]
    else:
        labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
        targets = np.eye(3)[labels] if loss is SOFTMAX else labels[:, None].astype(float)
    p = draw(st.floats(0.01, 0.99))
    return Problem(features, targets, loss), p, 10 ** draw(log_strengths)


def excess(problem, p, strength, reading, bound_of):
    """Largest ratio of a left-out example's change to its bound; above 1 the statement fails.

    Where closeness is a premise, of the examples that meet it.
    """
    s = strength * sparsity(p)
    measured = measure(problem, minimisers(problem, s, reading.form), s, reading.form)
    change = measured.raw if reading.loss == "raw" else measured.regularized
    if reading.curvature == "expansion":
        change = np.where(is_close(measured.reach), change, 0.0)
    slack = stopping_error(measured.lipschitz["segment"][1], s) + 1e-12
    bound = bound_of(measured, reading, len(problem), p, strength)
    return float((change.max() - slack) / max(bound * (1 + ROUNDING), 1e-300))


def as_stated(measured, reading, n, p, strength):
    return measured.bound(reading, n)


def as_printed(measured, reading, n, p, strength):
    """The printed bound, of the regularized loss."""
    return measured.printed_bound(strength * sparsity(p), n)


def test_all_readings_are_searched_those_at_a_point_for_the_squared_loss_alone():
    assert len(PROVABLE) == len(READINGS) == 48
    alone = {reading for reading, losses in PROVABLE.items() if losses == (SQUARED,)}
    assert alone == {reading for reading in READINGS if reading.curvature == "point"}
    assert len(alone) == 12
    assert {PROVABLE[reading] for reading in PROVABLE.keys() - alone} == {LOSSES}


@pytest.mark.parametrize("reading", PROVABLE, ids=str)
@given(data=st.data())
def test_provable_readings_cannot_be_refuted(reading, data):
    problem, p, strength = data.draw(problems(PROVABLE[reading]))
    ratio = excess(problem, p, strength, reading, as_stated)
    target(min(ratio, 10.0))
    assert ratio <= 1


@given(problems())
def test_the_printed_bound_cannot_be_refuted_where_theta_is_close(case):
    ratio = excess(*case, WHERE_CLOSE, as_printed)
    target(min(ratio, 10.0))
    assert ratio <= 1


@pytest.mark.parametrize("form", ["mean", "sum"])
@given(problems())
def test_the_displacement_step_cannot_be_refuted(form, problem):
    problem, p, strength = problem
    s = strength * sparsity(p)
    measured = measure(problem, minimisers(problem, s, form), s, form)
    bound = displacement_bound(
        gradient=measured.moving, mu=measured.segment_curvature, n=len(problem)
    )
    assert (measured.distance <= bound * (1 + ROUNDING) + stopping_error(1.0, s) + 1e-12).all()


def half_the_constant(measured, reading, n, p, strength):
    """1 in the place of 2."""
    return measured.bound(reading, n) / 2


def twice_p(measured, reading, n, p, strength):
    """2p in the place of 2p - p^2, in a penalty that is the whole curvature."""
    return measured.bound(reading, n) * sparsity(p) / (2 * p)


def a_third_as_printed(measured, reading, n, p, strength):
    """2/3 in the place of the printed 2."""
    return as_printed(measured, reading, n, p, strength) / 3


PLANTED = {
    "1 in the place of 2": (CORRECTED, half_the_constant, LOGISTIC),
    "1 in the place of 2, where the Hessian is constant": (AT_POINT, half_the_constant, SQUARED),
    "2p in the place of 2p - p^2": (Reading(curvature="penalty"), twice_p, LOGISTIC),
    "half of the regularized bound": (
        Reading(loss="regularized", curvature="segment"), half_the_constant, LOGISTIC,
    ),
    "half of the bound where theta is close": (WHERE_CLOSE, half_the_constant, LOGISTIC),
    "a third of the printed bound where theta is close": (
        WHERE_CLOSE, a_third_as_printed, SOFTMAX,
    ),
}  # fmt: skip


@pytest.mark.parametrize("flaw", PLANTED)
def test_a_planted_flaw_is_found(flaw):
    reading, bound_of, loss = PLANTED[flaw]
    assert loss in PROVABLE[reading]
    problem, p, strength = search(reading, bound_of, problems(losses=(loss,)))
    assert excess(problem, p, strength, reading, as_stated) <= 1
    print(f"{flaw}: n = {len(problem)}, p = {p}, strength = {strength}\n{problem}")


def test_the_search_finds_that_closeness_is_needed():
    """The printed bound fails where theta(S^i) is far; what is proved there holds."""
    far = Reading(loss="regularized")
    problem, p, strength = search(far, as_printed, problems(losses=(LOGISTIC,)))
    assert excess(problem, p, strength, WHERE_CLOSE, as_printed) <= 1
    segment = Reading(loss="regularized", curvature="segment")
    assert excess(problem, p, strength, segment, as_stated) <= 1


@pytest.mark.parametrize("problem", [logistic_problem(10), paired_problem(20)])
def test_the_known_failures_are_what_the_search_would_report(problem):
    assert excess(problem, 0.5, 1e-5, Reading(loss="regularized"), as_printed) > 1
    assert excess(problem, 0.5, 1e-5, WHERE_CLOSE, as_printed) <= 1
    assert excess(problem, 0.5, 1e-5, CORRECTED, as_stated) <= 1


def search(reading, bound_of, where):
    """Return the smallest problem found that refutes the bound, or fail."""
    options = settings(
        max_examples=TRIES, phases=(Phase.generate, Phase.shrink), derandomize=True, database=None
    )
    try:
        return find(where, lambda case: excess(*case, reading, bound_of) > 1, settings=options)
    except NoSuchExample:
        pytest.fail(f"{TRIES} problems did not refute {reading}")
