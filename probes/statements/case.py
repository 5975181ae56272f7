"""A case: one statement tried in one setting, and what came of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from probes.jobs.validation import require

HOLDS, VACUOUS = "holds", "vacuous"
VIOLATED, AS_PRINTED = "violated", "violated as printed"
NEEDED, FAILED = "fails without its premise", "does not apply"
#: From the worst on: a row of the table shows the worst that occurred.
VERDICTS = (VIOLATED, AS_PRINTED, NEEDED, FAILED, HOLDS, VACUOUS)
#: Relative error of an inequality's two sides that counts as rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Case:
    """One statement tried in one setting.

    Attributes:
        statement: "Proposition 4.2", ...
        reading: which reading, form or part of it.
        setting: where, in words.
        measured: the measured side.
        bound: the side of the statement.
        equal: whether the sides should be equal, not just measured <= bound.
        tolerance: absolute, what is granted to rounding, to the stopped optimizer or to sampling;
            ``assumptions`` says which.
        ceiling: C that is proved, the largest loss on the ball that holds all minimisers; infinite
            where there is no such number.
        chance: C that a user would name, the loss of a model that knows nothing (log 2 for a
            coin); infinite where there is no such number. A bound at or above either says nothing.
        provable: whether we claim that the statement is true here.
        assumptions: what was checked.
        failed: which premise of the statement is not met, empty if all are. Such a case does not
            count against the statement; where the inequality fails, the premise is needed.
        reach: how far the second-order expansion is accurate, in multiples of the distance of
            theta(S^i) (``theory.closeness``); NaN where closeness is no premise.
        p_value: of the test that a statement about the draw of S is true; NaN elsewhere.
        level: below which p-value the statement is violated.
        command: flags of ``probes.verify`` that try this case again.
    """

    statement: str
    reading: str
    setting: str
    measured: float
    bound: float
    equal: bool = False
    tolerance: float = 0.0
    ceiling: float = float("inf")
    chance: float = float("inf")
    provable: bool = True
    assumptions: str = ""
    failed: str = ""
    reach: float = float("nan")
    p_value: float = float("nan")
    level: float = 0.0
    command: str = ""

    def __post_init__(self) -> None:
        """Refuse a side that is no number: a table would hold it, and no verdict be found.

        Raises:
            ValueError: ``measured`` or ``bound`` has a shape.
        """
        for side in ("measured", "bound"):
            shape = np.shape(getattr(self, side))
            require(shape == (), f"{side} of {self.statement!r}", "one number", f"shape {shape}")

    @property
    def verdict(self) -> str:
        """One of ``VERDICTS``."""
        if self.failed:
            unknown = np.isnan(self.measured) or np.isnan(self.bound)
            return FAILED if unknown or self._is_true() else NEEDED
        if not self._is_true():
            return VIOLATED if self.provable else AS_PRINTED
        return VACUOUS if self.bound >= min(self.ceiling, self.chance) else HOLDS

    @property
    def ratio(self) -> float:
        """Tightness: the statement's side over the measured one."""
        if self.measured == 0:
            return 1.0 if self.bound == 0 else float("inf")
        return self.bound / self.measured

    def _is_true(self) -> bool:
        if np.isnan(self.measured) or np.isnan(self.bound):
            return False
        if not np.isnan(self.p_value):
            return self.p_value >= self.level
        slack = self.tolerance + ROUNDING * abs(self.bound)
        if self.equal:
            return abs(self.measured - self.bound) <= slack
        return self.measured <= self.bound + (0 if np.isinf(self.bound) else slack)


def case_table(cases: Iterable[Case]) -> pd.DataFrame:
    """One row a case, with ``verdict`` and ``ratio``."""
    return pd.DataFrame(
        [asdict(case) | {"verdict": case.verdict, "ratio": case.ratio} for case in cases]
    )


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """One row a statement, reading and setting's first word, its data set.

    Columns: ``cases``, the ``measured`` and ``bound`` sides of the case with the smallest ratio,
    ``ratio_smallest``, ``ratio_median``, ``error`` (largest difference of the sides), ``chance``
    and ``ceiling`` (both C, at that case), ``reach`` (the smallest), ``assumptions``, ``verdict``
    (those that occurred, the worst first, with how often), ``failed``, ``reproduce`` (the flags of
    the worst case).
    """
    keys = ["statement", "reading", "data"]
    named = table.assign(data=table["setting"].str.split(",").str[0])
    return pd.DataFrame(
        [
            dict(zip(keys, key, strict=True)) | _summary_record(group)
            for key, group in named.groupby(keys, sort=False)
        ]
    )


def _summary_record(group: pd.DataFrame) -> dict[str, Any]:
    counts = group["verdict"].value_counts()
    worst_verdict = min(counts.index, key=VERDICTS.index)
    occurred = [verdict for verdict in VERDICTS if verdict in counts]
    shares = ", ".join(f"{verdict} {counts[verdict]}/{len(group)}" for verdict in occurred)
    among = group[group["verdict"] == worst_verdict]
    tight, worst = group.sort_values("ratio").iloc[0], among.sort_values("ratio").iloc[0]
    return {
        "cases": len(group),
        "measured": tight["measured"],
        "bound": tight["bound"],
        "equal": bool(group["equal"].all()),
        "error": (group["measured"] - group["bound"]).abs().max(),
        "ratio_smallest": group["ratio"].min(),
        "ratio_median": group["ratio"].median(),
        "chance": tight["chance"],
        "ceiling": tight["ceiling"],
        "reach": group["reach"].min(),
        "assumptions": group["assumptions"].iloc[0],
        "verdict": worst_verdict if len(occurred) == 1 else shares,
        "failed": worst["failed"],
        "reproduce": worst["command"],
    }
