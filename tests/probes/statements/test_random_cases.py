"""Random leave-outs: what is inside the premise of Proposition 4.2 and what is not."""

import numpy as np
import pytest

from probes.statements import random_cases as module
from probes.statements.case import case_table
from probes.statements.random_cases import leave_outs, random_cases
from theory.closeness import CLOSE_CONSTANT


@pytest.fixture(scope="module")
def table():
    return leave_outs(seed=1, problems=300)


def test_inside_the_premise_nothing_exceeds_its_bound_and_outside_something_does(table):
    close, far = table[table["close"]], table[~table["close"]]
    assert min(len(close), len(far)) > 100
    assert close["printed"].max() <= 1
    assert close["local"].max() <= 1
    assert close["raw"].max() <= CLOSE_CONSTANT
    assert far["printed"].max() > 1


def test_the_bounds_differ_by_the_constant(table):
    moved = table[table["printed"] > 0]
    assert np.allclose(moved["local"], moved["printed"] * 2 / CLOSE_CONSTANT)


def test_the_cases_say_how_many_were_tried(monkeypatch):
    monkeypatch.setattr(module, "PROBLEMS", 40)
    cases = case_table(random_cases(1))
    inside = cases[cases["failed"] == ""]
    assert set(inside["verdict"]) == {"holds"}
    assert inside["bound"].tolist() == [1, 1, CLOSE_CONSTANT]
    worst = leave_outs(1, 40).groupby("close")[["printed", "local", "raw"]].max()
    assert inside["measured"].tolist() == worst.loc[True].tolist()
    assert cases.loc[cases["failed"] != "", "measured"].tolist() == worst.loc[False].tolist()
    assert (inside["reach"] >= 1).all()
    counts = cases["setting"].str.extract(r"close, ([\d,]+)")[0].str.replace(",", "")
    assert counts.astype(int).groupby(cases["failed"]).first().sum() == len(leave_outs(1, 40))


def test_close_ones_are_told_apart_from_the_others_where_cases_are_summed_up(monkeypatch):
    """The table that ``--details`` prints has one line for what stands before the comma."""
    monkeypatch.setattr(module, "PROBLEMS", 40)
    cases = case_table(random_cases(1))
    data = cases["setting"].str.split(",").str[0]
    assert (cases["failed"].groupby(data).nunique() == 1).all()
    assert data.nunique() == 2
    tried = cases["assumptions"].str.extract(r"of ([\d,]+);")[0]
    assert (tried == cases["setting"].str.split(", ").str[1]).all()
