"""Numbers as sentences say them: as many digits as their interval allows."""

from collections.abc import Callable, Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any

import pandas as pd

from probes.jobs.amounts import how_many
from probes.metrics.confidence_intervals import EQUAL, SAME

#: From here on digits are not written out: they are those of a network that diverged.
LARGE = 1e6
#: Where a mean and its interval are below, zeros are not written out.
SMALL = 1e-6
#: What is below is 0 to four decimals.
HIDDEN = 5e-5
#: Verdicts of ``probes.cells.matched_controls.decide`` as they are printed.
MATCHED_VERDICTS = {
    "dropout": "dropout has less", "control": "control has less", "undecided": "not told apart",
    "not reached": "not reached",
}  # fmt: skip


def not_reached_in_words(decided: pd.DataFrame) -> list[str]:
    """Say what the verdict "not reached" is, where it is given: one draw decides nothing.

    >>> not_reached_in_words(pd.DataFrame({"verdict": ["not reached", "dropout"]}))
    ['not reached: in fewer than two draws']

    Args:
        decided: of ``probes.cells.matched_controls.decide``.
    """
    given = decided["verdict"].eq("not reached").any()
    return ["not reached: in fewer than two draws"] if given else []


def margin_in_words(share: float) -> str:
    """Say a margin, which a user chooses, without rounding it away.

    >>> margin_in_words(0.02), margin_in_words(0.005)
    ('2%', '0.5%')

    Args:
        share: in (0, 1).
    """
    return f"{100 * share:.4g}%"


def mean_in_words(row: Mapping[Any, Any], name: str) -> str:
    """Say a mean with half the width of its interval, and over how many draws if not over all.

    >>> mean_in_words({"beta": 0.5123, "beta_low": 0.4601}, "beta")
    '0.51 ± 0.05'
    >>> mean_in_words({"beta": 0.5123, "beta_low": float("nan")}, "beta")
    '0.512'
    >>> mean_in_words({"beta": 7.9e11, "beta_low": -6e11}, "beta")
    '7.9e+11 ± 1e+12'
    >>> mean_in_words({"beta": 2e-10, "beta_low": -5.8e-9}, "beta")
    '2e-10 ± 6e-09'
    >>> mean_in_words({"accuracy": 0.7, "accuracy_low": 0.7 - 1e-8}, "accuracy")
    '0.7'
    >>> lost = {"draws": 8, "gap_draws": 3}
    >>> mean_in_words({"gap": 0.5, "gap_low": 0.4} | lost, "gap")
    '0.50 ± 0.10 in 3 of 8 draws'

    Args:
        row: with ``name`` and ``name_low``, the lower end of a symmetric interval; with ``draws``
            and ``name_draws``, in how many of them the quantity is finite, where these are known.
        name: of the quantity.

    Returns:
        The mean to the first digit of what is uncertain, the second where the first is 1; to three
        digits where there is no interval, or values that differ by rounding alone, and "not known"
        where there is no mean.
    """
    mean, half = float(row[name]), float(row[name]) - float(row[f"{name}_low"])
    if not isfinite(mean):
        return "not known"
    return _with_half(mean, half) + in_draws(row, name)


def _with_half(mean: float, half: float) -> str:
    if not isfinite(half) or half <= SAME * abs(mean):
        return f"{mean:.3g}"
    if not SMALL <= max(abs(mean), half) < LARGE:
        return f"{mean:.2g} ± {half:.1g}"
    place = -floor(log10(half))
    places = max(0, place + (half * 10**place < 2))
    # "+ 0.0": what rounds to 0 has no sign.
    return f"{round(mean, places) + 0.0:.{places}f} ± {half:.{places}f}"


def in_draws(row: Mapping[Any, Any], name: str) -> str:
    """Say in how many draws a quantity is known, where that is not all of them.

    >>> in_draws({"draws": 8, "gap_draws": 3}, "gap"), in_draws({"draws": 8, "gap_draws": 8}, "gap")
    (' in 3 of 8 draws', '')

    Args:
        row: as for :func:`mean_in_words`.
        name: of the quantity.

    Returns:
        Words that go on from a number; empty where these counts are not known.
    """
    known, draws = row.get(f"{name}_draws"), row.get("draws")
    lost = known is not None and draws is not None and known < draws
    return f" in {known:g} of {draws:g} draws" if lost else ""


def too_few_draws(count: int, one: str, more: str = "") -> str:
    """Say of how many comparisons nothing is told; "" for none.

    >>> too_few_draws(2, "variant"), too_few_draws(0, "variant")
    ('2 variants are known in fewer than two draws, which tells nothing.', '')

    Args:
        count: of those that are known in a single draw, or in none.
        one, more: as for :func:`probes.jobs.amounts.how_many`.
    """
    known = f"{'is' if count == 1 else 'are'} known in fewer than two draws, which tells nothing."
    return f"{how_many(count, one, more)} {known}" if count else ""


def number_in_words(value: float, places: int = 4, sign: str = "") -> str:
    """Say a number with so many decimals, and no more digits than it has.

    >>> number_in_words(0.51234), number_in_words(-0.5, 3, "+"), number_in_words(float("nan"))
    ('0.5123', '-0.500', 'not known')
    >>> number_in_words(1.7e29), number_in_words(-0.00001), number_in_words(0.0, sign="+")
    ('1.7e+29', '0.0000', '0.0000')

    Args:
        value: the number.
        places: behind the point.
        sign: "+" for a sign before what is positive, too.

    Returns:
        The number; four digits of one that belongs to a network that diverged. What rounds to 0 has
        no sign.
    """
    if not isfinite(value):
        return "not known"
    if abs(value) >= LARGE:
        return f"{value:{sign}.4g}"
    said = f"{value:{sign}.{places}f}"
    return said if float(said) else f"{0:.{places}f}"


