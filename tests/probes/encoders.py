"""A tiny pretrained encoder and texts on disk, as a user would have them."""

from functools import cache
from pathlib import Path

import pandas as pd
import torch
from transformers import BertConfig, BertModel, BertTokenizer

WORDS = ("good", "bad", "fine", "poor", "the", "a", "day", "film", "was", "very")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)


@cache
def tiny_bert(seed=0, width=16):
    """Two layers with two heads, random weights that are not close to zero."""
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=16, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def save_bert(folder, width=16):
    """Save the tiny model and a tokenizer of its words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    tiny_bert(width=width).save_pretrained(folder)
    return str(folder)


def write_reviews(path: Path, count=40):
    """Write texts of one to six words, no two alike, labelled by their first word."""
    rows, number = [], 0
    while len(rows) < count:
        digits = [int(digit) for digit in f"{number:03d}"]
        text = " ".join(WORDS[digit] for digit in digits)
        rows.append((text, "yes" if digits[-1] % 2 else "no"))
        number += 7
    table = pd.DataFrame(rows, columns=["review", "liked"])
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return str(path)
