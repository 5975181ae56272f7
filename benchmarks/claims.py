"""Which numbers of the README come out differently when they are measured again?

    python -m benchmarks.claims            # the claims below, under 10 minutes on two cores
    python -m benchmarks.claims --draws 4  # a look at the machinery; most differs

What is measured is kept in a folder, so that a second run compares alone. A claim is a sentence of
the README with its numbers left out. Filled with what was measured, it must be found there. Numbers
that take longer, or need more than the extra ``probes``, are listed with the commands that print
them.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from benchmarks.readme_measurements import SECTIONS, measured, plans_of
from benchmarks.readme_sentences import SENTENCES, estimates_in_both
from probes.cli.command_line import leave
from probes.report.page import by_question, conclusions
from probes.report.sections import Plan, ReportSettings
from probes.results.text_tables import TextTable, print_table

README = Path(__file__).parent.parent / "README.md"
#: Numbers of the README that are not compared, with the command that prints them and its time.
NOT_COMPARED = {
    "tests that pass": "make test (10 minutes)",
    "gap over n": "python -m probes.generalization --n 32 64 128 --p 0 0.1 0.3 0.5 (8 minutes)",
    "what recommend claims among equals": "python -m benchmarks.recommend (10 minutes)",
    "attribution at p = 0.3": (
        "python -m probes.attribution --p 0.3 --draws 8 --task TASK --lr LR (20 seconds each)"
    ),
    "fine-tuning": "make figures: probes.finetune at n = 64 and 512 (an hour)",
    "estimates corrected by checks, and the coverage of their interval": (
        "python -m benchmarks.influence --task TASK --lr LR --draws 128 (15 minutes each)"
    ),
    "estimates by damping": (
        "python -m benchmarks.influence --task TASK --damping 0.01 0.05 0.2 (3 minutes each)"
    ),
    "tweets: estimates": (
        "python -m benchmarks.influence --task tweets --n 32 --draws 6 --checked 8 (extra text)"
    ),
    "tweets: EK-FAC": (
        "python -m benchmarks.influence --task tweets --n 32 --draws 4 --solver ekfac (extra ekfac)"
    ),
    "speed": "make bench (extra bench)",
}


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
    """Draws of S; the README's are 16, and half of them for estimates."""

    workers: int = 2
    """Processes of one thread each."""


def checked(
    results: Mapping[str, Any], plans: Mapping[str, Plan], readme: str
) -> Iterator[tuple[str, str]]:
    """Compare every claim with the README.

    Args:
        results: what it is compared with, by key of their plan.
        plans: of these results.
        readme: its text.

    Yields:
        The sentence as measured, and "same" or "differs".
    """
    text = plain(readme)
    for claim in SENTENCES:
        sentence = claim.filled(results)
        yield sentence, "same" if sentence in text else "differs"
    found = {sentence.partition(":")[0]: sentence for sentence in _concluded(results, plans)}
    for topic in TOPIC.findall(readme):
        sentence = found.get(topic, f"{topic}: not measured")
        yield sentence, "same" if sentence in text else "differs"


def _concluded(results: Mapping[str, Any], plans: Mapping[str, Plan]) -> Iterator[str]:
    """What holds in which regime."""
    for joint, some in by_question(list(plans.values())).items():
        if joint == "influence":
            yield from estimates_in_both(results)
        else:
            yield from conclusions(some, results)


def main() -> None:
    """Compare the README with what is measured now; exit status 1 where anything differs."""
    settings = tyro.cli(ClaimsSettings, prog="benchmarks.claims", description=__doc__)
    report = ReportSettings(
        out=settings.out, draws=settings.draws, workers=settings.workers, sections=SECTIONS
    )
    try:
        results = measured(report)
    except ValueError as error:
        leave(str(error), 2)
    found = list(checked(results, plans_of(report), README.read_text(encoding="utf-8")))
    table = pd.DataFrame(found, columns=["measured now", "README"])
    print_table(TextTable(table, "Claims of the README, measured again"))
    left = pd.DataFrame(NOT_COMPARED.items(), columns=["not compared", "printed by"])
    print_table(TextTable(left, "Numbers of the README that are not compared"))
    sys.exit(int((table["README"] == "differs").any()))


if __name__ == "__main__":
    main()
