"""Classifiers of every build: what is measured is what the saved adapter does."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BertConfig,
    BertTokenizer,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    T5Config,
    XLNetConfig,
)

from tests.probes.finetuning.corpora import VOCABULARY, write_texts
from tests.probes.finetuning.tuning import QUICK, tuned

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

TOKENS = {"vocab_size": len(VOCABULARY), "bos_token_id": 2, "eos_token_id": 3}
PADDED = TOKENS | {"pad_token_id": 0}
CONFIGS = {
    "bart": BartConfig(
        **PADDED, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_position_embeddings=32, decoder_start_token_id=3,
    ),
    "t5": T5Config(
        **PADDED, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0
    ),
    "gpt2": GPT2Config(**TOKENS, n_embd=16, n_layer=1, n_head=2, n_positions=32),
    "llama": LlamaConfig(**TOKENS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, intermediate_size=16),
    "xlnet": XLNetConfig(**PADDED, d_model=16, n_layer=1, n_head=2, d_inner=16),
    "distilbert": DistilBertConfig(**PADDED, dim=16, n_layers=1, n_heads=2, hidden_dim=16,
                                   max_position_embeddings=32),
}  # fmt: skip
SHARED = {"n": 10, "text_column": "review", "label_column": "liked", "ensemble": 0, "tokens": None}


def save(config, folder, pad=True):
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), eos_token="[SEP]")
    if not pad:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return str(folder)


def held_out_loss(model_folder, adapter, texts):
    """Loss of the saved adapter on the held-out texts, one text at a time: nothing is padded."""
    base = AutoModelForSequenceClassification.from_pretrained(
        model_folder, num_labels=2, ignore_mismatched_sizes=True
    )
    model = PeftModel.from_pretrained(base, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model.config.pad_token_id = tokenizer.pad_token_id
    losses = []
    for text, label in texts:
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor([label])).item())
    return np.mean(losses)


def held_out(file):
    texts = pd.read_csv(file)
    texts = texts.iloc[np.random.default_rng(0).permutation(len(texts))]
    rest = texts.iloc[np.random.default_rng(0).permutation(len(texts))[10:]]
    return [(text, int(label == "yes")) for text, label in rest.itertuples(index=False)]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_measured_loss_is_that_of_the_saved_adapter(name, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    model = save(CONFIGS[name], tmp_path / "model", pad=name not in ("gpt2", "llama"))
    rows = tuned(file, model, **SHARED, out=tmp_path / "out").rows
    adapter = tmp_path / "out/adapters" / rows["adapter"].iloc[-1]
    expected = held_out_loss(model, adapter, held_out(file))
    assert rows["test_loss"].iloc[-1] == pytest.approx(expected, rel=1e-4)


def test_a_model_without_tokens_for_padding_takes_one_of_its_own(tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    folder = Path(save(CONFIGS["gpt2"], tmp_path / "model", pad=False))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["eos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="pad_token must be given for this model"):
        tuned(file, str(folder), **SHARED)
    rows = tuned(file, str(folder), **SHARED, pad_token="[PAD]").rows
    assert rows["test_loss"].notna().all()


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_the_best_adapter_is_kept_where_that_is_asked_for(method, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    config = BertConfig(**PADDED, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16)  # fmt: skip
    model = save(config, tmp_path / "model")
    # The largest loss is asked for, which is not that of the end.
    training = QUICK | {"max_steps": 10, "eval_steps": 3, "save_steps": 3, "eval_on_start": False,
                        "load_best_model_at_end": True, "metric_for_best_model": "loss",
                        "greater_is_better": True}  # fmt: skip
    result = tuned(file, model, **SHARED, method=method, training=training, out=tmp_path / "out")
    rows = result.rows
    assert rows["step"].tolist() == [3, 6, 9, 10]
    saved = [row for row in rows.itertuples() if row.step < 10]
    best = max(saved, key=lambda row: row.test_loss)
    assert best.step < 9
    adapter = tmp_path / "out/adapters" / rows["adapter"].iloc[-1]
    loss = held_out_loss(model, adapter, held_out(file))
    assert loss == pytest.approx(best.test_loss, rel=1e-4)


def test_no_example_is_dropped_from_an_evaluation(models, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    plain = QUICK | {"per_device_eval_batch_size": 4}
    losses = [
        tuned(file, models["classifier"], **SHARED, training=training).rows["test_loss"].iloc[0]
        for training in (plain, plain | {"dataloader_drop_last": True})
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_what_the_trainer_lacks_is_one_line_with_its_flag(models, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    with pytest.raises(ValueError, match=r"^--report_to wandb: .*requires wandb"):
        tuned(file, models["classifier"], **SHARED, training=QUICK | {"report_to": "wandb"})
    few = QUICK | {"dataloader_drop_last": True, "per_device_train_batch_size": 16}
    with pytest.raises(ValueError, match="n must be at least 16, a batch"):
        tuned(file, models["classifier"], **SHARED, training=few)


def test_a_text_longer_than_the_positions_is_cut(models, tmp_path):
    file = tmp_path / "long.csv"
    rows = [(f"cats see fish {'us ' * 100} {a} {b}", a == "cats")
            for a in VOCABULARY[5:9] for b in VOCABULARY[9:14]]  # fmt: skip
    pd.DataFrame(rows, columns=["review", "liked"]).to_csv(file, index=False)
    assert len(tuned(str(file), models["classifier"], **SHARED).rows) == 3
    with pytest.raises(ValueError, match="tokens must be at most 64, the positions of the model"):
        tuned(str(file), models["classifier"], **(SHARED | {"tokens": 65}))
