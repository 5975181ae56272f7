"""The result of a probe: tidy tables that show, save and draw themselves."""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probes.landscape.assumption_audit import audit_table
from probes.metrics.change_statistics import change_statistics
from probes.metrics.confidence_intervals import mean_interval
from probes.results.bounds_table import STRENGTHS, bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What identifies a point of the grid, and what identifies a cell and its inference mode.
POINT = ["n", "p", "inference", "ensemble"]
CELL = [*POINT, "draw"]
#: How estimated effects compare with retrained ones.
AGREEMENT = (
    "pearson", "spearman", "beta_estimated", "beta_retrained", "bias", "beta_corrected",
)  # fmt: skip
#: Estimates are trusted in their order from this rank correlation on, in their size up to this
#: relative bias of beta; nothing is said of fewer checked examples.
TRUSTED_RANKS, TRUSTED_BIAS, FEWEST_CHECKED = 0.8, 0.1, 8
#: Columns of the rows that vary within a cell and inference mode.
PER_EXAMPLE = ["example", "loss_kept", "loss_left_out", "loss_retrained", "diverged"]


@dataclass(frozen=True)
class StabilityResult:
    """Measured stability and gap, beside the bounds.

    Attributes:
        rows: one row a cell, inference mode and left-out example: every setting, ``example``
            (position in the data set), ``loss_kept`` and ``loss_left_out`` (its loss under the
            model trained with and without it), ``diverged`` (whether the latter is not finite), and
            what was measured once a cell.
        delta: failure probability of the bounds.
        matrix: losses of every replica on every example, where they were asked for.
    """

    rows: pd.DataFrame
    delta: float
    matrix: pd.DataFrame | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a cell and inference mode (``ensemble`` is 0 without an ensemble).

        ``beta`` is the mean absolute leave-one-out difference over the replicas that did not
        diverge, ``beta_signed`` the mean difference, ``beta_median``, ``beta_q90`` and
        ``beta_top_tenth`` how it is spread (see ``probes.metrics.change_statistics``),
        ``replicas`` and ``diverged`` their numbers, ``gap`` the test loss less the train loss,
        ``loss_bound_used`` C and ``loss_bound_how`` where it came from. ``lipschitz_how`` and
        ``curvature_how`` say the same of the other quantities of the bound.
        """
        groups = self.rows.groupby(CELL, sort=False, dropna=False)
        return pd.DataFrame([_cell_record(group) for _, group in groups])

    @cached_property
    def bounds(self) -> pd.DataFrame:
        """One row a cell, inference mode, statement and strength: see ``results.bounds_table``."""
        return bounds(self.table, self.strengths, self.delta)

    @property
    def strengths(self) -> tuple[float, ...]:
        """The given lambda, or the family for an algorithm that has none."""
        given = self.rows["strength"].dropna().unique()
        return tuple(float(value) for value in given) if len(given) else STRENGTHS

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a point of the grid: means over draws, 95 % Student intervals.

        ``gap_estimate`` is the mean *signed* leave-one-out difference: an estimate of the gap that
        needs no test set. By the gap identity its expectation is the risk at n - 1 examples less
        the empirical risk at n, so it exceeds the expected gap by what one example more is worth.
        """
        return pd.DataFrame(
            [_summary_record(group) for _, group in self.table.groupby(POINT, sort=False)]
        )

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Which assumptions of the theory the trained networks meet."""
        return audit_table(self.table)

    @cached_property
    def validation(self) -> pd.DataFrame:
        """Estimated effects beside retrained ones, where leaving out was estimated and checked.

        One row a point of the grid, means over draws with 95 % Student intervals: ``checked``
        (examples a draw), ``pearson`` and ``spearman`` (correlation of the signed changes of the
        loss), ``beta_estimated`` and ``beta_retrained`` (over the checked examples), ``bias`` (the
        relative error of the former), ``beta_corrected`` (beta over all of S: the mean estimate
        times the ratio of retrained to estimated over the checked examples, the ratio estimator of
        Cochran, Sampling Techniques, chapter 6), ``verdict``.
        """
        records = [
            dict(zip(CELL, key, strict=True)) | agreement(group)
            for key, group in self.rows.groupby(CELL, sort=False)
            if group["loss_retrained"].notna().any()
        ]
        cells = pd.DataFrame(records, columns=[*CELL, "checked", *AGREEMENT])
        return pd.DataFrame(
            [_validation_record(group) for _, group in cells.groupby(POINT, sort=False)]
        )

    @property
    def diverged(self) -> int:
        """Number of replicas, S and S^i alike, that did not end at a finite loss."""
        cells = self.table[self.table["ensemble"] == 0]
        return int(cells["diverged"].sum() + (~np.isfinite(cells["train_loss"])).sum())

    def plot(self) -> "Figure":
        """Draw measured stability and gap against p, with intervals, and the bounds as lines."""
        # By name, so that measuring never needs the drawing: figures/stability.py draws this table.
        return import_module("figures.stability").draw(self.table, self.strengths, self.delta)

    def plot_gap(self) -> "Figure":
        """Draw the measured gap beside its estimate without a test set."""
        return import_module("figures.gap").draw(self.table)

    def plot_validation(self) -> "Figure":
        """Draw estimated against retrained effects."""
        return import_module("figures.influence").draw(self.rows)

    def to_json(self) -> str:
        """Return summary and bounds as a JSON document; NaN becomes null."""
        content = {
            "diverged": self.diverged,
            "summary": _records(self.summary),
            "bounds": _records(self.bound_summary),
            "audit": _records(self.audit),
            "validation": _records(self.validation),
        }
        return json.dumps(content, indent=2)

    @cached_property
    def bound_summary(self) -> pd.DataFrame:
        """Bounds averaged over draws, with the verdicts that occur and how often."""
        keys = [*POINT, "statement", "strength"]
        records = []
        for key, group in self.bounds.groupby(keys, sort=False, dropna=False):
            counts = group["verdict"].value_counts()
            verdict = (
                counts.index[0]
                if len(counts) == 1
                else ", ".join(f"{name} {count}/{len(group)}" for name, count in counts.items())
            )
            records.append(
                dict(zip(keys, key, strict=True))
                | {
                    "measured": group["measured"].mean(),
                    "bound": group["bound"].mean(),
                    "verdict": verdict,
                }
            )
        return pd.DataFrame(records)

    def _repr_html_(self) -> str:
        note = f"<p>{self._note()}</p>"
        tables = (self.summary, self.audit)
        shown = [table.to_html(index=False, float_format="{:.4g}".format) for table in tables]
        return note.join(shown)

    def __repr__(self) -> str:
        return (
            self.summary.to_string(index=False, float_format="{:.4g}".format) + "\n" + self._note()
        )

    def _note(self) -> str:
        row = self.rows.iloc[0]
        draws = self.rows["draw"].nunique()
        return (
            f"{row['task']}, n = {row['n']}, {draws} draws of S, objective {row['objective']}; "
            f"intervals: 95 %, Student, over draws; {self.diverged} replicas diverged"
        )


def _cell_record(group: pd.DataFrame) -> dict[str, Any]:
    row = group.iloc[0].drop(PER_EXAMPLE).to_dict()
    first = {str(name): value for name, value in row.items()}
    difference = (group["loss_left_out"] - group["loss_kept"])[~group["diverged"]]
    # Nothing was measured where the network trained on S diverged, or all of the others did.
    usable = len(difference) > 0 and bool(np.isfinite(difference).all())
    unknown = dict.fromkeys(("beta", "beta_median", "beta_q90", "beta_top_tenth"), float("nan"))
    given = pd.notna(first["loss_bound"])
    return (
        first
        | (change_statistics(difference) if usable else unknown)
        | {
            "beta_signed": difference.mean() if usable else float("nan"),
            "gap": first["test_loss"] - first["train_loss"],
            "replicas": len(group),
            "diverged": int(group["diverged"].sum()),
            "loss_bound_used": first["loss_bound"] if given else first["largest_loss"],
            "loss_bound_how": "given; losses are clipped" if given else "largest observed loss",
        }
    )


def agreement(group: pd.DataFrame) -> dict[str, float]:
    """Compare the estimates of one cell and inference mode with retraining, where it was done.

    Args:
        group: rows of the cell; ``loss_retrained`` is missing where it was not.

    Returns:
        The columns of :attr:`StabilityResult.validation`, of this cell.
    """
    change = group["loss_left_out"] - group["loss_kept"]
    checked = group["loss_retrained"].notna()
    estimated = change[checked]
    retrained = (group["loss_retrained"] - group["loss_kept"])[checked]
    sizes = estimated.abs().mean(), retrained.abs().mean()
    return {
        "checked": len(estimated),
        "pearson": estimated.corr(retrained),
        # Of the ranks, which is the same and says nothing where one of the two is constant.
        "spearman": estimated.rank().corr(retrained.rank()),
        "beta_estimated": sizes[0],
        "beta_retrained": sizes[1],
        "bias": sizes[0] / sizes[1] - 1,
        "beta_corrected": change.abs().mean() * sizes[1] / sizes[0],
    }


def _validation_record(group: pd.DataFrame) -> dict[str, Any]:
    record: dict[str, Any] = {name: group[name].iloc[0] for name in POINT}
    record |= {"draws": len(group), "checked": int(group["checked"].iloc[0])}
    for name in AGREEMENT:
        mean, low, high = mean_interval(group[name])
        record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return record | {"verdict": _trust(record)}


def _trust(record: dict[str, Any]) -> str:
    """What the estimates may be used for."""
    if record["checked"] < FEWEST_CHECKED:
        return f"not known: fewer than {FEWEST_CHECKED} checked"
    if not record["spearman"] >= TRUSTED_RANKS:
        return "not trustworthy"
    return "order and size" if abs(record["bias"]) <= TRUSTED_BIAS else "order alone"


def _summary_record(group: pd.DataFrame) -> dict[str, Any]:
    beta, beta_low, beta_high = mean_interval(group["beta"])
    gap, gap_low, gap_high = mean_interval(group["gap"])
    estimate, estimate_low, estimate_high = mean_interval(group["beta_signed"])
    return {name: group[name].iloc[0] for name in POINT} | {
        "draws": len(group),
        "beta": beta,
        "beta_low": beta_low,
        "beta_high": beta_high,
        "beta_median": group["beta_median"].mean(),
        "beta_q90": group["beta_q90"].mean(),
        "beta_top_tenth": group["beta_top_tenth"].mean(),
        "train_loss": group["train_loss"].mean(),
        "test_loss": group["test_loss"].mean(),
        "gap": gap,
        "gap_low": gap_low,
        "gap_high": gap_high,
        "gap_estimate": estimate,
        "gap_estimate_low": estimate_low,
        "gap_estimate_high": estimate_high,
        "test_score": group["test_score"].mean(),
        "diverged": int(group["diverged"].sum()),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    # JSON has neither NaN nor infinity: the one becomes null, the other a word.
    return [
        {
            str(key): None
            if isinstance(value, float) and np.isnan(value)
            else "inf"
            if isinstance(value, float) and np.isinf(value)
            else value
            for key, value in record.items()
        }
        for record in table.to_dict("records")
    ]
