"""How stable is a model of my own? It is retrained once without each example.

python -m probes.own_model --own mine.py:own --p 0 0.3 --n 32

One replica after another, through the layers that ``inject`` puts in: slow, and for any model whose
examples do not change each other's loss in ``eval()``. For the tasks' networks
``probes.stability`` gives the same numbers some hundred times faster.
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor, nn

from probes.cells.cell import seeds_of
from probes.cli.measures import MeasureOwnModel
from probes.cli.probe import Probe
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, check_seed, require
from probes.metrics.confidence_intervals import mean_interval, means, overlap_of
from probes.metrics.inference_names import inference_label
from probes.metrics.metrics_of_outputs import measure_losses
from probes.results.answer_words import ends_in_words, intervals_in_words
from probes.results.result import Result
from probes.results.stability_answer import measured_answer
from probes.results.text_tables import averages, leading, rates, with_interval
from probes.tasks.own_examples import with_tensors
from probes.tasks.own_model import OwnModel, load_own
from probes.training.averaged_outputs import averaged_outputs
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.own_training import OwnSample, train_own, tried
from probes.training.rivals import Rival

if TYPE_CHECKING:
    from figures.style import Drawing

QUANTITIES = ("train_loss", "test_loss", "gap", "beta", "beta_signed", "test_score")


class OwnModelResult(Result):
    """One row a rate, draw and inference; ``ensemble`` is N, 0 for the expected weight."""

    name = "own_model"
    question = "Stability and gap of the model"
    note = "means over draws, 95 % intervals (Student)"

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate and inference: means of ``QUANTITIES``."""
        return means(self.rows, ["p", "ensemble"], QUANTITIES)

    def plot(self) -> "Drawing":
        """Draw test loss, gap and beta against p."""
        from figures.own_model import draw

        labels = [inference_label(size) for size in self.summary["ensemble"]]
        caption = f"{self.setting}; {intervals_in_words(self.draw_count)}"
        return draw(self.summary.assign(label=labels), caption).titled(self.answer)

    @property
    def finding(self) -> str:
        """What leaving out an example changes, and how large the gap is."""
        known = self.summary[self.summary["ensemble"] == 0]
        ends = ends_in_words(known, "gap", lambda row: f"p = {row['p']:g}")
        return (
            f"{measured_answer(self.summary, int(self.rows['n'].iloc[0]))} Test loss less train "
            f"loss is {ends or 'not known'}."
        )

    def brief(self) -> pd.DataFrame:
        """Stability and gap first."""
        return leading(self.text(), ["p", "inference", "β", "gap", "train loss"])

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        columns = {
            "p": rates(summary["p"]),
            "inference": summary["ensemble"].map(inference_label),
            "train loss": averages(summary, "train_loss"),
            "test loss": with_interval(summary, "test_loss"),
            "gap": with_interval(summary, "gap"),
            "β": with_interval(summary, "beta"),
        }
        if "test_score" in summary:
            columns["test score"] = averages(summary, "test_score", 3)
        return pd.DataFrame(columns)

    def difference(self, one: tuple[float, int], other: tuple[float, int]) -> tuple[float, ...]:
        """Compare the test losses of two networks, paired over draws.

        Args:
            one: rate p and size N of the ensemble, 0 for the expected weight.
            other: the same of the network whose loss is subtracted.

        Returns:
            Mean of the difference and the ends of its 95 % Student interval, in units of the loss;
            the ends are NaN for fewer than two draws.
        """
        losses = self.rows.set_index(["p", "ensemble", "draw"])["test_loss"].sort_index()
        difference = losses.loc[one] - losses.loc[other]
        return mean_interval(difference, overlap=overlap_of(self.rows))


