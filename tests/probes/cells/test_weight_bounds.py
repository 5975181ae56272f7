"""Bounds from weights: the grid of quantized factors, the noise, and what diverged."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import rel_entr
from scipy.stats import beta
from transformers.modeling_utils import local_torch_dtype

from probes.cells.cell import objective_of
from probes.cells.prepare import prepare
from probes.cells.weight_bounds import (
    AS_TRAINED,
    BOUNDS,
    NOISE,
    PAC_BAYES,
    POSTERIOR_SAMPLES,
    QUANTIZED,
    TEST_SET,
    TRAIN_LOSSES,
    WeightBoundsCell,
    chance_error,
    measure_weight_bounds,
    noisy,
    posterior_bound,
    quantized,
)
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind, silent
from probes.tasks import load_task
from probes.training.retrain import retrain
from theory.zhu2024 import quantized_gap_bound


def cell(**settings):
    known = {"task": "breast_cancer", "n": 12, "p": (0.3,), "draws": 1, "steps": 20} | settings
    (base,) = StabilitySettings(**known).cells()
    return WeightBoundsCell(base, selections=8, bits=4, delta=0.05)


@pytest.fixture(scope="module")
def rows():
    found = measure_weight_bounds(cell(), silent)[TableKind.ROWS].set_index("name")
    return found.loc[list(BOUNDS)]


def factors(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, 2, 5), (1, 3, 2))
    return [tuple(scale * torch.randn(shape, generator=generator) for shape in shapes)]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_quantized_change_takes_so_many_values_and_is_near(bits):
    trained, start = factors(0), factors(1)
    for part, first, original in zip(
        quantized(trained, start, bits)[0], start[0], trained[0], strict=True
    ):
        change, largest = part - first, (original - first).abs().max()
        step = largest / (2 ** (bits - 1) - 1)
        assert len((change / step).round().unique()) <= 2**bits - 1
        torch.testing.assert_close((change / step).round() * step, change)
        assert (part - original).abs().max() <= step / 2 * (1 + 1e-5)


@pytest.mark.parametrize("task", ["digits", "breast_cancer"])
def test_chance_is_the_error_of_the_most_frequent_class(task):
    targets = load_task(task, None).targets
    labels = targets.argmax(1) if targets.shape[1] > 1 else targets[:, 0].long()
    most = torch.bincount(labels).max() / len(labels)
    assert chance_error(prepare(cell(task=task).base)) == pytest.approx(1 - float(most))


def test_what_was_not_trained_is_not_moved():
    start = factors(1)
    for part, first in zip(quantized(start, start, 4)[0], start[0], strict=True):
        assert torch.equal(part, first)


def test_noise_has_the_deviation_that_its_divergence_counts():
    """With 4,000 networks of 16 numbers: 6 deviations of a variance's relative error."""
    drawn = noisy(factors(0), 0.5, 4000, torch.Generator().manual_seed(3))
    noise = torch.cat(
        [(part - mean).flatten() for part, mean in zip(drawn[0], factors(0)[0], strict=True)]
    )
    assert float(noise.square().mean()) == pytest.approx(0.25, rel=6 * (2 / len(noise)) ** 0.5)


def test_the_counts_are_those_of_the_network(rows):
    ready = prepare(cell().base)
    size, factor_count = ready.network.size, 2 * len(ready.start)
    known = {"parameters": 1, "loss_bound": 1.0, "n": 12}
    assert rows.loc[AS_TRAINED, "bound"] == quantized_gap_bound(bits=32 * size, **known)
    assert rows.loc[QUANTIZED, "bound"] == quantized_gap_bound(
        bits=4 * size + 32 * factor_count, **known
    )


def test_pac_bayes_is_the_stated_bound_at_a_noise_that_was_fixed_beforehand(rows):
    row = rows.loc[PAC_BAYES]
    assert row["noise"] in NOISE
    risks = {
        noise: posterior_bound(row[column], row["square"] / (2 * noise**2), 12, 0.05)
        for noise, column in TRAIN_LOSSES.items()
    }
    assert risks[row["noise"]] == min(risks.values()) <= 1
    assert row["train_loss"] == row[TRAIN_LOSSES[row["noise"]]]
    assert row["bound"] == pytest.approx(min(risks.values()) - row["train_loss"])
    assert rows.drop(index=PAC_BAYES)["square"].isna().all()


