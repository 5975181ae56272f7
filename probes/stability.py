"""How stable is LoRA Dropout? Leave-one-out retraining beside the bounds.

python -m probes.stability --p 0.1
python -m probes.stability --p 0 0.1 0.3 0.5 0.7 0.9 --ensemble 1 4 16 --draws 8
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from probes.cells.cell import Cell
from probes.cells.measure_cell import MATRIX
from probes.cells.run_cell import CellRun
from probes.cli.command_line import run
from probes.cli.stability_settings import StabilitySettings, from_keywords
from probes.jobs.atomic_files import write_figure, write_whole
from probes.jobs.manifest import write_manifest
from probes.jobs.store import Store
from probes.jobs.sweep import sweep
from probes.metrics.labels import inference_label
from probes.results.stability_result import StabilityResult
from probes.results.text_tables import print_table, train_losses, with_interval

#: Where the command line puts its files unless ``--out`` says otherwise.
DEFAULT_OUT = Path("runs/stability")


@dataclass(frozen=True)
class CommandLine(StabilitySettings):
    """Measure pointwise hypothesis stability by leave-one-out retraining, beside its bounds."""

    json: bool = False
    """Print JSON in place of tables."""


def measure(**settings: Any) -> StabilityResult:
    """Measure pointwise hypothesis stability by leave-one-out retraining.

    Args:
        **settings: fields of :class:`probes.cli.stability_settings.StabilitySettings`, the same as
            the flags of ``python -m probes.stability``; ``p`` and ``ensemble`` take a number or
            several. With ``out``, finished cells are kept there and not run again.

    Returns:
        The result: tidy tables, ``.plot()``.

    Raises:
        ValueError: a value is out of range.
        TypeError: there is no such setting.

    >>> result = measure(p=0.5, task="ridge", n=8, draws=2, steps=20)
    >>> result.summary[["p", "inference", "draws", "diverged"]].to_dict("records")
    [{'p': 0.5, 'inference': 'expected weight', 'draws': 2, 'diverged': 0}]
    """
    return run_probe(from_keywords(StabilitySettings, settings))


def run_probe(settings: StabilitySettings) -> StabilityResult:
    """Run the probe; with ``settings.out``, keep rows, manifest and figure there.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    cells = settings.cells()
    store = Store(settings.out) if settings.out else None
    start = time.perf_counter()
    kinds = ("", MATRIX) if settings.matrix else ("",)
    run = CellRun(settings.matrix, settings.memory_limit(), settings.workers)
    tables = sweep(cells, run, store, kinds, settings.engine_options)
    result = StabilityResult(tables[""], settings.delta, tables.get(MATRIX))
    if store:
        _keep(result, settings, cells, store, time.perf_counter() - start)
    return result


def main(settings: CommandLine) -> None:
    """Run the probe from the command line."""
    settings = replace(settings, out=settings.out or DEFAULT_OUT)
    result = run_probe(settings)
    if settings.json:
        print(result.to_json())
        return
    _print(result)
    print(f"rows, manifest and figure: {settings.out}/")


def _keep(
    result: StabilityResult,
    settings: StabilitySettings,
    cells: list[Cell],
    store: Store,
    seconds: float,
) -> None:
    folder = store.folder
    write_whole(folder / "rows.parquet", result.rows.to_parquet)
    write_whole(folder / "table.csv", lambda path: result.table.to_csv(path, index=False))
    if result.matrix is not None:
        write_whole(folder / "matrix.parquet", result.matrix.to_parquet)
    figures = {"stability.png": result.plot(), "gap.png": result.plot_gap()}
    if len(result.validation):
        figures["influence.png"] = result.plot_validation()
    for name, figure in figures.items():
        write_figure(folder / name, figure)
    names = [store.path(cell).name for cell in cells]
    write_manifest(folder / "manifest.json", settings, seconds, names)


def summary_text(result: StabilityResult) -> pd.DataFrame:
    """Measured stability and gap as they are printed."""
    summary = result.summary
    return pd.DataFrame(
        {
            "p": summary["p"].map("{:g}".format),
            "inference": summary.apply(_inference, axis=1),
            "β": with_interval(summary, "beta"),
            "median": summary["beta_median"].map("{:.4f}".format),
            "top tenth": summary["beta_top_tenth"].map("{:.0%}".format),
            "train loss": train_losses(summary),
            "test loss": summary["test_loss"].map("{:.4f}".format),
            "gap": with_interval(summary, "gap"),
            "gap without test set": with_interval(summary, "gap_estimate"),
            f"test {result.table['score_name'].iloc[0]}": summary["test_score"].map(
                "{:.3f}".format
            ),
        }
    )


