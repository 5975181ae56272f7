"""Arguments of transformers' trainer: from the command line, checked, and as part of a cell."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from probes.finetuning.library_errors import one_line_of_libraries
from probes.jobs.validation import did_you_mean, require

if TYPE_CHECKING:
    from transformers import TrainingArguments

#: Our values where the user gives none; none of them is the paper's.
DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-4, "num_train_epochs": 3, "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 32, "eval_strategy": "steps", "eval_steps": 0.1,
    "save_strategy": "steps", "save_steps": 0.1, "save_total_limit": 2, "logging_strategy": "no",
    "report_to": "none", "eval_on_start": True, "optim": "adamw_torch",
    "ddp_find_unused_parameters": False,
}  # fmt: skip
#: Arguments that are settled by ours, and what settles them.
OWN = {
    "output_dir": "left to --out", "seed": "left to --seed", "data_seed": "left to --seed",
    "label_names": "left to --task", "disable_tqdm": "left out: it is set automatically",
    "dataloader_pin_memory": "left out: it is set automatically",
    "resume_from_checkpoint": "left out: the same command goes on from where it was",
    "save_only_model": "left out: checkpoints hold what a run goes on from",
    "eval_do_concat_batches": "left out: scores are of all examples together",
    "batch_eval_metrics": "left out: scores are of all examples together",
    "prediction_loss_only": "left out: scores need the predictions",
    "bf16_full_eval": "left out: evaluations have the precision of training",
    "fp16_full_eval": "left out: evaluations have the precision of training",
    "remove_unused_columns": "left out: examples hold what the model reads",
    "push_to_hub": "left out: adapters are kept in --out",
    "hub_model_id": "left out: nothing is pushed", "hub_token": "left out: nothing is pushed",
}  # fmt: skip
#: Arguments that are one word or several.
LISTS = ("report_to", "optim_target_modules")
#: Arguments whose values are not repeated.
SECRET = ("hub_token",)
#: Arguments that are objects of JSON, or a file of one.
OBJECTS_OR_FILES = ("accelerator_config", "fsdp_config", "deepspeed")
#: Numbers from 0 to below 1, and one from 0 to 1.
BELOW_ONE, SMOOTHING = ("adam_beta1", "adam_beta2"), "label_smoothing_factor"
#: Counts, and the least of each.
COUNTS = {
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1, "eval_accumulation_steps": 1, "save_total_limit": 1,
    "dataloader_num_workers": 0, "dataloader_prefetch_factor": 1,
}  # fmt: skip
#: Numbers that are at least 0, and those that are above it.
NOT_NEGATIVE = ("learning_rate", "weight_decay", "max_grad_norm", "warmup_steps", "eval_delay")
POSITIVE = ("eval_steps", "save_steps", "logging_steps", "adam_epsilon")


def trainer_arguments(words: list[str], also: Sequence[str] = ()) -> dict[str, Any]:
    """Parse arguments of transformers' TrainingArguments; only those that are given.

    Args:
        words: of the command line.
        also: other flags that one may have meant.

    Returns:
        Arguments by name.

    Raises:
        ValueError: an argument that nobody knows, or a value that does not fit.
    """
    known_to_transformers = _arguments_class()
    from transformers import HfArgumentParser

    parser = HfArgumentParser(known_to_transformers, add_help=False, allow_abbrev=False)

    def refuse(message: str) -> None:
        raise ValueError(message)

    parser.error = refuse
    objects = _objects()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
        if action.dest in LISTS:
            action.nargs = "+"
        if action.dest in objects:
            action.type = str
    with one_line_of_libraries("arguments", {}):
        given, unknown = parser.parse_known_args(words)
    if unknown:
        known = [*also, *parser._option_string_actions]
        hint = did_you_mean(unknown[0].partition("=")[0], known)
        raise ValueError(f"unknown arguments: {' '.join(unknown)}{hint} (see --help)")
    return {
        name: value[0] if name in LISTS and len(value) == 1 else value
        for name, value in vars(given).items()
    }


def _arguments_class() -> "type[TrainingArguments]":
    """transformers' class, imported after PEFT, whose import ours keeps quiet."""
    import_module("lora_dropout.peft")
    from transformers import TrainingArguments

    return TrainingArguments


def _objects() -> list[str]:
    """Arguments that are objects of JSON: what transformers declares to be a dictionary."""
    kinds = get_type_hints(_arguments_class())
    known = [name for name, kind in kinds.items() if "dict" in str(kind)]
    return [name for name in known if name not in OBJECTS_OR_FILES]


