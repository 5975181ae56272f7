"""Which numbers of README and docs come out differently when they are measured again?

    python -m benchmarks.claims            # the claims below, 14 minutes on two cores
    python -m benchmarks.claims --all      # and those about mask pairs a step, 2 minutes more
    python -m benchmarks.claims --draws 4  # a look at the machinery; most differs

What is measured is kept in a folder, so that a second run compares alone. A claim is a sentence of
the README or of a page in ``docs`` with its numbers left out. Filled with what was measured, it
must be found there. Numbers that take longer, or need more than the extra ``probes``, are listed
with the commands that print them.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from benchmarks.claimed_measurements import SECTIONS, measured, plans_of
from benchmarks.claimed_sentences import SENTENCES, claims_of_estimates
from probes.cli.command_line import leave
from probes.report.claims import Claims
from probes.report.page import by_question, claims_of
from probes.report.regimes import Regime, compare
from probes.report.sections import Plan, ReportSettings
from probes.results.text_tables import TextTable, print_table

ROOT = Path(__file__).parents[1]
#: Characters a line, where the output is no terminal.
WIDTH = 100
#: Where claims stand.
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
#: Numbers of these pages that are not compared, with the command that prints them and its time.
NOT_COMPARED = {
    "what the commands of the README print": "make stability (10 seconds), make test (12 minutes)",
    "overfitting at other n": "python -m probes.curves --p 0 --methods LoRA --draws 16 --n 32",
    "Theorem 4.4 with a strong penalty": (
        "python -m probes.verify --statement 4.4 --strength 1000 (10 seconds), and 1, 10, 100"
    ),
    "bounds from supersamples at other n": "python -m probes.information (2 minutes)",
    "bounds from supersamples at equal fit": (
        "python -m probes.information --matched --n 64 --p 0.1 0.3 --draws 32 --selections 64 "
        "--lr LR (5 minutes each)"
    ),
    "n from which a bound on the network says something": (
        "python -m probes.comparison --model network --draws 8 --lr LR"
    ),
    "stability of random halves": (
        "python -m probes.ensemble --rivals 8 --sizes 8 --bags 400 --p 0 0.3 --draws 8 --lr LR"
    ),
    "sets that cover, of other draws, and widened": (
        "python -m probes.coverage --task TASK --lr LR --draws 16, and --seed 1, 2 (a minute each)"
    ),
    "Gaussian masks": 'python -m probes.ablation --part "mask kind" --draws 16 --task TASK --lr LR',
    "tweets: overfitting": (
        "python -m probes.curves --task tweets --n 32 --draws 4 --p 0 --methods LoRA --lr 2e-3 "
        "--steps 150 (extra text)"
    ),
    "other draws of S": "python -m benchmarks.other_draws (25 minutes)",
    "what the reviewers asked": "python -m probes.QUESTION ..., above each number on the page",
    "mask pairs a step": "python -m benchmarks.claims --all",
    "rivals": "python -m probes.rivals --task TASK --lr LR",
    "gap over n": "python -m probes.generalization --n 32 64 128 --p 0 0.1 0.3 0.5 (8 minutes)",
    "what recommend claims among equals": "python -m benchmarks.recommend (10 minutes)",
    "attributions of other draws": (
        "python -m probes.attribution --p P --draws 8 --task TASK --lr LR --seed 1, and 2"
    ),
    "fine-tuning": "make figures: probes.finetune at n = 64 and 512 (an hour)",
    "fine-tuning with other seeds": (
        "python -m probes.finetune --task tweets --n 64 --held-out 300 --p 0 0.3 --ensemble 1 "
        "--draws 3 --seed 20 --learning_rate 1e-3 --num_train_epochs 30, and --seed 30 "
        "(15 minutes each)"
    ),
    "estimates corrected by checks, and the coverage of their interval": (
        "python -m benchmarks.influence --task TASK --lr LR --draws 128 (15 minutes each)"
    ),
    "estimates by damping": (
        "python -m benchmarks.influence --task TASK --lr LR --p 0.1 --damping 0.01 0.05 0.2 "
        "(a minute each)"
    ),
    "tweets: estimates": (
        "python -m benchmarks.influence --task tweets --n 32 --draws 6 --checked 8, and with "
        "--lr 2e-3 --steps 150 (extra text; 7 minutes)"
    ),
    "tweets: EK-FAC": (
        "python -m benchmarks.influence --task tweets --n 32 --draws 4 --solver ekfac, and with "
        "--lr 2e-3 --steps 150 (extra ekfac)"
    ),
    "speed": "make bench (extra bench)",
}


#: A section that is left out by default, for its time, and what its conclusions have in common.
LONG, LONG_TOPIC = "sensitivity", "mask pairs a step"

#: A conclusion: a point of a list that says in which regimes something holds.
CONCLUSION = re.compile(r"^- (.+?): .*(?: in both|only where it (?:does not|overfits))[;.]")


def pages_text() -> str:
    """README and pages, one after the other."""
    return "\n\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def plain(text: str) -> str:
    """A text without line breaks and emphasis."""
    return " ".join(text.replace("**", "").split())


def topics(text: str) -> list[str]:
    """What the conclusions of a text are about.

    >>> topics("- a loss: larger (p = 0.1)\\n  in both.\\n- a word: no conclusion.")
    ['a loss']
    """
    points = re.split(r"\n(?=\s*- |\s*\n)", "\n" + text)
    found = (CONCLUSION.match(plain(point)) for point in points)
    return [match.group(1) for match in found if match]


@dataclass(frozen=True)
class ClaimsSettings:
    """Measure the numbers of README and pages again and say which differ."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/claims")
    """Folder of what is measured."""

    draws: int = 16
    """Draws of S; those of the pages are 16, and half of them for estimates."""

    all: bool = False
    """Measure also what mask pairs a step do."""

    workers: int = 2
    """Processes of one thread each."""


