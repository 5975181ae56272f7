"""Which numbers of the README come out differently when they are measured again?

    python -m benchmarks.claims            # the claims below, about 10 minutes
    python -m benchmarks.claims --draws 4  # a look at the machinery; most differs

What is measured is kept in a folder, so that a second run compares alone. A claim is a sentence of
the README with its numbers left out. Filled with what was measured, it must be found there.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from probes.cli.command_line import leave
from probes.report.page import by_question, conclusions
from probes.report.regimes import LEARNING_RATES, Regime
from probes.report.sections import ReportSettings
from probes.results.stability_result import StabilityResult
from probes.results.text_tables import TextTable, print_table
from probes.stability import measure

README = Path(__file__).parent.parent / "README.md"
#: What is measured as the report measures it.
SECTIONS = (
    "stability", "matched", "ensemble", "curves", "calibration", "ablation", "sensitivity",
    "verify",
)  # fmt: skip


class Measurements(Mapping[str, Any]):
    """Results by the key of their plan in the report, measured when one is asked for, and kept.

    Args:
        settings: of the report whose plans are measured.
    """

    def __init__(self, settings: ReportSettings) -> None:
        self.settings = settings
        self.plans = {plan.key: plan for plan in settings.plans()}
        self.found: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        """Return a result, measured on the first call."""
        if key not in self.found:
            print(f"{key} ...", file=sys.stderr)
            plan = self.plans[key]
            self.found[key] = plan.probe.run_with(plan.settings)
        return self.found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.plans)

    def __len__(self) -> int:
        return len(self.plans)


@dataclass(frozen=True)
class Claim:
    """A sentence of the README.

    Attributes:
        sentence: with a format field for every number.
        numbers: measures the fields.
    """

    sentence: str
    numbers: Callable[[Measurements], Mapping[str, Any]]

    def filled(self, measured: Measurements) -> str:
        """The sentence with what was measured."""
        return self.sentence.format(**self.numbers(measured))

    @property
    def pattern(self) -> str:
        """The sentence with any numbers, as a regular expression."""
        parts = re.split(r"\{[^}]*\}", self.sentence)
        return r"[−+0-9.,]+".join(re.escape(part) for part in parts)


#: A conclusion of the README, up to its colon: a point below a point.
TOPIC = re.compile(r"^  - (.+?): ", re.MULTILINE)


def plain(text: str) -> str:
    """A text without line breaks and emphasis."""
    return " ".join(text.replace("**", "").split())


@dataclass(frozen=True)
class ClaimsSettings:
    """Measure the README's numbers again and say which differ."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/claims")
    """Folder of what is measured."""

    draws: int = 16
    """Draws of S; the README's are 16."""

    workers: int = 2
    """Processes of one thread each."""


def checked(measured: Measurements, readme: str) -> Iterator[tuple[str, str]]:
    """Compare every claim with the README.

    Args:
        measured: what it is compared with.
        readme: its text.

    Yields:
        The sentence as measured, and "same" or "differs".
    """
    text = plain(readme)
    for claim in SENTENCES:
        sentence = claim.filled(measured)
        yield sentence, "same" if sentence in text else "differs"
    found = {
        sentence.partition(":")[0]: sentence
        for plans in by_question(list(measured.plans.values())).values()
        for sentence in conclusions(plans, measured)
    }
    for topic in TOPIC.findall(readme):
        sentence = found.get(topic, f"{topic}: not measured")
        yield sentence, "same" if sentence in text else "differs"


def _regime_numbers(task: str, lr: float) -> Callable[[Measurements], Mapping[str, Any]]:
    return lambda measured: vars(Regime.of(measured[f"regime-{task}-{lr:g}"]))


def _ensemble_costs(lr: float) -> Callable[[Measurements], Mapping[str, Any]]:
    """How much worse 64 members are than the expected weight, by rate."""

    def numbers(measured: Measurements) -> Mapping[str, Any]:
        summary = measured[f"ensemble-{lr:g}"].summary
        largest = summary[summary["ensemble"] == summary["ensemble"].max()]
        return {f"p{10 * row.p:g}": row.against_expected for row in largest.itertuples()}

    return numbers


def _against_one_member(lr: float) -> Callable[[Measurements], Mapping[str, Any]]:
    """Least and largest differences of 16 members to one, at p = 0.1, 0.3 and 0.5."""

    def numbers(measured: Measurements) -> Mapping[str, Any]:
        result: StabilityResult = measured[f"stability-{lr:g}"]
        table = result.ensemble_summary
        table = table[(table["ensemble"] == 16) & (table["against"] == "one member")]
        table = table[table["p"] <= 0.5]
        return {
            "risk_least": -table["test_loss"].max(), "risk_most": -table["test_loss"].min(),
            "gap_least": -table["gap"].max(), "gap_most": -table["gap"].min(),
        }  # fmt: skip

    return numbers


