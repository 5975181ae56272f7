"""Test-time ensembles: the average output of N sampled masked networks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lora_dropout.injection import adapted_layers, alone, layers_in_use, schedules_restored
from lora_dropout.masked import Inference
from lora_dropout.masks import ENSEMBLE_STEP


class Ensemble(nn.Module):
    """Average of the outputs of N sampled masked networks.

    Source: arXiv 2404.09610, Eq. 8, which averages the outputs before the softmax.

    Args:
        model: a model with adapted layers.
        ensemble: N, at least 1. The members of a smaller ensemble are the first of a larger one.
        output: picks the tensor to be averaged out of what the model returns, such as
            ``lambda result: result.logits``.

    Raises:
        ValueError: ``ensemble`` is below 1, or the model has no adapted layer.
    """

    def __init__(
        self,
        model: nn.Module,
        ensemble: int,
        output: Callable[[Any], Tensor] = lambda result: result,
    ) -> None:
        super().__init__()
        if ensemble < 1:
            raise ValueError(f"ensemble must be at least 1, got {ensemble}")
        layers_in_use(model)
        self.model, self.ensemble, self.output = model, ensemble, output

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the model once a member, in ``eval()``, and return the average.

        Args:
            *args, **kwargs: passed on to the model.

        Returns:
            The average of what ``output`` picks, of its shape.
        """
        total: Tensor | None = None
        for _ in members(self.model, self.ensemble):
            output = self.output(self.model(*args, **kwargs))
            total = output if total is None else total + output
        assert total is not None
        return total / self.ensemble


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
        ValueError: the model has no adapted layer.
    """
    training = model.training
    with schedules_restored(model) as schedules, inference_mode(model, "ensemble"):
        model.eval()
        try:
            for member in range(ensemble):
                for schedule in schedules:
                    schedule.seek(ENSEMBLE_STEP, range(member, member + 1))
                yield member
        finally:
            model.train(training)


@contextmanager
def inference_mode(model: nn.Module, mode: Inference) -> Iterator[None]:
    """Within the block, all adapted layers treat masks in ``eval()`` as ``mode`` says.

    Args:
        model: a model with adapted layers; passes of other threads wait meanwhile.
        mode: "no masks", "expected weight" or "ensemble": see :class:`MaskedUpdate`.

    Raises:
        ValueError: an unknown mode, or no adapted layer.
    """
    with alone(model):
        before = [(layer, layer.inference) for _, layer in adapted_layers(model)]
        try:
            for layer, _ in before:
                layer.inference = mode
            yield
        finally:
            for layer, old in before:
                layer.inference = old
