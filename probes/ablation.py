"""Which part of the method does it: the masks in training, their place, or the inference?

python -m probes.ablation
python -m probes.ablation --p 0.1 0.3 --ensemble 16 --draws 8

>>> result = measure(task="ridge", p=0.5, n=6, draws=2, steps=10, ensemble=2)
>>> result.summary["part"].unique().tolist()
['dropout when', 'dropped where', 'inference']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pandas as pd
import torch
from torch import Tensor

from lora_dropout.masks import ENSEMBLE_STEP
from probes.cells.cell import Cell, CellJob
from probes.cells.prepare import Prepared, prepare
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.metrics.confidence_intervals import means
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.models.feedforward import FeedForward
from probes.models.network import Factors, Inputs, replica
from probes.results.result import Result
from probes.results.text_tables import MARKED, averages, with_interval
from probes.training.autograd_training import LoRA, Setup, train
from probes.training.mask_placements import PLACES, Dropping, Place, masked_outputs
from probes.training.plan import Dropout
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

Inference = Literal["no masks", "expected weight", "ensemble"]
#: What is compared, and with which of its variants the others are paired.
PARTS = {"dropout when": "never", "dropped where": "both", "inference": "expected weight"}
QUANTITIES = (
    "train_loss", "test_loss", "test_score", "gap", "beta", "beta_median", "beta_top_tenth",
)  # fmt: skip


@dataclass(frozen=True)
class AblationSettings(StudySettings):
    """Compare LoRA Dropout with parts of it and with masks at other places."""

    p: tuple[float, ...] = (0.3,)
    """Dropout rates in (0, 1)."""

    ensemble: int = 16
    """Size N of the test-time ensembles."""

    def cells(self) -> "list[AblationCell]":
        """Check every value and return the cells of the grid."""
        for p in self.p:
            require(0 < p < 1, "p", "in (0, 1)", p)
        check_count("ensemble", self.ensemble)
        return [AblationCell(base, self.ensemble) for base in self.base_cells()]


@dataclass(frozen=True)
class AblationCell(CellJob):
    """All variants at one rate on one draw of S, every network with its leave-one-out replicas."""

    ensemble: int

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return (self.base.n + 1) * self.base.steps * (2 + len(PLACES))


class AblationResult(Result):
    """One row a part, variant, rate and draw: see :func:`measure_cell`."""

    name = "ablation"
    question = "What LoRA Dropout's parts do"
    note = (
        "means over draws, 95 % intervals (Student); difference: test loss less that of the part's "
        f"reference, paired over draws (never; both; expected weight); {MARKED}; every place drops "
        "an entry of the update, or of its input, with probability 2p - p², and infers by expected "
        "weight"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a part, variant and rate: means of what was measured; ``difference`` as noted."""
        rows = self.rows.copy()
        references = rows[rows["variant"] == rows["part"].map(PARTS)]
        keys = ["part", "p", "draw"]
        reference = references.set_index(keys)["test_loss"].rename("reference")
        rows = rows.join(reference, on=keys)
        rows["difference"] = rows["test_loss"] - rows["reference"]
        return means(rows, ["part", "variant", "p"], QUANTITIES, ["difference"])

    def plot(self) -> "Drawing":
        """Draw test loss and stability of every variant."""
        from figures.ablation import draw

        rates = self.summary["p"].unique()
        rate = f", p = {rates[0]:g}" if len(rates) == 1 else ""
        caption = (
            f"{self.setting}{rate}, objective dropout; ensembles of "
            f"N = {self.rows['ensemble'].iloc[0]}; 95 % intervals over draws"
        )
        return draw(self.summary, caption)

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        reference = summary["variant"] == summary["part"].map(PARTS)
        return pd.DataFrame(
            {
                "part": summary["part"],
                "variant": summary["variant"],
                "p": summary["p"].map("{:g}".format),
                "train loss": averages(summary, "train_loss"),
                "test loss": with_interval(summary, "test_loss"),
                "difference": pd.Series(with_interval(summary, "difference")).where(
                    ~reference, "reference"
                ),
                f"test {score}": averages(summary, "test_score", 3),
                "gap": with_interval(summary, "gap"),
                "β": with_interval(summary, "beta"),
            }
        )


