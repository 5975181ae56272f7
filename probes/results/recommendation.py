"""A recommendation of p and N: what is recommended, what is known of it, and how it is said."""

from dataclasses import dataclass

import numpy as np

from probes.metrics.labels import named_inference

#: What predicts the same for every input is called in the column ``inference``.
CONSTANT = "constant"
#: What is said of a single draw.
ONE_DRAW = "One draw of S says nothing about the uncertainty: give more --minutes."


@dataclass(frozen=True)
class Candidate:
    """What can be recommended.

    Attributes:
        p: dropout rate; NaN for the constant prediction.
        samples: mask pairs a training step; 0 for the constant prediction.
        inference: "no masks", "expected weight", "ensemble" or ``CONSTANT``.
    """

    p: float
    samples: int
    inference: str

    @property
    def price(self) -> float:
        """What is simpler costs less: no dropout, then few mask pairs, then many, then ensembles.

        An ensemble costs more than any number of mask pairs in training: its price is paid at every
        use of the model.
        """
        return 0.0 if self.p == 0 else self.samples + 1e6 * (self.inference == "ensemble")

    def named(self, size: int) -> str:
        """Name it in a sentence.

        Args:
            size: N of the test-time ensemble.
        """
        if self.inference == CONSTANT:
            return "the best constant prediction"
        if self.p == 0:
            return "p = 0"
        how = (
            f"the test-time ensemble of {size}"
            if self.inference == "ensemble"
            else f"{self.inference} inference"
        )
        pairs = f"{self.samples} mask pair{'s' if self.samples > 1 else ''} a step"
        return f"p = {self.p:g}, {pairs}, {how}"

    def label(self, size: int) -> str:
        """Name it in a legend, where p is the axis.

        Args:
            size: N of the test-time ensemble.
        """
        if self.inference == CONSTANT:
            return "best constant prediction"
        if self.p == 0:
            return "p = 0"
        how = f"ensemble of {size}" if self.inference == "ensemble" else self.inference
        return f"N = {self.samples} in training, {how}"

    def cells(self, size: int) -> tuple[str, str, str]:
        """Name it in a table: rate, N in training, inference.

        Args:
            size: N of the test-time ensemble.
        """
        if self.inference == CONSTANT:
            return "", "", self.inference
        return f"{self.p:g}", str(self.samples), named_inference(self.inference, size)


@dataclass(frozen=True)
class Choice:
    """What is recommended. Losses are means over the telling draws, which did not choose.

    Attributes:
        p, samples, inference: the recommended candidate. If nothing was learned it is the constant
            prediction: NaN, 0 and "constant".
        learned: whether the loss of p = 0 or of the rival, whichever the choosing draws found
            better, is detectably below that of the best constant prediction; None if one draw has
            to tell.
        nothing_learned: True if that was asked of the draws and is not so.
        risk, low, high: mean loss of the recommended on new data, and its 95 % interval.
        chance: mean loss of the best constant prediction.
        margin, margin_low, margin_high: ``chance`` less the loss of the better of the two, paired.
        simplest: the simplest candidate that never diverged: p = 0 if it was tried.
        rival: what the choosing draws chose of the others; None with fewer than three draws.
        gain, gain_low, gain_high: loss of the simplest less that of the rival, paired; told whether
            or not the rival is recommended, NaN without a rival.
        gains: whether a gain is claimed: ``gain_low`` is above 0.
        equals: rates of the candidates that cannot be told apart from the recommended at 95 %, each
            comparison for itself.
        diverged: names of the candidates that diverged, with the number of draws; they are never
            recommended.
        choosing_draws, telling_draws: numbers of draws.
        reason: sentences.
    """

    p: float
    samples: int
    inference: str
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
    equals: tuple[float, ...]
    diverged: dict[str, int]
    choosing_draws: int
    telling_draws: int
    reason: str = ""

    @property
    def recommended(self) -> Candidate:
        """The recommended candidate."""
        return Candidate(self.p, self.samples, self.inference)


def sentences(choice: Choice, learner: Candidate | None, size: int) -> str:
    """Say what is recommended, and why.

    Args:
        choice: all but the reason.
        learner: what is compared with the constant prediction; None if all candidates diverged.
        size: N of the test-time ensemble.

    Returns:
        Some sentences.
    """
    draws = choice.choosing_draws + choice.telling_draws
    said = [_nothing(choice, learner, size) if choice.nothing_learned else _use(choice, size)]
    if choice.learned is None:
        said.append(ONE_DRAW)
    elif choice.learned:
        said += [_against_the_simplest(choice, size), _equals(choice)]
    if choice.diverged:
        named = "; ".join(
            f"{name} ({count} of {draws} draws)" for name, count in choice.diverged.items()
        )
        said.append(f"Diverged, and therefore not to be chosen: {named}.")
    return " ".join(one for one in said if one)


def _nothing(choice: Choice, learner: Candidate | None, size: int) -> str:
    if learner is None:
        return "Nothing was learned: every candidate diverged."
    found = f"{abs(choice.margin):.4f} ± {choice.margin - choice.margin_low:.4f}"
    constant = f"the best constant prediction has loss {choice.chance:.4f}"
    named = learner.named(size)
    if choice.margin > 0:
        return (
            f"Nothing was learned that {choice.telling_draws} draws of S can show: {constant}, and "
            f"the loss of {named} is lower by {found}. More --minutes may show it."
        )
    return (
        f"Nothing was learned: {constant} over {choice.telling_draws} draws of S, and that of "
        f"{named} is higher by {found}."
    )


def _use(choice: Choice, size: int) -> str:
    text = f"Use {choice.recommended.named(size)}: loss {choice.risk:.4f}"
    if np.isfinite(choice.low):
        text += f" ± {choice.risk - choice.low:.4f} over {choice.telling_draws} draws of S"
        text += " that had no part in the choice" if choice.choosing_draws else ""
    text = f"{text}; the best constant prediction has {choice.chance:.4f}."
    if choice.learned is None and choice.risk >= choice.chance:
        text += " On this one draw it is no better than that."
    return text


def _against_the_simplest(choice: Choice, size: int) -> str:
    if choice.simplest is None or choice.rival is None:
        few = choice.choosing_draws == 0
        return "Fewer than three draws choose nothing else: give more --minutes." if few else ""
    simplest = choice.simplest.named(size)
    gain = f"{choice.gain:.4f} ± {choice.gain - choice.gain_low:.4f}"
    if choice.gains:
        return f"Against {simplest} it gains {gain}."
    return (
        f"No gain is shown: {choice.rival.named(size)}, the best on the other "
        f"{choice.choosing_draws} draw{'s' if choice.choosing_draws > 1 else ''}, "
        f"gains {gain} against {simplest}."
    )


def _equals(choice: Choice) -> str:
    others = [f"{p:g}" for p in choice.equals if p != choice.p]
    return f"p = {', '.join(others)} cannot be told apart from it at 95 %." if others else ""
