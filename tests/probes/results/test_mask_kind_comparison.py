"""Zeros or noise: the comparisons are paired, the parts add up, the sentence follows the tests."""

import numpy as np
import pandas as pd
import pytest

from probes.metrics.equivalence import relative_equivalence_p_value
from probes.results.mask_kind_comparison import (
    QUANTITIES,
    difference_table,
    kind_answer,
    kind_conclusion,
    kind_differences,
    kind_name,
    noise_parts,
    of_other_masks,
    parts_table,
)

VARIANTS = [
    ("none", 1), ("mean", 1), ("bernoulli", 1), ("gaussian", 1), ("two-point", 1),
    ("bernoulli", 4), ("gaussian", 4), ("two-point", 4),
]  # fmt: skip
#: Of masks that are their mean alone, and what the noise adds by the objective and by the gradient.
NONE, MEAN, EXPLICIT, IMPLICIT = 3.0, 2.5, -1.0, -0.5


def made(draws=8, spread=0.01, shift=0.0, p=(0.3,), seed=0):
    """Quantities 1/N of whose implicit part stays at N samples; Gaussian masks add ``shift``.

    Means over draws have no noise, so that no test here depends on chance.
    """
    generator = np.random.default_rng(seed)
    records = []
    for rate in p:
        noise = generator.normal(0, spread, (draws, len(VARIANTS), len(QUANTITIES)))
        noise -= noise.mean(0)
        for draw, level in enumerate(generator.normal(0, 1, draws)):
            for (kind, samples), of_variant in zip(VARIANTS, noise[draw], strict=True):
                value = level + {"none": NONE, "mean": MEAN}.get(
                    kind, MEAN + EXPLICIT + IMPLICIT / samples
                )
                value += shift if kind == "gaussian" else 0.0
                records.append(
                    {"p": rate, "draw": draw, "kind": kind, "samples": samples}
                    | {name: value + one for name, one in zip(QUANTITIES, of_variant, strict=True)}
                )
    return pd.DataFrame(records)


def test_differences_are_from_bernoulli_masks_at_the_same_n_and_paired():
    rows = made()
    table = kind_differences(rows, 0.25).set_index(["quantity", "kind", "samples"])
    values = rows.set_index(["kind", "samples", "draw"])["gap"].sort_index()
    for kind, samples in (("gaussian", 1), ("gaussian", 4), ("two-point", 4), ("mean", 1)):
        found = table.loc[("gap", kind, samples)]
        reference = values["bernoulli", samples]
        assert found["difference"] == pytest.approx((values[kind, samples] - reference).mean())
        effect = (reference - values["none", 1]).mean()
        assert found["effect"] == pytest.approx(effect)
        assert found["margin"] == pytest.approx(0.25 * abs(effect))
    # Draws differ by 1, and the intervals by far less.
    assert (table["difference_high"] - table["difference_low"]).max() < 0.1


def test_the_two_parts_of_the_noise_are_found_and_add_up():
    parts = noise_parts(made(spread=0.0))
    assert np.allclose(parts["explicit"], EXPLICIT)
    assert np.allclose(parts["implicit"], IMPLICIT)
    assert np.allclose(parts["noise"], EXPLICIT + IMPLICIT)
    assert len(parts) == len(QUANTITIES) * 3


def test_without_a_difference_zeros_are_said_not_to_matter():
    table = kind_differences(made(), 0.25)
    assert kind_conclusion(table, 0.25).splitlines() == [
        "p = 0.3: LoRA Dropout acts as multiplicative noise; that entries are exactly zero makes "
        "no difference that 8 draws could tell: Gaussian masks give the same as Bernoulli masks, "
        "within 25% of what dropout changes: β at N = 1, 4; gap at N = 1, 4; test loss at N = 1, "
        "4.",
        "p = 0.3: LoRA Dropout acts as multiplicative noise; that entries are exactly zero makes "
        "no difference that 8 draws could tell: two-point masks give the same as Bernoulli masks, "
        "within 25% of what dropout changes: β at N = 1, 4; gap at N = 1, 4; test loss at N = 1, "
        "4.",
        "p = 0.3: masks that are their mean alone differ from them: β, gap, test loss.",
    ]
    verdicts = difference_table(table, 0.25).table.set_index(["quantity", "variant"])["verdict"]
    assert verdicts["β", "Gaussian, N = 4"] == "within the margin"
    assert verdicts["β", "mean alone"] == "different"


def test_a_difference_beyond_the_margin_is_never_said_to_be_none():
    """Dropout changes 2 at N = 1 and 1.625 at N = 4: a quarter is below 0.6."""
    table = kind_differences(made(shift=0.6), 0.25)
    assert kind_conclusion(table, 0.25).startswith(
        "p = 0.3: not shown that Gaussian masks give the same as Bernoulli masks, within 25% of "
        "what dropout changes: β at N = 1, 4; gap at N = 1, 4; test loss at N = 1, 4; 0 is "
        "outside the 95 % interval: β at N = 1, 4; gap at N = 1, 4; test loss at N = 1, 4."
    )
    gaussian = difference_table(table, 0.25).table.query("variant == 'Gaussian, N = 1'")
    assert set(gaussian["verdict"]) == {"different"}


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_a_small_difference_is_told_and_within_the_margin(shift):
    table = kind_differences(made(shift=shift), 0.25)
    gaussian = difference_table(table, 0.25).table.query("variant == 'Gaussian, N = 1'")
    assert set(gaussian["verdict"]) == {"within the margin, not equal"}
    said = kind_conclusion(table, 0.25)
    assert "no difference" not in said.splitlines()[0]
    assert said.startswith(
        "p = 0.3: LoRA Dropout acts as multiplicative noise; zeros matter little"
    )
    assert "; 0 is outside the 95 % interval: β at N = 1, 4; gap at N = 1, 4" in said


