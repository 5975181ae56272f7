"""Tasks of GLUE: scores are those of the benchmark, what cannot be scored is named at once."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer

from probes.finetuning.classification import (
    classification_metrics,
    glue_task,
    regression_metrics,
)
from probes.finetuning.task import Corpus
from tests.probes.finetuning.corpora import GLUE_COLUMNS, SENTENCES, write_glue

#: Number of classes, and the metric of Wang et al. 2019.
BENCHMARK = {
    "cola": (2, "Matthews correlation"), "sst2": (2, "accuracy"), "mrpc": (2, "F1"),
    "qqp": (2, "F1"), "stsb": (1, "Pearson correlation"), "mnli": (3, "accuracy"),
    "qnli": (2, "accuracy"), "rte": (2, "accuracy"),
}  # fmt: skip


def load(name, folder, models, n=None):
    tokenizer = AutoTokenizer.from_pretrained(models["classifier"])
    return glue_task(name, Corpus(folder, "", "", n, None, 16, 0), tokenizer), tokenizer


@pytest.mark.parametrize("name", BENCHMARK)
def test_every_task_is_read_and_scored_as_in_the_benchmark(name, models, tmp_path):
    classes, score = BENCHMARK[name]
    task, tokenizer = load(name, write_glue(name, tmp_path, classes), models)
    assert (task.score_name, task.model_settings["num_labels"]) == (score, classes)
    parts = len(GLUE_COLUMNS[name])
    for table, chosen in ((task.train, SENTENCES[::2]), (task.held_out, SENTENCES[1::2])):
        kind = float if classes == 1 else int
        labels = [i / 4 if classes == 1 else i % classes for i in range(len(chosen))]
        expected = {
            " ".join([one] * parts): label for one, label in zip(chosen, labels, strict=True)
        }
        found = {
            tokenizer.decode(row["input_ids"], skip_special_tokens=True): row["labels"]
            for row in table
        }
        assert found == expected
        assert {type(label) for label in found.values()} == {kind}
    assert (0 if task.beside is None else len(task.beside)) == (11 if name == "mnli" else 0)
    assert (task.n, task.pool) == (14, None)


def test_a_few_examples_of_a_task_are_drawn_from_all(models, tmp_path):
    task, _ = load("rte", write_glue("rte", tmp_path, 2), models, n=10)
    assert (task.n, len(task.train), task.pool) == (10, 10, 14)


def counts(labels, classes):
    """True and false positives, false and true negatives."""
    pairs = list(zip(classes, labels, strict=True))
    return [pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0))]


def by_hand(score, labels, classes):
    right, wrong, missed, rest = counts(labels, classes)
    if score == "accuracy":
        return (right + rest) / len(labels)
    if score == "F1":
        return 2 * right / (2 * right + wrong + missed)
    product = (right + wrong) * (right + missed) * (rest + wrong) * (rest + missed)
    return (right * rest - wrong * missed) / math.sqrt(product)


@pytest.mark.parametrize("score", ["accuracy", "F1", "Matthews correlation"])
def test_scores_are_those_that_one_counts_by_hand(score):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(25, 2)).astype(np.float32), random.integers(0, 2, 25)
    found = classification_metrics(score, SimpleNamespace(predictions=logits, label_ids=labels))
    classes = [int(second > first) for first, second in logits]
    assert found["score"] == pytest.approx(by_hand(score, labels.tolist(), classes))
    assert found["accuracy"] == pytest.approx(by_hand("accuracy", labels.tolist(), classes))
    shares = [[1 / (1 + math.exp(b - a)), 1 / (1 + math.exp(a - b))] for a, b in logits.tolist()]
    losses = [-math.log(share[label]) for share, label in zip(shares, labels, strict=True)]
    assert found["validation_loss"] == pytest.approx(sum(losses[:12]) / 12)
    assert found["half_loss"] == pytest.approx(sum(losses[12:]) / 13)
    right = [one == label for one, label in zip(classes, labels, strict=True)][12:]
    assert found["half_accuracy"] == pytest.approx(sum(right) / 13)
    sure = [max(share) for share in shares[12:]]
    assert found["confidence"] == pytest.approx(sum(sure) / 13)
    bins = {}
    for one, is_right in zip(sure, right, strict=True):
        bins.setdefault(math.ceil(15 * one), []).append(is_right - one)
    assert found["ece"] == pytest.approx(sum(abs(sum(some)) for some in bins.values()) / 13)


@pytest.mark.parametrize(
    ("score", "labels", "right", "wrong"),
    [("F1", 0, math.nan, 0), ("F1", 1, 1, 2 / 3), ("accuracy", 0, 1, 1 / 2),
     ("Matthews correlation", 0, math.nan, 0), ("Matthews correlation", 1, math.nan, 0)],
)  # fmt: skip
def test_few_examples_may_be_of_one_class_and_a_score_that_then_says_nothing_is_nan(
    score, labels, right, wrong
):
    """A warning of the library would be an error here."""
    sure = np.eye(2, dtype=np.float32)[[labels, labels]]
    given = {"label_ids": np.array([labels, labels])}
    found = classification_metrics(score, SimpleNamespace(predictions=sure, **given))
    assert found["score"] == pytest.approx(right, nan_ok=True)
    half = np.eye(2, dtype=np.float32)
    found = classification_metrics(score, SimpleNamespace(predictions=half, **given))
    assert found["score"] == pytest.approx(wrong)


def test_correlations_are_those_of_numbers_and_of_their_ranks():
    values, targets = np.array([[1.0], [2.0], [4.0], [3.0]]), np.array([0.0, 1.0, 8.0, 9.0])
    found = regression_metrics(SimpleNamespace(predictions=values, label_ids=targets))
    centred = values[:, 0] - 2.5, targets - 4.5
    expected = (centred[0] @ centred[1]) / math.sqrt((centred[0] ** 2).sum() * 65)
    assert found == pytest.approx({"score": expected, "spearman": 0.8})


@pytest.mark.parametrize(
    ("values", "targets"),
    [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [2, 2, 2]), ([1, math.nan, 3], [1, 2, 3])],
)
def test_constants_and_what_diverged_have_no_correlation(values, targets):
    predicted = SimpleNamespace(
        predictions=np.array(values, float)[:, None], label_ids=np.array(targets, float)
    )
    assert all(math.isnan(value) for value in regression_metrics(predicted).values())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", None, "column 'label', must be a finite number; got"),
        ("label", 2, "column 'label', must be from 0 to 1; got 2"),
        ("label", 0.5, "column 'label', must be from 0 to 1; got 0.5"),
        ("sentence1", None, "column 'sentence1', must be a text; it is nothing"),
    ],
)
def test_a_row_that_is_damaged_is_named(column, value, message, models, tmp_path):
    def change(which, table):
        values = [value if which == "train" and i == 2 else one
                  for i, one in enumerate(table[column])]  # fmt: skip
        return table.assign(**{column: values})

    with pytest.raises(ValueError, match=rf"train-.*: row 3, {message}"):
        load("rte", write_glue("rte", tmp_path, 2, change), models)


def test_a_column_that_is_not_there_is_named(models, tmp_path):
    folder = write_glue("rte", tmp_path, 2, lambda which, table: table.drop(columns="label"))
    with pytest.raises(ValueError, match=r"train-.* has no column label; there are sentence1, sen"):
        load("rte", folder, models)


def test_mnli_without_its_second_held_out_set_is_measured_on_the_first(models, tmp_path, capsys):
    folder = write_glue("mnli", tmp_path, 3)
    (second,) = (tmp_path / "mnli").glob("validation_mismatched*")
    second.unlink()
    assert load("mnli", folder, models)[0].beside is None
    assert "no file of split 'validation_mismatched', which is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [("rte", "train", "2 different classes"), ("cola", "validation", "2 different classes"),
     ("stsb", "validation", "2 different numbers")],
)  # fmt: skip
def test_labels_that_are_all_the_same_are_refused(name, split, words, models, tmp_path):
    folder = write_glue(
        name, tmp_path, 1 if name == "stsb" else 2,
        lambda which, table: table.assign(label=1) if which == split else table,
    )  # fmt: skip
    corpus = Corpus(folder, "", "", None, None, 16, 0)
    tokenizer = AutoTokenizer.from_pretrained(models["classifier"])
    with pytest.raises(
        ValueError, match=rf"{split}-.*, column 'label', must hold at least {words}"
    ):
        glue_task(name, corpus, tokenizer)
