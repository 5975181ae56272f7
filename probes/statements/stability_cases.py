"""Definition 4.1 and Proposition 4.2 at exact minimisers, in all their readings."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probes.statements.case import Case
from probes.statements.exact_minimisers import (
    GRADIENT_TOLERANCE,
    Minimisers,
    Problem,
    leave_one_out_weights,
    minimisers,
    newton,
)
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from theory import pointwise_stability
from theory.readings import READINGS, Curvature, Form, Reading, Region, displacement_bound

#: Left-out examples whose minimisers are found again, from zero, for Definition 4.1.
REFITTED = 5


@dataclass(frozen=True)
class Measured:
    """What the readings of Proposition 4.2 need, for one S and one form of S^i.

    Attributes:
        raw, regularized: change of the left-out example's loss, (n,).
        distance: of theta(S^i) to theta(S), (n,).
        moving: norm of the gradient that moves theta(S^i), (n,): of the regularized loss for the
            mean over n - 1, of the raw loss for the sum.
        segment_curvature: a lower bound of the regularized curvature along each segment, (n,).
        curvature: the same, by reading.
        lipschitz: largest gradients of the raw and the regularized loss, by region.
    """

    raw: Array
    regularized: Array
    distance: Array
    moving: Array
    segment_curvature: Array
    curvature: dict[Curvature, float]
    lipschitz: dict[Region, tuple[float, float]]

    def bound(self, reading: Reading, n: int) -> float:
        """Evaluate a reading's bound at these quantities.

        Args:
            reading: which curvature and which region of the gradient it takes.
            n: size of S.

        Returns:
            The bound on beta, in units of the loss; infinite where the curvature is not positive.
        """
        raw, regularized = self.lipschitz[reading.region]
        return float(
            reading.bound(
                lipschitz=raw,
                lipschitz_regularized=regularized,
                mu=max(0.0, self.curvature[reading.curvature]),
                n=n,
            )
        )


def measure(problem: Problem, found: Minimisers, s: float, form: Form) -> Measured:
    """Measure both sides of Proposition 4.2.

    Args:
        problem: S, n examples.
        found: its minimisers.
        s: weight of the penalty, lambda (2p - p^2), positive.
        form: "mean" over the n - 1 examples of S^i, or their "sum" divided by n.

    Returns:
        Both sides, one entry a left-out example.
    """
    n, each = len(problem), np.arange(len(problem))
    full, left_out = found.full, found.left_out
    square_full, square_left_out = np.square(full).sum(), np.square(left_out).sum((1, 2))
    kept, changed = problem.losses(full), problem.losses(left_out)[each, each]
    own = problem.loss.gradient(problem.outputs(left_out)[each, each], problem.targets)
    own_gradient = own[:, :, None] * problem.features[:, None]
    if form == "mean":
        own_gradient = own_gradient + 2 * s * left_out
    segment: Array = np.linalg.eigvalsh(problem.lower_hessian(full, left_out, s))[:, 0]
    point = np.linalg.eigvalsh(problem.hessian(full[None], np.full((1, n), 1 / n), s))[0, 0]
    return Measured(
        raw=np.abs(changed - kept),
        regularized=np.abs(changed + s * square_left_out - kept - s * square_full),
        distance=np.linalg.norm(left_out - full, axis=(1, 2)),
        moving=np.linalg.norm(own_gradient, axis=(1, 2)),
        segment_curvature=segment,
        curvature={"point": point, "segment": segment.min(), "penalty": 2 * s},
        lipschitz={
            "segment": segment_lipschitz(problem, found, s),
            "ball": ball_lipschitz(problem, s, ball_radius(problem, s, form)),
            "global": ball_lipschitz(problem, s, float("inf")),
        },
    )


def segment_lipschitz(problem: Problem, found: Minimisers, s: float) -> tuple[float, float]:
    """Largest gradients of the raw and the regularized loss of S on the segments.

    Of the raw loss: of all examples at the ends, and of the left-out one in between. A gradient
    that is L-Lipschitz and g, g' at the ends of a segment of length D is at most (g + g' + L D)/2
    within; where it peaks at an end, that is not needed.

    Args:
        problem: S, n examples.
        found: its minimisers; a segment goes from theta(S) to each theta(S^i).
        s: weight of the penalty, lambda (2p - p^2).

    Returns:
        Bounds on the norms of both gradients, in units of the loss per unit of theta.
    """
    norms, each = np.linalg.norm(problem.features, axis=1), np.arange(len(problem))
    start, ends = found.full, found.left_out
    slopes = [
        np.linalg.norm(problem.loss.gradient(problem.outputs(theta), problem.targets), axis=-1)
        for theta in (start, ends)
    ]
    raw = max((slope * norms).max() for slope in slopes)
    length = np.linalg.norm(ends - start, axis=(1, 2))
    if not problem.loss.slope_peaks_at_ends:
        growth = problem.loss.hessian_bound * norms**2 * length
        own = (slopes[0] * norms + slopes[1][each, each] * norms + growth) / 2
        raw = max(raw, own.max())
    at_start = np.linalg.norm(problem.gradients(start) + 2 * s * start, axis=(1, 2))
    own_slope = problem.loss.gradient(problem.outputs(ends)[each, each], problem.targets)
    own_gradient = own_slope[:, :, None] * problem.features[:, None] + 2 * s * ends
    at_end = np.linalg.norm(own_gradient, axis=(1, 2))
    within = np.maximum(at_start, at_end)
    if not problem.loss.quadratic:
        lipschitz = problem.loss.hessian_bound * norms**2 + 2 * s
        within = np.maximum(within, (at_start + at_end + lipschitz * length) / 2)
    return float(raw), float(within.max())


def ball_radius(problem: Problem, s: float, form: Form) -> float:
    """Radius of a ball around theta_0 = 0 that holds theta(S) and every theta(S^i).

    The penalty of a minimiser is at most the objective at 0: s ||theta||^2 <= mean loss at 0, and
    the mean over n - 1 examples is at most n/(n-1) times that over n.

    Args:
        problem: S, n examples; n >= 2 for the mean.
        s: weight of the penalty, lambda (2p - p^2), positive.
        form: "mean" over the n - 1 examples of S^i, or their "sum" divided by n.

    Returns:
        The radius, in units of theta.
    """
    zero = np.zeros((problem.targets.shape[1], problem.features.shape[1]))
    n = len(problem)
    mean = problem.losses(zero).mean() * (n / (n - 1) if form == "mean" else 1)
    return float(np.sqrt(mean / s))


def common_radius(population: Problem, s: float) -> float:
    """Radius of a ball around 0 that holds the minimisers of *every* sample of the population.

    The argument is that of :func:`ball_radius`, with the largest loss at 0 in place of the mean.

    Args:
        population: all examples that samples are drawn from.
        s: weight of the penalty, lambda (2p - p^2), positive.

    Returns:
        The radius, in units of theta.
    """
    zero = np.zeros((population.targets.shape[1], population.features.shape[1]))
    return float(np.sqrt(population.losses(zero).max() / s))


def ball_lipschitz(problem: Problem, s: float, radius: float) -> tuple[float, float]:
    """Bound the gradients of the raw and the regularized loss where ||theta|| <= radius.

    Args:
        problem: the examples whose losses are meant.
        s: weight of the penalty, lambda (2p - p^2).
        radius: in units of theta; may be infinite.

    Returns:
        Bounds on the norms of both gradients, in units of the loss per unit of theta. With an
        infinite radius the second is infinite, and the first is for the squared loss.
    """
    norms = np.linalg.norm(problem.features, axis=1)
    # An example at 0 has no gradient in theta, however far theta is.
    moving = np.flatnonzero(norms)
    slopes = problem.loss.slope_within(radius * norms[moving], problem.targets[moving])
    raw = float((slopes * norms[moving]).max(initial=0.0))
    return raw, raw + 2 * s * radius


def largest_loss(problem: Problem, radius: float) -> float:
    """Bound the loss of every example of the problem where ||theta|| <= radius.

    Args:
        problem: the examples whose losses are meant.
        radius: in units of theta.

    Returns:
        C, in units of the loss.
    """
    reach = radius * np.linalg.norm(problem.features, axis=1)
    return float(problem.loss.value_within(reach, problem.targets).max())


def definition_cases(setting: Setting) -> Iterator[Case]:
    """Definition 4.1: leave-one-out minimisers found together equal those found one by one.

    Source: arXiv 2404.09610, Definition 4.1; Bousquet & Elisseeff 2002, Definition 4.
    """
    for draw in range(setting.draws):
        problem = setting.sample(draw)
        found = minimisers(problem, setting.s)
        chosen = np.linspace(0, setting.n - 1, REFITTED).astype(int)
        weights = leave_one_out_weights(setting.n, "mean")[chosen]
        alone = newton(problem, weights, setting.s, np.zeros((REFITTED, *found.full.shape)))
        kept = problem.losses(found.full)[chosen]
        together = problem.losses(found.left_out[chosen])[np.arange(REFITTED), chosen]
        refitted = problem.losses(alone)[np.arange(REFITTED), chosen]
        eta = segment_lipschitz(problem, found, setting.s)[0]
        yield Case(
            "Definition 4.1",
            f"β of {REFITTED} examples: together against one by one from 0",
            str(setting),
            float(pointwise_stability(together, kept)),
            float(pointwise_stability(refitted, kept)),
            equal=True,
            tolerance=2 * stopping_error(eta, setting.s),
            assumptions="gradient norm ≤ 1e-10",
            command=setting.command("4.1"),
        )


def proposition_cases(setting: Setting) -> Iterator[Case]:
    """Proposition 4.2 in every reading, and the parameter-distance step inside it.

    Source: arXiv 2404.09610, Proposition 4.2; the readings are derived in ``theory.readings``.
    """
    for draw in range(setting.draws):
        problem = setting.sample(draw)
        for form in ("mean", "sum"):
            measured = measure(problem, minimisers(problem, setting.s, form), setting.s, form)
            yield from _displacement(setting, measured, form)
            yield from _readings(setting, problem, measured, form)


def stopping_error(lipschitz: float, s: float) -> float:
    """What an optimizer stopped at gradient norm 1e-10 adds to a change of the loss.

    The objective is 2s strongly convex, so that theta is within 1e-10 / (2s) of the minimiser. A
    change of the loss has two such ends.

    Args:
        lipschitz: of the loss, in units of the loss per unit of theta.
        s: weight of the penalty, lambda (2p - p^2), positive.

    Returns:
        The error, in units of the loss.
    """
    return 2 * lipschitz * GRADIENT_TOLERANCE / (2 * s)


def _displacement(setting: Setting, measured: Measured, form: Form) -> Iterator[Case]:
    bounds = displacement_bound(
        gradient=measured.moving, mu=measured.segment_curvature, n=setting.n
    )
    worst = int(np.argmax(measured.distance / np.asarray(bounds)))
    yield Case(
        "distance of θ(S^i), inside 4.2",
        f"{form}, curvature: segment",
        str(setting),
        float(measured.distance[worst]),
        float(np.asarray(bounds)[worst]),
        tolerance=stopping_error(1.0, setting.s),
        assumptions="strongly convex; curvature bounded below on the segment",
        command=setting.command("4.2"),
    )


def _readings(setting: Setting, problem: Problem, measured: Measured, form: Form) -> Iterator[Case]:
    ceiling = largest_loss(problem, ball_radius(problem, setting.s, form))
    for reading in READINGS:
        if reading.form != form:
            continue
        beta = measured.raw if reading.loss == "raw" else measured.regularized
        eta = measured.lipschitz["segment"][reading.loss == "regularized"]
        yield Case(
            "Proposition 4.2",
            str(reading),
            str(setting),
            float(beta.mean()),
            measured.bound(reading, setting.n),
            tolerance=stopping_error(eta, setting.s),
            ceiling=ceiling,
            provable=reading.is_provable(problem.loss.quadratic),
            assumptions="exact minimisers, strongly convex",
            command=setting.command("4.2"),
        )
