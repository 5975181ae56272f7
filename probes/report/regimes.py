"""Regimes: what holds whether or not the plain network overfits, and what in one only."""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.curves import CurvesResult, overfits
from probes.jobs.amounts import how_many
from probes.report.claims import UNDECIDED, Claims
from probes.results.answer_words import number_in_words

#: Learning rates at which each task is measured: one at which the network without dropout does not
#: overfit, and one at which it does.
LEARNING_RATES = {"digits": (1e-3, 5e-3), "breast_cancer": (3e-3, 3e-2), "ridge": (2e-3, 2e-2)}

#: Outcomes that tell nothing.
NOTHING_TOLD = (UNDECIDED, "not measured", "not reached", "not shown", "undecided")


@dataclass(frozen=True)
class Regime:
    """A learning rate of a task, and what the network without dropout does there.

    Attributes:
        task: the task.
        lr: learning rate.
        n: examples of S: with fewer the network may overfit where it does not with these.
        train_loss, test_loss: at the end, means over draws.
        best_loss: mean of every draw's least test loss along training.
        overfits: whether the test loss ends above its best; None where too few draws did not
            diverge.
    """

    task: str
    lr: float
    n: int
    train_loss: float
    test_loss: float
    best_loss: float
    overfits: bool | None

    @classmethod
    def of(cls, result: CurvesResult) -> "Regime":
        """Read the regime off the curves of the network without dropout.

        Args:
            result: of the method LoRA at p = 0.
        """
        first = result.rows.iloc[0]
        summary = result.summary
        row = summary[(summary["method"] == "LoRA") & (summary["p"] == 0)].iloc[0]
        return cls(
            str(first["task"]), float(first["lr"]), int(first["n"]), float(row["train_loss"]),
            float(row["test_loss"]), float(row["best_loss"]), overfits(row),
        )  # fmt: skip

    @property
    def verdict(self) -> str:
        """What the network without dropout does, in words."""
        return {True: "overfits", False: "does not overfit", None: "diverges"}[self.overfits]

    def __str__(self) -> str:
        return (
            f"learning rate {self.lr:g}: the network without dropout {self.verdict} at n = "
            f"{self.n} (train loss {number_in_words(self.train_loss)}, test loss "
            f"{number_in_words(self.test_loss, 3)}, lowest during training "
            f"{number_in_words(self.best_loss, 3)})"
        )


def compare(claims: Mapping[Regime, Claims]) -> list[str]:
    """Say of every claim in which regimes it holds.

    Args:
        claims: what the results of one question say, by regime.

    Returns:
        A sentence a topic, such as "β against p = 0: smaller (p = 0.3) in both."
    """
    where = _names(list(claims))
    # Of a topic without an item nothing is said.
    topics = dict.fromkeys(topic for one in claims.values() for topic in one if one[topic])
    return [f"{topic}: {_told(topic, claims, where)}." for topic in topics]


def alike(claims: Mapping[Regime, Claims]) -> str:
    """Say of how many items the outcome is the same in all regimes.

    Args:
        claims: what the results of one question say, by regime.
    """
    items = {(topic, item) for one in claims.values() for topic in one for item in one[topic]}
    outcomes = [{one.get(topic, {}).get(item) for one in claims.values()} for topic, item in items]
    same = [found.pop() for found in outcomes if len(found) == 1]
    undecided = sum(tells_nothing(str(outcome)) for outcome in same)
    where = "both regimes" if len(claims) == 2 else f"all {len(claims)} regimes"
    return (
        f"The outcome is the same in {where} in {len(same)} of "
        f"{how_many(len(items), 'comparison')}; "
        f"undecided or not measured: {undecided} of these."
    )


def tells_nothing(outcome: str) -> bool:
    """Whether an outcome leaves open what holds.

    Args:
        outcome: of an item; it may go on with the draws in which it is known.

    >>> tells_nothing("not told apart (in 3 of 4 draws)"), tells_nothing("smaller")
    (True, False)
    """
    return outcome.partition(" (")[0] in NOTHING_TOLD


def _told(topic: str, claims: Mapping[Regime, Claims], where: Mapping[Regime, str]) -> str:
    """The outcomes of a topic, those alike together."""
    everywhere = "in both" if len(claims) == 2 else f"in all {len(claims)}"
    found: dict[tuple[str, str], list[str]] = {}
    for item in dict.fromkeys(item for one in claims.values() for item in one.get(topic, {})):
        outcomes = {
            regime: one[topic][item] for regime, one in claims.items() if item in one.get(topic, {})
        }
        if len(outcomes) == len(claims) and len(set(outcomes.values())) == 1:
            outcomes = dict.fromkeys([next(iter(claims))], next(iter(outcomes.values())))
            places = dict.fromkeys(outcomes, everywhere)
        else:
            places = {regime: where[regime] for regime in outcomes}
        for regime, outcome in outcomes.items():
            found.setdefault((outcome, places[regime]), []).append(item)
    # What holds in all regimes comes first.
    ordered = sorted(found.items(), key=lambda one: one[0][1] != everywhere)
    return "; ".join(f"{outcome} ({_listed(some)}) {place}" for (outcome, place), some in ordered)


def _listed(items: list[str]) -> str:
    """Name items; those of a kind, such as rates, name it once."""
    kinds: dict[str, list[str]] = {}
    for item in items:
        kind, _, value = item.rpartition(" = ")
        if not kind or "," in value:
            kinds[item] = []
        else:
            kinds.setdefault(kind, []).append(value)
    return "; ".join(
        f"{kind} = {', '.join(values)}" if values else kind for kind, values in kinds.items()
    )


def _names(regimes: list[Regime]) -> dict[Regime, str]:
    """What each regime is called: by whether the network overfits, where that tells them apart."""
    kinds = [regime.overfits for regime in regimes]
    if len(set(kinds)) == len(kinds):
        names = {True: "overfits", False: "does not", None: "diverges"}
        return {regime: f"only where it {names[regime.overfits]}" for regime in regimes}
    return {regime: f"only at learning rate {regime.lr:g}" for regime in regimes}
