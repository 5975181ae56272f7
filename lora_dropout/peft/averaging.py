"""Test-time ensembles of transformers' models: averaged outputs, and their loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from weakref import WeakSet

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from lora_dropout.ensemble import Average, RunningAverage, check_ensemble, members
from lora_dropout.injection import masked_updates
from lora_dropout.layer import LoRADropoutLinear
from lora_dropout.peft.fused_head import fused_output, temperature_of
from lora_dropout.peft.replaced_method import method_replaced

#: How the names of outputs end that are averaged: activations before the softmax, and what a
#: detector says beside them.
AVERAGED = ("logits", "pred_boxes", "pred_masks")
#: Layers whose outputs, and what a model tells beside, were seen to decide its loss.
_deciding: "WeakSet[nn.Module]" = WeakSet()
#: Layers with an update beside a frozen one.
ADAPTED = (BaseTunerLayer, LoRADropoutLinear)
#: Kinds of problems of transformers whose outputs are no classes that exclude each other.
WITHOUT_CLASSES = ("regression", "multi_label_classification")


@contextmanager
def averaging(
    called: nn.Module, adapted: nn.Module, ensemble: int, average: Average = "logits"
) -> Iterator[None]:
    """Within the block, a call of a model averages the logits of N sampled networks.

    The loss is that of the averaged logits, computed by the model itself: in one more pass the
    output of its last layer is replaced by the average over the members. Where logits are not
    an affine function of a layer's output, the loss is that of ``loss_of``, if the model's own loss
    is the same. What a model adds to its loss beside (``aux_loss`` of routers of experts) is
    averaged over the members.

    Source: arXiv 2404.09610, Eq. 8: outputs are averaged before the softmax.

    Args:
        called: the model of transformers, or PEFT's around it, that is called within the block.
        adapted: the model whose layers hold the masks.
        ensemble: N, at least 1.
        average: "logits", or "probabilities", whose logarithm then takes the place of logits: see
            :class:`lora_dropout.Ensemble`.

    Raises:
        ValueError: N below 1, an unknown average, or probabilities of what has no classes; on a
            call, of a model whose loss of averaged outputs is not known.
    """
    check_ensemble(ensemble, average)
    _check_classes(adapted, average)
    averaged = _Average(called, called.forward, adapted, ensemble, average)
    with method_replaced(called, "forward", averaged):
        yield


def _check_classes(adapted: nn.Module, average: Average) -> None:
    """Raise ``ValueError`` for averaged probabilities of what are no classes."""
    kind = setting(adapted, "problem_type")
    if average == "probabilities" and kind in WITHOUT_CLASSES:
        raise ValueError(f"average must be 'logits' where the problem_type is {kind!r}")


class _Average:
    """The forward pass of a model, averaged over sampled networks."""

    def __init__(
        self, called: nn.Module, forward: Any, adapted: nn.Module, ensemble: int, average: Average
    ) -> None:
        self.called, self.forward, self.adapted = called, forward, adapted
        self.ensemble, self.average = ensemble, average
        #: Whether there are members. Then a pass without masks is that of a preference's reference.
        self.sampled = self._samples()
        #: Whether the members of the last pass differed.
        self.differ = False

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Run the model once a member; return its output with averaged logits, and the loss."""
        if self.sampled and not self._samples():
            return self.forward(*args, **inputs)
        if inputs.pop("fused_lm_head", False):
            known = {name: inputs.pop(name, None) for name in ("labels", "shift_labels")}
            inputs.pop("num_items_in_batch", None)
            known["temperature"] = self._temperature()
            return fused_output(self(*args, **inputs), **known)
        outputs: list[Any] = []
        averages: dict[str, RunningAverage] = {}
        beside: dict[str, RunningAverage] = {}
        with _LastLayers(self.called) as last:
            for member in members(self.adapted, self.ensemble):
                output = self.forward(*args, **inputs)
                # Left out of the config, the kind of the problem is what the labels say.
                _check_classes(self.adapted, self.average)
                outputs = [*outputs[:1], output]
                last.know()
                for name in _averaged(output):
                    kind = self.average if name.endswith("logits") else "logits"
                    averages.setdefault(name, RunningAverage(kind)).add(output[name])
                for name in _losses_beside(output):
                    beside.setdefault(name, RunningAverage("logits")).add(output[name])
                if not averages:
                    raise ValueError(f"the model returns none of {', '.join(AVERAGED)} to average")
                if member < self.ensemble - 1:
                    continue
                mean = {name: one.value() for name, one in averages.items()}
                self.differ = not all(close(outputs[0][name], output[name]) for name in mean)
                if member > 0 and output.get("loss") is not None:
                    averaged = self._by_the_model(last, mean, *args, **inputs)
                    if averaged is not None:
                        return averaged
                    return self._by_loss_function(outputs[0], output, mean, inputs)
        return _with(outputs[-1], mean | {name: one.value() for name, one in beside.items()})

    def _samples(self) -> bool:
        """Whether a pass now has masks to sample."""
        return any(
            layer.in_use and not getattr(layer, "still", False)
            for layer in masked_updates(self.adapted)
        )

    def _temperature(self) -> float:
        """What TRL divides logits by, whether PEFT's model or the one within is called."""
        base = base_model(self.called)
        return temperature_of(self.forward if base is self.called else base.forward)

    def _by_the_model(
        self, last: "_LastLayers", mean: dict[str, Tensor], *args: Any, **inputs: Any
    ) -> Any:
        """Pass the average through what follows a layer; None if no layer is followed by that."""
        for layer, replaced in last.candidates():
            if self.average == "probabilities":
                # The logarithm of averaged probabilities is no average of a layer's outputs: it
                # takes the place of the logits themselves.
                like = (one for one in mean.values() if one.numel() == replaced.numel())
                replaced = next(like, replaced).reshape(replaced.shape)
            with last.replaced(layer, replaced):
                output = self.forward(*args, **inputs)
                if all(close(output[name], value) for name, value in mean.items()):
                    losses = self._losses(layer, output, *args, **inputs)
                    if losses is not None:
                        return _with(output, mean | losses)
        return None

    def _losses(
        self, layer: nn.Module, output: Any, *args: Any, **inputs: Any
    ) -> dict[str, Tensor] | None:
        """Compute the losses of a model of which one layer's output is replaced.

        What a model adds to its loss that is no function of logits, such as that of routers, it
        tells beside. Members then have different losses, which are averaged.

        Args:
            layer: whose output is replaced.
            output: of the model with the last member's masks.
            *args, **inputs: of the model.

        Returns:
            Losses by name; None where something else makes a difference between members.
        """
        names = ["loss", *_losses_beside(output)]
        if len(names) == 1 and layer in _deciding:
            return {}
        sums = dict.fromkeys(names, torch.zeros(()))
        for _ in members(self.adapted, 1 if len(names) == 1 else self.ensemble):
            found = self.forward(*args, **inputs)
            sums = {name: total.to(found[name]) + found[name] for name, total in sums.items()}
        if len(names) > 1:
            return {name: total / self.ensemble for name, total in sums.items()}
        if not close(sums["loss"], output["loss"]):
            return None
        if self.differ:
            _deciding.add(layer)
        return {}

    def _by_loss_function(
        self, first: Any, output: Any, mean: dict[str, Tensor], inputs: dict[str, Any]
    ) -> Any:
        """Compute the loss by transformers' function; many heads ignore the count."""
        for known in (inputs, inputs | {"num_items_in_batch": None}):
            if _losses_beside(output):
                break
            try:
                ours = loss_of(self.adapted, first, known)
            except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
                continue
            if close(ours, first["loss"]):
                output["loss"] = loss_of(self.adapted, _with(output, mean), known)
                return output
        raise ValueError(
            f"{type(base_model(self.adapted)).__name__} computes its loss in its own way, so "
            "that of averaged outputs is not known: evaluate without the ensemble"
        )


