"""The least mean loss is chosen, and nothing that diverged."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from probes.metrics.tuned_settings import tuned_settings


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
