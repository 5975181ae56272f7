"""Which p and N should I use? Measured on my data and model, within a time that I give.

python -m probes.recommend --data mine.csv --text-column text --label-column label --minutes 5
python -m probes.recommend --task digits --minutes 1

>>> result = measure(task="ridge", p=[0, 0.5], samples=1, n=6, steps=10, minutes=0.001)
>>> result.choice.p in (0, 0.5)
True
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor

from probes.cells.cell import CellJob, objective_of
from probes.cells.prepare import Prepared, prepare
from probes.cli.probe import Probe, Sweep
from probes.cli.stability_settings import StabilitySettings
from probes.cli.text_options import TextOptions
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.metrics.calibration_error import calibration_error, class_probabilities, has_classes
from probes.metrics.confidence_intervals import mean_interval, means
from probes.metrics.labels import named_inference
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.models.network import Factors, replica
from probes.results.json_records import as_json
from probes.results.result import Result
from probes.results.text_tables import with_interval
from probes.tasks import load_task
from probes.training.ensemble_members import ensemble_output
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

#: With fewer held-out examples than this, the leave-one-out replicas estimate the risk.
LEAST_HELD_OUT = 100
#: Draws of S, however much time there is.
MOST_DRAWS = 64
#: What identifies a candidate.
CANDIDATE = ["p", "samples", "inference"]
QUANTITIES = ("risk", "score", "gap", "beta", "ece", "train_loss", "test_loss", "loo_loss")


@dataclass(frozen=True)
class RecommendSettings(TextOptions, EngineOptions):
    """Measure a grid of p and N on your data, and recommend a choice."""

    minutes: float = 5.0
    """Time to spend on training; one pass over the grid is made however long it takes."""

    task: str | None = None
    """What is learned: digits, breast_cancer, ridge, tweets or text. Default: text where --data is
    given, otherwise digits."""

    p: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5)
    """Dropout rates in [0, 1) to choose from."""

    samples: tuple[int, ...] = (1, 4)
    """Mask pairs a training step to choose from."""

    ensemble: int = 16
    """Size N of the test-time ensemble that is compared with the expected-weight network."""

    n: int | None = None
    """Number of training examples: as many as you will fine-tune on, if you have the time. Default:
    64, or all but one if there are fewer."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/recommend from the command
    line, none from Python."""

    def cells(self) -> "list[Candidates]":
        """Check every value and return the cells of the first draw of S.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(0 < self.minutes < float("inf"), "minutes", "positive and finite", self.minutes)
        require(len(self.samples) > 0, "samples", "at least one value", "none")
        check_count("ensemble", self.ensemble)
        task = self.task or ("text" if self.data else "digits")
        examples = len(load_task(task, self.text_source(task)))
        n = min(64, examples - 1) if self.n is None else self.n
        grid = [
            base
            for samples in dict.fromkeys(self.samples)
            for base in StabilitySettings(
                p=self.p, samples=samples, task=task, n=n, draws=1, rank=self.rank,
                steps=self.steps, lr=self.lr, seed=self.seed,
                **self.text_options, **self.engine_settings,
            ).cells()
        ]  # fmt: skip
        # Without masks there is nothing to average over.
        plain = [base for base in grid if base.p == 0][:1]
        return [
            Candidates(base, self.ensemble, examples - n >= LEAST_HELD_OUT)
            for base in [*plain, *(base for base in grid if base.p > 0)]
        ]


@dataclass(frozen=True)
class Candidates(CellJob):
    """One rate and number of mask pairs on one draw of S, with all leave-one-out replicas.

    Attributes:
        base: the cell.
        ensemble: N at test time.
        held_out: whether held-out data estimate the risk, or the replicas where there are too few.
    """

    ensemble: int
    held_out: bool

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return (self.base.n + 1) * self.base.steps * self.base.samples


@dataclass(frozen=True)
class Choice:
    """What is recommended.

    Attributes:
        p, samples, inference: the chosen candidate.
        risk, low, high: its mean loss on new data and the interval.
        gain, gain_low, gain_high: risk of p = 0 less that, paired; NaN if p = 0 was not tried.
        equals: rates that cannot be told apart from the best at 95 %.
        reason: a sentence.
    """

    p: float
    samples: int
    inference: str
    risk: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    equals: tuple[float, ...]
    reason: str


