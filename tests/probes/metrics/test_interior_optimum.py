"""Whether a rate inside is the best: where that is plain, and where it is noise."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from probes.metrics.interior_optimum import interior_optimum

P = (0.0, 0.1, 0.3, 0.5)


def rows(curve, noise=0.01, draws=8, seed=0):
    """Losses that follow a curve over p, with a common part in every draw."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal(draws)
    return pd.DataFrame(
        [
            {"p": p, "draw": draw, "loss": level + common[draw] + noise * generator.normal()}
            for p, level in zip(P, curve, strict=True)
            for draw in range(draws)
        ]
    )


def test_a_dip_inside_is_told():
    found = interior_optimum(rows((1.0, 0.5, 0.7, 1.2)), "loss")
    assert (found.p, found.inside, found.told) == (0.1, True, True)
    assert str(found) == "least inside, at p = 0.1"


def test_a_slope_ends_at_an_end():
    assert str(interior_optimum(rows((1.0, 1.1, 1.2, 1.3)), "loss")) == "least at the end p = 0"
    assert str(interior_optimum(rows((1.3, 1.2, 1.1, 1.0)), "loss")) == "least at the end p = 0.5"


def test_of_equal_means_none_is_the_least():
    table = rows((1.0,) * 4, noise=0.0)
    assert str(interior_optimum(table, "loss")) == "the same at every rate"
    assert not interior_optimum(table, "loss").inside
    two = interior_optimum(table[table["p"] < 0.2], "loss")
    assert str(two) == "the same at every rate"
    table.loc[table.index[-1], "loss"] += 1e-9
    assert str(interior_optimum(table, "loss")).startswith("least at the end p = 0, not told apart")


def test_a_rate_that_diverged_in_a_draw_is_no_optimum():
    """Its other draws may be the easier ones."""
    table = rows((0.5, 0.52, 0.7, 1.0))
    table.loc[(table["p"] == 0.1) & (table["draw"] > 3), "loss"] = np.nan
    found = str(interior_optimum(table, "loss"))
    assert found == "least at the end p = 0, not told apart from a rate inside"


def rejected(p_values):
    """Holm's steps: the smallest of m at 5 % / m, the next at 5 % / (m - 1), until one is kept."""
    names = sorted(p_values, key=p_values.get)
    kept = [at for at, name in enumerate(names) if p_values[name] > 0.05 / (len(names) - at)]
    return set(names[: min(kept, default=len(names))])


def by_hand(table):
    """The optimum by SciPy's tests: rate, inside, told, like the other end."""
    wide = {p: group["loss"].to_numpy() for p, group in table.groupby("p")}
    whole = {p: losses for p, losses in wide.items() if np.isfinite(losses).all()}
    ends = (min(wide), max(wide))
    if not all(end in whole for end in ends):
        return np.nan, False, False, False
    best = min(whole, key=lambda p: whole[p].mean())
    inside = [p for p in whole if p not in ends]
    pairs = product(inside, ends)
    worse = rejected({(p, end): ttest_rel(whole[p], whole[end]).pvalue for p, end in pairs})
    if best in inside:
        return best, True, {(best, end) for end in ends} <= worse, False
    every = len(whole) == len(wide) and {(p, best) for p in inside} <= worse
    (other,) = set(ends) - {best} or {best}
    apart = other == best or ttest_rel(whole[other], whole[best]).pvalue <= 0.05
    return best, False, every and apart, every and not apart


def test_what_is_told_is_what_paired_tests_reject():
    """Of one rate to four, some of them diverged in a draw, and of every kind of answer."""
    curves = [(1, 0.5, 0.7, 1.2), (1, 1.4, 1.4, 1.02), (1.1, 1.3, 1.2, 1), (1, 1.02, 1.01, 1)]
    answers = set()
    for seed in range(32):
        table = rows(curves[seed % 4], noise=(0.02, 0.1, 0.3)[seed // 4 % 3], draws=5, seed=seed)
        table = table[table["p"] <= P[-1 - seed // 4 % 4]]
        if seed % 5 == 0:
            table.loc[table.sample(1, random_state=seed).index, "loss"] = (np.inf, np.nan)[seed % 2]
        found = interior_optimum(table.sample(frac=1, random_state=seed), "loss")
        expected = by_hand(table)
        told = (found.inside, found.told, found.like_the_other_end)
        assert (found.p, *told) == pytest.approx(expected, nan_ok=True)
        answers.add((str(found).partition(", not")[2], *told, bool(np.isnan(found.p))))
    assert answers == {
        ("", True, True, False, False), (" told apart from an end", True, False, False, False),
        ("", False, True, False, False),
        (" told apart from a rate inside", False, False, False, False),
        (" told apart from the other end", False, False, True, False),
        ("", False, False, False, True),
    }  # fmt: skip


@pytest.mark.parametrize("curve", [(1.0,) * 4, (1.0, 1.0, 2.0, 2.0)], ids=["flat", "flat at first"])
def test_what_is_the_best_by_noise_is_told_in_at_most_one_run_of_twenty(curve):
    """4 binomial standard errors above 5 %; the best rate is chosen by the draws that test it.

    That an end is the best says that no rate inside is better, and needs a test as much.
    """
    runs = 150
    found = [interior_optimum(rows(curve, seed=run), "loss") for run in range(runs)]
    assert sum(one.told for one in found) <= 0.05 * runs + 4 * (0.05 * 0.95 * runs) ** 0.5
    ends = {str(one) for one in found if not one.told and not one.inside}
    assert all(one.endswith("not told apart from a rate inside") for one in ends)
    assert any(one.endswith("p = 0, not told apart from a rate inside") for one in ends)


def test_a_rate_inside_that_is_worse_than_an_end_is_never_told():
    found = interior_optimum(rows((0.5, 0.9, 0.9, 1.0)), "loss")
    assert not found.inside


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_draw_in_which_every_rate_diverged_is_one_in_which_the_ends_did(lost):
    table = rows((1.0, 1.1, 1.2, 1.3))
    table.loc[table["draw"] == 3, "loss"] = lost
    assert str(interior_optimum(table, "loss")) == "not known"


def test_where_an_end_diverged_nothing_is_known():
    table = rows((1.0, 0.5, 0.7, 1.2))
    table.loc[(table["p"] == 0.0) & (table["draw"] == 0), "loss"] = np.inf
    assert str(interior_optimum(table, "loss")) == "not known"


def test_which_of_two_ends_is_the_best_is_told_by_a_test_as_well():
    """Both ends alike, and every rate inside worse: which has the lower mean is noise."""
    found = [interior_optimum(rows((1.0, 1.5, 1.5, 1.0), seed=run), "loss") for run in range(150)]
    assert {one.p for one in found} == {0.0, 0.5}
    assert sum(one.told for one in found) <= 0.05 * 150 + 4 * (0.05 * 0.95 * 150) ** 0.5
    said = {str(one) for one in found if not one.told}
    assert said == {
        f"least at the end p = {p}, not told apart from the other end" for p in ("0", "0.5")
    }
    assert interior_optimum(rows((1.0, 1.5, 1.5, 1.1)), "loss").told


@pytest.mark.parametrize(
    "curve",
    [(1.1, 1.0, 1.1, 1.1), (1.0, 1.1, 1.1, 1.3), (1.0, 1.3, 1.3, 1.1)],
    ids=["inside", "rates inside", "the other end"],
)
def test_draws_that_share_examples_tell_less(curve):
    table = rows(curve, noise=0.03).assign(n=32)
    assert interior_optimum(table.assign(pool=1000), "loss").told
    assert not interior_optimum(table.assign(pool=36), "loss").told
