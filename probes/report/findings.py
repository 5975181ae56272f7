"""What the report says of each probe's result: question, verdicts in words, tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from probes.ablation import AblationResult
from probes.calibration import CalibrationResult
from probes.cells.information_bounds import FROM_SELECTIONS
from probes.cells.prediction_sets import PLAIN, PLUS
from probes.comparison import ComparisonResult
from probes.cost import CostResult
from probes.coverage import BELOW, CoverageResult
from probes.curves import OVERFITS, CurvesResult
from probes.ensemble import EnsembleResult
from probes.finetune import FinetuneResult
from probes.generalization import GapResult, MatchedResult
from probes.information import InformationResult
from probes.jobs.amounts import from_to, how_many
from probes.metrics.multiple_comparisons import LEVEL
from probes.report.claims import (
    RIVALRY,
    compared_parts,
    mask_members,
    variant_named,
    what_bounds_say,
)
from probes.report.regimes import Regime
from probes.results.answer_words import (
    HIDDEN,
    in_draws,
    mean_in_words,
    number_in_words,
    share_in_words,
)
from probes.results.matched_information import MatchedInformationResult
from probes.results.result import Result
from probes.results.stability_result import StabilityResult
from probes.results.text_tables import TextTable
from probes.rivals import RivalsResult
from probes.sensitivity import SensitivityResult
from probes.verify import VerifyResult

#: What is asked of stability.
QUESTION = "How stable is LoRA Dropout, and what do the bounds say?"
#: Said where nothing can be.
NOTHING = "Every setting diverged in at least one draw, so none is compared."


@dataclass(frozen=True)
class Finding:
    """What the page says of a result.

    Attributes:
        question: that was asked.
        setting: in which it was measured.
        verdicts: sentences computed from the numbers.
        tables: the numbers.
    """

    question: str
    setting: str
    verdicts: list[str]
    tables: list[TextTable]


def of_regimes(regimes: Sequence[Regime]) -> Finding:
    """What the network without dropout does in each regime.

    Args:
        regimes: of all tasks.
    """
    table = pd.DataFrame(
        {
            "task": [one.task for one in regimes],
            "learning rate": [f"{one.lr:g}" for one in regimes],
            "n": [str(one.n) for one in regimes],
            "train loss": [number_in_words(one.train_loss) for one in regimes],
            "test loss": [number_in_words(one.test_loss) for one in regimes],
            "lowest test loss": [number_in_words(one.best_loss) for one in regimes],
            "verdict": [one.verdict for one in regimes],
        }
    )
    overfit = [f"{one.task} at learning rate {one.lr:g}" for one in regimes if one.overfits]
    verdicts = [
        f"The network without dropout overfits in {len(overfit)} of "
        f"{how_many(len(regimes), 'regime')}{': ' if overfit else ''}{', '.join(overfit)}.",
        "Every section that trains a network is measured in each regime. A network overfits if its "
        f"test loss ends more than {OVERFITS:.0%} above the lowest value during training. With "
        "fewer examples than n it may overfit where it does not with n.",
    ]
    return Finding("In which regimes was it measured?", "", verdicts, [TextTable(table)])


def of_stability(result: StabilityResult) -> Finding:
    """β at the smallest and largest p, and what the bounds say."""
    summary = result.summary
    plain = summary[summary["ensemble"] == 0]
    measured = plain[np.isfinite(plain["beta"])].sort_values("p", kind="stable")
    if not len(measured):
        return Finding(QUESTION, result.setting, [NOTHING], result.text_tables())
    low, high = measured.iloc[0], measured.iloc[-1]
    bounds = result.bounds[result.bounds["ensemble"] == 0]
    said = "; ".join(
        f"{statement}: {_counted(verdicts)}"
        for statement, verdicts in bounds.groupby("statement")["verdict"]
    )
    share = _vacuous(bounds)
    ends = [low] if low["p"] == high["p"] else [low, high]
    gaps = [f"{mean_in_words(row, 'gap')} at p = {row['p']:g}" for row in ends]
    verdicts = [
        result.answer,
        f"The gap is {' and '.join(gaps)}.",
        f"The bounds, over all cells and λ: {said}.",
        f"{share[0].upper()}{share[1:]} of the bounds are at least C, the largest loss: they say "
        "nothing.",
    ]
    return Finding(QUESTION, result.setting, verdicts, result.text_tables())


def _vacuous(bounds: pd.DataFrame) -> str:
    """Share of the bounds that are at least C, where there is a bound and something measured."""
    known = bounds[np.isfinite(bounds["measured"]) & bounds["bound"].notna()]
    return share_in_words(float(known["vacuous"].mean())) if len(known) else "an unknown share"


def _counted(verdicts: pd.Series) -> str:
    """How often each verdict occurs."""
    counts = verdicts.value_counts()
    return ", ".join(f"{name} in {count} of {len(verdicts)}" for name, count in counts.items())


def of_matched(result: MatchedResult) -> Finding:
    """Dropout against its controls at equal train loss."""
    verdicts = [
        result.answer,
        *(
            f"At equal train loss, β against {control}: {answer}."
            for control, answer in matched_answers(result).items()
        ),
    ]
    task = result.rows["task"].iloc[0]
    question = f"On {task}, does LoRA Dropout buy stability beyond fitting less?"
    return Finding(question, result.setting, verdicts, result.text_tables())


def matched_answers(result: MatchedResult) -> dict[str, str]:
    """Say for every control at which rates which side is the stabler."""
    words = {
        "dropout": "dropout has less at p = ", "control": "the control has less at p = ",
        "undecided": "undecided at p = ", "not reached": "not reached at p = ",
    }  # fmt: skip
    answers = {}
    for control, group in result.decision("beta").groupby("variant", sort=False):
        parts = [
            text + ", ".join(f"{p:g}" for p in group.loc[group["verdict"] == verdict, "p"])
            for verdict, text in words.items()
            if (group["verdict"] == verdict).any()
        ]
        answers[str(control)] = "; ".join(parts)
    return answers


def of_generalization(result: GapResult) -> Finding:
    """The gap over n, and Theorem 4.4."""
    theorem = result.bounds.query("statement == 'Theorem 4.4' and ensemble == 0")
    verdicts = [
        result.answer,
        f"Over all cells and λ, {_vacuous(theorem)} of the bounds of Theorem 4.4 are at least "
        f"C: these say nothing. Verdicts: {_counted(theorem['verdict'])}.",
    ]
    question = "How does the gap change with n and p?"
    return Finding(question, result.setting, verdicts, result.text_tables())


def _finding(result: Result, question: str, verdicts: list[str]) -> Finding:
    tables = [replace(table, title="") for table in result.text_tables()]
    return Finding(question, result.setting, verdicts, tables)


def of_ensemble(result: EnsembleResult) -> Finding:
    """What an ensemble of masks changes."""
    summary = result.summary
    largest = summary[summary["ensemble"] == summary["ensemble"].max()]
    verdicts = [result.answer] + [
        f"p = {row.p:g}: the test loss of {row.ensemble} members is {_more(row)} that of the "
        "expected-weight network, which costs one pass."
        for row in _records(largest)
    ]
    return _finding(result, "What does the test-time ensemble buy?", verdicts)


def of_information(result: InformationResult) -> Finding:
    """Which bound says something about a network."""
    summary = result.summary[result.summary["ensemble"] == 0]
    verdicts = [result.answer, _what_is_said(summary), *_closest(summary)]
    violated = summary[summary["verdict"] == "violated"]
    listed = "; ".join(f"{row.name} at n = {row.n}, p = {row.p:g}" for row in _records(violated))
    tested = int(np.isfinite(summary["margin"]).sum())
    verdicts += [
        f"Tested against the gap on examples in no pair, {len(violated)} of {tested} bounds fail "
        f"(Holm, {LEVEL:.0%}){': ' if listed else ''}{listed}. Only this test is evidence: on the "
        "selections from which the information is estimated, such a bound is never below the gap.",
        "The bounds from information hold for the mean gap over selections, not with high "
        "probability for the gap of one network. The estimated information is too large on "
        "average, by up to about "
        f"{np.nan_to_num(result.rows['information_bias']).max():.2g} nats.",
    ]
    return _finding(result, result.question, verdicts)


def _what_is_said(summary: pd.DataFrame) -> str:
    """Which bounds say something, in a sentence an answer."""
    found: dict[str, list[str]] = {}
    for name, said in what_bounds_say(summary).items():
        found.setdefault(said, []).append(name)
    return " ".join(f"{'; '.join(names)}: {said}." for said, names in found.items())


def _closest(summary: pd.DataFrame) -> Iterator[str]:
    """How far the smallest bound is from the gap, and how far Theorem 4.4 is."""
    points = len(summary[["n", "p"]].drop_duplicates())
    # A bound that applies in some draws alone is compared with the gap of these.
    everywhere = summary["bound_draws"] == summary["gap_draws"].max()
    told = summary["name"].isin(FROM_SELECTIONS) & (summary["verdict"] == "holds")
    said = summary[told & everywhere]
    said = said[np.isfinite(said["ratio"])]  # of a gap of 0 no bound is a multiple
    if len(said):
        least = said.loc[said.groupby(["n", "p"])["bound"].idxmin()]
        counts = least["name"].value_counts()
        named = ", ".join(f"“{name}” in {count}" for name, count in counts.items())
        ratio = from_to(least["ratio"].min(), least["ratio"].max(), ".2g")
        yield (
            f"The smallest of those that apply in all draws is {ratio} times the gap "
            f"({named} of {points})."
        )
    theorem = summary[(summary["name"] == "Theorem 4.4") & np.isfinite(summary["bound"])]
    if len(theorem):
        multiple = theorem["bound"] / theorem["loss_bound"]
        yield (
            f"Theorem 4.4 is {from_to(multiple.min(), multiple.max(), '.3g')} times the largest "
            f"loss where it has a finite value ({len(theorem)} of {points})."
        )


def of_matched_information(result: MatchedInformationResult) -> Finding:
    """Dropout against its controls in bounds at equal fit."""
    verdicts = [result.answer, *result.conclusion.splitlines()]
    return Finding(result.question, result.setting, verdicts, result.text_tables())


def of_rivals(result: EnsembleResult) -> Finding:
    """The ensemble of masks against other ensembles."""
    rivals, members = result.rivals, mask_members(result)
    verdicts = [result.rivals_answer]
    for p, rows in rivals.groupby("p", sort=False):
        masks = "the one network (without masks all members are alike)"
        against = f"an ensemble of {members} masks" if p else masks
        parts = [_told(rows, column, name) for column, name in RIVALRY.items()]
        verdicts.append(f"p = {p:g}, against {against}: {'; '.join(filter(None, parts))}.")
    verdicts.append(_trained(rivals))
    verdicts += result.conclusion.splitlines()
    tables = [replace(table, title="") for table in result.text_tables()[-1:]]
    question = "Is the mask ensemble more stable or better than other ensembles?"
    return Finding(question, result.setting, verdicts, tables)


def _told(rows: pd.DataFrame, column: str, name: str) -> str:
    """Which rivals have less or more of a quantity, by the corrected test."""
    told = rows[rows[f"{column}_holm"] <= LEVEL]
    parts = [
        f"{word} {name}: "
        + ", ".join(f"“{row.predictor}”{in_draws(vars(row), column)}" for row in _records(some))
        for word, some in (("less", told[told[column] < 0]), ("more", told[told[column] > 0]))
        if len(some)
    ]
    return "; ".join(parts) or f"no difference in {name} is detected"


def _trained(rivals: pd.DataFrame) -> str:
    """How many networks each ensemble trains."""
    networks = rivals.drop_duplicates("predictor").set_index("predictor")["networks"]
    return "Networks trained: " + ", ".join(f"“{name}” {n}" for name, n in networks.items()) + "."


def of_coverage(result: CoverageResult) -> Finding:
    """Coverage of intervals and sets from leave-one-out."""
    summary = result.summary
    plus = summary[summary["method"] == PLUS]
    plain = summary[(summary["method"] == PLAIN) & (summary["verdict"] == BELOW)]
    rates = ", ".join(f"{p:g}" for p in plain["p"])
    verdicts = [
        result.conclusion,
        *(
            f"p = {row.p:g}: sets of size {row.size:.3g}{in_draws(vars(row), 'size')}"
            f"{_against_none(row)}."
            for row in _records(plus)
            if np.isfinite(row.size)
        ),
        "That the plain jackknife covers less than 1 - α is shown "
        + (f"at p = {rates}." if rates else "at no p."),
    ]
    question = "Do prediction sets from leave-one-out networks cover, and how large are they?"
    return _finding(result, question, verdicts)


def _against_none(row: Any) -> str:
    """How a size compares with that at p = 0, by the corrected test."""
    if not np.isfinite(row.larger):
        return ""
    if not row.larger_holm <= LEVEL:
        return f", not told apart from that at p = 0 ({row.larger:+.3g})"
    word = "larger" if row.larger > 0 else "smaller"
    return f", {word} than at p = 0 by {abs(row.larger):.3g}"


def of_curves(result: CurvesResult) -> Finding:
    """Losses along the training."""
    verdicts = [result.answer] + [
        f"{row.method}, p = {row.p:g}: "
        + (
            f"the test loss ends {number_in_words(row.rise, 3)} above its best (at step "
            f"{row.best_step:.0f}), the gap at {number_in_words(row.gap, 3)}"
            f"{in_draws(vars(row), 'rise')}."
            if row.rise_draws
            else "diverged."
        )
        for row in _records(result.summary)
    ]
    return _finding(result, "How do train and test loss run along training?", verdicts)


def of_calibration(result: CalibrationResult) -> Finding:
    """Calibration at the best moment."""
    best = result.summary[result.summary["moment"] == "best"]
    floor = "ece_floor" in best
    verdicts = [result.answer] + [
        f"p = {row.p:g}, {row.inference}: "
        + (_calibrated(row, floor) if row.ece_draws else "diverged.")
        for row in _records(best)
    ]
    return _finding(result, "Are the predicted probabilities right?", verdicts)


def _calibrated(row: Any, floor: bool) -> str:
    """The calibration error of a row, with what noise alone would give where it is known."""
    noise = f" (a calibrated predictor would score {row.ece_floor:.3f})" if floor else ""
    return (
        f"calibration error {row.ece:.3f} at the best checkpoint{noise}, confidence "
        f"{row.confidence:.3f} for accuracy {row.accuracy:.3f}{in_draws(vars(row), 'ece')}."
    )


def of_ablation(result: AblationResult) -> Finding:
    """Which part of the method does it."""
    verdicts = [result.answer]
    for part, reference, group in compared_parts(result.summary):
        several = group["p"].nunique() > 1
        told = group[group["difference_holm"] <= LEVEL]
        sides = {"less": told[told["difference"] < 0], "more": told[told["difference"] > 0]}
        found = [
            f"{word} test loss: "
            + ", ".join(
                variant_named(row, rate=several) + in_draws(row, "difference")
                for row in side.to_dict("records")
            )
            for word, side in sides.items()
            if len(side)
        ]
        verdicts.append(f"{part}, against “{reference}”: {'; '.join(found) or 'undecided'}.")
    verdicts.extend(result.conclusion.splitlines())
    return _finding(result, "Which part of the method does it?", verdicts)


def of_sensitivity(result: SensitivityResult) -> Finding:
    """How much depends on p and N."""
    best = _least_loss(result.summary)
    if best is None:
        return _finding(result, "How much depends on p and N?", [NOTHING])
    verdicts = [
        result.answer,
        f"The lowest test loss, {number_in_words(best['test_loss'], 3)}, is at p = {best['p']:g}, "
        f"N = {best['samples']}, {best['inference']}{_shared(result.summary, best)}.",
    ]
    return _finding(result, "How much depends on p and N?", verdicts)


def of_cost(result: CostResult) -> Finding:
    """What N passes and N members cost."""
    return _finding(result, "What does it cost?", [result.answer])


def of_methods(result: RivalsResult) -> Finding:
    """LoRA Dropout among tuned methods."""
    question = "After tuning all alike, which method has the smallest test loss?"
    return _finding(result, question, [result.answer_counted, result.conclusion])


def of_verify(result: VerifyResult) -> Finding:
    """How many checks passed."""
    verdicts = [result.headline]
    return _finding(result, "Do the theorems hold?", verdicts)


def of_comparison(result: ComparisonResult) -> Finding:
    """From which n on a bound says something, at exact minimisers."""
    verdicts = [result.answer, *_thresholds(result)]
    return _finding(result, "From which n on do other bounds say anything?", verdicts)


def of_network_comparison(result: ComparisonResult) -> Finding:
    """The same for trained networks."""
    verdicts = [
        result.answer,
        *_thresholds(result),
        f"Vacuous: bound and train error together reach {result.limit}. Beyond the largest n that "
        "was measured, bounds are calculated for a network that stays as it was there.",
    ]
    return _finding(result, "From which n on does a bound say anything of a network?", verdicts)


def _thresholds(result: ComparisonResult) -> Iterator[str]:
    """From which n on each bound says something; one that is exceeded says nothing."""
    exceeded = result.exceeded
    for row in _records(result.summary):
        first = row.first_n
        known = first < float("inf")
        told = f"not vacuous from n = {float(f'{first:.3g}'):,.0f} on" if known else "vacuous"
        yield f"{row.name}: {'exceeded' if row.name in exceeded else told}."


def of_finetune(result: FinetuneResult) -> Finding:
    """What dropout does to a pretrained model."""
    summary = result.summary
    least = _least_loss(summary)
    if least is None:
        return _finding(result, "Full scale: what does fine-tuning show?", [NOTHING])
    ends = summary["gap"].min(), summary["gap"].max()
    verdicts = [
        f"At the end of training {least['method']}, p = {least['p']:g}, {least['inference']} has "
        f"the lowest test loss, {number_in_words(least['test_loss'], 3)}{_shared(summary, least)}. "
        f"The gaps lie between {' and '.join(number_in_words(gap, 3) for gap in ends)}."
    ]
    return _finding(result, "Full scale: what does fine-tuning show?", verdicts)


def _least_loss(table: pd.DataFrame) -> pd.Series | None:
    """The row with the least test loss over all draws; none where each diverged in some."""
    # A mean over the draws that are left would compare others with other draws.
    known = np.isfinite(table["test_loss"]) & (table["test_loss_draws"] == table["draws"])
    finite = table[known]
    return finite.loc[finite["test_loss"].idxmin()] if len(finite) else None


def _shared(table: pd.DataFrame, least: pd.Series) -> str:
    """That other rows have the least test loss as well, where they do."""
    others = int((table["test_loss"] == least["test_loss"]).sum()) - 1
    return f", and {how_many(others, 'other has', 'others have')} the same" if others else ""


def _more(row: Any) -> str:
    """How an ensemble's test loss compares, by the corrected test, with its raw interval."""
    difference = row.against_expected
    if not np.isfinite(difference):
        return "not compared with"
    known = in_draws(vars(row), "against_expected")
    if not row.against_expected_holm <= LEVEL:
        found = number_in_words(difference, sign="+") + known
        return f"not told apart ({found}) from"
    least = min(abs(row.against_expected_low), abs(row.against_expected_high))
    size = f"by {_told_size(abs(difference))} (95 %: {_told_size(least)} or more{known})"
    return f"larger {size} than" if difference > 0 else f"smaller {size} than"


def _told_size(size: float) -> str:
    """A difference that is told is not rounded to 0."""
    return f"{size:.1g}" if 0 < size < HIDDEN else number_in_words(size)


def _records(table: pd.DataFrame) -> Iterator[Any]:
    """The rows, whose values are attributes."""
    for record in table.to_dict("records"):
        yield SimpleNamespace(**{str(name): value for name, value in record.items()})
