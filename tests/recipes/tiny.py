"""Tiny models of the recipes' kinds and data in the hub's own layout, on disk."""

import io
import json

import pandas as pd
import torch
from transformers import (
    DebertaV2Config,
    DebertaV2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tests.probes.finetuning.corpora import SENTENCES, VOCABULARY, write_alpaca

#: As the hub's deberta-v3-base, but small.
DEBERTA = {
    "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
    "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
    "position_biased_input": False,
}  # fmt: skip
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip


def save_deberta(folder):
    """Save an encoder as the hub has it: without a head, in float16, with SentencePiece's model."""
    from sentencepiece import SentencePieceTrainer

    folder.mkdir(parents=True)
    pieces = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=pieces, model_type="word", minloglevel=2,
        vocab_size=len(VOCABULARY), hard_vocab_limit=False, pad_id=0, bos_id=1, eos_id=2, unk_id=3,
        pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
    )  # fmt: skip
    (folder / "spm.model").write_bytes(pieces.getvalue())
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = DebertaV2Config(vocab_size=len(VOCABULARY), **SIZES, **DEBERTA)
        DebertaV2Model(config).half().save_pretrained(folder)
    return str(folder)


def save_llama(folder):
    """Save a decoder whose tokenizer knows words, and has no token for padding, as LLaMA's."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "<s>", "</s>", *VOCABULARY[5:], "A", "B", "C", "D", "Answer"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            **SIZES, vocab_size=len(words), num_key_value_heads=2, max_position_embeddings=128,
            bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def write_mmlu(folder, questions=6):
    """Write MMLU as the hub lays it out; the right answer goes round."""
    (folder / "all").mkdir(parents=True)
    rows = [
        {"question": f"what do {sentence.split()[0]} {sentence.split()[1]} ?",
         "subject": "college_biology", "choices": ["fish", "milk", "us", "cats"],
         "answer": number % 4}
        for number, sentence in enumerate(SENTENCES[:questions])
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "all" / "test-00000-of-00001.parquet")
    return str(folder)


def write_alpaca_clean(folder):
    """Write the one file that the hub has of Alpaca-clean: a list of instructions, in JSON."""
    rows = pd.read_parquet(f"{write_alpaca(folder)}/data").to_dict("records")
    file = folder / "alpaca_data_cleaned.json"
    file.write_text(json.dumps([{name: row[name] for name in ("instruction", "input", "output")}
                                for row in rows]))  # fmt: skip
    return file
