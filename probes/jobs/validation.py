"""Checks of the user's values: one line that names the setting, what is allowed and the value."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import torch

#: Larger numbers of draws, samples, members or other repetitions are treated as typing errors: each
#: costs a training or a pass, and an interval over so many draws is narrow enough.
LARGEST_COUNT = 10_000
#: Likewise of steps, examples, and what else is a size and no repetition.
LARGEST_SIZE = 10**6
#: Longer words are not compared with known names: it would take long and find nothing.
LONGEST_WORD = 100
#: Names of one setting: here, in the paper, in transformers and PEFT, and as people call it.
ONE_SETTING = (
    ("lr", "learning_rate"), ("batch", "batch_size", "per_device_train_batch_size"),
    ("p", "dropout", "dropout_rate", "rate"), ("rank", "r"), ("alpha", "lora_alpha"),
    ("steps", "max_steps"), ("samples", "N"), ("strength", "lambda", "lam"), ("draws", "repeats"),
    ("ensemble", "members"), ("out", "output_dir", "output"), ("model", "model_name_or_path"),
)  # fmt: skip


def require(valid: bool, name: str, allowed: str, value: object) -> None:
    """Refuse a value in one line.

    Args:
        valid: whether the value is allowed.
        name: of the setting.
        allowed: what is, in words that go on from "must be".
        value: that was given.

    Raises:
        ValueError: the value is not valid; the message names the setting, what is allowed and it.
    """
    if not valid:
        raise ValueError(f"{name} must be {allowed}; got {value}")


def check_left_out(settings: Any, names: Iterable[str], where: str) -> None:
    """Refuse settings that would be ignored.

    Args:
        settings: a dataclass.
        names: of its fields.
        where: they mean nothing, in words that go on from "must be left out".

    Raises:
        ValueError: one of them is not its default.
    """
    for name in names:
        value, field = getattr(settings, name), type(settings).__dataclass_fields__[name]
        require(value == field.default, name, f"left out {where}", value)


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check a choice.

    Args:
        name: of the setting.
        value: that was given.
        allowed: all values that are.

    Raises:
        ValueError: the value is another.
    """
    hint = "" if value in allowed else did_you_mean(value, allowed)
    between = "; " if any("," in one for one in allowed) else ", "
    require(value in allowed, name, f"one of {between.join(allowed)}", f"{value!r}{hint}")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Name the nearest of the known words, for the end of a message; nothing if none is near.

    Args:
        word: that was given.
        known: words that are allowed.

    Returns:
        Such as ", did you mean digits?", or nothing.

    >>> did_you_mean("digts", ["digits", "ridge"]), did_you_mean("tpu", ["digits"])
    (', did you mean digits?', '')
    >>> did_you_mean("--learning_rate", ["--lr", "--p"]), did_you_mean("Rank", ["rank"])
    (', did you mean --lr?', ', did you mean rank?')
    """
    if len(word) >= LONGEST_WORD:
        return ""
    bare = _bare(word)
    groups = [names for one in (bare, bare.lower()) for names in ONE_SETTING if one in names]
    names = groups[0] if groups else (bare.lower(),)
    same = [one for one in known if _bare(one).lower() in names]
    near = same or get_close_matches(word, known, 1)
    return f", did you mean {near[0]}?" if near else ""


def _bare(word: str) -> str:
    """A setting's name without what makes it a flag."""
    return word.lstrip("-").replace("-", "_")


def check_count(name: str, value: int, least: int = 1, most: int = LARGEST_COUNT) -> None:
    """Check a number of things.

    Args:
        name: of the setting.
        value: that was given.
        least, most: smallest and largest number that is allowed.

    Raises:
        ValueError: the value is below ``least`` or above ``most``.
    """
    require(value >= least, name, f"at least {least}", value)
    require(value <= most, name, f"at most {most}", value)


def check_seed(seed: int) -> None:
    """Raise ``ValueError`` unless generators of NumPy and PyTorch take the seed."""
    require(0 <= seed < 2**63, "seed", "from 0 to 2**63 - 1", seed)


def available_devices() -> list[str]:
    """Names of the devices that tensors can be put on here."""
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def check_device(name: str) -> None:
    """Raise ``ValueError`` unless there is such a device here."""
    devices = available_devices()
    known = name in devices or (name == "cuda" and len(devices) > 1)
    require(known, "device", f"one of {', '.join(devices)}", repr(name))
