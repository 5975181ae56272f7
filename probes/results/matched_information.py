"""Does LoRA Dropout tighten a bound that says something, beyond fitting less?"""

from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from probes.cells.bounded_loss import ZERO_ONE
from probes.cells.matched_controls import decide, match
from probes.cells.matched_information import COMPARED
from probes.jobs.amounts import how_many
from probes.results.answer_words import (
    MATCHED_VERDICTS,
    differences_in_words,
    draws_in_words,
)
from probes.results.matched_comparison import MatchedComparison
from probes.results.result import pool_as_drawn
from probes.results.text_tables import TextTable, decimals, rates, with_interval

if TYPE_CHECKING:
    from figures.style import Drawing


class MatchedInformationResult(MatchedComparison):
    """Bounds with dropout and of its controls, at equal train loss and at equal train error.

    One row a trained, stopped or shrunk network: see
    :func:`probes.cells.matched_information.measure_matched`.
    """

    name = "matched_information"
    examples_of_each = 2
    question = "Does LoRA Dropout tighten a bound that says something, beyond fitting less?"
    note = (
        "difference: control less dropout, paired over the draws in which the control passed "
        "through what dropout reached, 95 % intervals (Student); * and verdict: at 5 % for all "
        "rows of both tables together (Holm)"
    )

    @property
    def setting(self) -> str:
        """Task, loss, training, selections and draws."""
        first = self.rows.iloc[0]
        sizes = ", ".join(str(n) for n in self.rows["n"].unique())
        return (
            f"{first['task']}, {loss_in_words(first)}, n = {sizes}, "
            f"{how_many(first['steps'], 'step')}, learning rate {first['lr']:g}, "
            f"K = {first['selections']} selections, {draws_in_words(self.draw_count, 'n pairs')}"
        )

    @property
    def matchings(self) -> dict[str, str]:
        """What networks are compared at, by the name of its column."""
        return {"train_loss": "train loss", "train_bounded": self._bounded}

    @property
    def _bounded(self) -> str:
        zero_one = self.rows["loss"].iloc[0] == ZERO_ONE
        return "train error" if zero_one else "clipped train loss"

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a matching, statement, size, rate and control.

        ``at`` says what is equal, ``statement`` what is compared; the rest is as of
        :func:`probes.cells.matched_controls.decide`, with ``reached`` for the value that both have.
        """
        rows, parts = pool_as_drawn(self.rows, self.examples_of_each), []
        for column, at in self.matchings.items():
            matched = match(rows.assign(train_loss=rows[column]), COMPARED)
            parts += [_one_statement(matched, at, name) for name in COMPARED]
        # All at once, as the correction for their number is for all.
        decided = decide(pd.concat(parts, ignore_index=True), "value")
        names = decided["variant"].str.split("|", expand=True).to_numpy().T
        return decided.rename(columns={"train_loss": "reached"}).assign(
            at=names[0], statement=names[1], variant=names[2]
        )

    def text(self, at: str = "train loss") -> pd.DataFrame:
        """The decisions at equal fit as they are printed.

        Args:
            at: what is equal, one of the values of ``matchings``.
        """
        shown = self.summary[self.summary["at"] == at]
        return pd.DataFrame(
            {
                "n": shown["n"].astype(str),
                "p": rates(shown["p"]),
                "statement": shown["statement"],
                "control": shown["variant"],
                "draws": shown["difference_draws"].astype(str),
                at: decimals(shown["reached"]),
                "dropout": decimals(shown["dropout"]),
                "p = 0": decimals(shown["control"]),
                "difference": with_interval(shown.drop(columns="difference_draws"), "difference"),
                "verdict": shown["verdict"].map(MATCHED_VERDICTS),
            }
        )

    def text_tables(self) -> list[TextTable]:
        """One table a matching."""
        return [
            TextTable(
                self.text(words),
                f"{self.question}\n{self.setting}; at equal {words}",
                self.caption,
            )
            for words in self.matchings.values()
        ]

    @property
    def finding(self) -> str:
        """In how many comparisons of a bound at equal fit which side has less."""
        return counted(self.summary)

    @property
    def conclusion(self) -> str:
        """A line a matching and statement: against which controls dropout has less."""
        lines = []
        for (at, statement), rows in self.summary.groupby(["at", "statement"], sort=False):
            said = []
            for verdict, words in MATCHED_VERDICTS.items():
                found = rows[rows["verdict"] == verdict]
                if len(found):
                    cases = [
                        f"{control} (p = {', '.join(f'{p:g}' for p in group['p'].unique())})"
                        for control, group in found.groupby("variant", sort=False)
                    ]
                    said.append(f"{words}: {', '.join(cases)}")
            lines.append(f"At equal {at}, {statement}: {'; '.join(said)}.")
        return "\n".join(lines)

    def plot(self) -> "Drawing":
        """Draw the differences of every statement, at the smallest n."""
        from figures.matched_information import draw

        sizes = sorted(self.rows["n"].unique())
        caption = f"{self.setting}; {differences_in_words(self.draw_count)}"
        if len(sizes) > 1:
            caption += f"; drawn: n = {sizes[0]}"
        shown = self.summary[self.summary["n"] == sizes[0]]
        return draw(shown, caption).titled(counted(shown))

    def tables(self) -> dict[str, pd.DataFrame]:
        """The rows, which may lie in one folder with those without controls."""
        return {self.name: self.rows}


def loss_in_words(row: pd.Series) -> str:
    """Name the loss of a row of results, such as "cross-entropy loss, clipped" or "0-1 loss"."""
    return "0-1 loss" if row["loss"] == ZERO_ONE else f"{row['task_loss']} loss, clipped"


def _one_statement(matched: pd.DataFrame, at: str, name: str) -> pd.DataFrame:
    """One statement's values at equal fit, under a name for all; the variant says which it is."""
    named = {f"{name}_{side}": f"value_{side}" for side in ("dropout", "control", "difference")}
    kept = ["n", "pool", "p", "draw", "train_loss"]
    return (
        matched[[*kept, *named]]
        .rename(columns=named)
        .assign(variant=[f"{at}|{name}|{control}" for control in matched["variant"]])
    )


def counted(summary: pd.DataFrame) -> str:
    """Say in how many comparisons of a bound at equal fit which side has less.

    Args:
        summary: of :class:`MatchedInformationResult`, or part of it; the gap is not counted.
    """
    bounds = summary[summary["statement"] != "gap"]
    counts = bounds["verdict"].map(MATCHED_VERDICTS).value_counts()
    said = ", ".join(f"{words} in {counts.get(words, 0)}" for words in MATCHED_VERDICTS.values())
    return f"Of {how_many(len(bounds), 'comparison')} of a bound at equal fit: {said}."
