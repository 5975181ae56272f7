"""Curvature and expansion of cells together: what each has by itself."""

from math import isnan

import pandas as pd
import pytest
import torch

from probes.cells.landscapes import landscapes_of, measure_together
from probes.cells.leave_one_out import train_cell
from probes.cells.measure_cell import measure_cell
from probes.cli.stability_settings import StabilitySettings
from probes.stability import measure
from tests.devices import DEVICES

SETTINGS = {"task": "digits", "n": 16, "p": (0.0, 0.5), "draws": 2, "steps": 20}
PENALTY = {"objective": "penalty", "strength": 0.5}


def trained(**settings):
    cells = StabilitySettings(**(SETTINGS | settings)).cells()
    return cells, [train_cell(cell) for cell in cells]


def assert_alike(known, cell, one):
    curvature, expansion = known.curvature, known.expansion
    row = measure_cell(cell, one).iloc[0]
    assert curvature.value == pytest.approx(row["curvature"], rel=1e-4)
    assert curvature.how == row["curvature_how"]
    assert expansion.radius == row["audit_expansion_radius"]


@pytest.mark.parametrize("more", [{}, PENALTY])
@pytest.mark.parametrize("device", DEVICES)
def test_each_is_what_it_is_by_itself(device, more):
    cells, found = trained(device=device, **more)
    for known, cell, one in zip(measure_together(cells, found), cells, found, strict=True):
        assert_alike(known, cell, one)


def test_a_cell_that_diverged_leaves_the_others_alone():
    cells, found = trained()
    found[1].factors[0][0][0] = torch.nan
    found[2].factors[0][0][1:] = torch.nan
    together = measure_together(cells, found)
    assert isnan(together[1].curvature.value)
    assert "diverged" in together[1].curvature.how
    for number in (0, 3):
        assert_alike(together[number], cells[number], found[number])
    row = measure_cell(cells[2], found[2], together[2]).iloc[0]
    assert row["audit_expansion_radius"] == 0


def test_on_a_cpu_and_with_few_weights_each_is_measured_by_itself():
    cells, found = trained()
    assert landscapes_of(cells, found) == []


@pytest.mark.parametrize("device", DEVICES[1:])
def test_a_sweep_on_another_device_has_the_rows_of_the_cpu(device):
    settings = SETTINGS | {"steps": 6, "dtype": "float64"}
    here, there = (measure(**settings, device=one).rows for one in ("cpu", device))
    pd.testing.assert_frame_equal(here, there.assign(device="cpu"), rtol=1e-4)
