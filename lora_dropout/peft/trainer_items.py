"""Whether a model divides its loss by the number of items that a trainer tells it."""

from math import isfinite
from typing import Any

import torch
from torch import nn

from lora_dropout.peft.trainer_notes import without_notes
from lora_dropout.peft.trainer_processes import of_all_processes

#: What a process says of its batch.
UNKNOWN, DIVIDES, IGNORES = -1.0, 0.0, 1.0


def ignores_items(trainer: Any, model: nn.Module, inputs: dict[str, Any]) -> bool | None:
    """Whether a model takes the number of items and ignores it.

    Many heads do. The trainer believes them, and sums over processes and parts of a batch what it
    ought to average (transformers issue 47688).

    Args:
        trainer: of transformers or TRL.
        model: the trainer's, which may be wrapped for several processes.
        inputs: a batch, tensors by name.

    Returns:
        False also where the trainer splits nothing, or computes the loss in place of the model;
        None where the batch tells nothing: without labels that count, in no process, or of a loss
        that is 0 or not finite.
    """
    args = trainer.args
    in_parts = max(args.gradient_accumulation_steps, args.world_size, args.n_gpu) > 1
    own = trainer.compute_loss_func is not None or trainer.label_smoother is not None
    if not in_parts or own or not trainer.model_accepts_loss_kwargs:
        return False
    items = trainer._get_num_items_in_batch([inputs], args.device)
    if items is None:
        return None
    training = model.training
    model.eval()
    found = []
    with without_notes(trainer), torch.no_grad():
        for count in (items, 2 * items):
            known = trainer._prepare_inputs(inputs)
            # One a GPU, where one process has several.
            losses = trainer.compute_loss(model, known, num_items_in_batch=count)
            found.append(float(losses.mean()))
    model.train(training)
    verdicts = of_all_processes(trainer, _verdict(*found)).tolist()
    return None if set(verdicts) == {UNKNOWN} else DIVIDES not in verdicts


def _verdict(loss: float, of_twice: float) -> float:
    """What the losses of one batch for one count and twice as many say."""
    if loss == 0 or not (isfinite(loss) and isfinite(of_twice)):
        return UNKNOWN
    return IGNORES if loss == of_twice else DIVIDES
