"""A token for padding, and what the model knows of it."""

from types import SimpleNamespace

import pytest
import torch
from transformers import BertTokenizer, GPT2Config, GPT2ForSequenceClassification

from probes.finetuning.padding import set_padding, tell_padding


@pytest.fixture
def tokenizer(tmp_path):
    def make(**options):
        (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
        made = BertTokenizer(str(tmp_path / "vocab.txt"), **options)
        made.pad_token = None
        return made

    return make


def test_the_end_of_a_text_is_taken_where_nothing_is_said(tokenizer):
    made = tokenizer(eos_token="[SEP]")
    set_padding(made, None)
    assert made.pad_token == "[SEP]"
    set_padding(made, "a")
    assert made.pad_token_id == made.get_vocab()["a"]
    set_padding(made, None)
    assert made.pad_token == "a"


@pytest.mark.parametrize(
    ("token", "message"),
    [("<pad>", "must be a token of the model's vocabulary; got '<pad>'"), (None, "must be given")],
)
def test_a_token_that_is_not_there_is_refused(token, message, tokenizer):
    with pytest.raises(ValueError, match=f"pad_token {message}"):
        set_padding(tokenizer(), token)


def test_the_model_reads_the_last_token_that_is_not_padding():
    """A config with another token for padding, silently, reads the class off the padding."""
    config = GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1, pad_token_id=0,
                        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)  # fmt: skip
    model = GPT2ForSequenceClassification(config).eval()
    tell_padding(model, SimpleNamespace(pad_token_id=8))
    text = torch.tensor([[3, 4, 5]])
    padded = torch.tensor([[3, 4, 5, 8, 8], [1, 2, 3, 4, 5]])
    with torch.no_grad():
        alone = model(input_ids=text).logits
        together = model(input_ids=padded, attention_mask=(padded != 8).long()).logits
    torch.testing.assert_close(together[:1], alone)
