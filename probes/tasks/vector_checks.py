"""Checks of a task of vectors: what would broadcast or be overwritten trains for something else."""

import torch
from torch import Tensor

from probes.jobs.torch_settings import usual_torch_settings
from probes.jobs.validation import require
from probes.models.losses import Loss
from probes.tasks.task import FeedForwardTask

#: Fewer examples have no S of two and no example that is left for the test.
LEAST_EXAMPLES = 3


def check_vectors(name: str, task: FeedForwardTask) -> None:
    """Refuse a task whose tensors or loss do not fit each other.

    Args:
        name: of the task, as ``--task`` takes it.
        task: that was written.

    Raises:
        ValueError: features, targets, weights or biases have another shape than their layers ask
            for, a feature or a target is not finite, the rank is larger than a layer, or the loss
            has not one value per example, or another gradient than that of its value.
    """
    of_task = f"of task {name!r}"
    for what in ("features", "targets"):
        values = getattr(task, what)
        rows = isinstance(values, Tensor) and values.ndim == 2 and len(values) >= LEAST_EXAMPLES
        allowed = f"a tensor of one row an example, {LEAST_EXAMPLES} at least"
        require(rows, f"{what} {of_task}", allowed, _said(values))
    examples = len(task.features)
    fit = len(task.targets) == examples
    allowed = f"of {examples} examples, as features are"
    require(fit, f"targets {of_task}", allowed, len(task.targets))
    _check_layers(of_task, task)
    outputs, columns = len(task.weights[-1]), task.targets.shape[1]
    allowed = f"of {outputs} columns, one an output of the last layer"
    require(columns == outputs, f"targets {of_task}", allowed, columns)
    for what, values in (("features", task.features), ("targets", task.targets)):
        finite = bool(values.isfinite().all())
        require(finite, f"{what} {of_task}", "finite", "NaN or infinity")
    allowed = f"from 1 to {task.largest_rank}, the smallest side of its layers"
    require(1 <= task.rank <= task.largest_rank, f"rank {of_task}", allowed, task.rank)
    _check_loss(f"loss {task.loss.name!r} {of_task}", task.loss, task.targets[:1].double())


def _check_layers(of_task: str, task: FeedForwardTask) -> None:
    """Check that every layer reads what the one before writes."""
    layers, biases = len(task.weights), len(task.biases)
    require(layers > 0, f"weights {of_task}", "those of one layer at least", "none")
    require(biases == layers, f"biases {of_task}", f"{layers}, one a layer", biases)
    width = task.features.shape[1]
    for layer, (weight, bias) in enumerate(zip(task.weights, task.biases, strict=True), 1):
        fits = isinstance(weight, Tensor) and weight.ndim == 2 and weight.shape[1] == width
        allowed = f"a tensor of shape (d_out, {width})"
        require(fits, f"weight {layer} {of_task}", allowed, _said(weight))
        width = len(weight)
        fits = isinstance(bias, Tensor) and bias.shape == (width,)
        require(fits, f"bias {layer} {of_task}", f"a tensor of shape ({width},)", _said(bias))


# Tasks are loaded where replicas are trained, without autograd.
@usual_torch_settings()
def _check_loss(called: str, loss: Loss, target: Tensor) -> None:
    """Check that the loss has one value per example, and writes its gradient where it is told."""
    # One example more than outputs, so that the two are not taken for each other.
    outputs = target.shape[1]
    targets = target.mT.repeat(1, outputs + 1)
    at = torch.linspace(-0.9, 1.1, targets.numel(), dtype=torch.float64).view_as(targets)
    at.requires_grad_(True)
    losses = loss.value(at, targets)
    allowed = f"one value per example, at {outputs} outputs"
    require(losses.shape == (outputs + 1,), called, allowed, _said(losses))
    (slope,) = torch.autograd.grad(losses.sum(), at)
    written = torch.full_like(slope, float("nan"))
    loss.gradient(at.detach(), targets, written)
    allowed = "that of its value, written into the memory that it is given"
    require(torch.allclose(written, slope), f"the gradient of {called}", allowed, "another")


def _said(values: object) -> str:
    """Say what was given, by its shape if it has one."""
    shape = getattr(values, "shape", None)
    kind = type(values).__name__
    return kind if shape is None else f"{kind} of shape {tuple(shape)}"
