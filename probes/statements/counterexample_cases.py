"""Where printed statements fail: with all their premises met, or because one of them is not.

Only the first are counterexamples to what the paper prints. The others show that a premise which it
grants is needed, and how far it carries. Each stands beside a statement that holds.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from probes.statements.case import Case
from probes.statements.exact_minimisers import Problem, minimisers
from probes.statements.linear_losses import LOGISTIC, Array
from probes.statements.stability_cases import (
    Measured,
    ball_radius,
    largest_loss,
    measure,
    stopping_error,
)
from theory import stability_bound, stability_gap_bound, two_stabilities_gap_bound
from theory.closeness import expansion_reach, is_close
from theory.readings import AT_POINT, CORRECTED, NOT_CLOSE, Reading

#: n and s at which the point curvature of a one-dimensional logistic loss is not enough.
LOGISTIC_SETTINGS = ((4, 1e-3), (10, 1e-4), (50, 1e-5))
#: n and s of the examples in pairs.
PAIRED_SETTINGS = ((20, 1e-5), (100, 1e-6))
#: Strength of the penalty, and n, at which the rank constraint breaks Proposition 4.2.
RANK_STRENGTH, RANK_N = 0.05, (100, 400, 1600)
#: n and delta of the memoriser.
MEMORISER_N, MEMORISER_DELTA = 100, 0.05
#: Under a rank constraint the gradient over all W does not vanish.
NOT_STATIONARY = "θ(S) not stationary: rank constraint"
COMMAND = "--statement counterexamples"
#: What readings are called that are printed: the statement, and its formula for the raw loss.
PRINTED, PRINTED_RAW = "as printed", "printed formula, raw loss"


def counterexample_cases() -> Iterator[Case]:
    """All known counterexamples, those that meet every printed premise first."""
    yield from memoriser_cases()
    yield from logistic_cases()
    yield from rank_cases()


def logistic_problem(n: int) -> Problem:
    """x = 1 for all n examples, one of which is negative; its number is 0."""
    labels = np.ones((n, 1))
    labels[0] = 0
    return Problem(np.ones((n, 1)), labels, LOGISTIC)


def paired_problem(n: int) -> Problem:
    """One feature for every two of n examples, one of them positive and one negative."""
    features = np.repeat(np.eye(n // 2), 2, axis=0)
    labels = np.tile([0.0, 1.0], n // 2)[:, None]
    return Problem(features, labels, LOGISTIC)


def logistic_cases() -> Iterator[Case]:
    """Without one example theta runs off to where the loss is flat: it is not close.

    The curvature at theta(S) is large, that on the way to theta(S^i) is not. With one negative
    among n in one dimension, that breaks the bound on the worst example's change, which is what the
    proof bounds, and not that on the mean. With a feature of its own for every two examples of
    different labels it happens to all of them, and breaks the bound on their mean.
    """
    for n, s in LOGISTIC_SETTINGS:
        yield from _curvature_cases(logistic_problem(n), s, f"1-d logistic, n = {n}, s = {s:g}")
    for n, s in PAIRED_SETTINGS:
        yield from _curvature_cases(paired_problem(n), s, f"paired logistic, n = {n}, s = {s:g}")


def _curvature_cases(problem: Problem, s: float, setting: str) -> Iterator[Case]:
    measured = measure(problem, minimisers(problem, s), s, "mean")
    zero = np.zeros((1, problem.features.shape[1]))
    for loss, change, reading in (
        ("regularized", measured.regularized, Reading(loss="regularized", curvature="segment")),
        ("raw", measured.raw, CORRECTED),
    ):
        printed = PRINTED if loss == "regularized" else PRINTED_RAW
        worst = int(change.argmax())
        for what, value, reach in (
            ("worst example", change[worst], measured.reach[worst]),
            ("β of this S", change.mean(), measured.reach.min()),
        ):
            for how, bound, failed in (
                (printed, _printed_bound(measured, loss, s), "" if is_close(reach) else NOT_CLOSE),
                (f"{loss} loss, curvature: segment", measured.bound(reading, len(problem)), ""),
            ):
                yield Case(
                    "Proposition 4.2",
                    f"{what}, {how}",
                    setting,
                    float(value),
                    bound,
                    tolerance=stopping_error(1.0, s),
                    ceiling=largest_loss(problem, ball_radius(problem, s, "mean")),
                    chance=float(problem.losses(zero).mean()),
                    assumptions="convex, exact minimisers",
                    failed=failed,
                    reach=float(reach) if how == printed else float("nan"),
                    command=COMMAND,
                )


def _printed_bound(measured: Measured, loss: str, s: float) -> float:
    n = len(measured.raw)
    return measured.printed_bound(s, n) if loss == "regularized" else measured.bound(AT_POINT, n)


def rank_cases() -> Iterator[Case]:
    """With a rank constraint the gradient does not vanish at the optimum, and a tie may break.

    x is e1 or e2 with probability 1/2, y = x, half squared loss, update of rank 1. The optimum
    keeps the direction that S has more of, e1 if there are as many. Leaving out an e1 from a tie
    turns it over: the probability of that falls like 1/sqrt(n), the bound falls like 1/n.

    In W the objective is quadratic, so that its expansion is exact at any distance. But the proof
    drops the first-order term, which vanishes only where theta(S) is a minimiser over all W. Here
    it outweighs the second-order term, and theta(S^i) is almost as good for S as theta(S) is.
    """
    for n in RANK_N:
        for reading, rank, failed in (
            (f"rank 1, {PRINTED}", 1, NOT_STATIONARY),
            ("the same without the constraint", 2, ""),
        ):
            beta, bound = rank_stability(n, rank)
            reach, rise = rank_expansion(n)
            yield Case(
                "Proposition 4.2",
                reading,
                f"two directions, n = {n}, s = {RANK_STRENGTH:g}",
                beta,
                bound,
                ceiling=0.5,
                chance=0.5,
                assumptions="global optimum in closed form, expectation over S exact"
                if rank == 2
                else f"global optimum; L_λ rises by {rise:.0%} of its second-order term",
                failed=failed,
                reach=reach if rank == 1 else float("nan"),
                command=COMMAND,
            )


def rank_expansion(n: int) -> tuple[float, float]:
    """How the objective changes on the way from theta(S) to theta(S^i) where a tie turns over.

    Args:
        n: number of examples, even: half of them are e1.

    Returns:
        How far its second-order expansion is accurate, first order included, in multiples of the
        way; and its change at theta(S^i), in units of the second-order term.
    """
    s, start = RANK_STRENGTH, _kept(np.array([n / 2, n / 2]), 1)
    way = _kept(np.array([n / 2 - 1, n / 2]), 1) - start
    curvature = (0.5 + 2 * s) * float(way @ way)
    slope = float(way @ (-(1 - start) / 2 + 2 * s * start))

    def objective(kept: Array) -> float:
        return float(np.square(1 - kept).sum() / 4 + s * np.square(kept).sum())

    reach = expansion_reach(
        lambda step: objective(start + step * way) - objective(start),
        slope=slope,
        curvature=curvature,
    )
    rise = (objective(start + way) - objective(start)) / (curvature / 2)
    return float(reach), rise


def rank_stability(n: int, rank: int) -> tuple[float, float]:
    """Both sides of Proposition 4.2 for the two directions, as exact expectations over S.

    With shares a_k of e_k in S, the loss is sum_k a_k/2 ||e_k - Delta e_k||^2: the eigenvalues of
    its Hessian are the shares. A column that is kept becomes kappa = a_k/(a_k + 2s) e_k and leaves
    the loss (1 - kappa)^2/2; one that is dropped leaves 1/2. The regularized gradient of an
    example, (Delta x - x) x^T + 2s Delta, is linear in Delta, so that its norm is largest at an end
    of a segment. There it is at most 1 in the example's own column, and at most 2s in the other.

    Args:
        n: number of examples.
        rank: 1, or 2 for no constraint.

    Returns:
        beta of the regularized loss, and its bound.
    """
    ones = np.arange(n + 1)
    probability = stats.binom.pmf(ones, n, 0.5)
    change = [_mean_change(int(count), n, rank) for count in ones]
    bounds = stability_bound(
        lipschitz=np.hypot(1.0, 2 * RANK_STRENGTH),
        curvature=np.minimum(ones, n - ones) / n,
        strength=RANK_STRENGTH,
        p=1.0,
        n=n,
    )
    return float(probability @ change), float(probability @ np.asarray(bounds))


def memoriser_cases() -> Iterator[Case]:
    """An algorithm that is perfectly stable at its training points and learns nothing.

    Every label is 1. Given n points it answers 1 on them and 0 elsewhere; given n - 1 it always
    answers 1. So leaving z_i out changes nothing at z_i, the empirical risk is 0, the risk is 1. At
    a fresh point the loss changes by 1, which pointwise stability does not see. The losses of any
    two points differ by 1 at most, so that C = 1: every premise of the printed lemma is met.
    """
    generator = np.random.default_rng(0)
    points, fresh = generator.random(MEMORISER_N), generator.random(MEMORISER_N)
    losses = [1 - _memorise(points, MEMORISER_N)(where) for where in (points, fresh)]
    left_out = [
        np.concatenate(
            [
                1 - _memorise(np.delete(points, i), MEMORISER_N)(where[i : i + 1])
                for i in range(MEMORISER_N)
            ]
        )
        for where in (points, fresh)
    ]
    pointwise, hypothesis = (
        float(np.abs(after - before).mean()) for after, before in zip(left_out, losses, strict=True)
    )
    gap = float(losses[1].mean() - losses[0].mean())
    known = {"loss_bound": 1.0, "n": MEMORISER_N, "delta": MEMORISER_DELTA}
    both = {"beta_pointwise": pointwise, "beta_hypothesis": hypothesis}
    for reading, bound, provable in (
        (
            "pointwise stability alone, as printed",
            stability_gap_bound(beta=pointwise, **known),
            False,
        ),
        ("both stabilities", two_stabilities_gap_bound(**both, **known), True),
    ):
        yield Case(
            "Lemma 4.3",
            reading,
            f"memoriser, n = {MEMORISER_N}, δ = {MEMORISER_DELTA:g}",
            gap,
            float(bound),
            ceiling=1.0,
            chance=1.0,
            provable=provable,
            assumptions=f"β = {pointwise:g}, at a fresh point {hypothesis:g}",
            command=COMMAND,
        )


def _memorise(points: Array, size: int) -> Callable[[Array], Array]:
    """Train the memoriser: answers 1 or 0."""
    if len(points) < size:
        return np.ones_like
    return lambda where: np.isin(where, points).astype(float)


def _mean_change(ones: int, n: int, rank: int) -> float:
    """Mean change of the left-out example's loss, for a sample with so many e1."""
    kept = _losses(ones, n - ones, rank)
    change = 0.0
    if ones:
        change += ones * abs(_losses(ones - 1, n - ones, rank)[0] - kept[0])
    if ones < n:
        change += (n - ones) * abs(_losses(ones, n - ones - 1, rank)[1] - kept[1])
    return change / n


def _losses(ones: int, twos: int, rank: int) -> tuple[float, float]:
    """Regularized losses of an e1 and an e2 under the optimum of a sample of so many of each."""
    kept = _kept(np.array([ones, twos]), rank)
    first, second = np.square(1 - kept) / 2 + RANK_STRENGTH * np.square(kept).sum()
    return float(first), float(second)


def _kept(counts: Array, rank: int) -> Array:
    """Diagonal of the global optimum of a sample of so many e1 and e2."""
    shares = counts / counts.sum()
    kept = shares / (shares + 2 * RANK_STRENGTH)
    if rank == 1:
        kept[1 if counts[0] >= counts[1] else 0] = 0.0
    return np.asarray(kept)
