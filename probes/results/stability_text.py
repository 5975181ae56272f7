"""What the stability probe prints: measured stability, estimates, bounds, quantities, audit."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from probes.jobs.amounts import from_to, how_many
from probes.metrics.inference_names import inference_label
from probes.results.text_tables import averages, decimals, rates, train_losses, with_interval


def summary_text(
    summary: pd.DataFrame, score_name: str, *, estimated: bool = False
) -> pd.DataFrame:
    """Measured stability and gap as they are printed.

    Args:
        summary: ``StabilityResult.summary``.
        score_name: what the score is called, such as "accuracy".
        estimated: whether leaving out was estimated and not retrained: the columns then say so.

    Returns:
        One row a rate and inference; all cells are text.
    """
    how = " (estimated, not corrected)" if estimated else ""
    return pd.DataFrame(
        {
            "p": rates(summary["p"]),
            "inference": _inferences(summary),
            f"β{how}": with_interval(summary, "beta"),
            "median": averages(summary, "beta_median"),
            "top tenth": summary["beta_top_tenth"].map(
                lambda share: "–" if pd.isna(share) else f"{share:.0%}"
            ),
            "train loss": train_losses(summary),
            "test loss": averages(summary, "test_loss"),
            "gap": with_interval(summary, "gap"),
            f"gap without test set{how}": with_interval(summary, "gap_estimate"),
            f"test {score_name}": averages(summary, "test_score", 3),
        }
    )


def ensemble_text(differences: pd.DataFrame) -> pd.DataFrame:
    """What ensembles change, as it is printed.

    Args:
        differences: ``StabilityResult.ensemble_summary``.

    Returns:
        One row a rate and N; all cells are text.
    """
    return pd.DataFrame(
        {
            "p": rates(differences["p"]),
            "N": differences["ensemble"].astype(str),
            "against": differences["against"],
            "train loss": with_interval(differences, "train_loss"),
            "test loss": with_interval(differences, "test_loss"),
            "gap": with_interval(differences, "gap"),
            "β": with_interval(differences, "beta"),
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
            **_slack_column(bounds),
            "verdict": [_verdict_in_words(row) for row in bounds.to_dict("records")],
        }
    )


def _slack_column(bounds: pd.DataFrame) -> dict[str, list[str]]:
    """What is added to bounds for networks that are not quite minimisers; none for dropout."""
    slack = bounds["slack"]
    if slack.isna().all():
        return {}
    return {"slack": ["" if pd.isna(value) else f"{value:.2g}" for value in slack]}


def _verdict_in_words(row: Mapping[Any, Any]) -> str:
    """A verdict with the premises that fail; of a curve, whether it says anything at all."""
    text = str(row["verdict"])
    if row["failed"]:
        return f"{text}: {row['failed']}"
    if "vacuous" in text or not 0 < row["draws"] == row["vacuous"]:
        return text
    return f"{text}, but at least C"


def bound_in_words(value: float) -> str:
    """Format a bound; a dash where its assumption fails."""
    return "–" if pd.isna(value) else f"{value:.4g}"


def validation_text(validation: pd.DataFrame) -> pd.DataFrame:
    """How far the estimates can be trusted, as it is printed."""
    return pd.DataFrame(
        {
            "p": rates(validation["p"]),
            "inference": _inferences(validation),
            "checked a draw": [
                from_to(least, most)
                for least, most in zip(
                    validation["checked"], validation["checked_most"], strict=True
                )
            ],
            "rank correlation": with_interval(validation, "spearman"),
            "linear correlation": with_interval(validation, "pearson"),
            "β estimated": averages(validation, "beta_estimated"),
            "β retrained": averages(validation, "beta_retrained"),
            "bias": validation["bias"].map(lambda bias: "–" if pd.isna(bias) else f"{bias:+.0%}"),
            "β of S, corrected": [
                text + _no_interval(row)
                for text, row in zip(
                    with_interval(validation, "beta_corrected"),
                    validation.to_dict("records"),
                    strict=True,
                )
            ],
            "verdict": validation["verdict"],
        }
    )


def _no_interval(row: Mapping[Any, Any]) -> str:
    """Why the corrected beta has none, where checks are too few for its tail."""
    if row["checks"] >= row["checks_needed"] or pd.isna(row["beta_corrected"]):
        return ""
    return f"; no interval: heavy tail, {row['checks']} of {row['checks_needed']} checks needed"


def estimates_in_words(rows: pd.DataFrame) -> str:
    """How leaving out was estimated: the products of all cells, and in how many they did not do.

    >>> how = ["one step, 8 products", "one step, 9 products, which did not converge"]
    >>> estimates_in_words(pd.DataFrame({"n": 4, "p": 0.1, "draw": [0, 1], "effect_how": how}))
    'one step, 8 to 9 products, which did not converge in 1 of 2 cells'

    Args:
        rows: ``StabilityResult.rows`` of method influence.
    """
    cells = rows.drop_duplicates(["n", "p", "draw"])["effect_how"]
    parts = cells.str.extract(r"^(.+?)(?:, (\d+) products)?(, which did not converge)?$")
    step, products, failed = parts[0].iloc[0], parts[1].dropna().astype(int), parts[2].count()
    taken = f", {from_to(products.min(), products.max())} products" if len(products) else ""
    lost = f", which did not converge in {failed} of {how_many(len(cells), 'cell')}"
    return f"{step}{taken}{lost if failed else ''}"


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
            ("Λ_min", f"{table['curvature'].mean():.4g}", _curvature_how(table)),
            ("C", f"{table['loss_bound_used'].mean():.4g}", first["loss_bound_how"]),
            ("λ", ", ".join(f"{strength:g}" for strength in strengths), given),
        ],
        columns=["quantity", "value", "how"],
    )


def _curvature_how(table: pd.DataFrame) -> str:
    """How it was obtained in a draw that enters the mean, where there is one."""
    known = table[table["curvature"].notna()]
    return str((known if len(known) else table)["curvature_how"].iloc[0])


def _inferences(table: pd.DataFrame) -> list[str]:
    named = zip(table["ensemble"], table["inference"], strict=True)
    return [inference_label(int(size), str(name)) for size, name in named]
