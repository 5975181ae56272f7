"""What is decided at equal train loss and at equal train error, where the answer is known."""

import json

import numpy as np
import pandas as pd
import pytest

from probes.cells.matched_information import COMPARED
from probes.results.matched_information import MatchedInformationResult


def rows(dropout, draws=4, **more):
    """The control's bounds are the task's train loss; dropout is at 0.5 with the given bound."""
    records = []
    for draw in range(draws):
        known = {"draw": draw, "train_bounded": 0.25}
        curve = [("shrunk update", fit, fit, fit) for fit in (0.0, 0.4, 0.8)]
        for variant, value, fit, bound in [*curve, ("dropout", 0.3, 0.5, dropout + 0.001 * draw)]:
            records.append(
                known
                | {"variant": variant, "value": value, "train_loss": fit, "train_bounded": fit / 2}
                | dict.fromkeys(COMPARED, bound)
            )
    return pd.DataFrame(records).assign(
        **{
            "n": 8, "pool": 1000, "loss": "0-1", "task_loss": "cross-entropy", "task": "made up",
            "rank": 2, "steps": 40, "lr": 1e-3, "selections": 16,
        } | more
    )  # fmt: skip


@pytest.mark.parametrize(("bound", "verdict"), [(0.3, "dropout"), (0.7, "control")])
def test_controls_are_compared_at_equal_train_loss_and_error(bound, verdict):
    result = MatchedInformationResult(rows(bound))
    summary = result.summary
    assert summary["at"].unique().tolist() == ["train loss", "train error"]
    assert summary["statement"].unique().tolist() == list(COMPARED)
    assert set(summary["verdict"]) == {verdict}
    loss, error = (summary[summary["at"] == at].iloc[0] for at in ("train loss", "train error"))
    assert (loss["reached"], error["reached"]) == (pytest.approx(0.5), pytest.approx(0.25))
    assert loss["difference"] == pytest.approx(0.5 - bound - 0.0015)


def test_what_follows_is_said_in_a_line_each():
    result = MatchedInformationResult(rows(0.3))
    lines = result.conclusion.splitlines()
    assert len(lines) == 2 * len(COMPARED)
    assert lines[0] == "At equal train loss, gap: dropout has less: shrunk update (p = 0.3)."
    assert result.text()["verdict"].unique().tolist() == ["dropout has less"]
    assert [table.title.splitlines()[1][-11:] for table in result.text_tables()] == [
        " train loss", "train error",
    ]  # fmt: skip


def test_a_fit_that_no_control_reached_is_told():
    table = rows(0.3)
    table.loc[table["variant"] == "dropout", ["train_loss", "train_bounded"]] = 2.0
    result = MatchedInformationResult(table)
    assert set(result.summary["verdict"]) == {"not reached"}
    said = "not reached: in fewer than two draws"
    assert result.restrictions[-1] == said
    assert all(one.caption.endswith(said) for one in result.text_tables())
    assert said not in MatchedInformationResult(rows(0.3)).restrictions


def test_json_has_every_decision():
    records = json.loads(MatchedInformationResult(rows(0.3)).to_json())
    assert len(records) == 2 * len(COMPARED)


def test_the_clipped_loss_is_called_so():
    result = MatchedInformationResult(rows(0.3, loss="clipped"))
    assert result.summary["at"].unique().tolist() == ["train loss", "clipped train loss"]


def test_draws_that_share_examples_have_wider_intervals():
    alone, shared = (
        MatchedInformationResult(rows(0.3, pool=pool)).summary.iloc[0] for pool in (1000, 40)
    )
    widths = [one["difference_high"] - one["difference_low"] for one in (alone, shared)]
    assert np.less(*widths)


def test_networks_that_diverged_are_told_on_every_screen():
    table = rows(0.3)
    diverged = (table["variant"] == "dropout") & (table["draw"] == 0)
    table.loc[diverged, ["train_loss", "train_bounded", *COMPARED]] = np.nan
    result = MatchedInformationResult(table)
    said = "1 of 16 losses are not finite"
    assert any(said in one for one in result.restrictions)
    assert all(said in one.caption for one in result.text_tables())


def test_a_draw_of_n_pairs_holds_twice_n_examples():
    result = MatchedInformationResult(rows(0.3, pool=40))
    assert any("a draw holds 40% of the data" in one for one in result.restrictions)
