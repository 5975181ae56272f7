"""What each result says, as claims that another result of the same question may share or not."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from probes.ablation import PARTS, AblationResult
from probes.calibration import CalibrationResult
from probes.cells.ensemble_rivals import MASKS
from probes.cells.information_bounds import FROM_SELECTIONS
from probes.cells.prediction_sets import PLAIN, PLUS
from probes.comparison import ComparisonResult
from probes.coverage import CoverageResult
from probes.curves import CurvesResult, overfits
from probes.ensemble import EnsembleResult
from probes.generalization import GapResult, MatchedResult
from probes.information import InformationResult
from probes.jobs.amounts import how_many
from probes.metrics.multiple_comparisons import LEVEL
from probes.metrics.paired_differences import paired_differences
from probes.results.answer_words import MATCHED_VERDICTS, in_draws, margin_in_words
from probes.results.mask_kind_comparison import kind_name, of_other_masks
from probes.results.matched_information import MatchedInformationResult
from probes.results.stability_result import StabilityResult
from probes.sensitivity import SensitivityResult

#: What is said of every item of a topic.
Claims = dict[str, dict[str, str]]

UNDECIDED = "not told apart"
#: Bounds from information that are compared between networks, one a form of bound.
CLOSE = ("ld-CMI", "binary kl")
#: Verdicts on a bound that are told beside how often it says something.
UNTOLD = ("violated", "does not apply", "not measured")
#: In what rivals of the mask ensemble are compared with it, by column.
RIVALRY = {"change_less": "change of a probability", "beta_less": "β", "loss_less": "test loss"}


def of_stability(result: StabilityResult) -> Claims:
    """Beta, gap and test loss against p = 0, the best p, and what ensembles change."""
    cells = result.table[result.table["ensemble"] == 0]
    claims = _against_plain(cells, {"beta": "β", "gap": "the gap", "test_loss": "test loss"}, ["p"])
    if cells["p"].nunique() > 2:
        claims["over p"] = {name: str(found) for name, found in result.optima.items()}
    differences = result.ensemble_summary
    if len(differences):
        largest = differences[differences["ensemble"] == differences["ensemble"].max()]
        names = {"train_loss": "train loss", "test_loss": "test loss", "gap": "the gap"}
        for against, group in largest.groupby("against", sort=False):
            for quantity, name in names.items():
                topic = f"{name} of {group['ensemble'].iloc[0]} members against {against}"
                claims[topic] = _signs(group, quantity, lambda row: f"p = {row['p']:g}")
    return claims


def of_matched(result: MatchedResult) -> Claims:
    """Which side is the stabler at equal train loss, for every control and rate."""
    words = MATCHED_VERDICTS | {"control": "the control has less"}
    claims: Claims = {}
    task = result.rows["task"].iloc[0]
    for row in result.decision("beta").to_dict("records"):
        topic = f"β on {task} at equal train loss, against {row['variant']}"
        claims.setdefault(topic, {})[f"p = {row['p']:g}"] = _decided(row, words)
    return claims


def of_generalization(result: GapResult) -> Claims:
    """The gap against p = 0 at every size."""
    cells = result.table[result.table["ensemble"] == 0]
    return _against_plain(cells, {"gap": "the gap"}, ["n", "p"])


def of_ensemble(result: EnsembleResult) -> Claims:
    """The largest ensemble against the network that costs one pass."""
    summary = result.summary
    largest = summary[summary["ensemble"] == summary["ensemble"].max()]
    topic = f"test loss of {largest['ensemble'].iloc[0]} members against expected weight"
    return {topic: _signs(largest, "against_expected", lambda row: f"p = {row['p']:g}")}


def of_curves(result: CurvesResult) -> Claims:
    """Which networks overfit."""
    outcomes = {
        f"{row['method']}, p = {row['p']:g}": OVERFITTING[overfits(row)]
        for row in result.summary.to_dict("records")
    }
    return {"test loss at the end": outcomes}


def of_calibration(result: CalibrationResult) -> Claims:
    """At the end of training: calibration error against p = 0, and confidence against accuracy."""
    rows = result.rows[result.rows["step"] == result.rows["step"].max()]
    found = paired_differences(rows, rows["p"] == 0, ["ece"], keys=["p", "inference"])
    rows = pd.concat([rows.assign(side=0, shown=rows["accuracy"]),
                      rows.assign(side=1, shown=rows["confidence"])])  # fmt: skip
    keys = ["p", "inference"]
    sure = paired_differences(rows, rows["side"] == 0, ["shown"], keys=keys, within=keys)

    def item(row: Any) -> str:
        return f"p = {row['p']:g}, {row['inference']}"

    return {
        "calibration error at the end against p = 0": _signs(found, "ece", item),
        "confidence at the end against accuracy": _signs(sure, "shown", item),
    }


def of_ablation(result: AblationResult) -> Claims:
    """The test loss of every variant against the reference of its part; whether zeros matter."""
    claims: Claims = {}
    for part, reference, group in compared_parts(result.summary):
        topic = f"test loss, {part}, against “{reference}”"
        rate = group["p"].nunique() > 1
        claims[topic] = _signs(group, "difference", partial(variant_named, rate=rate))
    if len(result.kinds):
        table = of_other_masks(result.kind_differences)
        rate = table["p"].nunique() > 1
        margin = margin_in_words(result.margin)
        claims[f"masks of other kinds, within {margin} of dropout’s effect"] = {
            ", ".join([row["quantity"], _kind(row, rate=rate)]): (
                "shown" if row["equivalent_holm"] <= LEVEL else "not shown"
            )
            for row in table.to_dict("records")
        }
    return claims


def compared_parts(summary: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Cut the ablation into its parts.

    Args:
        summary: ``AblationResult.summary``.

    Yields:
        Every part that was measured, its reference, and the rows of the other variants.
    """
    for part, reference in PARTS.items():
        group = summary[(summary["part"] == part) & (summary["variant"] != reference)]
        if len(group):
            yield part, reference, group


