"""TRL's trainers: masks, N samples, resuming, ensembles, and the reference of preferences."""

import copy
import importlib
import logging
import re
from pathlib import Path

import pytest
import torch
import trl
from peft import get_peft_model
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import Trainer, set_seed
from trl import GRPOConfig, GRPOTrainer, SFTTrainer
from trl.trainer.utils import add_fused_lm_head

from lora_dropout import mask_schedule, members
from lora_dropout.injection import adapted_layers
from lora_dropout.peft import LoraDropoutTrainerMixin, MaskCallback
from lora_dropout.peft.adalora import regularizer
from lora_dropout.peft.averaging import averaging
from tests.lora_dropout.peft.models import CONFIGS, batch, llama, lora, randomize
from tests.lora_dropout.peft.training import factors, losses
from tests.lora_dropout.peft.trl_trainers import (
    DPO,
    SFT,
    TARGETS,
    Reward,
    batch_of,
    rows,
    tokenizer,
    trainer,
)

pytestmark = [
    pytest.mark.slow,
    # TRL 1.16 asks transformers 5.23 by older names, and says what it will drop itself.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

KINDS = [SFT, DPO, Reward]
TWO = {"samples": 2}.items()
#: Relative; sums in float32, taken in another order.
ROUNDING = 2e-5


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch):
    """TRL tells its makers where it was used, but for CI."""
    monkeypatch.setenv("CI", "1")


