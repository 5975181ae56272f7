"""What is tuned on and what measures share no example."""

import numpy as np
import pytest
import torch

from probes.cells.prepare import prepare
from probes.cells.tuning_parts import TUNING_SHARE, examples_of, prepare_part
from probes.cli.stability_settings import StabilitySettings


@pytest.mark.parametrize("seed", [0, 1])
def test_the_parts_are_disjoint_and_together_all(seed):
    tuning, measuring = (examples_of(part, 569, seed).tolist() for part in ("tuning", "measuring"))
    assert sorted(tuning + measuring) == list(range(569))
    assert len(tuning) == round(TUNING_SHARE * 569)


def test_another_seed_cuts_elsewhere():
    assert examples_of("tuning", 100, 0).tolist() != examples_of("tuning", 100, 1).tolist()


def cell(**more):
    return StabilitySettings(task="breast_cancer", n=12, steps=3, draws=1, **more).cells()[0]


@pytest.mark.parametrize("part", ["tuning", "measuring"])
def test_a_draw_is_made_of_its_part(part):
    base = cell()
    ready, whole = prepare_part(base, part), prepare(base)
    own = examples_of(part, len(whole.index), base.seed)
    assert sorted(ready.index.tolist()) == own.tolist()
    assert (len(ready.train), len(ready.test)) == (12, len(own) - 12)
    assert ready.columns["pool"] == len(own)
    # The same examples as the task has at these places.
    everything = torch.cat([whole.train.targets, whole.test.targets], 1)
    places = np.argsort(whole.index.numpy())
    in_order = everything[:, places]
    assert torch.equal(ready.train.targets, in_order[:, ready.index[:12]])


def test_the_whole_data_are_drawn_from_as_everywhere():
    assert torch.equal(prepare_part(cell(), "all").index, prepare(cell()).index)
