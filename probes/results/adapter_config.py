"""A tuned method as files: a config of PEFT, arguments of transformers' trainer, and what is left.

What is left is the method's name, and its numbers of mask samples in a step and in an ensemble.
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.finetuning.adapter_config import ARGUMENTS, CONFIG, METHOD
from probes.results.recommendation import Candidate
from probes.training.rivals import Rival


def adapter_config(
    candidate: Candidate, rank: int, alpha: float, layers: Mapping[str, int] | None = None
) -> Any:
    """Return the config of PEFT that trains a method.

    Args:
        candidate: a method that PEFT or its trainer expresses.
        rank: r of plain LoRA.
        alpha: of plain LoRA; the update is scaled by alpha / rank.
        layers: the largest rank that a layer allows, by its name, with a ``^`` before it where it
            is the end of another module's name; PEFT chooses layers if empty.

    Returns:
        ``lora_dropout.peft.LoraDropoutConfig`` for LoRA Dropout, otherwise ``peft.LoraConfig``.
    """
    # First: it keeps what PEFT imports quiet.
    from lora_dropout.peft import LoraDropoutConfig  # isort: skip
    from peft import LoraConfig

    rival = Rival(candidate.method, candidate.strength)
    method, kept = rival.method, rank
    if method.rule == "smaller rank":
        # Of the rank that there is: no layer may allow that of plain LoRA.
        kept = rival.rank(min(rank, max((layers or {}).values(), default=rank)))
    scale = alpha / rank
    smaller = {name: most for name, most in (layers or {}).items() if most < kept}
    known: dict[str, Any] = {
        "r": kept, "lora_alpha": scale * kept, "rank_pattern": smaller,
        "target_modules": _targets([name for name in layers or () if name]),
        "alpha_pattern": {name: scale * most for name, most in smaller.items()},
    }  # fmt: skip
    if method.rule == "LoRA Dropout":
        return LoraDropoutConfig(
            **known, dropout_rate=candidate.strength, rescale=method.rescale,
            inference="ensemble" if method.masked_members > 1 else "expected weight",
        )  # fmt: skip
    if method.rule == "inputs":
        return LoraConfig(**known, lora_dropout=candidate.strength)
    return LoraConfig(**known)


def _targets(names: Sequence[str]) -> list[str] | str | None:
    """The layers as PEFT takes them: names, or a pattern where a name would mean others too."""
    if not any(name.startswith("^") for name in names):
        return list(names) or None
    return "|".join(re.escape(name.removeprefix("^")) for name in names)


def trainer_settings(candidate: Candidate, examples: int) -> dict[str, Any]:
    """Return what the config does not say, as arguments of transformers' ``TrainingArguments``.

    Args:
        candidate: a method.
        examples: n; the probes train on all of them in every step.
    """
    own = {"weight decay": "weight_decay", "label smoothing": "label_smoothing_factor"}
    more = {name: candidate.strength for method, name in own.items() if method == candidate.method}
    return {
        "learning_rate": candidate.lr, "max_steps": candidate.stop,
        "per_device_train_batch_size": examples, "lr_scheduler_type": "constant",
    } | more  # fmt: skip


def config_files(
    candidate: Candidate,
    rank: int,
    alpha: float,
    examples: int,
    layers: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Return the config as PEFT's ``save_pretrained`` writes it, and what goes with it.

    Args:
        candidate, rank, alpha, layers: as for :func:`adapter_config`.
        examples: as for :func:`trainer_settings`.

    Returns:
        Texts of ``CONFIG``, ``ARGUMENTS`` and ``METHOD``, by the names of these files.
    """
    method = Rival(candidate.method, candidate.strength).method
    with tempfile.TemporaryDirectory() as place:
        adapter_config(candidate, rank, alpha, layers).save_pretrained(place)
        config = (Path(place) / CONFIG).read_text()
    said = {
        "method": candidate.method, "strength": candidate.strength, "samples": method.samples,
        "ensemble": method.masked_members if method.masked_members > 1 else 0,
    }  # fmt: skip
    arguments = trainer_settings(candidate, examples)
    return {CONFIG: config} | {
        name: json.dumps(values, indent=2) + "\n"
        for name, values in ((ARGUMENTS, arguments), (METHOD, said))
    }
