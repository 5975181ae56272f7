"""A question that can be measured: the same from Python, the command line and the report."""

import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, make_dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    Protocol,
    TypeVar,
    get_origin,
    get_type_hints,
)

from probes.cli.command_line import (
    before_the_answer,
    check_no_words,
    print_document,
    run_command_line,
)
from probes.cli.output_folder import (
    check_folder,
    nothing_left_of_a_refusal,
    own_folder,
    remove_left_over,
    written_files,
)
from probes.cli.setting_types import as_declared
from probes.jobs.atomic_files import write_whole
from probes.jobs.engine_options import EngineOptions
from probes.jobs.fingerprint import code_fingerprint, entries_from_outside
from probes.jobs.job import RunJob, TableKind, Tables
from probes.jobs.manifest import MANIFEST, write_manifest
from probes.jobs.store import Store
from probes.jobs.sweep import Sweep
from probes.jobs.torch_settings import usual_torch_settings
from probes.jobs.validation import did_you_mean
from probes.results.result import Result


class Settings(Protocol):
    """The settings of a question: a frozen dataclass whose fields are the command line's flags."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def out(self) -> Path | None:
        """Folder of what is kept; nothing is if None."""

    @property
    def engine_options(self) -> EngineOptions:
        """Where the cells run."""


S = TypeVar("S", bound=Settings)
R = TypeVar("R", bound=Result)
#: What the command line has beside the settings: what is printed.
SAID = {
    "json": "Print JSON in place of tables.",
    "details": "Print every table, with all columns, bounds and premises.",
}


@dataclass(frozen=True)
class Probe(Generic[S, R]):
    """A question: what may be set, what a cell is, and what is made of the cells' tables.

    Attributes:
        name: of its module, its folder below ``runs`` and its figure.
        settings: class of its settings.
        cells: checks the settings and returns the cells; raises ``ValueError`` for a bad value.
        run: what running a cell is.
        result: what is made of the settings and the tables of all cells.
        kinds: tables that a cell gives.
        gather: runs cells until enough are measured; by default all cells, once.
        keeps_cells: whether finished cells are kept in the folder and taken from there.
        take_words: takes words of the command line that are no flags; by default they are refused.
        doing: what a progress bar says.
    """

    name: str
    settings: type[S]
    cells: Callable[[S], Sequence[Any]]
    run: Callable[[S], RunJob[Any]]
    result: Callable[[S, Tables], R]
    kinds: Callable[[S], Sequence[TableKind]] = lambda settings: (TableKind.ROWS,)
    gather: Callable[[S, Sequence[Any], Sweep], Tables] = lambda settings, cells, sweep: sweep(
        cells
    )
    keeps_cells: Callable[[S], bool] = lambda settings: True
    take_words: Callable[[S, list[str]], S] | None = None
    doing: str = "retraining"

    @property
    def measure(self) -> Callable[..., R]:
        """The question as a function of its settings: what a notebook calls."""

        def measure(**settings: Any) -> R:
            return self.run_with(from_keywords(self.settings, settings))

        # So that it is pickled and shown in help as what it is: the function of its module.
        measure.__module__, measure.__qualname__ = f"probes.{self.name}", "measure"
        known = self.settings.__name__
        sections = inspect.cleandoc(f"""
            Args:
                **settings: fields of :class:`{known}`, the same as the flags of
                    ``python -m probes.{self.name}``. What may have several values takes one as
                    well. With ``out``, rows, manifest and figure are kept there, and finished cells
                    are not run again.

            Returns:
                The result: it shows itself as a table; ``.rows``, ``.summary``, ``.plot()``.

            Raises:
                ValueError: a value is out of range, or the folder cannot be written.
                TypeError: there is no such setting.
        """)
        measure.__doc__ = f"{inspect.getdoc(self.settings)}\n\n{sections}"
        parameters = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=_default(field),
                annotation=_plain_type(field.type),
            )
            for field in fields(self.settings)
        ]  # fmt: skip
        measure.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return measure

    @usual_torch_settings()
    def run_with(self, settings: S) -> R:
        """Measure; with ``settings.out``, keep rows, manifest and figures there.

        Args:
            settings: of the question.

        Raises:
            ValueError: a value is out of range, or the folder cannot be written, or holds another
                run's results.
        """
        cells, run = self.cells(settings), self.run(settings)
        if settings.out:
            check_folder(settings.out, self.name, self.settings_of(settings))
        with nothing_left_of_a_refusal(settings.out):
            return self._measured(settings, cells, run)

    def _measured(self, settings: S, cells: Sequence[Any], run: RunJob[Any]) -> R:
        """Run the cells and keep what was found."""
        code = code_fingerprint(run) if settings.out else ""
        store = Store(settings.out, code) if settings.out else None
        start = time.perf_counter()
        keeps = self.keeps_cells(settings) and _are_known(store)
        swept = Sweep(
            run, store=store if keeps else None,
            kinds=self.kinds(settings), engine=settings.engine_options, doing=self.doing,
        )  # fmt: skip
        result = self.result(settings, self.gather(settings, cells, swept))
        if store:
            # Another run may have ended there meanwhile.
            check_folder(store.folder, self.name, self.settings_of(settings))
            files = _keep(result, store)
            remove_left_over(store.folder, files)
            seconds = time.perf_counter() - start
            write_manifest(
                store.folder / MANIFEST,
                self.settings_of(settings),
                seconds,
                code,
                store.used,
                files,
                self.name,
            )
        return result

    def settings_of(self, settings: S) -> dict[str, Any]:
        """Return the settings by name, without what only the command line adds."""
        return {field.name: getattr(settings, field.name) for field in fields(self.settings)}

    def main(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Measure from the command line and exit.

        Args:
            arguments: words of the command line; those of the process if left out.
        """
        run_command_line(self._command_line, self._answer, arguments, f"probes.{self.name}")

    @cached_property
    def _command_line(self) -> Any:
        """The settings with what the command line has beside them."""
        import tyro

        more = [
            (name, Annotated[bool, tyro.conf.arg(help=said)], False) for name, said in SAID.items()
        ]
        kind: Any = self.settings
        made = make_dataclass("CommandLine", more, bases=(kind,), frozen=True)
        made.__doc__ = kind.__doc__
        return made

    def _answer(self, settings: Any, words: list[str]) -> int:
        if settings.json and settings.details:
            raise ValueError("details must be left out where json is given, which has no tables")
        known: Any = self.settings(**self.settings_of(settings))
        if words:
            if self.take_words is None:
                check_no_words(type(settings), words)
            else:
                known = self.take_words(known, words)
        usual = Path("runs") / self.name
        folder = known.out or own_folder(usual, self.name, self.settings_of(known))
        with before_the_answer():
            result = self.run_with(replace(known, out=folder))
        if settings.json:
            print_document(result.to_json())
        else:
            result.show(details=settings.details)
            print(f"written to {folder}/: {', '.join(written_files(folder))}")
        return result.status


