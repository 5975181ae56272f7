"""Where lines of titles, captions and answers may end: between words, but not beside a sign."""

import re
import textwrap

#: Signs between two words that stay beside both.
SIGN = re.compile(r" ([=±≤≥<>×]) ")
#: Blanks between a number and its unit, or what it counts in.
UNIT = re.compile(r"(?<=\d) (?=%)")
#: How a line begins that a shell is given.
COMMAND = "python -m "
#: What a shell reads as one word.
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def unbroken(text: str) -> str:
    """Put blanks that no line ends at between what belongs together.

    >>> unbroken("at p = 0.1")
    'at p\\xa0=\\xa00.1'
    """
    return UNIT.sub("\u00a0", SIGN.sub("\u00a0\\1\u00a0", text))


def wrapped(text: str, width: int) -> list[str]:
    """Break every line of a text between words, but not beside a sign such as = or ±.

    >>> wrapped("one two", 4), wrapped("at p = 0.1", 8)
    (['one', 'two'], ['at', 'p = 0.1'])
    >>> wrapped("of 0.1 ± 0.2 with 95 % intervals", 10)
    ['of', '0.1 ± 0.2', 'with 95 %', 'intervals']
    >>> print("\\n".join(wrapped("python -m probes.rivals --method 'weight decay'", 32)))
    python -m probes.rivals \\
    --method 'weight decay'

    Args:
        text: lines; one that is a command is broken as a shell takes it.
        width: characters a line; what must stay together and is longer has a line of its own.

    Returns:
        The lines.
    """
    return [
        part.replace("\u00a0", " ")
        for line in text.splitlines()
        for part in (_command if line.startswith(COMMAND) else _sentences)(line, width)
    ]


def _sentences(line: str, width: int) -> list[str]:
    return textwrap.wrap(unbroken(line), width, break_on_hyphens=False)


def _command(line: str, width: int) -> list[str]:
    """Every line but the last ends with a backslash; what is quoted stays together."""
    whole = QUOTED.sub(lambda found: found[0].replace(" ", "\u00a0"), line)
    *first, last = textwrap.wrap(whole, width - 2, break_on_hyphens=False, break_long_words=False)
    return [f"{part} \\" for part in first] + [last]