def trained(*args, **settings):
    made = trainer(*args, **settings)
    made.train()
    return made


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def straight(request, tmp_path_factory):
    """Four steps of two samples, with TRL's own order of rows, optimizer and checkpointing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CI", "1")
        return trained(request.param, tmp_path_factory.mktemp("straight"), options=TWO)


def assert_same(one, other):
    assert losses(one) == pytest.approx(losses(other), rel=ROUNDING)
    for key, value in factors(one).items():
        torch.testing.assert_close(value, factors(other)[key], rtol=1e-3, atol=ROUNDING)


class KilledError(Exception):
    """In place of the end of a process."""


def killed(made, step):
    """Train until a step begins."""

    def end(args, state, *rest, **kwargs):
        if state.global_step == step:
            raise KilledError

    callback = MaskCallback()
    callback.on_step_begin = end
    made.add_callback(callback)
    with pytest.raises(KilledError):
        made.train()


def test_a_run_that_was_killed_goes_on_to_the_same_losses(straight, tmp_path):
    """It is killed in its fourth step, and has kept its second."""
    kept = {"save_strategy": "steps", "save_steps": 2}
    killed(trainer(type(straight), tmp_path, options=TWO, **kept), step=3)
    resumed = trainer(type(straight), tmp_path, options=TWO)
    resumed.train(resume_from_checkpoint=True)
    assert mask_schedule(resumed.model).step == 4
    assert_same(straight, resumed)


def test_a_batch_that_cannot_be_repeated_takes_passes(tmp_path, caplog):
    """Pairs lie one after the other, and what they are compared with is half as long."""
    known = {"precompute_ref_log_probs": True, "max_steps": 1, "per_device_train_batch_size": 2}
    grouped = {"samples": 2, "grouped": True}.items()
    with caplog.at_level(logging.WARNING):
        made = trained(DPO, tmp_path / "grouped", options=grouped, **known)
    assert "2 passes are taken in place of a grouped one: a repeated batch is none" in caplog.text
    assert_same(made, trained(DPO, tmp_path / "passes", options=TWO, **known))


def test_a_callback_is_enough_to_resume_trls_own_trainer(tmp_path):
    kept = {"save_strategy": "steps", "save_steps": 2}
    whole = trained(SFTTrainer, tmp_path / "whole")
    killed(trainer(SFTTrainer, tmp_path / "broken", **kept), step=3)
    with_masks = {"callbacks": [MaskCallback()]}.items()
    resumed = trainer(SFTTrainer, tmp_path / "broken", options=with_masks)
    resumed.train(resume_from_checkpoint=True)
    assert_same(whole, resumed)


def test_parts_of_a_batch_and_recomputed_layers_see_the_masks_of_the_step(straight, tmp_path):
    """TRL recomputes activations unless it is told not to."""
    parts = trainer(
        type(straight), tmp_path, options=TWO, per_device_train_batch_size=2,
        gradient_accumulation_steps=4, gradient_checkpointing=False,
    )  # fmt: skip
    seen = {}
    (_, layer), *_ = adapted_layers(parts.model)

    def note(*_):
        if layer.in_use and torch.is_grad_enabled():
            seen.setdefault(parts.state.global_step, []).append(tuple(layer.mask_in.tolist()))

    parts.model.register_forward_pre_hook(note)
    parts.train()
    assert straight.args.gradient_checkpointing
    assert_same(straight, parts)
    assert {len(masks) for masks in seen.values()} >= {8}
    assert [len(set(masks)) for masks in seen.values()] == [2] * 4
    assert len({mask for masks in seen.values() for mask in masks}) == 8


def test_samples_are_one_group_but_for_pairs(straight, tmp_path, caplog):
    """Rows of pairs see each other, which is said once."""
    caplog.set_level(logging.WARNING, "lora_dropout")
    grouped = trained(type(straight), tmp_path, options={"samples": 2, "grouped": True}.items())
    assert_same(straight, grouped)
    said = caplog.text.count("2 passes are taken in place of a grouped one: rows of a batch")
    assert (said, grouped.grouped) == ((0, True) if isinstance(grouped, SFT) else (1, False))


def test_tokens_are_counted_once(straight):
    """Not once a sample; two steps are an epoch."""
    counted = [entry["num_tokens"] for entry in straight.state.log_history if "loss" in entry]
    batch = batch_of(straight, 16)
    assert counted[1] == int(batch["attention_mask"].sum())
    assert counted[3] == 2 * counted[1]


def averaged_logits(made, batch, count):
    known = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return sum(made.model(**known).logits for _ in members(made.model, count)) / count


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_ensemble_is_evaluated_by_averaged_logits(smoothing, tmp_path):
    made = trainer(SFT, tmp_path, options={"ensemble": 3}.items(),
                   label_smoothing_factor=smoothing, per_device_eval_batch_size=16)  # fmt: skip
    found = made.evaluate()
    batch = batch_of(made, 16)
    logits, labels = averaged_logits(made, batch, 3)[:, :-1], batch["labels"][:, 1:]
    counted = labels != -100
    expected = cross_entropy(logits[counted], labels[counted], label_smoothing=smoothing)
    assert found["eval_loss"] == pytest.approx(float(expected), rel=1e-5)
    right = (logits.argmax(-1) == labels)[counted].float().mean()
    assert found["eval_mean_token_accuracy"] == pytest.approx(float(right))
    entropy = torch.distributions.Categorical(logits=logits[counted]).entropy().mean()
    assert found["eval_entropy"] == pytest.approx(float(entropy), rel=1e-5)


def log_probs(logits, batch):
    """Of the answers, a number a row."""
    words = batch["input_ids"][:, 1:]
    every = logits[:, :-1].log_softmax(-1).gather(-1, words.unsqueeze(-1)).squeeze(-1)
    return (every * batch["completion_mask"][:, 1:]).sum(1)


def test_the_ensemble_of_a_policy_is_compared_with_the_frozen_model(tmp_path):
    made = trainer(DPO, tmp_path, options={"ensemble": 3}.items(), per_device_eval_batch_size=16)
    found = made.evaluate()["eval_loss"]
    batch = batch_of(made, 16)
    with torch.no_grad(), made.model.disable_adapter():
        frozen = made.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    ratio = log_probs(averaged_logits(made, batch, 3), batch) - log_probs(frozen.logits, batch)
    better, worse = ratio.chunk(2)
    expected = -logsigmoid(made.beta * (better - worse)).mean()
    assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("inner", [False, True])
def test_the_ensemble_has_the_temperature_of_the_trainer(inner):
    """TRL's trainers that generate give it to the model, and divide its logits by it."""
    base, inputs = llama(), batch(causal=True)
    add_fused_lm_head(base, temperature=0.5, outputs=("log_probs", "entropy"))
    model = randomize(get_peft_model(base, lora(TARGETS, "CAUSAL_LM", p=0.5))).eval()
    called = base if inner else model
    with torch.no_grad():
        with averaging(called, model, 1):
            found = called(**inputs, fused_lm_head=True)
        for _ in members(model, 1):
            expected = called(**inputs, fused_lm_head=True)
    torch.testing.assert_close(found.log_probs, expected.log_probs)
    torch.testing.assert_close(found.entropy, expected.entropy)


def test_the_ensemble_of_rewards_is_evaluated(tmp_path):
    made = trainer(Reward, tmp_path, options={"ensemble": 3}.items(), per_device_eval_batch_size=16)
    found = made.evaluate()["eval_loss"]
    better, worse = averaged_logits(made, batch_of(made, 16), 3).squeeze(-1).chunk(2)
    assert found == pytest.approx(float(-logsigmoid(better - worse).mean()), rel=1e-5)


def test_an_evaluation_is_of_its_own_rows_alone(tmp_path):
    """What the trainer finds out of its first batch is no part of what evaluation logs."""
    made = trained(
        SFT, tmp_path, max_steps=1, gradient_accumulation_steps=2, eval_strategy="steps",
        eval_steps=1, per_device_train_batch_size=4,
    )  # fmt: skip
    (told,) = [entry for entry in made.state.log_history if "eval_loss" in entry]
    again = made.evaluate()
    for name in ("eval_entropy", "eval_mean_token_accuracy"):
        assert told[name] == pytest.approx(again[name], rel=1e-6)