def _are_known(store: Store | None) -> bool:
    """Whether the code says what cells are; of what it does not, the first is named."""
    outside = entries_from_outside() if store else []
    if outside:
        print(f"cells are not kept: {outside[0]} stands in no file of this project",
              file=sys.stderr)  # fmt: skip
    return not outside


def from_keywords(kind: type[S], keywords: Mapping[str, Any]) -> S:
    """Make settings from what a notebook passes: one value where there may be several, text paths.

    Args:
        kind: the dataclass of the settings.
        keywords: its fields; those that hold several values take one as well.

    Returns:
        The settings.

    Raises:
        TypeError: there is no such setting, a needed one is not given, or a value has another type;
            the message names it.
    """
    declared = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for name in keywords:
        if name not in known:
            raise TypeError(f"there is no setting {name!r}{did_you_mean(name, known)}")
    for field in fields(kind):
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in keywords:
            raise TypeError(f"{field.name} must be given")
    made = {name: as_declared(name, value, declared[name]) for name, value in keywords.items()}
    return kind(**made)


def _default(field: "Field[Any]") -> Any:
    if field.default_factory is dict:
        return {}
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _plain_type(annotation: Any) -> Any:
    """The type without what it says to the parser of the command line."""
    return annotation.__origin__ if get_origin(annotation) is Annotated else annotation


def _keep(result: Result, store: Store) -> list[str]:
    """Write tables, figures and texts, each whole or not at all, and return their names."""
    writers: dict[str, Callable[[Path], object]] = {}
    for name, table in result.tables().items():
        writers[f"{name}.parquet"] = table.to_parquet
    for name, table in result.spreadsheets().items():
        writers[f"{name}.csv"] = partial(table.to_csv, index=False)
    for name, figure in result.figures().items():
        writers[f"{name}.png"] = partial(Path.write_bytes, data=figure.png())
    for name, text in result.documents().items():
        writers[name] = partial(Path.write_text, data=text, encoding="utf-8")
    for name, write in writers.items():
        write_whole(store.folder / name, write)
    return list(writers)
