"""A language model that reads the answer is refused."""

import pytest
from transformers import BertConfig, BertLMHeadModel, GPT2Config, GPT2LMHeadModel

from probes.models.causal import check_causal

SIZES = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
         "intermediate_size": 8}  # fmt: skip


def test_a_decoder_is_causal_and_an_encoder_is_not():
    check_causal(GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1)))
    check_causal(BertLMHeadModel(BertConfig(**SIZES, is_decoder=True)))
    model = BertLMHeadModel(BertConfig(**SIZES)).train()
    with pytest.raises(ValueError, match="must be a causal language model; BertLMHeadModel reads"):
        check_causal(model)
    assert model.training
