"""Text tasks: cleaning, files and models of one's own, and what is refused."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2Model
from transformers.modeling_utils import local_torch_dtype

from probes import generalization
from probes.cli.stability_settings import StabilitySettings
from probes.stability import measure
from probes.tasks import load_task
from probes.tasks.packaged import packaged
from probes.tasks.text import TextSource, read_texts, text_task
from probes.tasks.tweets import LEAST_CONFIDENCE, TEXTS, clean_tweets
from tests.probes.encoders import save_bert, tiny_bert, write_reviews


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return {
        "task": "text",
        "data": write_reviews(folder / "reviews.csv"),
        "text_column": "review",
        "label_column": "liked",
        "model": save_bert(folder / "model"),
        "tokens": 8,
    }


def corpus():
    path = packaged(TEXTS)
    return pd.read_csv(path, encoding_errors="replace")


def test_no_tweet_is_in_the_pool_twice_and_none_that_is_labelled_in_two_ways():
    table = corpus()
    chosen = clean_tweets(table)
    assert not chosen["text"].duplicated().any()
    labels = table.groupby("text")["sentiment"].nunique()
    assert (labels[chosen["text"]] == 1).all()
    counts = chosen["label"].value_counts()
    assert counts["negative"] == counts["positive"] > 3000
    least = table.groupby("text")["confidence"].max()[chosen["text"]]
    assert (least >= LEAST_CONFIDENCE).all()


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.parquet"])
def test_csv_and_parquet_hold_the_same_texts(name, tmp_path, options):
    path = write_reviews(tmp_path / name)
    source = TextSource(path, "review", "liked", "model")
    same = TextSource(options["data"], "review", "liked", "model")
    pd.testing.assert_frame_equal(read_texts(source), read_texts(same))


def test_bytes_that_are_no_utf8_are_refused_and_those_of_a_known_corpus_replaced(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"text,label\ncars_\xd1_no,a\nfine,b\nso so,a\n?,b\n")
    source = TextSource(str(tmp_path / "t.csv"), "text", "label", "model")
    with pytest.raises(ValueError, match="line 2, has byte 0xd1"):
        read_texts(source)
    assert "cars_�_no" in set(read_texts(source, lambda table: table)["text"])
    decoded = read_texts(dataclasses.replace(source, encoding="cp1252"))
    assert "cars_Ñ_no" in set(decoded["text"])


def test_how_many_texts_are_cut_is_said(options, capsys):
    settings = StabilitySettings(**(options | {"tokens": 3}))
    load_task("text", settings.text_source("text"))
    assert "texts that are cut after 3 tokens: 40 of 40\n" in capsys.readouterr().err


def test_a_class_is_what_stands_there(tmp_path):
    labels = ["None", "NA", "null", "01", "1"]
    rows = "".join(f"text {number},{labels[number % 5]}\n" for number in range(15))
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    texts = read_texts(TextSource(str(tmp_path / "t.csv"), "text", "label", "model"))
    assert texts["label"].value_counts().to_dict() == dict.fromkeys(labels, 3)


def test_frozen_embeddings_are_those_of_the_model(options):
    settings = StabilitySettings(**options, layers=2)
    task = load_task("text", settings.text_source("text"))
    model = tiny_bert()
    network = task.network(rank=2, alpha=2.0, dtype=torch.float64, device="cpu")
    inputs = task.read(network, torch.arange(len(task)))
    zero = [torch.stack([weight]) for weight in network.weights]
    outputs = network.outputs(zero, inputs)[0].mT
    texts = read_texts(settings.text_source("text"))
    coded = AutoTokenizer.from_pretrained(options["model"])(
        texts["text"].tolist(), padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(**coded).last_hidden_state[:, 0] @ task.head.T
    torch.testing.assert_close(outputs.float(), expected, rtol=1e-4, atol=1e-5)


def test_a_task_does_not_depend_on_the_default_dtype(options):
    """Embeddings were rounded to 8 bits where bfloat16 is the default, and the head was another."""
    source = StabilitySettings(**options).text_source("text")
    usual = text_task.__wrapped__("text", source)
    with local_torch_dtype(torch.bfloat16):
        found = text_task.__wrapped__("text", source)
    for name in ("hidden", "frozen", "head", "targets"):
        one, other = getattr(found, name), getattr(usual, name)
        assert one.dtype == other.dtype == torch.float32, name
        assert torch.equal(one, other), name


@pytest.mark.slow
def test_a_file_and_a_model_of_ones_own_give_rows(options):
    result = measure(**options, n=6, p=[0.0, 0.5], draws=2, steps=3, ensemble=2, lr=1e-3)
    assert set(result.rows["layers"]) == {1}
    assert set(result.rows["data"]) == {options["data"]}
    assert result.diverged == 0
    assert result.summary["beta"].gt(0).all()


@pytest.mark.slow
def test_matched_controls_run_on_texts(options):
    result = generalization.measure(**options, n=5, p=0.5, draws=2, steps=4, lr=1e-2, matched=True)
    assert set(result.decision()["variant"]) >= {"early stopping", "shrunk update"}


def test_another_file_is_another_cell(options, tmp_path):
    first = StabilitySettings(**options).text_source("text")
    path = write_reviews(tmp_path / "reviews.csv", count=41)
    other = StabilitySettings(**(options | {"data": path})).text_source("text")
    assert first.digest != other.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nowhere.csv"}, "there is no nowhere.csv"),
        ({"data": "."}, r"data must be a CSV, .*; \. is a folder"),
        ({"data": None}, "data must be given for task text"),
        ({"text_column": "body"}, "no column 'body'; there are 'review', 'liked'"),
        ({"label_column": "stars"}, "no column 'stars'"),
        ({"label_column": "review"}, "columns of texts and labels must differ"),
        (
            {"model": "/nowhere/at/all"},
            "model must be a folder, or a name on the hub; ./nowhere/at/all. is not",
        ),
        ({"layers": 3}, "layers must be from 1 to 2"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"pooling": "max"}, "pooling must be one of cls, mean"),
        ({"tokens": 1}, "tokens must be from 2 to 512"),
        ({"tokens": 17}, "tokens must be at most 16, the positions of the model"),
        ({"encoding": "klingon"}, "encoding must be one that Python knows"),
        ({"task": "mine.csv"}, r"task must be text for a file \(--task text --data mine.csv\)"),
        ({"task": "tweets"}, "data must be given for task text, and for no other"),
        ({"task": "digits"}, "data must be left out for task digits"),
    ],
)
def test_bad_options_are_named(changes, message, options):
    with pytest.raises(ValueError, match=message):
        StabilitySettings(**(options | changes)).cells()


def test_a_model_of_another_family_is_refused(tmp_path, options):
    GPT2Model(GPT2Config(vocab_size=15, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((Path(options["model"]) / name).read_bytes())
    with pytest.raises(
        ValueError, match=r"encoder of bert, .* is gpt2 \(python -m probes.finetune"
    ):
        StabilitySettings(**(options | {"model": str(tmp_path)})).cells()


@pytest.mark.slow
def test_tweets_measure_what_they_should():
    """The real thing, as small as it gets: the packaged model on the packaged tweets."""
    result = measure(task="tweets", n=4, draws=1, steps=2)
    assert result.table["test_examples"].iloc[0] == 1500 - 4
    assert result.table["score_name"].iloc[0] == "accuracy"
