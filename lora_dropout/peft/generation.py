"""Generation by a test-time ensemble: the next token by averaged outputs of N sampled networks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial, wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from lora_dropout.ensemble import Average, RunningAverage, check_ensemble, inference_mode
from lora_dropout.injection import masked_updates, schedules_restored
from lora_dropout.masks import ENSEMBLE_STEP
from lora_dropout.peft.averaging import base_model, close
from lora_dropout.peft.member_caches import (
    NAMES,
    cache_of,
    caches_of_members,
    check_rows,
    copied,
    hold_groups,
    hold_members,
)
from lora_dropout.peft.member_states import MemberStates
from lora_dropout.peft.replaced_method import method_replaced
from lora_dropout.schedule import MaskSchedule

#: Arguments of a model that have a row an example, and are repeated for the members.
ROWS = (
    "input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids",
    "decoder_input_ids", "decoder_inputs_embeds", "decoder_attention_mask", "input_features",
    "input_values", "pixel_values", "perm_mask", "target_mapping",
)  # fmt: skip
#: The dimension of their rows where that is not the first: positions along text, height and width
#: (Qwen2-VL and its kin) come before the rows.
AT = {"position_ids": -2}
#: Those that say how many rows a pass has, the decoder's first.
COUNTED = (
    "decoder_input_ids", "decoder_inputs_embeds", "input_ids", "inputs_embeds", "attention_mask",
)  # fmt: skip
#: What a model may say beside its logits, of which members have their own.
BESIDE = ("output_hidden_states", "output_attentions")
#: How transformers begins to generate many texts in a thread of its own.
BACKGROUND = "init_continuous_batching"
#: Where generation computes images before the first pass, and repeats rows for beams.
IMAGES, EXPAND = (
    "_prepare_multimodal_encoder_kwargs_for_generation", "_expand_inputs_for_generation",
)  # fmt: skip


@contextmanager
def ensemble_generation(
    model: nn.Module, ensemble: int, average: Average = "logits"
) -> Iterator[None]:
    """Within the block, ``model.generate`` averages the next token's logits over N members.

    Greedy search, sampling, beams and classifier-free guidance see one set of averaged logits, as
    if one model had computed them. Each member has a part of the cache of its own. The members are
    groups of one batch, N times as large. They take a pass each where a layer takes no groups (bare
    parameters, DoRA), where the batch names its adapters (``adapter_names``), and where the first
    pass shows that a group is not what its member computes.

    Args:
        model: a decoder, or an encoder with a decoder, with adapters, in ``eval()``.
        ensemble: N, at least 1.
        average: "logits", or "probabilities", whose logarithm then takes the place of logits: see
            :class:`lora_dropout.Ensemble`.

    Raises:
        ValueError: N below 1, an unknown average, a model that generates nothing, beams of a model
            that reorders its cache in a way of its own or whose images are adapted, a cache or an
            encoder's outputs from elsewhere, a cache of the model's own kind where members take a
            pass each, labels, hidden states or attentions of several members, a model that
            generates by another one's passes or in a thread of its own (``generate_batch``), or no
            adapter in use.
    """
    check_ensemble(ensemble, average)
    base = base_model(model)
    if not hasattr(base, "generate"):
        raise ValueError(f"{type(base).__name__} generates nothing")
    with (
        schedules_restored(model) as schedules,
        inference_mode(model, "ensemble"),
        ExitStack() as replaced,
    ):
        passes = _MemberPasses(model, schedules, ensemble, average)
        replaced.enter_context(_forward_replaced(base, passes.of_model))
        if getattr(base.config, "is_encoder_decoder", False):
            # Generation calls the encoder by itself, once, and not through the model.
            replaced.enter_context(_forward_replaced(base.get_encoder(), passes.of_encoder))
        if hasattr(base, "_reorder_cache"):
            replaced.enter_context(_without_beams(base))
        for name, method in ((IMAGES, passes.of_images), (EXPAND, passes.of_rows)):
            if hasattr(base, name):
                replaced.enter_context(
                    method_replaced(base, name, partial(method, getattr(base, name)))
                )
        replaced.enter_context(_by_own_passes(base, passes))
        if hasattr(base, BACKGROUND):
            replaced.enter_context(method_replaced(base, BACKGROUND, _refuse_threads))
        yield


@contextmanager
def generating(model: nn.Module, ensemble: int, average: Average = "logits") -> Iterator[None]:
    """Within the block, each call of ``model.generate`` is an :func:`ensemble_generation`.

    Args:
        model: with adapters, in ``eval()``; one that generates nothing is left as it is.
        ensemble: N, at least 1.
        average: what of the members is averaged.
    """
    if not hasattr(base_model(model), "generate"):
        yield
        return
    inner = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        with (
            method_replaced(model, "generate", inner),  # type: ignore[arg-type]
            ensemble_generation(model, ensemble, average),
        ):
            return model.generate(*args, **kwargs)  # type: ignore[operator]

    with method_replaced(model, "generate", generate):
        yield


class _MemberPasses:
    """What takes the place of a model's forward pass, and its encoder's: that of all members.

    Args:
        model: with adapters.
        schedules: of its masks.
        ensemble: N.
        average: what of the members is averaged.
    """

    def __init__(
        self, model: nn.Module, schedules: list[MaskSchedule], ensemble: int, average: Average
    ) -> None:
        self.schedules, self.ensemble, self.average = schedules, ensemble, average
        self.config = getattr(base_model(model), "config", None)
        self.layers = masked_updates(model)
        self.states = MemberStates(model, ensemble)
        self.in_model = False
        #: Whether members may be groups of one batch; None until it was tried.
        self.groups: bool | None = None
        #: Passes of the model so far, and whether each member has images of its own.
        self.count, self.own_images = 0, False

    def of_model(self, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """Run all members through the model, and average their logits."""
        inputs = signature(forward).bind_partial(*args).arguments | kwargs
        if inputs.get("labels") is not None:
            raise ValueError(
                "generation by an ensemble computes no loss: use LoraDropoutTrainer(ensemble=N), "
                "or lora_dropout.Ensemble for the logits"
            )
        beside = [one for one in BESIDE if inputs.get(one, getattr(self.config, one, False))]
        if beside and self.ensemble > 1:
            raise ValueError(
                "generation by an ensemble averages logits alone, and members have hidden states "
                f"and attentions of their own: leave out {' and '.join(beside)}"
            )
        _check_encoded(inputs, self.ensemble)
        self.in_model, self.count = True, self.count + 1
        try:
            apart = self._apart or not self._groups_are_members(forward, inputs)
            run = self._one_by_one if apart else self._grouped
            return run(forward, inputs)
        finally:
            self.in_model = False

    def of_encoder(self, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """Run all members through the encoder, one after the other in the batch that it returns."""
        if self.in_model:
            return forward(*args, **kwargs)
        inputs = signature(forward).bind_partial(*args).arguments | kwargs
        if not self._apart and self._groups_are_members(forward, inputs):
            self.groups = None  # The decoder is asked too.
            self._seek(range(self.ensemble))
            return forward(**self._repeated(inputs))
        return _joined([forward(**inputs) for _ in self._members()])

    def of_images(self, prepare: Any, inputs: dict[str, Any]) -> Any:
        """Leave images to the model's first pass where they are adapted, as members see others."""
        for layer in self.layers:
            layer.used = False
        prepared = prepare(dict(inputs))
        self.own_images = any(layer.used for layer in self.layers if layer.in_use)
        return dict(inputs) if self.own_images else prepared

    def of_rows(self, expand: Any, *args: Any, **kwargs: Any) -> Any:
        """Repeat rows for beams, unless it is unknown which images belong to which row."""
        if self.own_images and kwargs.get("expand_size", 1) > 1:
            raise ValueError(
                "generation by an ensemble takes no beams and one text a prompt where the layers "
                "that look at images are adapted"
            )
        return expand(*args, **kwargs)

    def _grouped(self, forward: Any, inputs: dict[str, Any]) -> Any:
        """All members in one pass, each a group of a batch that is N times as large."""
        self._seek(range(self.ensemble))
        check_rows(inputs, self.ensemble * _rows(inputs))
        output = forward(**self._repeated(inputs))
        hold_groups(cache_of(output), self.ensemble)
        return self._averaged(output, output["logits"].chunk(self.ensemble))

    def _one_by_one(self, forward: Any, inputs: dict[str, Any]) -> Any:
        """One member after the other, each with a cache of its own."""
        caches = caches_of_members(inputs, self.ensemble)
        outputs = []
        for member in self._members():
            own = inputs | caches[member]
            if own.get("encoder_outputs") is not None:
                own["encoder_outputs"] = _part(own["encoder_outputs"], member, self.ensemble)
            with self.states.of(member):
                outputs.append(forward(**own))
        hold_members([cache_of(output) for output in outputs])
        return self._averaged(outputs[0], [output["logits"] for output in outputs])

    def _averaged(self, output: Any, logits: Any) -> Any:
        average = RunningAverage(self.average)
        for one in logits:
            average.add(one)
        output["logits"] = average.value()
        return output

    def _groups_are_members(self, forward: Any, inputs: dict[str, Any]) -> bool:
        """Find out, once, whether a group of a batch is what its member computes alone.

        It is not where a model has its tokens in the first dimension (XLNet, FSMT), computes
        something without a batch, or lets rows see each other (experts of limited capacity).
        """
        if self.groups is None:
            try:
                self.groups = self._first_row_agrees(forward, inputs)
            except (RuntimeError, ValueError, TypeError, IndexError):
                # One after the other is right for every model, and says what else is wrong.
                self.groups = False
        return self.groups

    # Done once, and not worth compiling where the model is compiled.
    @_disable_dynamo
    def _first_row_agrees(self, forward: Any, inputs: dict[str, Any]) -> bool:
        check_rows(inputs, 0)
        if inputs.get("encoder_outputs") is None:
            inputs = {
                name: _first(value, AT.get(name, 0)) if name in ROWS else value
                for name, value in inputs.items()
            }
            alone_inputs = inputs
        else:
            encoded = _part(inputs["encoder_outputs"], 0, self.ensemble)
            alone_inputs = inputs | {"encoder_outputs": encoded}
        with torch.no_grad():
            self._seek(range(1))
            alone = _tensor_of(forward(**_with_caches_of_their_own(alone_inputs)))
            self._seek(range(self.ensemble))
            together = _tensor_of(forward(**_with_caches_of_their_own(self._repeated(inputs))))
        return close(together.chunk(self.ensemble)[0], alone)

    @property
    def _apart(self) -> bool:
        """Whether members take a pass each."""
        if self.groups is False:
            return True
        return any(
            layer.rows_name_adapters or (layer.in_use and not layer.takes_groups)
            for layer in self.layers
        )

    def _members(self) -> Iterator[int]:
        for member in range(self.ensemble):
            self._seek(range(member, member + 1))
            yield member

    def _seek(self, samples: range) -> None:
        for schedule in self.schedules:
            schedule.seek(ENSEMBLE_STEP, samples)

    def _repeated(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: _times(self.ensemble, value, AT.get(name, 0)) if name in ROWS else value
            for name, value in inputs.items()
        }


