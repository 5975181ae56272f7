"""What does the test-time ensemble buy, and how many members does it take?

python -m probes.ensemble
python -m probes.ensemble --p 0.1 0.3 0.5 --sizes 1 2 4 8 16 32 64 --draws 16
python -m probes.ensemble --p 0 0.3 --draws 8 --rivals 16

>>> measure(task="ridge", p=0.5, sizes=[1, 2], n=8, draws=2, steps=20).summary.shape[0]
3
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import CellJob, objective_of
from probes.cells.ensemble_rivals import (
    MANY_HALVES,
    MASKS,
    MASKS_OUTPUTS,
    SINGLE,
    compared_replica_steps,
    measure_rivals,
)
from probes.cells.prepare import prepare
from probes.cli.measures import MeasureEnsemble
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.amounts import how_many
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.metrics.class_probabilities import has_classes
from probes.metrics.confidence_intervals import means
from probes.metrics.inference_names import inference_label
from probes.metrics.multiple_comparisons import LEVEL
from probes.metrics.paired_differences import less, paired_differences
from probes.models.losses import Loss
from probes.results.answer_words import (
    ends_in_words,
    intervals_in_words,
    too_few_draws,
)
from probes.results.result import Result
from probes.results.text_tables import (
    MARKED,
    TextTable,
    averages,
    decimals,
    rates,
    with_interval,
)
from probes.tasks import load_task
from probes.training.ensemble_members import member_outputs
from probes.training.example_weights import full_sample
from probes.training.retrain import retrain
from theory import ensemble_cross_entropy

if TYPE_CHECKING:
    from figures.style import Drawing


#: Fewest networks on halves. With 32 independent ones in each of two parts, some example is in all
#: of a part with a probability below n / 2^31.
FEWEST_BAGS = 64
#: Most networks of an ensemble; more are a typing error.
MOST = 100_000


@dataclass(frozen=True)
class EnsembleSettings(StudySettings):
    """Measure the averaged output of N sampled networks on test data, against N."""

    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Sizes N of the ensembles."""

    draws: int = 16
    """Number of independent training sets S; intervals are over these."""

    rescale: bool = False
    """Divide what survives by 1-p. The paper never does."""

    rivals: int = 0
    """Also compare the mask ensemble with ensembles of that many networks, from other starts and on
    random halves of S; at least 2. This takes some 10 seconds for each draw and rate. Default: 0,
    no comparison."""

    bags: int = 1000
    """With rivals: number of networks on random halves of S, whose average has a proved stability.
    At least 64."""

    def cells(self) -> "list[EnsembleCell]":
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.sizes) > 0, "sizes", "at least one value", "none")
        for size in self.sizes:
            check_count("sizes", size)
        bases = self.base_cells(ensemble=self.sizes, rescale=self.rescale)
        # Of one member an ensemble of starts is the one network, and both of masks are the same.
        fine = self.rivals == 0 or 2 <= self.rivals <= MOST
        require(fine, "rivals", f"0 or from 2 to {MOST}", self.rivals)
        allowed = f"from {FEWEST_BAGS} to {MOST}"
        require(FEWEST_BAGS <= self.bags <= MOST, "bags", allowed, self.bags)
        if self.rivals:
            classes = has_classes(load_task(self.task, bases[0].text).loss)
            require(classes, "rivals", f"left out for {self.task}, a regression", self.rivals)
        return [EnsembleCell(base, self.rivals, self.bags * (self.rivals > 0)) for base in bases]


#: What is averaged over draws of the rivals.
RIVAL_QUANTITIES = (
    "test_loss", "test_score", "train_loss", "change", "change_largest", "change_all", "beta",
    "bound", "bound_drawn",
)  # fmt: skip
RIVALS_NOTE = (
    "members' probabilities are averaged, but for 'outputs averaged' (before the softmax); halves: "
    "networks on random halves of S; many halves: S^i has those without example i, for the others "
    "a lost example is replaced; change: root mean square change of the probability of a test "
    "label when an example of S is left out; bound: of it, for all halves, whatever the network "
    f"does (Soloff et al. 2024); trained: networks that are trained; {MARKED}"
)


@dataclass(frozen=True)
class EnsembleCell(CellJob):
    """One draw of S at one rate.

    Attributes:
        base: the cell; its network is trained on S alone.
        rivals: members of the ensembles that are compared; 0 for no comparison, in which examples
            are left out.
        bags: networks of the large ensemble of halves; 0 for no comparison.
    """

    rivals: int = 0
    bags: int = 0

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        steps = self.base.steps
        if self.rivals:
            steps += compared_replica_steps(self.base, self.rivals, self.bags)
        return steps


