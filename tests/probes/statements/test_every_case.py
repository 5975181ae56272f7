"""No case is dropped unseen: fewer checks would pass as well."""

import pytest

from probes import verify
from probes.statements import random_cases

pytestmark = pytest.mark.slow

#: Cases of every statement in one setting: those that we claim, those that are not true as printed,
#: and those in which a premise is missing.
CASES = {
    "sparsity": (2, 0, 0), "4.1": (1, 0, 0), "4.2": (51, 0, 0), "4.3": (2, 1, 0), "4.4": (1, 0, 0),
    "4.5": (2, 0, 1), "gap": (2, 0, 0), "loss": (8, 0, 0), "1/N": (11, 0, 0), "coin": (27, 0, 0),
    "random": (3, 0, 3), "uniform": (36, 0, 4), "information": (140, 0, 5),
    "subbagging": (19, 0, 3), "jackknife": (72, 0, 18), "hardt": (9, 0, 3), "lei": (2, 0, 1),
    "pac-bayes": (18, 0, 1), "test-set": (12, 0, 1), "counting": (9, 0, 1), "arora": (5, 0, 1),
    "counterexamples": (24, 1, 23),
}  # fmt: skip


@pytest.mark.parametrize("statement", verify.STATEMENTS)
def test_every_case_is_tried(statement, monkeypatch):
    monkeypatch.setattr(random_cases, "PROBLEMS", 40)
    one = {"task": "ridge", "n": 12, "p": 0.3, "strength": 0.1, "coverage_draws": 3}
    result = verify.measure(statement=statement, **one)
    missing = result.rows["failed"] != ""
    printed = ~result.rows["provable"] & ~missing
    assert (len(result.claimed), printed.sum(), missing.sum()) == CASES[statement]
