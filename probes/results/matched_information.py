"""Does LoRA Dropout tighten a bound that says something, beyond fitting less?"""

from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from probes.cells.bounded_loss import ZERO_ONE
from probes.cells.matched_controls import decide, match
from probes.cells.matched_information import COMPARED
from probes.results.json_records import as_json
from probes.results.result import Result
from probes.results.text_tables import TextTable, decimals, rates, with_interval

if TYPE_CHECKING:
    from figures.style import Drawing

#: What verdicts are called where they are printed.
VERDICTS = {
    "dropout": "dropout has less", "control": "control has less", "undecided": "not told apart",
    "not reached": "not reached",
}  # fmt: skip


class MatchedInformationResult(Result):
    """Bounds with dropout and of its controls, at equal train loss and at equal train error.

    One row a trained, stopped or shrunk network: see
    :func:`probes.cells.matched_information.measure_matched`.
    """

    name = "matched_information"
    question = "Does LoRA Dropout tighten a bound that says something, beyond fitting less?"
    note = (
        "difference: control less dropout, paired over the draws in which the control passed "
        "through what dropout reached, 95 % intervals (Student); * and verdict: at 5 % for all "
        "rows of one statement together (Holm)"
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
        # The table is made to be a table of draws of 2n examples, as draws share these.
        rows = self.rows.assign(pool=self.rows["pool"] / 2)
        parts = []
        for column, words in self.matchings.items():
            matched = match(rows.assign(train_loss=rows[column]), COMPARED)
            for name in COMPARED:
                decided = decide(matched, name).rename(columns={"train_loss": "reached"})
                parts.append(decided.assign(at=words, statement=name))
        return pd.concat(parts, ignore_index=True)

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
                "verdict": shown["verdict"].map(VERDICTS),
            }
        )

    def text_tables(self) -> list[TextTable]:
        """One table a matching."""
        return [
            TextTable(
                self.text(words), f"{self.question}\n{self.setting}; at equal {words}", self.note
            )
            for words in self.matchings.values()
        ]

    @property
    def conclusion(self) -> str:
        """A line a matching and statement: against which controls dropout has less."""
        lines = []
        for (at, statement), rows in self.summary.groupby(["at", "statement"], sort=False):
            said = []
            for verdict, words in VERDICTS.items():
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
        """Draw the differences of every statement."""
        from figures.matched_information import draw

        return draw(self.summary, f"{self.setting}; 95 % intervals over draws")

    def tables(self) -> dict[str, pd.DataFrame]:
        """The rows, which may lie in one folder with those without controls."""
        return {self.name: self.rows}

    def to_json(self) -> str:
        """Return the decisions as a JSON document."""
        return as_json(self.summary)
