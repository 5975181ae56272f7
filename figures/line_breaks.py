"""Where lines of titles, captions and answers may end: between words, but not beside a sign."""

import re
import textwrap

#: Signs between two words that stay beside both.
SIGN = re.compile(r" ([=±≤≥<>×]) ")
#: Blanks between a number and its unit, or what it counts in.
UNIT = re.compile(r"(?<=\d) (?=%)")


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

    Args:
        text: lines.
        width: characters a line; what must stay together and is longer has a line of its own.

    Returns:
        The lines.
    """
    return [
        part.replace("\u00a0", " ")
        for line in unbroken(text).splitlines()
        for part in textwrap.wrap(line, width, break_on_hyphens=False)
    ]
