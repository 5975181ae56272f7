"""A trainer that evaluates by every way of inference, and on training examples too."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PrinterCallback, ProgressCallback, Trainer

from lora_dropout.injection import masked_updates
from lora_dropout.peft import LoraDropoutTrainer, MaskCallback
from probes.finetuning.checkpoints import CheckpointCallback
from probes.finetuning.rows import BESIDE, HELD_OUT, SEEN, measured_name
from probes.finetuning.task import FinetuneTask
from probes.metrics.inference_names import at_test_alone
from probes.models.pretrained import LANGUAGE_MODEL

#: Training examples whose loss is evaluated beside the held-out ones, at most.
EVALUATED = 512


class FinetuneTrainer(LoraDropoutTrainer):
    """A trainer whose evaluation is that of :func:`probes.finetuning.training.run_finetune`.

    Args:
        model, args: of the trainer.
        task: the examples.
        drops: whether there is any dropout.
        members: N of the test-time ensemble, 0 for none.
        along: whether the ensemble is evaluated along training, or at the end alone.
        drop_at_test: of training without dropout: rate of the masks of an ensemble that is
            evaluated too; 0 for none.
        checkpoint: where training goes on from; None where it begins.
        **options: of :class:`LoraDropoutTrainerMixin`.
    """

    #: Tokens that an example of each set has, on average, where a loss is a mean over tokens.
    answer_lengths: Mapping[str, float] = {}
    #: The same of the set that is evaluated now; 0 where a loss is a mean over examples.
    tokens_each = 0.0

    def __init__(
        self,
        model: Any,
        args: Any,
        *,
        task: FinetuneTask,
        drops: bool,
        members: int,
        along: bool,
        drop_at_test: float,
        checkpoint: Path | None,
        **options: Any,
    ) -> None:
        super().__init__(
            model,
            args,
            train_dataset=task.train,
            eval_dataset=task.held_out,
            data_collator=task.collate,
            compute_metrics=task.metrics,
            preprocess_logits_for_metrics=partial(_first, count=task.outputs),
            **options,
        )
        self.measure, self.along, self.beside = task.metrics, along, task.beside
        self.drop_at_test = drop_at_test
        self.remove_callback(PrinterCallback)
        if self.pop_callback(ProgressCallback):
            self.add_callback(ProgressBar)
        if not masked_updates(model):
            # DropLoRA's are PEFT's own: no masks are to be drawn.
            self.remove_callback(MaskCallback)
        self.checkpoints = CheckpointCallback(self.accelerator, checkpoint, self._end_epoch)
        self.add_callback(self.checkpoints)
        self.modes = {"expected weight": 0} if drops else {"no masks": 0}
        if drops and members:
            self.modes["ensemble"] = members
        elif drop_at_test:
            self.modes[at_test_alone(drop_at_test)] = members
        self.seen = task.train.select(range(min(EVALUATED, len(task.train))))
        if task.model == LANGUAGE_MODEL:
            sets = {HELD_OUT: task.held_out, SEEN: self.seen}
            self.answer_lengths = {name: mean_answer_length(one) for name, one in sets.items()}

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Load nothing: :class:`CheckpointCallback` restores the adapter as it was trained."""

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Run an epoch, unless all steps were taken before the run was killed.

        transformers' trainer would take one more where its last checkpoint is within an epoch.
        """
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:
            self.control.should_training_stop = True

    def _end_epoch(self) -> None:
        """Evaluate an epoch that was not yet, as its last step is saved before its evaluation."""
        due = self.args.eval_strategy == "epoch" and self.args.eval_delay <= (self.state.epoch or 0)
        if due and not self._evaluated(self.state.global_step):
            self._determine_best_metric(metrics=self._evaluate(None, None), trial=None)

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        """Evaluate a batch; a loss that is a mean over tokens has their share in that of the set.

        Args:
            model: the model, which may be wrapped for several processes.
            inputs: the batch, tensors by name.
            *args, **kwargs: passed on to the trainer.

        Returns:
            Loss, logits and labels. The mean of the losses over examples is that over all tokens,
            whatever the size of a batch.
        """
        share = 1.0
        if self.tokens_each:
            share = float((inputs["labels"][:, 1:] >= 0).sum(1).double().mean()) / self.tokens_each
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        return None if loss is None else loss * share, logits, labels

    @property
    def evaluated_at_the_end(self) -> bool:
        """Whether the last step was evaluated, which the interval need not divide."""
        return self._evaluated(self.state.max_steps)

    def _evaluated(self, step: int) -> bool:
        key = measured_name(next(iter(self.modes)), "loss")
        return step in [entry["step"] for entry in self.state.log_history if key in entry]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate the held-out examples, and the loss on training examples, by every inference.

        The ensemble is left out before the last step, unless it is evaluated along training; a
        second held-out set always is.

        Args:
            *args, **kwargs: what the trainer gives, not read.

        Returns:
            Numbers by name: ``eval_<inference>_...`` on held-out examples,
            ``eval_beside_<inference>_...`` on a second set of them, and
            ``eval_train_<inference>_...`` on at most ``EVALUATED`` training examples; and
            ``eval_...`` of the inference without masks, by which the trainer chooses what is best.
        """
        found: dict[str, float] = {}
        ended = self.state.global_step >= self.state.max_steps
        for mode, members in self.modes.items():
            if members and not (self.along or ended):
                continue
            self.ensemble = members
            sets = [
                (self.eval_dataset, HELD_OUT, self.measure),
                # Only the loss: scores that need all examples of a task cannot take a part of them.
                (self.seen, SEEN, None),
            ]
            if self.beside is not None and ended:
                sets.append((self.beside, BESIDE, self.measure))
            for examples, prefix, measure in sets:
                self.compute_metrics = measure
                self.tokens_each = self.answer_lengths.get(prefix, 0.0)
                key = measured_name(mode, prefix=prefix)
                with _all_in_order(self.args), _plain_labels(self), self._masks_of(mode):
                    found |= Trainer.evaluate(self, examples, metric_key_prefix=key)
        chosen = measured_name(next(iter(self.modes))) + "_"
        named = {
            f"{HELD_OUT}_{name.removeprefix(chosen)}": value
            for name, value in found.items()
            if name.startswith(chosen)
        }
        return found | named

    def _masks_of(self, mode: str) -> AbstractContextManager[None]:
        """Masks that the way of inference has, and training had not."""
        if self.drop_at_test and mode == at_test_alone(self.drop_at_test):
            return dropping(self.model, self.drop_at_test)
        return nullcontext()

    def _load_best_model(self) -> None:
        """Take the adapter of the best evaluation, after the end is measured."""
        if not self.evaluated_at_the_end:
            self.evaluate()
        if self.args.deepspeed or self.args.fsdp:
            super()._load_best_model()
        elif self.state.best_model_checkpoint is not None:
            self.checkpoints.restore_adapter(Path(self.state.best_model_checkpoint), self.model)