def checked(
    results: Mapping[str, Any], plans: Mapping[str, Plan], text: str
) -> Iterator[tuple[str, str]]:
    """Compare every claim with README and pages.

    Args:
        results: what it is compared with, by key of their plan.
        plans: of these results.
        text: README and pages.

    Yields:
        The sentence as measured, and "same" or "differs".
    """
    written = plain(text)
    for claim in SENTENCES:
        sentence = claim.filled(results)
        yield sentence, "same" if sentence in written else "differs"
    concluded = (one for claims in claimed(results, plans) for one in compare(claims))
    found = {sentence.partition(":")[0]: sentence for sentence in concluded}
    for topic in topics(text):
        if LONG_TOPIC in topic and not any(plan.name == LONG for plan in plans.values()):
            continue
        sentence = found.get(topic, f"{topic}: not measured")
        yield sentence, "same" if sentence in written else "differs"


def claimed(
    results: Mapping[str, Any], plans: Mapping[str, Plan]
) -> Iterator[dict[Regime, Claims]]:
    """What the results say, by regime.

    Args:
        results: by key of their plan.
        plans: of these results.

    Yields:
        Claims by regime, a question at a time.
    """
    for joint, some in by_question(list(plans.values())).items():
        if joint == "influence":
            yield from claims_of_estimates(results)
        else:
            yield claims_of(some, results)


def tables(found: Sequence[tuple[str, str]]) -> list[TextTable]:
    """Return what is printed: every claim, and what is not compared.

    Args:
        found: of :func:`checked`.

    Returns:
        Two tables, whose words wrap at the width of the terminal.
    """
    # By these names of columns print_table knows that it may wrap them.
    claims = pd.DataFrame(found, columns=["found", "verdict"])
    left = pd.DataFrame(NOT_COMPARED.items(), columns=["quantity", "how"])
    return [
        TextTable(claims, "Claims of README and docs, as measured now", width=WIDTH),
        TextTable(left, "Not compared: the commands that print these numbers", width=WIDTH),
    ]


def main() -> None:
    """Compare the README with what is measured now; exit status 1 where anything differs."""
    settings = tyro.cli(ClaimsSettings, prog="benchmarks.claims", description=__doc__)
    sections = tuple(name for name in SECTIONS if settings.all or name != LONG)
    report = ReportSettings(
        out=settings.out, draws=settings.draws, workers=settings.workers, sections=sections
    )
    try:
        results = measured(report)
    except ValueError as error:
        leave(str(error), 2)
    found = list(checked(results, plans_of(report), pages_text()))
    for table in tables(found):
        print_table(table)
    differ = sum(verdict == "differs" for _, verdict in found)
    print(f"{differ} of {len(found)} claims differ.")
    sys.exit(int(differ > 0))


if __name__ == "__main__":
    main()
