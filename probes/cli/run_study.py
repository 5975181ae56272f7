"""Running a question of the study, and printing what it found."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from probes.jobs.atomic_files import write_figure, write_whole
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import J, Progress, Tables
from probes.jobs.manifest import write_manifest
from probes.jobs.store import Store
from probes.jobs.sweep import sweep

if TYPE_CHECKING:
    pass
from probes.results.study_result import R


class Runnable(Protocol):
    """What the settings of a probe have in common with all others."""

    @property
    def out(self) -> Path | None:
        """Folder of what is kept."""

    @property
    def engine_options(self) -> EngineOptions:
        """Where the cells run."""


def study(
    settings: Runnable,
    cells: Sequence[J],
    run: Callable[[J, Progress], Tables],
    result: Callable[[pd.DataFrame, Tables], R],
    kinds: Sequence[str] = (),
) -> R:
    """Run the cells; with ``settings.out``, keep rows, manifest and figure there.

    Args:
        settings: of the probe.
        cells: of its grid.
        run: what a cell is.
        result: what is made of the rows.
        kinds: of the tables that a cell has beside its rows.

    Raises:
        ValueError: the folder cannot be written.
    """
    store = Store(settings.out) if settings.out else None
    start = time.perf_counter()
    tables = sweep(cells, run, store, ("", *kinds), settings.engine_options)
    made = result(tables.pop(""), tables)
    if store:
        for kind, table in {"": made.rows, **made.more}.items():
            write_whole(store.folder / f"rows{kind}.parquet", table.to_parquet)
        write_figure(store.folder / f"{made.name}.png", made.plot())
        write_manifest(store.folder / "manifest.json", settings, time.perf_counter() - start)
    return made


def print_study(settings: Any, measure: Callable[[Any], R], name: str, as_json: bool) -> None:
    """Run a probe from its command line and print what it found."""
    settings = replace(settings, out=settings.out or Path("runs") / name)
    result = measure(settings)
    if as_json:
        print(result.summary.to_json(orient="records", indent=2))
        return
    result.show()
    print(f"rows, manifest and figure: {settings.out}/")
