"""What a stability run answers: how much one example matters, and whether the bound says so."""

import numpy as np
import pandas as pd

from probes.results.answer_words import listed, mean_in_words, times
from probes.results.premises import failed_in_any

PROPOSITION = "Proposition 4.2"
#: Verdicts on a draw in which the premises hold.
JUDGED = ("holds", "vacuous", "exceeded", "violated")


def stability_answer(summary: pd.DataFrame, bounds: pd.DataFrame, n: int, estimated: bool) -> str:
    """Say what leaving out an example changes, and what the bound on that is worth.

    Args:
        summary: ``StabilityResult.summary``.
        bounds: ``StabilityResult.bounds``.
        n: number of training examples.
        estimated: whether leaving out was estimated and not retrained.

    Returns:
        Two sentences, or three.
    """
    return f"{measured_answer(summary, n, estimated)} {bound_answer(bounds)}"


def measured_answer(summary: pd.DataFrame, n: int, estimated: bool = False) -> str:
    """Say what leaving out an example changes, at the smallest and the largest rate.

    Where both diverged, at the smallest and the largest of the others.

    Args:
        summary: one row a rate and inference: ``p``, ``ensemble`` and ``beta`` with ``beta_low``.
        n: number of training examples.
        estimated: whether leaving out was estimated and not retrained.

    Returns:
        One sentence.
    """
    alone = summary[summary["ensemble"] == 0].sort_values("p", kind="stable")
    ends = alone.iloc[[0, -1]] if len(alone) > 1 else alone
    known = ends[np.isfinite(ends["beta"])]
    if not len(known):
        inside = alone[np.isfinite(alone["beta"])]
        known = inside.iloc[[0, -1]] if len(inside) > 1 else inside
    if not len(known):
        return f"What leaving out one of {n} examples changes is not known: networks diverged."
    said = [f"{mean_in_words(row, 'beta')} at p = {row['p']:g}" for row in known.to_dict("records")]
    how = " (estimated)" if estimated else ""
    lost = [f"at p = {p:g} networks diverged" for p in ends["p"][~np.isfinite(ends["beta"])]]
    changed = f"Leaving out one of {n} examples changes its loss by {listed(said)} on average{how}"
    return "; ".join([changed, *lost]) + "."


def bound_answer(bounds: pd.DataFrame) -> str:
    """Say what Proposition 4.2 is worth for the network without an ensemble.

    Args:
        bounds: ``StabilityResult.bounds``.
    """
    rows = bounds[(bounds["ensemble"] == 0) & (bounds["statement"] == PROPOSITION)]
    rows = rows[np.isfinite(rows["measured"])]
    if not len(rows):
        return "Nothing is known of the bound: the networks diverged."
    # For dropout, of which the statement does not speak, "exceeded" judges nothing.
    judged = rows["verdict"].isin(JUDGED) & (rows["objective"] == "penalty")
    if judged.any():
        return _judged(rows, judged)
    return f"Nothing here supports the bound of {PROPOSITION}: {_unsupported(rows)}."


def _unsupported(rows: pd.DataFrame) -> str:
    """Why: premises that fail, values of λ without a bound, and how far off the kindest one is."""
    parts = _premises_that_fail(rows)
    known = rows[rows["bound"].notna()]
    if len(known):
        # The bound falls with λ: the largest that was tried is the kindest to it.
        kindest = known[known["strength"] == known["strength"].max()]
        parts.append(f"at λ = {kindest['strength'].iloc[0]:g} {_ratio(kindest)}")
    return ", and ".join(parts)


def _premises_that_fail(rows: pd.DataFrame) -> list[str]:
    """At most one clause: the premises that fail, and the values of λ without a bound."""
    names = failed_in_any(rows["failed"])
    by_strength = rows.groupby("strength", sort=True)["bound"]
    none = [float(str(strength)) for strength, some in by_strength if some.isna().all()]
    if not none:
        return [f"its premises fail ({listed(names)})"] if names else []
    where = f"λ = {none[0]:g}" if len(none) == 1 else f"λ ≤ {max(none):g}"
    negative, found = (rows["curvature"] < 0).any(), rows["curvature"].notna().all()
    # With a curvature that is positive everywhere it is a constant that is missing.
    unknown = "η or C not finite" if found else "curvature not found"
    why = "negative curvature" if negative else unknown
    if names:
        return [f"its premises fail ({listed(names)}; {why} at {where})"]
    if negative:
        return [f"its premises fail at {where} ({why})"]
    return [f"at {where} its premises are not known to hold ({why})"]


def _ratio(rows: pd.DataFrame) -> str:
    """How the bound compares with what was measured, at the rate where it comes closest."""
    means = rows.groupby(["p", "strength"])[["bound", "measured"]].mean()
    if not (means["measured"] > 0).any():
        return "it cannot be compared, as the measured value is 0"
    ratio = float((means["bound"] / means["measured"]).min())
    if ratio == float("inf"):
        return "it is infinite"
    if ratio == 0:
        return "it is 0, below the measured value"
    if ratio < 1:
        return f"the measured value is {times(1 / ratio)} times the bound"
    if times(ratio) == times(1):
        return "it is the measured value" + ("" if ratio == 1 else ", or little more")
    least = "at least " if rows["p"].nunique() > 1 else ""
    return f"it is {least}{times(ratio)} times too large"


def _judged(rows: pd.DataFrame, judged: "pd.Series[bool]") -> str:
    """What the draws say of the bound where its premises hold, and in how many these fail."""
    said = rows[judged]
    if said["verdict"].eq("violated").any():
        return f"{PROPOSITION} is violated: see --details."
    where, failed = "", ""
    if not judged.all():
        where = f" in {judged.sum()} of {len(rows)} runs"
        failed = f" In the others its premises fail ({listed(failed_in_any(rows['failed']))})."
    counts = said["verdict"].value_counts()
    useless, above = int(counts.get("vacuous", 0)), int(counts.get("exceeded", 0))
    if useless == len(said):
        says = "says nothing, as it exceeds the largest loss"
    elif above:
        says = f"is exceeded in {above}, by less than the factor that is proved"
    else:
        says = "holds" + (f", though in {useless} it exceeds the largest loss" if useless else "")
    return f"The bound of {PROPOSITION} applies{where} and {says}: {_ratio(said)}.{failed}"