def _ablation_losses(lr: float) -> Callable[[Measurements], Mapping[str, Any]]:
    def numbers(measured: Measurements) -> Mapping[str, Any]:
        summary = measured[f"ablation-{lr:g}"].summary
        losses = summary[summary["part"] == "dropout when"].set_index("variant")["test_loss"]
        return {str(name).replace(" ", "_"): value for name, value in losses.items()}

    return numbers


def _calibration_errors(lr: float) -> Callable[[Measurements], Mapping[str, Any]]:
    def numbers(measured: Measurements) -> Mapping[str, Any]:
        summary = measured[f"calibration-{lr:g}"].summary
        end = summary[summary["moment"] == "end"].set_index("inference")
        return {
            "plain": end["ece"]["no masks"], "floor": end["ece_floor"]["no masks"],
            "dropout": end["ece"]["expected weight"],
            "dropout_floor": end["ece_floor"]["expected weight"],
        }  # fmt: skip

    return numbers


def _single_estimates(measured: Measurements) -> Mapping[str, Any]:
    """Share of the estimates at a minimiser of L_lambda that are within 5 %, in percent."""
    shares = {}
    for name, strength in (("weak", 0.1), ("strong", 1.0)):
        rows = measure(
            task="breast_cancer", objective="penalty", strength=strength, steps=3000, lr=1e-2,
            p=0.1, draws=8, method="influence", validate=64, workers=measured.settings.workers,
            out=measured.settings.out / f"minimiser-{strength:g}",
        ).rows  # fmt: skip
        estimated = rows["loss_left_out"] - rows["loss_kept"]
        retrained = rows["loss_retrained"] - rows["loss_kept"]
        shares[name] = 100 * ((estimated / retrained - 1).abs() <= 0.05).mean()
    return shares


def _verified(measured: Measurements) -> Mapping[str, Any]:
    return {"checks": len(measured["verify"].claimed)}


SLOW, FAST = LEARNING_RATES["digits"]
#: Sentences of the README with numbers of this project's own measurements.
SENTENCES = (
    Claim(
        "at learning rate 1e-3 it ends at a train loss of {train_loss:.3f} and a test loss of "
        "{test_loss:.2f}, best on the way {best_loss:.2f}",
        _regime_numbers("digits", SLOW),
    ),
    Claim(
        "at 5e-3 at {train_loss:.4f} and {test_loss:.2f}, best on the way {best_loss:.2f}",
        _regime_numbers("digits", FAST),
    ),
    Claim(
        "By {p1:.3f}, {p3:.3f} and {p5:.3f} at p = 0.1, 0.3 and 0.5 where the network does not "
        "overfit",
        _ensemble_costs(SLOW),
    ),
    Claim("by {p1:.3f}, {p3:.3f} and {p5:.3f} where it does", _ensemble_costs(FAST)),
    Claim(
        "16 members have a lower test loss than one by {risk_least:.2f} to {risk_most:.2f} where "
        "the network does not overfit",
        _against_one_member(SLOW),
    ),
    Claim(
        "by {risk_least:.2f} to {risk_most:.2f} where it does, with a gap that is smaller by "
        "{gap_least:.2f} to {gap_most:.2f}",
        _against_one_member(FAST),
    ),
    Claim(
        "never dropping ends at {never:.2f}, dropping in training at {training_alone:.2f} where "
        "the network does not overfit",
        _ablation_losses(SLOW),
    ),
    Claim("at {never:.2f} and {training_alone:.2f} where it does", _ablation_losses(FAST)),
    Claim(
        "Without dropout {plain:.3f} (noise alone: {floor:.3f}), with p = 0.3 {dropout:.3f} "
        "({dropout_floor:.3f}) where the network does not overfit",
        _calibration_errors(SLOW),
    ),
    Claim(
        "{plain:.3f} ({floor:.3f}) and {dropout:.3f} ({dropout_floor:.3f}) where it does",
        _calibration_errors(FAST),
    ),
    Claim("{weak:.1f} and {strong:.1f} % of the single estimates are", _single_estimates),
    Claim("All {checks:,} checks of true statements pass", _verified),
)


def main() -> None:
    """Compare the README with what is measured now; exit status 1 where anything differs."""
    settings = tyro.cli(ClaimsSettings, prog="benchmarks.claims", description=__doc__)
    report = ReportSettings(
        out=settings.out, draws=settings.draws, workers=settings.workers, sections=SECTIONS
    )
    try:
        measured = Measurements(report)
    except ValueError as error:
        leave(str(error), 2)
    found = list(checked(measured, README.read_text(encoding="utf-8")))
    table = pd.DataFrame(found, columns=["measured now", "README"])
    print_table(TextTable(table, "Claims of the README, measured again"))
    sys.exit(int((table["README"] == "differs").any()))


if __name__ == "__main__":
    main()
