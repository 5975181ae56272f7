"""What restricts a table is said below it."""

import pandas as pd
import pytest

from probes.ensemble import EnsembleResult
from probes.jobs.job import TableKind
from tests.probes.tables import (
    NAN,
    ablation_result,
    curves_result,
    ensemble_result,
    sensitivity_result,
)


def caption(losses=(0.4, 0.42), **columns):
    variants = {("dropout when", name, 0.3): losses for name in ("never", "training alone")}
    result = ablation_result(variants)
    return type(result)(result.rows.assign(**columns)).caption


def test_nothing_is_said_where_nothing_restricts():
    assert caption() == ablation_result({("dropout when", "never", 0.3): (0.4,)}).note


def test_networks_that_diverged_are_counted():
    assert "2 of 4 losses are not finite" in caption((0.4, NAN))


def test_replicas_that_diverged_are_counted():
    """In four rows, five each."""
    assert "20 leave-one-out replicas diverged and are left out of β" in caption(diverged=5)
    assert "diverged" not in caption(diverged=0)


def test_draws_of_nearly_all_data_do_not_hold_all_of_it():
    """9,999 of 10,000 examples were once said to be 100 %."""
    assert "S holds more than 99% of the data" in caption(n=9_999, pool=10_000)


def test_one_step_is_one():
    result = ablation_result({("dropout when", "never", 0.3): (0.4,)})
    assert ", 1 step, " in type(result)(result.rows.assign(steps=1)).setting


def test_results_are_equal_where_their_tables_are():
    """Two tables compared by themselves have no truth value: a result was in no list."""
    variants = {("dropout when", "never", 0.3): (0.4, NAN)}
    one, other = ablation_result(variants), ablation_result(variants)
    assert one == other
    assert one in [None, other]
    assert one != type(one)(one.rows.assign(n=1))
    assert one != type(one)(one.rows, margin=0.5)
    more = {TableKind.DIAGRAM: one.rows}
    assert type(one)(one.rows, more) == type(one)(other.rows, dict(more)) != one


def test_draws_that_stand_there_twice_are_refused():
    """Three draws, counted as six, told a difference apart."""
    rows = ensemble_result({(0.3, 0): (0.5, 0.6, 0.8), (0.3, 4): (0.4, 0.55, 0.6)}).rows
    with pytest.raises(ValueError, match="each once; 2 of 8 stand there again"):
        EnsembleResult(pd.concat([rows, rows.iloc[1:3]], ignore_index=True))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            curves_result({(m, 0.3, 0): (1, 0.5, 0.4, 0.5) for m in ("LoRA", "AdaLoRA")}),
            "the test loss is 0.5 (LoRA, p = 0.3; 1 other has the same mean).",
        ),
        (
            sensitivity_result({(p, 1, "ensemble"): [2.0] for p in (0.1, 0.3, 0.5)}),
            "The test loss is 2 (p = 0.1, N = 1, ensemble; 2 others have the same mean).",
        ),
    ],
    ids=["two", "three"],
)
def test_what_is_the_same_everywhere_is_not_told_of_one_alone(result, words):
    assert words in result.answer


def test_what_was_not_measured_at_a_rate_is_empty_on_the_first_screen():
    losses = {(0.3, 0): [0.5], (0.3, 4): [0.25], (0.5, 4): [0.25], (0.5, 2): [0.75]}
    brief = ensemble_result(losses).brief()
    assert brief[["expected weight", "N = 4", "N = 2"]].to_numpy().tolist() == [
        ["0.5000", "0.2500", ""], ["", "0.2500", "0.7500"],
    ]  # fmt: skip
    cells = {(0.1, 1, "expected weight"): [0.5], (0.3, 4, "expected weight"): [0.25]}
    assert sensitivity_result(cells).brief()["test loss, N = 4"].tolist() == ["", "0.2500"]


def test_one_draw_shares_examples_with_none():
    variants = {("dropout when", "never", 0.3): (0.4,)}
    result = ablation_result(variants)
    assert "S holds" not in type(result)(result.rows.assign(pool=20)).caption


@pytest.mark.parametrize(("pool", "said"), [(50, True), (51, False)])
def test_draws_that_share_examples_are_said(pool, said):
    """n is 10."""
    result = ensemble_result({(0.1, 0): (0.5, 0.52), (0.1, 2): (0.4, 0.44)})
    result = type(result)(result.rows.assign(pool=pool))
    assert ("S holds 20% of the data" in result.text_tables()[0].caption) == said
