"""Attributions are scored against networks that were really retrained."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from probes import attribution
from probes.attribution import AttributionResult, rank_correlations
from probes.jobs.job import TableKind
from probes.stability import measure
from tests.probes.commands import assert_refused, run_here

SMALL = {"task": "breast_cancer", "n": 16, "steps": 40, "subsets": 30, "p": 0.2}


@pytest.fixture(scope="module")
def own():
    return attribution.measure(**SMALL)


def scored(own, scores):
    return dataclasses.replace(own, scores=scores).summary.set_index("score")


def test_correlations_are_spearmans():
    generator = np.random.default_rng(0)
    given, truth = generator.normal(size=(2, 12, 5)).round(1)
    given[:, 3] = 1.0
    expected = [spearmanr(a, b).statistic for a, b in zip(given.T[:3], truth.T[:3], strict=True)]
    found = rank_correlations(given, truth)
    assert found[:3].tolist() == pytest.approx(expected)
    assert np.isnan(found[3])


def test_the_networks_are_those_of_the_stability_probe(own):
    settings = {key: SMALL[key] for key in ("task", "n", "steps", "p")}
    matrix = measure(**settings, draws=1, matrix=True).matrix
    held_out = matrix[matrix["split"] == "test"]
    wide = held_out.pivot(index="replica", columns="example", values="loss")
    order = held_out["example"].drop_duplicates()
    left = matrix.loc[matrix["split"] == "train", "example"].drop_duplicates()
    expected = wide.loc[[-1, *left], order].to_numpy()
    # Trained in blocks of other sizes: equal to rounding.
    np.testing.assert_allclose(own.losses[:17], expected, rtol=1e-3, atol=1e-5)


def test_every_network_leaves_out_what_is_said(own):
    counts = own.more[TableKind.LEFT_OUT].groupby("network").size()
    assert counts.loc[1:16].tolist() == [1] * 16
    assert counts.loc[17:].tolist() == [8] * 30


def test_the_truth_itself_scores_one(own):
    effects = own.losses[1:17] - own.losses[0]
    assert scored(own, effects).loc["leave-one-out correlation", "mean"] == pytest.approx(1.0)


def test_damping_changes_the_estimates_and_not_the_truth(own):
    damped = attribution.measure(**SMALL, damping=5.0)
    np.testing.assert_array_equal(damped.losses, own.losses)
    assert np.abs(damped.judged).mean() < np.abs(own.judged).mean() / 2


def test_chance_scores_nothing(own):
    noise = np.random.default_rng(0).normal(size=(16, own.losses.shape[1]))
    found = scored(own, noise)
    # 553 held-out examples share 16 and 30 networks: the means are off by less than a tenth.
    assert found["mean"].abs().max() < 0.1


def test_losses_that_are_sums_have_a_datamodeling_score_of_one():
    generator = np.random.default_rng(1)
    scores, subsets = generator.normal(size=(6, 4)), generator.random((20, 6)) < 0.5
    left = np.concatenate([np.zeros((1, 6)), np.eye(6), subsets])
    losses = 3 + left @ scores
    networks, held_out = np.indices(losses.shape)
    rows = pd.DataFrame(
        {"network": networks.flatten(), "held_out": held_out.flatten(), "loss": losses.flatten()}
    ).assign(n=6)
    pairs = pd.DataFrame(np.argwhere(left), columns=["network", "example"])
    result = AttributionResult(rows, {TableKind.LEFT_OUT: pairs}, scores)
    assert result.summary["mean"].tolist() == pytest.approx([1.0, 1.0])
    assert result.summary["mean_low"].tolist() == pytest.approx([1.0, 1.0])


def test_the_estimates_say_much_of_what_leaving_out_does():
    """As measured before: 0.69 and 0.84 on one draw."""
    found = attribution.measure(task="breast_cancer").summary.set_index("score")["mean"]
    assert found["leave-one-out correlation"] > 0.6
    assert found["linear datamodeling score"] > 0.7


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_scores_come_from_a_file(own, ending, tmp_path):
    effects = (own.losses[1:17] - own.losses[0])[:, :10]
    file = tmp_path / f"scores.{ending}"
    if ending == "npy":
        np.save(file, effects)
    else:
        pd.DataFrame(effects).to_parquet(file)
    arguments = ["--task", "breast_cancer", "--n", "16", "--steps", "40", "--subsets", "30",
                 "--p", "0.2", "--scores", str(file), "--json", "--out", "out"]  # fmt: skip
    done = run_here("attribution", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = pd.DataFrame(json.loads(done.stdout)).set_index("score")
    assert found.loc["leave-one-out correlation", "mean"] > 0.99
    assert found["held_out"].tolist() == [10, 10]
    assert (tmp_path / "out/attribution.png").exists()


def hostile_scores(folder):
    np.save(folder / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(folder / "wrong.npy", np.zeros((3, 4)))
    np.save(folder / "nan.npy", np.full((16, 4), np.nan))
    np.save(folder / "words.npy", np.full((16, 4), "a"))
    (folder / "broken.npy").write_bytes(b"\x93NUMPY")
    (folder / "broken.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scores", "nowhere.npy"], ["scores", "nowhere.npy"]),
        (["--scores", "pickled.npy"], ["scores", "allow_pickle"]),
        (["--scores", "wrong.npy"], ["scores must be 16 rows", "(3, 4)"]),
        (["--scores", "nan.npy"], ["scores must be finite"]),
        (["--scores", "words.npy"], ["scores", "words.npy"]),
        (["--scores", "broken.npy"], ["scores", "broken.npy"]),
        (["--scores", "broken.parquet"], ["scores", "broken.parquet"]),
        (["--p", "0.1", "0.2"], ["p must be one rate"]),
        (["--share", "1"], ["share"]),
        (["--subsets", "2"], ["subsets must be at least 3"]),
        (["--solver", "ekfac"], ["solver", "tweets"]),
        (["--damping", "0"], ["damping", "positive"]),
    ],
)
def test_scores_that_do_not_fit_are_refused(arguments, words, tmp_path):
    hostile_scores(tmp_path)
    shared = ["--task", "breast_cancer", "--n", "16", "--steps", "2"]
    assert_refused("attribution", [*shared, *arguments], words, tmp_path)
