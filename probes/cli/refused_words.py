"""Words of a command line that are refused: each by its flag, what is allowed, and the word."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from types import NoneType
from typing import Any, get_args

from probes.cli.setting_types import WORDS, kind_of_values

#: What the parser frames its messages with.
FRAME = "│╭╮╰╯|+ "
RULE = "─-│╭╮╰╯|+ "


def check_words(declared: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuse what the parser would pass over: an empty value, one value too many, or too few.

    Args:
        declared: types of the settings, by name.
        words: of the command line.

    Raises:
        ValueError: a flag that takes a value has an empty one, one that takes none has one, or one
            that takes several is there twice, of which the last alone would count.
    """
    seen = set()
    for name, values in _flags(declared, words):
        if "" in values:
            raise ValueError(f"{name} must not be empty; got ''")
        if declared[name] is bool and values:
            raise ValueError(f"{name} must be given without a value; got {' '.join(values)}")
        several = kind_of_values(declared[name])[1]
        if several and not values:
            raise ValueError(f"{name} must have a value; got none")
        if len(values) > 1 and not several:
            raise ValueError(f"{name} must be one value; got {' '.join(values)}")
        if name in seen and several:
            raise ValueError(f"{name} must be given once, with all its values; got it twice")
        seen.add(name)


def refusal(declared: Mapping[str, Any], words: Sequence[str], complaint: str) -> str:
    """Say in a line what the parser complains of.

    Args:
        declared: types of the settings, by name.
        words: of the command line.
        complaint: of the parser, framed and with the help below a rule.

    Returns:
        One line, which names the setting, what is allowed and the value where these are known.
    """
    for name, values in _flags(declared, words):
        kind, several = kind_of_values(declared[name])
        no_value = ("None",) if NoneType in get_args(declared[name]) else ()
        wrong = [value for value in values if value not in no_value and not _is(kind, value)]
        if wrong:
            hint = ", but several have blanks between them" if several and "," in wrong[0] else ""
            return f"{name} must be {WORDS.get(kind, 'a value')}; got {wrong[0]!r}{hint}"
        if not values and not several and kind is not bool:
            return f"{name} must have a value; got none"
        if "Missing value" in complaint and values and values[0].startswith("-"):
            flag = name.replace("_", "-")
            return (
                f"{name} must be given as --{flag}=VALUE if that begins with -; got {values[0]!r}"
            )
    told = [line.strip(FRAME) for line in complaint.splitlines()[1:]]
    missing = takewhile(lambda line: "nrecognized" not in line, told)
    named = [re.match("--([a-z][a-z-]*)", line) for line in missing]
    needed = [found[1].replace("-", "_") for found in named if found]
    if "(required)" in complaint and needed:
        return f"{' and '.join(needed)} must be given"
    lines = takewhile(lambda line: "help" not in line.lower(), told)
    return " ".join(line for line in lines if line.strip(RULE))


def _flags(declared: Mapping[str, Any], words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The settings that the words name, each with the words behind it."""
    for at, word in enumerate(words):
        flag, given, value = word.partition("=")
        name = flag[2:].replace("-", "_")
        if flag.startswith("--") and name in declared:
            behind = takewhile(lambda one: not re.match("--[a-z]", one), words[at + 1 :])
            yield name, [value] if given else list(behind)


def _is(kind: Any, word: str) -> bool:
    """Whether a word can be read as a number, where one is asked for."""
    if kind not in (int, float):
        return True
    try:
        kind(word)
    except ValueError:
        return False
    return True
