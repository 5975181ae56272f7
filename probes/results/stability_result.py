"""Measured stability and gap, beside the bounds: tidy tables that show, save and draw
themselves."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from probes.cells.information_bounds import STRENGTHS
from probes.jobs.amounts import how_many
from probes.jobs.job import TableKind
from probes.metrics.change_statistics import change_statistics
from probes.metrics.confidence_intervals import means
from probes.metrics.inference_names import inference_label, network_name
from probes.metrics.interior_optimum import Optimum, interior_optimum
from probes.metrics.paired_differences import paired_differences
from probes.results.answer_words import (
    draws_in_words,
    ends_in_words,
    intervals_in_words,
    mean_in_words,
)
from probes.results.bounds_table import bound_curves, bounds, over_draws
from probes.results.estimate_agreement import CORRECTED, agreement_over_draws
from probes.results.first_screen import MOST_ROWS
from probes.results.json_records import as_json
from probes.results.premises import audit_table
from probes.results.result import Result, caveats
from probes.results.stability_answer import stability_answer
from probes.results.stability_text import (
    bounds_text,
    ensemble_text,
    estimates_in_words,
    quantities_text,
    summary_text,
    validation_text,
)
from probes.results.text_tables import MARKED, TextTable

if TYPE_CHECKING:
    from figures.style import Drawing

#: What identifies a point of the grid, and what identifies a cell and its inference mode.
POINT = ["n", "p", "inference", "ensemble"]
CELL = [*POINT, "draw"]
#: Columns of the rows that vary within a cell and inference mode.
PER_EXAMPLE = ["example", "loss_kept", "loss_left_out", "loss_retrained", "diverged"]

#: What is averaged over draws of S.
QUANTITIES = (
    "beta", "beta_median", "beta_q90", "beta_top_tenth", "train_loss", "test_loss", "gap",
    "gap_estimate", "test_score",
)  # fmt: skip

#: What an ensemble may change.
ENSEMBLE_QUANTITIES = ("train_loss", "test_loss", "gap", "beta")

INTERVALS = "means over draws, 95 % intervals (Student, over draws)"
HOW_TO_READ = (
    "the gap without test set is the mean signed leave-one-out difference, which estimates the "
    "risk at n - 1; top tenth: share of β that comes from the 10 % most affected examples; where "
    "the train loss is near 0, β equals the leave-one-out loss and adds nothing to the gap"
)
THEOREMS = (
    "a statement is judged only where its premises hold; Proposition 4.2 with the slack that what "
    "is left of the gradients allows; bounds on the gap hold with probability 1 − δ over S: "
    "violated where more draws lie above than that allows (binomial test, 5 % for the table, Holm)"
)
CURVES_ALONE = (
    "bounds at trial values of λ, for comparison: objective dropout has no λ, and no theorem "
    "covers this run"
)


@dataclass(frozen=True, repr=False, eq=False)
class StabilityResult(Result):
    """Measured stability and gap, beside the bounds.

    Attributes:
        rows: one row a cell, inference mode and left-out example: every setting, ``example``
            (position in the data set), ``loss_kept`` and ``loss_left_out`` (its loss under the
            model trained with and without it), ``diverged`` (whether the latter is not finite), and
            what was measured once a cell.
        more: losses of every replica on every example, where they were asked for.
        delta: failure probability of the bounds.
    """

    delta: float = 0.05

    name = "stability"
    question = "Pointwise hypothesis stability β (Definition 4.1) and generalization gap"

    @property
    def matrix(self) -> pd.DataFrame | None:
        """Losses of every replica on every example, where they were asked for."""
        return self.more.get(TableKind.LOSS_MATRIX)

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
        the empirical risk at n. So it is slightly larger than the expected gap: it describes
        training on n - 1 examples.
        """
        table = self.table.rename(columns={"beta_signed": "gap_estimate"})
        diverged = table.groupby(POINT, sort=False, dropna=False)["diverged"].sum()
        return means(table, POINT, QUANTITIES).assign(diverged=diverged.to_numpy())

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Which assumptions of the theory the trained networks meet."""
        return audit_table(self.table)

    @cached_property
    def validation(self) -> pd.DataFrame:
        """Estimated effects beside retrained ones, where leaving out was estimated and checked.

        One row a point of the grid, means over draws with 95 % Student intervals: ``checked`` to
        ``checked_most`` (examples a draw), ``pearson`` and ``spearman`` (correlation of the signed
        changes of the loss), ``beta_estimated`` and ``beta_retrained`` (over the checked examples),
        ``bias`` (the relative error of the former), ``beta_corrected`` (beta over all of S; see
        :func:`probes.results.estimate_agreement.agreement_over_draws`), ``verdict``.
        """
        return pd.DataFrame(
            [
                dict(zip(POINT, point, strict=True)) | agreement_over_draws(group)
                for point, group in self.rows.groupby(POINT, sort=False)
                if group["loss_retrained"].notna().any()
            ]
        )

    @cached_property
    def ensemble_summary(self) -> pd.DataFrame:
        """What each ensemble has less or more than one network, paired over draws.

        One row a size n, rate above 0, N above 1 and ``against``: "one member" (an ensemble of 1,
        where it was measured) or "expected weight"; differences of ``ENSEMBLE_QUANTITIES`` with
        95 % intervals and tests.
        """
        cells = self.table[self.table["p"] > 0]
        parts = []
        for against, size in (("one member", 1), ("expected weight", 0)):
            compared = cells[(cells["ensemble"] > 1) | (cells["ensemble"] == size)]
            if (compared["ensemble"] > 1).any() and (compared["ensemble"] == size).any():
                parts.append(
                    compared.assign(against=against, reference=compared["ensemble"] == size)
                )
        if not parts:
            return pd.DataFrame()
        both = pd.concat(parts, ignore_index=True)
        return paired_differences(
            both, both["reference"], ENSEMBLE_QUANTITIES,
            keys=["n", "p", "ensemble", "against"], within=["n", "p", "against"],
        )  # fmt: skip

    @cached_property
    def optima(self) -> dict[str, Optimum]:
        """At which rate the test loss is least, and its estimate without a test set.

        The latter is train loss plus the mean signed leave-one-out difference.
        """
        cells = self.table[self.table["ensemble"] == 0]
        cells = cells.assign(estimate=cells["train_loss"] + cells["beta_signed"])
        names = {"test_loss": "test loss", "estimate": "train loss + gap without test set"}
        several = cells["n"].nunique() > 1
        return {
            name + (f" at n = {n}" if several else ""): interior_optimum(group, quantity)
            for n, group in cells.groupby("n", sort=False)
            for quantity, name in names.items()
        }

    @property
    def conclusion(self) -> str:
        """Whether a rate between the smallest and the largest is the best."""
        if self.table["p"].nunique() < 3 or self.table["draw"].nunique() < 2:
            return ""
        return "\n".join(f"Over p, {name} is {found}." for name, found in self.optima.items())

    @property
    def diverged(self) -> int:
        """Number of replicas, S and S^i alike, that did not end at a finite loss."""
        cells = self.table[self.table["ensemble"] == 0]
        return int(cells["diverged"].sum() + (~np.isfinite(cells["train_loss"])).sum())

    @cached_property
    def bound_summary(self) -> pd.DataFrame:
        """Bounds over draws, with their verdicts: see ``probes.results.bounds_table``."""
        return over_draws(self.bounds, POINT, self.delta)

    @property
    def note(self) -> str:
        """What the intervals are, and the number of diverged replicas."""
        return (
            f"intervals: 95 %, Student, over draws; {how_many(self.diverged, 'replica')} diverged"
        )

    @property
    def restrictions(self) -> list[str]:
        """Replicas that diverged, and draws that share examples."""
        lost = [f"{how_many(self.diverged, 'replica')} diverged"] if self.diverged else []
        return [*lost, *caveats(self.table)]

    @property
    def setting(self) -> str:
        """Task, n, draws, objective and training, and what of it is unusual."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, n = {first['n']}, {draws_in_words(self.draw_count)}, "
            f"objective {first['objective']}, rank {first['rank']}, "
            f"{how_many(first['steps'], 'step')}, learning rate {first['lr']:g}{_unusual(first)}"
        )

    @property
    def finding(self) -> str:
        """What leaving out an example changes, and what the bound on that is worth."""
        first = self.rows.iloc[0]
        estimated = first["method"] == "influence"
        return stability_answer(self.summary, self.bounds, int(first["n"]), estimated)

    def brief(self) -> pd.DataFrame:
        """Stability, the gap and what they come from."""
        text = self.text()
        rest = ("p", "inference", "median", "top tenth", "gap without test set")
        beta, losses = text.columns[2], ("train loss", "test loss")
        named = [name for name in text.columns if not name.startswith((*rest, "β"))]
        last = [name for name in named if name not in ("gap", *losses)]
        shown = text[["p", "inference", beta, "gap", *losses, *last]]
        shown = shown.replace({"inference": r"^ensemble, N = "}, "ensemble of ", regex=True)
        return shown[self._brief_rows].reset_index(drop=True)

    @property
    def _brief_rows(self) -> "pd.Series[bool]":
        """All rows where they are few; otherwise the expected weight and the largest ensemble."""
        sizes = self.summary["ensemble"]
        return (len(sizes) <= MOST_ROWS) | sizes.isin((0, sizes.max()))

    @property
    def said_of_brief(self) -> str:
        """That ensembles are left out, where they are."""
        return "" if self._brief_rows.all() else "of the ensembles the largest alone"

    def text(self) -> pd.DataFrame:
        """Measured stability and gap as they are printed."""
        first = self.rows.iloc[0]
        estimated = first["method"] == "influence"
        return summary_text(self.summary, first["score_name"], estimated=estimated)

    def text_tables(self) -> list[TextTable]:
        """What is measured, how estimates did, the bounds, and the audit."""
        first = self.table.iloc[0]
        cells = self.table[self.table["ensemble"] == 0]
        left_out = int(cells["diverged"].sum())
        of_s = f", and {self.diverged - left_out} of S" if self.diverged > left_out else ""
        title = f"{self.question}\n{self.setting}, start {first['start']}{self._estimated}"
        diverged = f"{cells['replicas'].sum()} leave-one-out replicas; diverged: {left_out}{of_s}"
        checked = ["corrected in the table of the checks"] if len(self.validation) else []
        said = [INTERVALS, diverged, HOW_TO_READ, *checked, *caveats(self.table)]
        bounds = (
            "Bounds: Proposition 4.2 on β, Lemma 4.3 and Theorem 4.4 on the gap, "
            f"δ = {self.delta:g}; {network_name(first['inference'])}"
        )
        curves = THEOREMS if pd.notna(first["strength"]) else CURVES_ALONE
        quantities = quantities_text(self.table, self.strengths)
        return [
            TextTable(self.text(), title, "; ".join(said)),
            *self._ensemble_tables(),
            *self._validation_tables(),
            TextTable(bounds_text(self.bound_summary), bounds, curves),
            TextTable(quantities, "Quantities of the bounds, mean over all cells"),
            TextTable(self.audit, "Audit of the assumptions, over all cells"),
        ]

    def _ensemble_tables(self) -> list[TextTable]:
        if not len(self.ensemble_summary):
            return []
        title = "What an ensemble has more (or less) than one network, paired over draws"
        return [TextTable(ensemble_text(self.ensemble_summary), title, f"{INTERVALS}; {MARKED}")]

    def _validation_tables(self) -> list[TextTable]:
        if not len(self.validation):
            return []
        title = "Estimated effects of leaving an example out, against retraining without it"
        caption = f"{INTERVALS}; {estimates_in_words(self.rows)}; {CORRECTED}"
        return [TextTable(validation_text(self.validation), title, caption)]

    @property
    def _estimated(self) -> str:
        """Says in the title that effects are estimates, and whether anybody checked them."""
        first = self.rows.iloc[0]
        if first["method"] == "retrain":
            return ""
        checked = "" if first["validate"] else ", NOT CHECKED (see --validate)"
        return f"; leaving out is estimated by {first['effect_how'].split(',')[0]}{checked}"

    def spreadsheets(self) -> dict[str, pd.DataFrame]:
        """One row a cell and inference mode."""
        return {"table": self.table}

    def figures(self) -> "dict[str, Drawing]":
        """Stability and bounds, the gap with and without a test set, and how estimates did."""
        drawn = {"stability": self.plot(), "gap": self.plot_gap()}
        if len(self.validation):
            drawn["influence"] = self.plot_validation()
        return drawn

    def plot(self) -> "Drawing":
        """Draw measured stability and gap against p, with intervals, and the bounds as lines."""
        from figures.stability import draw

        one = self._of_one_size
        keys = ["inference", "ensemble", "p"]
        ordered = one.table.sort_values(["ensemble", "p"], kind="stable")
        points = means(ordered, keys, ["beta", "gap"])
        names = zip(points["ensemble"], points["inference"], strict=True)
        deterministic = one.table[one.table["ensemble"] == 0]
        curves, ceiling = bound_curves(deterministic, self.strengths, self.delta)
        return draw(
            points.assign(
                label=[inference_label(size, network_name(name)) for size, name in names],
                deterministic=points["ensemble"] == 0,
            ),
            curves,
            ceiling,
            self._caption,
            self.delta,
        ).titled(one.answer)

    def plot_gap(self) -> "Drawing":
        """Draw the measured gap beside its estimate without a test set."""
        from figures.gap import draw

        cells = self._of_one_size.table
        cells = cells[cells["ensemble"] == 0]
        cells = cells.rename(columns={"beta_signed": "gap_estimate"}).sort_values("p")
        caption = (
            f"{self._drawn_setting}, {network_name(cells['inference'].iloc[0])}\n"
            "the estimate without a test set describes training on n − 1 examples: it is slightly "
            f"too large; {intervals_in_words(self.draw_count)}"
        )
        both = ["gap", "gap_estimate"]
        points = means(cells, ["p"], both)
        ends = [
            f"p = {row['p']:g}: {' and '.join(mean_in_words(row, name) for name in both)}"
            for row in points.iloc[[0, -1]].drop_duplicates("p").to_dict("records")
        ]
        finding = f"Gap on a test set and its estimate without one, at {'; at '.join(ends)}"
        return draw(points, cells, caption).titled(finding)

    def plot_validation(self) -> "Drawing":
        """Draw estimated against retrained effects."""
        from figures.influence import draw

        rows = self._of_one_size.rows
        checked = rows[(rows["ensemble"] == 0) & rows["loss_retrained"].notna()]
        known = self.validation[self.validation["ensemble"] == 0]
        found = ends_in_words(known, "spearman", lambda row: f"p = {row['p']:g}") or "not known"
        finding = f"Rank correlation of estimated and retrained effects: {found}"
        caption = "change of an example's loss when it is left out; line: equal"
        return draw(checked, caption).titled(finding)

    @property
    def _of_one_size(self) -> Self:
        """The largest n alone: what is drawn against p is of one n."""
        largest = self.rows["n"] == self.rows["n"].max()
        return self if largest.all() else replace(self, rows=self.rows[largest])

    @property
    def _drawn_setting(self) -> str:
        """The setting, with the n that is drawn."""
        setting, sizes = self._of_one_size.setting, sorted(self.rows["n"].unique())
        if len(sizes) > 1:
            every = ", ".join(map(str, sizes))
            return f"n = {sizes[-1]}, the largest of {every}; {setting}"
        return setting if f"n = {sizes[-1]}" in setting else f"n = {sizes[-1]}, {setting}"

    @property
    def _caption(self) -> str:
        first = self.table.iloc[0]
        masks = "rescaled" if first["rescale"] else "not rescaled"
        where = (
            "at the means of η, Λ_min and C measured at each p"
            if self.table["p"].nunique() > 1
            else f"with η, Λ_min and C as measured at p = {first['p']:g}, whatever p"
        )
        return (
            f"{self._drawn_setting}, masks {masks}; means, {intervals_in_words(self.draw_count)}\n"
            f"bounds: {where}; missing where the regularized Hessian is not positive"
        )

    def to_json(self) -> str:
        """Return summary and bounds as a JSON document; NaN becomes null."""
        return as_json(
            {
                "diverged": self.diverged,
                "summary": self.summary,
                "bounds": self.bound_summary,
                "audit": self.audit,
                "validation": self.validation,
            }
        )


