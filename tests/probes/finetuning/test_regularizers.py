"""Methods of the small scale in a fine-tune: what each changes, and that the losses compare."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification

from probes.finetune import FinetuneSettings
from probes.finetuning.cell import FinetuneCell
from probes.finetuning.rank_schedule import RankSchedule
from probes.finetuning.regularizers import REGULARIZERS, drop_ranks, regularized
from probes.finetuning.task import Corpus
from probes.finetuning.training import adapt
from probes.training.rivals import RIVALS, Rival
from tests.probes.finetuning.corpora import write_texts
from tests.probes.finetuning.tuning import QUICK, tuned

CORPUS = Corpus(None, "text", "label", 16, None, None, 0)
CELL = FinetuneCell(
    "tweets", "", CORPUS, "model", False, None, "lora", 0.0, 1, False, False, 8, 16.0, (), 0, False,
    (("learning_rate", 0.01), ("num_train_epochs", 4)),
)  # fmt: skip


def changed(name, strength):
    return regularized(CELL, Rival(name, strength))


def test_every_regularizer_is_a_method_of_the_small_scale():
    assert REGULARIZERS.keys() <= RIVALS.keys()


@pytest.mark.parametrize("name", REGULARIZERS)
def test_strength_zero_trains_plain_lora(name):
    found = replace(changed(name, 0.0), regularizer="", samples=1, rescale=False, ensemble=0)
    training = {"weight_decay": 0.0, "label_smoothing_factor": 0.0} | dict(found.training)
    plain = {"weight_decay": 0.0, "label_smoothing_factor": 0.0} | dict(CELL.training)
    assert replace(found, training=()) == replace(CELL, training=())
    assert training == plain


def test_what_each_regularizer_changes():
    assert changed("LoRA Dropout, rescaled, N = 4", 0.2) == replace(
        CELL, p=0.2, samples=4, rescale=True,
        regularizer="LoRA Dropout, rescaled, N = 4", strength=0.2,
    )  # fmt: skip
    assert changed("LoRA Dropout, ensemble of 16", 0.2).ensemble == 16
    assert changed("PEFT lora_dropout", 0.2).lora_dropout == 0.2
    assert dict(changed("weight decay", 3.0).training)["weight_decay"] == 3.0
    assert dict(changed("label smoothing", 0.1).training)["label_smoothing_factor"] == 0.1
    smaller = changed("smaller rank", 0.75)
    assert (smaller.rank, smaller.alpha) == (2, 4.0)
    assert dict(changed("early stopping", 0.75).training)["num_train_epochs"] == 1.0
    steps = replace(CELL, training=(("max_steps", 10),))
    assert dict(regularized(steps, Rival("early stopping", 0.75)).training) == {"max_steps": 2}


@pytest.mark.parametrize(
    ("name", "strength", "given", "kept"),
    [("max_steps", 0.9, 100, 10), ("num_train_epochs", 0.7, 1, 0.3)],
)
def test_stopping_early_takes_no_step_more_or_less_by_rounding(name, strength, given, kept):
    """1 - 0.9 is a little less than 0.1, and 1 - 0.7 a little more than 0.3."""
    cell = replace(CELL, training=((name, given),))
    assert regularized(cell, Rival("early stopping", strength)).training == ((name, kept),)


def test_names_of_tables_and_of_kept_adapters_tell_regularizers_apart():
    assert changed("weight decay", 3.0).label == "lora, weight decay 3"
    assert changed("LoRA", 0.0).label == "lora, LoRA"
    assert CELL.label == "lora"
    assert changed("weight decay", 3.0).name == "tweets-lora-weight-decay-3-p0-N1-seed0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularizer": ("HiddenKey",)}, "regularizer must be one of LoRA; LoRA Dropout"),
        ({"strength": (0.1,)}, "strength must be left out where no regularizer is given"),
        ({"regularizer": ("LoRA",), "p": (0.5,)}, "p must be left out where a regularizer is"),
        ({"regularizer": ("DropLoRA",), "samples": 2}, "samples must be left out where a regulari"),
        (
            {"regularizer": ("label smoothing",), "strength": (1.5,)},
            r"strength of label smoothing must lie in \[0, 1\), got 1.5",
        ),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FinetuneSettings(task="tweets", n=16, **settings).cells()


def test_rank_dropout_falls_between_the_factors_in_training_alone():
    """With A = B = 1 an output is the number of entries of A x that are left, over 1 - p."""
    config = LoraConfig(r=400, lora_alpha=400, target_modules=["0"])
    model = get_peft_model(nn.Sequential(nn.Linear(1, 1, bias=False)), config)
    layer = model.get_submodule("base_model.model.0")
    for factor in (layer.base_layer, layer.lora_A["default"], layer.lora_B["default"]):
        nn.init.ones_(factor.weight)
    drop_ranks(model, 0.25)
    torch.manual_seed(0)
    with torch.no_grad():
        found = (model(torch.ones(50, 1)) - 1).flatten()
        assert len(found.unique()) > 1
        left = found * 0.75
        torch.testing.assert_close(left, left.round())
        # Five standard errors of 50 binomial counts: 6e-7.
        assert abs(float(left.mean()) - 300) < 5 * (400 * 0.25 * 0.75 / 50) ** 0.5
        assert model.eval()(torch.ones(1, 1)).item() == 401


def test_a_smaller_rank_than_1_is_refused():
    with pytest.raises(
        ValueError, match="rank must be at least 2 where the regularizer is smaller"
    ):
        regularized(replace(CELL, rank=1), Rival("smaller rank", 0.5))


@pytest.mark.parametrize(("init_rank", "alpha"), [(None, 16 * 2 / 12), (12, 16.0)])
def test_a_smaller_rank_keeps_the_factor_of_adalora_s_update_too(init_rank, alpha):
    """That is alpha over the rank at the start: 12, or 2 where 1 is left at the end."""
    cell = replace(CELL, method="adalora", ranks=RankSchedule(init_rank))
    smaller = regularized(cell, Rival("smaller rank", 0.875))
    assert (smaller.rank, smaller.alpha) == (1, pytest.approx(alpha))
    for one in (cell, smaller):
        start = one.ranks.of_training(one.rank, 100)["init_r"]
        assert one.alpha / start == pytest.approx(16 / 12)


@pytest.mark.parametrize(
    ("name", "strength", "cell", "said"),
    [
        ("smaller rank", 0.1, replace(CELL, rank=4), "leaves out a part of rank 4; got 0.1"),
        ("early stopping", 0.1, replace(CELL, training=(("max_steps", 4),)), "one of 4 steps; got"),
        ("early stopping", 0.5, replace(CELL, training=(("max_steps", 1),)), "one of 1 step; got"),
    ],
)
def test_a_strength_that_rounding_makes_plain_lora_is_refused(name, strength, cell, said):
    with pytest.raises(ValueError, match=said):
        regularized(cell, Rival(name, strength))
    assert regularized(cell, Rival(name, 0.0)).label == f"lora, {name}"


@pytest.mark.parametrize(("rank", "tried"), [(8, [4, 2, 1]), (4, [2, 1]), (2, [1])])
def test_no_rank_is_fine_tuned_twice(rank, tried):
    settings = FinetuneSettings(task="tweets", n=16, rank=rank, regularizer=("smaller rank",))
    assert [cell.rank for cell in settings.cells()] == tried


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "squad"}, "left out for squad, whose labels are places in a text"),
        ({"task": "squad_v2"}, "left out for squad_v2, whose labels are places in a text"),
        ({"task": "glue/stsb"}, "left out for glue/stsb, whose labels are numbers"),
        ({"task": "mine.csv", "regression": True}, "whose labels are numbers"),
    ],
)
def test_labels_that_are_no_classes_are_not_smoothed(settings, said, tmp_path, monkeypatch):
    """Places of answers would be trained on as they are: plain LoRA under another name."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "mine.csv")
    (tmp_path / "config.json").write_text("{}")
    known = settings | {"n": 16, "model": str(tmp_path)}
    asked = FinetuneSettings(**known, regularizer=("LoRA", "label smoothing"))
    with pytest.raises(ValueError, match=f"^regularizer must be .*{said}; got label smoothing"):
        asked.cells()
    given = replace(asked, regularizer=(), training={"label_smoothing_factor": 0.1})
    with pytest.raises(ValueError, match=f"^label_smoothing_factor must be .*{said}; got 0.1"):
        given.cells()
    assert replace(given, training={"label_smoothing_factor": 0.0}).cells()


