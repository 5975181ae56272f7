"""What the stability probe prints: measured stability, estimates, bounds, quantities, audit."""

from collections.abc import Sequence

import pandas as pd

from probes.metrics.labels import inference_label
from probes.results.text_tables import decimals, rates, train_losses, with_interval


def summary_text(summary: pd.DataFrame, score_name: str) -> pd.DataFrame:
    """Measured stability and gap as they are printed.

    Args:
        summary: ``StabilityResult.summary``.
        score_name: what the score is called, such as "accuracy".

    Returns:
        One row a rate and inference; all cells are text.
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


def quantities_text(table: pd.DataFrame, strengths: Sequence[float]) -> pd.DataFrame:
    """The quantities of the bounds, means over cells, and how each was obtained.

    Args:
        table: ``StabilityResult.table``.
        strengths: the values of lambda.

    Returns:
        One row a quantity: ``quantity``, ``value``, ``how``; all cells are text.
    """
    table = table[table["ensemble"] == 0]
    first = table.iloc[0]
    given = "given" if pd.notna(first["strength"]) else "not defined for dropout: a family"
    return pd.DataFrame(
        [
            ("η", f"{table['lipschitz'].mean():.4g}", first["lipschitz_how"]),
            ("Λ_min", f"{table['curvature'].mean():.4g}", first["curvature_how"]),
            ("C", f"{table['loss_bound_used'].mean():.4g}", first["loss_bound_how"]),
            ("λ", ", ".join(f"{strength:g}" for strength in strengths), given),
        ],
        columns=["quantity", "value", "how"],
    )


def _inferences(table: pd.DataFrame) -> list[str]:
    named = zip(table["ensemble"], table["inference"], strict=True)
    return [inference_label(int(size), str(name)) for size, name in named]
