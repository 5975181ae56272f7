"""What does the test-time ensemble buy, and how many members does it take?

python -m probes.ensemble
python -m probes.ensemble --p 0.1 0.3 0.5 --sizes 1 2 4 8 16 32 64 --draws 16
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.interrupt

    probes.interrupt.be_brief()

import time
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import torch
import tyro
from torch import Tensor

from probes.cells import Cell, objective_of, prepare
from probes.console import print_table, run, with_interval
from probes.intervals import mean_interval
from probes.losses import Loss
from probes.manifest import write_manifest
from probes.members import member_outputs
from probes.resampling import full_sample
from probes.retrain import retrain
from probes.settings import StabilitySettings, TextOptions, from_keywords, require
from probes.store import Store, write_figure, write_whole
from probes.sweep import Progress, Tables, sweep
from theory import ensemble_cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the command line puts its files unless ``--out`` says otherwise.
DEFAULT_OUT = Path("runs/ensemble")


@dataclass(frozen=True)
class EnsembleSettings(TextOptions):
    """Measure the averaged output of N sampled networks on test data, against N."""

    p: tuple[float, ...] = (0.1, 0.3, 0.5)
    """Dropout rates in [0, 1)."""

    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Sizes N of the ensembles."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    n: int = 64
    """Number of training examples."""

    draws: int = 16
    """Number of independent training sets S; intervals are over these."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    rescale: bool = False
    """Divide what survives by 1-p. The paper never does."""

    seed: int = 0
    """Seed of everything random."""

    workers: int = 1
    """Processes of one thread each that run the cells."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/ensemble from the command
    line, none from Python."""

    def cells(self) -> "list[EnsembleCell]":
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.sizes) > 0, "sizes", "at least one value", "none")
        for size in self.sizes:
            require(size >= 1, "sizes", "at least 1", size)
        cells = StabilitySettings(
            p=self.p, ensemble=self.sizes, task=self.task, n=self.n, draws=self.draws,
            rank=self.rank, steps=self.steps, lr=self.lr, rescale=self.rescale, seed=self.seed,
            workers=self.workers, **self.text_options,
        ).cells()  # fmt: skip
        return [EnsembleCell(cell) for cell in cells]


@dataclass(frozen=True)
class CommandLine(EnsembleSettings):
    """Measure the averaged output of N sampled networks on test data, against N."""

    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True)
class EnsembleCell:
    """One draw of S at one rate; its network is trained on S alone, nothing is left out."""

    base: Cell

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.base.steps


