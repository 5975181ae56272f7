"""Generation by a test-time ensemble: the next token by averaged logits of N sampled networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lora_dropout.ensemble import inference_mode
from lora_dropout.injection import schedules_restored
from lora_dropout.masks import ENSEMBLE_STEP
from lora_dropout.peft.averaging import base_model

#: Arguments of a model that have a row an example, and are repeated for the members.
ROWS = (
    "input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids",
    "decoder_input_ids", "decoder_inputs_embeds", "decoder_attention_mask", "input_features",
)  # fmt: skip
#: Those that say how many rows a pass has, the decoder's first.
COUNTED = (
    "decoder_input_ids", "decoder_inputs_embeds", "input_ids", "inputs_embeds", "attention_mask",
)  # fmt: skip


@contextmanager
def ensemble_generation(model: nn.Module, ensemble: int) -> Iterator[None]:
    """Within the block, ``model.generate`` averages the next token's logits over N members.

    The members are groups of one batch, N times as large, so that each has a part of the cache of
    its own. Greedy search and sampling see one set of averaged logits.

    Args:
        model: a decoder, or an encoder with a decoder, with adapters, in ``eval()``.
        ensemble: N, at least 1.

    Raises:
        ValueError: N below 1, a model that generates nothing, beam search, labels, or no adapter in
            use.
    """
    if ensemble < 1:
        raise ValueError(f"ensemble must be at least 1, got {ensemble}")
    base = base_model(model)
    if not hasattr(base, "generate"):
        raise ValueError(f"{type(base).__name__} generates nothing")
    repeat = _Repeat(ensemble)
    handles = [
        base.register_forward_pre_hook(repeat, with_kwargs=True),
        base.register_forward_hook(repeat.average, with_kwargs=True),
    ]
    if getattr(base.config, "is_encoder_decoder", False):
        # Generation calls the encoder by itself, once, and not through the model.
        encoder = base.get_encoder()
        handles += [encoder.register_forward_pre_hook(repeat.alone, with_kwargs=True)]
    vars(base)["generate"] = _without_beams(base.generate, base.generation_config)
    try:
        with schedules_restored(model) as schedules, inference_mode(model, "ensemble"):
            for schedule in schedules:
                schedule.seek(ENSEMBLE_STEP, range(ensemble))
            yield
    finally:
        del vars(base)["generate"]
        for handle in handles:
            handle.remove()


@contextmanager
def generating(model: nn.Module, ensemble: int) -> Iterator[None]:
    """Within the block, each call of ``model.generate`` is an :func:`ensemble_generation`.

    Args:
        model: with adapters, in ``eval()``; one that generates nothing is left as it is.
        ensemble: N, at least 1.
    """
    if not hasattr(base_model(model), "generate"):
        yield
        return
    inner = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        del vars(model)["generate"]
        try:
            with ensemble_generation(model, ensemble):
                return inner(*args, **kwargs)  # type: ignore[operator]
        finally:
            vars(model)["generate"] = generate

    vars(model)["generate"] = generate
    try:
        yield
    finally:
        del vars(model)["generate"]


class _Repeat:
    """A batch of N groups, one a member, in place of one batch; its logits are averaged."""

    def __init__(self, ensemble: int) -> None:
        self.ensemble, self.in_model = ensemble, False

    def __call__(
        self, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Before a pass of the model: repeat what has a row an example."""
        if kwargs.get("labels") is not None:
            raise ValueError(
                "generation by an ensemble computes no loss: use LoraDropoutTrainer(ensemble=N), "
                "or lora_dropout.Ensemble for the logits"
            )
        if _cached_rows(kwargs) not in (None, _rows(kwargs) * self.ensemble):
            raise ValueError("generation by an ensemble takes no beams and no cache from elsewhere")
        repeated = self._repeated(args, kwargs)
        self.in_model = True
        return repeated

    def alone(
        self, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Before a pass of the encoder: repeat its inputs, unless the model called it."""
        return (args, kwargs) if self.in_model else self._repeated(args, kwargs)

    def average(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """After a pass of the model: average the logits over the groups."""
        self.in_model = False
        output["logits"] = output["logits"].unflatten(0, (self.ensemble, -1)).mean(0)
        return output

    def _repeated(self, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            raise ValueError("pass the model's inputs by name")
        repeated = {
            name: value.repeat(self.ensemble, *[1] * (value.dim() - 1))
            if name in ROWS and isinstance(value, Tensor)
            else value
            for name, value in kwargs.items()
        }
        return args, repeated


def _without_beams(generate: Any, default: Any) -> Any:
    """Refuse beams at once, as the caches of some models do not show them."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("generation_config") or default
        if (kwargs.get("num_beams") or getattr(given, "num_beams", None) or 1) > 1:
            raise ValueError("generation by an ensemble takes no beams")
        return generate(*args, **kwargs)

    return checked


def _rows(kwargs: dict[str, Any]) -> int:
    return next(len(kwargs[name]) for name in COUNTED if kwargs.get(name) is not None)


def _cached_rows(kwargs: dict[str, Any]) -> int | None:
    """Rows of the cache, None for one that holds nothing yet."""
    # Called past_key_values by transformers before 5.24.
    cache = kwargs.get("cache", kwargs.get("past_key_values"))
    layers = getattr(getattr(cache, "self_attention_cache", cache), "layers", None)
    keys = getattr(layers[0], "keys", None) if layers else None
    return None if keys is None or not keys.numel() else len(keys)
