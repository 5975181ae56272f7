"""The recommendation of a method, and the sentences that explain it."""

from dataclasses import dataclass

import numpy as np

from probes.jobs.amounts import how_many
from probes.results.answer_words import draws_in_words, interval_in_words, number_in_words

#: What predicts the same for every input stands in the column ``method``.
CONSTANT = "best constant prediction"
#: The method that costs least: recommended unless a gain is shown.
SIMPLEST = "LoRA"


@dataclass(frozen=True)
class Candidate:
    """A tuned method.

    Attributes:
        method: its name in ``probes.training.rivals``, or ``CONSTANT``.
        strength: of the method; NaN for the constant prediction.
        lr: learning rate; NaN likewise.
        stop: step after which it is stopped; 0 likewise.
        passes: forward and backward passes of its training; 0 likewise.
        test_passes: forward passes of a prediction.
    """

    method: str
    strength: float
    lr: float
    stop: int
    passes: int
    test_passes: int

    @property
    def price(self) -> float:
        """What is simpler costs less: plain LoRA, few passes a step, then many, then ensembles.

        An ensemble costs more than any training: its price is paid at every use of the model.
        """
        a_step = self.passes / max(self.stop, 1)
        return 0.0 if self.method == SIMPLEST else a_step + 1e6 * (self.test_passes > 1)

    @property
    def named(self) -> str:
        """Its name in a sentence."""
        if self.method == CONSTANT:
            return f"the {CONSTANT}"
        return self.method if self.method == SIMPLEST else f"{self.method} ({self.strength:g})"

    @property
    def in_full(self) -> str:
        """Its name in a sentence, with the setting and the cost."""
        if self.method == CONSTANT:
            return self.named
        strength = "" if self.method == SIMPLEST else f"strength {self.strength:g}, "
        test = f", {self.test_passes} passes a prediction" if self.test_passes > 1 else ""
        return (
            f"{self.method} with {strength}learning rate {self.lr:.2g}, stopped after "
            f"{how_many(self.stop, 'step')} ({how_many(self.passes, 'pass', 'passes')} over the "
            f"data{test})"
        )


@dataclass(frozen=True)
class Choice:
    """What is recommended.

    Attributes:
        recommended: the candidate.
        learned: whether the better of ``simplest`` and ``rival`` is detectably better than the best
            constant prediction; None if one draw has to tell.
        nothing_learned: whether it is not: the constant prediction is then recommended.
        risk, low, high: its loss on new data over the telling draws, and its 95 % interval.
        chance: mean loss of the best constant prediction.
        margin, margin_low, margin_high: ``chance`` less the loss of the better of the two, paired.
        simplest: the simplest candidate that never diverged: LoRA if it did not.
        rival: what the choosing draws chose of the others; None if there are none.
        gain, gain_low, gain_high: loss of the simplest less that of the rival, paired; told whether
            or not the rival is recommended, NaN without a rival.
        gains: whether a gain is claimed: ``gain_low`` is above 0.
        equals: methods that cannot be told apart from the recommended at 95 %, each comparison for
            itself.
        diverged: names of the candidates that diverged, with the number of draws; they are never
            recommended.
        choosing_draws, telling_draws: numbers of draws.
        reason: sentences.
    """

    recommended: Candidate
    learned: bool | None
    nothing_learned: bool
    risk: float
    low: float
    high: float
    chance: float
    margin: float
    margin_low: float
    margin_high: float
    simplest: Candidate | None
    rival: Candidate | None
    gain: float
    gain_low: float
    gain_high: float
    gains: bool
    equals: tuple[str, ...]
    diverged: dict[str, int]
    choosing_draws: int
    telling_draws: int
    reason: str = ""


def sentences(choice: Choice, learner: Candidate | None) -> str:
    """Say what is recommended, and why.

    Args:
        choice: all but the reason.
        learner: what is compared with the constant prediction; None if all candidates diverged.

    Returns:
        Some sentences.
    """
    draws = choice.choosing_draws + choice.telling_draws
    said = [_nothing(choice, learner) if choice.nothing_learned else _use(choice)]
    if choice.learned is None:
        said.append(
            "One draw of S says nothing about the uncertainty: give more --minutes."
            if np.isfinite(choice.chance)
            else "No constant prediction has a finite loss, so nothing says whether it learned."
        )
    elif choice.learned:
        said += [_against_the_simplest(choice), _equals(choice)]
    if choice.diverged:
        named = "; ".join(
            f"{name} ({count} of {how_many(draws, 'draw')})"
            for name, count in choice.diverged.items()
        )
        said.append(f"Diverged, and therefore not to be chosen: {named}.")
    return " ".join(one for one in said if one)


def _nothing(choice: Choice, learner: Candidate | None) -> str:
    if learner is None:
        return "Nothing was learned: every candidate diverged."
    half = choice.margin - choice.margin_low
    found = interval_in_words(abs(choice.margin), abs(choice.margin) - half)
    constant = f"the best constant prediction has loss {number_in_words(choice.chance)}"
    draws = draws_in_words(choice.telling_draws)
    if choice.margin > 0:
        return (
            f"Nothing was learned that {draws} can show: {constant}, and "
            f"the loss of {learner.named} is lower by {found}. More --minutes may show it."
        )
    than = f"higher by {found}" if choice.margin else "the same"
    return f"Nothing was learned: {constant} over {draws}, and that of {learner.named} is {than}."


def _use(choice: Choice) -> str:
    loss = interval_in_words(choice.risk, choice.low)
    text = f"Use {choice.recommended.in_full}: loss {loss}"
    if np.isfinite(choice.low):
        text += f" over {choice.telling_draws} draws of S that had no part in the choice"
    if np.isfinite(choice.chance):
        text += f"; the best constant prediction has {number_in_words(choice.chance)}"
    text += "."
    if choice.learned is None and choice.risk >= choice.chance:
        text += " On this one draw it is no better than that."
    return text


def _against_the_simplest(choice: Choice) -> str:
    if choice.simplest is None or choice.rival is None:
        return ""
    simplest = choice.simplest.named
    gain = interval_in_words(choice.gain, choice.gain_low)
    if choice.gains:
        return f"Against {simplest}, tuned alike, it gains {gain}."
    return (
        f"No gain is shown: {choice.rival.named}, the best of the others on the "
        f"{how_many(choice.choosing_draws, 'draw')} that chose, gains "
        f"{gain} against {simplest}."
    )


def _equals(choice: Choice) -> str:
    others = [name for name in choice.equals if name != choice.recommended.method]
    return f"Not told apart from it at 95 %: {', '.join(others)}." if others else ""
