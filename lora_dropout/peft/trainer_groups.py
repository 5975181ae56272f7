"""One pass of a trainer over a batch that is repeated N times, where it may stand for N passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import DistributedType
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.injection import layers_in_use
from lora_dropout.objective import each_sample, grouped_samples
from lora_dropout.peft.averaging import setting
from lora_dropout.peft.row_independence import (
    EXACT,
    ROUGH,
    couples_by_itself,
    relative_distance,
    without_noise,
)
from lora_dropout.peft.trainer_notes import without_notes
from lora_dropout.peft.trainer_processes import of_all_processes
from lora_dropout.peft.trl_trainers import compares_with_averages

#: Kinds of training in which no process holds the gradients.
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def repeated(inputs: dict[str, Any], count: int) -> dict[str, Any]:
    """Repeat a batch along its first dimension.

    Args:
        inputs: the batch, by name; what has not a row an example stays as it is.
        count: N, at least 1.

    Returns:
        The batch N times as large: all examples once, then all again.
    """
    sizes = (len(value) for value in inputs.values() if isinstance(value, Tensor) and value.dim())
    rows = next(sizes, 0)
    return {name: _times(value, rows, count) for name, value in inputs.items()}


def _times(value: Any, rows: int, count: int) -> Any:
    """Repeat what has a row an example: tensors, and lists of texts or of an image's boxes."""
    if isinstance(value, Tensor):
        fits = value.dim() > 0 and len(value) == rows
        return value.repeat(count, *[1] * (value.dim() - 1)) if fits else value
    if isinstance(value, list | tuple) and len(value) == rows:
        return value * count
    return value


def check_rows(
    trainer: Any, model: nn.Module, inputs: dict[str, Any], items: Any, samples: range
) -> bool:
    """Compare the gradients of a grouped pass and of passes, before a batch is trained on.

    Args:
        trainer: of transformers or TRL, whose loss is asked about.
        model: the trainer's, which may be wrapped for several processes.
        inputs: the batch, tensors by name.
        items: number of labels in the whole accumulated batch, if known.
        samples: numbers of the samples, N of them.

    Returns:
        Whether the batch tells anything: one whose gradient is 0 does not.

    Raises:
        GroupsNotSupportedError: they are two objectives, or nobody can tell.
    """
    if trainer.accelerator.distributed_type in SHARDED:
        raise GroupsNotSupportedError("gradients of a sharded model cannot be compared first")
    if isinstance(model, nn.DataParallel):
        raise GroupsNotSupportedError("nn.DataParallel splits the batch otherwise")
    if couples_by_itself(model):
        raise GroupsNotSupportedError("the model normalizes over the batch")
    if setting(trainer.model, "output_router_logits"):
        # Too little of a loss for gradients of a few batches to tell.
        raise GroupsNotSupportedError("routers of experts are balanced over the batch")
    if compares_with_averages(trainer):
        raise GroupsNotSupportedError("rows of a batch are compared with their average")
    exact = trainer.accelerator.mixed_precision == "no" and all(
        factor.dtype == torch.float32 for layer in layers_in_use(trainer.model)
        for factor in layer.factors
    )  # fmt: skip
    apart = _distance_of_group(trainer, trainer._prepare_inputs(inputs), items, samples)
    if not apart <= (EXACT if exact else ROUGH):
        raise GroupsNotSupportedError(
            "rows of a batch see each other in the model or its loss: the gradient of this "
            f"batch is {apart:.2g} of its norm away from that of the passes"
        )
    return apart >= 0


def _distance_of_group(trainer: Any, inputs: dict[str, Any], items: Any, samples: range) -> float:
    """The largest distance that a process finds of the two gradients."""
    count, model = len(samples), trainer.model
    factors = [one for one in model.parameters() if one.requires_grad]

    def grouped() -> Tensor:
        times = items if items is None else count * items
        with _refused_where_it_fails(), grouped_samples(model, count, samples.start):
            return trainer.compute_loss(model, repeated(inputs, count), num_items_in_batch=times)

    def passes() -> Iterator[Tensor]:
        for _ in each_sample(model, samples):
            yield trainer.compute_loss(model, dict(inputs), num_items_in_batch=items) / count

    refused = None
    with without_noise(model), without_notes(trainer):
        try:
            apart = relative_distance(grouped, passes, factors)
        except GroupsNotSupportedError as error:
            # The others wait for what this process found.
            apart, refused = float("inf"), error
    apart = float(of_all_processes(trainer, apart).max())
    if refused is not None:
        raise refused
    return apart


@contextmanager
def _refused_where_it_fails() -> Iterator[None]:
    """Within the block, which the passes came through, an error says that the batch has groups."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        full = isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)
        if full or isinstance(error, GroupsNotSupportedError):
            raise
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise GroupsNotSupportedError(
            f"a repeated batch is none of this trainer ({said})"
        ) from error