@pytest.mark.parametrize("before", [False, True], ids=["in a step", "before training"])
def test_the_reference_of_a_trained_adapter_has_no_masks(before, tmp_path):
    """TRL copies the adapter, and asks the copy in the middle of a training step."""
    model = randomize(get_peft_model(llama(), lora(TARGETS, "CAUSAL_LM", p=0.5))).train()
    with torch.no_grad():
        still = copy.deepcopy(model).eval()
    made = trainer(DPO, tmp_path, model=model, precompute_ref_log_probs=before)
    batch = batch_of(made)
    known = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        found = float(made.compute_loss(model.train(), dict(batch)))
        reference = log_probs(still(**known).logits, batch)
        policy = log_probs(model(**known).logits, batch)
    better, worse = (policy - reference).chunk(2)
    assert (policy - reference).abs().min() > 0.01
    assert found == pytest.approx(float(-logsigmoid(made.beta * (better - worse)).mean()), rel=1e-5)


def test_adalora_keeps_its_regularizer_where_the_loss_is_the_trainers(tmp_path):
    """However a batch is split; PEFT adds it to a loss that TRL leaves alone."""
    settings = {"config": "adalora", "options": TWO, "max_steps": 2}
    whole, without = trainer(SFT, tmp_path, **settings), trainer(SFT, tmp_path, **settings)
    without.model.peft_config["default"].orth_reg_weight = 0.0
    expected = float(regularizer(whole.model).detach())
    whole.train()
    without.train()
    assert losses(whole)[0] - losses(without)[0] == pytest.approx(expected, rel=1e-3)
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert_same(whole, trained(SFT, tmp_path, **parts, **settings))


@pytest.mark.parametrize(
    "name", ["GRPOTrainer", "RLOOTrainer", "experimental.sdft.SDFTTrainer",
             "experimental.gold.GOLDTrainer", "experimental.gmpo.GMPOTrainer"],
)  # fmt: skip
def test_a_step_that_draws_its_own_data_takes_one_sample(name):
    module, _, kind = f"trl.{name}".rpartition(".")
    theirs = getattr(importlib.import_module(module), kind)
    ours = type("Ours", (LoraDropoutTrainerMixin, theirs), {})
    with pytest.raises(ValueError, match="samples must be 1 in Ours, whose every pass draws data"):
        ours(samples=2)


def test_no_trainer_counts_under_a_name_of_the_mixin():
    """GRPO and its kin have a number ``_step``, which took the place of a method."""
    ours = {*vars(LoraDropoutTrainerMixin), *LoraDropoutTrainerMixin.__init__.__code__.co_names}
    own = {name for name in ours if name.startswith("_") and not hasattr(Trainer, name)}
    files = [*Path(trl.__file__).parent.rglob("*_trainer.py")]
    theirs = {
        name
        for file in files
        for name in re.findall(r"(?:self\.|def )(_\w+)(?:\(|: [^=\n]+ =| \+?=) ?", file.read_text())
    }
    assert len(files) > 5
    assert {"_step", "_metrics"} <= theirs
    assert own & theirs == set()


class GRPO(LoraDropoutTrainerMixin, GRPOTrainer):
    """Group relative policy optimization."""


def varied(completions, **kwargs):
    return [float(len(set(text.split()))) for text in completions]


@pytest.mark.parametrize("config", ["lora", "adalora"])
def test_a_trainer_that_draws_its_own_data_trains_and_evaluates_an_ensemble(config, tmp_path):
    settings = GRPOConfig(
        str(tmp_path), per_device_train_batch_size=2, per_device_eval_batch_size=2, max_steps=1,
        num_generations=2, max_completion_length=3, beta=0.1, eval_strategy="steps", eval_steps=1,
        report_to=[], save_strategy="no", use_cpu=True, bf16=False, disable_tqdm=True,
    )  # fmt: skip
    data = rows(DPO, 2).select_columns("prompt")
    made = {
        size: GRPO(
            model=llama(), reward_funcs=varied, args=copy.deepcopy(settings), train_dataset=data,
            eval_dataset=data, processing_class=tokenizer(), ensemble=size,
            peft_config=CONFIGS[config](TARGETS, "CAUSAL_LM", p=0.4),
        )
        for size in (0, 2)
    }  # fmt: skip
    for one in made.values():
        set_seed(0)
        randomize(one.model)
        one.train()
        assert mask_schedule(one.model).step == 1
    # An ensemble that is only evaluated draws no data of the training's.
    assert losses(made[0]) == losses(made[2])
    for name, factor in factors(made[0]).items():
        assert torch.equal(factor, factors(made[2])[name])
