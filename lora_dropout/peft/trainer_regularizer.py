"""AdaLoRA's regularizer in a trainer's loss: once, however a batch is split.

PEFT adds it to the loss that the model returns. Trainers that compute a loss of their own, of
labels that are smoothed, of preferences, leave that one alone, and the regularizer out.
"""

from typing import Any

import torch
from torch import nn

from lora_dropout.peft.adalora import regularizer, regularizer_share
from lora_dropout.peft.row_independence import without_noise
from lora_dropout.peft.trainer_notes import without_notes
from lora_dropout.peft.trainer_processes import of_all_processes
from lora_dropout.peft.trl_trainers import draws_own_data


def leaves_regularizer_out(
    trainer: Any, model: nn.Module, inputs: dict[str, Any], items: Any
) -> bool:
    """Whether a trainer's loss lacks the regularizer that its model's loss has.

    Args:
        trainer: of transformers or TRL, whose model AdaLoRA adapts.
        model: the trainer's; the replicas that ``nn.DataParallel`` makes of it have no parameters,
            of which PEFT makes the regularizer.
        inputs: a batch, tensors by name.
        items: number of labels in the whole accumulated batch, if known.

    Returns:
        Whether twice the regularizer is the same loss.
    """
    if draws_own_data(trainer):
        return True
    asked = model if isinstance(model, nn.DataParallel) else trainer.model
    found = []
    with without_noise(trainer.model), without_notes(trainer), torch.no_grad():
        for share in (1.0, 2.0):
            with regularizer_share(trainer.model, share):
                known = trainer._prepare_inputs(dict(inputs))
                loss = trainer.compute_loss(asked, known, num_items_in_batch=items)
                found.append(float(loss.mean()))
        size = float(regularizer(trainer.model).detach())
    left_out = found[1] - found[0] < size / 2
    # A loss that is not finite tells nothing, and the processes have to do the same.
    return bool(of_all_processes(trainer, float(left_out)).any())


def share_within_loss(trainer: Any, counts_items: bool) -> float:
    """What a part of the accumulated batch counts where losses are summed over the parts.

    A loss per item is a sum over parts and processes, and so must be what does not depend on the
    items. Other losses are averaged, and it with them.

    Args:
        trainer: of transformers or TRL.
        counts_items: whether it told the number of labels in the accumulated batch.

    Returns:
        The share of the regularizer that belongs into the model's loss of one part.
    """
    if not (trainer.model.training and counts_items and trainer.model_accepts_loss_kwargs):
        return 1.0
    processes = trainer.args.world_size if trainer.args.average_tokens_across_devices else 1
    return 1 / (trainer.current_gradient_accumulation_steps * processes)


def share_beside_loss(trainer: Any, counts_items: bool) -> float:
    """What a part counts that is added to the trainer's loss: parts are summed or averaged.

    Args:
        trainer: of transformers or TRL.
        counts_items: whether it told the number of labels in the accumulated batch.

    Returns:
        The share of the regularizer that is added to the trainer's loss of one part.
    """
    scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    if scaled is None:
        per_item = trainer.model_accepts_loss_kwargs and counts_items
        scaled = per_item or trainer.compute_loss_func is not None
    return 1 / trainer.current_gradient_accumulation_steps if scaled else 1.0
