"""What ``probes.recommend`` wrote, or PEFT, as the settings of a fine-tuning run."""

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from probes.jobs.validation import require

#: What PEFT reads a config from, the trainer's arguments, and what neither of them says. The first
#: alone has to be there.
CONFIG, ARGUMENTS, METHOD = "adapter_config.json", "training_arguments.json", "method.json"
#: Fields of PEFT's config that a run takes, or that say nothing about training.
TAKEN = (
    "r", "lora_alpha", "lora_dropout", "target_modules", "dropout_rate", "rescale", "inference",
)  # fmt: skip
SILENT = (
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "training_alpha",
)  # fmt: skip
#: Numbers of a config.
NUMBERS = ("r", "lora_alpha", "lora_dropout", "dropout_rate")


@dataclass(frozen=True)
class AdapterConfig:
    """What a folder says of a run.

    Attributes:
        p, rescale: of LoRA Dropout.
        lora_dropout: rate of PEFT's own dropout.
        rank, alpha: of the update.
        target: names of the adapted layers; none where PEFT or a pattern chooses.
        target_pattern: regular expression for their whole names; empty if there is none.
        samples: N, mask samples a step.
        ensemble: size of the test-time ensemble, 0 for none, or where it is not known.
        needs_ensemble: whether the network is evaluated as an ensemble.
        regularizer, strength: the method's name in ``probes.training.rivals``; empty if not known.
        training: arguments of transformers' trainer.
    """

    p: float
    rescale: bool
    lora_dropout: float
    rank: int
    alpha: float
    target: tuple[str, ...]
    target_pattern: str = ""
    samples: int = 1
    ensemble: int = 0
    needs_ensemble: bool = False
    regularizer: str = ""
    strength: float = 0.0
    training: dict[str, Any] = field(default_factory=dict)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read what a run is to be from a folder.

    Args:
        folder: holds ``adapter_config.json`` of LoRA, with or without dropout, and perhaps
            ``training_arguments.json`` and ``method.json``.

    Raises:
        ValueError: a file is missing or damaged, or the config asks for what a run cannot take.
    """
    # First: it makes PEFT know configs with dropout.
    from lora_dropout.peft import LoraDropoutConfig  # isort: skip
    from peft import AdaLoraConfig, LoraConfig, PeftConfig

    known = (folder / CONFIG).is_file()
    require(known, "adapter_config", f"a folder with an {CONFIG}", folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
    # The last: PEFT asks itself again and again about what a config within this one does not know.
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder / CONFIG} cannot be read: {reason}") from None
    fine = isinstance(config, LoraConfig) and not isinstance(config, AdaLoraConfig)
    require(fine, "adapter_config", "a config of LoRA", type(config).__name__)
    _check_taken(config)
    for name in NUMBERS:
        _check_number(folder / CONFIG, name, getattr(config, name, 0), whole=name == "r")
    rate = config.lora_dropout
    require(0 <= rate < 1, f"{folder / CONFIG}: lora_dropout", "in [0, 1)", rate)
    target, pattern = _targets(folder / CONFIG, config.target_modules)
    dropout = isinstance(config, LoraDropoutConfig)
    method = _json(folder / METHOD)
    for name in ("samples", "ensemble", "strength"):
        _check_number(folder / METHOD, name, method.get(name, 0), whole=name != "strength")
    return AdapterConfig(
        p=float(config.dropout_rate) if dropout else 0.0,
        rescale=config.rescale if dropout else False,
        lora_dropout=float(config.lora_dropout),
        rank=config.r,
        alpha=float(config.lora_alpha),
        target=target,
        target_pattern=pattern,
        samples=int(method.get("samples", 1)),
        ensemble=int(method.get("ensemble", 0)),
        needs_ensemble=dropout and config.inference == "ensemble",
        regularizer=str(method.get("method", "")),
        strength=float(method.get("strength", 0.0)),
        training=_json(folder / ARGUMENTS),
    )


def _targets(file: Path, given: Any) -> tuple[tuple[str, ...], str]:
    """Names of the adapted layers, or the pattern that PEFT takes a string for."""
    name, allowed = f"{file}: target_modules", "names of layers, or a regular expression"
    if not isinstance(given, str):
        several = given is None or isinstance(given, list | set | tuple)
        fine = several and all(isinstance(one, str) for one in given or ())
        require(fine, name, allowed, given)
        return tuple(sorted(given or ())), ""
    if given.lower() == "all-linear":
        return ("all-linear",), ""
    try:
        re.compile(given)
    except re.error as error:
        require(False, name, allowed, f"{given!r} ({error})")
    return (), given


def _check_number(file: Path, name: str, value: Any, *, whole: bool) -> None:
    kind = int if whole else int | float
    fine = isinstance(value, kind) and not isinstance(value, bool)
    require(fine, f"{file}: {name}", "a whole number" if whole else "a number", repr(value))


def _check_taken(config: Any) -> None:
    """Refuse a config that says more than a run takes, by the name of what it says."""
    plain = type(config)(**({"dropout_rate": 0.0} if hasattr(config, "dropout_rate") else {}))
    for one in fields(config):
        if one.name in (*TAKEN, *SILENT):
            continue
        value = getattr(config, one.name)
        fine = value == getattr(plain, one.name)
        require(fine, "adapter_config", f"without {one.name}, which probes.finetune cannot take",
                value)  # fmt: skip
    if hasattr(config, "inference"):
        require(config.inference != "no masks", "adapter_config",
                "of inference by the expected weight or an ensemble", config.inference)  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    require(isinstance(read, dict), path.name, "a JSON object", type(read).__name__)
    return dict(read)
