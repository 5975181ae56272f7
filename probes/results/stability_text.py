"""What the stability probe prints: measured stability, estimates, bounds, quantities, audit."""

from typing import TYPE_CHECKING

import pandas as pd

from probes.metrics.labels import inference_label
from probes.results.text_tables import TextTable, decimals, rates, train_losses, with_interval

if TYPE_CHECKING:
    from probes.results.stability_result import StabilityResult


def stability_tables(result: "StabilityResult") -> list[TextTable]:
    """Return the tables of a result, in the order in which they are printed."""
    first = result.rows.iloc[0]
    tables = [
        TextTable(result.text(), f"{result.question}\n{_title(result)}", _summary_caption(result)),
        TextTable(
            bounds_text(result.bound_summary),
            "Bounds: Proposition 4.2 on β, Lemma 4.3 and Theorem 4.4 on the gap, "
            f"δ = {result.delta:g}; {first['inference']} network",
            ""
            if pd.notna(first["strength"])
            else "λ is not defined for objective dropout: the bounds are curves for a family of "
            "λ, and no theorem",
        ),
        TextTable(quantities_text(result), "Quantities of the bounds, mean over all cells"),
        TextTable(result.audit, "Audit of the assumptions, over all cells"),
    ]
    if len(result.validation):
        tables.insert(1, _validation_table(result))
    return tables


def summary_text(summary: pd.DataFrame, score_name: str) -> pd.DataFrame:
    """Measured stability and gap as they are printed.

    Args:
        summary: ``StabilityResult.summary``.
        score_name: what the score is called.
    """
    return pd.DataFrame(
        {
            "p": rates(summary["p"]),
            "inference": _inferences(summary),
            "β": with_interval(summary, "beta"),
            "median": decimals(summary["beta_median"]),
            "top tenth": summary["beta_top_tenth"].map("{:.0%}".format),
            "train loss": train_losses(summary),
            "test loss": decimals(summary["test_loss"]),
            "gap": with_interval(summary, "gap"),
            "gap without test set": with_interval(summary, "gap_estimate"),
            f"test {score_name}": decimals(summary["test_score"], 3),
        }
    )


def bounds_text(bound_summary: pd.DataFrame) -> pd.DataFrame:
    """The bounds as they are printed, without those of the ensembles, which differ in C alone."""
    bounds = bound_summary[bound_summary["ensemble"] == 0]
    return pd.DataFrame(
        {
            "p": rates(bounds["p"]),
            "statement": bounds["statement"],
            "λ": bounds["strength"].map(lambda value: "" if pd.isna(value) else f"{value:g}"),
            "measured": decimals(bounds["measured"]),
            "bound": bounds["bound"].map(bound_in_words),
            "verdict": bounds["verdict"],
        }
    )


def bound_in_words(value: float) -> str:
    """Format a bound; a dash where its assumption fails."""
    return "–" if pd.isna(value) else f"{value:.4g}"


def validation_text(validation: pd.DataFrame) -> pd.DataFrame:
    """How far the estimates can be trusted, as it is printed."""
    return pd.DataFrame(
        {
            "p": rates(validation["p"]),
            "inference": _inferences(validation),
            "checked a draw": validation["checked"].astype(str),
            "rank correlation": with_interval(validation, "spearman"),
            "linear correlation": with_interval(validation, "pearson"),
            "β estimated": decimals(validation["beta_estimated"]),
            "β retrained": decimals(validation["beta_retrained"]),
            "bias": validation["bias"].map("{:+.0%}".format),
            "β of S, corrected": with_interval(validation, "beta_corrected"),
            "verdict": validation["verdict"],
        }
    )


def quantities_text(result: "StabilityResult") -> pd.DataFrame:
    """The quantities of the bounds, and how each was obtained."""
    table = result.table[result.table["ensemble"] == 0]
    first = table.iloc[0]
    strengths = ", ".join(f"{strength:g}" for strength in result.strengths)
    given = "given" if pd.notna(first["strength"]) else "not defined for dropout: a family"
    return pd.DataFrame(
        [
            ("η", f"{table['lipschitz'].mean():.4g}", first["lipschitz_how"]),
            ("Λ_min", f"{table['curvature'].mean():.4g}", first["curvature_how"]),
            ("C", f"{table['loss_bound_used'].mean():.4g}", first["loss_bound_how"]),
            ("λ", strengths, given),
        ],
        columns=["quantity", "value", "how"],
    )


def _title(result: "StabilityResult") -> str:
    first = result.table.iloc[0]
    return f"{result.setting}, start {first['start']}{_estimated(result)}"


def _estimated(result: "StabilityResult") -> str:
    """Say in the title that effects are estimates, and whether anybody checked them."""
    first = result.rows.iloc[0]
    if first["method"] == "retrain":
        return ""
    checked = "" if first["validate"] else ", NOT CHECKED (see --validate)"
    return f"; leaving out is estimated by {first['effect_how'].split(',')[0]}{checked}"


def _summary_caption(result: "StabilityResult") -> str:
    replicas = int(result.table.loc[result.table["ensemble"] == 0, "replicas"].sum())
    return (
        f"means over draws, 95 % intervals (Student, over draws); {replicas} leave-one-out "
        f"replicas; diverged: {result.diverged}; the gap without test set is the mean signed "
        "leave-one-out difference, which estimates the risk at n - 1; top tenth: share of β "
        "that comes from the 10 % most affected examples; where the train loss is near 0, β then "
        "equals the leave-one-out loss and adds nothing to the gap"
    )


def _validation_table(result: "StabilityResult") -> TextTable:
    return TextTable(
        validation_text(result.validation),
        "Estimated effects of leaving an example out, against retraining without it",
        f"means over draws, 95 % intervals (Student); {result.rows['effect_how'].iloc[0]}; "
        "corrected: mean estimate of S times retrained / estimated over the checked examples",
    )


def _inferences(table: pd.DataFrame) -> list[str]:
    named = zip(table["ensemble"], table["inference"], strict=True)
    return [inference_label(int(size), str(name)) for size, name in named]
