"""A tuned method as files: a config of PEFT, and arguments of transformers' trainer."""

import json
import tempfile
from pathlib import Path
from typing import Any

from probes.results.recommendation import Candidate
from probes.training.rivals import Rival

#: What PEFT reads a config from, and the trainer's arguments beside it.
CONFIG, ARGUMENTS = "adapter_config.json", "training_arguments.json"


def adapter_config(candidate: Candidate, rank: int, alpha: float) -> Any:
    """Return the config of PEFT that trains a method.

    Args:
        candidate: a method that PEFT or its trainer expresses.
        rank: r of plain LoRA.
        alpha: of plain LoRA; the update is scaled by alpha / rank.

    Returns:
        ``lora_dropout.peft.LoraDropoutConfig`` for LoRA Dropout, otherwise ``peft.LoraConfig``.
    """
    # First: it keeps what PEFT imports quiet.
    from lora_dropout.peft import LoraDropoutConfig  # isort: skip
    from peft import LoraConfig

    method = Rival(candidate.method, candidate.strength).method
    if method.rule == "LoRA Dropout":
        return LoraDropoutConfig(
            r=rank, lora_alpha=alpha, dropout_rate=candidate.strength, rescale=method.rescale,
            inference="ensemble" if method.masked_members > 1 else "expected weight",
        )  # fmt: skip
    if method.rule == "inputs":
        return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=candidate.strength)
    if method.rule == "smaller rank":
        kept = max(1, round(rank * (1 - candidate.strength)))
        return LoraConfig(r=kept, lora_alpha=alpha * kept / rank)
    return LoraConfig(r=rank, lora_alpha=alpha)


def trainer_settings(candidate: Candidate, examples: int) -> dict[str, Any]:
    """Return what the config does not say, as arguments of transformers' ``TrainingArguments``.

    Args:
        candidate: a method.
        examples: n; the probes train on all of them in every step.
    """
    more = {}
    if candidate.method in ("weight decay", "label smoothing"):
        name = {"weight decay": "weight_decay", "label smoothing": "label_smoothing_factor"}
        more[name[candidate.method]] = candidate.strength
    return {
        "learning_rate": candidate.lr, "max_steps": candidate.stop,
        "per_device_train_batch_size": examples, "lr_scheduler_type": "constant",
    } | more  # fmt: skip


def write_adapter_config(
    folder: Path, candidate: Candidate, rank: int, alpha: float, examples: int
) -> None:
    """Write the config as PEFT's ``save_pretrained`` does, and the trainer's arguments beside it.

    Args:
        folder: where; it is there.
        candidate, rank, alpha: as for :func:`adapter_config`.
        examples: as for :func:`trainer_settings`.
    """
    with tempfile.TemporaryDirectory() as place:
        adapter_config(candidate, rank, alpha).save_pretrained(place)
        (folder / CONFIG).write_text((Path(place) / CONFIG).read_text())
    settings = trainer_settings(candidate, examples)
    (folder / ARGUMENTS).write_text(json.dumps(settings, indent=2) + "\n")