def _unusual(row: "pd.Series[Any]") -> str:
    """Say what of a training is not as it is by default, each after a comma."""
    clipped = pd.notna(bound := row.get("loss_bound"))
    said = [
        ((optimizer := row.get("optimizer", "adam")) != "adam", f"by {optimizer.upper()}"),
        ((batch := row.get("batch", row["n"])) < row["n"], f"batches of {batch}"),
        ((samples := row.get("samples", 1)) > 1, f"N = {samples}"),
        (row.get("rescale", False), "rescaled masks"),
        (row.get("start") == "warm", "warm start"),
        (clipped, f"losses clipped at {bound:g}" if clipped else ""),
    ]
    return "".join(f", {words}" for unusual, words in said if unusual)


def _cell_record(group: pd.DataFrame) -> dict[str, Any]:
    row = group.iloc[0].to_dict()
    first = {str(name): value for name, value in row.items() if name not in PER_EXAMPLE}
    # Nothing was measured where the network trained on S diverged.
    kept = group["loss_kept"] if np.isfinite(first["train_loss"]) else float("nan")
    given = pd.notna(first["loss_bound"])
    if not np.isfinite(first["train_loss"]):
        # A network that diverged has gradients of any size, or none.
        first |= {"lipschitz": float("nan")}
    return (
        first
        | change_statistics(group["loss_left_out"] - kept)
        | {
            "gap": first["test_loss"] - first["train_loss"],
            "replicas": len(group),
            "diverged": int(group["diverged"].sum()),
            "loss_bound_used": first["loss_bound"] if given else first["largest_loss"],
            "loss_bound_how": "given; losses are clipped" if given else "largest observed loss",
        }
    )