class _LastLayers:
    """The layers that a model calls last, and their outputs averaged over its passes.

    Args:
        model: whose layers are watched, for as long as the context lasts.
    """

    #: Layers before the last that are tried, such as a dropout after it.
    COUNT = 4

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.averages: dict[nn.Module, RunningAverage] = {}
        self.known = False

    def __enter__(self) -> Self:
        leaves = [one for one in self.model.modules() if not any(True for _ in one.children())]
        # Adapted layers have children, and what they return is theirs and not a child's.
        layers = [one for one in self.model.modules() if isinstance(one, ADAPTED)]
        self.handles = [one.register_forward_hook(self._add) for one in leaves + layers]
        return self

    def __exit__(self, *raised: object) -> None:
        for handle in self.handles:
            handle.remove()

    def know(self) -> None:
        """After the first pass: only its last layers are averaged from now on."""
        self.known = True

    def _add(self, layer: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if not self.known:
            self.averages.pop(layer, None)
            self.averages[layer] = RunningAverage("logits")
            self.averages[layer].add(output)
            if len(self.averages) > self.COUNT:
                del self.averages[next(iter(self.averages))]
        elif layer in self.averages and self.averages[layer].shape == output.shape:
            self.averages[layer].add(output)

    def candidates(self) -> Iterator[tuple[nn.Module, Tensor]]:
        """The layers and the averages of their outputs, last first."""
        return ((layer, one.value()) for layer, one in reversed(self.averages.items()))

    @contextmanager
    def replaced(self, layer: nn.Module, replacement: Tensor) -> Iterator[None]:
        """Within the block, a layer returns something else.

        Args:
            layer: one of :meth:`candidates`.
            replacement: what it returns, of its output's shape.
        """
        kept, self.averages = self.averages, {}
        handle = layer.register_forward_hook(lambda module, args, output: replacement)
        try:
            yield
        finally:
            handle.remove()
            self.averages = kept


def _averaged(output: Any) -> list[str]:
    """Names of what is averaged: not what routers of experts say to themselves."""
    return [
        name
        for name, value in output.items()
        if name.endswith(AVERAGED) and "router" not in name and isinstance(value, Tensor)
    ]


def _losses_beside(output: Any) -> list[str]:
    """Names of the losses that a model tells beside its loss, such as that of routers."""
    return [
        name
        for name, value in output.items()
        if name.endswith("_loss") and isinstance(value, Tensor)
    ]


def _with(output: Any, values: dict[str, Tensor]) -> Any:
    for name, value in values.items():
        output[name] = value
    return output


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of their precision.

    Args:
        one, other: of any shapes.

    Returns:
        Whether they have one shape and differ by 1e-4 at most, relative to the largest
        finite entry of ``other``; by 2e-2 in half precision. NaN equals NaN: a model that has
        diverged is no reason to stop.
    """
    if one.shape != other.shape:
        return False
    one, other = one.detach(), other.detach()
    exact = torch.finfo(one.dtype).eps <= torch.finfo(torch.float32).eps
    tolerance = 1e-4 if exact else 2e-2
    one, other = one.float(), other.float()
    scale = float(other.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def loss_of(adapted: nn.Module, output: Any, inputs: dict[str, Any]) -> Tensor:
    """Compute the loss of a model's outputs by the loss function that transformers gives it.

    Args:
        adapted: the model, with or without adapters.
        output: what the model returned: "logits", or "start_logits" and "end_logits".
        inputs: what the model was given, labels included.

    Returns:
        The loss, a scalar.
    """
    base = base_model(adapted)
    known: dict[str, Any] = {"num_items_in_batch": inputs.get("num_items_in_batch")}
    if "start_logits" in output:
        known |= {name: output[name] for name in ("start_logits", "end_logits")}
        known |= {name: inputs[name] for name in ("start_positions", "end_positions")}
    elif getattr(base, "loss_type", None) == "ForSequenceClassification":
        known |= {"pooled_logits": output["logits"], "labels": inputs["labels"]}
        known["config"] = base.config
    else:
        known |= {"logits": output["logits"], "labels": inputs["labels"]}
        known |= {"vocab_size": base.config.vocab_size, "config": base.config}
    return base.loss_function(**known)


def setting(adapted: nn.Module, name: str) -> Any:
    """Return what a model's config says; None without a config, or where it does not say."""
    return getattr(getattr(base_model(adapted), "config", None), name, None)


def base_model(adapted: nn.Module) -> Any:
    """Return the model of transformers inside a ``PeftModel``, or the model itself."""
    return adapted.get_base_model() if hasattr(adapted, "get_base_model") else adapted  # type: ignore[operator]
