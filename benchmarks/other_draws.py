"""Do the conclusions of README and docs hold on other draws of S?

    python -m benchmarks.other_draws            # 25 minutes on two cores
    python -m benchmarks.other_draws --seed 2

The study behind the conclusions is measured with its own seed, 0, and with another one: training
sets, starts and masks are others, data and settings the same. Every outcome of a test over draws,
such as "smaller" of β at p = 0.3 in one regime, is compared. One that is told with one seed alone
is what a limited number of draws leaves open. One that differs refutes a conclusion.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro

from benchmarks.claimed_measurements import SECTIONS, measured, plans_of
from benchmarks.claimed_sentences import SENTENCES
from benchmarks.claims import WIDTH, claimed
from probes.cli.command_line import leave
from probes.jobs.validation import check_seed, require
from probes.report.regimes import Regime, tells_nothing
from probes.report.sections import Plan, ReportSettings
from probes.results.text_tables import TextTable, print_table

#: Columns that name an outcome.
KEYS = ["topic", "regime", "item"]
#: How two outcomes compare.
SAME, ONE_ALONE, DIFFERENT = "same", "told with one seed alone", "different"


@dataclass(frozen=True)
class OtherDrawsSettings:
    """Measure the study behind README and docs on other draws and compare the conclusions."""

    seed: int = 1
    """Of the other draws; that of the pages is 0."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/claims")
    """Folder of what is measured with seed 0; the other seed's has the same name and the seed."""

    draws: int = 16
    """Draws of S; those of the pages are 16, and half of them for estimates."""

    workers: int = 2
    """Processes of one thread each."""

    def studies(self) -> tuple[ReportSettings, ReportSettings]:
        """Check the seed and return the study of the pages, and that of the other draws.

        Raises:
            ValueError: the seed is out of range, or that of the pages.
        """
        check_seed(self.seed)
        require(self.seed != 0, "seed", "another than 0, that of the pages", self.seed)
        pages = ReportSettings(
            out=self.out, draws=self.draws, workers=self.workers, sections=SECTIONS
        )
        folder = self.out.with_name(f"{self.out.name}-{self.seed}")
        return pages, replace(pages, out=folder, seed=self.seed)


def outcomes(results: Mapping[str, Any], plans: Mapping[str, Plan]) -> pd.DataFrame:
    """Gather what the tests over draws say.

    Args:
        results: of all plans, by key.
        plans: of these results.

    Returns:
        One row an outcome: ``topic``, ``regime`` (task and learning rate), ``item``, ``outcome``.
    """
    return pd.DataFrame(_outcomes(results, plans), columns=[*KEYS, "outcome"])


def _outcomes(
    results: Mapping[str, Any], plans: Mapping[str, Plan]
) -> Iterator[tuple[str, str, str, str]]:
    for claims in claimed(results, plans):
        for regime, topics in claims.items():
            for topic, items in topics.items():
                for item, outcome in items.items():
                    yield topic, _named(regime), item, outcome


def _named(regime: Regime) -> str:
    return f"{regime.task}, learning rate {regime.lr:g}"


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Compare the outcomes of two studies.

    Args:
        first: of :func:`outcomes`.
        second: of another seed.

    Returns:
        One row an outcome of either: ``KEYS``, ``outcome``, ``other`` (that of the second), and
        ``verdict``: one of ``SAME``, ``ONE_ALONE``, ``DIFFERENT``.

    >>> first = pd.DataFrame([("β", "digits", "p = 0.1", "smaller")], columns=[*KEYS, "outcome"])
    >>> compared(first, first.assign(outcome="not told apart"))["verdict"].item()
    'told with one seed alone'
    """
    both = first.merge(
        second.rename(columns={"outcome": "other"}), on=KEYS, how="outer", sort=False
    ).fillna("not measured")
    open_here, open_there = (both[name].map(tells_nothing) for name in ("outcome", "other"))
    told = [open_here != open_there, both["outcome"] == both["other"]]
    return both.assign(verdict=np.select(told, [ONE_ALONE, SAME], DIFFERENT))


def tables(found: pd.DataFrame, seed: int, numbers: list[str]) -> list[TextTable]:
    """Return what is printed: counts by topic, what is not the same, and the numbers of the pages.

    Args:
        found: of :func:`compared`.
        seed: of the other draws.
        numbers: sentences of the pages, filled with what was measured on the other draws.

    Returns:
        Three tables, whose words wrap at the width of the terminal.
    """
    counts = found.groupby("topic", sort=False)["verdict"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=[SAME, ONE_ALONE, DIFFERENT], fill_value=0)
    counted = counts.rename_axis(columns=None, index="quantity").reset_index()
    others = found.loc[found["verdict"] != SAME, [*KEYS, "outcome", "other"]]
    # By these names of columns print_table knows that it may wrap them.
    listed = others.set_axis(["quantity", "task", "variant", "against", "found"], axis=1)
    return [
        TextTable(counted.astype(str), f"Outcomes with seeds 0 and {seed}", width=WIDTH),
        TextTable(listed, f"Those that are not the same: seed 0, then {seed}", width=WIDTH),
        TextTable(pd.DataFrame({"found": numbers}), f"Numbers with seed {seed}", width=WIDTH),
    ]


def main() -> None:
    """Compare the conclusions of the pages with those on other draws of S."""
    settings = tyro.cli(OtherDrawsSettings, prog="benchmarks.other_draws", description=__doc__)
    try:
        pages, others = settings.studies()
        results = [_measured(study) for study in (pages, others)]
    except ValueError as error:
        leave(str(error), 2)
    first, second = (
        outcomes(found, plans_of(study))
        for found, study in zip(results, (pages, others), strict=True)
    )
    found = compared(first, second)
    numbers = [claim.filled(results[1]) for claim in SENTENCES]
    for table in tables(found, settings.seed, numbers):
        print_table(table)
    counts = found["verdict"].value_counts()
    said = ", ".join(
        f"{counts.get(verdict, 0)} {verdict}" for verdict in (SAME, ONE_ALONE, DIFFERENT)
    )
    print(f"{len(found)} outcomes: {said}.")


def _measured(study: ReportSettings) -> dict[str, Any]:
    print(f"seed {study.seed}:", file=sys.stderr)
    return measured(study)


if __name__ == "__main__":
    main()
