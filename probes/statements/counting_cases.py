"""The counting bound for quantized updates, where every draw of S can be enumerated.

The hardest network to bound is one that has nothing to learn: each of 2^b networks is wrong on an
example with probability 1/2, independently of all others, and the one with the fewest errors on S
is taken. Its expected gap is 1/2 less the expected smallest share of errors.
"""

from collections.abc import Iterator

import numpy as np

from probes.statements.case import Case
from theory.zhu2024 import quantized_gap_bound

STATEMENT = "Counting bound"
#: Bits of all trained numbers together, and sizes of S.
BITS, SIZES = (1, 8, 64), (10, 100, 1000)


def expected_gap(bits: int, n: int) -> float:
    """Expected gap of the best of 2^bits networks that only guess.

    Args:
        bits: at least 0.
        n: size of S.

    Returns:
        The gap, in units of the 0-1 loss.
    """
    from scipy.stats import binom

    # E[min] is the sum of P(min >= k) over k from 1 on.
    log_tail = binom.logsf(np.arange(n), n, 0.5)
    return float(0.5 - np.exp(2.0**bits * log_tail).sum() / n)


def counting_cases() -> Iterator[Case]:
    """The bound for every number of bits, and with bits that are not counted.

    Source: Zhu et al. 2024 (arXiv 2402.16842), Lemma 4.5; Xu & Raginsky 2017 (arXiv 1705.07809).

    Yields:
        One case a size of S and number of bits, then one outside what is assumed.
    """
    for n in SIZES:
        for bits in BITS:
            yield _case(expected_gap(bits, n), bits, n, f"guessing, n = {n}, {bits} bits")
    n = SIZES[-1]
    yield _case(expected_gap(max(BITS), n), 1, n, f"uncounted bits, n = {n}, 1 of {max(BITS)}",
                failed="not all bits are counted")  # fmt: skip


def _case(measured: float, bits: int, n: int, setting: str, failed: str = "") -> Case:
    return Case(
        STATEMENT,
        "expected gap",
        setting,
        measured,
        float(quantized_gap_bound(bits=bits, parameters=1, loss_bound=1.0, n=n)),
        ceiling=1.0,
        chance=0.5,
        failed=failed,
        assumptions="every draw of S enumerated; 0-1 loss",
        command="--statement counting",
    )
