"""Which part of the method does it: the masks in training, their place, their kind, the inference?

python -m probes.ablation
python -m probes.ablation --p 0.1 0.3 --ensemble 16 --draws 8
python -m probes.ablation --part "mask kind" --task breast_cancer --lr 0.03 --draws 16

>>> result = measure(task="ridge", p=0.5, n=6, draws=2, steps=10, ensemble=2)
>>> result.summary["part"].unique().tolist()
['dropout when', 'dropped where', 'inference', 'mask kind']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pandas as pd
import torch
from torch import Tensor

from lora_dropout.masks import ENSEMBLE_STEP
from probes.cells.cell import Cell, CellJob
from probes.cells.prepare import Prepared, network_of, prepare
from probes.cli.measures import MeasureAblation
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.amounts import how_many
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, check_one_of, require
from probes.metrics.confidence_intervals import means
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.metrics.multiple_comparisons import LEVEL
from probes.metrics.paired_differences import less
from probes.models.network import Factors, Inputs, replica
from probes.results.answer_words import (
    ends_in_words,
    intervals_in_words,
    too_few_draws,
)
from probes.results.mask_kind_comparison import (
    NOISY,
    difference_table,
    kind_answer,
    kind_conclusion,
    kind_differences,
    kind_name,
    noise_parts,
    parts_table,
)
from probes.results.result import Result
from probes.results.text_tables import MARKED, TextTable, averages, rates, with_interval
from probes.training.autograd_training import LoRA, Setup, train
from probes.training.mask_placements import (
    PLACES,
    WHY_LEFT_OUT,
    Dropping,
    is_left_out,
    masked_outputs,
)
from probes.training.plan import Dropout
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

Inference = Literal["no masks", "expected weight", "ensemble"]
#: What is compared, and with which of its variants the others are paired.
PARTS = {
    "dropout when": "never", "dropped where": "both", "inference": "expected weight",
    "mask kind": kind_name("bernoulli", 1),
}  # fmt: skip
QUANTITIES = (
    "train_loss", "test_loss", "test_score", "gap", "beta", "beta_median", "beta_top_tenth",
)  # fmt: skip


@dataclass(frozen=True)
class AblationSettings(StudySettings):
    """Compare LoRA Dropout with parts of it and with masks at other places and of other kinds."""

    p: tuple[float, ...] = (0.3,)
    """Dropout rates in (0, 1)."""

    ensemble: int = 16
    """Size N of the test-time ensembles."""

    part: tuple[str, ...] = tuple(PARTS)
    """What to compare: dropout when, dropped where, inference, mask kind."""

    samples: int = 8
    """The kinds of masks are compared at N = 1 and at this N, mask pairs a step; at least 2."""

    margin: float = 0.25
    """Two kinds of masks count as equal if they differ by less than this share of what dropout
    changes, in (0, 1). Choose it before you look at results. Default: a quarter."""

    def cells(self) -> "list[AblationCell]":
        """Check every value and return the cells of the grid."""
        for p in self.p:
            require(0 < p < 1, "p", "in (0, 1)", p)
        check_count("ensemble", self.ensemble)
        require(len(self.part) > 0, "part", "at least one", "none")
        for part in self.part:
            check_one_of("part", part, tuple(PARTS))
        check_count("samples", self.samples, least=2)
        require(0 < self.margin < 1, "margin", "in (0, 1)", self.margin)
        parts = tuple(part for part in PARTS if part in self.part)
        return [
            AblationCell(base, self.ensemble, self.samples, parts) for base in self.base_cells()
        ]


@dataclass(frozen=True)
class Variant:
    """A network of the ablation, and how it infers.

    Attributes:
        part: of the ablation.
        name: of the variant, unique in its part.
        dropping: where masks fall, and of which kind they are, in training and in ensembles.
        inference: how it infers.
        samples: N, mask pairs a step in training.
        trained_plain: whether it is trained without masks.
    """

    part: str
    name: str
    dropping: Dropping
    inference: Inference
    samples: int = 1
    trained_plain: bool = False

    @property
    def training(self) -> tuple[Dropping, int]:
        """Masks and N of the training: variants that agree in it share a network."""
        plain = Dropping("both", 0.0)
        return (plain if self.trained_plain else self.dropping, self.samples)

    @property
    def kind(self) -> str:
        """Kind of the masks in training, "none" without any."""
        return "none" if self.trained_plain else self.dropping.kind


@dataclass(frozen=True)
class AblationCell(CellJob):
    """All variants at one rate on one draw of S, every network with its leave-one-out replicas."""

    ensemble: int
    samples: int
    parts: tuple[str, ...]

    @property
    def variants(self) -> list[Variant]:
        """What is compared, in order.

        The parts and their variants are

        - "dropout when": "training and ensemble", "training alone", "ensemble alone", "never", the
          paper's four (its Figure 4);
        - "dropped where": the places of ``probes.training.mask_placements``, by expected weight;
        - "inference": "no masks", "expected weight" and "ensemble" after training as the paper
          does, and "rescaled, ..." after training with survivors divided by 1 - p;
        - "mask kind": the kinds of ``lora_dropout.masks`` with N = 1 and ``samples`` mask pairs a
          step, by expected weight, and the network without masks.

        Places of which :func:`probes.training.mask_placements.is_left_out` says so are left out.
        """
        both, network = Dropping("both", self.base.p), network_of(self.base)
        every = [*_when_and_where(both), *_inferences(both), *_kinds(both, self.samples)]
        apart = [one for one in every if not is_left_out(network, one.dropping.place)]
        return [variant for part in self.parts for variant in apart if variant.part == part]

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        trainings = {variant.training for variant in self.variants}
        passes = sum(samples for _, samples in trainings)
        return (self.base.n + 1) * self.base.steps * passes


def _when_and_where(both: Dropping) -> list[Variant]:
    when, where = "dropout when", "dropped where"
    return [
        Variant(when, "training and ensemble", both, "ensemble"),
        Variant(when, "training alone", both, "expected weight"),
        Variant(when, "ensemble alone", both, "ensemble", trained_plain=True),
        Variant(when, "never", both, "no masks", trained_plain=True),
        *(Variant(where, place, replace(both, place=place), "expected weight") for place in PLACES),
    ]


def _inferences(both: Dropping) -> list[Variant]:
    part, rescaled = "inference", replace(both, rescale=True)
    names: tuple[Inference, ...] = ("no masks", "expected weight", "ensemble")
    return [
        *(Variant(part, name, both, name) for name in names),
        Variant(part, "rescaled, no masks", rescaled, "no masks"),
        Variant(part, "rescaled, ensemble", rescaled, "ensemble"),
    ]


def _kinds(both: Dropping, samples: int) -> list[Variant]:
    part = "mask kind"
    return [
        Variant(part, kind_name("none", 1), both, "no masks", trained_plain=True),
        Variant(part, kind_name("mean", 1), replace(both, kind="mean"), "expected weight"),
        *(
            Variant(
                part, kind_name(kind, N), replace(both, kind=kind), "expected weight", samples=N
            )
            for N in (1, samples)
            for kind in NOISY
        ),
    ]


@dataclass(frozen=True, repr=False, eq=False)
class AblationResult(Result):
    """One row a part, variant, rate and draw: see :func:`measure_cell`.

    Attributes:
        margin: of equivalence of the kinds of masks, a share of what dropout changes.
    """

    margin: float = field(default=AblationSettings.margin, kw_only=True)

    name = "ablation"
    question = "What LoRA Dropout's parts do"

    @property
    def note(self) -> str:
        """What differences are, what the variants have in common, and which are left out."""
        measured = set(self.rows.loc[self.rows["part"] == "dropped where", "variant"])
        left_out = {place: why for place, why in WHY_LEFT_OUT.items() if place not in measured}
        why = ", ".join(f"{place} ({said})" for place, said in left_out.items() if measured)
        return (
            "means over draws, 95 % intervals (Student); difference: test loss less that of the "
            f"part's reference, paired over draws; {MARKED}; every place drops an entry of the "
            "update, or of its input, with probability 2p - p², and infers by expected weight; "
            "every kind of masks has the mean 1 - p and infers by expected weight"
            + (f"; not measured: {why}" if why else "")
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a part, variant and rate: means of what was measured; ``difference`` as noted.

        The kinds of masks are a question of their own: their differences are corrected for their
        own number, and those of the other parts for theirs.
        """
        rows = self.rows.copy()
        references = rows[rows["variant"] == rows["part"].map(PARTS)]
        keys = ["part", "p", "draw"]
        reference = references.set_index(keys)["test_loss"].rename("reference")
        rows = rows.join(reference, on=keys)
        rows["difference"] = less(rows["test_loss"], rows["reference"])
        questions = [group for _, group in rows.groupby(rows["part"] == "mask kind")]
        tables = [
            means(group, ["part", "variant", "p"], QUANTITIES, ["difference"])
            for group in questions
        ]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def kinds(self) -> pd.DataFrame:
        """Rows of the part "mask kind"; none where it was not measured."""
        return self.rows[self.rows["part"] == "mask kind"]

    @cached_property
    def kind_differences(self) -> pd.DataFrame:
        """Kinds of masks against Bernoulli masks, with tests of equivalence."""
        return kind_differences(self.kinds, self.margin)

    @cached_property
    def noise_parts(self) -> pd.DataFrame:
        """What the noise of the masks does, by the objective and by the gradient."""
        return noise_parts(self.kinds)

    @property
    def finding(self) -> str:
        """How many variants change the test loss detectably, and by how much at most."""
        others = self.summary[self.summary["variant"] != self.summary["part"].map(PARTS)]
        compared = others[others["difference_draws"] > 1]
        told = compared[compared["difference_holm"] <= LEVEL]
        ends = ends_in_words(
            told, "difference",
            lambda row: f"{row['part']}: {row['variant']}, p = {row['p']:g}",
        )  # fmt: skip
        changes = f", by {ends}" if ends else ""
        variants = how_many(len(compared), "variant changes", "variants change")
        counted = f"{len(told)} of {variants} the test loss detectably{changes}."
        few = too_few_draws(len(others) - len(compared), "variant")
        kinds = kind_answer(self.kind_differences, self.margin) if len(self.kinds) else ""
        said = " ".join(filter(None, [counted if len(compared) else "", few, kinds]))
        return said or "Nothing was compared."

    def brief(self) -> pd.DataFrame:
        """Of each part and rate the variants with the lowest and the highest test loss."""
        losses = self.summary.groupby(["part", "p"], sort=False)["test_loss"]
        ends = [
            row
            for _, group in losses
            if (known := group.dropna().sort_values(kind="stable")).size
            for row in dict.fromkeys((known.index[0], known.index[-1]))
        ]
        text = self.text()
        return text.loc[ends or text.index, ["part", "variant", "p", "difference", "test loss"]]

    @property
    def said_of_brief(self) -> str:
        """Which variants the first screen has, and what they are compared with."""
        compared = ", ".join(f"“{PARTS[part]}”" for part in dict.fromkeys(self.summary["part"]))
        return (
            "of each part the variants with the lowest and the highest test loss; difference: test "
            f"loss less that of {compared}"
        )

    @property
    def conclusion(self) -> str:
        """Whether it matters that entries are exactly zero."""
        return kind_conclusion(self.kind_differences, self.margin) if len(self.kinds) else ""

    def text_tables(self) -> list[TextTable]:
        """The variants; then what the kinds of masks change, and how."""
        tables = super().text_tables()
        if len(self.kinds):
            samples = int(self.kinds["samples"].max())
            tables.append(difference_table(self.kind_differences, self.margin))
            tables.append(parts_table(self.noise_parts, samples))
        return tables

    def plot(self) -> "Drawing":
        """Draw test loss and stability of every variant."""
        from figures.ablation import draw

        rates = self.summary["p"].unique()
        rate = f", p = {rates[0]:g}" if len(rates) == 1 else ""
        caption = (
            f"{self.setting}{rate}, objective dropout; ensembles of "
            f"N = {self.rows['ensemble'].iloc[0]}; {intervals_in_words(self.draw_count)}"
        )
        return draw(self.summary, caption).titled(self.answer)

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        reference = summary["variant"] == summary["part"].map(PARTS)
        return pd.DataFrame(
            {
                "part": summary["part"],
                "variant": summary["variant"],
                "p": rates(summary["p"]),
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

    Args:
        cell: one draw of S at one rate.
        progress: told the replica steps of a network when it is trained.

    Returns:
        One row a variant of ``AblationCell.variants``: the settings, ``p``, ``ensemble`` (N),
        ``part``, ``variant``, ``kind`` and ``samples`` (N of the training), and what
        ``probes.metrics.metrics_of_outputs`` measures.
    """
    ready = prepare(cell.base)
    variants = cell.variants
    records: dict[Variant, dict[str, float]] = {}
    for training in dict.fromkeys(variant.training for variant in variants):
        factors = _train(ready, cell.base, *training)
        progress((cell.base.n + 1) * cell.base.steps * training[1])
        for variant in variants:
            if variant.training == training:
                records[variant] = _measure(ready, cell, factors, variant)
    table = pd.DataFrame(
        {
            "part": variant.part, "variant": variant.name, "kind": variant.kind,
            "samples": variant.samples, **records[variant],
        }
        for variant in variants
    )  # fmt: skip
    table = table.assign(
        **ready.columns,
        p=cell.base.p,
        ensemble=cell.ensemble,
        score_name=ready.network.loss.score_name,
    )
    return {TableKind.ROWS: table}


def _train(ready: Prepared, base: Cell, dropping: Dropping, samples: int = 1) -> Factors:
    """Train S and all S^i, by the fast path where it covers the masks."""
    training = replace(ready.training, samples=samples)
    if dropping.place == "both":
        objective = Dropout(dropping.p, dropping.rescale, dropping.kind)
        return retrain(ready.network, ready.train, ready.weights, ready.start, training, objective)
    setup = Setup(ready.network, ready.train, ready.weights, training, dropping)
    _, factor_seed, _ = base.seeds()
    return train(setup, LoRA(ready.network), torch.Generator().manual_seed(factor_seed))


def _measure(
    ready: Prepared, cell: AblationCell, factors: Factors, variant: Variant
) -> dict[str, float]:
    on_train, on_test = (
        _infer(ready, cell, held, variant, inputs)
        for held, inputs in ((factors, ready.train), (replica(factors, 0), ready.test))
    )
    return measure_outputs(ready.network.loss, on_train, ready.train, on_test, ready.test)


def _infer(
    ready: Prepared,
    cell: AblationCell,
    factors: Factors,
    variant: Variant,
    inputs: Inputs,
) -> Tensor:
    network, dropping, inference = ready.network, variant.dropping, variant.inference
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
    result=lambda settings, tables: AblationResult.of(tables, margin=settings.margin),
)
measure: MeasureAblation[AblationResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
