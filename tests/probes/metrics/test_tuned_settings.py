"""The least mean loss is chosen, and nothing that diverged."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from probes.metrics.tuned_settings import ends_of_the_grid, lucky_draws, tuned_settings


def rows(losses):
    """By method, strength, lr and share: the losses of the draws."""
    return pd.DataFrame(
        [
            dict(zip(("method", "strength", "lr", "share"), key, strict=True))
            | {"draw": draw, "validation_loss": loss}
            for key, along in losses.items()
            for draw, loss in enumerate(along)
        ]
    )


LOSSES = {
    ("a", 0.0, 1.0, 0.5): (1.0, 1.0), ("a", 0.0, 2.0, 0.5): (0.2, 1.0),
    ("a", 0.0, 1.0, 1.0): (0.1, 1.2), ("a", 0.5, 1.0, 0.5): (0.3, 0.3),
    ("b", 0.5, 2.0, 1.0): (2.0, 4.0),
}  # fmt: skip


def test_every_strength_gets_its_best_setting_and_every_method_its_best_strength():
    found = tuned_settings(rows(LOSSES))
    assert found[["method", "strength", "lr", "share", "chosen"]].to_numpy().tolist() == [
        ["a", 0.0, 2.0, 0.5, False], ["a", 0.5, 1.0, 0.5, True], ["b", 0.5, 2.0, 1.0, True],
    ]  # fmt: skip
    assert found["validation_loss"].tolist() == pytest.approx([0.6, 0.3, 3.0])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_diverged_in_one_draw_is_not_chosen(value):
    harmed = LOSSES | {("a", 0.5, 1.0, 0.5): (0.01, value)}
    found = tuned_settings(rows(harmed)).set_index("strength").loc[0.0]
    assert found["chosen"]
    assert found["lr"] == 2.0


def test_sizes_are_chosen_for_apart():
    table = pd.concat([rows(LOSSES).assign(n=n) for n in (8, 16)], ignore_index=True)
    table.loc[(table["n"] == 16) & (table["strength"] == 0.5), "validation_loss"] = 9.0
    chosen = tuned_settings(table, ("n", "method")).query("chosen and method == 'a'")
    assert list(zip(chosen["n"], chosen["strength"], strict=True)) == [(8, 0.5), (16, 0.0)]


def test_what_is_chosen_at_an_end_of_its_own_grid_is_found():
    """Of method e neither the strength nor the stopping time is an end."""
    best = [
        ("a", 0.5, 2.0, 1.0), ("b", 0.0, 4.0, 1.0), ("c", 0.0, 1.0, 0.5), ("d", 0.0, 4.0, 0.5),
        ("e", 0.25, 1.0, 0.75),
    ]  # fmt: skip
    tried = product("ebcda", [0.0, 0.25, 0.5], [1.0, 2.0, 4.0], [0.5, 0.75, 1.0])
    grid = rows(dict.fromkeys(tried, (1.0,)) | dict.fromkeys(best, (0.0,)))
    found = ends_of_the_grid(grid, tuned_settings(grid))
    assert [there["method"].tolist() for there in found.values()] == [["a"], ["b"], ["c"]]


def test_it_is_the_least_of_a_loop():
    generator = np.random.default_rng(0)
    keys = list(product(["a"], [0.1, 0.2], [1.0, 2.0, 3.0], [0.5, 1.0]))
    losses = {key: generator.random(4) for key in keys}
    best = min(losses, key=lambda key: losses[key].mean())
    (row,) = tuned_settings(rows(losses)).query("chosen").to_dict("records")
    assert tuple(row[name] for name in ("method", "strength", "lr", "share")) == best


def test_rows_come_in_the_order_in_which_methods_and_strengths_were_tried_and_the_first_wins():
    tried = {
        ("b", 0.5, 2.0, 1.0): (1.0,), ("b", 0.5, 1.0, 1.0): (1.0,), ("b", 0.1, 1.0, 1.0): (1.0,),
        ("a", 0.3, 3.0, 0.5): (2.0,), ("a", 0.3, 1.0, 1.0): (2.0,),
    }  # fmt: skip
    found = tuned_settings(rows(tried))
    assert found.index.tolist() == [0, 1, 2]
    assert found[["method", "strength", "lr", "chosen"]].to_numpy().tolist() == [
        ["b", 0.5, 2.0, True], ["b", 0.1, 1.0, False], ["a", 0.3, 3.0, True],
    ]  # fmt: skip


def test_of_equally_good_draws_a_twentieth_is_called_lucky():
    generator = np.random.default_rng(0)
    called = [
        lucky_draws(generator.normal(1, 0.3, 4), generator.normal(1, 0.3, 12)) for _ in range(2000)
    ]
    # Four standard errors.
    assert np.mean(called) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))


def test_draws_that_share_examples_are_called_lucky_no_more_often():
    """Draws of n out of N examples have the correlation n/N to first order."""
    generator, overlaps = np.random.default_rng(0), (0.6, 0.3)
    called = []
    for _ in range(2000):
        parts = [
            np.sqrt(share) * generator.normal() + np.sqrt(1 - share) * generator.normal(size=count)
            for share, count in zip(overlaps, (10, 12), strict=True)
        ]
        called.append([lucky_draws(*parts), lucky_draws(*parts, overlaps=overlaps)])
    without, corrected = np.mean(called, axis=0)
    assert without > 0.2
    assert corrected < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_what_is_called_lucky_is_what_welchs_test_rejects():
    """Of two to four draws, where the degrees of freedom decide."""
    generator, called = np.random.default_rng(0), []
    for _ in range(200):
        tuning, fresh = (
            mean + spread * generator.normal(size=generator.integers(2, 5))
            for mean, spread in ((1.0, 0.1), (1.3, 0.3))
        )
        test = ttest_ind(fresh, tuning, equal_var=False, alternative="greater")
        called.append(lucky_draws(tuning, fresh))
        assert called[-1] == (test.pvalue <= 0.05)
    assert 20 < sum(called) < 180


def test_draws_with_less_loss_than_fresh_ones_are_lucky_and_with_more_are_not():
    low, high = [0.03, 0.04, 0.05, 0.04], [0.2, 0.3, 0.2, 0.25]
    assert lucky_draws(low, high)
    assert not lucky_draws(high, low)
    assert lucky_draws(low, [*high, np.inf])


@pytest.mark.parametrize(
    ("tuning", "fresh"),
    [([0.1], [1.0, 1.1]), ([0.1, 0.1], [1.0, 1.0]), ([0.1, 0.2], [np.nan, 1.0]), ([], [1.0, 2.0])],
)
def test_where_no_spread_is_known_no_draws_are_called_lucky(tuning, fresh):
    assert not lucky_draws(tuning, fresh)