@dataclass(frozen=True, repr=False)
class EnsembleResult:
    """Test risk of ensembles.

    Attributes:
        rows: one row a rate, draw and size (0 for the expected-weight network): see
            :func:`run_ensemble`.
    """

    rows: pd.DataFrame

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate and size: means over draws with 95 % Student intervals.

        ``test_loss`` and ``test_score`` of the averaged output, ``members`` (average loss of its
        members, the bound of Theorem 4.5), ``predicted`` (the 1/N law to second order), and
        ``against_expected``, the test loss less that of the expected-weight network, paired.
        """
        expected = self.rows[self.rows["ensemble"] == 0].set_index(["p", "draw"])["test_loss"]
        paired = self.rows.join(expected.rename("expected"), on=["p", "draw"])
        paired["against_expected"] = paired["test_loss"] - paired["expected"]
        records = []
        for (p, size), group in paired.groupby(["p", "ensemble"], sort=False):
            record: dict[str, Any] = {"p": p, "ensemble": size, "draws": len(group)}
            for name in ("test_loss", "test_score", "members", "predicted", "against_expected"):
                mean, low, high = mean_interval(group[name])
                record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
            records.append(record)
        return pd.DataFrame(records)

    def plot(self) -> "Figure":
        """Draw test risk and score against N, beside the expected-weight network."""
        return import_module("figures.ensemble").draw(self.summary, self.rows)

    def __repr__(self) -> str:
        return _text(self).to_string(index=False)

    def _repr_html_(self) -> str:
        return _text(self).to_html(index=False)


@torch.no_grad()
def run_ensemble(cell: EnsembleCell, progress: Progress) -> Tables:
    """Train on S and evaluate ensembles on the rest of the data set.

    Returns:
        One row a size, with the settings and ``ensemble`` (N; 0 for the expected-weight network),
        ``test_loss``, ``test_score``, ``members`` (mean loss of the N members, NaN for 0) and
        ``predicted`` (limit plus half the spread over N, from all members; exact for squared loss).
    """
    base = cell.base
    ready = prepare(base)
    network, test = ready.network, ready.test
    factors = retrain(
        network, ready.train, full_sample(base.n), ready.start, ready.training, objective_of(base),
        checkpoint=lambda step, rows, factors: progress(1),
    )  # fmt: skip
    *_, mask_seed = base.seeds()
    sizes = base.ensemble
    members = member_outputs(
        network, factors, test, max(sizes), p=base.p, seed=mask_seed, rescale=base.rescale
    )
    outputs, targets = torch.stack([one[0].double() for one in members]), test.targets.double()
    value, score = network.loss.value, network.loss.score
    each = value(outputs, targets).mean(1)
    spread = _spread(network.loss, outputs, targets)
    largest = float(value(outputs.mean(0), targets).mean())
    limit = largest - spread / (2 * len(outputs))
    expected = network.outputs(network.merged_weights(factors, shrink=base.shrink), test)[0]
    records = [(0, expected.double(), float("nan"), float("nan"))]
    for size in sizes:
        predicted = float(ensemble_cross_entropy(limit, spread, size))
        records.append((size, outputs[:size].mean(0), float(each[:size].mean()), predicted))
    rows = [
        {
            "ensemble": size,
            "test_loss": float(value(averaged, targets).mean()),
            "test_score": float(score(averaged, targets).mean()),
            "members": average,
            "predicted": predicted,
        }
        for size, averaged, average, predicted in records
    ]
    return {
        "": pd.DataFrame(rows).assign(**base.training, p=base.p, score_name=network.loss.score_name)
    }


def ensembles(**settings: Any) -> EnsembleResult:
    """Measure ensembles.

    Args:
        **settings: fields of :class:`EnsembleSettings`, the same as the flags of
            ``python -m probes.ensemble``; ``p`` and ``sizes`` take one value or several.

    Raises:
        ValueError: a value is out of range.
        TypeError: there is no such setting.

    >>> ensembles(task="ridge", p=0.5, sizes=[1, 2], n=8, draws=2, steps=20).summary.shape[0]
    3
    """
    return run_probe(from_keywords(EnsembleSettings, settings))


def run_probe(settings: EnsembleSettings) -> EnsembleResult:
    """Run the probe; with ``settings.out``, keep rows, manifest and figure there.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    cells = settings.cells()
    store = Store(settings.out) if settings.out else None
    start = time.perf_counter()
    result = EnsembleResult(sweep(cells, run_ensemble, store, workers=settings.workers)[""])
    if store:
        write_whole(store.folder / "rows.parquet", result.rows.to_parquet)
        write_figure(store.folder / "ensemble.png", result.plot())
        write_manifest(store.folder / "manifest.json", settings, time.perf_counter() - start)
    return result


def main(settings: CommandLine) -> None:
    """Run the probe from the command line."""
    settings = replace(settings, out=settings.out or DEFAULT_OUT)
    result = run_probe(settings)
    if settings.json:
        print(result.summary.to_json(orient="records", indent=2))
        return
    first = result.rows.iloc[0]
    print_table(
        _text(result),
        title=(
            f"Test risk of the averaged output (before the softmax)\n{first['task']}, "
            f"n = {first['n']}, {first['steps']} steps, {result.rows['draw'].nunique()} draws of S"
        ),
        caption=(
            "means over draws, 95 % intervals (Student); members: average loss of the N members, "
            "the bound of Theorem 4.5; 1/N law: to second order; last column: paired over draws"
        ),
    )
    print(f"rows, manifest and figure: {settings.out}/")


@torch.enable_grad()
def _spread(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    """Mean over examples of tr(H Cov z), H the loss' Hessian at the mean output of all members."""
    mean = outputs.mean(0).requires_grad_(True)
    (slope,) = torch.autograd.grad(loss.value(mean, targets).sum(), mean, create_graph=True)
    total = 0.0
    for centred in (outputs - mean).detach():
        (bent,) = torch.autograd.grad(slope, mean, centred, retain_graph=True)
        total += float((centred * bent).sum())
    return total / (max(1, len(outputs) - 1) * outputs.shape[-1])


def _text(result: EnsembleResult) -> pd.DataFrame:
    summary, name = result.summary, result.rows["score_name"].iloc[0]
    blank = summary["ensemble"] == 0
    return pd.DataFrame(
        {
            "p": summary["p"].map("{:g}".format),
            "inference": [
                "expected weight" if size == 0 else f"ensemble, N = {size}"
                for size in summary["ensemble"]
            ],
            "test loss": with_interval(summary, "test_loss"),
            f"test {name}": summary["test_score"].map("{:.3f}".format),
            "members": summary["members"].map("{:.4f}".format).where(~blank, ""),
            "1/N law": summary["predicted"].map("{:.4f}".format).where(~blank, ""),
            "less expected weight": pd.Series(with_interval(summary, "against_expected")).where(
                ~blank, ""
            ),
        }
    )


if __name__ == "__main__":
    run(CommandLine, main)
