"""What a model of one's own does with its examples in training, found by trying it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lora_dropout.injection import adapted_layers, masked_updates
from probes.jobs.amounts import how_many
from probes.jobs.validation import require
from probes.tasks.labelled_texts import say_once
from probes.tasks.own_model import OwnModel, of_users_code

#: Size of factors that start at 0 while a model is tried: they would hide what the adapter does.
FACTOR = 0.1
#: Precision of losses that is told, as that of bfloat16.
ROUGH = 1e-3


@dataclass(frozen=True)
class Traits:
    """How an example can be left out of the training of a model.

    Attributes:
        coupled: an example's loss in training depends on the other examples, as through
            BatchNorm's statistics: a weight of 0 does not leave it out.
        random: training draws random numbers, as nn.Dropout does.
    """

    coupled: bool
    random: bool


def traits_of(own: OwnModel, adapted: Callable[[], nn.Module], n: int) -> Traits:
    """Try a model on a batch of its examples, and check that it can be measured.

    An example is left out either by a weight of 0, which keeps all that is drawn at random as it
    is, or by taking it from the batch, which leaves it out of every statistic. A model that needs
    both has no S^i that differs from S in that example alone.

    Args:
        own: the model, its data and its loss.
        adapted: makes the model with its adapter, always the same.
        n: number of training examples, from 2 to below the number of examples.

    Returns:
        What the model does in training.

    Raises:
        ValueError: features, targets, loss or score are not of one value an example; the model or
            its loss fails on them; it couples or counts examples in evaluation; it draws random
            numbers that it was not allowed, or draws them and couples examples.
    """
    _check_lengths(own)
    tried = _Tried(own, adapted, n)
    tried.check_precision()
    tried.check_finite()
    for training in (True, False):
        tried.check_values(training)
        require(
            tried.repeats(training), "own.model", "repeatable from PyTorch's seed",
            "one that gives other losses the second time",
        )  # fmt: skip
    require(
        not tried.couples(training=False), "own.loss", "of each example by itself",
        "a loss in evaluation that changes with the other examples of the batch",
    )  # fmt: skip
    require(
        not tried.draws(training=False), "own.model and own.loss",
        "the same functions at every evaluation", "one that draws random numbers in eval()",
    )  # fmt: skip
    require(
        tried.is_steady(), "own.model and own.loss", "the same functions at every evaluation",
        "one that gives other losses in its second pass in eval()",
    )  # fmt: skip
    require(
        not tried.counts(), "own.loss", "of each example by itself",
        "a loss in evaluation that changes with the number of examples (divided by it?)",
    )  # fmt: skip
    if idle := tried.idle():
        say_once(f"own model: the loss does not depend on {', '.join(idle)}: not trained")
    found = Traits(coupled=tried.couples(training=True), random=tried.draws(training=True))
    _check_noise(own, found)
    return found


def _check_lengths(own: OwnModel) -> None:
    for name in ("features", "targets"):
        value = getattr(own, name)
        tensor = isinstance(value, Tensor) and value.dim() > 0
        require(tensor, f"own.{name}", "a tensor, one row an example", type(value).__name__)
    require(
        len(own.features) == len(own.targets), "own.targets",
        f"as many as the features, {len(own.features)}", len(own.targets),
    )  # fmt: skip


def _check_noise(own: OwnModel, found: Traits) -> None:
    names = [
        f"{name} ({type(part).__name__})" for name, part in own.model.named_modules()
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
    ]  # fmt: skip
    who = ", ".join(names[:3]) or "its forward pass"
    require(
        own.noise or not found.random, "own.model", "without random numbers of its own in training",
        f"{who}; set their rates to 0, or give OwnModel(noise=True) to draw the same numbers in "
        "every replica: β then counts what an example's own numbers do as well",
    )  # fmt: skip
    require(
        not (found.random and found.coupled), "own.model",
        "without random numbers, or without what couples examples (BatchNorm)",
        f"both ({who}): no example can be left out with all else equal",
    )  # fmt: skip


class _Tried:
    """A batch of n examples, and one in which the second half are others."""

    def __init__(self, own: OwnModel, adapted: Callable[[], nn.Module], n: int) -> None:
        self.own, self.adapted = own, adapted
        every = torch.arange(len(own.features))
        self.batch = every[:n]
        self.shared = n // 2
        rest = every[n:].repeat(n)[: n - self.shared]
        self.others = torch.cat([every[: self.shared], rest])

    def check_precision(self) -> None:
        """Check that Adam can train the factors: its epsilon, 1e-8, is 0 in float16."""
        with kept_generators(self.own):
            model = self._model(training=True)
        half = [
            name for name, layer in adapted_layers(model)
            if any(one.dtype is torch.float16 for one in layer.factors)
        ]  # fmt: skip
        require(not half, "own.model", "adapted in another precision than float16, such as that of "
                "model.float()", ", ".join(half[:3]))  # fmt: skip

    def check_finite(self) -> None:
        """Check the losses of all examples before training."""
        with torch.no_grad():
            _, losses = self._run(torch.arange(len(self.own.features)), training=False)
        if isinstance(losses, Tensor) and losses.dim() == 1:
            lost = (~losses.isfinite()).nonzero()
            first = f"{losses[lost[0]].item()} for example {int(lost[0])}" if len(lost) else ""
            require(not len(lost), "own.loss", "finite before training", first)

    def check_values(self, training: bool) -> None:
        """Check that loss and score are one value an example, also of a batch without one."""
        for index in (self.batch, self.batch[1:]):
            outputs, losses = self._run(index, training)
            _check_values("own.loss", losses, len(index), "a loss an example")
            require(losses.is_floating_point(), "own.loss", "of floating point", losses.dtype)
            if torch.finfo(losses.dtype).eps > ROUGH:
                say_once(
                    f"own model: losses are of {losses.dtype}, two to three digits: β has no more; "
                    "model.float() is more precise"
                )
            if self.own.score is not None and not training:
                with of_users_code(f"own.score on {how_many(len(index), 'example')}"):
                    scores = self.own.score(outputs, self.own.targets[index])
                _check_values("own.score", scores, len(index), "a score an example")

    def repeats(self, training: bool) -> bool:
        """Whether the same model has the same losses from the same seed."""
        return _close(*(self._run(self.batch, training)[1] for _ in range(2)))

    def is_steady(self) -> bool:
        """Whether a second pass in evaluation has the losses of the first."""
        with kept_generators(self.own):
            model = self._model(training=False)
            return _close(*(self._losses(model, self.batch)[1] for _ in range(2)))

    def counts(self) -> bool:
        """Whether an example's loss in evaluation depends on how many are evaluated with it.

        The losses on S and on the test set are then no numbers of one kind.
        """
        few = self.batch[: self.shared]
        among, alone = (self._run(index, training=False)[1] for index in (self.batch, few))
        return not _close(among[: self.shared], alone)

    def couples(self, training: bool) -> bool:
        """Whether the losses of some examples change with the others, now or later."""
        losses = []
        for index in (self.batch, self.others):
            with kept_generators(self.own):
                model = self._model(training)
                # What a pass takes down of its batch, as moving averages do, the next one reads.
                found = [self._losses(model, index)[1][: self.shared] for _ in range(2)]
                # Or evaluation alone, of layers that train by each example's own statistics.
                found.append(self._losses(model.eval(), self.batch[: self.shared])[1])
            losses.append(torch.cat(found))
        return not _close(*losses)

    def draws(self, training: bool) -> bool:
        """Whether a forward pass, or the loss, moves PyTorch's random generators."""
        device = self.own.features.device
        with kept_generators(self.own):
            model = self._model(training)
            before = _states(device)
            self._losses(model, self.batch)
            return any(not torch.equal(*pair) for pair in zip(before, _states(device), strict=True))

    def _run(self, index: Tensor, training: bool) -> tuple[Any, Tensor]:
        with kept_generators(self.own):
            return self._losses(self._model(training), index)

    def _model(self, training: bool) -> nn.Module:
        torch.manual_seed(0)
        model = self.adapted()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            every = (one for layer in masked_updates(model) for one in layer.factors)
            for factor in (one for one in every if not one.any()):
                factor.copy_(FACTOR * torch.randn(factor.shape, generator=generator))
        return model.train(training)

    def _losses(self, model: nn.Module, index: Tensor) -> tuple[Any, Tensor]:
        own, many = self.own, f"on {how_many(len(index), 'example')}"
        with warnings.catch_warnings():
            # Of shapes that do not fit: they are refused in one line, or said in training.
            warnings.simplefilter("ignore")
            kind, features, targets = own.features.dtype, own.features[index], own.targets[index]
            with of_users_code(f"own.model {many}, own.features of {kind},"):
                outputs = model(features)
            _check_kept("own.model", "features", features, own.features[index])
            with of_users_code(f"own.loss {many}"):
                losses = own.loss(outputs, targets)
            _check_kept("own.loss", "targets", targets, own.targets[index])
            return outputs, losses

    def idle(self) -> list[str]:
        """Find the adapted layers that the losses do not depend on, through autograd."""
        with kept_generators(self.own):
            model = self._model(training=True)
            _, losses = self._losses(model, self.batch)
            if losses.requires_grad:
                losses.sum().backward()
        layers = adapted_layers(model)
        found = [name for name, one in layers if all(part.grad is None for part in one.factors)]
        require(
            len(found) < len(layers), "own.loss", "a function of what adapted layers return, by "
            "operations of PyTorch: it has a gradient", "one without",
        )  # fmt: skip
        return found


def _check_kept(who: str, what: str, now: Tensor, before: Tensor) -> None:
    """Check that examples were not changed in place: the next step of training reads them."""
    same = ((now == before) | (now != now)).all()
    require(bool(same), who, f"a function that leaves the {what} as they are",
            "one that changes them in place")  # fmt: skip


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether half of the digits agree: sums over a batch may run in another order."""
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def _check_values(name: str, values: Any, count: int, what: str) -> None:
    shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    hint = " (reduction='none'?)" if shape == () else ""
    require(shape == (count,), name, f"{what}, of shape ({count},)", f"{shape}{hint}")


def kept_generators(own: OwnModel) -> Any:
    """PyTorch's random generators as they were, after what is done within."""
    device = own.features.device
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
