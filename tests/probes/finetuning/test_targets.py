"""The layers that a user names: each is there, and a rank above one of them is said."""

import pytest
from peft import LoraConfig, get_peft_model
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
)

from probes.finetuning.targets import check_targets, no_target, say_ranks

SIZES = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
         "intermediate_size": 6}  # fmt: skip


def adapted(*targets):
    model = BertForSequenceClassification(BertConfig(**SIZES))
    return get_peft_model(model, LoraConfig(r=2, target_modules=list(targets)))


@pytest.mark.parametrize(
    "asked", [(), ("query",), ("query", "value"), ("bert.encoder.layer.0.attention.self.query",)]
)
def test_targets_that_are_there_are_fine(asked):
    check_targets(adapted("query", "value"), asked)
    check_targets(adapted("query", "value"), ("all-linear",))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("query", "valeu"), r"\(query, key, value, dense\); got valeu, did you mean value\?"),
        (("all-linear", "query"), "must be all-linear alone, .* got all-linear"),
    ],
)
def test_a_target_beside_others_that_is_not_there_is_named(asked, message):
    with pytest.raises(ValueError, match=message):
        check_targets(adapted("query"), asked)


def test_layers_of_a_model_without_nn_linear_are_named():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
    assert "(c_attn, c_proj, c_fc)" in str(no_target(model, "foo"))


@pytest.mark.parametrize("asked", ["all-linear", ["out_proj"]])
def test_why_peft_cannot_adapt_layers_that_are_there_is_said(asked):
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "state_size": 2}
    model = MambaForCausalLM(MambaConfig(**sizes))
    with pytest.raises(ValueError, match="incompatible") as caught:
        get_peft_model(model, LoraConfig(r=2, target_modules=asked, task_type="CAUSAL_LM"))
    said = str(no_target(model, asked, caught.value))
    named = asked if isinstance(asked, str) else asked[0]
    assert said.startswith(f"target {named} does not fit this model: Module 'out_proj' is incomp")
    assert "must be all-linear" in str(no_target(model, ["outproj"], caught.value))


def test_a_rank_above_the_smaller_side_of_a_layer_is_said(capsys):
    model = adapted("query", "dense")
    say_ranks(model, 6)
    assert capsys.readouterr().err == ""
    say_ranks(model, 7)
    assert "rank 7 is above the smaller side of layers: it is at most 6 in dense\n" in (
        capsys.readouterr().err
    )
