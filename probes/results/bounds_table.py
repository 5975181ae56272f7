"""The bounds at measured quantities, each with its verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from theory import (
    is_vacuous,
    sparsity,
    sparsity_gap_bound,
    stability_bound,
    stability_gap_bound,
)

#: Values of lambda for which the bounds are drawn where the algorithm has none.
STRENGTHS = (0.01, 0.1, 1.0)

#: Rates at which the bounds are drawn where a single rate was measured.
RATES = np.linspace(0, 1, 101)


def bounds(table: pd.DataFrame, strengths: Sequence[float], delta: float) -> pd.DataFrame:
    """State Proposition 4.2, Lemma 4.3 and Theorem 4.4 for every row of a cell table.

    Args:
        table: one row a cell and inference mode, as ``StabilityResult.table``.
        strengths: the values of lambda.
        delta: failure probability.

    Returns:
        One row for every row of the table, statement and strength: the identifying columns,
        ``statement``, ``strength`` (NaN for Lemma 4.3, which has none), ``measured``, ``bound`` and
        ``verdict``: "holds", "vacuous" (at least C), "infinite", "assumption failed" (the bound is
        then NaN), "not measured" where the network trained on S diverged, and where the measurement
        lies above the bound, "violated" for the objective penalty and "exceeded" for dropout, of
        which the statements do not speak.
    """
    records = []
    for row in table.to_dict("records"):
        identity = {key: row[key] for key in ("task", "n", "p", "draw", "inference", "ensemble")}
        for statement, strength, measured, bound in _statements(row, strengths, delta):
            above = "violated" if row["objective"] == "penalty" else "exceeded"
            verdict = _verdict(measured, bound, row["loss_bound_used"], above)
            records.append(
                identity
                | {
                    "statement": statement,
                    "strength": strength,
                    "measured": measured,
                    "bound": bound,
                    "verdict": verdict,
                }
            )
    return pd.DataFrame(records)


def bound_curves(
    table: pd.DataFrame, strengths: Sequence[float], delta: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """State Proposition 4.2 and Theorem 4.4 as curves over p, at means over draws.

    Where a single rate was measured, its quantities are continued over all rates.

    Args:
        table: cells of the deterministic network, as ``StabilityResult.table``.
        strengths: the values of lambda.
        delta: failure probability.

    Returns:
        The curves: ``strength``, ``p``, ``stability_bound``, ``gap_bound``, ``continued``, without
        the rates at which the regularized Hessian is not positive (NaN in one row where that is so
        at all of them). And C: ``p``, ``loss_bound``.
    """
    columns = ["lipschitz", "curvature", "loss_bound_used"]
    known = table.groupby("p")[columns].mean().sort_index()
    continued = len(known) == 1
    if continued:
        known = pd.DataFrame([known.iloc[0]] * len(RATES), index=RATES)
    n = int(table["n"].iloc[0])
    curves = [_curve(known, strength, n, delta) for strength in strengths]
    ceiling = {"p": known.index, "loss_bound": known["loss_bound_used"].to_numpy()}
    return pd.concat(curves, ignore_index=True).assign(continued=continued), pd.DataFrame(ceiling)


def _curve(known: pd.DataFrame, strength: float, n: int, delta: float) -> pd.DataFrame:
    usable = known[known["curvature"] + 2 * strength * sparsity(known.index.to_numpy()) > 0]
    if len(usable) == 0:
        nothing = dict.fromkeys(("p", "stability_bound", "gap_bound"), np.nan)
        return pd.DataFrame([{"strength": strength} | nothing])
    arguments: dict[str, Any] = {
        "lipschitz": usable["lipschitz"].to_numpy(), "curvature": usable["curvature"].to_numpy(),
        "strength": strength, "p": usable.index.to_numpy(), "n": n,
    }  # fmt: skip
    ceiling = usable["loss_bound_used"].to_numpy()
    return pd.DataFrame(
        {
            "strength": strength,
            "p": usable.index.to_numpy(),
            "stability_bound": stability_bound(**arguments),
            "gap_bound": sparsity_gap_bound(**arguments, loss_bound=ceiling, delta=delta),
        }
    )


def _statements(
    row: dict, strengths: Sequence[float], delta: float
) -> list[tuple[str, float, float, float]]:
    beta, gap, ceiling, n = row["beta"], row["gap"], row["loss_bound_used"], row["n"]
    lemma = float("nan")
    if np.isfinite(beta) and np.isfinite(ceiling):
        lemma = float(stability_gap_bound(loss_bound=ceiling, beta=beta, n=n, delta=delta))
    statements = [("Lemma 4.3", float("nan"), gap, lemma)]
    for strength in strengths:
        # A flat or saddle point that the penalty does not outweigh is outside both statements.
        convex = row["curvature"] + 2 * strength * sparsity(row["p"]) >= 0
        proposition = theorem = float("nan")
        if convex and np.isfinite(ceiling):
            known = {
                "lipschitz": row["lipschitz"],
                "curvature": row["curvature"],
                "strength": strength,
                "p": row["p"],
                "n": n,
            }
            proposition = float(stability_bound(**known))
            theorem = float(sparsity_gap_bound(**known, loss_bound=ceiling, delta=delta))
        statements.append(("Proposition 4.2", strength, beta, proposition))
        statements.append(("Theorem 4.4", strength, gap, theorem))
    return statements


def _verdict(measured: float, bound: float, ceiling: float, above: str) -> str:
    if not np.isfinite(measured):
        return "not measured"
    if np.isnan(bound):
        return "assumption failed"
    if np.isinf(bound):
        return "infinite"
    if measured > bound:
        return above
    return "vacuous" if is_vacuous(bound, ceiling) else "holds"
