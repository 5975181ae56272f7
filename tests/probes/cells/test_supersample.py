"""Selections are balanced, and a replica of one is the network trained on its n examples alone."""

from functools import partial

import numpy as np
import pytest
import torch

from probes.cells.cell import objective_of
from probes.cells.evaluation import inferred_outputs, pieces
from probes.cells.prepare import prepare
from probes.cells.supersample import (
    balanced_selections,
    draw_supersample,
    outcomes,
    predicted_classes,
    train_selections,
)
from probes.cli.stability_settings import StabilitySettings
from probes.models.losses import logistic
from probes.tasks import load_task
from probes.training.retrain import retrain

SMALL = {"draws": 1, "steps": 12, "dtype": "float64"}


def cell_of(**settings):
    (cell,) = StabilitySettings(**(SMALL | settings)).cells()
    return cell


def silent(steps):
    pass


def test_every_selection_is_followed_by_its_opposite():
    selections = balanced_selections(12, 5, np.random.default_rng(0))
    assert np.array_equal(selections[0::2], 1 - selections[1::2])
    assert (selections.sum(axis=0) == 6).all()


def test_a_selection_is_uniform():
    """Each of the 2^n selections occurs equally often, up to an error rate of 1e-6."""
    count, n = 2 * 4000, 3
    selections = balanced_selections(count, n, np.random.default_rng(1))
    places = selections[0::2] @ [4, 2, 1]
    found = np.bincount(places, minlength=8) / 4000
    # Hoeffding: P(|frequency - 1/8| > t) <= 2 exp(-2 m t^2), for 8 frequencies.
    allowed = np.sqrt(np.log(2 * 8 / 1e-6) / (2 * 4000))
    assert (np.abs(found - 1 / 8) < allowed).all()


@pytest.mark.parametrize("task", ["digits", "ridge"])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_a_replica_is_trained_on_the_selected_examples_alone(task, p):
    cell = cell_of(task=task, n=5, p=(p,))
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 4)
    factors = train_selections(ready, sample, objective_of(cell), silent)
    data = load_task(task, None)
    for number, selection in enumerate(sample.selections):
        alone = ready.index[[i + 5 * chosen for i, chosen in enumerate(selection)]]
        expected = retrain(
            ready.network, data.read(ready.network, alone), torch.full((1, 5), 0.2),
            ready.start, ready.training, objective_of(cell),
        )  # fmt: skip
        for (A, B), (A_alone, B_alone) in zip(factors, expected, strict=True):
            torch.testing.assert_close(A[number], A_alone[0])
            torch.testing.assert_close(B[number], B_alone[0])


def test_fewer_selections_are_the_first_of_more_and_the_same_for_every_rate():
    few, more = (
        draw_supersample(cell_of(n=4, p=(p,)), prepare(cell_of(n=4)), count).selections
        for p, count in ((0.1, 4), (0.5, 8))
    )
    assert np.array_equal(few, more[:4])


def test_every_draw_has_selections_of_its_own_and_not_by_the_numbers_that_draw_s():
    cells = StabilitySettings(**(SMALL | {"draws": 2, "n": 20})).cells()
    found = [draw_supersample(cell, prepare(cell), 8).selections for cell in cells]
    assert not np.array_equal(*found)
    for cell, selections in zip(cells, found, strict=True):
        generator = np.random.default_rng(cell.seeds()[0])
        assert not np.array_equal(selections, balanced_selections(8, 20, generator))


def test_pairs_and_held_out_examples_are_all_examples_once():
    cell = cell_of(task="ridge", n=7)
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 4)
    assert len(sample.pairs) == 14
    assert len(sample.pairs) + len(sample.test) == len(load_task("ridge", None))
    assert torch.equal(sample.pairs.targets[:, :7], ready.train.targets)


def test_outcomes_say_class_and_error_of_every_network():
    cell = cell_of(n=6, p=(0.3,), ensemble=(2,))
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 4)
    factors = train_selections(ready, sample, objective_of(cell), silent)
    found = dict(
        outcomes(
            ready.network, factors, sample.pairs, partial(inferred_outputs, cell, ready.network)
        )
    )
    assert list(found) == [0, 2]
    outputs = ready.network.replica_outputs(factors, sample.pairs, update_scale=cell.update_scale)
    labels = sample.pairs.targets.argmax(0)
    assert np.array_equal(found[0].classes, outputs.argmax(-2).numpy())
    assert np.array_equal(found[0].wrong, (outputs.argmax(-2) != labels).numpy())
    expected = -outputs.log_softmax(-2).gather(-2, labels.expand(4, 1, 12))[:, 0]
    assert np.allclose(found[0].losses, expected.numpy())


def test_outcomes_in_pieces_are_those_at_once():
    cell = cell_of(n=6, p=(0.3,), ensemble=(2,))
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 4)
    factors = train_selections(ready, sample, objective_of(cell), silent)
    infer = partial(inferred_outputs, cell, ready.network)
    whole = dict(outcomes(ready.network, factors, sample.test, infer))
    ready.network.block_activations = 30 * ready.network.activations
    assert len(list(pieces(ready.network, factors, sample.test))) > 1
    for size, found in outcomes(ready.network, factors, sample.test, infer):
        assert np.allclose(found.losses, whole[size].losses)
        assert np.array_equal(found.classes, whole[size].classes)
        assert np.array_equal(found.wrong, whole[size].wrong)


def test_regression_has_no_classes():
    cell = cell_of(task="ridge", n=4)
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 4)
    ((_, found),) = outcomes(
        ready.network,
        [(A.expand(2, -1, -1), B.expand(2, -1, -1)) for A, B in ready.start],
        sample.pairs,
        partial(inferred_outputs, cell, ready.network),
    )
    assert found.classes is None
    assert found.wrong is None


def test_a_single_output_predicts_by_its_sign():
    outputs = torch.tensor([[[-1.0, 0.5, 0.0]], [[2.0, -3.0, 0.0]]])
    assert predicted_classes(outputs).tolist() == [[0, 1, 0], [1, 0, 0]]
    # As the loss counts what is right.
    assert logistic.score(outputs, torch.zeros(1, 3)).tolist() == [[1, 0, 1], [0, 1, 1]]


def test_what_is_no_number_is_wrong():
    cell = cell_of(task="breast_cancer", n=6)
    ready = prepare(cell)
    sample = draw_supersample(cell, ready, 2)
    factors = [(A.expand(2, -1, -1).clone(), B.expand(2, -1, -1).clone()) for A, B in ready.start]
    factors[0][0][1] = float("nan")
    infer = partial(inferred_outputs, cell, ready.network)
    ((_, found),) = outcomes(ready.network, factors, sample.pairs, infer)
    assert not found.wrong[0].all()
    assert found.wrong[1].all()
