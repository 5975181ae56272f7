"""The page on trainers: every block is short, runs as it stands, and does what the page says."""

import ast
import re
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import PeftModel, get_peft_model
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from lora_dropout import mask_schedule
from lora_dropout.injection import adapted_layers
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.models import llama
from tests.lora_dropout.peft.training import Rows
from tests.lora_dropout.peft.trl_trainers import TARGETS, reward_model, rows, tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "trainers.md"
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def blocks(section):
    return BLOCK.findall(SECTIONS[section])


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the page says that there is, and what comes first."""
    monkeypatch.setenv("CI", "1")
    torch.manual_seed(0)
    known = {
        "folder": str(tmp_path), "model": llama(), "loader": DataLoader(Rows("llama"), 8),
    }  # fmt: skip
    exec(BLOCK.findall(PAGE.read_text())[0], known)
    return known


def run(block, names):
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def values(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value)


def test_every_block_has_ten_statements_at_most():
    found = [block for section in SECTIONS for block in blocks(section)]
    assert len(found) == 9
    for block in found:
        assert sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(block))) <= 10


def test_a_plain_loop_goes_on_where_it_ended(names):
    first, again = blocks("A plain loop")
    run(first, names)
    kept, loader = names["model"], names["loader"]
    names |= {"PeftModel": PeftModel, "model": llama()}
    run(again, names)
    found = names["model"]
    assert mask_schedule(found).step == mask_schedule(kept).step == 2
    for one in (kept.train(), found.train()):
        loss = one(**next(iter(loader))).loss
        assert float(loss.detach()) == pytest.approx(
            float(kept(**next(iter(loader))).loss.detach())
        )
    assert_equal(values(kept), values(found))


def test_the_trainer_of_transformers(names):
    arguments = TrainingArguments(
        names["folder"], num_train_epochs=1, use_cpu=True, report_to=[], disable_tqdm=True,
        save_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    (block,) = blocks("Trainer of transformers")
    trainer = run(block, names | {"rows": Rows("llama"), "arguments": arguments})["trainer"]
    assert mask_schedule(trainer.model).step == trainer.state.global_step == 2
    assert "eval_loss" in trainer.state.log_history[-1]


KINDS = {
    "SFT": (SFTTrainer, SFTConfig), "DPO": (DPOTrainer, DPOConfig),
    "Reward": (RewardTrainer, RewardConfig),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_trl(kind, names):
    block = next(one for one in blocks("TRL: SFT, DPO, Reward") if f"class {kind}(" in one)
    block = block.replace("max_steps=2", "max_steps=2, use_cpu=True, bf16=False, disable_tqdm=True")
    base, config = KINDS[kind]
    known = {one.__name__: one for one in (base, config)} | {
        "rows": rows(SFTTrainer), "pairs": rows(DPOTrainer), "tokenizer": tokenizer(),
        "reward_model": reward_model(),
        "reward_adapter": LoraDropoutConfig(
            r=8, target_modules=TARGETS, task_type="SEQ_CLS", dropout_rate=0.5
        ),
    }  # fmt: skip
    trainer = run(block, names | known)["trainer"]
    assert mask_schedule(trainer.model).step == trainer.state.global_step == 2
    assert trainer.samples == 4
    assert trainer.grouped == (kind == "SFT")


@pytest.mark.parametrize("name", ["Module", "Samples"])
def test_lightning_holds_the_masks_within_a_step_and_resumes(name, names, tmp_path):
    pl = pytest.importorskip("pytorch_lightning")
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False,
             "enable_model_summary": False, "enable_checkpointing": False}  # fmt: skip
    if name == "Module":
        quiet["accumulate_grad_batches"] = 2
    names["loader"] = DataLoader(Rows("llama"), 4 if name == "Module" else 8)

    def fit(epochs, resume=None):
        """Two steps an epoch, after which Lightning can resume any loader."""
        torch.manual_seed(0)
        module = run("\n".join(blocks("Lightning")), names | {"pl": pl, "model": llama()})[name]()
        seen = []
        layer = adapted_layers(module.model)[0][1]
        module.model.register_forward_pre_hook(
            lambda *_: seen.append((module.global_step, tuple(layer.mask_in.tolist())))
        )
        trainer = pl.Trainer(max_epochs=epochs, **quiet)
        trainer.fit(module, names["loader"], ckpt_path=resume)
        return trainer, module, seen

    whole, expected, seen = fit(2)
    broken, _, _ = fit(1)
    broken.save_checkpoint(tmp_path / "kept.ckpt")
    _, found, after = fit(2, tmp_path / "kept.ckpt")
    assert whole.global_step == 4
    assert_equal(values(expected), values(found))
    assert after == [one for one in seen if one[0] >= 2]
    a_step = {step: {mask for at, mask in seen if at == step} for step in range(4)}
    assert {len(masks) for masks in a_step.values()} == {1 if name == "Module" else 4}
    assert len(set().union(*a_step.values())) == sum(len(masks) for masks in a_step.values())


def test_accelerate_goes_on_from_its_checkpoint(names, tmp_path):
    (block,) = blocks("Accelerate")
    names["loader"] = DataLoader(Rows("llama"), 4)
    start = block.partition("for batch")[0]

    def prepared(code):
        AcceleratorState._reset_state(True)
        torch.manual_seed(0)
        model = get_peft_model(llama(), names["adapter"])
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        more = {"Accelerator": lambda **kwargs: Accelerator(cpu=True, **kwargs)}
        return run(code, names | more | {"model": model, "optimizer": optimizer})

    kept, found = prepared(block), prepared(start)
    assert mask_schedule(kept["model"]).step == 2
    found["accelerator"].load_state(names["folder"])
    assert mask_schedule(found["model"]).step == 2
    assert_equal(values(kept["model"]), values(found["model"]))
    batch = next(iter(kept["loader"]))
    with torch.no_grad():
        losses = [float(one["model"].train()(**batch).loss) for one in (kept, found)]
    assert losses[0] == losses[1]
    AcceleratorState._reset_state(True)
