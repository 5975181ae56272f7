"""Test-time ensembles: the average output of N sampled masked networks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lora_dropout.functional import HALVES
from lora_dropout.given_numbers import whole_number
from lora_dropout.injection import alone, layers_in_use, schedules_restored
from lora_dropout.masked import Inference
from lora_dropout.masks import ENSEMBLE_STEP

#: What of the members is averaged: see :class:`Ensemble`.
Average = Literal["logits", "probabilities"]


class Ensemble(nn.Module):
    r"""Average of the outputs of N sampled masked networks.

    Source: arXiv 2404.09610, Eq. 8, which averages the outputs before the softmax ("logits").

    With "probabilities" the softmaxes are averaged, as is usual for other ensembles, and what is
    returned is their logarithm, :math:`\log\frac1N\sum_k\mathrm{softmax}(z_k)`, which serves as
    logits do. The softmax of averaged logits is the geometric mean of the members' probabilities,
    normalized; this one is their arithmetic mean. The cross-entropy of either is at most the mean
    of the members' (Theorem 4.5: it is convex in the logits, and in the probabilities).

    Args:
        model: a model with adapted layers.
        ensemble: N, at least 1. The members of a smaller ensemble are the first of a larger one.
        output: picks the tensor to be averaged out of what the model returns, such as
            ``lambda result: result.logits``.
        average: "logits", the outputs as they are, or "probabilities" of classes that lie along
            their last dimension.

    Raises:
        ValueError: ``ensemble`` is below 1, an unknown average, or the model has no adapted layer;
            on a call, ``output`` picks something else than a tensor.
    """

    def __init__(
        self,
        model: nn.Module,
        ensemble: int,
        output: Callable[[Any], Tensor] = lambda result: result,
        average: Average = "logits",
    ) -> None:
        super().__init__()
        check_ensemble(ensemble, average)
        layers_in_use(model)
        self.model, self.ensemble, self.output = model, ensemble, output
        self.average = average

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the model once a member, in ``eval()``, and return the average.

        Args:
            *args, **kwargs: passed on to the model.

        Returns:
            The average of what ``output`` picks, of its shape.
        """
        average = RunningAverage(self.average)
        for output in self._outputs(args, kwargs):
            average.add(output)
        return average.value()

    def member_outputs(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the model once a member, in ``eval()``, and return what each of them says.

        Args:
            *args, **kwargs: passed on to the model.

        Returns:
            What ``output`` picks, one after the other, (N, ...).
        """
        return torch.stack(list(self._outputs(args, kwargs)))

    def _outputs(self, args: Any, kwargs: Any) -> Iterator[Tensor]:
        for _ in members(self.model, self.ensemble):
            output = self.output(self.model(*args, **kwargs))
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"an ensemble averages tensors, not a {type(output).__name__}: pick one out of "
                    "what the model returns, by output=lambda result: result.logits"
                )
            yield output


class RunningAverage:
    """The average of the members' outputs, of which one is held.

    It is summed in float32 where outputs are of half precision, in which a sum loses what is added
    late, or overflows, and in whole numbers of 64 bits where outputs are smaller ones, or yes and
    no.

    Args:
        average: what is averaged: see :class:`Ensemble`.
    """

    def __init__(self, average: Average) -> None:
        self.average = average
        self._total: Tensor | None = None
        self._count = 0

    def add(self, output: Tensor) -> None:
        """Take the next member's output.

        Args:
            output: (..., classes) for probabilities, of any shape for logits.

        Raises:
            ValueError: probabilities of fewer than two classes.
        """
        if self.average == "probabilities":
            if not output.dim() or output.shape[-1] < 2:
                raise ValueError(
                    "average must be 'logits' where the last dimension of the output does not hold "
                    f"at least two classes; its shape is {tuple(output.shape)}"
                )
            output = output.log_softmax(-1)
        self._count += 1
        if self._total is None:
            self._total, self._dtype = output, output.dtype
        elif self.average == "probabilities":
            self._total = torch.logaddexp(_summed(self._total), _summed(output))
        else:
            self._total = _summed(self._total) + _summed(output)

    @property
    def shape(self) -> torch.Size:
        """Of the outputs so far."""
        assert self._total is not None
        return self._total.shape

    def value(self) -> Tensor:
        """The average so far, of an output's shape; for probabilities its logarithm."""
        assert self._total is not None
        if self.average == "probabilities":
            mean = self._total - math.log(self._count)
        else:
            mean = self._total / self._count
        return mean.to(self._dtype) if self._dtype in HALVES else mean


def _summed(output: Tensor) -> Tensor:
    """The output in the precision in which outputs are summed, votes and counts as numbers."""
    if output.dtype in HALVES:
        return output.float()
    return output if output.is_floating_point() or output.is_complex() else output.long()


def check_ensemble(ensemble: int, average: Average) -> None:
    """Raise ``ValueError`` for an ensemble that there is not.

    Args:
        ensemble: N, at least 1.
        average: what is averaged: see :class:`Ensemble`.

    Raises:
        ValueError: ``ensemble`` is below 1, or ``average`` is none of those that there are.
    """
    whole_number("ensemble", ensemble, 1)
    if average not in get_args(Average):
        raise ValueError(f"average must be one of {get_args(Average)}, got {average!r}")


def members(model: nn.Module, ensemble: int) -> Iterator[int]:
    """Make the model one sampled network after the other, for as long as one iterates.

    Source: arXiv 2404.09610, Eq. 8.

    Args:
        model: a model with adapted layers.
        ensemble: N, at least 1.

    Yields:
        The number of the member, 0 to N - 1; meanwhile the model is in ``eval()`` with that
        member's masks. Afterwards it is as it was.

    Raises:
        ValueError: N below 1, or the model has no adapted layer.
    """
    whole_number("ensemble", ensemble, 1)
    # Part by part: some may be in another mode than the model, as frozen normalizations are.
    modes = [(part, part.training) for part in model.modules()]
    with schedules_restored(model) as schedules, inference_mode(model, "ensemble"):
        model.eval()
        try:
            for member in range(ensemble):
                for schedule in schedules:
                    schedule.seek(ENSEMBLE_STEP, range(member, member + 1))
                yield member
        finally:
            # Writing an attribute of a module takes longer than reading it.
            for part, training in modes:
                if part.training != training:
                    part.training = training


@contextmanager
def inference_mode(model: nn.Module, mode: Inference) -> Iterator[None]:
    """Within the block, all adapted layers treat masks in ``eval()`` as ``mode`` says.

    Args:
        model: a model with adapted layers; passes of other threads wait meanwhile.
        mode: "no masks", "expected weight" or "ensemble": see :class:`MaskedUpdate`.

    Raises:
        ValueError: an unknown mode, or no adapted layer.
    """
    with alone(model) as layers:
        before = [(layer, layer.inference) for layer in layers]
        try:
            for layer, _ in before:
                layer.inference = mode
            yield
        finally:
            for layer, old in before:
                layer.inference = old