def variant_named(row: Any, *, rate: bool) -> str:
    """Name a variant of the ablation.

    Args:
        row: of ``AblationResult.summary``.
        rate: whether there are several rates, so that its own is to be named.
    """
    return f"{row['variant']} at p = {row['p']:g}" if rate else str(row["variant"])


def of_sensitivity(result: SensitivityResult) -> Claims:
    """The most mask pairs a step against the fewest, by expected weight."""
    rows = result.rows[result.rows["inference"] == "expected weight"]
    fewest, most = rows["samples"].min(), rows["samples"].max()
    if fewest == most:
        return {}
    ends = rows[rows["samples"].isin([fewest, most])]
    names = {"train_loss": "train loss", "test_loss": "test loss", "gap": "the gap", "beta": "β"}
    found = paired_differences(
        ends, ends["samples"] == fewest, list(names), keys=["p"], within=["p"]
    )
    return {
        f"{name} with {most} mask pairs a step against {fewest}": _signs(
            found, quantity, lambda row: f"p = {row['p']:g}"
        )
        for quantity, name in names.items()
    }


def of_information(result: InformationResult) -> Claims:
    """Which bounds say something; the gap and the bounds from information against p = 0."""
    summary = result.summary[result.summary["ensemble"] == 0]
    claims = {"bounds on the gap, over all n and p": what_bounds_say(summary)}
    # A draw holds the 2n examples of its pairs.
    rows = result.rows[result.rows["ensemble"] == 0].assign(pool=lambda rows: rows["pool"] / 2)
    first = rows[rows["name"] == FROM_SELECTIONS[1]]
    claims |= _against_plain(first, {"gap": "the mean gap over selections"}, ["n", "p"])
    for name in CLOSE:
        known = rows[rows["name"] == name]
        claims |= _against_plain(known, {"bound": f"the bound “{name}”"}, ["n", "p"])
    return claims


def what_bounds_say(summary: pd.DataFrame) -> dict[str, str]:
    """Say of every bound at how many sizes and rates it says something.

    Args:
        summary: of an ``InformationResult``, of one inference mode.

    Returns:
        By name, such as "below the largest loss in 8 of 9".
    """
    said = {}
    for name, rows in summary.groupby("name", sort=False):
        counts = rows["verdict"].value_counts()
        told = int(counts.get("holds", 0) + counts.get("not exceeded", 0))
        parts = [f"below the largest loss in {told} of {how_many(len(rows), 'setting')}"]
        parts += [f"{word} in {counts[word]}" for word in UNTOLD if word in counts]
        said[str(name)] = ", ".join(parts)
    return said


def of_matched_information(result: MatchedInformationResult) -> Claims:
    """Which side has the smaller gap and the smaller bounds at equal fit."""
    claims: Claims = {}
    for row in result.summary.to_dict("records"):
        if row["statement"] in ("gap", *CLOSE):
            topic = f"{row['statement']} at equal {row['at']}"
            item = f"{row['variant']} at p = {row['p']:g}"
            claims.setdefault(topic, {})[item] = _decided(row, MATCHED_VERDICTS)
    return claims


