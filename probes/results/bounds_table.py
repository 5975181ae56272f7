"""The bounds at measured quantities, each with its verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from probes.metrics.confidence_intervals import overlap_of
from probes.metrics.exceedances import exceedance_p_value
from probes.metrics.multiple_comparisons import LEVEL, holm
from probes.results.premises import (
    failed_in_any,
    failed_premises,
    regularized_curvature,
    slack_of,
)
from theory import (
    is_vacuous,
    sparsity,
    sparsity_gap_bound,
    stability_bound,
    stability_gap_bound,
)
from theory.closeness import CLOSE_CONSTANT

#: What identifies a row.
IDENTITY = ("task", "n", "p", "draw", "inference", "ensemble", "objective")

#: Rates at which the bounds are drawn where a single rate was measured.
RATES = np.linspace(0, 1, 101)


def bounds(table: pd.DataFrame, strengths: Sequence[float], delta: float) -> pd.DataFrame:
    """State Proposition 4.2, Lemma 4.3 and Theorem 4.4 for every row of a cell table.

    The beta of Lemma 4.3 is an expectation over S: it is stated at the mean over the draws that the
    table holds, and not at the beta of one S, which may be small where the gap is large. A draw in
    which a replica diverged has no beta: that of the others would make the bound too small.

    Args:
        table: one row a cell and inference mode, as ``StabilityResult.table``.
        strengths: the values of lambda.
        delta: failure probability.

    Returns:
        One row for every row of the table, statement and strength: the identifying columns,
        ``objective``, ``statement``, ``strength`` (NaN for Lemma 4.3, which has none),
        ``curvature``, ``measured``, ``bound`` (NaN where the regularized Hessian has a negative
        eigenvalue or what it asks for is not known, infinite where its least is 0), ``slack`` (what
        Proposition 4.2 loses as the networks are not quite minimisers, units of the loss; NaN where
        it does not apply), ``vacuous`` (whether the bound is at least C, or at least the largest
        loss that was seen), ``failed`` (the premises that fail or are not known to hold, joined by
        "; ") and ``verdict``:

        - "not measured" where the network trained on S diverged;
        - for the objective penalty "assumption failed" where ``failed`` names any, otherwise
          "holds" or "vacuous" up to bound and slack, above these "exceeded". A bound
          on the gap may be exceeded with probability delta: see :func:`over_draws`. The formula of
          Proposition 4.2 is taken here with the raw loss and its eta, for which it is proved with
          ``theory.closeness.CLOSE_CONSTANT`` times its value: above that it is "violated";
        - for dropout, of which the statements do not speak, "exceeded" or "not exceeded", and "no
          bound" where the bound is NaN.
    """
    records = []
    over = [key for key in IDENTITY if key in table and key != "draw"]
    known = table.assign(expected_beta=table["beta"].where(table["diverged"] == 0))
    expected = known.groupby(over, dropna=False)["expected_beta"].transform("mean")
    for row in table.assign(expected_beta=expected).to_dict("records"):
        identity = {key: row[key] for key in (*IDENTITY, "pool") if key in row}
        for statement, strength, measured, bound in _statements(row, strengths, delta):
            judged = row["objective"] == "penalty" and np.isfinite(measured)
            failed = failed_premises(row, statement) if judged else []
            # A bound of more than any loss that was seen says nothing either, however large C is.
            ceiling = np.fmin(row["loss_bound_used"], row["largest_loss"])
            slack = slack_of(row) if statement == "Proposition 4.2" else float("nan")
            verdict = (
                _verdict(statement, measured, bound, slack, failed, ceiling)
                if row["objective"] == "penalty"
                else _comparison(measured, bound)
            )
            records.append(
                identity
                | {
                    "statement": statement,
                    "strength": strength,
                    "curvature": row["curvature"],
                    "measured": measured,
                    "bound": bound,
                    "slack": slack,
                    "vacuous": bound >= ceiling,
                    "failed": "; ".join(failed),
                    "verdict": verdict,
                }
            )
    return pd.DataFrame(records)


def over_draws(bounds: pd.DataFrame, keys: Sequence[str], delta: float) -> pd.DataFrame:
    """Average bounds over draws of S, and say which verdicts occur and how often.

    A bound on the gap holds with probability 1 - delta over the draw of S, so that some draws may
    lie above it. It counts as violated where more do than such a bound allows, by a one-sided
    binomial test at ``LEVEL``, corrected by Holm for the number of bounds in the table. Draws that
    share many examples exceed a bound together: they are counted and not tested.

    Args:
        bounds: of :func:`bounds`.
        keys: columns that identify what is averaged, beside ``statement`` and ``strength``.
        delta: failure probability.

    Returns:
        One row a key, statement and strength: ``measured``, ``bound``, ``slack`` (means),
        ``draws`` (in which something was measured), ``vacuous`` (of them, those whose bound says
        nothing), ``above`` (those that lie above the bound), ``failed`` (the premises that fail in
        any draw) and ``verdict``.
    """
    groups = bounds.groupby([*keys, "statement", "strength"], sort=False, dropna=False)
    records = [
        dict(zip([*keys, "statement", "strength"], key, strict=True)) | _draws_record(group, delta)
        for key, group in groups
    ]
    table = pd.DataFrame(records)
    refuted = holm(table["p_value"]) <= LEVEL
    table.loc[refuted, "verdict"] = "violated: " + table.loc[refuted, "verdict"]
    return table.drop(columns="p_value")


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
    convex = known["curvature"] + 2 * strength * sparsity(known.index.to_numpy()) > 0
    usable = known[convex & np.isfinite(known.to_numpy(np.float64)).all(axis=1)]
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
    lemma, expected = float("nan"), row["expected_beta"]
    if np.isfinite(beta) and np.isfinite(ceiling) and not row["diverged"]:
        lemma = float(stability_gap_bound(loss_bound=ceiling, beta=expected, n=n, delta=delta))
    statements = [("Lemma 4.3", float("nan"), gap, lemma)]
    for strength in strengths:
        # A flat or saddle point that the penalty does not outweigh is outside both statements.
        convex = regularized_curvature(row | {"strength": strength}) >= 0
        proposition = theorem = float("nan")
        # A network that diverged may have a curvature, but no Lipschitz constant.
        if convex and np.isfinite([ceiling, row["lipschitz"]]).all():
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


def _verdict(
    statement: str, measured: float, bound: float, slack: float, failed: list[str], ceiling: float
) -> str:
    """What a statement whose objective was minimised says of a cell."""
    if not np.isfinite(measured):
        return "not measured"
    if failed or np.isnan(bound):
        return "assumption failed"
    allowed = np.nan_to_num(slack)
    if statement == "Proposition 4.2" and measured > CLOSE_CONSTANT * bound + allowed:
        return "violated"
    if measured > bound + allowed:
        return "exceeded"
    return "vacuous" if is_vacuous(bound, ceiling) else "holds"


def _comparison(measured: float, bound: float) -> str:
    """How a cell compares with a bound that does not speak of its algorithm."""
    if not np.isfinite(measured):
        return "not measured"
    if np.isnan(bound):
        return "no bound"
    return "exceeded" if measured > bound else "not exceeded"


def _draws_record(group: pd.DataFrame, delta: float) -> dict[str, Any]:
    measured = group[np.isfinite(group["measured"])]
    return {
        "measured": measured["measured"].mean(),
        "bound": group["bound"].mean(),
        "slack": group["slack"].mean(),
        "draws": len(measured),
        "vacuous": int(measured["vacuous"].sum()),
        "above": int((measured["measured"] > measured["bound"]).sum()),
        "failed": "; ".join(failed_in_any(group["failed"])),
        "verdict": _counts(group["verdict"]),
        "p_value": _p_value(group, delta),
    }


def _counts(verdicts: pd.Series) -> str:
    counts = verdicts.value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{name} {count}/{len(verdicts)}" for name, count in counts.items())


def _p_value(group: pd.DataFrame, delta: float) -> float:
    """Probability that a bound on the gap is exceeded so often or more; NaN where none applies."""
    first = group.iloc[0]
    if first["statement"] == "Proposition 4.2" or first["objective"] != "penalty":
        return float("nan")
    if overlap_of(group):
        return float("nan")
    verdicts = group["verdict"]
    draws = verdicts.isin(["holds", "vacuous", "exceeded"]).sum()
    above = (verdicts == "exceeded").sum()
    if not draws:
        return float("nan")
    return exceedance_p_value(above, draws, delta)
