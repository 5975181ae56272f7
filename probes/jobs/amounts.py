"""Amounts in words: how many of something, which of them, and from what to what."""

from collections.abc import Iterable


def how_many(count: int, noun: str, more: str = "") -> str:
    """Say how many of something there are.

    >>> how_many(1, "row"), how_many(0, "row"), how_many(2, "pass", "passes")
    ('1 row', '0 rows', '2 passes')

    Args:
        count: their number.
        noun: one of them.
        more: several of them; the noun with an "s" if left out.
    """
    return f"{count} {noun if count == 1 else more or f'{noun}s'}"


def from_to(low: float, high: float, form: str = "g") -> str:
    """Say between which ends numbers are, once where both ends read alike.

    >>> from_to(2.391, 2.394, ".3g"), from_to(2.38, 2.39, ".3g")
    ('2.39', '2.38 to 2.39')

    Args:
        low, high: the ends.
        form: how they are formatted.
    """
    return " to ".join(dict.fromkeys(f"{end:{form}}" for end in (low, high)))


def first_of(words: Iterable[str], most: int) -> str:
    """Name the first of several things, and say how many more there are.

    >>> first_of("abc", 3), first_of("abcde", 3)
    ('a, b, c', 'a, b, c and 2 more')

    Args:
        words: all of them.
        most: how many are named.
    """
    every = list(words)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
