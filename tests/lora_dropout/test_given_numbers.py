"""What users give as numbers is refused in one line, wherever it enters."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lora_dropout import (
    Ensemble,
    backward_over_samples,
    grouped_samples,
    inject,
    mask_schedule,
    members,
    sparsity_penalty,
)


def adapted(**options):
    torch.manual_seed(0)
    return inject(nn.Sequential(nn.Linear(6, 4)), **({"rank": 2, "p": 0.5} | options))


#: A sample whose number is too large by 1.
LATE = range(2**64, 2**64 + 1)
REFUSED = {
    "rank must be a whole number, got 2.0": lambda: adapted(rank=2.0),
    "rank must be a whole number, got True": lambda: adapted(rank=True),
    "rank must be at least 0, got -1": lambda: adapted(rank=-1),
    "p must be a number, got '0.5'": lambda: adapted(p="0.5"),
    "p must be a number, got None": lambda: adapted(p=None),
    r"p must lie in \[0, 1\), got nan": lambda: adapted(p=float("nan")),
    "alpha must be a number, got '8'": lambda: adapted(alpha="8"),
    "alpha must be positive and finite, got inf": lambda: adapted(alpha=float("inf")),
    "alpha must be positive and finite, got nan": lambda: adapted(alpha=float("nan")),
    "alpha must be positive and finite, got -1": lambda: adapted(alpha=-1),
    "seed must be a whole number, got None": lambda: adapted(seed=None),
    r"seed must lie in \[0, 2\*\*64\), got -1": lambda: adapted(seed=-1),
    rf"seed must lie in \[0, 2\*\*64\), got {2**64}": lambda: adapted(seed=2**64),
    "target must be a name or several, got 3": lambda: adapted(target=3),
    r"step must lie in \[0, 2\*\*64\), got -1": lambda: mask_schedule(adapted()).seek(-1),
    rf"step must lie in \[0, 2\*\*64\), got {2**64}": lambda: mask_schedule(adapted()).seek(2**64),
    "step must be a whole number, got 1.5": lambda: mask_schedule(adapted()).seek(1.5),
    "the state of masks holds 'seed'": lambda: mask_schedule(adapted()).load_state_dict({}),
    r"got \['seed'\]": lambda: mask_schedule(adapted()).load_state_dict({"seed": 1}),
    "ensemble must be a whole number, got 2.5": lambda: Ensemble(adapted(), 2.5),
    "ensemble must be at least 1, got 0": lambda: list(members(adapted(), 0)),
    "samples must be a whole number, got '2'": lambda: backward_over_samples(
        adapted(), lambda: torch.zeros(()), "2"
    ),
    "rescale must be true or false, got 'no'": lambda: adapted(rescale="no"),
    "first must be at least 0, got -1": lambda: grouped_samples(adapted(), 2, -1).__enter__(),
    **{
        re.escape(f"at least one number from 0 on, got {samples}"): partial(
            lambda one: mask_schedule(adapted()).seek(0, one), samples
        )
        for samples in (range(0), range(0, 4, 2), range(2, 0, -1), range(-1, 1), [0, 1], 2, LATE)
    },
    "strength must be a number, got '1'": lambda: sparsity_penalty(adapted(), "1"),
    "strength must be at least 0, got nan": lambda: sparsity_penalty(adapted(), float("nan")),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_no_such_number_is_refused(said):
    with pytest.raises(ValueError, match=said):
        REFUSED[said]()


def test_numbers_of_numpy_are_numbers():
    one = adapted(rank=np.int64(2), p=np.float32(0.5), alpha=np.float64(4), seed=np.int64(3))
    other = adapted(rank=2, p=0.5, alpha=4, seed=3)
    x = torch.ones(1, 6)
    with torch.no_grad():
        for model in (one, other):
            model[0].lora_B.fill_(1.0)
    assert torch.equal(one(x), other(x))
