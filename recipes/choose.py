"""Say which learning rate of a sweep was best, for each method: a line "method rate" each.

python -m recipes.choose runs/paper/glue/rte/sweep/p0.5-*
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

from probes.cli.command_line import check_no_words, run_command_line
from probes.metrics.inference_names import AT_TEST_ALONE
from recipes.runs import read_runs, require_columns

RATE = "training_learning_rate"


@dataclass(frozen=True)
class ChooseSettings:
    """Choose the learning rate with the best held-out score, or loss where there is no score."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs that differ in their learning rate."""


def best_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose a learning rate for each method.

    By the ensemble where there is one: that is how dropout is measured in the end. A score that is
    not defined, such as a correlation with a constant, counts as the worst.

    Args:
        rows: as ``recipes.runs.read_runs`` gives them, of one rate of dropout.

    Returns:
        One row a method: ``method``, ``rate`` and ``edge``, whether it is the least or greatest of
        several that were tried.
    """
    rows = rows[~rows["inference"].str.startswith(AT_TEST_ALONE)]
    measured = rows[rows["inference"].eq("ensemble") | rows["p"].eq(0)]
    if not len(measured):
        measured = rows
    score = measured["test_score"] if "test_score" in measured else pd.Series(pd.NA, measured.index)
    ranked = measured.assign(
        score=pd.to_numeric(score).fillna(-float("inf")),
        loss=measured["test_loss"].fillna(float("inf")),
        rate=measured[RATE].astype(float),
    )
    found = ranked.groupby(["method", "rate"], sort=False)[["score", "loss"]].mean().reset_index()
    found = found.sort_values(["score", "loss"], ascending=[False, True], kind="stable")
    tried = found.groupby("method")["rate"]
    end = (found["rate"] == tried.transform("min")) | (found["rate"] == tried.transform("max"))
    found["edge"] = end & (tried.transform("nunique") > 1)
    best = found.groupby("method", sort=False).head(1)
    return best[["method", "rate", "edge"]].reset_index(drop=True)


def main() -> None:
    """Print the lines; on standard error, which choices lie at the end of what was tried."""

    def choose(settings: ChooseSettings, words: list[str]) -> int:
        check_no_words(ChooseSettings, words)
        rows = read_runs(settings.folders)
        require_columns(rows, [RATE, "test_loss"])
        for method, rate, edge in best_rates(rows).itertuples(index=False):
            print(method.removesuffix(" Dropout").lower(), f"{rate:g}")
            if edge:
                print(f"{method}: {rate:g} is at the end of the learning rates tried: try more",
                      file=sys.stderr)  # fmt: skip
        return 0

    run_command_line(ChooseSettings, choose, program="recipes.choose")


if __name__ == "__main__":
    main()
