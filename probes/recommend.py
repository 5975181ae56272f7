"""Which p and N should I use? Measured on my data and model, within a time that I give.

python -m probes.recommend --data mine.csv --text-column text --label-column label --minutes 5
python -m probes.recommend --task digits --minutes 1

>>> result = measure(task="ridge", p=[0, 0.5], samples=1, n=6, steps=10, minutes=1e-6)
>>> result.choice.learned is None, result.choice.p  # of a single draw
(True, 0.0)
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
from probes.metrics.confidence_intervals import means, overlap_of
from probes.metrics.constant_prediction import best_constant
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.metrics.split_choice import SplitChoice, split_choice
from probes.models.network import Factors, replica
from probes.results.json_records import as_json
from probes.results.recommendation import CONSTANT, Candidate, Choice, sentences
from probes.results.result import Result
from probes.results.text_tables import averages, with_interval
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
#: A run of which one of these is not finite has diverged.
TRAINED = ("risk", "gap", "beta", "train_loss", "test_loss", "loo_loss")


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

    def cells(self) -> "list[CandidateCell]":
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
            CandidateCell(base, self.ensemble, examples - n >= LEAST_HELD_OUT)
            for base in [*plain, *(base for base in grid if base.p > 0)]
        ]


@dataclass(frozen=True)
class CandidateCell(CellJob):
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


class RecommendResult(Result):
    """One row a candidate and draw: see :func:`measure_cell`."""

    name = "recommend"
    question = "Loss on new data, stability and calibration of every candidate"

    @property
    def note(self) -> str:
        """How the risk was estimated, and which draws the table is made of."""
        how = (
            "held-out examples"
            if self.rows["held_out"].iloc[0]
            else "leave-one-out replicas, each on the example that it did not see"
        )
        chose = int((~self._split.telling).sum())
        which = f", but for the {chose} that chose" if chose else ""
        return (
            f"means over the draws of S{which}, 95 % intervals (Student); loss, score and ECE on "
            f"{how}; * recommended; behind: loss less that of the recommended, paired; constant: "
            "the best prediction that ignores the input, for the examples that judge; where one "
            "network of a run diverged, the run enters no mean"
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The constant prediction, then one row a candidate: means over the telling draws.

        They are those of ``QUANTITIES`` and of ``behind``, the loss less that of the recommended
        candidate, paired over draws. What diverged enters no mean: ``..._draws`` says over how many
        of the ``draws`` a mean is. ``diverged`` says in how many of all draws a candidate diverged,
        ``chosen`` which is recommended.
        """
        rows = pd.concat([self._constant, self._finite], ignore_index=True)
        rows = rows[rows["draw"].isin(self._draws[self._split.telling])]
        chosen = self._split.recommended
        recommended = self._chance if chosen is None else self._losses[:, chosen]
        of_draw = pd.Series(recommended, self._draws)
        rows = rows.assign(behind=rows["risk"] - rows["draw"].map(of_draw))
        summary = means(rows, CANDIDATE, [*QUANTITIES, "behind"])
        places = np.arange(len(summary)) - 1
        return summary.assign(
            diverged=[0, *self._split.diverged],
            chosen=places == (-1 if chosen is None else chosen),
        )

    @cached_property
    def choice(self) -> Choice:
        """The recommendation."""
        split, candidates = self._split, self._candidates
        row = self.summary[self.summary["chosen"]].iloc[0]
        tried = self.summary[self.summary["inference"] != CONSTANT]
        close = tried[(tried["behind_low"] <= 0) & (tried["behind_high"] >= 0)]
        margin, margin_low, margin_high = split.margin
        gain, gain_low, gain_high = split.gain
        size = int(self.rows["ensemble"].iloc[0])
        choice = Choice(
            p=float(row["p"]),
            samples=int(row["samples"]),
            inference=str(row["inference"]),
            learned=split.learned,
            nothing_learned=split.learned is False,
            risk=float(row["risk"]),
            low=float(row["risk_low"]),
            high=float(row["risk_high"]),
            chance=float(self._chance[split.telling].mean()),
            margin=margin,
            margin_low=margin_low,
            margin_high=margin_high,
            simplest=None if split.simplest is None else candidates[split.simplest],
            rival=None if split.rival is None else candidates[split.rival],
            gain=gain,
            gain_low=gain_low,
            gain_high=gain_high,
            gains=split.gains,
            equals=tuple(sorted({float(p) for p in close["p"]})),
            diverged={
                one.named(size): int(count)
                for one, count in zip(candidates, split.diverged, strict=True)
                if count
            },
            choosing_draws=int((~split.telling).sum()),
            telling_draws=int(split.telling.sum()),
        )
        learner = None if split.learner is None else candidates[split.learner]
        return replace(choice, reason=sentences(choice, learner, size))

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        size = int(self.rows["ensemble"].iloc[0])
        names = [one.cells(size) for one in _candidates_of(summary)]
        table = pd.DataFrame(
            {
                "": np.where(summary["chosen"], "*", ""),
                "p": [p for p, _, _ in names],
                "N in training": [samples for _, samples, _ in names],
                "inference": [inference for _, _, inference in names],
                "loss": with_interval(summary, "risk"),
                "behind": with_interval(summary, "behind"),
                score: averages(summary, "score", 3),
                "gap": with_interval(summary, "gap"),
                "β": with_interval(summary, "beta"),
                "ECE": summary["ece"].map(lambda e: "" if pd.isna(e) else f"{e:.3f}"),
            }
        )
        # A constant is not trained: it has neither a gap nor a beta.
        table.loc[summary["inference"] == CONSTANT, ["gap", "β"]] = ""
        return table

    @property
    def conclusion(self) -> str:
        """The recommendation."""
        return self.choice.reason

    def plot(self) -> "Drawing":
        """Draw why it was chosen."""
        from figures.recommend import draw

        size = int(self.rows["ensemble"].iloc[0])
        labels = [one.label(size) for one in _candidates_of(self.summary)]
        how = "held-out examples" if self.rows["held_out"].iloc[0] else "leave-one-out replicas"
        caption = (
            f"{self.setting}, objective dropout; loss and calibration by {how}; 95 % intervals "
            f"over the {self.choice.telling_draws} draws that did not choose"
            + ("; nothing was learned" if self.choice.nothing_learned else "")
        )
        return draw(self.summary.assign(label=labels), caption, self.rows["score_name"].iloc[0])

    def to_json(self) -> str:
        """Return the choice and the candidates as a JSON document."""
        return as_json({"choice": asdict(self.choice), "candidates": self.summary})

    @cached_property
    def _split(self) -> SplitChoice:
        price = [one.price for one in self._candidates]
        return split_choice(self._losses, price, self._chance, overlap=overlap_of(self.rows))

    @cached_property
    def _candidates(self) -> list[Candidate]:
        """In order of first appearance."""
        return _candidates_of(self.rows.drop_duplicates(CANDIDATE))

    @cached_property
    def _draws(self) -> np.ndarray:
        """Numbers of the draws, in the order in which they choose and tell."""
        return np.sort(self.rows["draw"].unique())

    @cached_property
    def _finite(self) -> pd.DataFrame:
        """The rows, without any number of runs that diverged, on S or without an example."""
        known = [name for name in TRAINED if name in self.rows]
        sound = np.isfinite(self.rows[known].to_numpy(np.float64)).all(axis=1)
        measured = [name for name in QUANTITIES if name in self.rows]
        return self.rows.assign(**self.rows[measured].where(pd.Series(sound, self.rows.index)))

    @cached_property
    def _losses(self) -> np.ndarray:
        """Losses on new data, (draws, candidates); NaN where a run diverged."""
        table = self._finite.pivot(index="draw", columns=CANDIDATE, values="risk")
        columns = [(one.p, one.samples, one.inference) for one in self._candidates]
        return table[columns].to_numpy(np.float64)

    @cached_property
    def _constant(self) -> pd.DataFrame:
        """Rows of the constant prediction, one a draw."""
        first = self.rows.drop_duplicates("draw").sort_values("draw", ignore_index=True)
        constant = asdict(Candidate(float("nan"), 0, CONSTANT))
        known = [name for name in ("draw", "n", "pool") if name in first]
        return first[known].assign(
            **constant, risk=first["chance_risk"], score=first["chance_score"]
        )

    @property
    def _chance(self) -> np.ndarray:
        """Losses of the constant prediction, (draws,)."""
        return self._constant["risk"].to_numpy(np.float64)


