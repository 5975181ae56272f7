"""How large is the generalization gap, and does LoRA Dropout buy stability beyond fitting less?

python -m probes.generalization --n 32 64 128 --p 0 0.1 0.3 0.5
python -m probes.generalization --matched --p 0.1 0.3 0.5 0.7 --draws 16
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import json
import time
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import tyro

from probes.cells.cell import Cell
from probes.cells.matched_controls import QUANTITIES, ControlCell, decide, match, run_controls
from probes.cells.run_cell import CellRun
from probes.cli.command_line import run
from probes.cli.stability_settings import StabilitySettings, from_keywords
from probes.cli.text_options import TextOptions
from probes.jobs.atomic_files import write_figure, write_whole
from probes.jobs.engine_options import EngineOptions
from probes.jobs.manifest import write_manifest
from probes.jobs.store import Store
from probes.jobs.sweep import sweep
from probes.jobs.validation import require
from probes.results.stability_result import POINT, StabilityResult
from probes.results.text_tables import print_table, train_losses, with_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the command line puts its files unless ``--out`` says otherwise.
DEFAULT_OUT = Path("runs/generalization")


@dataclass(frozen=True)
class GeneralizationSettings(TextOptions, EngineOptions):
    """Measure the generalization gap over p and n, or compare p with p = 0 at equal train loss."""

    p: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    """Dropout rates in [0, 1); with --matched, those that are compared with the controls."""

    n: tuple[int, ...] = (64,)
    """Numbers of training examples."""

    matched: bool = False
    """Compare each p with p = 0 stopped early, with weight decay, with a smaller learning rate and
    with its update shrunk, at the train loss that p reached."""

    ensemble: tuple[int, ...] = ()
    """Sizes N of test-time ensembles to measure as well; not with --matched."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    draws: int = 8
    """Number of independent training sets S; intervals are over these."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    delta: float = 0.05
    """Failure probability of the bounds, in (0, 1]."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/generalization from the
    command line, none from Python."""

    def cells(self) -> list[Cell]:
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.n) > 0, "n", "at least one value", "none")
        if self.matched:
            require(all(p > 0 for p in self.p), "p", "above 0 with --matched", min(self.p))
            require(not self.ensemble, "ensemble", "left out with --matched", self.ensemble)
        return [
            cell
            for n in dict.fromkeys(self.n)
            for cell in StabilitySettings(
                p=self.p, ensemble=self.ensemble, task=self.task, n=n, draws=self.draws,
                rank=self.rank, steps=self.steps, lr=self.lr, delta=self.delta, seed=self.seed,
                **self.text_options, **self.engine_settings,
            ).cells()
        ]  # fmt: skip

    def control_cells(self) -> list[ControlCell]:
        """Check every value and return one cell a draw and size, for --matched."""
        first = self.p[0] if self.p else None
        rates = tuple(dict.fromkeys(float(p) for p in self.p))
        return [ControlCell(cell, rates) for cell in self.cells() if cell.p == first]


@dataclass(frozen=True)
class CommandLine(GeneralizationSettings):
    """Measure the generalization gap over p and n, or compare p with p = 0 at equal train loss."""

    json: bool = False
    """Print JSON in place of tables."""


@dataclass(frozen=True, repr=False)
class MatchedResult:
    """Dropout against its controls at equal train loss.

    Attributes:
        rows: one row a trained, stopped or shrunk network: see ``probes.controls.run_controls``.
    """

    rows: pd.DataFrame

    @cached_property
    def matched(self) -> pd.DataFrame:
        """One row a size, draw, rate and control: see ``probes.controls.match``."""
        parts = [match(group).assign(n=n) for n, group in self.rows.groupby("n", sort=False)]
        return pd.concat(parts, ignore_index=True)

    def decision(self, quantity: str = "beta") -> pd.DataFrame:
        """One row a size, rate and control: see ``probes.controls.decide``."""
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity must be one of {', '.join(QUANTITIES)}; got {quantity!r}")
        groups = self.matched.groupby("n", sort=False)
        parts = [decide(group, quantity).assign(n=n) for n, group in groups]
        return pd.concat(parts, ignore_index=True)

    def plot(self) -> "Figure":
        """Draw beta against train loss, for dropout and every control."""
        return import_module("figures.matched").draw(self.rows, self.decision("beta"))

    def text(self, quantity: str = "beta") -> pd.DataFrame:
        """The decision on a quantity as it is printed."""
        return _matched_text(self.decision(quantity))

    def __repr__(self) -> str:
        return self.text().to_string(index=False)

    def _repr_html_(self) -> str:
        return self.text().to_html(index=False)


def generalize(**settings: Any) -> StabilityResult | MatchedResult:
    """Measure the generalization gap.

    Args:
        **settings: fields of :class:`GeneralizationSettings`, the same as the flags of
            ``python -m probes.generalization``; ``p``, ``n`` and ``ensemble`` take one or several.

    Returns:
        A stability result over all sizes, or with ``matched`` the comparison with the controls.

    Raises:
        ValueError: a value is out of range.
        TypeError: there is no such setting.

    >>> result = generalize(task="ridge", p=0.5, n=[6, 8], draws=2, steps=20)
    >>> result.summary["n"].tolist()
    [6, 8]
    """
    return run_probe(from_keywords(GeneralizationSettings, settings))


def run_probe(settings: GeneralizationSettings) -> StabilityResult | MatchedResult:
    """Run the probe; with ``settings.out``, keep rows, manifest and figure there.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    cells = settings.cells()
    store = Store(settings.out) if settings.out else None
    start = time.perf_counter()
    result: StabilityResult | MatchedResult
    if settings.matched:
        controls = settings.control_cells()
        rows = sweep(controls, run_controls, store, engine=settings.engine_options)[""]
        result = MatchedResult(rows)
    else:
        rows = sweep(cells, CellRun(), store, engine=settings.engine_options)[""]
        result = StabilityResult(rows, settings.delta)
    if store:
        name = "matched" if settings.matched else "generalization"
        write_whole(store.folder / f"{name}.parquet", result.rows.to_parquet)
        write_figure(store.folder / f"{name}.png", plot(result))
        write_manifest(store.folder / "manifest.json", settings, time.perf_counter() - start)
    return result


