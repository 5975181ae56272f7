"""The expected loss under masks and the 1/N law at the ends of the rates."""

import pytest

from probes.statements.case import VIOLATED
from probes.statements.dropout_loss_cases import TOO_RARE, expected_loss_cases
from probes.statements.ensemble_cases import squared_cases

#: At these the sampled masks drop nothing or too little, keep nothing or too little.
RARE = (1e-9, 1e-5, 0.99, 1 - 1e-9)


@pytest.mark.parametrize("p", [*RARE, 0.3])
@pytest.mark.parametrize("cases", [expected_loss_cases, squared_cases])
def test_rounding_and_rare_masks_refute_no_true_statement(cases, p):
    found = list(cases(p, seed=0))
    assert not [case for case in found if case.verdict == VIOLATED]
    sampled = [case for case in found if "masks of the layer" in case.reading]
    assert sampled
    assert {case.failed for case in sampled} == {TOO_RARE if p in RARE else ""}
