"""Test-time ensembles of transformers' models: averaged outputs, their loss, and generation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lora_dropout.ensemble import inference_mode, members
from lora_dropout.injection import schedules_restored
from lora_dropout.masks import ENSEMBLE_STEP

#: Outputs of a model that are averaged: activations before the softmax.
AVERAGED = ("logits", "start_logits", "end_logits")
#: Arguments of a model that have a row an example, and are repeated for the members.
ROWS = (
    "input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids", "labels",
)  # fmt: skip


class Averaged(nn.Module):
    """A model of transformers whose logits are the average over N sampled networks.

    The loss is that of the averaged logits, by the loss function of the model.

    Source: arXiv 2404.09610, Eq. 8: outputs are averaged before the softmax.

    Args:
        model: the model, which may be wrapped by a trainer.
        adapted: the model itself, whose layers hold the masks.
        ensemble: N, at least 1.
    """

    def __init__(self, model: nn.Module, adapted: nn.Module, ensemble: int) -> None:
        super().__init__()
        self.model, self.adapted, self.ensemble = model, adapted, ensemble

    def forward(self, **inputs: Any) -> Any:
        """Run the model once a member; return its output with averaged logits, and the loss."""
        total: dict[str, Tensor] = {}
        for member in members(self.adapted, self.ensemble):
            output = self.model(**inputs)
            if member == 0 and output.get("loss") is not None:
                inputs_of_loss = self._as_the_model(output, inputs)
            for name in AVERAGED:
                if name in output:
                    total[name] = total[name] + output[name] if member else output[name]
        if not total:
            raise ValueError(f"the model returns none of {', '.join(AVERAGED)} to average")
        for name, value in total.items():
            output[name] = value / self.ensemble
        if output.get("loss") is not None:
            output["loss"] = loss_of(self.adapted, output, inputs_of_loss)
        return output

    def _as_the_model(self, output: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Find the inputs from which the model computes its loss: many heads ignore the count."""
        for known in (inputs, inputs | {"num_items_in_batch": None}):
            ours = loss_of(self.adapted, output, known)
            if torch.allclose(ours.float(), output["loss"].float(), rtol=1e-2, atol=1e-4):
                return known
        raise ValueError(
            f"{type(base_model(self.adapted)).__name__} computes its loss in its own way, so "
            "that of averaged outputs is not known: pass compute_loss_func to the trainer"
        )


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


def base_model(adapted: nn.Module) -> Any:
    """Return the model of transformers inside a ``PeftModel``, or the model itself."""
    return adapted.get_base_model() if hasattr(adapted, "get_base_model") else adapted  # type: ignore[operator]


@contextmanager
def ensemble_generation(model: nn.Module, ensemble: int) -> Iterator[None]:
    """Within the block, ``model.generate`` averages the next token's logits over N members.

    The members are groups of one batch, N times as large, so that each has a part of the cache of
    its own. Greedy search and sampling see one set of averaged logits.

    Args:
        model: a decoder with adapters, in ``eval()``.
        ensemble: N, at least 1.

    Raises:
        ValueError: N below 1, an encoder-decoder model, beam search, or no adapter in use.
    """
    if ensemble < 1:
        raise ValueError(f"ensemble must be at least 1, got {ensemble}")
    base = base_model(model)
    if getattr(base.config, "is_encoder_decoder", False):
        raise ValueError(
            "generation by an ensemble takes decoders only, not encoder-decoder models"
        )

    def repeat(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            raise ValueError("pass the model's inputs by name")
        if _cached_rows(kwargs) not in (None, _rows(kwargs) * ensemble):
            raise ValueError("generation by an ensemble takes no beams and no cache from elsewhere")
        repeated = {
            name: value.repeat(ensemble, *[1] * (value.dim() - 1))
            if name in ROWS and isinstance(value, Tensor)
            else value
            for name, value in kwargs.items()
        }
        return args, repeated

    def average(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        output["logits"] = output["logits"].unflatten(0, (ensemble, -1)).mean(0)
        return output

    handles = [
        base.register_forward_pre_hook(repeat, with_kwargs=True),
        base.register_forward_hook(average, with_kwargs=True),
    ]
    try:
        with schedules_restored(model) as schedules, inference_mode(model, "ensemble"):
            for schedule in schedules:
                schedule.seek(ENSEMBLE_STEP, range(ensemble))
            yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(kwargs: dict[str, Any]) -> int:
    return next(len(kwargs[name]) for name in ROWS if kwargs.get(name) is not None)


def _cached_rows(kwargs: dict[str, Any]) -> int | None:
    """Rows of the cache, None for one that holds nothing yet."""
    # Called past_key_values by transformers before 5.24.
    cache = kwargs.get("cache", kwargs.get("past_key_values"))
    layers = getattr(cache, "layers", None)
    keys = getattr(layers[0], "keys", None) if layers else None
    return None if keys is None or not keys.numel() else len(keys)
