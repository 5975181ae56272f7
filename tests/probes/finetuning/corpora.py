"""Small data in the exact format of each task, and tiny models with tokenizers, on disk."""

import json
from functools import cache
from itertools import product

import pandas as pd
import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

SUBJECTS, VERBS, OBJECTS = ("cats", "dogs", "birds"), ("see", "eat", "like"), ("fish", "milk", "us")
SENTENCES = [" ".join(words) for words in product(SUBJECTS, VERBS, OBJECTS)]
EXTRA = (
    "what", "do", "instruction", "input", "response", "#", ":", "say", "please", "?", ".",
)  # fmt: skip
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SUBJECTS, *VERBS, *OBJECTS, *EXTRA)
SIZES = {
    "vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64,
}  # fmt: skip


@cache
def _models():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "classifier": BertForSequenceClassification(BertConfig(**SIZES)),
            "reader": BertForQuestionAnswering(BertConfig(**SIZES)),
            "writer": LlamaForCausalLM(
                LlamaConfig(**SIZES, num_key_value_heads=2, bos_token_id=2, eos_token_id=3)
            ),
        }


def save_model(kind, folder):
    """Save a tiny model with its tokenizer."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), eos_token="[SEP]")
    tokenizer.save_pretrained(folder)
    _models()[kind].save_pretrained(folder)
    return str(folder)


GLUE_COLUMNS = {
    "cola": ("sentence",), "sst2": ("sentence",), "mrpc": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"), "stsb": ("sentence1", "sentence2"),
    "mnli": ("premise", "hypothesis"), "qnli": ("question", "sentence"),
    "rte": ("sentence1", "sentence2"),
}  # fmt: skip


def write_glue(name, folder, classes, change=None):
    """Write a task of GLUE as the hub lays it out."""
    place = folder / name
    place.mkdir(parents=True)
    evaluation = "validation_matched" if name == "mnli" else "validation"
    splits = {"train": SENTENCES[::2], evaluation: SENTENCES[1::2], "test": SENTENCES[:4]}
    if name == "mnli":
        splits["validation_mismatched"] = SENTENCES[:11]
    for split, chosen in splits.items():
        rows = []
        for number, sentence in enumerate(chosen):
            label = number % classes if classes > 1 else number / 4
            texts = {column: sentence for column in GLUE_COLUMNS[name]}
            rows.append(texts | {"label": -1 if split == "test" else label, "idx": number})
        table = pd.DataFrame(rows)
        if change:
            table = change(split, table)
        table.to_parquet(place / f"{split}-00000-of-00001.parquet")
    return str(folder)


def write_squad(name, folder, answerable=lambda number: True):
    """Write SQuAD as the hub lays it out; the answer is the object of a sentence."""
    config = "plain_text" if name == "squad" else "squad_v2"
    (folder / config).mkdir(parents=True)
    for split, chosen in (("train", SENTENCES[:20]), ("validation", SENTENCES[20:])):
        rows = []
        for number, sentence in enumerate(chosen):
            words = sentence.split()
            answer = {"text": [words[2]], "answer_start": [sentence.index(words[2])]}
            none = {"text": [], "answer_start": []}
            rows.append({"id": f"{split}{number}", "title": "animals", "context": f"{sentence} .",
                         "question": f"what do {words[0]} {words[1]} ?",
                         "answers": answer if answerable(number) else none})  # fmt: skip
        pd.DataFrame(rows).to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    return str(folder)


def write_alpaca(folder):
    """Write instructions as Alpaca's data has them, with answers of several lengths."""
    (folder / "data").mkdir(parents=True)
    rows = [
        {"instruction": f"say {sentence}", "input": "please" if number % 2 else "",
         "output": " ".join(sentence.split()[: 1 + number % 4]), "text": ""}
        for number, sentence in enumerate(SENTENCES)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return str(folder)


def write_texts(path):
    """Write a CSV file of one's own."""
    rows = [(sentence, "yes" if "cats" in sentence else "no") for sentence in SENTENCES]
    pd.DataFrame(rows, columns=["review", "liked"]).to_csv(path, index=False)
    return str(path)


def write_jsonl(path, rows):
    """Write rows as lines of JSON."""
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
