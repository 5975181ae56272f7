"""A file of one's own: classes or numbers, texts or pairs, a second file of what is held out."""

import dataclasses
import json

import pandas as pd
import pytest
from transformers import AutoTokenizer

from probes.finetuning.own_file import text_task
from probes.finetuning.task import Corpus
from tests.probes.finetuning.corpora import SENTENCES, VOCABULARY


@pytest.fixture
def tokenizer(models):
    return AutoTokenizer.from_pretrained(models["classifier"])


def write(path, labels, pairs=False, sentences=SENTENCES):
    rows = [
        {"text": sentence, "label": labels[number % len(labels)]}
        | ({"other": SENTENCES[number - 1]} if pairs else {})
        for number, sentence in enumerate(sentences)
    ]  # fmt: skip
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pd.DataFrame(rows).to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return str(path)


def corpus(file, **changes):
    known = Corpus(file, "text", "label", 10, None, 16, 0)
    return dataclasses.replace(known, **changes)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_every_kind_of_file_holds_the_same_examples(kind, tmp_path, tokenizer):
    file = write(tmp_path / f"t.{kind}", ["None", "01", "1"])
    task = text_task("mine", corpus(file), tokenizer)
    assert (len(task.train), len(task.held_out), task.pool) == (10, len(SENTENCES) - 10, 27)
    assert task.model_settings == {"num_labels": 3}
    same = text_task("mine", corpus(write(tmp_path / "s.csv", ["None", "01", "1"])), tokenizer)
    assert task.train.to_dict() == same.train.to_dict()


def test_a_class_is_its_place_among_the_sorted_names(tmp_path, tokenizer):
    labels = ["b", "a", "c"]
    task = text_task("mine", corpus(write(tmp_path / "t.csv", labels)), tokenizer)
    for row in [*task.train, *task.held_out]:
        text = tokenizer.decode(row["input_ids"], skip_special_tokens=True)
        assert "abc"[row["labels"]] == labels[SENTENCES.index(text) % 3]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_held_out_file_has_two_examples_at_least(rows, tmp_path, tokenizer):
    file = write(tmp_path / "train.csv", ["yes", "no"], sentences=SENTENCES[:12])
    other = write(tmp_path / "other.csv", ["yes", "no"], sentences=SENTENCES[12 : 12 + rows])
    given = corpus(file, held_out_file=other)
    if rows == 2:
        assert len(text_task("mine", given, tokenizer).held_out) == 2
    else:
        with pytest.raises(ValueError, match="must hold at least 2 held-out examples; got 1"):
            text_task("mine", given, tokenizer)


def test_two_numbers_can_be_predicted(tmp_path, tokenizer):
    file = write(tmp_path / "t.csv", [0.5, -1])
    task = text_task("mine", corpus(file, regression=True), tokenizer)
    assert {*task.train["labels"], *task.held_out["labels"]} == {0.5, -1.0}


def test_both_texts_of_a_pair_are_read(tmp_path, tokenizer):
    file = write(tmp_path / "t.csv", ["yes", "no"], pairs=True)
    task = text_task("mine", corpus(file, pair_column="other"), tokenizer)
    first = task.train[0]
    words = [VOCABULARY[token] for token in first["input_ids"]]
    text, other = " ".join(words).split(" [SEP]")[:2]
    number = SENTENCES.index(text.removeprefix("[CLS] "))
    assert other.strip() == SENTENCES[number - 1]
    assert set(first["token_type_ids"]) == {0, 1}


def test_labels_are_numbers_where_that_is_said(tmp_path, tokenizer):
    file = write(tmp_path / "t.csv", [0.5, -1, 3])
    task = text_task("mine", corpus(file, regression=True), tokenizer)
    assert task.model_settings == {"num_labels": 1, "problem_type": "regression"}
    assert task.score_name == "Pearson correlation"
    assert set(task.train["labels"]) == {0.5, -1.0, 3.0}


def test_a_second_file_is_held_out_without_what_is_trained_on(tmp_path, tokenizer, capsys):
    file = write(tmp_path / "train.csv", ["yes", "no"], sentences=SENTENCES[:12])
    other = write(tmp_path / "other.csv", ["no", "yes"], sentences=SENTENCES[9:20])
    task = text_task("mine", corpus(file, n=None, held_out_file=other), tokenizer)
    assert (len(task.train), len(task.held_out), task.pool) == (12, 8, None)
    assert "11 rows, 8 used: 3 in the training file;" in capsys.readouterr().err
    drawn = text_task("mine", corpus(file, n=5, held_out_file=other), tokenizer)
    assert (len(drawn.train), len(drawn.held_out), drawn.pool) == (5, 8, 12)
    # Draws of all examples are no samples that share some.
    every = text_task("mine", corpus(file, n=12, held_out_file=other), tokenizer)
    assert (len(every.train), every.pool) == (12, None)


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ([1, "many"], {"regression": True}, r"line 3, column 'label' .* number .* got 'many'"),
        ([1, "inf"], {"regression": True}, "finite number for regression; got 'inf'"),
        (
            ["a", "b"],
            {"n": None},
            "n must be from 2 to 25 for mine, whose other rows are held out",
        ),
        (["a", "b"], {"n": 26}, "n must be from 2 to 25"),
        (["a", "b"], {"pair_column": "other"}, "no column 'other'"),
        (["a", "a"], {}, r"t\.csv: column 'label' must hold at least 2 classes"),
        ([1, 1.0], {"regression": True}, "must hold at least 2 different numbers"),
        (["a", "b"], {"pair_column": "text"}, "columns of texts and labels must differ"),
    ],
)
def test_what_cannot_be_learned_is_named(labels, changes, message, tmp_path, tokenizer):
    with pytest.raises(ValueError, match=message):
        text_task("mine", corpus(write(tmp_path / "t.csv", labels), **changes), tokenizer)


def test_how_many_texts_are_cut_is_said(tmp_path, tokenizer, capsys):
    file = write(tmp_path / "t.csv", ["a", "b"])
    text_task("mine", corpus(file, tokens=4), tokenizer)
    said = capsys.readouterr().err
    assert "training: texts that are cut after 4 tokens: 10 of 10\n" in said
    assert "held-out: texts that are cut after 4 tokens: 17 of 17\n" in said


def test_classes_that_the_training_examples_lack_are_said(tmp_path, tokenizer, capsys):
    file = write(tmp_path / "t.csv", ["a", "b", "c"])
    task = text_task("mine", corpus(file, n=2), tokenizer)
    lost = sorted({*"abc"} - {"abc"[number] for number in task.train["labels"]})
    said = f"mine, seed 0: classes without a training example: {', '.join(lost)}\n"
    assert said in capsys.readouterr().err


def test_a_held_out_file_of_training_texts_alone_is_named(tmp_path, tokenizer):
    file = write(tmp_path / "train.csv", ["yes", "no"])
    message = r"train\.csv must hold at least 2 held-out examples; got 0"
    with pytest.raises(ValueError, match=message):
        text_task("mine", corpus(file, held_out_file=file), tokenizer)


def test_a_class_of_the_held_out_file_alone_is_named(tmp_path, tokenizer):
    file = write(tmp_path / "train.csv", ["yes", "no"], sentences=SENTENCES[:12])
    other = write(tmp_path / "other.csv", ["yes", "maybe"], sentences=SENTENCES[12:])
    with pytest.raises(ValueError, match=r"other\.csv: line 3, .* \(no, yes\); got 'maybe'"):
        text_task("mine", corpus(file, n=None, held_out_file=other), tokenizer)
