"""Ablation: its variants are what the stability probe measures."""

import re

import pandas as pd
import pytest
import torch

from probes import ablation as ablation_probe
from probes.cells.prepare import network_of
from probes.cli.stability_settings import StabilitySettings
from probes.training.mask_placements import Dropping
from tests.probes.same_numbers import SMALL, STATISTICS, assert_same, table_of


@pytest.fixture(scope="module")
def ablation():
    return ablation_probe.measure(p=0.4, ensemble=3, samples=2, **SMALL)


def variant(result, part, name):
    return result.rows[(result.rows["part"] == part) & (result.rows["variant"] == name)]


def test_variants_of_the_ablation_are_what_the_stability_probe_measures(ablation):
    dropped, plain = table_of(0.4, ensemble=3), table_of(0.0)
    same = [
        ("dropout when", "training and ensemble", dropped.loc[3]),
        ("dropout when", "training alone", dropped.loc[0]),
        ("dropout when", "never", plain.loc[0]),
        ("dropped where", "both", dropped.loc[0]),
        ("inference", "expected weight", dropped.loc[0]),
        ("inference", "ensemble", dropped.loc[3]),
    ]
    same += [
        ("mask kind", "no masks", plain.loc[0]),
        ("mask kind", "Bernoulli, N = 1", dropped.loc[0]),
        ("mask kind", "Bernoulli, N = 2", table_of(0.4, samples=2).loc[0]),
    ]
    for part, name, expected in same:
        assert_same(variant(ablation, part, name), expected, STATISTICS)
    rescaled = table_of(0.4, ensemble=3, rescale=True)
    assert_same(variant(ablation, "inference", "rescaled, no masks"), rescaled.loc[0], STATISTICS)
    assert_same(variant(ablation, "inference", "rescaled, ensemble"), rescaled.loc[3], STATISTICS)


def test_differences_are_paired_and_zero_at_the_reference(ablation):
    summary = ablation.summary.set_index(["part", "variant"])
    assert summary.loc[("inference", "expected weight"), "difference"] == 0
    ensemble = variant(ablation, "inference", "ensemble").set_index("draw")["test_loss"]
    expected = variant(ablation, "inference", "expected weight").set_index("draw")["test_loss"]
    found = summary.loc[("inference", "ensemble"), "difference"]
    assert found == pytest.approx((ensemble - expected).mean())


def test_every_place_is_measured_once_a_draw(ablation):
    where = ablation.rows[ablation.rows["part"] == "dropped where"]
    assert sorted(where["variant"].unique()) == [
        "both", "columns of A", "entries", "inputs", "rank", "rows of B",
    ]  # fmt: skip
    assert len(where) == 6 * 2


def test_a_place_that_is_another_one_is_left_out_and_it_is_said(ablation):
    """Of one output entries are columns, and of rank 1 the rank is that output's row."""
    settings = {"p": 0.4, "n": 8, "steps": 2, "draws": 1, "part": "dropped where"}
    alone = ablation_probe.measure(task="ridge", **settings)
    assert list(alone.rows["variant"]) == ["both", "columns of A", "rows of B", "inputs"]
    assert alone.rows["train_loss"].nunique() == 4
    assert alone.caption.endswith(
        "; not measured: rank (of rank 1 and with one output it is rows of B), entries (with one "
        "output they are columns of A)"
    )
    assert "not measured" not in ablation.caption
    assert "not measured" not in ablation_probe.measure(**(settings | {"part": "inference"})).note


def test_what_is_left_out_is_what_another_place_is():
    """Bit for bit the entries, and for the rank what a mask can be: all or nothing."""
    network = network_of(StabilitySettings(task="ridge").cells()[0])
    A, B = (
        value.double() for value in network.initial_factors(torch.Generator().manual_seed(0))[0]
    )
    B = B + 1

    def updates(place):
        drop = Dropping(place, 0.4)
        drawn = [drop.draw(network, 1, step=step, sample=0, seed=0)[0] for step in range(40)]
        return torch.stack([one.update(A, B) for one in drawn])

    assert torch.equal(updates("entries"), updates("columns of A"))
    for place in ("rank", "rows of B"):
        dropped = (updates(place) == 0).flatten(1)
        assert torch.equal(dropped.all(1), dropped.any(1))
        assert 0 < dropped.all(1).sum() < 40


def test_kinds_of_masks_are_other_networks_beside_the_same(ablation):
    kinds = ablation.kinds.set_index(["kind", "samples", "draw"])["train_loss"].unstack("draw")
    assert kinds.index.tolist() == [
        ("bernoulli", 1), ("bernoulli", 2), ("gaussian", 1), ("gaussian", 2), ("mean", 1),
        ("none", 1), ("two-point", 1), ("two-point", 2),
    ]  # fmt: skip
    assert (kinds.nunique() == 8).all()
    assert "mask kind" in ablation.summary["part"].unique()
    assert [table.title.split("\n")[0] for table in ablation.text_tables()] == [
        "What LoRA Dropout's parts do", "Zeros or noise? Masks of equal mean",
        "What the noise of the masks does, and how",
    ]  # fmt: skip
    assert ablation.conclusion.startswith("p = 0.4: ")


def test_a_part_alone_has_the_numbers_that_it_has_among_all(ablation):
    alone = ablation_probe.measure(p=0.4, ensemble=3, part="inference", **(SMALL | {"draws": 1}))
    assert set(alone.rows["part"]) == {"inference"}
    for name in alone.rows["variant"]:
        expected = variant(ablation, "inference", name).set_index("draw").loc[[0]]
        assert_same(variant(alone, "inference", name), expected, STATISTICS)
    assert alone.conclusion == ""
    assert len(alone.text_tables()) == 1
    assert alone.answer == "4 variants are known in fewer than two draws, which tells nothing."


def test_variants_that_diverged_do_not_count_as_without_effect(ablation):
    lost = (ablation.rows["part"] == "dropped where") & (ablation.rows["variant"] == "rows of B")
    rows = ablation.rows.assign(test_loss=ablation.rows["test_loss"].mask(lost))
    (before,), (after,) = (
        re.findall(r"^\d+ of (\d+) variants change", type(ablation)(one).answer)
        for one in (ablation.rows, rows)
    )
    assert int(after) == int(before) - 1
    said = type(ablation)(rows).answer
    assert "1 variant is known in fewer than two draws, which tells nothing." in said


def test_the_kinds_differences_do_not_weaken_the_tests_of_the_other_parts(ablation):
    """Each question is corrected for its own number of differences."""
    rows = ablation.rows[ablation.rows["part"] != "mask kind"]
    without = type(ablation)(rows).summary
    columns = ["part", "variant", "difference_holm"]
    found = ablation.summary.query("part != 'mask kind'")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, without[columns])