class ProgressBar(ProgressCallback):
    """Progress on standard error alone: standard output is for what was measured."""

    def on_log(self, *args: Any, **parts: Any) -> None:
        """Write nothing.

        Args:
            *args, **parts: what the trainer gives every callback, not read.
        """


def mean_answer_length(examples: Any) -> float:
    """Tokens of an example that a language model is to predict, on average.

    Args:
        examples: with ``labels``, of which the first is predicted from nothing.
    """
    return float(np.mean([sum(label >= 0 for label in one[1:]) for one in examples["labels"]]))


@contextmanager
def dropping(model: Any, p: float) -> Iterator[None]:
    """Within the block, an adapter has masks of another rate than it was trained with.

    Args:
        model: PEFT's, with an adapter of LoRA Dropout.
        p: rate at which rows and columns are dropped, in [0, 1).
    """
    layers = [(layer, layer.shape) for layer in masked_updates(model)]
    try:
        for layer, shape in layers:
            layer.shape, layer.masks.stale = shape._replace(p_in=p, p_out=p), True
        yield
    finally:
        for layer, shape in layers:
            layer.shape, layer.masks.stale = shape, True


def _first(outputs: Any, labels: Any, count: int) -> Any:
    """The outputs that are measured, of a model that gives its hidden states as well."""
    if not isinstance(outputs, tuple):
        return outputs
    return outputs[0] if count == 1 else outputs[:count]


@contextmanager
def _all_in_order(args: Any) -> Iterator[None]:
    """Evaluate every example of each set, in their order, whatever is done in training.

    transformers' trainer drops a last batch that is not full and orders by length where it does so
    in training, and with workers that persist gives those of its first set for every other one.
    """
    ours = {
        "dataloader_drop_last": False, "dataloader_persistent_workers": False,
        "train_sampling_strategy": "sequential",
    }  # fmt: skip
    users = {name: getattr(args, name) for name in ours}
    vars(args).update(ours)
    try:
        yield
    finally:
        vars(args).update(users)


@contextmanager
def _plain_labels(trainer: Any) -> Iterator[None]:
    """Measure the loss of labels as they are, also where training smooths them.

    Whether the model's own loss is divided by the number of labels says nothing of a smoothed one.
    """
    if trainer.label_smoother is None:
        yield
        return
    kept = ("label_smoother", "model_accepts_loss_kwargs", "_checked")
    users = {name: getattr(trainer, name) for name in kept}
    trainer.label_smoother, trainer._checked = None, {*trainer._checked}
    try:
        yield
    finally:
        vars(trainer).update(users)
