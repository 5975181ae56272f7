"""LoRA Dropout in transformers' Trainer: masks by optimizer step, N samples, the ensemble."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from lora_dropout.ensemble import Average, check_ensemble
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.given_numbers import true_or_false, whole_number
from lora_dropout.objective import each_sample, grouped_samples
from lora_dropout.peft.adalora import regularizer, regularizer_share
from lora_dropout.peft.adapter_masks import follow_seed, keep_reference_still
from lora_dropout.peft.allocation import allocates, restore_allocation
from lora_dropout.peft.averaging import averaging, base_model
from lora_dropout.peft.generation import generating
from lora_dropout.peft.trainer_callbacks import AllocationCallback, MaskCallback
from lora_dropout.peft.trainer_decoder import check_decoder_inputs
from lora_dropout.peft.trainer_groups import check_rows, repeated
from lora_dropout.peft.trainer_items import ignores_items
from lora_dropout.peft.trainer_notes import counted_once, without_notes
from lora_dropout.peft.trainer_processes import prepared_to_evaluate, refuse_parts_of_matrices
from lora_dropout.peft.trainer_regularizer import (
    leaves_regularizer_out,
    share_beside_loss,
    share_within_loss,
)
from lora_dropout.peft.trainer_replicas import without_replicas
from lora_dropout.peft.trl_trainers import draws_own_data, refuse_own_data

logger = logging.getLogger(__name__)


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
            says so. The gradients of batches 1, 2, 4, 8 and so on are compared for that.
        own_masks: masks of its own for each process and part of an accumulated batch. The gradient
            is less noisy, and the training depends on how it is split.
        ensemble: N, members in evaluation, prediction and generation, whose outputs are averaged; 0
            for the network that the adapter's ``inference`` names.
        average: "logits", or "probabilities", whose logarithm then takes the place of logits: see
            :class:`lora_dropout.Ensemble`.

    Raises:
        ValueError: a number out of range; an unknown average, or one without an ensemble; several
            samples in a trainer that draws data within its step; AdaLoRA under FSDP; before
            anything is trained, an ensemble whose loss the model does not tell, and labels that a
            loss of one's own takes from an encoder with a decoder that has no other inputs.
    """

    if TYPE_CHECKING:
        model: nn.Module
        args: Any
        state: Any
        accelerator: Any
        current_gradient_accumulation_steps: int
        compute_loss: Any
        compute_loss_func: Any
        label_smoother: Any
        _prepare_inputs: Any
        _get_num_items_in_batch: Any

    def __init__(
        self, *args: Any, samples: int = 1, grouped: bool = False, own_masks: bool = False,
        ensemble: int = 0, average: Average = "logits", **kwargs: Any,
    ) -> None:  # fmt: skip
        for name, value, least in (("samples", samples, 1), ("ensemble", ensemble, 0)):
            whole_number(name, value, least)
        for name, value in (("grouped", grouped), ("own_masks", own_masks)):
            true_or_false(name, value)
        check_ensemble(max(ensemble, 1), average)
        if average != "logits" and not ensemble:
            raise ValueError(f"average={average!r} needs an ensemble of at least 1 member")
        self.samples, self.grouped, self.own_masks = samples, grouped, own_masks
        self.ensemble, self.average = ensemble, average
        self._share = 1.0
        self._part = ((-1, 0), 0)
        self._steps = MaskCallback()
        self._groups = 0
        self._counts_items = self._adds_regularizer = self._in_step = False
        self._checked: set[str] = set()
        if own_masks:
            # Otherwise every process may get the first one's masks before a forward pass.
            for given in (*args, kwargs.get("args")):
                if isinstance(given, TrainingArguments):
                    given.ddp_broadcast_buffers = False
        refuse_own_data(self, samples)
        super().__init__(*args, **kwargs)
        refuse_parts_of_matrices(self)
        self.compute_loss = partial(self._share_of_loss, self.compute_loss)
        keep_reference_still(self.model)
        follow_seed(self.model, self.args.seed)
        for callback in (self._steps, AllocationCallback()):
            self.add_callback(callback)  # type: ignore[attr-defined]

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Make a model anew, for a training or a trial; its masks are those of the trainer's seed.

        Args:
            trial: passed on to ``model_init``.
        """
        model: nn.Module = super().call_model_init(trial)  # type: ignore[misc]
        follow_seed(model, self.args.seed)
        return model

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
        self._check_items(model, inputs)
        self._check_ensemble(inputs)
        self._check_regularizer(model, inputs, num_items_in_batch)
        self._counts_items = num_items_in_batch is not None
        self._in_step = True
        try:
            with counted_once(self, self.samples):
                return self._step_of_samples(model, inputs, num_items_in_batch)
        finally:
            self._in_step = False

    def _step_of_samples(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> Tensor:
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

    def _share_of_loss(
        self, compute: Callable[..., Any], model: nn.Module, inputs: dict[str, Any],
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Compute the loss, or its share of the average over samples.

        It takes the place of ``compute_loss`` on the trainer itself, so that it is asked also where
        a class that inherits from this one computes the loss.
        """
        check_decoder_inputs(self, inputs)
        self._check_step()
        with regularizer_share(self.model, share_within_loss(self, self._counts_items)):
            loss = compute(model, inputs, *args, **kwargs)
        if self._adds_regularizer and self.model.training:
            added = share_beside_loss(self, self._counts_items) * regularizer(self.model)
            loss = (loss[0] + added, *loss[1:]) if isinstance(loss, tuple) else loss + added
        if self._share == 1:
            return loss
        if isinstance(loss, tuple):
            return self._share * loss[0], *loss[1:]
        return self._share * loss

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
        self._check_items(model, inputs)
        allocated = allocates(self.model)
        if not (self.ensemble or allocated):
            return super().prediction_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        with ExitStack() as blocks:
            called = blocks.enter_context(without_replicas(self, model))
            # PEFT's AdaLoRA adds its regularizer to every loss, which is then none of the data.
            inner = base_model(self.model) if allocated else self.model
            if self.ensemble:
                size, average = self.ensemble, self.average
                blocks.enter_context(averaging(inner, self.model, size, average))
                blocks.enter_context(generating(self.model, size, average))
            called = inner if allocated else called
            return super().prediction_step(called, inputs, *args, **kwargs)  # type: ignore[misc]

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate, or predict; a training may begin afterwards.

        Args:
            *args, **kwargs: passed on to the trainer.

        Returns:
            What the trainer returns.
        """
        with prepared_to_evaluate(self):
            return super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]

    def _check_step(self) -> None:
        """Refuse samples of which a step of another class would take one."""
        several = self.samples > 1 or self.own_masks
        if several and not self._in_step and self.model.training and torch.is_grad_enabled():
            raise ValueError(
                f"training_step of {type(self).__name__} computes a loss without that of "
                "LoraDropoutTrainerMixin: let it call super().training_step, or take samples=1"
            )

    def _first(self, check: str) -> bool:
        """Whether nobody has asked this yet."""
        asked = check in self._checked
        self._checked.add(check)
        return not asked

    def _check_items(self, model: nn.Module, inputs: dict[str, Any]) -> None:
        """Find out, once, whether the model divides its loss by the number of items it is told."""
        if "items" in self._checked:
            return
        ignores = ignores_items(self, model, inputs)
        if ignores is not None:
            self._checked.add("items")
        if ignores:
            logger.info("the model ignores num_items_in_batch: its losses are averaged")
            self.model_accepts_loss_kwargs = False

    def _check_regularizer(self, model: nn.Module, inputs: dict[str, Any], items: Any) -> None:
        """Find out, once, whether the trainer's loss has AdaLoRA's regularizer."""
        if allocates(self.model) and self._first("regularizer"):
            self._adds_regularizer = leaves_regularizer_out(self, model, inputs, items)

    def _check_ensemble(self, inputs: dict[str, Any]) -> None:
        """Find out, before anything is trained, whether the ensemble can be evaluated."""
        if not self.ensemble or self.args.eval_strategy == "no" or not self._first("ensemble"):
            return
        # Asked anew, those that draw data would draw other data in the training that follows.
        if draws_own_data(self):
            return
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
            return super().training_step(model, repeated(inputs, count), items)  # type: ignore[misc]

    def _check_rows(
        self, model: nn.Module, inputs: dict[str, Any], items: Any, samples: range
    ) -> None:
        """Find out whether a grouped pass is the same objective as passes.

        It is asked at passes 1, 2, 4, 8 and so on: some losses compare rows only later, as with
        those of batches before.
        """
        number = self._groups + 1
        if number & self._groups or check_rows(self, model, inputs, items, samples):
            self._groups = number

    def _numbers(self) -> range:
        """Numbers of the samples of this pass within the optimizer step."""
        if not self.own_masks:
            return range(self.samples)
        before, part = self._part
        step = self.state.global_step, self._steps.begun
        part = part + 1 if step == before else 0
        self._part = (step, part)
        first = (part * self.args.world_size + self.args.process_index) * self.samples
        return range(first, first + self.samples)


class LoraDropoutTrainer(LoraDropoutTrainerMixin, Trainer):
    """``transformers.Trainer`` with LoRA Dropout: see :class:`LoraDropoutTrainerMixin`."""
