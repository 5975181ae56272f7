"""What is minimised: the loss averaged over N mask pairs, or the theorem's penalized loss."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lora_dropout.functional import penalty
from lora_dropout.given_numbers import real_number, whole_number
from lora_dropout.injection import layers_in_use, mask_schedules
from lora_dropout.masks import drop_probability
from lora_dropout.schedule import MaskSchedule


def backward_over_samples(model: nn.Module, loss: Callable[[], Tensor], samples: int) -> Tensor:
    """Backpropagate the loss averaged over N mask pairs, one forward and backward pass each.

    The memory is that of one pass. The expected gradient does not depend on N; its variance does.

    Source: arXiv 2404.09610, Eq. 7.

    Args:
        model: a model with adapted layers, in training mode.
        loss: runs the model and returns the scalar loss.
        samples: N, at least 1.

    Returns:
        The average loss, detached. Gradients are accumulated in the parameters.

    Raises:
        ValueError: ``samples`` is below 1, or the model has no adapted layer.
    """
    total = torch.zeros(())
    for _ in each_sample(model, range(whole_number("samples", samples, 1))):
        value = loss() / samples
        value.backward()
        total = total + value.detach()
    return total


def each_sample(model: nn.Module, samples: range) -> Iterator[int]:
    """Make the layers hold one sample's masks after the other, for as long as one iterates.

    Args:
        model: a model with adapted layers.
        samples: numbers of the mask pairs within the step.

    Yields:
        The number. Afterwards the layers hold sample 0 again.
    """
    # Found once: looking through a large model takes as long as drawing its masks.
    schedules = mask_schedules(model)
    _hold(schedules, samples[:1])
    with _first_sample_again(schedules):
        for sample in samples:
            _hold(schedules, range(sample, sample + 1))
            yield sample


@contextmanager
def grouped_samples(model: nn.Module, samples: int, first: int = 0) -> Iterator[None]:
    """Within the block, a batch consists of N equal groups of rows, each with its own mask pair.

    Repeat the batch N times along its first dimension, and the mean loss is the N-sample objective
    in one forward pass: the same loss and gradient as :func:`backward_over_samples`, for N times
    the memory. The backward pass belongs inside the block.

    Source: arXiv 2404.09610, Eq. 7.

    Args:
        model: a model with adapted layers whose inputs carry the batch in their first dimension.
        samples: N, at least 1.
        first: number of the first mask pair within the step.

    Raises:
        ValueError: ``samples`` is below 1, ``first`` below 0, or the model has no adapted layer.
    """
    schedules = mask_schedules(model)
    first, samples = whole_number("first", first, 0), whole_number("samples", samples, 1)
    _hold(schedules, range(first, first + samples))
    with _first_sample_again(schedules):
        yield


@contextmanager
def hold_masks(model: nn.Module) -> Iterator[None]:
    """Within the block, the masks stay as they are, whatever is done to the factors.

    For methods that take several passes a step and change the factors in between, such as
    sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412) or gradients from two passes
    alone (Malladi et al. 2023, arXiv 2305.17333): without it each change moves the masks. An
    optimizer step within the block moves the masks at its end.

    Args:
        model: a model with adapted layers.

    Raises:
        ValueError: the model has no adapted layer.
    """
    with ExitStack() as held:
        for schedule in mask_schedules(model):
            held.enter_context(schedule.hold())
        yield


def sparsity_penalty(model: nn.Module, strength: float) -> Tensor:
    r"""Return the theorem's regularizer, :math:`\lambda\sum_l s_l\|\Delta W_l\|_F^2`.

    Source: arXiv 2404.09610, Eqs. 9-11, with :math:`s = 2p-p^2` for equal rates, whatever the kind
    of the masks.

    Args:
        model: a model with adapted layers.
        strength: :math:`\lambda \ge 0`, in units of loss per squared unit of weight.

    Returns:
        A scalar to add to the loss of the model *without* masks.

    Raises:
        ValueError: a negative strength, or no adapted layer.
    """
    if not isinstance(strength, Tensor):
        strength = real_number("strength", strength)
    if not strength >= 0:
        raise ValueError(f"strength must be at least 0, got {strength:g}")
    terms = []
    for layer in layers_in_use(model):
        A, B, scaling = layer.low_rank()
        sparsity = drop_probability(layer.shape.p_in, layer.shape.p_out)
        terms.append(sparsity * penalty(_whole(A), _whole(B), scaling).sum())
    return strength * torch.stack(terms).sum()


def _whole(factor: Tensor) -> Tensor:
    """Gather a factor that FSDP2 holds in shards."""
    return factor.full_tensor() if hasattr(factor, "full_tensor") else factor


@contextmanager
def _first_sample_again(schedules: list[MaskSchedule]) -> Iterator[None]:
    """After the block, the layers hold sample 0, also where a pass in it fails."""
    try:
        yield
        _hold(schedules, range(1))
    except BaseException:
        for schedule in schedules:
            schedule.give_up()
        raise


def _hold(schedules: list[MaskSchedule], samples: range) -> None:
    for schedule in schedules:
        schedule.seek(schedule.step, samples)
