"""LoRA Dropout in transformers' Trainer: masks by optimizer step, N samples, the ensemble."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType, find_batch_size
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.injection import adapted_layers, layers_in_use, mask_schedules
from lora_dropout.objective import each_sample, grouped_samples
from lora_dropout.peft.adalora import regularizer, regularizer_share
from lora_dropout.peft.adapters import keep_reference_still
from lora_dropout.peft.allocation import allocates, restore_allocation, write_allocation
from lora_dropout.peft.averaging import averaging, base_model
from lora_dropout.peft.generation import generating
from lora_dropout.peft.row_independence import (
    EXACT,
    ROUGH,
    couples_by_itself,
    relative_distance,
    without_noise,
)
from lora_dropout.peft.trainer_notes import counted_once, without_notes

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

#: Kinds of training in which no process holds the gradients.
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
#: Trainers of TRL that generate what they train on within a step.
DRAW_THEIR_DATA = (
    "GRPOTrainer", "RLOOTrainer", "OnlineDPOTrainer", "NashMDTrainer", "XPOTrainer", "PPOTrainer",
    "GKDTrainer", "MiniLLMTrainer",
)  # fmt: skip
#: Trainers of TRL whose loss compares rows with an average over the batch, or over those before.
#: In the first batch that may be 0 whatever the rows are, so that gradients say nothing of it.
COMPARE_WITH_AVERAGES = ("KTOTrainer", "BCOTrainer")

logger = logging.getLogger(__name__)


class MaskCallback(TrainerCallback):
    """Makes the masks those of the trainer's optimizer step, also after it resumed."""

    def on_train_begin(
        self, args: TrainingArguments, state: "TrainerState", control: "TrainerControl",
        model: nn.Module | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Take the masks away from the copy of an adapter that a preference loss compares with.

        Args:
            args, state, control: the trainer's.
            model: the trainer's model, with adapters.
            **kwargs: ignored.
        """
        assert model is not None
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


class LoraDropoutTrainerMixin:
    """Put before a trainer of transformers: ``class T(LoraDropoutTrainerMixin, SomeTrainer)``.

    Masks are a function of (seed, optimizer step, layer, sample number): not of the number of
    processes, the rank, or how a batch is split for gradient accumulation.

    Source: arXiv 2404.09610, Eq. 7 (samples), Eq. 8 (ensemble).

    Args:
        samples: N, mask pairs that the training loss is averaged over.
        grouped: one pass over the batch repeated N times, in place of N passes. Where that would be
            another objective, as rows of a batch see each other (losses of pairs, negatives within
            the batch, normalization over it), and where a model computes something without a batch,
            such as DeBERTa's relative positions, N passes are taken all the same, and a warning
            says so. The gradients of the first batch are compared for that.
        own_masks: masks of its own for each process and part of an accumulated batch. The gradient
            is less noisy, and the training depends on how it is split.
        ensemble: N, members in evaluation and prediction, whose logits are averaged; 0 for the
            network that the adapter's ``inference`` names.

    Raises:
        ValueError: a number out of range; several samples in a trainer that draws data within its
            step; an ensemble whose loss the model does not tell, before anything is trained.
    """

    if TYPE_CHECKING:
        model: nn.Module
        args: Any
        state: Any
        accelerator: Any
        current_gradient_accumulation_steps: int
        compute_loss_func: Any
        label_smoother: Any
        _prepare_inputs: Any
        _get_num_items_in_batch: Any

    def __init__(
        self, *args: Any, samples: int = 1, grouped: bool = False, own_masks: bool = False,
        ensemble: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        for name, value, least in (("samples", samples, 1), ("ensemble", ensemble, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.samples, self.grouped, self.own_masks, self.ensemble = (
            samples, grouped, own_masks, ensemble,
        )  # fmt: skip
        self._share = 1.0
        self._part = (-1, 0)
        self._scaling_checked = self._counts_items = False
        self._rows_checked = self._ensemble_checked = self._regularizer_checked = False
        self._adds_regularizer = False
        if own_masks:
            # Otherwise every process may get the first one's masks before a forward pass.
            for given in (*args, kwargs.get("args")):
                if isinstance(given, TrainingArguments):
                    given.ddp_broadcast_buffers = False
        self._refuse_own_data()
        super().__init__(*args, **kwargs)
        keep_reference_still(self.model)
        for _, layer in adapted_layers(self.model):
            if not layer.masks.seeded:
                layer.masks.reseed(self.args.seed)
        for callback in (MaskCallback(), AllocationCallback()):
            self.add_callback(callback)  # type: ignore[attr-defined]

    def _refuse_own_data(self) -> None:
        """Refuse N samples where a step of training draws data of its own, for each anew."""
        if self.samples == 1:
            return
        if self._is_one_of(DRAW_THEIR_DATA) or hasattr(
            type(self), "_generate_and_score_completions"
        ):
            raise ValueError(
                f"samples must be 1 in {type(self).__name__}, whose every pass draws data of its "
                f"own; got {self.samples}"
            )

    def _is_one_of(self, names: tuple[str, ...]) -> bool:
        return not {kind.__name__ for kind in type(self).__mro__}.isdisjoint(names)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Backpropagate the loss of a batch, averaged over the samples.

        Source: arXiv 2404.09610, Eq. 7.

        Args:
            model: the model, which may be wrapped for several processes.
            inputs: the batch, tensors by name.
            num_items_in_batch: number of labels in the whole accumulated batch, if known.

        Returns:
            The average loss, detached.
        """
        self._check_scaling(model, inputs)
        self._check_ensemble(inputs)
        self._check_regularizer(model, inputs, num_items_in_batch)
        self._counts_items = num_items_in_batch is not None
        with counted_once(self, self.samples):
            return self._step(model, inputs, num_items_in_batch)

    def _step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        samples = self._numbers()
        if samples == range(1):
            return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        if self.grouped and self.samples > 1:
            try:
                self._check_rows(model, inputs, num_items_in_batch, samples)
                return self._one_pass(model, inputs, num_items_in_batch, samples)
            except GroupsNotSupportedError as reason:
                logger.warning(
                    "%d passes are taken in place of a grouped one: %s", self.samples, reason
                )
                self.grouped = False
        return self._passes(model, inputs, num_items_in_batch, samples)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any) -> None:
        if not restore_allocation(Path(resume_from_checkpoint), self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, *args)  # type: ignore[misc]

    def _load_best_model(self) -> None:
        if not restore_allocation(Path(self.state.best_model_checkpoint), self.model):
            super()._load_best_model()  # type: ignore[misc]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss, or its share of the average over samples.

        Args:
            *args, **kwargs: passed on to the trainer.

        Returns:
            The loss, or the loss and the model's output, as the trainer was asked for.
        """
        with regularizer_share(self.model, self._share_of_part()):
            loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        if self._adds_regularizer and self.model.training:
            added = self._share_of_division() * regularizer(self.model)
            loss = (loss[0] + added, *loss[1:]) if isinstance(loss, tuple) else loss + added
        if self._share == 1:
            return loss
        if isinstance(loss, tuple):
            return self._share * loss[0], *loss[1:]
        return self._share * loss

    def _share_of_part(self) -> float:
        """What a part of the accumulated batch counts where losses are summed over the parts.

        A loss per item is a sum over parts and processes, and so must be what does not depend on
        the items. Other losses are averaged, and it with them.
        """
        if not (self.model.training and self._counts_items and self.model_accepts_loss_kwargs):
            return 1.0
        processes = self.args.world_size if self.args.average_tokens_across_devices else 1
        return 1 / (self.current_gradient_accumulation_steps * processes)

    def _share_of_division(self) -> float:
        """What a part counts that is added to the trainer's loss: parts are summed or averaged."""
        scaled = getattr(self, "loss_is_scaled_for_ga", None)
        if scaled is None:
            per_item = self.model_accepts_loss_kwargs and self._counts_items
            scaled = per_item or self.compute_loss_func is not None
        return 1 / self.current_gradient_accumulation_steps if scaled else 1.0

    def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what a preference loss compares with; trainers of TRL ask for it before training.

        Args:
            *args, **kwargs: passed on to the trainer.

        Returns:
            What the trainer returns.
        """
        keep_reference_still(self.model)
        return super().compute_ref_log_probs(*args, **kwargs)  # type: ignore[misc]

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Evaluate a batch, by the ensemble if there is one.

        Args:
            model: the model, which may be wrapped for several processes.
            inputs: the batch, tensors by name.
            *args, **kwargs: passed on to the trainer.

        Returns:
            Loss, logits and labels, as the trainer's own step returns them.
        """
        self._check_scaling(model, inputs)
        if allocates(self.model):
            # PEFT's AdaLoRA adds its regularizer to every loss, which is then none of the data.
            model = base_model(self.model)
        called = model if allocates(self.model) else self.model
        if not self.ensemble:
            return super().prediction_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        with (
            averaging(called, self.model, self.ensemble),
            generating(self.model, self.ensemble),
        ):
            return super().prediction_step(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def _check_scaling(self, model: nn.Module, inputs: dict[str, Any]) -> None:
        """Find out, once, whether the model divides its loss by the number of items it is told.

        Many heads take the number and ignore it, and the trainer, which believes them, then sums
        over processes and parts of a batch what it ought to average (transformers issue 47688).
        """
        if self._scaling_checked:
            return
        self._scaling_checked = True
        in_parts = self.args.gradient_accumulation_steps > 1 or self.args.world_size > 1
        own = self.compute_loss_func is not None or self.label_smoother is not None
        items = self._get_num_items_in_batch([inputs], self.args.device)
        if not in_parts or own or items is None:
            return
        training = model.training
        model.eval()
        with without_notes(self), torch.no_grad():
            once, twice = (
                float(self.compute_loss(model, self._prepare_inputs(inputs), False, count))
                for count in (items, 2 * items)
            )
        model.train(training)
        if once == twice:
            logger.info("the model ignores num_items_in_batch: its losses are averaged")
            self.model_accepts_loss_kwargs = False

    def _check_regularizer(self, model: nn.Module, inputs: dict[str, Any], items: Any) -> None:
        """Find out, once, whether the trainer's loss has AdaLoRA's regularizer.

        PEFT adds it to the loss that the model returns. Trainers that compute a loss of their own,
        of labels that are smoothed, of preferences, leave that one alone, and the regularizer out.
        """
        if self._regularizer_checked or not allocates(self.model):
            return
        self._regularizer_checked = True
        found = []
        with without_noise(self.model), without_notes(self), torch.no_grad():
            for share in (1.0, 2.0):
                with regularizer_share(self.model, share):
                    known = self._prepare_inputs(dict(inputs))
                    found.append(float(self.compute_loss(model, known, False, items)))
            size = float(regularizer(self.model).detach())
        self._adds_regularizer = found[1] - found[0] < size / 2

    def _check_ensemble(self, inputs: dict[str, Any]) -> None:
        """Find out, before anything is trained, whether the ensemble can be evaluated."""
        if self._ensemble_checked or not self.ensemble or self.args.eval_strategy == "no":
            return
        self._ensemble_checked = True
        training = self.model.training
        self.model.eval()
        try:
            with without_notes(self), torch.no_grad():
                self.prediction_step(self.model, dict(inputs), False)
        finally:
            self.model.train(training)

    def _passes(
        self, model: nn.Module, inputs: dict[str, Any], items: Any, samples: range
    ) -> Tensor:
        total = torch.zeros((), device=self.args.device)
        self._share = 1 / len(samples)
        try:
            for sample in each_sample(self.model, samples):
                last = sample == samples[-1]
                with nullcontext() if last else self._more_to_come(model):
                    total = total + super().training_step(model, inputs, items)  # type: ignore[misc]
        finally:
            self._share = 1.0
        return total

    @contextmanager
    def _more_to_come(self, model: nn.Module) -> Iterator[None]:
        """Within the block, backward passes are followed by another one of the same step.

        Gradients travel between processes once, with the last pass, and DeepSpeed, which takes its
        optimizer step within the backward pass, waits for it.
        """
        gradients = self.accelerator.gradient_state
        before = gradients.sync_gradients
        gradients._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            gradients._set_sync_gradients(before)

    def _one_pass(
        self, model: nn.Module, inputs: dict[str, Any], items: Any, samples: range
    ) -> Tensor:
        count = len(samples)
        items = items if items is None else count * items
        with grouped_samples(self.model, count, samples.start):
            return super().training_step(model, _repeated(inputs, count), items)  # type: ignore[misc]

    def _check_rows(
        self, model: nn.Module, inputs: dict[str, Any], items: Any, samples: range
    ) -> None:
        """Find out, once, whether a grouped pass is the same objective as passes.

        Raises:
            GroupsNotSupportedError: it is not, or nobody can tell.
        """
        if self._rows_checked:
            return
        self._rows_checked = True
        if self.accelerator.distributed_type in SHARDED:
            raise GroupsNotSupportedError("gradients of a sharded model cannot be compared first")
        if couples_by_itself(model):
            raise GroupsNotSupportedError("the model normalizes over the batch")
        if self._is_one_of(COMPARE_WITH_AVERAGES):
            raise GroupsNotSupportedError("rows of a batch are compared with their average")
        exact = self.accelerator.mixed_precision == "no" and all(
            factor.dtype == torch.float32 for layer in layers_in_use(self.model)
            for factor in layer.factors
        )  # fmt: skip
        apart = self._distance_of_group(self._prepare_inputs(inputs), items, samples)
        if not apart <= (EXACT if exact else ROUGH):
            raise GroupsNotSupportedError(
                "rows of a batch see each other in the model or its loss: the gradient of the "
                f"first batch is {apart:.2g} of its norm away from that of the passes"
            )

    def _distance_of_group(self, inputs: dict[str, Any], items: Any, samples: range) -> float:
        count = len(samples)
        factors = [one for one in self.model.parameters() if one.requires_grad]

        def grouped() -> Tensor:
            times = items if items is None else count * items
            with grouped_samples(self.model, count, samples.start):
                return self.compute_loss(self.model, _repeated(inputs, count), False, times)

        def passes() -> Iterator[Tensor]:
            for _ in each_sample(self.model, samples):
                yield self.compute_loss(self.model, dict(inputs), False, items) / count

        with without_noise(self.model), without_notes(self):
            apart = relative_distance(grouped, passes, factors)
        if self.args.world_size == 1:
            return apart
        device = self.args.device
        return float(self.accelerator.gather(torch.tensor([apart], device=device)).max())

    def _numbers(self) -> range:
        """Numbers of the samples of this pass within the optimizer step."""
        if not self.own_masks:
            return range(self.samples)
        step, part = self._part
        part = part + 1 if step == self.state.global_step else 0
        self._part = (self.state.global_step, part)
        first = (part * self.args.world_size + self.args.process_index) * self.samples
        return range(first, first + self.samples)


def _repeated(inputs: dict[str, Any], count: int) -> dict[str, Any]:
    """Repeat the batch along its first dimension."""
    rows = find_batch_size(inputs)
    return {
        name: value.repeat(count, *[1] * (value.dim() - 1))
        if isinstance(value, Tensor) and value.dim() and len(value) == rows
        else value
        for name, value in inputs.items()
    }


class LoraDropoutTrainer(LoraDropoutTrainerMixin, Trainer):
    """``transformers.Trainer`` with LoRA Dropout: see :class:`LoraDropoutTrainerMixin`."""
