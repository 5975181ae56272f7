"""The verdict on LoRA Dropout and its rivals, all of which are tuned."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from probes.jobs.amounts import how_many
from probes.metrics.confidence_intervals import overlap_of
from probes.metrics.multiple_comparisons import LEVEL
from probes.metrics.rival_comparison import below_chance, compare_methods
from probes.metrics.tuned_settings import lucky_draws
from probes.results.answer_words import (
    interval_in_words,
    listed,
    margin_in_words,
    mean_in_words,
    number_in_words,
)
from probes.training.rivals import RIVALS

#: The reference: LoRA, whose learning rate and stopping time are tuned.
REFERENCE = "LoRA"
#: What a figure's title says of it, where fresh draws tell that.
BADLY = "LoRA may be tuned badly"
#: As many rivals of a kind are named, the best first.
NAMED = 3
#: The method that the verdict is about, where it was measured in one form or another.
SUBJECT = "LoRA Dropout"


def is_dropout(method: str) -> bool:
    """Whether a method is a form of LoRA Dropout.

    >>> is_dropout("LoRA Dropout, N = 4"), is_dropout("PEFT lora_dropout")
    (True, False)
    """
    return method in RIVALS and RIVALS[method].rule == SUBJECT


def verdict(
    summary: pd.DataFrame, rows: pd.DataFrame, contender: dict[int, str], margin: float, task: str
) -> str:
    """Say in three sentences who wins, who is as good and cheaper, and at which n.

    Args:
        summary: one row a size and method, as of ``probes.rivals.RivalsResult.summary``.
        rows: one row a size, tuned method and draw, with ``test_loss``.
        contender: by size, the form of LoRA Dropout that the draws that tune chose, or the rival
            where no form of it was asked for.
        margin: of equivalence, a share of the test loss of LoRA.
        task: its name.

    Returns:
        Three sentences, the first two of the smallest n.
    """
    n = min(contender)
    at_n = summary[summary["n"] == n].set_index("method")
    own = rows[rows["n"] == n]
    return " ".join(
        [
            _against_lora(at_n, own, contender[n], margin, f"{task}, n = {n}"),
            _cheaper(at_n, own, contender[n], margin),
            _over_n(summary, rows, contender),
        ]
    )


def counted(at_n: pd.DataFrame, rows: pd.DataFrame, contender: str = "") -> str:
    """Say how many methods are better than tuned LoRA, and where one of them stands.

    Args:
        at_n: one row a method, of one size: as ``summary`` of :func:`verdict`.
        rows: of that size: as of :func:`verdict`.
        contender: as of :func:`verdict`; "" if there is none.

    Returns:
        A sentence, and one about the contender if there is one.
    """
    # "LoRA, to the end" is no rival of LoRA.
    rivals = at_n[~at_n["method"].str.split(", ").str[0].eq(REFERENCE)]
    counts = rivals["verdict"].value_counts()
    words = {
        "worse": "a larger one", "equal": "an equal one", "undecided": "not told apart",
        "diverged": "diverged",
    }  # fmt: skip
    more = [f"{said} in {counts[key]}" for key, said in words.items() if counts.get(key, 0)]
    said = (
        f"Against tuned LoRA, {counts.get('better', 0)} of {len(rivals)} tuned methods have a "
        f"smaller test loss{f' ({listed(more)})' if more else ''}."
    )
    own = at_n[at_n["method"] == contender].to_dict("records")
    if not own:
        return said
    found = mean_in_words(own[0], "difference")
    nothing = ", but nothing was learned" if _nothing_learned(rows, contender) else ""
    return f"{said} {contender} less LoRA: {found}, {own[0]['verdict']}{nothing}."


def doubts(rows: pd.DataFrame, tuning: pd.DataFrame) -> dict[int, str]:
    """Say where LoRA may be tuned badly, so that much may seem to be better than it.

    What tunes and what measures are different examples, of which some are harder for all methods.
    So LoRA is compared with the others on each draw.

    Args:
        rows: as of :func:`verdict`.
        tuning: likewise of the tuned settings on the draws that tuned, with ``validation_loss``.

    Returns:
        By size for which :func:`probes.metrics.tuned_settings.lucky_draws` finds that, sentences.
    """
    said: dict[int, str] = {}
    for n in sorted(map(int, tuning["n"].unique())):
        chosen_on, fresh = (table[table["n"] == n] for table in (tuning, rows))
        before = _beside_others(chosen_on, "validation_loss")
        after = _beside_others(fresh, "test_loss")
        if lucky_draws(before, after, overlaps=(overlap_of(chosen_on), overlap_of(fresh))):
            said[n] = (
                f"{BADLY} at n = {n}: its loss less the median of the other "
                f"methods' was {number_in_words(before.mean())} on the "
                f"{how_many(len(before), 'draw')} that tuned and is "
                f"{number_in_words(after.mean())} on fresh ones. What is better than LoRA here may "
                "not be with more draws that tune."
            )
    return said


def _beside_others(rows: pd.DataFrame, quantity: str) -> "pd.Series[float]":
    """LoRA's loss less the median of the other methods', in the draws where both are finite."""
    losses = rows.pivot(index="draw", columns="method", values=quantity)
    others = [name for name in losses if str(name).split(", ")[0] != REFERENCE]
    with np.errstate(invalid="ignore"):
        less: pd.Series[float] = losses[REFERENCE] - losses[others].median(axis="columns")
    return less[np.isfinite(less)]


def _against_lora(
    at_n: pd.DataFrame, rows: pd.DataFrame, name: str, margin: float, where: str
) -> str:
    records = at_n.to_dict("index")
    found, reference = records[name], records[REFERENCE]
    outcome = f"so {_outcome(name, found['verdict'], margin)}"
    if found["verdict"] != "diverged" and not found["difference_draws"]:
        outcome = f"so the two are not compared: {REFERENCE} diverged"
    if _nothing_learned(rows, name):
        outcome = (
            "but neither is shown to be better than the best constant prediction, which has "
            f"{number_in_words(rows['chance_risk'].mean())}: nothing was learned"
        )
    return (
        f"On {where}, tuned {name} (strength {found['strength']:g}) has the test loss "
        f"{number_in_words(found['test_loss'])} and LoRA with a tuned learning rate and early "
        f"stopping {number_in_words(reference['test_loss'])}; the difference is {_signed(found)} "
        f"over {_draws(found)} fresh draws of S, {outcome}{_beta(found)}."
    )


def _draws(found: Mapping[Hashable, Any]) -> str:
    """Number of draws in which both did not diverge, and of all if these are more."""
    finite, drawn = int(found["difference_draws"]), int(found["draws"])
    return f"{finite}" if finite == drawn else f"{finite} of {drawn}"


def _nothing_learned(rows: pd.DataFrame, name: str) -> bool:
    """Whether neither a method nor LoRA is shown to be better than the best constant prediction.

    Args:
        rows: of one size.
        name: the method.
    """
    return below_chance(rows, [name, REFERENCE]) is False


def _beta(found: Mapping[Hashable, Any]) -> str:
    """A sentence on β, where it was measured."""
    if "beta" not in found:
        return ""
    difference = _signed(found, "beta_difference")
    return f"; its β is {number_in_words(found['beta'])}, and the difference {difference}"


def _cheaper(at_n: pd.DataFrame, rows: pd.DataFrame, name: str, margin: float) -> str:
    """Rivals that are better than LoRA Dropout, or as good for fewer passes."""
    cost = at_n.to_dict("index")[name]
    if cost["verdict"] == "diverged":
        return "What diverged is no measure for its rivals."
    apart = [one for one in at_n.index if str(one).startswith(("LoRA", name)) and one != name]
    others = rows[~rows["method"].isin(apart)]
    if others["method"].nunique() < 2:
        return "It has no rival here."
    found = compare_methods(others, name, margin).set_index("method")
    found = found.join(at_n[["passes", "test_passes"]])
    cheap = (found["passes"] < cost["passes"]) & (found["test_passes"] <= cost["test_passes"])
    good, better = found["verdict"].isin(["better", "equal"]), found["verdict"] == "better"
    parts = {
        "as good or better and cheaper": good & cheap,
        "better but not cheaper": better & ~cheap,
        "not told apart and cheaper": (found["verdict"] == "undecided") & cheap,
    }
    said = [
        f"{how}: {_named(found[own], cost['passes'])}" for how, own in parts.items() if any(own)
    ]
    if not said:
        return "No rival is shown to be as good as it for fewer passes."
    shown = "" if any(good & cheap) else "no rival is shown to be as good for fewer passes; "
    return f"Against it, {shown}{', and '.join(said)}."


def _named(rivals: pd.DataFrame, passes: float) -> str:
    rows = list(rivals.sort_values("difference").to_dict("index").items())
    named = [
        f"{method} ({_signed(row)}, {row['passes'] / passes:.2g} times the passes)"
        for method, row in rows[:NAMED]
    ]
    more = len(rows) - len(named)
    return "; ".join([*named, *([f"{more} more"] if more else [])])


def _over_n(summary: pd.DataFrame, rows: pd.DataFrame, contender: dict[int, str]) -> str:
    if len(contender) == 1:
        return "Other n were not measured: give several to --n."
    of_dropout = all(is_dropout(name) for name in contender.values())
    outcomes: dict[str, list[str]] = {}
    for n, name in contender.items():
        row = summary[(summary["n"] == n) & (summary["method"] == name)].to_dict("records")[0]
        by = "" if of_dropout else f"{name}, "
        nothing = _nothing_learned(rows[rows["n"] == n], name)
        outcomes.setdefault("nothing" if nothing else row["verdict"], []).append(
            f"{n} ({by}{_signed(row)})"
        )
    subject = SUBJECT if of_dropout else "the rival that the tuning draws prefer"
    words = {
        "better": "wins", "worse": "loses", "equal": "is equal", "undecided": "is undecided",
        "diverged": "diverged", "nothing": "learned nothing, nor did LoRA,",
    }  # fmt: skip
    said = [f"{words[one]} at n = {', '.join(sizes)}" for one, sizes in outcomes.items()]
    return f"Against LoRA over n, {subject} {'; it '.join(said)}."


def _outcome(name: str, verdict: str, margin: float) -> str:
    """What a verdict of the comparison with LoRA means for a method."""
    subject = SUBJECT if is_dropout(name) else name
    return {
        "better": f"{subject} wins",
        "worse": f"{subject} loses",
        "equal": f"the two are equal within {margin_in_words(margin)}",
        "undecided": "the two cannot be told apart",
        "diverged": f"{subject} diverged and says nothing",
    }[verdict]


def _signed(row: Mapping[Hashable, Any], name: str = "difference") -> str:
    told = " *" if row[f"{name}_holm"] <= LEVEL else ""
    return interval_in_words(row[name], row[f"{name}_low"], "+") + told
