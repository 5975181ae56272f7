"""Factors that are loaded into the place of another adapter's: refused where the rate would stay.

PEFT and transformers then read the factors alone, and leave the config as it was. What the factors
mean is in their config: another rate, and so another (1-p)^2, or none.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import peft
import peft.utils.hotswap
import peft.utils.loftq_utils
from peft import LoraConfig, PeftConfig, PeftModel
from transformers.integrations.peft import PeftAdapterMixin

from lora_dropout.peft.config import MEANING, DropoutFields

#: What loading in place leaves as it was, beside the meaning of the factors.
SCALING = ("lora_alpha", "alpha_pattern", "use_rslora")


def check_meaning(held: Any, new: Any, adapter: str, also: tuple[str, ...] = ()) -> None:
    """Raise ``ValueError`` where the factors of one config mean something else under another.

    Args:
        held: config of the adapter that is there; None if there is none.
        new: config of the factors that are loaded into its place.
        adapter: its name, for the message.
        also: further fields that must agree.

    Raises:
        ValueError: a field on which the meaning of the factors depends differs.
    """
    if not any(isinstance(one, DropoutFields) and one.drops for one in (held, new)):
        return
    for name in (*MEANING, *also):
        here, there = getattr(held, name, None), getattr(new, name, None)
        if held is not None and here != there:
            raise ValueError(
                f"adapter {adapter!r} has {name}={here!r}, and the factors that would be loaded "
                f"into its place were trained with {name}={there!r}: load them under a name of "
                "their own, or into a model that is made from their config"
            )


def guard() -> None:
    """Let the functions of PEFT and transformers that load in place ask :func:`check_meaning`."""
    hotswap: Any = peft.utils.hotswap
    ask_first(PeftModel, "load_adapter", _ask_of_peft)
    ask_first(PeftAdapterMixin, "load_adapter", _ask_of_transformers)
    ask_first(hotswap, "hotswap_adapter_from_state_dict", _ask_of_factors)
    for owner in (peft, peft.utils, peft.utils.loftq_utils):
        ask_first(owner, "replace_lora_weights_loftq", _ask_of_loftq)


def ask_first(owner: Any, name: str, ask: Callable[[dict[str, Any]], None]) -> None:
    """Let a function be asked about its arguments first; once, however often this is called.

    Args:
        owner: class or module of the function.
        name: of the function.
        ask: is given the arguments by name, and raises where they are refused.
    """
    function = getattr(owner, name)
    if getattr(function, "asks", False):
        return

    @wraps(function)
    def asking(*args: Any, **kwargs: Any) -> Any:
        known = signature(function).bind(*args, **kwargs)
        known.apply_defaults()
        ask(known.arguments)
        return function(*args, **kwargs)

    vars(asking)["asks"] = True
    setattr(owner, name, asking)


def _ask_of_peft(given: dict[str, Any]) -> None:
    model, adapter = given["self"], given["adapter_name"]
    held = model.peft_config.get(adapter)
    if not isinstance(held, LoraConfig):
        return
    hub, _ = model._split_kwargs(dict(given["kwargs"]))
    new = _saved_config(given["model_id"], hub)
    if new is not None:
        check_meaning(held, new, adapter, SCALING)


def _ask_of_transformers(given: dict[str, Any]) -> None:
    model, adapter = given["self"], given["adapter_name"]
    held = model.peft_config.get(adapter) if model._hf_peft_config_loaded else None
    # A name that is there is refused by transformers, but for a swap.
    if held is None or not given["hotswap"]:
        held = given["peft_config"]
    if held is None:
        return
    new = given["peft_config"]
    if given["peft_model_id"] is not None:
        hub = getattr(given["load_config"], "download_kwargs", None) or {}
        new = _saved_config(given["peft_model_id"], {**hub, **(given["adapter_kwargs"] or {})})
    if new is not None:
        check_meaning(held, new, adapter, SCALING)


def _saved_config(folder: Any, hub: dict[str, Any]) -> Any:
    """Read a saved config; None where there is none, which PEFT allows if one is given to it."""
    try:
        return PeftConfig.from_pretrained(folder, **hub)
    except ValueError:
        return None


def _ask_of_loftq(given: dict[str, Any]) -> None:
    held = given["peft_model"].peft_config.get(given["adapter_name"])
    if isinstance(held, DropoutFields) and held.drops:
        raise ValueError(
            "replace_lora_weights_loftq puts a part of the frozen weight into the update, which "
            "dropout would drop: leave it out, or set dropout_rate=0"
        )


def _ask_of_factors(given: dict[str, Any]) -> None:
    adapter = given["adapter_name"]
    held, new = getattr(given["model"], "peft_config", {}).get(adapter), given["config"]
    check_meaning(held, new, adapter)
    if not (isinstance(new, DropoutFields) and new.drops):
        return
    for pattern in ("rank_pattern", "alpha_pattern"):
        if getattr(new, pattern, None):
            raise ValueError(
                "PEFT's hotswap takes r and lora_alpha for those of every layer, and would scale "
                f"those of {pattern} wrongly: load adapter {adapter!r} under a name of its own"
            )
