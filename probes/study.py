"""What the probes of the study share: settings, a result made of rows, running and printing."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import pandas as pd
import tyro

from probes.cells import Cell
from probes.console import print_table
from probes.engines import EngineOptions
from probes.intervals import mean_interval
from probes.manifest import write_manifest
from probes.settings import StabilitySettings, TextOptions
from probes.store import Store, write_figure, write_whole
from probes.sweep import sweep
from probes.work import Progress, Tables, W

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class StudySettings(TextOptions, EngineOptions):
    """Settings that every probe of the study has."""

    p: tuple[float, ...] = (0.1, 0.3, 0.5)
    """Dropout rates in [0, 1)."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    n: int = 64
    """Number of training examples."""

    draws: int = 8
    """Number of independent training sets S; intervals are over these."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/ and the probe's name from
    the command line, none from Python."""

    def base_cells(self, **changes: Any) -> list[Cell]:
        """Check the shared values and return one cell a rate and draw.

        Args:
            **changes: fields of :class:`probes.settings.StabilitySettings` beside the shared ones,
                or in their place.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        shared = {field.name: getattr(self, field.name) for field in fields(StudySettings)}
        del shared["out"]
        return StabilitySettings(**(shared | changes)).cells()


@dataclass(frozen=True, repr=False)
class StudyResult(ABC):
    """What a probe measured.

    Attributes:
        rows: one record a network and what was done with it, with every setting.
        more: further tables, by kind.
    """

    rows: pd.DataFrame
    more: Tables = field(default_factory=dict)

    #: Name of the probe, of its figure's module and of its files.
    name = ""

    @cached_property
    @abstractmethod
    def summary(self) -> pd.DataFrame:
        """Means over draws with their intervals."""

    @abstractmethod
    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""

    @property
    @abstractmethod
    def question(self) -> str:
        """What the table answers, a line."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What one must know to read the table."""

    @property
    def setting(self) -> str:
        """Task, n, steps and draws, for titles and captions."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, n = {first['n']}, rank {first['rank']}, {first['steps']} steps, "
            f"{self.rows['draw'].nunique()} draws of S"
        )

    def plot(self) -> "Figure":
        """Draw the result."""
        # By name, so that measuring never needs the drawing.
        return import_module(f"figures.{self.name}").draw(self)

    def show(self) -> None:
        """Print the table."""
        print_table(self.text(), title=f"{self.question}\n{self.setting}", caption=self.note)

    def __repr__(self) -> str:
        return f"{self.setting}\n{self.text().to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p>{self.setting}</p>" + self.text().to_html(index=False)


R = TypeVar("R", bound=StudyResult)


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
    cells: Sequence[W],
    run: Callable[[W, Progress], Tables],
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


def means(rows: pd.DataFrame, keys: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """Average over draws, with 95 % Student intervals.

    Args:
        rows: one a draw and key.
        keys: columns that identify what is averaged.
        quantities: columns that are averaged; those that are not there are left out.

    Returns:
        One row a key, in order of first appearance: the keys, ``draws``, and for each quantity its
        mean, ``..._low`` and ``..._high``.
    """
    records = []
    for key, group in rows.groupby(list(keys), sort=False, dropna=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"draws": len(group)}
        for name in quantities:
            if name in group:
                mean, low, high = mean_interval(group[name])
                record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        records.append(record)
    return pd.DataFrame(records)
