"""The methods that LoRA Dropout competes with, each at a strength: plain values.

``probes.training.rival_training`` trains them. At strength 0 every method is plain LoRA, and an
ensemble of networks one of plain networks.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

from lora_dropout.masks import expected_mask
from probes.jobs.validation import require

#: How a trained method predicts: with its weights as they are, with the update multiplied by its
#: expected mask or by a factor, by the mean output of masked networks, or by the mean output of
#: several trained networks.
Inference = Literal["as trained", "scaled update", "ensemble of masks", "ensemble of networks"]


@dataclass(frozen=True)
class Method:
    """A rule of training, and what a reader wants to know of it.

    Attributes:
        rule: by which ``probes.training.rival_training`` trains and predicts.
        strength: what its strength is.
        strengths: those that are tried by default.
        source: of the rule.
        inference: how it predicts.
        perturbed: what it perturbs.
        where: how often the perturbation is drawn, and what shares a draw.
        expectation: of the perturbed update.
        below: strengths lie in [0, below).
        samples: N, mask samples a step.
        rescale: whether masks are divided by their mean.
        members: networks that are trained, each for 1 / ``members`` of the steps.
        masked_members: networks of the ensemble of masks.
        classes: whether it needs classes.
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
    classes: bool = False

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


def _module_dropout(inference: Inference) -> Method:
    return Method(
        rule="module dropout",
        strength="p, the rate at which whole adapters are dropped",
        strengths=(0.1, 0.2, 0.3, 0.5, 0.7),
        perturbed="whole adapters",
        where="one draw a layer and pass, common to all examples",
        expectation="(1 - p) times the update",
        inference=inference,
        source="kohya-ss/sd-scripts, networks/lora.py, which predicts as trained",
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
    "PEFT lora_dropout": Method(
        rule="inputs", strength="p, the rate at which entries of what the update reads are dropped",
        strengths=(0.1, 0.2, 0.3, 0.5, 0.7), rescale=True,
        perturbed="what A reads; the frozen product reads it as it is",
        where="one draw an entry, example (token), layer and pass",
        source="peft.tuners.lora.Linear",
    ),
    "DropLoRA": Method(
        rule="rank", strength="p, the rate at which entries of A x are dropped",
        strengths=(0.1, 0.2, 0.3, 0.5, 0.7), rescale=True,
        perturbed="the rank, between A and B",
        where="one draw a component, example (token), layer and pass",
        source="arXiv 2508.17337 and github.com/TayeeChang/DropLoRA",
    ),
    "module dropout": _module_dropout("as trained"),
    "module dropout, expected weight": _module_dropout("scaled update"),
    "CoTo": Method(
        rule="CoTo",
        strength="rate at which adapters are dropped at first, 1 less CoTo's initial_p",
        strengths=(0.3, 0.5, 0.7, 0.9),
        perturbed="whole adapters, less and less until 75 % of the steps",
        where="one draw a transformer layer and pass, at least one layer being active",
        expectation="rises from (1 - strength) times the update to the update",
        source="arXiv 2506.05713 and github.com/zwebzone/coto",
    ),
    "HiddenKey": Method(
        rule="HiddenKey", strength="p, the rate at which hidden representations are dropped",
        strengths=(0.05, 0.1, 0.2, 0.3, 0.5), samples=2, rescale=True,
        perturbed="outputs of hidden layers and keys of attention; the two passes must agree",
        where="one draw an entry, example, layer and pass",
        source="arXiv 2403.00812, read in abstract, and R-Drop, arXiv 2106.14448",
        classes=True,
    ),
    "noise on A": Method(
        rule="noise", strength="standard deviation of the noise, in units of that of A's start",
        strengths=(0.1, 0.3, 1.0, 3.0), below=inf,
        perturbed="A, by adding independent normal entries",
        where="one draw a layer and pass, common to all examples",
        source="BLoB, arXiv 2406.11675, and MonteCLoRA, arXiv 2411.04358, at fixed variance",
    ),
    "weight decay": Method(
        rule="weight decay",
        strength="decoupled weight decay w of A and B: a step multiplies them by 1 - lr w",
        strengths=(0.1, 0.3, 1.0, 3.0, 10.0), below=inf,
        source="arXiv 1711.05101",
    ),
    "smaller rank": Method(
        rule="smaller rank",
        strength="share of the rank that is left out; the factor alpha / r stays",
        strengths=(0.5, 0.75, 0.875),
        source="arXiv 2106.09685, Section 7.2",
    ),
    "label smoothing": Method(
        rule="label smoothing", strength="probability that is spread evenly over all classes",
        strengths=(0.05, 0.1, 0.2, 0.4),
        perturbed="the targets, without chance", where="in every step", classes=True,
        source="arXiv 1512.00567, Section 7, as torch.nn.CrossEntropyLoss has it",
    ),
    "early stopping": Method(
        rule="LoRA", strength="share of the steps that are not taken",
        strengths=(0.25, 0.5, 0.75, 0.9),
        source="Prechelt 1998, Early stopping - but when?",
    ),
    "shrinking": Method(
        rule="LoRA", strength="share of the trained update that is taken away",
        strengths=(0.1, 0.25, 0.5, 0.75), inference="scaled update",
        source="arXiv 2109.01903 (WiSE-FT, interpolated weights)",
    ),
    "subbag of 4": Method(
        rule="subbag", strength="share of the examples that a network does not see",
        strengths=(0.25, 0.37, 0.5), inference="ensemble of networks", members=4,
        perturbed="the examples of a network", where="one subset a network, for all steps",
        source="Buhlmann & Yu 2002; arXiv 2301.12600",
    ),
    "seed ensemble of 4": Method(
        rule="seeds", strength="none: four networks whatever it is", strengths=(0.0,),
        inference="ensemble of networks", members=4,
        perturbed="the start of a network", where="one start a network",
        source="arXiv 1612.01474 (deep ensembles)",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """A method at a strength.

    Attributes:
        name: of the method, one of ``RIVALS``.
        strength: in the method's units, in [0, below); 0 perturbs nothing.

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

        Several networks share the steps, so that they cost as much together as one. Each takes at
        least one.

        >>> Rival("early stopping", 0.75).steps(100), Rival("seed ensemble of 4").steps(100)
        (25, 25)
        """
        taken = steps // self.method.members
        if self.name == "early stopping":
            taken = round(taken * (1 - self.strength))
        return max(1, taken)

    def rank(self, rank: int) -> int:
        """Rank of the method's update where that of plain LoRA has ``rank``; at least 1.

        >>> Rival("smaller rank", 0.75).rank(8), Rival("weight decay", 0.75).rank(8)
        (2, 8)
        """
        if self.method.rule != "smaller rank":
            return rank
        return max(1, round(rank * (1 - self.strength)))

    @property
    def update_scale(self) -> float:
        """Factor of the trained update in prediction."""
        if self.method.inference != "scaled update":
            return 1.0
        if self.method.rule == "LoRA Dropout":
            return expected_mask(self.strength, self.strength)
        return 1 - self.strength


def strengths_at(name: str, rank: int) -> tuple[float, ...]:
    """Return the strengths that a method tries by default, each of which is another training.

    Several shares of a small rank leave the same rank: the first of them is tried.

    Args:
        name: of the method, one of ``RIVALS``.
        rank: of the update of plain LoRA.

    Returns:
        Strengths, in their order.

    Raises:
        ValueError: the entry of the method has no strength, or one that is out of range.

    >>> strengths_at("smaller rank", 8), strengths_at("smaller rank", 4)
    ((0.5, 0.75, 0.875), (0.5, 0.75))
    """
    strengths = RIVALS[name].strengths
    require(len(strengths) > 0, f"strengths of {name}", "at least one value", "none")
    rivals = [Rival(name, strength) for strength in strengths]
    if RIVALS[name].rule != "smaller rank":
        return strengths
    by_rank: dict[int, float] = {}
    for rival in rivals:
        by_rank.setdefault(rival.rank(rank), rival.strength)
    return tuple(by_rank.values())