def _times(count: int, value: Any, at: int) -> Any:
    """Repeat rows, which lie along a dimension; of masks, by kind of attention, each."""
    if isinstance(value, dict):
        return {name: _times(count, one, at) for name, one in value.items()}
    return torch.cat([value] * count, dim=at) if isinstance(value, Tensor) else value


def _first(value: Any, at: int) -> Any:
    """The first row along a dimension; of masks, by kind of attention, of each."""
    if isinstance(value, dict):
        return {name: _first(one, at) for name, one in value.items()}
    return value.narrow(at, 0, 1) if isinstance(value, Tensor) else value


def _with_caches_of_their_own(inputs: dict[str, Any]) -> dict[str, Any]:
    """Copy the caches among a model's inputs, which a pass fills."""
    return {name: copied(one) if name in NAMES else one for name, one in inputs.items()}


def _tensor_of(output: Any) -> Tensor:
    """What a model or its encoder computes, a row an example."""
    found: Tensor = output["logits"] if "logits" in output else output[0]
    return found


def _forward_replaced(module: Any, forward: Any) -> AbstractContextManager[None]:
    """Within the block, a module's forward pass is ``forward``, which is given its own."""
    inner = module.forward
    # Generation looks up which arguments it takes.
    return method_replaced(module, "forward", wraps(inner)(partial(forward, inner)))