def of_network_comparison(result: ComparisonResult) -> Claims:
    """Which bounds say something at a size that was measured, and which at a larger one alone."""
    measured = result.points.loc[result.points["draws"] > 0, "n"].max()
    said = {}
    for row in result.summary.to_dict("records"):
        first = row["first_n"]
        beyond = "at a larger n alone" if first < float("inf") else "at no n looked at"
        said[str(row["name"])] = "at an n measured" if first <= measured else beyond
    said |= dict.fromkeys(result.exceeded, "nowhere: it is exceeded")
    return {"bounds on the 0-1 loss that say something": said}


def of_rivals(result: EnsembleResult) -> Claims:
    """Every rival against the mask ensemble."""
    return {
        f"{name} against {mask_members(result)} masks": _signs(
            result.other_predictors, column, lambda row: f"{row['predictor']} at p = {row['p']:g}"
        )
        for column, name in RIVALRY.items()
    }


def mask_members(result: EnsembleResult) -> int:
    """Number of members of the mask ensemble among the rivals.

    Args:
        result: with rivals.
    """
    rivals = result.rivals
    return int(rivals.loc[rivals["predictor"] == MASKS, "members"].iloc[0])


def of_coverage(result: CoverageResult) -> Claims:
    """Whether intervals and sets cover, and the size of those that must, against p = 0."""
    summary = result.summary
    claims = {
        f"coverage of {name} against {level}": {
            f"p = {row['p']:g}": row["verdict"]
            for row in summary[summary["method"] == name].to_dict("records")
        }
        for name, level in ((PLUS, "1 - 2α"), (PLAIN, "1 - α"))
    }
    sizes = summary[(summary["method"] == PLUS) & (summary["p"] > 0)]
    if (summary["p"] == 0).any() and len(sizes):
        topic = f"size with {PLUS} against p = 0"
        claims[topic] = _signs(sizes, "larger", lambda row: f"p = {row['p']:g}")
    return claims


#: The claims of every question that is measured in more than one regime.
CLAIMS: dict[str, Callable[[Any], Claims]] = {
    "stability": of_stability, "matched": of_matched, "generalization": of_generalization,
    "information": of_information, "matched_information": of_matched_information,
    "network_comparison": of_network_comparison, "ensemble": of_ensemble, "rivals": of_rivals,
    "curves": of_curves, "calibration": of_calibration, "coverage": of_coverage,
    "ablation": of_ablation, "sensitivity": of_sensitivity,
}  # fmt: skip


#: What a test loss does at the end of training.
OVERFITTING = {True: "above its best", False: "at its best", None: "not measured"}


def _against_plain(cells: pd.DataFrame, names: dict[str, str], keys: Sequence[str]) -> Claims:
    """Quantities against those at p = 0 on the same draws, where that was measured."""
    if not (cells["p"] == 0).any() or not (cells["p"] > 0).any():
        return {}
    within = [key for key in keys if key != "p"]
    found = paired_differences(cells, cells["p"] == 0, list(names), keys=keys, within=within)
    return {
        f"{name} against p = 0": _signs(
            found, quantity, lambda row: ", ".join(f"{key} = {row[key]:g}" for key in keys)
        )
        for quantity, name in names.items()
    }


def _kind(row: Any, *, rate: bool) -> str:
    """A kind of masks, with its rate where there are several."""
    return variant_named({**row, "variant": kind_name(row["kind"], row["samples"])}, rate=rate)


def _signs(table: pd.DataFrame, quantity: str, item: Callable[[Any], str]) -> dict[str, str]:
    """What the corrected test says of each difference, and of how many draws where not of all."""
    outcomes = {}
    for row in table.to_dict("records"):
        told = row[f"{quantity}_holm"] <= LEVEL
        sign = "smaller" if row[quantity] < 0 else "larger"
        known = np.isfinite(row[quantity])
        outcome = (sign if told else UNDECIDED) + _over(row, quantity)
        outcomes[item(row)] = outcome if known else "not measured"
    return outcomes


def _decided(row: Any, words: dict[str, str]) -> str:
    """What is said at equal fit, and in how many draws where the fit was not reached in others."""
    reached = row["verdict"] != "not reached"
    return words[row["verdict"]] + (_over(row, "difference") if reached else "")


def _over(row: Any, quantity: str) -> str:
    """Over how many draws a difference is, where it is not known in others, of another kind."""
    said = in_draws(row, quantity).strip()
    return f" ({said})" if said else ""