def plot(result: StabilityResult | MatchedResult) -> "Figure":
    """Draw the result of this probe: the gap against n, or the comparison with the controls."""
    if isinstance(result, MatchedResult):
        return result.plot()
    drawing = import_module("figures.generalization")
    return drawing.draw(result.table, result.strengths, result.delta)


def main(settings: CommandLine) -> None:
    """Run the probe from the command line."""
    settings = replace(settings, out=settings.out or DEFAULT_OUT)
    result = run_probe(settings)
    if isinstance(result, MatchedResult):
        _show_matched(result, settings)
    elif settings.json:
        print(result.to_json())
    else:
        _show_gap(result)
    if not settings.json:
        print(f"rows, manifest and figure: {settings.out}/")


def gap_text(result: StabilityResult) -> pd.DataFrame:
    """The gap and its bounds as they are printed."""
    summary = result.summary
    theorem = result.bound_summary.query("statement == 'Theorem 4.4'")
    bounds = theorem.groupby(POINT)["bound"].min().reset_index()
    joined = summary.merge(bounds, how="left")
    return pd.DataFrame(
        {
            "n": joined["n"].astype(str),
            "p": joined["p"].map("{:g}".format),
            "inference": joined["inference"],
            "N": joined["ensemble"].map(lambda size: str(size) if size else ""),
            "train loss": train_losses(joined),
            "test loss": joined["test_loss"].map("{:.4f}".format),
            "gap": with_interval(joined, "gap"),
            "without test set": with_interval(joined, "gap_estimate"),
            "Theorem 4.4": joined["bound"].map(
                lambda value: "–" if pd.isna(value) else f"{value:.4g}"
            ),
            "C": joined.merge(_ceilings(result), how="left")["loss_bound_used"].map(
                "{:.4g}".format
            ),
        }
    )


def _show_gap(result: StabilityResult) -> None:
    first = result.table.iloc[0]
    print_table(
        gap_text(result),
        title=f"Generalization gap\n{first['task']}, {first['steps']} steps, objective dropout",
        caption=(
            "means over draws, 95 % intervals (Student); the least bound over λ = "
            f"{', '.join(f'{value:g}' for value in result.strengths)}, which is a curve and no "
            "theorem for this objective; – where its assumption fails for all; vacuous above C"
        ),
    )
    print_table(result.audit, title="Audit of the assumptions, over all cells")


def _ceilings(result: StabilityResult) -> pd.DataFrame:
    return result.table.groupby(POINT, sort=False)["loss_bound_used"].mean().reset_index()


def _show_matched(result: MatchedResult, settings: CommandLine) -> None:
    if settings.json:
        tables = {name: result.decision(name).to_json(orient="records") for name in QUANTITIES}
        print(json.dumps({name: json.loads(text) for name, text in tables.items()}, indent=2))
        return
    first = result.rows.iloc[0]
    for quantity, name in (("beta", "stability β"), ("gap", "generalization gap")):
        print_table(
            result.text(quantity),
            title=(
                f"Does LoRA Dropout buy {name} beyond fitting less?\n{first['task']}, "
                f"{first['steps']} steps; p against p = 0 at the same train loss"
            ),
            caption=(
                "difference: control less dropout, paired over draws, 95 % interval (Student); "
                "above 0 dropout has less. At a train loss near 0, β is the leave-one-out loss"
            ),
        )


def _matched_text(decision: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n": decision["n"].astype(str),
            "p": decision["p"].map("{:g}".format),
            "control": decision["variant"],
            "draws": decision["draws"].astype(str),
            "train loss": train_losses(decision),
            "dropout": decision["dropout"].map("{:.4f}".format),
            "p = 0": decision["control"].map("{:.4f}".format),
            "difference": with_interval(decision, "difference"),
            "verdict": decision["verdict"].map(
                {
                    "dropout": "dropout has less",
                    "control": "control has less",
                    "undecided": "undecided",
                    "not reached": "not reached",
                }
            ),
        }
    )


if __name__ == "__main__":
    run(CommandLine, main)
