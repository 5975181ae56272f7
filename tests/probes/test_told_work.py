"""Every question tells as much work as it says there is: bars and plans of the time rely on it."""

import importlib

import pytest
import torch
from torch import nn

from probes.cli.probe import from_keywords
from probes.tasks.own_model import OwnModel

FEATURES = torch.arange(24.0).reshape(8, 3)
OWN = OwnModel(nn.Linear(3, 1), FEATURES, FEATURES[:, 0], lambda a, b: (a[:, 0] - b) ** 2, steps=2)
SMALL = {"task": "breast_cancer", "n": 10, "draws": 2, "steps": 3}
RATE = SMALL | {"p": 0.3}
QUESTIONS = [
    ("stability", RATE),
    ("stability", RATE | {"warm_start": True}),
    ("generalization", RATE | {"matched": True}),
    ("information", RATE | {"selections": 8}),
    ("information", RATE | {"selections": 8, "matched": True}),
    ("comparison", {"n": 10, "draws": 2}),
    ("comparison", SMALL | {"model": "network", "selections": 8}),
    ("ensemble", RATE | {"sizes": 2}),
    ("ensemble", RATE | {"sizes": 2, "rivals": 2, "bags": 64}),
    ("curves", RATE),
    ("calibration", RATE),
    ("coverage", RATE),
    ("ablation", RATE | {"samples": 3}),
    ("sensitivity", RATE | {"samples": 2}),
    ("attribution", RATE | {"subsets": 3}),
    ("rivals", SMALL | {"task": "digits", "method": "HiddenKey", "trainings": 2,
                        "tuning_draws": 1}),
    ("own_model", {"own": OWN, "n": 4, "p": 0.3}),
    ("verify", {"statement": "sparsity"}),
    ("cost", {"rounds": 2, "width": 24, "heads": 2, "tokens": 4, "batch": 2, "samples": 1,
              "ensemble": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "small"), QUESTIONS)
def test_a_cell_tells_its_whole_size(name, small):
    probe = importlib.import_module(f"probes.{name}").PROBE
    settings, told = from_keywords(probe.settings, small), []
    cell = probe.cells(settings)[-1]
    probe.run(settings)(cell, told.append)
    assert sum(told) == cell.replica_steps > 1


def test_cells_that_are_trained_together_tell_the_size_of_all():
    probe = importlib.import_module("probes.stability").PROBE
    settings, told = from_keywords(probe.settings, RATE), []
    cells = probe.cells(settings)
    assert len(list(probe.run(settings).run_group(cells, told.append))) == 2
    assert sum(told) == sum(cell.replica_steps for cell in cells)
