"""Two processes that train together have the masks and the losses of one, however it is wrapped."""

import json
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lora_dropout import inject
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.distributed import (
    PARTS,
    PENALIZED,
    STEPS,
    WRAPPED,
    alone,
    train,
)
from tests.torchrun import two_processes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What both processes found, in one start of them."""
    folder = tmp_path_factory.mktemp("two")
    two_processes("tests.lora_dropout.distributed", str(folder), cwd=ROOT, path=ROOT)
    return json.loads((folder / "found.json").read_text())


def agree(together, name, penalty=0.0):
    """Whether losses and steps of the masks are those of one process, in both processes."""
    expected, *_ = train(alone, 0, 1, range(STEPS), penalty=penalty)
    assert [step for _, step in expected] == [step for step in range(STEPS) for _ in range(PARTS)]
    for found in together:
        assert [step for _, step in found[name]] == [step for _, step in expected]
        losses = [loss for loss, _ in found[name]]
        assert losses == pytest.approx([loss for loss, _ in expected], rel=1e-9)


@pytest.mark.parametrize("name", WRAPPED)
def test_parts_and_passes_of_a_step_have_its_masks(name, together):
    agree(together, name)


@pytest.mark.parametrize("name", PENALIZED)
def test_the_penalty_is_that_of_the_whole_factors(name, together):
    agree(together, f"{name}, penalty", penalty=0.1)


@pytest.mark.parametrize("name", ["zero", "fsdp2"])
def test_a_restored_optimizer_goes_on_with_the_masks(name, together):
    """Those of ZeRO follow the optimizer's count alone, from its first step on."""
    for found in together:
        assert found[f"{name}, step"] == STEPS
    if name == "fsdp2":
        agree(together, f"{name}, resumed")


@pytest.fixture
def process_group():
    """A group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    "adapt",
    [
        lambda model: inject(model, rank=2, p=0.5),
        lambda model: get_peft_model(
            model, LoraDropoutConfig(r=2, target_modules=["0"], dropout_rate=0.5)
        ),
    ],
    ids=["inject", "peft"],
)
def test_a_model_that_is_wrapped_already_is_refused(adapt):
    """Its wrapper would leave the factors' gradients as they are on each process."""
    wrapped = DistributedDataParallel(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="in DistributedDataParallel already"):
        adapt(wrapped)
    assert all(parameter.requires_grad for parameter in wrapped.parameters())
    assert torch.equal(wrapped(torch.zeros(1, 4)), wrapped.module(torch.zeros(1, 4)))
