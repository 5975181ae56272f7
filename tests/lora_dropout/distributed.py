"""Small trainings in several processes: ``torchrun -m tests.lora_dropout.distributed FOLDER``."""

import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
from packaging.version import Version
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from lora_dropout import inject, mask_schedule, sparsity_penalty

#: What DDP of PyTorch 2.11 sends before a pass spoils the backward pass of one before.
SENDING = {} if Version(torch.__version__) >= Version("2.12") else {"broadcast_buffers": False}
#: Rows of a part of a batch, of all processes together; parts of a batch, and steps.
ROWS, PARTS, STEPS = 4, 3, 3


def model_and_layers():
    """A network whose update is not 0, and its adapted layers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    model = inject(model.double(), rank=2, p=0.5, seed=1)
    layers = [model[0], model[2], model[4]]
    for layer in layers:
        nn.init.normal_(layer.lora_B)
    return model, layers


def trainable(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def batch(step, part, rank, world):
    """The rows of one process in one part of a step's batch."""
    generator = torch.Generator().manual_seed(100 * step + part)
    rows = torch.randn(ROWS, 6, generator=generator, dtype=torch.float64)
    return rows.chunk(world)[rank]


def optimizer_of(model):
    return torch.optim.AdamW(trainable(model), lr=0.1, eps=1e-2)


def alone(model, layers):
    """One process that has all rows."""
    return model, optimizer_of(model)


def in_ddp(model, layers):
    model = DistributedDataParallel(model, gradient_as_bucket_view=True, **SENDING)
    return model, optimizer_of(model)


def in_zero(model, layers):
    """Each process keeps the optimizer's state of some parameters."""
    # It warns where it is imported.
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = DistributedDataParallel(model, **SENDING)
    settings = {"lr": 0.1, "eps": 1e-2}
    return model, ZeroRedundancyOptimizer(trainable(model), torch.optim.AdamW, **settings)


def in_fsdp2(model, layers, gathered=False):
    """Every layer sharded by itself; what is left of the model with it."""
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=not gathered)
    fully_shard(model, mesh=mesh)
    return model, optimizer_of(model)


def in_gathered_fsdp2(model, layers):
    return in_fsdp2(model, layers, gathered=True)


def in_fsdp1(model, layers):
    return _in_fsdp1(model, use_orig_params=True)


def in_flat_fsdp1(model, layers):
    """The optimizer holds flat parameters, of which the factors are views."""
    for layer in layers:
        layer.base = _fsdp1(layer.base, use_orig_params=False)
    return _in_fsdp1(model, use_orig_params=False)


def _in_fsdp1(model, **options):
    for index in (0, 2, 4):
        model[index] = _fsdp1(model[index], **options)
    model = _fsdp1(model, **options)
    return model, optimizer_of(model)


def _fsdp1(module, **options):
    return FullyShardedDataParallel(module, device_id=torch.device("cpu"), **options)


WRAPPED = {
    "ddp": in_ddp,
    "zero": in_zero,
    "fsdp2": in_fsdp2,
    "gathered fsdp2": in_gathered_fsdp2,
    "fsdp1": in_fsdp1,
    "flat fsdp1": in_flat_fsdp1,
}
#: Where parameters stand outside of a pass too, so that a penalty can be made of them.
PENALIZED = ("ddp", "zero", "fsdp2", "gathered fsdp2")


def accumulating(model, last):
    """Within the block, a backward pass is one part of several: gradients travel with the last."""
    if isinstance(model, FSDPModule):
        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.set_requires_gradient_sync(last)
                part.set_reshard_after_backward(last)
        return nullcontext()
    return model.no_sync() if hasattr(model, "no_sync") and not last else nullcontext()


def train(wrap, rank, world, steps, *, penalty=0.0, restored=None):
    """Train, with two passes before a backward pass, and one before all that has none.

    Returns:
        The losses of all processes together and the steps of the masks, part by part; model and
        optimizer.
    """
    bare, layers = model_and_layers()
    if restored is not None:
        bare.load_state_dict(restored["model"])
    model, optimizer = wrap(bare, layers)
    if restored is not None:
        restored["load"](model, optimizer)
    with torch.no_grad():
        model(batch(0, 0, rank, world))
    found = []
    for step in steps:
        for part in range(PARTS):
            rows = batch(step, part, rank, world)
            with accumulating(model, part == PARTS - 1):
                loss = model(rows).square().mean() + model(-rows).square().mean()
                if penalty:
                    loss = loss + sparsity_penalty(model, penalty)
                loss.backward()
            found.append((average(loss, world), mask_schedule(model).step))
        optimizer.step()
        optimizer.zero_grad()
    return found, model, optimizer


def average(loss, world):
    loss = loss.detach().clone()
    if world > 1:
        distributed.all_reduce(loss)
    return float(loss) / world


def resumed_zero(rank, world):
    """Two steps, and a third of another model and optimizer, whose masks follow the optimizer."""
    found, model, optimizer = train(in_zero, rank, world, range(2))
    optimizer.consolidate_state_dict(to=0)
    kept = [optimizer.state_dict() if rank == 0 else None]
    distributed.broadcast_object_list(kept)
    restored = {
        "model": model.module.state_dict(), "load": lambda _, other: other.load_state_dict(kept[0])
    }  # fmt: skip
    third, model, _ = train(in_zero, rank, world, [2], restored=restored)
    return found + third, mask_schedule(model).step


def resumed_fsdp2(rank, world):
    """The same by torch.distributed.checkpoint, which takes a step of an optimizer to load it."""
    found, model, optimizer = train(in_fsdp2, rank, world, range(2))
    state = get_optimizer_state_dict(model, optimizer)
    whole = {name: value.full_tensor() for name, value in model.state_dict().items()}
    masks = mask_schedule(model).state_dict()

    def load(model, optimizer):
        mask_schedule(model).load_state_dict(masks)
        set_optimizer_state_dict(model, optimizer, state)

    third, model, _ = train(in_fsdp2, rank, world, [2], restored={"model": whole, "load": load})
    return found + third, mask_schedule(model).step


def main(folder):
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo")
    rank, world = distributed.get_rank(), distributed.get_world_size()
    found = {}
    for name, wrap in WRAPPED.items():
        found[name] = train(wrap, rank, world, range(STEPS))[0]
    for name in PENALIZED:
        found[f"{name}, penalty"] = train(WRAPPED[name], rank, world, range(STEPS), penalty=0.1)[0]
    for name, resumed in (("zero", resumed_zero), ("fsdp2", resumed_fsdp2)):
        found[f"{name}, resumed"], found[f"{name}, step"] = resumed(rank, world)
    every = [None] * world
    distributed.all_gather_object(every, found)
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(every))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
