"""What an evaluation changes for its time, it changes back."""

from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from torch import nn
from transformers import Trainer, TrainingArguments

from lora_dropout.injection import masked_updates
from lora_dropout.peft import LoraDropoutConfig, LoraDropoutTrainer
from probes.finetuning.evaluation import (
    FinetuneTrainer,
    _all_in_order,
    _first,
    _plain_labels,
    dropping,
)


def test_masks_of_another_rate_end_with_their_block():
    torch.manual_seed(0)
    frozen = nn.Linear(40, 30)
    config = LoraDropoutConfig(r=2, target_modules=["0"], dropout_rate=0.0)
    model = get_peft_model(nn.Sequential(frozen), config)
    (layer,) = masked_updates(model)
    with torch.no_grad():
        layer.factors[1].fill_(1.0)
    x, before = torch.ones(1, 40), layer.shape
    plain = model.train()(x)
    with suppress(KeyError), dropping(model, 0.5):
        assert (layer.shape.p_in, layer.shape.p_out) == (0.5, 0.5)
        # Rows that are dropped have no update.
        kept = model(x) == frozen(x)
        assert 0 < int(kept.sum()) < 30
        raise KeyError
    assert layer.shape == before
    assert torch.equal(model(x), plain)


#: As some trainings have it: a last batch that is not full is dropped, and so on.
TRAINED = {
    "dataloader_drop_last": True, "dataloader_persistent_workers": True,
    "train_sampling_strategy": "group_by_length",
}  # fmt: skip
#: As every evaluation has it.
EVALUATED = {name: False for name in TRAINED} | {"train_sampling_strategy": "sequential"}


def of_loading(args):
    return {name: getattr(args, name) for name in TRAINED}


def test_the_rest_is_as_it_was_after_an_evaluation_that_fails():
    args = SimpleNamespace(**TRAINED)
    smoothed = {"label_smoother": "smooth", "model_accepts_loss_kwargs": True, "_checked": {"it"}}
    trainer = SimpleNamespace(**smoothed | {"_checked": {"it"}})
    with suppress(KeyError), _all_in_order(args), _plain_labels(trainer):
        assert (of_loading(args), trainer.label_smoother) == (EVALUATED, None)
        # What is found out of plain labels, as in a run that is evaluated before its first step.
        trainer._checked.add("items")
        trainer.model_accepts_loss_kwargs = False
        raise KeyError
    assert (of_loading(args), vars(trainer)) == (TRAINED, smoothed)


def test_every_set_is_its_own_whole_and_in_order(tmp_path):
    """Loaders as transformers' trainer makes them; a loader starts its workers where it is read."""
    settings = {"dataloader_num_workers": 1, "per_device_eval_batch_size": 2, "use_cpu": True}
    args = TrainingArguments(str(tmp_path), **settings, **TRAINED)
    trainer = Trainer(nn.Linear(1, 1), args)
    for size in (7, 5):
        examples = Dataset.from_dict({"input": [[1.0]] * size})
        with _all_in_order(args):
            loader = trainer.get_eval_dataloader(examples)
        batches = [[0, 1], [2, 3], [4, 5], [6]] if size == 7 else [[0, 1], [2, 3], [4]]
        assert list(loader.batch_sampler) == batches


def test_only_what_is_measured_is_kept_of_a_models_outputs():
    outputs = ("logits", "more", "hidden states")
    assert _first("logits", None, 1) == "logits"
    assert _first(outputs, None, 1) == "logits"
    assert _first(outputs, None, 2) == ("logits", "more")


ALONE = "at test alone, p = 0.4"


