"""Put what was measured beside what the paper reports.

python -m recipes.compare runs/paper/glue
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro

from probes.cli.command_line import check_no_words, run_command_line
from probes.metrics.confidence_intervals import mean_interval
from probes.results.text_tables import TextTable, print_table
from recipes.runs import once, read_runs

HERE = Path(__file__).parent
#: The paper's rate of dropout and number of mask pairs, in training and at test.
RATE, PAIRS = 0.5, 4
#: Columns of a run's rows whose mean is a metric of the tables.
METRICS = {
    "accuracy": ["accuracy"], "Matthews correlation": ["test_score"],
    # Pearson's and Spearman's, as in AdaLoRA's script.
    "correlation": ["test_score", "spearman"],
    # Of the tasks whose score it is.
    "F1": ["test_score"],
    "exact match": ["exact_match"], "accuracy (mismatched)": ["accuracy_mismatched"],
}  # fmt: skip
#: Characters a line, where the output is no terminal.
WIDTH = 180
#: Width below which an interval has none, but for rounding; in percent, and of ratios.
NO_WIDTH = 1e-9
RATIOS = {"times the seconds of LoRA": "seconds", "times the memory of LoRA": "peak_mib"}
#: On a CPU the peak is that of the process so far, whatever it did before.
OF_GPU = "times the memory of LoRA"
CAPTION = (
    "in percent; intervals: 95 % each, Student over seeds, of what was measured here: what is "
    "reported is taken as it is"
)
CLAIMED = (
    "differences in percent, by the same seeds, averaged over tasks, at the end of training or at "
    "its best evaluation; intervals: 95 % each, Student over seeds"
)


@dataclass(frozen=True)
class CompareSettings:
    """Compare finished runs with the tables of the paper."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV file for the cells, as numbers. Default: none."""


