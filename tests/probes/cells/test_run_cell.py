"""A sweep's cells in groups: the same rows, kept one by one, halved where memory is short."""

import signal
from unittest.mock import patch

import pandas as pd
import pytest
import torch

from probes.cells import run_cell
from probes.cells.prepare import prepare, prepare_all
from probes.cells.run_cell import CellRun
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind, silent
from probes.jobs.store import Store
from probes.jobs.sweep import InterruptedSweepError, Sweep
from probes.stability import measure

SETTINGS = {"task": "digits", "n": 16, "p": (0.0, 0.5), "draws": 2, "steps": 6}


def cells(**settings):
    return StabilitySettings(**(SETTINGS | settings)).cells()


@pytest.fixture
def groups(monkeypatch):
    """The sizes of the groups that are trained from now on."""
    sizes, train = [], run_cell.train_cells

    def train_and_count(some, *arguments):
        sizes.append(len(some))
        return train(some, *arguments)

    monkeypatch.setattr(run_cell, "train_cells", train_and_count)
    return sizes


@pytest.mark.parametrize("more", [{}, {"warm_start": True, "ensemble": (2,), "optimizer": "sgd"}])
def test_rows_do_not_depend_on_the_group(groups, more):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together = measure(**SETTINGS, **more).rows
        assert groups == [4]
        with patch.object(CellRun, "groups", lambda self, cells, places: [[c] for c in cells]):
            single = measure(**SETTINGS, **more).rows
    finally:
        torch.set_num_threads(before)
    assert groups == [4]
    pd.testing.assert_frame_equal(together, single, check_exact=True)


def test_cells_that_differ_in_the_rate_alone_are_prepared_once():
    some = cells()
    ready = prepare_all(some)
    assert len({id(one) for one in ready}) == 2
    for cell, one in zip(some, ready, strict=True):
        alone = prepare(cell)
        assert one.columns == alone.columns
        assert one.training == alone.training
        assert torch.equal(one.index, alone.index)
        assert torch.equal(one.start[0][0], alone.start[0][0])


def test_groups_hold_every_cell_once_and_leave_no_place_idle():
    some = cells(draws=5)
    for places, expected in ((1, [5, 5]), (2, [5, 5]), (3, [3, 3, 4]), (20, [1] * 10)):
        found = CellRun().groups(some, places)
        assert sorted(map(len, found)) == expected
        assert {cell for group in found for cell in group} == set(some)


def test_what_is_shaped_otherwise_or_estimated_is_not_together():
    # Without masks there is a single sample a step.
    assert [len(group) for group in CellRun().groups(cells(samples=2), 1)] == [2, 2]
    assert {len(group) for group in CellRun().groups(cells(method="influence"), 1)} == {1}


def test_a_group_that_is_stopped_keeps_the_cells_that_are_done(groups, monkeypatch, tmp_path):
    measure_cell, measured = run_cell.measure_cell, []

    def stop_at_the_third(cell, *arguments):
        measured.append(cell)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure_cell(cell, *arguments)

    monkeypatch.setattr(run_cell, "measure_cell", stop_at_the_third)
    store = Store(tmp_path, "code")
    with pytest.raises(InterruptedSweepError, match="interrupted after 2 of 4 cells"):
        Sweep(CellRun(), store)(cells())
    monkeypatch.setattr(run_cell, "measure_cell", measure_cell)
    assert len(Sweep(CellRun(), store)(cells())[TableKind.ROWS]) == 4 * SETTINGS["n"]
    assert groups == [4, 2]


def interrupt_at(number, function, signals=1):
    """The function, which is interrupted by Ctrl-C when it is called for that time."""
    calls = []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
        return function(*arguments)

    return call


@pytest.mark.parametrize("where", ["measure_cell", "landscapes_of"])
def test_trained_cells_of_a_group_are_kept_before_ctrl_c_acts(groups, monkeypatch, tmp_path, where):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(run_cell, where, interrupt_at(1, getattr(run_cell, where)))
    store = Store(tmp_path, "code")
    with pytest.raises(InterruptedSweepError, match="interrupted after 4 of 4 cells"):
        Sweep(CellRun(), store)(cells())
    assert signal.getsignal(signal.SIGINT) is before
    assert len(Sweep(CellRun(), store)(cells())[TableKind.ROWS]) == 4 * SETTINGS["n"]
    assert groups == [4]


def test_a_second_ctrl_c_does_not_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(run_cell, "measure_cell", interrupt_at(2, run_cell.measure_cell, 2))
    with pytest.raises(InterruptedSweepError, match="interrupted after 1 of 4 cells"):
        Sweep(CellRun(), Store(tmp_path, "code"))(cells())


def test_a_cell_whose_file_was_just_written_counts_as_kept(monkeypatch, tmp_path):
    save = Store.save

    def save_and_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", save_and_stop)
    with pytest.raises(InterruptedSweepError, match="interrupted after 1 of 4 cells"):
        Sweep(CellRun(), Store(tmp_path, "code"))(cells())


def full_at_first(function, calls):
    """A training that runs out of the GPU's memory when it is called first."""

    def train(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 1:
            raise torch.OutOfMemoryError
        return function(*arguments, **more)

    return train


def test_a_group_that_does_not_fit_is_halved_once_and_that_is_said(monkeypatch, capsys):
    some, calls = cells(), []
    monkeypatch.setattr(run_cell, "train_cells", full_at_first(run_cell.train_cells, calls))
    tables = list(CellRun().run_group(some, silent))
    assert [len(arguments[0]) for arguments in calls] == [4, 2, 2]
    assert len(tables) == 4
    assert capsys.readouterr().err == (
        "the GPU's memory is full: 2 cells of this block at a time\n"
    )


def test_a_block_that_does_not_fit_is_halved_once_and_that_is_said(monkeypatch, capsys):
    (cell,), calls = cells(p=(0.5,), draws=1), []
    monkeypatch.setattr(run_cell, "train_part", full_at_first(run_cell.train_part, calls))
    CellRun()(cell, silent)
    lengths = [[rows.stop - rows.start for rows in arguments[2]] for arguments in calls]
    assert lengths == [[17], [8, 9]]
    assert "9 replicas of this block at a time" in capsys.readouterr().err


def full(*arguments, **more):
    raise torch.OutOfMemoryError


def test_cells_that_cannot_be_measured_together_are_measured_one_by_one(monkeypatch, capsys):
    some = cells()
    expected = [tables[TableKind.ROWS] for tables in CellRun().run_group(some, silent)]
    monkeypatch.setattr(run_cell, "landscapes_of", full)
    for tables, rows in zip(CellRun().run_group(some, silent), expected, strict=True):
        pd.testing.assert_frame_equal(tables[TableKind.ROWS], rows, check_exact=True)
    assert capsys.readouterr().err == (
        "the GPU's memory is full: curvature is measured on the CPU, cell by cell\n"
    )


@pytest.mark.parametrize("place", ["prepare", "train_part", "joined", "measure_cell"])
def test_a_cell_that_does_not_fit_at_all_is_said_in_a_line(monkeypatch, place):
    monkeypatch.setattr(run_cell, place, full)
    with pytest.raises(ValueError, match="max_memory must be less than what is free on cpu"):
        CellRun()(cells()[0], silent)


@pytest.mark.parametrize("place", ["prepare_all", "train_cells", "joined", "measure_cell"])
def test_cells_that_do_not_fit_at_all_are_said_in_a_line(monkeypatch, place):
    monkeypatch.setattr(run_cell, place, full)
    with pytest.raises(ValueError, match="max_memory must be less than what is free on cpu"):
        list(CellRun().run_group(cells(), silent))
