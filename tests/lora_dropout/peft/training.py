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
    """Examples of a tiny task; of the causal one, with labels of different lengths.

    Labels of the first ``masked`` examples do not count.
    """

    def __init__(self, name, count=16, masked=0):
        data = {key: value.clone() for key, value in batch_for(name, rows=count).items()}
        if name == "llama":
            for row in range(count):
                data["labels"][row, : 1 + row % 4] = -100
        data["labels"][:masked] = -100
        self.rows = [{key: value[row] for key, value in data.items()} for row in range(count)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        return self.rows[number]


def trainer(folder, *, name="bert", config="lora", p=0.5, batch=8, accumulate=1, steps=4,
            keep=None, arguments=(), kind=LoraDropoutTrainer, mask_seed=None, masked=0,
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
        train_dataset=Rows(name, masked=masked), eval_dataset=Rows(name), **options,
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


class Refusing(LoraDropoutTrainer):
    """The last of several processes has no loss of a batch that is repeated."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        repeated = len(inputs["labels"]) > self.args.per_device_train_batch_size
        if repeated and self.args.process_index > 0:
            raise ValueError("too many rows")
        return super().compute_loss(model, inputs, *args, **kwargs)


def trained(folder, *, first=None, refusing=False, **settings):
    """Train, maybe after an evaluation or a prediction of examples without labels."""
    if refusing:
        settings["kind"] = Refusing
    made = trainer(folder, **settings)
    if first == "evaluate":
        made.evaluate()
    if first == "predict":
        rows = made.eval_dataset.rows
        made.predict([{key: row[key] for key in row if key != "labels"} for row in rows])
    made.train()
    return made


def main(folder, settings):
    logging.set_verbosity_error()
    for name, of_one in settings.items():
        _train(folder, name, of_one)
    leave_process_group()


def _train(folder, name, settings):
    made = trained(folder, **settings)
    if made.args.process_index == 0:
        total = sum(float(factor.sum()) for factor in factors(made).values())
        result = {"losses": losses(made), "sum": total}
        (Path(folder) / f"{name}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
