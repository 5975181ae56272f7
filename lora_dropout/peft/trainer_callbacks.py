"""What a trainer of transformers calls at its steps: masks and AdaLoRA's ranks move."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lora_dropout.injection import mask_schedules
from lora_dropout.peft.adapter_masks import keep_reference_still
from lora_dropout.peft.allocation import allocates, write_allocation

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState


class MaskCallback(TrainerCallback):
    """Makes the masks those of the trainer's optimizer step, also after it resumed.

    Attributes:
        begun: how many steps began, of which one that ran out of memory begins again.
    """

    begun = 0

    def on_train_begin(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        model: nn.Module | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Take the masks away from the copy of an adapter that a preference loss compares with.

        Args:
            args, state, control: the trainer's.
            model: the trainer's model, with adapters.
            **kwargs: ignored.

        Raises:
            ValueError: nothing of the model is trained.
        """
        assert model is not None
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                "no parameter of the model is trained: load its adapter by "
                "PeftModel.from_pretrained(model, folder, is_trainable=True)"
            )
        keep_reference_still(model)

    def on_step_begin(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        model: nn.Module | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Seek the step that begins.

        Args:
            args, state, control: the trainer's, of which ``state.global_step`` is used.
            model: the trainer's model, with adapters.
            **kwargs: ignored.
        """
        assert model is not None
        self.begun += 1
        for schedule in mask_schedules(model):
            schedule.seek(state.global_step)


class AllocationCallback(TrainerCallback):
    """Lets AdaLoRA allocate its ranks after each optimizer step; does nothing for LoRA."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        model: nn.Module | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Allocate the ranks of the step that ends.

        Args:
            args, state, control: the trainer's, of which ``state.global_step`` is used.
            model: the trainer's model, with adapters.
            **kwargs: ignored.
        """
        if allocates(model):
            model.base_model.update_and_allocate(state.global_step)  # type: ignore[union-attr, operator]

    def on_save(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        model: nn.Module | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Put into a checkpoint what AdaLoRA goes on from.

        Args:
            args, state, control: the trainer's, which say where the checkpoint is.
            model: the trainer's model, with adapters.
            **kwargs: ignored.
        """
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if allocates(model) and state.is_world_process_zero and folder.is_dir():
            write_allocation(folder, model)