def test_with_much_noise_nothing_is_shown_and_nothing_denied():
    table = kind_differences(made(draws=3, spread=3.0), 0.25)
    assert set(difference_table(table, 0.25).table["verdict"]) == {"undecided"}
    assert "not shown" in kind_conclusion(table, 0.25)
    assert "mean alone" not in kind_conclusion(table, 0.25)


def test_what_is_shown_of_some_is_told_of_these_and_every_rate_has_its_line():
    rows = made(p=(0.1, 0.3))
    changed = (rows["p"] == 0.3) & (rows["kind"] == "gaussian") & (rows["samples"] == 4)
    rows.loc[changed, "beta"] += 1
    first, *_, second, _, _ = kind_conclusion(kind_differences(rows, 0.25), 0.25).splitlines()
    assert first.startswith("p = 0.1: LoRA Dropout acts as multiplicative noise")
    assert second.startswith(
        "p = 0.3: Gaussian masks give the same as Bernoulli masks, within 25% of what dropout "
        "changes: β at N = 1; gap at N = 1, 4; test loss at N = 1, 4; not shown: β at N = 4; "
    )


def test_the_answer_names_the_rates_at_which_all_of_a_kind_is_shown():
    rows = made(p=(0.1, 0.3))
    changed = (rows["p"] == 0.3) & (rows["kind"] == "gaussian") & (rows["samples"] == 4)
    rows.loc[changed, "beta"] += 1
    assert kind_answer(kind_differences(rows, 0.25), 0.25) == (
        "That masks without zeros give the same as masks with them, within 25% of what dropout "
        "changes: Gaussian masks: shown at p = 0.1; two-point masks: shown at p = 0.1 and 0.3."
    )
    noisy = kind_differences(made(draws=3, spread=3.0), 0.25)
    assert kind_answer(noisy, 0.25).endswith(
        "Gaussian masks: not shown; two-point masks: not shown."
    )
    several = kind_differences(made(draws=3, spread=3.0, p=(0.1, 0.3)), 0.25)
    assert kind_answer(several, 0.25).endswith(
        "Gaussian masks: shown at no p; two-point masks: shown at no p."
    )


def test_draws_that_share_examples_show_less():
    rows = made(spread=0.2).assign(n=32)
    apart, shared = (kind_differences(rows.assign(pool=pool), 0.25) for pool in (1000, 64))
    assert (shared["equivalent_holm"] > 2 * apart["equivalent_holm"]).any()
    assert (shared["equivalent_holm"] >= apart["equivalent_holm"]).all()


def test_two_point_masks_of_one_half_are_no_masks_without_zeros():
    rows = made(p=(0.3, 0.5))
    table = kind_differences(rows, 0.25)
    assert kind_answer(table, 0.25).endswith(
        "Gaussian masks: shown at p = 0.3 and 0.5; two-point masks: shown at p = 0.3."
    )
    alone = table[table["p"] == 0.5]
    assert kind_answer(alone, 0.25).endswith(": Gaussian masks: shown at p = 0.5.")
    told = kind_conclusion(alone, 0.25).splitlines()
    assert told[1] == "p = 0.5: two-point masks are Bernoulli masks, with zeros."
    shown = difference_table(table, 0.25).table
    same = shown["variant"].str.startswith("Two-point") & (shown["p"] == "0.5")
    assert (shown["verdict"] == "the same masks").eq(same).all()
    assert of_other_masks(table).index.tolist() == shown.index[~same].tolist()
    assert shown["p-value"].eq("").eq(same).all()


def test_the_same_masks_under_another_name_are_no_test_and_do_not_count():
    rows = made(spread=0.3, p=(0.5,))
    table = kind_differences(rows, 0.25)
    told = table["equivalent_holm"].dropna()
    assert (table.loc[told.index, "kind"] != "two-point").all()
    assert len(told) == len(QUANTITIES) * 3
    row = table.loc[told.idxmin()]
    values = rows.pivot(index="draw", columns=["kind", "samples"], values=list(QUANTITIES))
    (name,) = (name for name, said in QUANTITIES.items() if said == row["quantity"])
    known = values[name, "bernoulli", row["samples"]]
    differences, effects = (
        values[name, row["kind"], row["samples"]] - known,
        known - values[name, "none", 1],
    )
    p_value = relative_equivalence_p_value(differences, effects, 0.25)
    assert row["equivalent_holm"] == pytest.approx(len(told) * p_value)
    assert noise_parts(rows)["kind"].unique().tolist() == ["bernoulli", "gaussian"]


def test_a_draw_that_diverged_is_left_out_of_its_pairs():
    rows = made()
    lost = (rows["draw"] == 0) & (rows["kind"] == "gaussian") & (rows["samples"] == 1)
    rows.loc[lost, list(QUANTITIES)] = np.nan
    table = kind_differences(rows, 0.25).set_index(["quantity", "kind", "samples"])
    assert table.loc[("β", "gaussian", 1), "difference_draws"] == 7
    assert table.loc[("β", "gaussian", 4), "difference_draws"] == 8
    assert np.isfinite(table["equivalent_holm"]).all()
    assert "no difference that 7 draws could tell" in kind_conclusion(table.reset_index(), 0.25)


def test_names_have_n_where_it_matters():
    assert [kind_name(kind, 4) for kind in ("none", "mean", "bernoulli", "gaussian")] == [
        "no masks", "mean alone", "Bernoulli, N = 4", "Gaussian, N = 4",
    ]  # fmt: skip
    shown = parts_table(noise_parts(made()), 4)
    assert shown.table["variant"].unique().tolist() == ["Bernoulli", "Gaussian", "Two-point"]
    assert "4/3 of what N = 4 changes" in shown.caption
