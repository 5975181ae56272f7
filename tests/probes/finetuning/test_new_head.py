"""What a classifier adds to its pretrained network is trained whole, whatever it is called."""

from types import SimpleNamespace

import pytest
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
)

from probes.finetuning.rank_schedule import RankSchedule
from probes.finetuning.training import adapt

SIZES = {
    "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 24,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "config", "head"),
    [
        (DebertaV2ForSequenceClassification, DebertaV2Config, {"pooler", "classifier"}),
        # BERT's pooler is in its checkpoints.
        (BertForSequenceClassification, BertConfig, {"classifier"}),
    ],
)
@pytest.mark.parametrize("method", ["lora", "adalora"])
@pytest.mark.parametrize("target", [("all-linear",), ("dense",)])
def test_all_of_the_new_head_is_trained_and_no_adapter_is_put_into_it(
    model, config, head, method, target
):
    cell = SimpleNamespace(
        alpha=4.0,
        p=0.5,
        corpus=SimpleNamespace(seed=0),
        target=target,
        method=method,
        rank=2,
        rescale=False,
        lora_dropout=0.0,
        rank_dropout=0.0,
        ranks=RankSchedule(),
    )
    adapted = adapt(model(config(**SIZES)), cell, SimpleNamespace(peft_type="SEQ_CLS"), steps=20)
    trained = {name for name, one in adapted.named_parameters() if one.requires_grad}
    whole = {name.split(".")[2] for name in trained if "lora_" not in name}
    assert whole == head
    assert not any(f".{part}." in name for name in trained for part in head if "lora_" in name)
