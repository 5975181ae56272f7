"""Curves: they end where the stability probe ends, and begin at the frozen network."""

import pytest

from probes import curves
from tests.probes.same_numbers import SMALL, assert_same, table_of
from tests.probes.tables import NAN, curves_result


@pytest.fixture(scope="module")
def curve():
    return curves.measure(p=[0.0, 0.4], **SMALL)


def test_curves_of_lora_end_where_the_stability_probe_ends(curve):
    end = curve.rows[curve.rows["step"] == SMALL["steps"]]
    for p in (0.0, 0.4):
        rows = end[(end["method"] == "LoRA") & (end["p"] == p)]
        assert_same(rows, table_of(p).loc[0])


def test_all_curves_begin_at_the_frozen_network(curve):
    start = curve.rows[curve.rows["step"] == 0]
    assert len(start) == 8
    assert start.groupby("draw")["test_loss"].nunique().tolist() == [1, 1]


def test_adalora_ends_with_the_ranks_of_lora(curve):
    end = curve.rows[curve.rows["step"] == SMALL["steps"]]
    assert set(end["ranks"]) == {2 * 8}
    first = curve.rows[(curve.rows["step"] == 1) & (curve.rows["method"] == "AdaLoRA")]
    assert set(first["ranks"]) == {12 + 10}


def test_the_best_checkpoint_is_no_worse_than_the_end(curve):
    assert (curve.summary["rise"] >= 0).all()
    assert (curve.summary["best_loss"] <= curve.summary["test_loss"]).all()


def test_a_curve_that_wavers_about_its_end_has_not_risen():
    draws = range(4)
    flat = {("LoRA", 0.0, draw): (1.0, 0.5, 0.500 + draw / 1000, 0.501) for draw in draws}
    risen = {("LoRA", 0.3, draw): (1.0, 0.5, 0.400 + draw / 1000, 0.500) for draw in draws}
    lost = {("LoRA", 0.5, draw): (1.0, 0.5, 0.5, NAN if draw else 0.9) for draw in draws}
    assert curves_result(flat | risen | lost).answer.endswith(
        "It ends more than 5 % above its best checkpoint in 1 of 2 curves."
    )
    alone = curves_result({("LoRA", 0.0, 0): (1.0, 0.5, 0.4, 0.5)})
    assert alone.answer == "At the end of training the test loss is 0.5 (LoRA, p = 0)."
