"""A plugin of pytest: PEFT's own tests of LoRA run with this package's configs at rate 0.

python -m pytest -p benchmarks.peft_suite $OPTIONS --junitxml ours.xml TEST_FILE
python -m pytest -p benchmarks.peft_suite_models $OPTIONS --junitxml peft.xml TEST_FILE
python -m benchmarks.peft_suite peft.xml ours.xml

The options stand in benchmarks/README.md. The test file is one of PEFT's, of the version that is
installed. Models of the hub are built from configs in both runs. The last command counts, and names
what came out otherwise.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import peft

from benchmarks import peft_suite_models  # noqa: F401
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from probes.cli.command_line import leave

OUTCOMES = ("passed", "skipped", "failed")


class _OfPEFT(type):
    """Tests that ask whether something is a config of PEFT's get the answer of PEFT's class."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__mro__[3])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__mro__[3])


@dataclass
class LoraConfig(LoraDropoutConfig, metaclass=_OfPEFT):
    """``peft.LoraConfig`` as a user of this package has it without dropout."""

    dropout_rate: float | None = 0.0


@dataclass
class AdaLoraConfig(AdaLoraDropoutConfig, metaclass=_OfPEFT):
    """``peft.AdaLoraConfig`` as a user of this package has it without dropout."""

    dropout_rate: float | None = 0.0


# Where tests import them from.
peft.LoraConfig, peft.AdaLoraConfig = LoraConfig, AdaLoraConfig


def outcomes(report: str) -> dict[str, str]:
    """Read what became of each test.

    Args:
        report: file that ``pytest --junitxml`` wrote.

    Returns:
        "passed", "skipped" or "failed" by the test's name.

    Raises:
        ValueError: the file is no XML.
    """
    try:
        cases = ElementTree.parse(report).iter("testcase")
    except ElementTree.ParseError as error:
        raise ValueError(f"{report} is no report of pytest --junitxml: {error}") from None
    found = {}
    for case in cases:
        kinds = {child.tag for child in case}
        failed = bool(kinds & {"failure", "error"})
        name = f"{case.get('classname')}::{case.get('name')}"
        found[name] = "failed" if failed else "skipped" if "skipped" in kinds else "passed"
    return found


def compare(theirs: str, ours: str) -> str:
    """Count the tests of two runs, and name those that came out otherwise.

    Args:
        theirs, ours: files that ``pytest --junitxml`` wrote.

    Returns:
        A few lines.
    """
    runs = {"PEFT's config": outcomes(theirs), "ours at rate 0": outcomes(ours)}
    lines = [
        f"{name}: " + ", ".join(f"{Counter(run.values())[kind]} {kind}" for kind in OUTCOMES)
        for name, run in runs.items()
    ]
    first, second = runs.values()
    for test in sorted({*first, *second}):
        one, other = first.get(test, "not there"), second.get(test, "not there")
        if one != other:
            lines.append(f"  {test}: {one}, with ours {other}")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    """Print what two runs have in common and what not; one line where that cannot be read."""
    if len(words) != 2:
        leave("error: two reports of pytest --junitxml are needed, that of PEFT's configs first", 2)
    try:
        print(compare(*words))
    except (OSError, ValueError) as error:
        leave(f"error: {error}", 2)


if __name__ == "__main__":
    main(sys.argv[1:])