@dataclass(frozen=True)
class OwnModelSettings:
    """Measure stability and gap of a PyTorch model of your own, by leave-one-out retraining."""

    own: Annotated[Any, tyro.conf.arg(constructor=str, metavar="FILE.py:NAME")]
    """The model, its data, and how it is adapted: an ``OwnModel``, or a function that makes one."""

    p: tuple[float, ...] = (0.0, 0.3)
    """Dropout rates in [0, 1)."""

    n: int = 32
    """Number of training examples; the others are test data."""

    draws: int = 4
    """Number of independent training sets S; intervals are over these."""

    ensemble: tuple[int, ...] = ()
    """Sizes N of test-time ensembles to measure beside the expected weight."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/own_model from the command
    line, none from Python."""

    engine_options: ClassVar[EngineOptions] = EngineOptions()

    def cells(self) -> "list[OwnModelCell]":
        """Check every value and return one cell a rate and draw.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        own = with_tensors(load_own(self.own))
        require(len(self.p) > 0, "p", "at least one rate", "none")
        for p in self.p:
            require(0 <= p < 1, "p", "in [0, 1)", p)
        require(2 <= self.n < len(own.features), "n", f"from 2 to {len(own.features) - 1}", self.n)
        check_count("draws", self.draws)
        for size in self.ensemble:
            check_count("ensemble", size)
        check_seed(self.seed)
        traits = tried(own, self.p, seeds_of(self.seed, 0), self.n)
        return [
            OwnModelCell(
                own, float(p), draw, self.n, tuple(self.ensemble), self.seed, traits.coupled
            )
            for p, draw in product(dict.fromkeys(self.p), range(self.draws))
        ]


@dataclass(frozen=True, eq=False)
class OwnModelCell:
    """One draw of S at one rate. A model has no name that its numbers could be kept by.

    Attributes:
        own: the model.
        p, draw, n, ensemble, seed: as in the settings.
        coupled: whether examples change each other's loss in training: what is left out is then
            taken from the batch, and not weighted by 0.
    """

    own: OwnModel
    p: float
    draw: int
    n: int
    ensemble: tuple[int, ...]
    seed: int
    coupled: bool = False

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return ("torch", "numpy")

    @property
    def replica_steps(self) -> int:
        """Size of the work, in replicas."""
        return self.n + 1


def measure_cell(cell: OwnModelCell, progress: Progress) -> Tables:
    """Train the replica of S and those of all S^i, one after the other.

    Args:
        cell: one draw of S at one rate.
        progress: told 1 after every replica.

    Returns:
        One row an inference, by ``ensemble`` (N; 0 for the expected weight): ``p``, ``draw``,
        ``train_loss``, ``test_loss``, ``gap``, ``beta`` and how it is spread, ``beta_signed``,
        ``test_score`` where the model has a score, ``task``, ``n``, ``rank`` and ``steps``.
    """
    own, n = cell.own, cell.n
    seeds = seeds_of(cell.seed, cell.draw)
    index = torch.from_numpy(np.random.default_rng(seeds[0]).permutation(len(own.features)))
    train, test = index[:n], index[n:]
    sizes = (0, *cell.ensemble)
    on_train: dict[int, list[Tensor]] = {size: [] for size in sizes}
    on_test: dict[int, Tensor] = {}
    for number, weights in enumerate(torch.cat([full_sample(n), leave_one_out(n)])):
        sample = OwnSample(train, weights, seeds, cell.coupled)
        model = train_own(own, Rival("LoRA Dropout", cell.p), sample)
        progress(1)
        for size in sizes:
            outputs = _outputs(model, size, own.features[train])
            on_train[size].append(own.loss(outputs, own.targets[train]).double())
            if number == 0:
                on_test[size] = _outputs(model, size, own.features[test])
    rows = [
        {"p": cell.p, "draw": cell.draw, "ensemble": size}
        | _measured(own, torch.stack(on_train[size]), on_test[size], own.targets[test])
        for size in sizes
    ]
    known: dict[str, Any] = {
        "task": type(own.model).__name__, "n": n, "pool": len(own.features), "rank": own.rank,
        "lr": own.lr, "steps": own.steps,
    }  # fmt: skip
    return {TableKind.ROWS: pd.DataFrame(rows).assign(**known)}


def _measured(
    own: OwnModel, on_train: Tensor, test_outputs: Tensor, targets: Tensor
) -> dict[str, float]:
    """Measure from losses on S, (n + 1, n), and outputs on the test data."""
    on_test = own.loss(test_outputs, targets).double()
    measured = measure_losses(on_train.cpu(), on_test.cpu())
    if own.score is not None:
        finite = bool(on_test.isfinite().all())
        score = own.score(test_outputs, targets).double().mean() if finite else float("nan")
        measured["test_score"] = float(score)
    return measured


@torch.no_grad()
def _outputs(model: nn.Module, size: int, features: Tensor) -> Any:
    """Outputs of the ensemble of that size; 0 for the expected weight."""
    return averaged_outputs(model, features, size) if size else model(features)


PROBE = Probe(
    "own_model",
    OwnModelSettings,
    cells=OwnModelSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: OwnModelResult.of(tables),
    keeps_cells=lambda settings: False,
)
measure: MeasureOwnModel[OwnModelResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
