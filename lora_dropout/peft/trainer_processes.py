"""What the processes of one training have to agree on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor

from lora_dropout.peft.allocation import allocates

#: Where Accelerate notes that it has prepared a model, whatever for.
PREPARED = "_is_accelerate_prepared"


def refuse_parts_of_matrices(trainer: Any) -> None:
    """Refuse a model whose training needs whole matrices where no process holds them.

    Args:
        trainer: of transformers.

    Raises:
        ValueError: AdaLoRA under FSDP, of either version.
    """
    if allocates(trainer.model) and trainer.accelerator.distributed_type == DistributedType.FSDP:
        raise ValueError(
            "AdaLoRA computes its regularizer and its ranks from whole matrices, of which FSDP "
            "gives each process a part: train it without FSDP, or take LoraDropoutConfig"
        )


def of_all_processes(trainer: Any, value: float) -> Tensor:
    """Gather a number; all processes have to ask.

    Args:
        trainer: of transformers.
        value: what this process found.

    Returns:
        What each process found, (processes,).
    """
    found = torch.tensor([value], device=trainer.args.device)
    return found if trainer.args.world_size == 1 else trainer.accelerator.gather(found)


@contextmanager
def prepared_to_evaluate(trainer: Any) -> Iterator[None]:
    """Within the block, a trainer evaluates; what it prepares for that is not prepared to train.

    Accelerate takes the one for the other. The processes of a training that was evaluated before it
    began would each train by itself, without a word.

    Args:
        trainer: of transformers.
    """
    model, before = trainer.model, hasattr(trainer.model, PREPARED)
    yield
    bare = trainer.model is model and trainer.model_wrapped is model
    if trainer.args.world_size > 1 and bare and not before and hasattr(model, PREPARED):
        delattr(model, PREPARED)
