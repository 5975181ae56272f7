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
    objective,
    objective_gradient,
)
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from theory import pointwise_stability, stability_bound
from theory.closeness import expansion_reach, is_close
from theory.readings import (
    NOT_CLOSE,
    READINGS,
    Curvature,
    Form,
    Reading,
    Region,
    displacement_bound,
)

#: What the verifier calls the printed statement: S^i has the mean over n - 1 examples.
AS_IT_IS_PRINTED = "as printed: loss and η of L_λ, μ at θ(S), θ(S^i) close"
#: Pieces of a segment whose ends' gradients bound those within.
PIECES = 64
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
        reach: how far along each segment the second-order expansion of the regularized objective
            at theta(S) is accurate, in multiples of it, (n,): see ``theory.closeness``.
    """

    raw: Array
    regularized: Array
    distance: Array
    moving: Array
    segment_curvature: Array
    curvature: dict[Curvature, float]
    lipschitz: dict[Region, tuple[float, float]]
    reach: Array

    def printed_bound(self, s: float, n: int) -> float:
        """Evaluate the bound of Proposition 4.2 as it is printed, on the regularized loss.

        Args:
            s: weight of the penalty, lambda (2p - p^2), positive.
            n: size of S.

        Returns:
            The bound on beta, in units of the loss.
        """
        curvature = max(0.0, self.curvature["point"] - 2 * s)
        eta = self.lipschitz["segment"][1]
        return float(stability_bound(lipschitz=eta, curvature=curvature, strength=s, p=1.0, n=n))

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
        curvature={
            "point": point,
            "expansion": point,
            "segment": segment.min(),
            "penalty": 2 * s,
        },
        lipschitz={
            "segment": segment_lipschitz(problem, found, s),
            "ball": ball_lipschitz(problem, s, ball_radius(problem, s, form)),
            "global": ball_lipschitz(problem, s, float("inf")),
        },
        reach=reaches(problem, found, s),
    )


def reaches(problem: Problem, found: Minimisers, s: float) -> Array:
    """How far the second-order expansion of the objective at theta(S) is accurate.

    Args:
        problem: S, n examples.
        found: its minimisers.
        s: weight of the penalty, lambda (2p - p^2).

    Returns:
        The reach along each segment to theta(S^i), in multiples of it, (n,).
    """
    n, start, way = len(problem), found.full[None], found.left_out - found.full
    mean = np.full((1, n), 1 / n)
    value = objective(problem, mean, s, start)
    flat = way.reshape(n, -1)
    bends = np.einsum("ni,ij,nj->n", flat, problem.hessian(start, mean, s)[0], flat)
    reach = expansion_reach(
        lambda step: objective(problem, mean, s, start + step * way) - value,
        slope=(objective_gradient(problem, mean, s, start) * way).sum((1, 2)),
        curvature=bends,
    )
    return np.asarray(reach)


def segment_lipschitz(problem: Problem, found: Minimisers, s: float) -> tuple[float, float]:
    """Largest gradients of the raw and the regularized loss of S on the segments.

    Of the raw loss: of all examples at the ends, and of the left-out one in between. A gradient
    that is L-Lipschitz and g, g' at the ends of a piece of length D is at most (g + g' + L D)/2
    within; where it peaks at an end of the segment, that is not needed.

    Args:
        problem: S, n examples.
        found: its minimisers; a segment goes from theta(S) to each theta(S^i).
        s: weight of the penalty, lambda (2p - p^2).

    Returns:
        Bounds on the norms of both gradients, in units of the loss per unit of theta.
    """
    norms = np.linalg.norm(problem.features, axis=1)
    start, ends = found.full, found.left_out
    raw = max(
        (np.linalg.norm(problem.loss.gradient(problem.outputs(theta), problem.targets), axis=-1)
         * norms).max()
        for theta in (start, ends)
    )  # fmt: skip
    own_raw, own_regularized = _own_gradients(problem, found, s)
    lipschitz = problem.loss.hessian_bound * norms**2
    if not problem.loss.slope_peaks_at_ends:
        raw = max(raw, _peak(own_raw, lipschitz, found))
    if problem.loss.quadratic:
        return float(raw), float(own_regularized[[0, -1]].max())
    return float(raw), _peak(own_regularized, lipschitz + 2 * s, found)


def _own_gradients(problem: Problem, found: Minimisers, s: float) -> tuple[Array, Array]:
    """Norms of the left-out example's raw and regularized gradient along its segment.

    Returns:
        Two arrays, (PIECES + 1, n), at steps of equal length from theta(S) to theta(S^i).
    """
    each, norms = np.arange(len(problem)), np.linalg.norm(problem.features, axis=1)
    steps = np.linspace(0, 1, PIECES + 1)[:, None, None, None]
    theta = found.full + steps * (found.left_out - found.full)
    first, last = problem.outputs(found.full), problem.outputs(found.left_out)[each, each]
    outputs = first + steps[..., 0] * (last - first)
    slopes = problem.loss.gradient(outputs, problem.targets)
    raw = np.linalg.norm(slopes, axis=-1) * norms
    # |g x^T + 2s theta|^2, where <g x^T, theta> = <g, theta x>.
    mixed = 4 * s * (slopes * outputs).sum(-1) + 4 * s**2 * np.square(theta).sum((-2, -1))
    return raw, np.sqrt(np.maximum(raw**2 + mixed, 0))


def _peak(norms: Array, lipschitz: Array, found: Minimisers) -> float:
    """Bound on the gradients of all segments, from those at the ends of their pieces."""
    length = np.linalg.norm(found.left_out - found.full, axis=(1, 2))
    return float(((norms[1:] + norms[:-1] + lipschitz * length / PIECES) / 2).max())


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


def common_ceiling(setting: Setting) -> float:
    """Bound the loss of every example of the population at the minimisers of *every* sample.

    Args:
        setting: says the population and the penalty.

    Returns:
        C, in units of the loss.
    """
    return largest_loss(setting.population, common_radius(setting.population, setting.s))


def definition_cases(setting: Setting) -> Iterator[Case]:
    """Definition 4.1: leave-one-out minimisers found together equal those found one by one.

    Source: arXiv 2404.09610, Definition 4.1; Bousquet & Elisseeff 2002, Definition 4.
    """
    for draw in range(setting.draws):
        problem = setting.sample(draw)
        found = minimisers(problem, setting.s)
        chosen = np.linspace(0, setting.n - 1, REFITTED).astype(int)
        weights = leave_one_out_weights(setting.n, "mean")[chosen]
        alone = newton(problem, weights, setting.s)
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
            if form == "mean":
                yield _as_printed(setting, problem, measured)
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
    bounds, distance = np.asarray(bounds), measured.distance
    # An example without a gradient moves nothing, and its bound is 0.
    still = np.where(distance > 0, np.inf, 0.0)
    worst = int(np.argmax(np.divide(distance, bounds, out=still, where=bounds > 0)))
    yield Case(
        "distance of θ(S^i), inside 4.2",
        f"{form}, curvature: segment",
        str(setting),
        float(measured.distance[worst]),
        float(bounds[worst]),
        tolerance=stopping_error(1.0, setting.s),
        assumptions="strongly convex; curvature bounded below on the segment",
        command=setting.command("4.2"),
    )


def _as_printed(setting: Setting, problem: Problem, measured: Measured) -> Case:
    """The printed statement, true where every theta(S^i) is close: see ``theory.closeness``."""
    return Case(
        "Proposition 4.2",
        AS_IT_IS_PRINTED,
        str(setting),
        float(measured.regularized.mean()),
        measured.printed_bound(setting.s, setting.n),
        tolerance=stopping_error(measured.lipschitz["segment"][1], setting.s),
        ceiling=largest_loss(problem, ball_radius(problem, setting.s, "mean")),
        chance=setting.chance,
        assumptions="exact minimisers; expansion accurate to 10 % for every θ(S^i)",
        failed="" if np.all(is_close(measured.reach)) else NOT_CLOSE,
        reach=float(measured.reach.min()),
        command=setting.command("4.2"),
    )


def _readings(setting: Setting, problem: Problem, measured: Measured, form: Form) -> Iterator[Case]:
    ceiling = largest_loss(problem, ball_radius(problem, setting.s, form))
    close = bool(np.all(is_close(measured.reach)))
    for reading in READINGS:
        if reading.form != form:
            continue
        beta = measured.raw if reading.loss == "raw" else measured.regularized
        eta = measured.lipschitz["segment"][reading.loss == "regularized"]
        needs_closeness = reading.curvature == "expansion"
        yield Case(
            "Proposition 4.2",
            str(reading),
            str(setting),
            float(beta.mean()),
            measured.bound(reading, setting.n),
            tolerance=stopping_error(eta, setting.s),
            ceiling=ceiling,
            chance=setting.chance,
            assumptions="exact minimisers, strongly convex",
            failed=reading.missing_premise(problem.loss.quadratic, close),
            reach=float(measured.reach.min()) if needs_closeness else float("nan"),
            command=setting.command("4.2"),
        )