def _without_beams(base: Any) -> AbstractContextManager[None]:
    """Within the block, beams are refused, as the model reorders its cache by itself."""
    generate = base.generate

    def checked(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("generation_config") or base.generation_config
        if (kwargs.get("num_beams") or getattr(given, "num_beams", None) or 1) > 1:
            raise ValueError(
                f"generation by an ensemble takes no beams of {type(base).__name__}, which "
                "reorders its cache in a way of its own"
            )
        return generate(*args, **kwargs)

    return method_replaced(base, "generate", checked)


def _by_own_passes(base: Any, passes: _MemberPasses) -> AbstractContextManager[None]:
    """Within the block, a model is refused that generates without a pass of its own."""
    generate = base.generate

    def checked(*args: Any, **kwargs: Any) -> Any:
        before = passes.count
        found = generate(*args, **kwargs)
        if passes.count == before:
            raise ValueError(
                f"{type(base).__name__} generates by passes of a part of it, of which nothing is "
                "averaged: generate without the ensemble"
            )
        return found

    return method_replaced(base, "generate", checked)


def _refuse_threads(*args: Any, **kwargs: Any) -> Any:
    raise ValueError(
        "generate_batch generates in a thread of its own, which would wait for the end of this "
        "block for ever: use generate"
    )


def _rows(inputs: dict[str, Any]) -> int:
    return next(len(inputs[name]) for name in COUNTED if inputs.get(name) is not None)


def _check_encoded(inputs: dict[str, Any], ensemble: int) -> None:
    """Raise ``ValueError`` for what an encoder told that is not of these members."""
    encoded = inputs.get("encoder_outputs")
    if encoded is not None and len(encoded[0]) != ensemble * _rows(inputs):
        raise ValueError(
            "generation by an ensemble takes no encoder_outputs from elsewhere, as members encode "
            "by themselves: give input_ids"
        )


def _joined(outputs: list[Any]) -> Any:
    """Put outputs one after the other in the batch, tensor by tensor."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.cat(outputs)
    if isinstance(first, dict):
        for name in first:
            first[name] = _joined([output[name] for output in outputs])
        return first
    if isinstance(first, tuple):
        return tuple(_joined(list(each)) for each in zip(*outputs, strict=True))
    return first


def _part(outputs: Any, member: int, ensemble: int) -> Any:
    """Take a member's rows out of what :func:`_joined` made."""
    if isinstance(outputs, Tensor):
        return outputs.chunk(ensemble)[member]
    if isinstance(outputs, dict):
        parts = {name: _part(value, member, ensemble) for name, value in outputs.items()}
        return type(outputs)(**parts)
    if isinstance(outputs, tuple):
        return tuple(_part(one, member, ensemble) for one in outputs)
    return outputs