def test_rank_dropout_needs_lora():
    with pytest.raises(ValueError, match="method must be lora where the regularizer is DropLoRA"):
        regularized(replace(CELL, method="adalora"), Rival("DropLoRA", 0.2))


@pytest.mark.slow
def test_dropout_of_peft_and_rescaled_masks_reach_the_adapter(models):
    task = SimpleNamespace(peft_type="SEQ_CLS")
    for cell, rate, rescale in (
        (changed("PEFT lora_dropout", 0.2), 0.2, False),
        (changed("LoRA Dropout, rescaled", 0.2), 0.0, True),
    ):
        model = AutoModelForSequenceClassification.from_pretrained(models["classifier"])
        config = adapt(model, cell, task, 10).peft_config["default"]
        assert (config.lora_dropout, config.rescale) == (rate, rescale)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LoRA", "LoRA Dropout", "PEFT lora_dropout", "DropLoRA"])
def test_what_drops_by_chance_does_so_in_training(name, models):
    """Where B is not 0, the outputs are others than in prediction, but for plain LoRA's."""
    model = AutoModelForSequenceClassification.from_pretrained(
        models["classifier"], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    strength = 0.0 if name == "LoRA" else 0.5
    model = adapt(model, changed(name, strength), SimpleNamespace(peft_type="SEQ_CLS"), 10)
    for parameter, value in model.named_parameters():
        if "lora_B" in parameter:
            nn.init.normal_(value)
    inputs = {"input_ids": torch.arange(1, 9).unsqueeze(0)}
    training, prediction = (model.train(mode)(**inputs).logits for mode in (True, False))
    assert torch.equal(training, prediction) == (name == "LoRA")


@pytest.mark.slow
def test_regularizers_are_compared_by_the_loss_of_plain_labels(models, tmp_path):
    """At a learning rate of 0 all end where they began, smoothed labels or not."""
    file = write_texts(tmp_path / "mine.csv")
    result = tuned(
        file, models["classifier"], n=16, text_column="review", label_column="liked",
        regularizer=("LoRA", "label smoothing"),
        strength=(0.5,), training=QUICK | {"learning_rate": 0.0},
    )  # fmt: skip
    summary = result.summary.set_index("method")
    assert list(summary.index) == ["lora, LoRA", "lora, label smoothing 0.5"]
    np.testing.assert_array_equal(summary["test_loss"].iloc[0], summary["test_loss"].iloc[1])
    assert "label smoothing 0.5" in str(result)


@pytest.mark.slow
def test_what_changes_the_adapter_trains_to_a_loss_of_its_own(models, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    asked = ("LoRA", "LoRA Dropout", "PEFT lora_dropout", "DropLoRA", "smaller rank")
    rows = tuned(
        file, models["classifier"], n=16, text_column="review", label_column="liked",
        regularizer=asked, strength=(0.5,), training=QUICK | {"learning_rate": 0.01},
    ).rows  # fmt: skip
    losses = rows.groupby("regularizer", sort=False)["test_loss"].last()
    assert list(losses.index) == list(asked)
    assert losses.nunique() == len(losses)
