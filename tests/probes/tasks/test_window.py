"""How many tokens a model takes: one more than that, and its forward pass fails."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BatchEncoding,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    LlamaConfig,
    RobertaConfig,
)

from probes.tasks.window import (
    check_texts_kept,
    check_tokens_known,
    check_vocabulary,
    positions,
    which_are_cut,
    which_are_lost,
    window,
)

SIZES = {
    "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
    "intermediate_size": 8, "max_position_embeddings": 12, "pad_token_id": 1,
}  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), [(BertConfig, 12), (RobertaConfig, 10)])
def test_a_text_as_long_as_the_positions_is_read_and_no_longer_one(config, expected):
    made = config(**SIZES)
    model = AutoModel.from_config(made)
    assert positions(made) == expected
    model(input_ids=torch.full((1, expected), 2))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, expected + 1), 2))


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        DebertaV2Config(**SIZES, position_biased_input=False, relative_attention=True,
                        pos_att_type=["p2c", "c2p"]),
    ],
)  # fmt: skip
def test_positions_that_are_computed_end_nowhere(config):
    assert positions(config) is None
    AutoModel.from_config(config)(input_ids=torch.full((1, 20), 2))


def test_the_default_is_cut_to_the_model_and_a_wish_is_refused():
    config = BertConfig(**SIZES)
    assert window(None, 48, config) == 12
    assert window(5, 48, config) == 5
    assert window(12, 48, config) == 12
    assert window(300, 48, LlamaConfig(**SIZES)) == 300
    assert window(None, 48, LlamaConfig(**SIZES)) == 48
    with pytest.raises(ValueError, match=r"tokens must be at most 12, .* got 13"):
        window(13, 48, config)


def test_a_tokenizer_with_tokens_of_its_own_is_refused():
    model = AutoModel.from_config(BertConfig(**SIZES))
    check_vocabulary(8, model)
    with pytest.raises(ValueError, match="embeddings of 9 tokens, and its tokenizer makes token 9"):
        check_vocabulary(9, model)


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n[PAD]\na\nb\n")
    return BertTokenizer(str(tmp_path / "vocab.txt"))


def test_texts_that_a_tokenizer_does_not_know_are_refused_and_some_are_said(tokenizer, capsys):
    known = tokenizer("a b a")["input_ids"]
    check_tokens_known(np.array(known), tokenizer)
    assert capsys.readouterr().err == ""
    check_tokens_known(np.array([*known, *tokenizer("x")["input_ids"]]), tokenizer)
    assert capsys.readouterr().err == "tokens that the tokenizer does not know: 25%\n"
    with pytest.raises(ValueError, match="must have a tokenizer that knows the texts"):
        check_tokens_known(np.array(tokenizer("x y")["input_ids"]), tokenizer)


def test_texts_of_which_nothing_is_kept_are_refused_and_some_are_said(tokenizer, capsys):
    kept, nothing = tokenizer("a x")["input_ids"], tokenizer("\u0301\x01")["input_ids"]
    assert which_are_lost([kept, nothing], tokenizer) == [False, True]
    check_texts_kept(which_are_lost([kept, [*kept, tokenizer.pad_token_id]], tokenizer))
    assert capsys.readouterr().err == ""
    check_texts_kept([False, True], "held-out: ")
    said = "held-out: texts of which the tokenizer keeps nothing: 1 of 2\n"
    assert capsys.readouterr().err == said
    with pytest.raises(ValueError, match="its tokenizer keeps nothing of any"):
        check_texts_kept([True, True])


def test_a_text_is_cut_where_it_has_more_tokens_than_are_read(tokenizer):
    coded = tokenizer(["a b", "a b a"], truncation=True, max_length=4)
    assert which_are_cut(coded, 4) == [False, True]
    # A tokenizer without the fast kind's encodings says no more than that the window is full.
    slow = BatchEncoding({"input_ids": coded["input_ids"]})
    assert which_are_cut(slow, 4) == [True, True]
