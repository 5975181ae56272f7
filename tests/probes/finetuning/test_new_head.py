"""What a model adds to its pretrained network is trained whole, whatever it is called."""

from types import SimpleNamespace

import pytest
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BigBirdConfig,
    BigBirdForQuestionAnswering,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    ModernBertConfig,
    ModernBertForQuestionAnswering,
    T5Config,
    T5ForQuestionAnswering,
)

from probes.finetuning.rank_schedule import RankSchedule
from probes.finetuning.training import adapt

SIZES = {
    "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 24, "pad_token_id": 0,
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
    trained = trained_whole(model(config(**SIZES)), "SEQ_CLS", method, target)
    assert trained == head


@pytest.mark.parametrize(
    ("model", "config", "head"),
    [
        (ModernBertForQuestionAnswering, ModernBertConfig, {"head", "classifier"}),
        (BigBirdForQuestionAnswering, BigBirdConfig, {"qa_classifier"}),
        (BertForQuestionAnswering, BertConfig, {"qa_outputs"}),
    ],
)
def test_so_is_what_answers_questions(model, config, head):
    made = model(config(**SIZES))
    assert trained_whole(made, "QUESTION_ANS", "lora", ("all-linear",)) == head


@pytest.mark.parametrize("target", [("q", "v"), ("all-linear",)])
def test_of_a_network_without_a_name_of_its_own_the_answers_alone_are_trained_whole(target):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    made = T5ForQuestionAnswering(T5Config(vocab_size=20, decoder_start_token_id=0, **sizes))
    assert trained_whole(made, "QUESTION_ANS", "lora", target) == {"qa_outputs"}


def trained_whole(model, kind, method, target):
    """Names of the parts without adapters in which everything is trained."""
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
    adapted = adapt(model, cell, SimpleNamespace(peft_type=kind), steps=20)
    trained = {name for name, one in adapted.named_parameters() if one.requires_grad}
    whole = {name.split(".")[2] for name in trained if "lora_" not in name}
    assert not any(f".{part}." in name for name in trained for part in whole if "lora_" in name)
    return whole