def compare_cells(reported: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Put a measurement beside every reported cell, and beside every gain of dropout.

    Args:
        reported: as in ``reported.csv``, NaN where a cell's value is not known; runs of another
            rank than a cell's are not its.
        rows: as ``recipes.runs.read_runs`` gives them.

    Returns:
        The reported rows, and for two of them that differ by dropout alone their difference (method
        "LoRA Dropout - LoRA"): ``value``, ``measured``, ``low``, ``high`` (ends of the interval for
        the expected measurement), ``difference`` (measured less reported), ``seeds`` and
        ``diverged``, seeds without a finite value, which are left out; NaN and 0 where nothing was
        measured. An average is that of the first metric of each task.
    """
    single = reported[reported["metric"] != "average"].drop_duplicates(["table", "task", "rank"])
    metrics = {
        table: dict(zip(part["task"], part["metric"], strict=True))
        for table, part in single.groupby("table")
    }
    cells = []
    for cell in [*_records(reported), *_gains(reported)]:
        values = _seeds_of(cell, rows, metrics[cell["table"]])
        finite = values[np.isfinite(values)]
        mean, low, high = mean_interval(finite)
        cells.append(
            cell
            | {"measured": mean, "low": low, "high": high, "difference": mean - cell["value"]}
            | {"seeds": len(finite), "diverged": len(values) - len(finite)}
        )
    return pd.DataFrame(cells)


def not_reported(cells: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Name what was run at a rank that no reported cell has.

    Args:
        cells: as :func:`compare_cells` gives them.
        rows: as ``recipes.runs.read_runs`` gives them.

    Returns:
        Such as "glue/rte at rank 4".
    """
    reported = cells.dropna(subset="rank")
    known = set(zip(reported["task"], reported["rank"], strict=True))
    run = rows[rows["task"].isin(reported["task"])][["task", "rank"]].drop_duplicates()
    return [
        f"{task} at rank {rank:g}"
        for task, rank in run.itertuples(index=False)
        if (task, rank) not in known
    ]


def check_claims(claims: pd.DataFrame, rows: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Measure what the paper says in words: that one way of training is above another.

    Args:
        claims: as in ``claims.csv``; ``greater`` and ``smaller`` choose rows, ``at`` says of which
            evaluation.
        rows: as ``recipes.runs.read_runs`` gives them, at the end.
        best: the same at the best evaluation.

    Returns:
        The claims, with ``difference``, ``low``, ``high`` and ``seeds`` of ``quantity``, in
        percent, paired by task and seed and averaged over tasks.
    """
    found = []
    for claim in _records(claims):
        values, measured = pd.Series(dtype=float), {"end": rows, "best": best}[claim["at"]]
        if claim["quantity"] in measured:
            one, other = (
                measured.query(claim[side]).set_index(["task", "rank", "draw"])[claim["quantity"]]
                for side in ("greater", "smaller")
            )
            values = 100 * _over_tasks((one - other).dropna())
        mean, low, high = mean_interval(values)
        found.append(claim | {"difference": mean, "low": low, "high": high, "seeds": len(values)})
    return pd.DataFrame(found)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _gains(reported: pd.DataFrame) -> list[dict[str, Any]]:
    """The difference that dropout makes, where both cells are reported."""
    places = ("table", "task", "rank", "metric", "method")
    known = {tuple(str(row[name]) for name in places): row for row in _records(reported)}
    gains = []
    for (*place, method), row in known.items():
        other = known.get((*place, method.removesuffix(" Dropout")))
        if other is None or other is row:
            continue
        change = {"method": f"{method} - {other['method']}", "certainty": "derived",
                  "value": row["value"] - other["value"]}  # fmt: skip
        gains.append(row | change)
    return gains


def _seeds_of(
    cell: dict[str, Any], rows: pd.DataFrame, metrics: dict[str, str]
) -> "pd.Series[float]":
    """One value a seed of a cell, whose table has these metrics; empty if not measured."""
    if " - " in cell["method"]:
        one, other = (
            _seeds_of(cell | {"method": name}, rows, metrics)
            for name in cell["method"].split(" - ")
        )
        one, other = one.align(other, join="inner")
        return one - other
    metric = cell["metric"]
    if not pd.isna(cell["rank"]):
        rows = rows[rows["rank"] == cell["rank"]]
    if metric in RATIOS:
        if RATIOS[metric] not in rows:
            return pd.Series(dtype=float)
        rows = rows[rows["task"].eq(cell["task"]) | (cell["task"] == "any")]
        if metric == OF_GPU:
            rows = rows[rows["device"].str.startswith("cuda", na=False)]
        one, other = (
            _ends(rows, name).set_index(["task", "rank", "draw"])[RATIOS[metric]]
            for name in (cell["method"], "LoRA")
        )
        return _over_tasks((one / other).dropna())
    ends = _ends(rows, cell["method"])
    if metric != "average":
        return _scores(ends, cell["task"], metric)
    scores = {task: _scores(ends, task, name) for task, name in metrics.items()}
    return pd.DataFrame(scores).dropna().mean(axis="columns")


def _ends(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    """Rows of a method as the paper has it: with dropout, p = 0.5 and N = 4 everywhere."""
    chosen = rows[rows["method"] == method]
    if not method.endswith("Dropout"):
        return chosen
    papers = chosen["p"].eq(RATE) & chosen["samples"].eq(PAIRS) & chosen["ensemble"].eq(PAIRS)
    return chosen[papers & chosen["inference"].eq("ensemble")]


def _scores(ends: pd.DataFrame, task: str, metric: str) -> "pd.Series[float]":
    chosen = ends[ends["task"] == task].set_index("draw")
    if not set(METRICS[metric]) <= set(chosen):
        return pd.Series(dtype=float)
    return 100 * chosen[METRICS[metric]].astype(float).mean(axis="columns", skipna=False)


def _over_tasks(values: pd.Series) -> "pd.Series[float]":
    """Average over tasks and ranks, for the seeds that all of them have."""
    others = [name for name in values.index.names if name != "draw"]
    return values.unstack(others).dropna().mean(axis="columns")


def _numbers(means: "pd.Series[float]", lows: "pd.Series[float]", form: str) -> list[str]:
    """Means with the half width of their interval; nothing where nothing was measured."""
    return [
        "" if pd.isna(mean) else f"{mean:{form}}" + (f" ± {mean - low:.2f}" if low == low else "")
        for mean, low in zip(means, lows, strict=True)
    ]


def _verdicts(
    lows: "pd.Series[float]", highs: "pd.Series[float]", seeds: "pd.Series[int]", *words: str
) -> list[str]:
    """Say where the interval lies: below 0, around it, or above.

    Of equal values in all seeds, as in a network that always predicts one class, it has no width,
    and says nothing.
    """
    below, between, above = words
    return [
        "not run" if count == 0
        else "one seed" if count == 1
        else "" if pd.isna(low)
        else "equal in all seeds" if high - low < NO_WIDTH
        else above if low > 0
        else below if high < 0
        else between
        for low, high, count in zip(lows, highs, seeds, strict=True)
    ]  # fmt: skip


def _cells_as_text(cells: pd.DataFrame) -> pd.DataFrame:
    low, high = cells["low"] - cells["value"], cells["high"] - cells["value"]
    columns = {
        "reported": _numbers(cells["value"], cells["value"] * float("nan"), ".2f"),
        "measured here": _numbers(cells["measured"], cells["low"], ".2f"),
        "difference": _numbers(cells["difference"], low, "+.2f"),
        "verdict": _verdicts(
            low, high, cells["seeds"], "lower", "no detectable difference", "higher"
        ),
    }
    seeds = [
        f"{count}" + (f" ({lost} diverged)" if lost else "")
        for count, lost in zip(cells["seeds"], cells["diverged"], strict=True)
    ]
    return pd.DataFrame({
        "table": cells["table"], "task": cells["task"],
        "rank": cells["rank"].map(lambda rank: "" if pd.isna(rank) else f"{rank:g}"),
        "method": cells["method"], "metric": cells["metric"], **columns, "seeds": seeds,
        "certainty": cells["certainty"],
    })  # fmt: skip


def _claims_as_text(claims: pd.DataFrame) -> pd.DataFrame:
    low, high, seeds = claims["low"], claims["high"], claims["seeds"]
    return pd.DataFrame({
        "table": claims["table"],
        "statement": claims["claim"],
        "quantity": claims["quantity"],
        "at": claims["at"],
        "difference": _numbers(claims["difference"], low, "+.2f"),
        "verdict": _verdicts(low, high, seeds, "contrary", "no detectable difference",
                             "as reported"),
        "seeds": seeds,
    })  # fmt: skip


def main() -> None:
    """Print both tables."""

    def compare(settings: CompareSettings, words: list[str]) -> int:
        check_no_words(CompareSettings, words)
        rows, best = (once(read_runs(settings.folders, best=one)) for one in (False, True))
        cells = compare_cells(pd.read_csv(HERE / "reported.csv"), rows)
        claims = check_claims(pd.read_csv(HERE / "claims.csv"), rows, best)
        run = cells.groupby("table")["seeds"].transform("sum") > 0
        others = ", ".join(cells["table"][~run].unique())
        caption = CAPTION + (f"; not run: {others}" if others else "")
        if unknown := not_reported(cells, rows):
            caption += f"; not compared: {', '.join(unknown)}, which no table has"
        print_table(TextTable(_cells_as_text(cells[run]), "Reported and measured", caption, WIDTH))
        print_table(TextTable(_claims_as_text(claims), "What is said in words", CLAIMED, WIDTH))
        if settings.out is not None:
            cells.to_csv(settings.out, index=False)
        return 0

    run_command_line(CompareSettings, compare, program="recipes.compare")


if __name__ == "__main__":
    main()
