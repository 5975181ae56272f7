"""A method on a model of one's own gives the numbers of the fast path where both can measure it."""

from dataclasses import replace
from itertools import combinations, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from probes.cells.own_rival_cells import (
    OwnDraw,
    OwnMeasuredCell,
    OwnTuningCell,
    run_own_rival_cell,
)
from probes.cells.rival_cells import MeasuredCell, TuningCell, run_rival_cell, tried_values
from probes.cells.stopped_training import Setting
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind, silent
from probes.tasks.own_model import OwnModel
from probes.training.own_training import OwnSample, own_obstacle, own_outputs, train_own
from probes.training.rivals import Rival
from tests.probes.test_own_model import digits_model

N, STEPS = 8, 6
(FIRST,) = StabilitySettings(task="digits", n=N, steps=STEPS, draws=1, dtype="float64").cells()
BASE = replace(FIRST, draw=3)
OWN = digits_model(steps=STEPS, lr=BASE.lr)
DRAW = OwnDraw(OWN, N, 3, 0, coupled=False)
#: Methods, and a strength of each.
METHODS = {
    "LoRA": 0.0, "LoRA Dropout": 0.3, "LoRA Dropout, N = 4": 0.3,
    "LoRA Dropout, ensemble of 16": 0.3, "weight decay": 3.0, "smaller rank": 0.75,
}  # fmt: skip


def fast_rows(cell):
    return run_rival_cell(cell, silent)[TableKind.ROWS]


def slow_rows(cell):
    """The rows, after all the work that the cell says there is."""
    told = []
    rows = run_own_rival_cell(cell, told.append)[TableKind.ROWS]
    assert sum(told) == cell.replica_steps
    return rows


@pytest.mark.parametrize("folds", [True, False])
def test_tuning_gives_the_losses_of_the_fast_path(folds):
    """With masks on the way, so that a stop must leave them as they are."""
    tried = ((0.2, 0.5), (0.01, 0.03), (0.5, 1.0), folds)
    fast = fast_rows(TuningCell(BASE, "all", "LoRA Dropout", *tried))
    slow = slow_rows(OwnTuningCell(DRAW, "LoRA Dropout", *tried))
    keys = ["method", "strength", "lr", "share", "n", "draw"]
    assert slow[keys].to_numpy().tolist() == fast[keys].to_numpy().tolist()
    np.testing.assert_allclose(slow["validation_loss"], fast["validation_loss"], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("beside", "judge"), [("examples", "test set"), ("folds", "unseen")])
def test_measuring_gives_the_row_of_the_fast_path(method, beside, judge):
    setting = Setting(METHODS[method], 0.03, 0.5)
    fast = fast_rows(MeasuredCell(BASE, "all", method, (setting,), beside, judge))
    slow = slow_rows(OwnMeasuredCell(DRAW, method, setting, beside, judge))
    names = ["train_loss", "test_loss", "gap", "risk", "score", "stop", "passes", "test_passes",
             "n", "pool", "rank", "draw"]  # fmt: skip
    names += ["beta", "beta_signed"] if beside == "examples" else []
    found, expected = (table[names].to_numpy(np.float64)[0] for table in (slow, fast))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_what_a_model_cannot_do_is_said():
    assert own_obstacle(OWN, "PEFT lora_dropout").startswith(
        "PEFT lora_dropout needs layers of PEFT"
    )
    assert "needs classes" in own_obstacle(OWN, "label smoothing")
    assert all(own_obstacle(OWN, method) == "" for method in METHODS)

    class Named(nn.Linear):
        def forward(self, x):
            return kind(logits=super().forward(x))

    named = OwnModel(Named(2, 2), torch.zeros(4, 2), torch.zeros(4), loss=lambda z, y: y)
    kind = dict
    assert own_obstacle(named, "LoRA Dropout, ensemble of 16") == ""
    kind = SimpleNamespace
    assert "it returns a SimpleNamespace" in own_obstacle(named, "LoRA Dropout, ensemble of 16")
    other = replace(OWN, adapt=lambda model, p, seed: model)
    assert "OwnModel(adapt=...)" in own_obstacle(other, "smaller rank")
    assert "rank of at least 2" in own_obstacle(replace(OWN, rank=1), "smaller rank")


def outputs_of(own, name, strength):
    """Predictions after a training on eight examples."""
    sample = OwnSample(torch.arange(8), torch.full((8,), 1 / 8), (0, 1, 2))
    return own_outputs(train_own(own, Rival(name, strength), sample), own.features)


def regression(widths, rank):
    """A model whose layers allow less than the rank."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, widths[0], generator=generator)
    targets = torch.randn(12, widths[-1], generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(*sides) for sides in pairwise(widths)))
    return OwnModel(
        model, features, targets, loss=lambda found, known: (found - known).square().mean(1),
        rank=rank, steps=3, lr=0.1,
    )  # fmt: skip


def test_where_every_layer_allows_rank_1_nothing_can_be_left_out():
    """It would be plain LoRA under another name."""
    own = regression((5, 1), rank=4)
    assert torch.equal(outputs_of(own, "smaller rank", 0.5), outputs_of(own, "LoRA", 0.0))
    assert own_obstacle(own, "smaller rank") == (
        "smaller rank needs a rank of at least 2, and it is 1"
    )


@pytest.mark.parametrize(("widths", "tried"), [((6, 2, 3), (0.5,)), ((6, 4, 4), (0.5, 0.75))])
def test_a_smaller_rank_is_smaller_than_that_which_the_layers_allow(widths, tried):
    """Of rank 8, cut to the layers' sides, a half or a quarter would be all of it."""
    own = regression(widths, rank=8)
    rank = OwnDraw(own, 8, 0, 0, coupled=False).rank
    strengths, _ = tried_values("smaller rank", 16, 0.1, rank)
    assert strengths == tried
    found = [outputs_of(own, "LoRA", 0.0)]
    found += [outputs_of(own, "smaller rank", strength) for strength in strengths]
    assert all(not torch.allclose(*pair) for pair in combinations(found, 2))