@torch.no_grad()
def measure_cell(cell: AblationCell, progress: Progress) -> Tables:
    """Train every network that a variant needs, with its leave-one-out replicas, and measure the
    variants.

    The parts and their variants are

    - "dropout when": "training and ensemble", "training alone", "ensemble alone", "never", the
      paper's four (its Figure 4);
    - "dropped where": the places of ``probes.training.mask_placements``, by expected weight;
      masks on inputs are left out for networks that are not feed-forward;
    - "inference": "no masks", "expected weight" and "ensemble" after training as the paper does,
      and "rescaled, ..." after training with survivors divided by 1 - p.

    Args:
        cell: one draw of S at one rate.
        progress: told the replica steps of a network when it is trained.

    Returns:
        One row a variant: the settings, ``p``, ``ensemble`` (N), ``part``, ``variant``, and what
        ``probes.metrics.metrics_of_outputs`` measures.
    """
    base = cell.base
    ready = prepare(base)
    per_network = (base.n + 1) * base.steps

    def counted(factors: Factors) -> Factors:
        progress(per_network)
        return factors

    both, rescaled = Dropping("both", base.p), Dropping("both", base.p, rescale=True)
    plain = counted(_train(ready, base, Dropping("both", 0.0)))
    trained = counted(_train(ready, base, both))
    divided = counted(_train(ready, base, rescaled))
    variants: list[tuple[str, str, Factors, Dropping, Inference]] = [
        ("dropout when", "training and ensemble", trained, both, "ensemble"),
        ("dropout when", "training alone", trained, both, "expected weight"),
        ("dropout when", "ensemble alone", plain, both, "ensemble"),
        ("dropout when", "never", plain, both, "no masks"),
        ("dropped where", "both", trained, both, "expected weight"),
        ("inference", "no masks", trained, both, "no masks"),
        ("inference", "expected weight", trained, both, "expected weight"),
        ("inference", "ensemble", trained, both, "ensemble"),
        ("inference", "rescaled, no masks", divided, rescaled, "no masks"),
        ("inference", "rescaled, ensemble", divided, rescaled, "ensemble"),
    ]
    for place in _other_places(ready):
        dropping = replace(both, place=place)
        factors = counted(_train(ready, base, dropping))
        variants.append(("dropped where", place, factors, dropping, "expected weight"))
    records = [
        {"part": part, "variant": variant} | _measure(ready, cell, factors, dropping, inference)
        for part, variant, factors, dropping, inference in variants
    ]
    table = pd.DataFrame(records).sort_values(
        "part", key=lambda part: part.map(list(PARTS).index), kind="stable"
    )
    table = table.assign(
        **ready.columns,
        p=base.p,
        ensemble=cell.ensemble,
        score_name=ready.network.loss.score_name,
    )
    return {TableKind.ROWS: table}


def _other_places(ready: Prepared) -> Iterator[Place]:
    for place in PLACES[1:]:
        if place != "inputs" or isinstance(ready.network, FeedForward):
            yield place


def _train(ready: Prepared, base: Cell, dropping: Dropping) -> Factors:
    """Train S and all S^i, by the fast path where it covers the masks."""
    if dropping.place == "both":
        objective = Dropout(dropping.p, dropping.rescale)
        return retrain(
            ready.network, ready.train, ready.weights, ready.start, ready.training, objective
        )
    setup = Setup(ready.network, ready.train, ready.weights, ready.training, dropping)
    _, factor_seed, _ = base.seeds()
    return train(setup, LoRA(ready.network), torch.Generator().manual_seed(factor_seed))


def _measure(
    ready: Prepared, cell: AblationCell, factors: Factors, dropping: Dropping, inference: Inference
) -> dict[str, float]:
    on_train, on_test = (
        _infer(ready, cell, held, dropping, inference, inputs)
        for held, inputs in ((factors, ready.train), (replica(factors, 0), ready.test))
    )
    return measure_outputs(ready.network.loss, on_train, ready.train, on_test, ready.test)


def _infer(
    ready: Prepared,
    cell: AblationCell,
    factors: Factors,
    dropping: Dropping,
    inference: Inference,
    inputs: Inputs,
) -> Tensor:
    network = ready.network
    if inference != "ensemble":
        update_scale = dropping.expected_mask if inference == "expected weight" else 1.0
        return network.replica_outputs(factors, inputs, update_scale=update_scale)
    *_, mask_seed = cell.base.seeds()
    total: Tensor | float = 0.0
    for member in range(cell.ensemble):
        drawn = dropping.draw(
            network, len(inputs), step=ENSEMBLE_STEP, sample=member, seed=mask_seed
        )
        total = total + masked_outputs(network, factors, inputs, drawn)
    assert isinstance(total, Tensor)
    return total / cell.ensemble


PROBE = Probe(
    "ablation",
    AblationSettings,
    cells=AblationSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: AblationResult.of(tables),
)
measure = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
