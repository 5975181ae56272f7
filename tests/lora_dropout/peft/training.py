"""Small trainings by the Trainer, in this process or by ``torchrun -m ... FOLDER JSON``."""

import json
import sys
from pathlib import Path

import torch
from transformers import TrainingArguments, set_seed
from transformers.utils import logging

from lora_dropout.peft import LoraDropoutTrainer
from probes.finetuning.training import leave_process_group
from tests.lora_dropout.peft.models import CONFIGS, adapted, batch_for


class Rows(torch.utils.data.Dataset):
    """Examples of a tiny task; of the causal one, with labels of different lengths."""

    def __init__(self, name, count=16):
        data = {key: value.clone() for key, value in batch_for(name, rows=count).items()}
        if name == "llama":
            for row in range(count):
                data["labels"][row, : 1 + row % 4] = -100
        self.rows = [{key: value[row] for key, value in data.items()} for row in range(count)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        return self.rows[number]


def trainer(folder, *, name="bert", config="lora", p=0.5, batch=8, accumulate=1, steps=4,
            keep=None, arguments=(), kind=LoraDropoutTrainer, mask_seed=None,
            **options):  # fmt: skip
    set_seed(0)
    model = adapted(name, CONFIGS[config], p=p, mask_seed=mask_seed)
    settings = {
        "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate,
        "max_steps": steps, "logging_steps": 1, "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "report_to": [], "save_strategy": "steps" if keep else "no", "save_steps": keep or steps,
        "use_cpu": True, "disable_tqdm": True, "optim": "sgd", "max_grad_norm": 0.0,
        "dataloader_pin_memory": False, "train_sampling_strategy": "sequential",
    }  # fmt: skip
    return kind(
        model, TrainingArguments(str(folder), **(settings | dict(arguments))),
        train_dataset=Rows(name), eval_dataset=Rows(name), **options,
    )  # fmt: skip


def losses(trained):
    """The losses that the trainer logged, step by step."""
    return [entry["loss"] for entry in trained.state.log_history if "loss" in entry]


def factors(trained):
    return {
        name: value.detach().clone()
        for name, value in trained.model.named_parameters()
        if value.requires_grad
    }


def main(folder, settings):
    logging.set_verbosity_error()
    for name, of_one in settings.items():
        _train(folder, name, of_one)
    leave_process_group()


def _train(folder, name, settings):
    trained = trainer(folder, **settings)
    trained.train()
    if trained.args.process_index == 0:
        total = sum(float(factor.sum()) for factor in factors(trained).values())
        result = {"losses": losses(trained), "sum": total}
        (Path(folder) / f"{name}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
