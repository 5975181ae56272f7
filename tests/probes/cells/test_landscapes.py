"""Cells that are measured together: each has what it has by itself."""

from math import isnan

import pandas as pd
import pytest
import torch

from probes.cells import evaluation
from probes.cells.landscapes import landscapes_of, measure_together
from probes.cells.leave_one_out import train_cell
from probes.cells.measure_cell import measure_cell, measure_cells
from probes.cli.stability_settings import StabilitySettings
from probes.landscape import assumption_audit
from probes.stability import measure
from tests.devices import DEVICES

SETTINGS = {"task": "digits", "n": 16, "p": (0.0, 0.5), "draws": 2, "steps": 20,
            "dtype": "float64"}  # fmt: skip
PENALTY = {"objective": "penalty", "strength": 0.5}


def trained(**settings):
    cells = StabilitySettings(**(SETTINGS | settings)).cells()
    return cells, [train_cell(cell) for cell in cells]


def assert_alike(cells, found, rows):
    for cell, one, own in zip(cells, found, rows, strict=True):
        pd.testing.assert_frame_equal(own, measure_cell(cell, one), rtol=1e-4)


@pytest.mark.parametrize("more", [{}, PENALTY, {"ensemble": (2,)}])
@pytest.mark.parametrize("device", DEVICES)
def test_each_has_the_rows_that_it_has_by_itself(device, more):
    cells, found = trained(device=device, **more)
    assert_alike(cells, found, measure_cells(cells, found, measure_together(cells, found)))


@pytest.mark.parametrize("replicas", [20, 5])
def test_what_does_not_fit_at_once_is_measured_in_blocks(monkeypatch, replicas):
    """Of 17 replicas a cell: one cell, and less than one."""
    cells, found = trained()
    weights = sum(weight.numel() for weight in found[0].network.weights)
    monkeypatch.setattr(evaluation, "JOINT_WEIGHTS", replicas * weights)
    monkeypatch.setattr(assumption_audit, "WEIGHTS_AT_ONCE", replicas * weights)
    assert_alike(cells, found, measure_cells(cells, found, measure_together(cells, found)))


def test_a_cell_that_diverged_leaves_the_others_alone():
    cells, found = trained()
    found[1].factors[0][0][0] = torch.nan
    found[2].factors[0][0][1:] = torch.nan
    together = measure_together(cells, found)
    assert isnan(together[1].curvature.value)
    assert "diverged" in together[1].curvature.how
    rows = measure_cells(cells, found, together)
    assert_alike(cells[::3], found[::3], rows[::3])
    assert rows[2]["audit_expansion_radius"][0] == 0


def test_on_a_cpu_and_with_few_weights_each_is_measured_by_itself():
    cells, found = trained()
    assert landscapes_of(cells, found) == []


@pytest.mark.parametrize("device", DEVICES[1:])
def test_a_sweep_on_another_device_has_the_rows_of_the_cpu(device):
    settings = SETTINGS | {"steps": 6}
    here, there = (measure(**settings, device=one).rows for one in ("cpu", device))
    pd.testing.assert_frame_equal(here, there.assign(device="cpu"), rtol=1e-4)
