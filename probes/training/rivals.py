"""The methods that LoRA Dropout competes with, each at a strength: plain values.

``probes.training.rival_training`` trains them. A strength of 0 is plain LoRA, whatever the method.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

#: How a trained method predicts: with its weights as they are, with the update multiplied by its
#: expected mask (or by what shrinks it), by the mean output of masked networks, or by that of
#: several trained networks.
Inference = Literal["as trained", "scaled update", "ensemble of masks", "ensemble of networks"]


@dataclass(frozen=True)
class Method:
    """A rule of training, and what a reader wants to know of it.

    Attributes:
        rule: by which ``probes.training.rival_training`` trains and predicts.
        strength: what its strength is.
        strengths: that are tried by default.
        source: of the rule.
        inference: how it predicts.
        perturbed: what it perturbs.
        where: how often, and for what a perturbation is common.
        expectation: of the perturbed update.
        below: strengths lie in [0, below).
        samples: N, mask samples a step.
        rescale: whether masks are divided by their mean.
        members: networks that are trained, each for 1 / ``members`` of the steps.
        masked_members: networks of the ensemble of masks.
    """

    rule: str
    strength: str
    strengths: tuple[float, ...]
    source: str
    inference: Inference = "as trained"
    perturbed: str = "nothing"
    where: str = "nowhere"
    expectation: str = "the update"
    below: float = 1.0
    samples: int = 1
    rescale: bool = False
    members: int = 1
    masked_members: int = 1

    @property
    def passes(self) -> int:
        """Forward and backward passes a step, in those of plain LoRA on the same examples."""
        return self.samples * self.members

    @property
    def test_passes(self) -> int:
        """Forward passes of a prediction."""
        return self.members * self.masked_members


def _lora_dropout(
    samples: int = 1,
    rescale: bool = False,
    inference: Inference = "scaled update",
    members: int = 1,
) -> Method:
    return Method(
        rule="LoRA Dropout",
        strength="p, the rate at which columns of A and rows of B are dropped",
        strengths=(0.1, 0.2, 0.3, 0.5, 0.7),
        perturbed="columns of A and rows of B",
        where="one draw a layer and pass, common to all examples",
        expectation="the update" if rescale else "(1 - p)^2 times the update",
        inference="as trained" if rescale and inference == "scaled update" else inference,
        source="arXiv 2404.09610, Eqs. 2, 7 and 8",
        samples=samples,
        rescale=rescale,
        masked_members=members,
    )


#: All methods, by the names that tables show.
RIVALS: dict[str, Method] = {
    "LoRA": Method(
        rule="LoRA", strength="none", strengths=(0.0,),
        source="arXiv 2106.09685",
    ),
    "LoRA Dropout": _lora_dropout(),
    "LoRA Dropout, N = 4": _lora_dropout(4),
    "LoRA Dropout, rescaled": _lora_dropout(rescale=True),
    "LoRA Dropout, rescaled, N = 4": _lora_dropout(4, rescale=True),
    "LoRA Dropout, ensemble of 16": _lora_dropout(inference="ensemble of masks", members=16),
    "weight decay": Method(
        rule="weight decay",
        strength="decoupled weight decay w of A and B: a step multiplies them by 1 - lr w",
        strengths=(0.1, 0.3, 1.0, 3.0, 10.0),
        below=inf,
        source="arXiv 1711.05101",
    ),
    "smaller rank": Method(
        rule="smaller rank",
        strength="share of the rank that is left out; the factor alpha / r stays",
        strengths=(0.5, 0.75, 0.875),
        source="arXiv 2106.09685, Section 7.2",
    ),
    "early stopping": Method(
        rule="early stopping", strength="share of the steps that are not taken",
        strengths=(0.25, 0.5, 0.75, 0.9),
        source="Prechelt 1998, Early stopping - but when?",
    ),
    "shrinking": Method(
        rule="shrinking", strength="share of the trained update that is taken away",
        strengths=(0.1, 0.25, 0.5, 0.75),
        inference="scaled update", source="arXiv 2109.01903 (WiSE-FT, interpolated weights)",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """A method at a strength.

    Attributes:
        name: of the method, one of ``RIVALS``.
        strength: in the method's units, in [0, below); 0 is plain LoRA.

    Raises:
        ValueError: no such method or strength.
    """

    name: str
    strength: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in RIVALS:
            raise ValueError(f"method must be one of {', '.join(RIVALS)}; got {self.name!r}")
        below = self.method.below
        if not 0 <= self.strength < below:
            raise ValueError(
                f"strength of {self.name} must lie in [0, {below:g}), got {self.strength}"
            )

    @property
    def method(self) -> Method:
        """What is known of the method."""
        return RIVALS[self.name]

    def steps(self, steps: int) -> int:
        """Steps that every network of the method takes where one of plain LoRA takes ``steps``.

        Several networks share the steps, so that they cost as much together as one.
        """
        taken = steps // self.method.members
        return round(taken * (1 - self.strength)) if self.name == "early stopping" else taken

    @property
    def update_scale(self) -> float:
        """Factor of the trained update in prediction."""
        if self.method.inference != "scaled update":
            return 1.0
        return (1 - self.strength) ** (2 if self.method.rule == "LoRA Dropout" else 1)