class EnsembleResult(Result):
    """One row a rate, draw and size (0 for the expected weight): see :func:`measure_cell`."""

    name = "ensemble"
    question = "Test risk of the averaged output (before the softmax)"
    note = (
        "means over draws, 95 % intervals (Student); members: average loss of the N members, "
        "the bound of Theorem 4.5; 1/N law: to second order; last column: paired over draws; "
        f"{MARKED}"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate and size: means over draws with 95 % Student intervals.

        ``test_loss`` and ``test_score`` of the averaged output, ``members`` (average loss of its
        members, the bound of Theorem 4.5), ``predicted`` (the 1/N law to second order), and
        ``against_expected``, the test loss less that of the expected-weight network, paired.
        """
        expected = self.rows[self.rows["ensemble"] == 0].set_index(["p", "draw"])["test_loss"]
        paired = self.rows.join(expected.rename("expected"), on=["p", "draw"])
        paired["against_expected"] = less(paired["test_loss"], paired["expected"])
        quantities = ("test_loss", "test_score", "members", "predicted")
        return means(paired, ["p", "ensemble"], quantities, ["against_expected"])

    @cached_property
    def rivals(self) -> pd.DataFrame:
        """One row a rate and predictor: means over draws with 95 % Student intervals.

        What ``probes.cells.ensemble_rivals.measure_rivals`` says, and, but for the mask ensemble,
        ``change_less``, ``beta_less`` and ``loss_less``: change, beta and test loss less those of
        the mask ensemble (of averaged probabilities), paired over draws, with ``..._holm``. Empty
        without ``rivals``.
        """
        if TableKind.RIVALS not in self.more:
            return pd.DataFrame()
        rows = self.more[TableKind.RIVALS]
        compared = {"change": "change_less", "beta": "beta_less", "test_loss": "loss_less"}
        copied = rows.assign(**{new: rows[old] for old, new in compared.items()})
        differences = paired_differences(
            copied, copied["predictor"] == MASKS, list(compared.values()),
            keys=["p", "predictor"], within=["p"],
        )  # fmt: skip
        table = means(rows, ["p", "predictor", "members", "networks"], RIVAL_QUANTITIES)
        return table.merge(differences.drop(columns="draws"), on=["p", "predictor"], how="left")

    def text_tables(self) -> list[TextTable]:
        """The sizes, and where they were measured the rivals."""
        tables = super().text_tables()
        if TableKind.RIVALS in self.more:
            title = f"The mask ensemble and its rivals\n{self.setting}"
            tables.append(TextTable(self.rivals_text(), title, RIVALS_NOTE, width=190))
        return tables

    @property
    def finding(self) -> str:
        """What the largest ensemble changes, at the rates where that is least and most."""
        most = self.summary[self.summary["ensemble"] == self.summary["ensemble"].max()]
        # Without masks every ensemble is the one network.
        masked = most[most["p"] > 0]
        most = most if masked.empty else masked
        said = ends_in_words(most, "against_expected", lambda row: f"p = {row['p']:g}")
        return (
            f"The test loss of an ensemble of N = {most['ensemble'].iloc[0]} less the expected "
            f"weight's is {said or 'not known'}."
        )

    @property
    def conclusion(self) -> str:
        """Whether the large ensemble of halves kept its bound; nothing without ``rivals``."""
        if TableKind.RIVALS not in self.more:
            return ""
        rows = self.more[TableKind.RIVALS]
        bagged = rows[rows["predictor"] == MANY_HALVES].dropna(subset=["change_largest"])
        kept = int((bagged["change_largest"] <= bagged["bound_drawn"]).sum())
        return (
            f"Subbagging: the bound for the bags drawn holds at every test example in {kept} of "
            f"{len(bagged)} draws and rates (it has no probability: it must)."
        )

    def rivals_text(self) -> pd.DataFrame:
        """The rivals as they are printed."""
        rivals = self.rivals
        masks = rivals["predictor"] == MASKS
        return pd.DataFrame(
            {
                "p": rates(rivals["p"]),
                "variant": [
                    name if members == 1 else f"{name}, N = {members}"
                    for name, members in zip(rivals["predictor"], rivals["members"], strict=True)
                ],
                "trained": rivals["networks"].astype(str),
                "test loss": with_interval(rivals, "test_loss"),
                "accuracy": averages(rivals, "test_score", 3),
                "change": with_interval(rivals, "change"),
                "bound": pd.Series(decimals(rivals["bound"])).where(rivals["bound"].notna(), ""),
                "β": with_interval(rivals, "beta"),
            }
            | {
                f"{said} less masks": pd.Series(with_interval(rivals, name)).where(~masks, "")
                for said, name in (
                    ("change", "change_less"), ("β", "beta_less"), ("loss", "loss_less")
                )
            }
        )  # fmt: skip

    @property
    def rivals_answer(self) -> str:
        """In how many comparisons other ensembles differ from the mask ensemble."""
        return _counted(self.other_predictors)

    @property
    def other_predictors(self) -> pd.DataFrame:
        """The rivals that are not the mask ensemble: at p = 0, without masks, two more of them are.

        Rows of :attr:`rivals`.
        """
        rivals = self.rivals
        masks = rivals["predictor"] == MASKS
        without = rivals["predictor"].isin([SINGLE, MASKS_OUTPUTS]) & (rivals["p"] == 0)
        return rivals[~(masks | without)]

    def figures(self) -> "dict[str, Drawing]":
        """The figure of the sizes, and where they were measured that of the rivals."""
        drawn = super().figures()
        if TableKind.RIVALS in self.more:
            from figures.ensemble import draw_rivals

            caption = (
                f"{self.setting}; probabilities averaged; {intervals_in_words(self.draw_count)}"
            )
            figure = draw_rivals(self.rivals, caption)
            drawn[TableKind.RIVALS.value] = figure.titled(self.rivals_answer)
        return drawn

    def plot(self) -> "Drawing":
        """Draw test loss and score against N."""
        from figures.ensemble import draw

        caption = (
            f"{self.setting}, objective dropout; outputs averaged before the softmax; "
            f"{intervals_in_words(self.draw_count)}"
        )
        return draw(self.summary, caption, self.rows["score_name"].iloc[0]).titled(self.answer)

    def brief(self) -> pd.DataFrame:
        """One row a rate: test loss by expected weight and by the largest and smallest ensemble."""
        summary = self.summary
        cells = summary.assign(
            loss=with_interval(summary, "test_loss"),
            less=with_interval(summary, "against_expected"),
        )
        sizes = summary["ensemble"]
        most, least = int(sizes.max()), int(sizes[sizes > 0].min())
        # What was not measured at a rate is empty there.
        loss, difference = (
            cells.pivot(index="p", columns="ensemble", values=name)
            .reindex(columns=list({0, least, most})).fillna("")
            for name in ("loss", "less")
        )  # fmt: skip
        shown = {
            "p": rates(list(loss.index)), "expected weight": loss[0], f"N = {most}": loss[most],
            "difference": difference[most], f"N = {least}": loss[least],
        }  # fmt: skip
        return pd.DataFrame(shown).reset_index(drop=True)

    @property
    def said_of_brief(self) -> str:
        """What the columns of the first screen are."""
        most = self.summary["ensemble"].max()
        said = f"test losses; difference: N = {most} less expected weight"
        if TableKind.RIVALS not in self.more:
            return said
        answer = self.rivals_answer.removesuffix(".")
        return f"{said}; rivals: {answer[0].lower()}{answer[1:]}"

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, name = self.summary, self.rows["score_name"].iloc[0]
        blank = summary["ensemble"] == 0
        return pd.DataFrame(
            {
                "p": rates(summary["p"]),
                "inference": summary["ensemble"].map(inference_label),
                "test loss": with_interval(summary, "test_loss"),
                f"test {name}": averages(summary, "test_score", 3),
                "members": pd.Series(averages(summary, "members")).where(~blank, ""),
                "1/N law": pd.Series(averages(summary, "predicted")).where(~blank, ""),
                "less expected weight": pd.Series(with_interval(summary, "against_expected")).where(
                    ~blank, ""
                ),
            }
        )


def _counted(others: pd.DataFrame) -> str:
    """In how many comparisons with the mask ensemble others have less or more of a quantity."""
    known = others[others["loss_less_draws"] > 1]
    few = too_few_draws(len(others) - len(known), "comparison with the mask ensemble",
                        "comparisons with the mask ensemble")  # fmt: skip
    if known.empty:
        return few
    parts = []
    for column, name in (("loss_less", "test loss"), ("beta_less", "β"), ("change_less", "change")):
        told = known[known[f"{column}_holm"] <= LEVEL][column]
        parts.append(f"{name}: {(told < 0).sum()} smaller, {(told > 0).sum()} larger")
    said = (
        f"Of {how_many(len(known), 'comparison')} with the mask ensemble, others differ "
        f"detectably in {'; '.join(parts)}."
    )
    return f"{said} {few}".rstrip()


@torch.no_grad()
def measure_cell(cell: EnsembleCell, progress: Progress) -> Tables:
    """Train on S and evaluate ensembles on the rest of the data set.

    Args:
        cell: one draw of S at one rate.
        progress: told 1 after every step.

    Returns:
        One row a size, with the settings and ``ensemble`` (N; 0 for the expected-weight network),
        ``test_loss``, ``test_score``, ``members`` (mean loss of the N members, NaN for 0) and
        ``predicted`` (limit plus half the spread over N, from all members; exact for squared loss).
        With ``cell.rivals`` also the table of ``measure_rivals``, with the settings.
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
    expected = network.replica_outputs(factors, test, update_scale=base.update_scale)[0]
    records = [(0, expected.double(), float("nan"), float("nan"))]
    diverged = not math.isfinite(limit + spread)
    for size in sizes:
        predicted = math.nan if diverged else float(ensemble_cross_entropy(limit, spread, size))
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
    known = {**ready.columns, "p": base.p}
    tables = {
        TableKind.ROWS: pd.DataFrame(rows).assign(**known, score_name=network.loss.score_name)
    }
    if cell.rivals:
        found = pd.DataFrame(measure_rivals(base, cell.rivals, cell.bags, progress))
        tables[TableKind.RIVALS] = found.assign(**known)
    return tables


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


PROBE = Probe(
    "ensemble",
    EnsembleSettings,
    cells=EnsembleSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: EnsembleResult.of(tables),
    kinds=lambda settings: (
        (TableKind.ROWS, TableKind.RIVALS) if settings.rivals else (TableKind.ROWS,)
    ),
)
measure: MeasureEnsemble[EnsembleResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
