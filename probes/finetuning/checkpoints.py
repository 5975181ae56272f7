"""Checkpoints of a fine-tuning run: all that it goes on from, as safetensors; nothing is pickled.

transformers' trainer keeps its adapter and its log in a checkpoint. What it would pickle beside
them (optimizer, scheduler, random generators) is kept here instead, with what it leaves out: the
adapter as it trains, which AdaLoRA cuts down when it is saved, and AdaLoRA's importance of ranks.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lora_dropout.peft.allocation import (
    allocates,
    rank_state,
    restore_ranks,
    set_parameters,
    trained_parameters,
)
from probes.finetuning.state_file import read_state, write_state

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerControl, TrainerState

#: The state of training, written last: a checkpoint without it is not whole.
TRAINING = "training.safetensors"
#: The state of a process's random generators.
RANDOM = "random-{}.safetensors"


def last_checkpoint(folder: Path) -> Path | None:
    """Find the newest checkpoint of a run that is whole; None if there is none.

    One that is not, as its process was killed or a file is damaged, is named on standard error.
    """
    found = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step_of, reverse=True)
    for checkpoint in found:
        if _is_whole(checkpoint):
            return checkpoint
        print(f"{checkpoint} is not whole, and is passed over", file=sys.stderr)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        for file in checkpoint.glob(RANDOM.format("*")):
            read_state(file)
        return bool(read_state(checkpoint / TRAINING)["log"] == _log_digest(checkpoint))
    except (OSError, ValueError):
        return False


def _log_digest(checkpoint: Path) -> str:
    """Hash what the trainer keeps itself and reads again."""
    return hashlib.sha256((checkpoint / TRAINER_STATE_NAME).read_bytes()).hexdigest()


def _step_of(checkpoint: Path) -> int:
    step = checkpoint.name.rpartition("-")[2]
    return int(step) if step.isdecimal() else -1


class CheckpointCallback(TrainerCallback):
    """Adds to a trainer's checkpoints what a run goes on from, and restores it.

    Training that is sharded (DeepSpeed, FSDP) is not resumed.

    Args:
        accelerator: of the trainer, for the scale of losses in float16.
        checkpoint: where the run goes on from; None where it begins.
        end_epoch: does what is left of an epoch whose last step the checkpoint is of.

    Attributes:
        begin: when training would have begun, had it not been interrupted, in the units of
            ``time.perf_counter``.
    """

    def __init__(
        self,
        accelerator: "Accelerator",
        checkpoint: Path | None,
        end_epoch: Callable[[], None] = lambda: None,
    ) -> None:
        self.accelerator, self.checkpoint, self.end_epoch = accelerator, checkpoint, end_epoch
        self.begin = time.perf_counter()
        #: What is to be restored of the random generators.
        self.random: dict[str, Any] | None = None
        self.in_epoch = False
        self.of_epoch = random_state()

    def on_save(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        **parts: Any,
    ) -> None:  # fmt: skip
        """Complete the checkpoint that the trainer just wrote.

        Args:
            args: of the trainer; ``output_dir`` is where the checkpoint is.
            state: of the trainer; its step names the checkpoint.
            control: of the trainer, not read.
            **parts: ``model``, ``optimizer`` and ``lr_scheduler`` of the trainer.

        Raises:
            ValueError: the checkpoint cannot be written.
        """
        if args.deepspeed or args.fsdp:
            return
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        kept_random = {"now": random_state(), "epoch": self.of_epoch}
        write_state(folder / RANDOM.format(args.process_index), kept_random)
        if state.is_world_process_zero:
            kept = self._state(state, **parts) | {"log": _log_digest(folder)}
            write_state(folder / TRAINING, kept)

    def on_train_begin(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        **parts: Any,
    ) -> None:  # fmt: skip
        """Restore everything but the random generators.

        Args:
            args: of the trainer; ``process_index`` says whose random generators are read.
            state: of the trainer, not read.
            control: of the trainer, not read.
            **parts: ``model``, ``optimizer`` and ``lr_scheduler`` of the trainer, changed in place.
        """
        if self.checkpoint is None:
            return
        kept = read_state(self.checkpoint / TRAINING)
        self._restore(kept, **parts)
        self.in_epoch = kept["in_epoch"]
        self.begin = time.perf_counter() - kept["seconds"]
        file = self.checkpoint / RANDOM.format(args.process_index)
        # With more processes than before, the new ones draw anew.
        self.random = read_state(file) if file.exists() else None

    def on_epoch_begin(self, *args: Any, **parts: Any) -> None:
        """Restore the random generators where an epoch begins, before its examples are ordered.

        Some orders are drawn from them, as that by length; so an epoch that was interrupted begins
        as it did.

        Args:
            *args, **parts: what the trainer gives every callback, not read.
        """
        if self.random is not None and self.in_epoch:
            restore_random(self.random["epoch"])
        elif self.random is not None:
            self._restore_random(self.random)
            self.end_epoch()
        self.of_epoch = random_state()

    def on_step_begin(self, *args: Any, **parts: Any) -> None:
        """Restore the random generators within an epoch, after what was seen of it is skipped.

        Args:
            *args, **parts: what the trainer gives every callback, not read.
        """
        if self.random is not None:
            self._restore_random(self.random)

    def _restore_random(self, kept: dict[str, Any]) -> None:
        restore_random(kept["now"])
        self.random = None

    def _state(
        self, state: "TrainerState", model: nn.Module, optimizer: Any, lr_scheduler: Any, **_: Any
    ) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "in_epoch": not float(state.epoch or 0).is_integer(),
            "seconds": time.perf_counter() - self.begin,
            "adapter": trained_parameters(model),
            "ranks": rank_state(model) if allocates(model) else None,
            "optimizer": optimizer.state_dict(),
            "scheduler": lr_scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def restore_adapter(self, checkpoint: Path, model: nn.Module) -> None:
        """Set a model's adapter to that of a checkpoint.

        Args:
            checkpoint: folder that this callback completed.
            model: PEFT's, changed in place.

        Raises:
            ValueError: the checkpoint is damaged.
        """
        _restore_adapter(read_state(checkpoint / TRAINING), model)

    def _restore(
        self, kept: dict[str, Any], model: nn.Module, optimizer: Any, lr_scheduler: Any, **_: Any
    ) -> None:
        _restore_adapter(kept, model)
        optimizer.load_state_dict(kept["optimizer"])
        lr_scheduler.load_state_dict(kept["scheduler"])
        if self.accelerator.scaler is not None and kept["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(kept["scaler"])


def _restore_adapter(kept: dict[str, Any], model: Any) -> None:
    set_parameters(model, kept["adapter"])
    if kept["ranks"] is not None:
        restore_ranks(model, kept["ranks"])


def random_state() -> dict[str, Any]:
    """States of PyTorch's generators, from which a model's own dropout draws."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random(state: dict[str, Any]) -> None:
    """Set the generators to what :func:`random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