class RecommendResult(Result):
    """One row a candidate and draw: see :func:`measure_cell`."""

    name = "recommend"
    question = "Loss on new data, stability and calibration of every candidate"

    @property
    def note(self) -> str:
        """How the risk was estimated."""
        how = (
            "held-out examples"
            if self.rows["held_out"].iloc[0]
            else "leave-one-out replicas, each on the example that it did not see (draws then "
            "share many examples, and intervals are too narrow)"
        )
        return (
            f"means over draws, 95 % intervals (Student); loss, score and ECE on {how}; * chosen; "
            "behind: loss less that of the candidate with the least, paired over draws"
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a candidate: means of ``QUANTITIES`` and ``behind``, ``chosen`` for one of them.

        ``behind`` is the loss less that of the candidate with the least mean, paired over draws.
        """
        plain = means(self.rows, CANDIDATE, ["risk"])
        best = plain.iloc[int(plain["risk"].to_numpy().argmin())]
        rows = self.rows.copy()
        rows["behind"] = rows["risk"] - rows["draw"].map(self._risk_of(best))
        summary = means(rows, CANDIDATE, [*QUANTITIES, "behind"])
        chosen = self._choose(summary)
        return summary.assign(chosen=np.arange(len(summary)) == chosen)

    @cached_property
    def choice(self) -> Choice:
        """The recommendation."""
        row = self.summary[self.summary["chosen"]].iloc[0]
        gain = gain_low = gain_high = float("nan")
        without = self.rows[self.rows["p"] == 0]
        if len(without) and row["p"] > 0:
            paired = without.set_index("draw")["risk"] - self._risk_of(row)
            gain, gain_low, gain_high = mean_interval(paired)
        close = self.summary[~(self.summary["behind_low"] > 0)]
        return Choice(
            p=float(row["p"]),
            samples=int(row["samples"]),
            inference=str(row["inference"]),
            risk=float(row["risk"]),
            low=float(row["risk_low"]),
            high=float(row["risk_high"]),
            gain=gain,
            gain_low=gain_low,
            gain_high=gain_high,
            equals=tuple(sorted({float(p) for p in close["p"]})),
            reason=self._reason(row, gain, gain_low),
        )

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        size = self.rows["ensemble"].iloc[0]
        return pd.DataFrame(
            {
                "": np.where(summary["chosen"], "*", ""),
                "p": summary["p"].map("{:g}".format),
                "N in training": summary["samples"].astype(str),
                "inference": [named_inference(one, size) for one in summary["inference"]],
                "loss": with_interval(summary, "risk"),
                "behind": with_interval(summary, "behind"),
                score: summary["score"].map("{:.3f}".format),
                "gap": with_interval(summary, "gap"),
                "β": with_interval(summary, "beta"),
                "ECE": summary["ece"].map(lambda e: "" if pd.isna(e) else f"{e:.3f}"),
            }
        )

    @property
    def conclusion(self) -> str:
        """The recommendation."""
        return self.choice.reason

    def plot(self) -> "Drawing":
        """Draw why it was chosen."""
        from figures.recommend import draw

        size = self.rows["ensemble"].iloc[0]
        labels = [
            "p = 0"
            if p == 0
            else f"N = {samples} in training, "
            + (f"ensemble of {size}" if inference == "ensemble" else inference)
            for p, samples, inference in self.summary[CANDIDATE].itertuples(index=False)
        ]
        how = "held-out examples" if self.rows["held_out"].iloc[0] else "leave-one-out replicas"
        caption = (
            f"{self.setting}, objective dropout; loss and calibration by {how}; 95 % intervals "
            "over draws"
        )
        return draw(self.summary.assign(label=labels), caption, self.rows["score_name"].iloc[0])

    def to_json(self) -> str:
        """Return the choice and the candidates as a JSON document."""
        return as_json({"choice": asdict(self.choice), "candidates": self.summary})

    def _risk_of(self, candidate: pd.Series) -> pd.Series:
        same = np.logical_and.reduce([self.rows[name] == candidate[name] for name in CANDIDATE])
        return self.rows[same].set_index("draw")["risk"]

    def _choose(self, summary: pd.DataFrame) -> int:
        """Of the candidates that cannot be told from the best, the cheapest with the least loss.

        An ensemble costs more than any number of mask pairs in training: its price is paid at every
        use of the model.
        """
        close = summary["risk"] == summary["risk"].min()
        if summary["draws"].iloc[0] > 1:
            close |= summary["behind_low"] <= 0
        price = summary["samples"] + 1e6 * (summary["inference"] == "ensemble")
        order = np.lexsort((summary["risk"], price, ~close))
        return int(order[0])

    def _reason(self, row: pd.Series, gain: float, gain_low: float) -> str:
        size = self.rows["ensemble"].iloc[0]
        inference = (
            f"the test-time ensemble of {size}"
            if row["inference"] == "ensemble"
            else f"{row['inference']} inference"
        )
        settings = f"p = {row['p']:g}"
        if row["p"] > 0:
            settings += f", {row['samples']} mask pair{'s' if row['samples'] > 1 else ''} a step"
            settings += f", {inference}"
        draws = self.rows["draw"].nunique()
        close = self.summary[~(self.summary["behind_low"] > 0)]["p"].unique()
        others = [f"{p:g}" for p in sorted(set(close) - {row["p"]})]
        text = f"Use {settings}: loss {row['risk']:.4f}"
        if draws < 2:
            return text + ". One draw of S says nothing about the uncertainty: give more --minutes."
        text += f" ± {row['risk'] - row['risk_low']:.4f} over {draws} draws of S."
        if np.isfinite(gain):
            text += f" Against p = 0 it gains {gain:.4f} ± {gain - gain_low:.4f}."
        if row["behind"] > 0:
            text += (
                f" It is the cheapest that cannot be told from the least loss "
                f"({row['behind']:.4f} ± {row['behind'] - row['behind_low']:.4f} behind)."
            )
        if others:
            text += f" Nor can p = {', '.join(others)} be told apart from that at 95 %."
        return text


@torch.no_grad()
def measure_cell(cell: Candidates, progress: Progress) -> Tables:
    """Retrain, and measure every way of inference.

    Args:
        cell: one draw of S, one rate, one number of mask pairs.
        progress: told replicas times mask pairs after every step of a block.

    Returns:
        One row an ``inference``: the settings, ``p``, ``samples``, ``ensemble``, ``held_out``, what
        ``probes.metrics.metrics_of_outputs`` measures on held-out data, ``loo_loss`` (loss of every
        replica on the example that it did not see), and ``risk``, ``score`` and ``ece`` on held-out
        data, or from those replicas where there are too few.
    """
    base = cell.base
    ready = prepare(base)
    factors = retrain(
        ready.network, ready.train, ready.weights, ready.start, ready.training, objective_of(base),
        checkpoint=lambda step, rows, factors: progress((rows.stop - rows.start) * base.samples),
    )  # fmt: skip
    inferences = ["no masks"] if base.p == 0 else ["expected weight", "ensemble"]
    records = [
        {"inference": inference} | _measure(cell, ready, factors, inference)
        for inference in inferences
    ]
    return {
        TableKind.ROWS: pd.DataFrame(records).assign(
            **base.training, p=base.p, samples=base.samples, ensemble=cell.ensemble,
            held_out=cell.held_out, score_name=ready.network.loss.score_name,
        )
    }  # fmt: skip


def _measure(
    cell: Candidates, ready: Prepared, factors: Factors, inference: str
) -> dict[str, float]:
    loss, base = ready.network.loss, cell.base
    *_, mask_seed = base.seeds()

    def outputs(held: Factors, inputs: Any) -> Tensor:
        network = ready.network
        if inference == "ensemble":
            return ensemble_output(
                network, held, inputs, cell.ensemble, p=base.p, seed=mask_seed,
                rescale=base.rescale,
            )  # fmt: skip
        return network.replica_outputs(held, inputs, update_scale=base.update_scale)

    on_train, on_test = outputs(factors, ready.train), outputs(replica(factors, 0), ready.test)
    measured = measure_outputs(loss, on_train, ready.train, on_test, ready.test)
    # Every replica on the example that it did not see: (k, n).
    unseen = on_train[1:].diagonal(dim1=0, dim2=2).double().cpu()
    train_targets = ready.train.targets.double().cpu()
    measured["loo_loss"] = float(loss.value(unseen, train_targets).mean())
    new, targets = unseen, train_targets
    if cell.held_out:
        new, targets = on_test[0].double().cpu(), ready.test.targets.double().cpu()
    ece = float("nan")
    if has_classes(loss):
        ece = calibration_error(*class_probabilities(loss, new, targets))
    return measured | {
        "risk": float(loss.value(new, targets).mean()),
        "score": float(loss.score(new, targets).mean()),
        "ece": ece,
    }


def _gather(settings: RecommendSettings, cells: Sequence[Candidates], sweep: Sweep) -> Tables:
    """Measure draw after draw while there is time."""
    start = time.perf_counter()
    tables: list[pd.DataFrame] = []
    spent = last = 0.0
    # The next draw is begun if it should end in time.
    while not tables or (spent + last <= 60 * settings.minutes and len(tables) < MOST_DRAWS):
        draw = [replace(cell, base=replace(cell.base, draw=len(tables))) for cell in cells]
        tables.append(sweep(draw)[TableKind.ROWS])
        last, spent = time.perf_counter() - start - spent, time.perf_counter() - start
    return {TableKind.ROWS: pd.concat(tables, ignore_index=True)}


PROBE = Probe(
    "recommend",
    RecommendSettings,
    cells=RecommendSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: RecommendResult.of(tables),
    gather=_gather,
)
measure = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