def _candidates_of(table: pd.DataFrame) -> list[Candidate]:
    return [
        Candidate(float(p), int(samples), str(inference))
        for p, samples, inference in table[CANDIDATE].itertuples(index=False)
    ]


@torch.no_grad()
def measure_cell(cell: CandidateCell, progress: Progress) -> Tables:
    """Retrain, and measure every way of inference.

    Args:
        cell: one draw of S, one rate, one number of mask pairs.
        progress: told replicas times mask pairs after every step of a block.

    Returns:
        One row an ``inference``: the settings, ``p``, ``samples``, ``ensemble``, ``held_out``, what
        ``probes.metrics.metrics_of_outputs`` measures on held-out data, ``loo_loss`` (loss of every
        replica on the example that it did not see), and ``risk``, ``score`` and ``ece`` on held-out
        data, or from those replicas where there are too few; ``chance_risk`` and ``chance_score``
        of the best constant prediction for the same examples.
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
            **ready.columns, p=base.p, samples=base.samples, ensemble=cell.ensemble,
            held_out=cell.held_out, score_name=ready.network.loss.score_name,
        )
    }  # fmt: skip


def _measure(
    cell: CandidateCell, ready: Prepared, factors: Factors, inference: str
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
    chance_risk, chance_score = best_constant(loss, targets)
    ece = float("nan")
    if has_classes(loss):
        ece = calibration_error(*class_probabilities(loss, new, targets))
    return measured | {
        "risk": float(loss.value(new, targets).mean()),
        "score": float(loss.score(new, targets).mean()),
        "ece": ece,
        "chance_risk": chance_risk,
        "chance_score": chance_score,
    }


def _gather(settings: RecommendSettings, cells: Sequence[CandidateCell], sweep: Sweep) -> Tables:
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