@pytest.fixture
def evaluator(monkeypatch):
    """A trainer after some of its 6 steps, of which every evaluation is noted down."""

    def make(modes, step=6, **settings):
        trainer = FinetuneTrainer.__new__(FinetuneTrainer)
        settings = {"drop_at_test": 0.0, "along": False, "beside": None, "seen": "seen"} | settings
        vars(trainer).update(
            settings, modes=modes, eval_dataset="held out", measure="scores", noted=[],
            label_smoother="smoother", model_accepts_loss_kwargs=True, _checked=set(),
            model=None, checkpoints=SimpleNamespace(),
            args=SimpleNamespace(**TRAINED, deepspeed=None, fsdp=[]),
            state=SimpleNamespace(global_step=step, max_steps=6, log_history=[]),
            control=SimpleNamespace(should_training_stop=False),
        )  # fmt: skip
        return trainer

    def note(trainer, examples, metric_key_prefix):
        assert (of_loading(trainer.args), trainer.label_smoother) == (EVALUATED, None)
        trainer.noted.append((examples, trainer.compute_metrics, trainer.ensemble, dropped[-1]))
        return {f"{metric_key_prefix}_loss": float(len(trainer.noted))}

    dropped = [0.0]

    class Dropping:
        def __init__(self, model, p):
            self.p = p

        def __enter__(self):
            dropped.append(self.p)

        def __exit__(self, *error):
            dropped.pop()

    monkeypatch.setattr(Trainer, "evaluate", note)
    monkeypatch.setattr("probes.finetuning.evaluation.dropping", Dropping)
    return make


def pairs(members, p=0.0):
    return [("held out", "scores", members, p), ("seen", None, members, p)]


def test_every_inference_has_its_masks_and_the_first_is_that_of_the_trainer(evaluator):
    trainer = evaluator({"no masks": 0, ALONE: 3}, drop_at_test=0.4)
    assert trainer.evaluate() == {
        "eval_no_masks_loss": 1, "eval_train_no_masks_loss": 2, "eval_loss": 1,
        "eval_at_test_alone,_p_=_0.4_loss": 3, "eval_train_at_test_alone,_p_=_0.4_loss": 4,
    }  # fmt: skip
    assert trainer.noted == [*pairs(0), *pairs(3, 0.4)]
    assert (of_loading(trainer.args), trainer.label_smoother) == (TRAINED, "smoother")


@pytest.mark.parametrize(("step", "along"), [(5, False), (5, True), (6, False), (7, True)])
def test_what_takes_long_is_left_to_the_end_unless_it_is_asked_for(step, along, evaluator):
    modes = {"expected weight": 0, "ensemble": 2}
    trainer = evaluator(modes, step, along=along, beside="beside")
    found = trainer.evaluate()
    expected = []
    for members in (0, 2) if along or step >= 6 else (0,):
        expected += pairs(members) + [("beside", "scores", members, 0.0)] * (step >= 6)
    assert trainer.noted == expected
    assert ("eval_beside_expected_weight_loss" in found) == (step >= 6)
    assert found["eval_loss"] == found["eval_expected_weight_loss"] == 1


@pytest.mark.parametrize("step", [5, 6])
def test_the_best_adapter_is_taken_after_the_last_was_evaluated_once(step, evaluator, monkeypatch):
    trainer, taken = evaluator({"no masks": 0}), []
    trainer.state.log_history = [{"step": 6}, {"step": step, "eval_no_masks_loss": 1.0}]
    trainer.state.best_model_checkpoint = "best"
    trainer.checkpoints.restore_adapter = lambda folder, model: taken.append(str(folder))
    trainer._load_best_model()
    assert (len(trainer.noted), taken) == (0 if step == 6 else 2, ["best"])
    trainer.state.best_model_checkpoint = None
    trainer._load_best_model()
    assert taken == ["best"]
    sharded = partial(taken.append, "sharded")
    monkeypatch.setattr(LoraDropoutTrainer, "_load_best_model", lambda trainer: sharded())
    for name in ("deepspeed", "fsdp"):
        setattr(trainer.args, name, "given")
        trainer._load_best_model()
        setattr(trainer.args, name, None)
    assert taken == ["best", "sharded", "sharded"]


@pytest.mark.parametrize("step", [5, 6, 7])
def test_no_step_is_taken_after_the_last(step, evaluator, monkeypatch):
    trainer, ran = evaluator({"no masks": 0}, step), []
    monkeypatch.setattr(Trainer, "_run_epoch", lambda trainer: ran.append(1))
    trainer._run_epoch()
    assert (bool(ran), trainer.control.should_training_stop) == (step < 6, step >= 6)