@pytest.fixture(scope="module")
def trained():
    """The examples of the cell above, and what is trained on all of S."""
    base = cell().base
    ready = prepare(base)
    return base, ready, retrain(
        ready.network, ready.train, ready.weights[:1], ready.start, ready.training,
        objective_of(base),
    )  # fmt: skip


def errors_of(base, ready, networks):
    """Shares of errors of every network on S, and its errors on all test examples."""
    return [
        ((ready.network.replica_outputs(networks, inputs, update_scale=base.update_scale) > 0)
         != (inputs.targets > 0.5)).squeeze(1).double().numpy()
        for inputs in (ready.train, ready.test)
    ]  # fmt: skip


def test_the_test_set_bound_is_clopper_and_pearsons_on_n_test_examples(rows, trained):
    _, (wrong,) = errors_of(*trained)
    errors = int(wrong[:12].sum())
    row = rows.loc[TEST_SET]
    assert row["train_loss"] == errors / 12
    assert row["bound"] == pytest.approx(beta.ppf(0.95, errors + 1, 12 - errors) - errors / 12)
    assert row["gap"] == pytest.approx(wrong[12:].mean() - errors / 12)


def test_counting_speaks_of_the_network_that_was_trained(rows, trained):
    on_s, tested = errors_of(*trained)
    row = rows.loc[AS_TRAINED]
    assert row["train_loss"] == pytest.approx(on_s.mean())
    assert row["gap"] == pytest.approx(tested.mean() - on_s.mean())


def test_pac_bayes_speaks_of_networks_with_noise_around_the_one_that_was_trained(rows, trained):
    """Of as many others; 6 standard errors of the difference."""
    base, ready, factors = trained
    row = rows.loc[PAC_BAYES]
    moved = [part - first for pair, start in zip(factors, ready.start, strict=True)
             for part, first in zip(pair, start, strict=True)]  # fmt: skip
    assert row["square"] == pytest.approx(sum(float(part.square().sum()) for part in moved))
    others = noisy(factors, row["noise"], POSTERIOR_SAMPLES, torch.Generator().manual_seed(5))
    on_s, tested = (wrong.mean(1) for wrong in errors_of(base, ready, others))
    for value, of_others in ((row["train_loss"], on_s), (row["gap"], tested - on_s)):
        error = of_others.std(ddof=1) * (2 / POSTERIOR_SAMPLES) ** 0.5
        assert value == pytest.approx(of_others.mean(), abs=6 * error)


@pytest.mark.parametrize("train_loss", [0.0, 0.25])
def test_every_noise_has_its_share_of_delta_for_the_sample_and_for_the_bound(train_loss):
    def above(low, budget):
        def excess(high):
            return rel_entr([low, 1 - low], [high, 1 - high]).sum() - budget

        return brentq(excess, low, 1 - 1e-12, xtol=1e-13)

    share = 0.05 / 2 / len(NOISE)
    mean = above(train_loss, np.log(1 / share) / POSTERIOR_SAMPLES)
    expected = above(mean, (3 + np.log(2 * 40**0.5 / share)) / 40)
    assert posterior_bound(train_loss, 3.0, 40, 0.05) == pytest.approx(expected)


def test_every_row_says_its_settings(rows):
    known = {"task": "breast_cancer", "n": 12, "draw": 0, "p": 0.3, "selections": 8, "loss": "0-1"}
    known["chance"] = chance_error(prepare(cell().base))
    assert all((rows[name] == value).all() for name, value in known.items())


def test_training_for_nothing_leaves_no_divergence_to_speak_of():
    found = measure_weight_bounds(cell(lr=1e-9), silent)[TableKind.ROWS].set_index("name")
    assert found.loc[PAC_BAYES, "square"] < 1e-9


def test_a_network_that_diverged_has_no_bounds():
    found = measure_weight_bounds(cell(lr=1e30, steps=5), silent)[TableKind.ROWS]
    assert set(BOUNDS) <= set(found["name"])
    assert np.isnan(found["bound"]).all()


def test_the_noise_does_not_depend_on_the_default_dtype():
    """Other numbers are drawn where float64 is the default."""
    factors = [(torch.ones(1, 2, 3), torch.zeros(1, 4, 2))]
    (usual,) = noisy(factors, 0.1, 5, torch.Generator().manual_seed(0))
    with local_torch_dtype(torch.float64):
        (found,) = noisy(factors, 0.1, 5, torch.Generator().manual_seed(0))
    for one, other in zip(found, usual, strict=True):
        assert torch.equal(one, other)