def check_arguments(given: Mapping[str, Any]) -> None:
    """Check what the user gives; transformers checks some of the rest.

    Args:
        given: arguments by name.

    Raises:
        ValueError: one that is settled by ours, that nobody knows, or a number out of range.
    """
    _check_known(given)
    for name, ours in OWN.items():
        require(name not in given, name, ours, "one" if name in SECRET else given.get(name))
    for name in (*COUNTS, "max_steps"):
        _check_kind(name, given.get(name), int)
    for name in (*NOT_NEGATIVE, *POSITIVE, *BELOW_ONE, SMOOTHING, "num_train_epochs"):
        _check_kind(name, given.get(name), float)
    for name in (*BELOW_ONE, SMOOTHING, "num_train_epochs", "max_steps"):
        require(given.get(name, 0) is not None, name, "a number", None)
    for name, least in COUNTS.items():
        value = given.get(name)
        require(value is None or value >= least, name, f"at least {least}", value)
    for name in (*NOT_NEGATIVE, *POSITIVE):
        value = given.get(name)
        if value is None:
            continue
        known = math.isfinite(value) and value >= 0 and (value > 0 or name not in POSITIVE)
        require(known, name, "positive" if name in POSITIVE else "at least 0, and finite", value)
    for name in BELOW_ONE:
        value = given.get(name, 0)
        require(0 <= value < 1, name, "in [0, 1)", value)
    smoothing = given.get(SMOOTHING, 0)
    require(0 <= smoothing <= 1, SMOOTHING, "in [0, 1]", smoothing)
    _check_words(given)
    steps = given.get("max_steps", -1)
    require(steps == -1 or steps >= 1, "max_steps", "at least 1, or -1 for none", steps)
    epochs = given.get("num_train_epochs", 1)
    require(
        steps > 0 or 0 < epochs < math.inf, "num_train_epochs",
        "positive, or max_steps given", epochs,
    )  # fmt: skip


def _check_kind(name: str, value: Any, kind: type) -> None:
    known = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    what = "a whole number" if kind is int else "a number"
    require(value is None or known, name, what, repr(value))


def _check_words(given: Mapping[str, Any]) -> None:
    """Check texts that transformers takes apart."""
    # Who gives none does not wait for transformers, which knows what they are.
    for name in (*_objects(), *OBJECTS_OR_FILES) if given else ():
        value = given.get(name)
        if value is None or isinstance(value, dict):
            continue
        of_file = name in OBJECTS_OR_FILES and not str(value).lstrip().startswith("{")
        fine = Path(str(value)).is_file() if of_file else _is_object(str(value))
        or_file = " or a file of one," if name in OBJECTS_OR_FILES else ""
        require(fine, name, f"an object of JSON,{or_file} as in '{{\"name\": 1}}'", value)
    pairs = given.get("optim_args")
    fine = not pairs or all("=" in pair for pair in str(pairs).split(","))
    require(fine, "optim_args", "pairs such as name=value,name=value", pairs)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _check_known(given: Mapping[str, Any]) -> None:
    if given:
        known = _arguments_class().__dataclass_fields__
        unknown = [name for name in given if name not in known]
        if unknown:
            hint = did_you_mean(unknown[0], list(known))
            raise ValueError(f"training holds unknown arguments: {', '.join(unknown)}{hint}")


def as_key(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Arguments, sorted, as a value that can be hashed.

    Args:
        given: arguments by name.

    Returns:
        Pairs of name and value; lists are tuples, and dictionaries JSON, which transformers reads.

    Raises:
        ValueError: a value that is neither a plain one nor JSON.
    """
    return tuple((name, _plain(name, value)) for name, value in sorted(given.items()))


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(name, one) for one in value)
    if isinstance(value, dict):
        try:
            return json.dumps(value, sort_keys=True)
        except TypeError:
            value = object()
    known = value is None or isinstance(value, str | int | float | bool)
    require(known, name, "a number, a text, or a list or dictionary of these", repr(value))
    return value


def training_arguments(
    folder: str, training: Mapping[str, Any], **settled: Any
) -> "TrainingArguments":
    """Make the trainer's arguments.

    Args:
        folder: of checkpoints.
        training: arguments by name, as :func:`as_key` has them.
        **settled: arguments that are not the user's.

    Returns:
        The arguments, as transformers checked them.

    Raises:
        ValueError: an argument that does not fit; the message names its flag.
    """
    from transformers import TrainingArguments

    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in training.items()
    }
    with one_line_of_libraries("arguments of the trainer", given_by_user(training)):
        for name in _objects():
            value = values.get(name)
            values |= {name: json.loads(value)} if isinstance(value, str) else {}
        try:
            return TrainingArguments(folder, **values, **settled)
        except BaseException:
            _forget_deepspeed()
            raise


def _forget_deepspeed() -> None:
    """transformers remembers a DeepSpeed configuration before it has read it."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def given_by_user(training: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments whose values are not ``DEFAULTS``."""
    return {
        name: value
        for name, value in training.items()
        if name not in DEFAULTS or DEFAULTS[name] != value
    }
