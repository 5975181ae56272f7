"""On-average model stability, with every draw and every replacement enumerated."""

import pytest

from probes.statements.average_stability_cases import average_stability_cases, linear_loss_cases
from probes.statements.exact_minimisers import TASKS
from probes.statements.risk_cases import identity_cases
from probes.statements.setting import Setting


@pytest.mark.parametrize("task", TASKS)
def test_both_bounds_hold_for_the_gap_of_the_identity(task):
    setting = Setting(task, 3, 0.5, 0.1, 1, 2, 0.05, 0)
    cases = list(average_stability_cases(setting))
    assert {case.verdict for case in cases} <= {"holds", "vacuous"}
    gap = next(iter(identity_cases(setting))).measured
    assert [case.measured for case in cases] == pytest.approx([gap, gap], rel=1e-9)


def test_a_linear_loss_has_a_gap_and_no_curvature():
    (case,) = linear_loss_cases()
    assert (case.measured, case.bound, case.verdict) == (1.0, 0.0, "fails without its premise")
