"""Which premises of the paper's statements a measured cell meets."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from probes.jobs.amounts import from_to, how_many
from probes.landscape.assumption_audit import CONVEXITY_PAIRS
from theory import sparsity, stability_bound
from theory.closeness import is_close
from theory.inexact_minimisers import stationarity_slack

MINIMISER = "θ(S) and θ(S^i) minimise L_λ"
SEMIDEFINITE = "Hessian of L at θ(S) positive semidefinite"
CLOSE = "θ(S^i) close to θ(S)"
CONVEX = "loss convex in the final activation"
BOUNDED = "loss bounded by C"
CONVERGED = "all θ(S^i) finite"

#: What each statement assumes, of what is audited. Theorem 4.5 alone needs convexity. Lemma 4.3 is
#: stated at the measured beta, which is not known where a replica diverged.
PREMISES = {
    "Lemma 4.3": (CONVERGED, BOUNDED),
    "Proposition 4.2": (MINIMISER, SEMIDEFINITE, CLOSE),
    "Theorem 4.4": (MINIMISER, SEMIDEFINITE, CLOSE, BOUNDED),
}
UNKNOWN = "not known"
ALL_DIVERGED = f"{UNKNOWN}: all networks diverged"
#: Networks count as minimisers where what is left of their gradients may move beta by this share of
#: it, and of its bound, at most, and none diverged.
STATIONARY = 0.1

Row = Mapping[Any, Any]


def slack_of(row: Row) -> float:
    """How much the gradients that are left may move beta: 2 eta epsilon / mu.

    Source: ``theory.inexact_minimisers``. That needs the smallest curvature on the way to
    theta(S^i); the one at theta(S) stands for it, so that the slack is an estimate.

    Args:
        row: of a cell: ``strength``, ``p``, ``curvature``, ``lipschitz`` and what was audited.

    Returns:
        The slack in units of the loss, infinite where mu, the smallest curvature of the regularized
        loss at theta(S), is not positive; NaN where it is not known, as for an algorithm without a
        lambda.
    """
    mu = regularized_curvature(row) if _has_strength(row) else np.nan
    known = row["lipschitz"], row["audit_gradient_norm"], row["audit_gradient_norm_left_out"], mu
    if not np.isfinite(known).all():
        return float("nan")
    return float(
        stationarity_slack(
            lipschitz=row["lipschitz"],
            mu=max(mu, 0.0),
            gradient_norm=row["audit_gradient_norm"],
            gradient_norm_left_out=row["audit_gradient_norm_left_out"],
        )
    )


def regularized_curvature(row: Row) -> Any:
    """Smallest curvature at theta(S) of the penalized loss: Lambda_min + 2 lambda (2p - p^2).

    Args:
        row: ``curvature``, ``strength`` and ``p`` of a cell, or a column each of several.

    Returns:
        The curvature, or one each, in units of the loss per squared unit of theta.
    """
    return row["curvature"] + 2 * row["strength"] * sparsity(row["p"])


def failed_in_any(failed: Iterable[str]) -> list[str]:
    """Name the premises that fail in any cell, each once.

    Args:
        failed: of each cell those that fail, joined by "; ".
    """
    return [*dict.fromkeys(name for some in failed for name in some.split("; ") if name)]


def failed_premises(row: Row, statement: str) -> list[str]:
    """Name the premises of a statement that a cell does not meet, or that are not known to hold.

    Args:
        row: of a cell and inference mode, as ``StabilityResult.table``.
        statement: a key of ``PREMISES``.

    Returns:
        Names, in the order of ``PREMISES``.
    """
    return [premise for premise in PREMISES[statement] if not MEETS[premise](row)]


def audit_table(table: pd.DataFrame) -> pd.DataFrame:
    """Summarize the audit of many cells.

    Args:
        table: one row a cell and inference mode, as ``StabilityResult.table``.

    Returns:
        One row a premise: ``assumption``, ``found``, ``verdict``.
    """
    cells = table[table["ensemble"] == 0]
    rows = cells.to_dict("records")
    found = {
        MINIMISER: _gradients_found(cells),
        SEMIDEFINITE: f"smallest eigenvalue {_between(cells['curvature'])}",
        CLOSE: _distances_found(cells),
        CONVEX: f"{cells['audit_nonconvex_pairs'].max():.1%} of {CONVEXITY_PAIRS} random pairs "
        "violate it",
        BOUNDED: "clipped"
        if cells["audit_bounded"].all()
        else f"largest seen {_known(cells['largest_loss'].max())}",
    }
    verdicts = {name: _count(sum(map(MEETS[name], rows)), len(rows)) for name in found}
    if not cells["audit_distance"].notna().any():
        # Without a λ nothing minimises L_λ, whatever became of the networks.
        asked = (MINIMISER,) if cells["strength"].notna().any() else ()
        verdicts |= dict.fromkeys((*asked, SEMIDEFINITE, CLOSE), UNKNOWN)
    if not cells["audit_bounded"].all():
        verdicts[BOUNDED] = "not known: C is the largest seen"
    return pd.DataFrame(
        [(name, what, verdicts[name]) for name, what in found.items()],
        columns=["assumption", "found", "verdict"],
    )


def _has_strength(row: Row) -> bool:
    return bool(pd.notna(row["strength"]))


def _is_minimiser(row: Row) -> bool:
    """Whether what is left of the gradients can move neither beta nor its bound by much.

    Both are asked, as a beta that is large because of those gradients would excuse them.
    """
    slack = slack_of(row)
    if not np.isfinite(slack) or row["diverged"]:
        return False
    names = ("lipschitz", "curvature", "strength", "p", "n")
    if regularized_curvature(row) < 0:
        return False
    bound = stability_bound(**{name: row[name] for name in names})
    return bool(slack <= STATIONARY * min(row["beta"], bound))


#: Whether a cell meets a premise. What is not known counts as not met.
MEETS: dict[str, Callable[[Row], bool]] = {
    MINIMISER: _is_minimiser,
    SEMIDEFINITE: lambda row: bool(row["audit_positive_semidefinite"]),
    CLOSE: lambda row: bool(is_close(row["audit_expansion_radius"])),
    CONVEX: lambda row: bool(row["audit_nonconvex_pairs"] == 0),
    BOUNDED: lambda row: bool(row["audit_bounded"]),
    CONVERGED: lambda row: not row["diverged"],
}


def _gradients_found(cells: pd.DataFrame) -> str:
    if cells["strength"].isna().all():
        return "no λ: training with masks minimises no such objective"
    if cells["audit_gradient_norm"].isna().all():
        return ALL_DIVERGED
    shares = [slack_of(row) / row["beta"] for row in cells.to_dict("records") if row["beta"] > 0]
    moved = f"{np.nanmax(shares):.2g}" if np.isfinite(shares).any() else UNKNOWN
    lost = int(cells["diverged"].sum())
    return (
        f"gradient norm {_between(cells['audit_gradient_norm'])} at θ(S), "
        f"{_between(cells['audit_gradient_norm_left_out'])} at θ(S^i) (mean); may move β by up to "
        f"{moved} times itself" + (f"; {how_many(lost, 'replica')} diverged" if lost else "")
    )


def _distances_found(cells: pd.DataFrame) -> str:
    known = cells[cells["audit_distance"].notna()]
    if not len(known):
        return ALL_DIVERGED
    return (
        f"distance up to {known['audit_distance'].max():.3g}; second-order expansion accurate to "
        f"10 % over {known['audit_expansion_radius'].median():.3g} of it (median)"
    )


def _known(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else UNKNOWN


def _between(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        return UNKNOWN
    return from_to(low, high, ".3g")


def _count(held: int, count: int) -> str:
    if held == count:
        return "holds"
    return "fails" if held == 0 else f"fails in {count - held} of {count} cells"