def interval_in_words(mean: float, low: float, sign: str = "") -> str:
    """Say a mean with four decimals, and half of its interval where that is known.

    >>> interval_in_words(0.5, 0.4), interval_in_words(0.5, float("-inf"), "+")
    ('0.5000 ± 0.1000', '+0.5000')
    >>> interval_in_words(2e-5, 1e-5, "+")
    '+2e-05 ± 1e-05'

    Args:
        mean: the mean.
        low: lower end of its interval, which is symmetric.
        sign: as for :func:`number_in_words`.

    Returns:
        The mean, with its interval.
    """
    half = mean - low
    return narrow_in_words(mean, half, sign) or number_in_words(mean, sign=sign) + (
        f" ± {number_in_words(half)}" if isfinite(half) else ""
    )


def narrow_in_words(mean: float, half: float, sign: str = "") -> str:
    """Say an interval of which four decimals would say that its width is 0; nothing of another.

    >>> narrow_in_words(0.5, 2e-6), narrow_in_words(-3e-6, 2e-6), narrow_in_words(0.5, 0.0)
    ('0.5000 ± 2e-06', '-3e-06 ± 2e-06', '')

    Args:
        mean: the mean.
        half: half of the interval's width; it is 0 up to rounding where values do not differ.
        sign: as for :func:`number_in_words`.
    """
    if not EQUAL * max(abs(mean), 1.0) < half < HIDDEN:
        return ""
    return f"{mean:{sign}.{'2g' if abs(mean) < HIDDEN else '4f'}} ± {half:.1g}"


def share_in_words(share: float) -> str:
    """Say a share; one below 1 is not rounded to all, and one above 0 not to nothing.

    >>> share_in_words(0.333), share_in_words(0.998), share_in_words(1.0), share_in_words(0.002)
    ('33%', 'more than 99%', '100%', 'less than 1%')

    Args:
        share: of something, from 0 to 1.
    """
    if 0 < share <= 0.005:
        return "less than 1%"
    return "more than 99%" if 0.995 <= share < 1 else f"{share:.0%}"


def draws_in_words(count: int, of: str = "S") -> str:
    """Say how many draws there are.

    Args:
        count: number of draws.
        of: what is drawn.

    Returns:
        Such as "8 draws of S".

    >>> draws_in_words(1), draws_in_words(8, "n pairs")
    ('1 draw of S', '8 draws of n pairs')
    """
    return f"{how_many(count, 'draw')} of {of}"


def intervals_in_words(draws: int) -> str:
    """Say what the intervals of means over so many draws are: of one draw there are none.

    >>> intervals_in_words(8), intervals_in_words(1)
    ('95 % intervals over draws', 'one draw: no intervals')
    """
    return "95 % intervals over draws" if draws > 1 else "one draw: no intervals"


def differences_in_words(draws: int) -> str:
    """Say what intervals of differences are, and that a title counts fewer than exclude 0.

    >>> differences_in_words(8)
    '95 % intervals over draws; counted: at 5 % for all together (Holm)'
    """
    counted = "; counted: at 5 % for all together (Holm)" if draws > 1 else ""
    return intervals_in_words(draws) + counted


def times(ratio: float) -> str:
    """Say a factor.

    >>> times(34.71), times(12345.6), times(1.23), times(0.0234), times(2.34e38)
    ('35', '12,000', '1.2', '0.023', '2.3e+38')
    """
    if not isfinite(ratio):
        return "infinitely many"
    if ratio >= LARGE or ratio < 1:
        return f"{ratio:.2g}"
    digits = floor(log10(ratio)) - 1
    rounded = round(ratio, -digits)
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}"


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "none"


def least_and_largest(table: pd.DataFrame, name: str) -> list[dict[Any, Any]]:
    """The rows with the smallest and the largest mean of a quantity; one row where these are equal.

    Args:
        table: of means; rows without a mean are left out.
        name: of the quantity.

    Returns:
        Two rows, one where both are the same, none where there is no mean.
    """
    known = table[table[name].abs() < float("inf")].sort_values(name, kind="stable")
    differ = known[name].nunique() > 1
    return (known.iloc[[0, -1]] if differ else known.iloc[:1]).to_dict("records")


def ends_in_words(table: pd.DataFrame, name: str, where: Callable[[Mapping[Any, Any]], str]) -> str:
    """Say the smallest and the largest mean of a quantity, and where they are.

    >>> table = pd.DataFrame({"p": [0.1, 0.3], "gap": [0.5, 0.7], "gap_low": [0.4, 0.6]})
    >>> ends_in_words(table, "gap", lambda row: f"p = {row['p']:g}")
    '0.50 ± 0.10 (p = 0.1) to 0.70 ± 0.10 (p = 0.3)'
    >>> ends_in_words(table.assign(gap=0.5), "gap", lambda row: f"p = {row['p']:g}")
    '0.50 ± 0.10 (p = 0.1; 1 other has the same mean)'

    Args:
        table: as for :func:`least_and_largest`, with what :func:`mean_in_words` asks for.
        name: of the quantity.
        where: names a row.

    Returns:
        The words; "" where there is no mean.
    """
    ends = least_and_largest(table, name)
    others = int((table[name].abs() < float("inf")).sum()) - 1
    same = len(ends) == 1 and others > 0
    more = f"; {how_many(others, 'other has', 'others have')} the same mean" if same else ""
    return " to ".join(f"{mean_in_words(row, name)} ({where(row)}{more})" for row in ends)