def bounds_text(result: StabilityResult) -> pd.DataFrame:
    """The bounds as they are printed, without those of the ensembles, which differ in C alone."""
    bounds = result.bound_summary[result.bound_summary["ensemble"] == 0]
    return pd.DataFrame(
        {
            "p": bounds["p"].map("{:g}".format),
            "statement": bounds["statement"],
            "λ": bounds["strength"].map(lambda value: "" if pd.isna(value) else f"{value:g}"),
            "measured": bounds["measured"].map("{:.4f}".format),
            "bound": bounds["bound"].map(lambda value: "–" if pd.isna(value) else f"{value:.4g}"),
            "verdict": bounds["verdict"],
        }
    )


def _print(result: StabilityResult) -> None:
    first, summary = result.table.iloc[0], result.summary
    replicas = int(result.table.loc[result.table["ensemble"] == 0, "replicas"].sum())
    print_table(
        summary_text(result),
        title=(
            f"Pointwise hypothesis stability β (Definition 4.1) and generalization gap\n"
            f"{first['task']}, n = {first['n']}, {summary['draws'].iloc[0]} draws of S, "
            f"objective {first['objective']}, rank {first['rank']}, {first['steps']} steps, "
            f"start {first['start']}{_estimated(result)}"
        ),
        caption=(
            f"means over draws, 95 % intervals (Student, over draws); {replicas} leave-one-out "
            f"replicas; diverged: {result.diverged}; the gap without test set is the mean signed "
            "leave-one-out difference, which estimates the risk at n - 1; top tenth: share of β "
            "that the tenth of the examples with the largest changes has; where the train loss is "
            "near 0, β is the leave-one-out loss and says nothing beyond the gap"
        ),
    )
    if len(result.validation):
        print_table(
            validation_text(result),
            title="Estimated effects of leaving an example out, against retraining without it",
            caption=(
                f"means over draws, 95 % intervals (Student); {first['effect_how']}; corrected: "
                "mean estimate of S times retrained / estimated over the checked examples"
            ),
        )
    print_table(
        bounds_text(result),
        title=(
            "Bounds: Proposition 4.2 on β, Lemma 4.3 and Theorem 4.4 on the gap, "
            f"δ = {result.delta:g}; {first['inference']} network"
        ),
        caption=""
        if pd.notna(first["strength"])
        else (
            "λ is not defined for objective dropout: the bounds are curves for a family of λ, "
            "and no theorem"
        ),
    )
    print_table(_quantities(result), title="Quantities of the bounds, mean over all cells")
    print_table(result.audit, title="Audit of the assumptions, over all cells")


def validation_text(result: StabilityResult) -> pd.DataFrame:
    """How far the estimates can be trusted, as it is printed."""
    found = result.validation
    return pd.DataFrame(
        {
            "p": found["p"].map("{:g}".format),
            "inference": found.apply(_inference, axis=1),
            "checked a draw": found["checked"].astype(str),
            "rank correlation": with_interval(found, "spearman"),
            "linear correlation": with_interval(found, "pearson"),
            "β estimated": found["beta_estimated"].map("{:.4f}".format),
            "β retrained": found["beta_retrained"].map("{:.4f}".format),
            "bias": found["bias"].map("{:+.0%}".format),
            "β of S, corrected": with_interval(found, "beta_corrected"),
            "verdict": found["verdict"],
        }
    )


def _estimated(result: StabilityResult) -> str:
    """Say in the title that effects are estimates, and whether anybody checked them."""
    first = result.rows.iloc[0]
    if first["method"] == "retrain":
        return ""
    checked = "" if first["validate"] else ", NOT CHECKED (see --validate)"
    return f"; leaving out is estimated by {first['effect_how'].split(',')[0]}{checked}"


def _quantities(result: StabilityResult) -> pd.DataFrame:
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


def _inference(row: pd.Series) -> str:
    return inference_label(row["ensemble"], str(row["inference"]))


if __name__ == "__main__":
    run(CommandLine, main)
