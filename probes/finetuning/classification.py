"""Classifying texts and pairs of texts: GLUE, and what every task of texts and labels shares."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from probes.finetuning.splits import (
    Split,
    has_split,
    read_split,
    require_columns,
    require_texts,
)
from probes.finetuning.task import (
    OTHER_TOKENS,
    Corpus,
    FinetuneTask,
    draw_training,
    pool_of,
    take_held_out,
)
from probes.jobs.amounts import how_many
from probes.metrics.calibration_error import (
    DIAGRAM_BINS,
    calibration_error,
    calibration_floor,
    debiased_calibration_error,
)
from probes.tasks.labelled_texts import labels_used, rows_used, say_once
from probes.tasks.window import check_texts_kept, which_are_cut, which_are_lost

HUB_NAME = "nyu-mll/glue"


@dataclass(frozen=True)
class Glue:
    """A task of GLUE.

    Source: Wang et al. 2019, arXiv 1804.07461.

    Attributes:
        columns: one or two columns of text.
        classes: number of classes, 1 for a regression.
        score: the benchmark's metric.
        split: that is held out.
        beside: a second split that is held out; empty where there is none.
    """

    columns: tuple[str, ...]
    classes: int = 2
    score: str = "accuracy"
    split: str = "validation"
    beside: str = ""


PAIR = ("sentence1", "sentence2")
REGRESSION_SCORE = "Pearson correlation"
GLUE = {
    "cola": Glue(("sentence",), score="Matthews correlation"),
    "sst2": Glue(("sentence",)),
    "mrpc": Glue(PAIR, score="F1"),
    "qqp": Glue(("question1", "question2"), score="F1"),
    "stsb": Glue(PAIR, classes=1, score=REGRESSION_SCORE),
    "mnli": Glue(
        ("premise", "hypothesis"),
        classes=3,
        split="validation_matched",
        beside="validation_mismatched",
    ),
    "qnli": Glue(("question", "sentence")),
    "rte": Glue(PAIR),
}


def _f1(labels: Any, classes: Any) -> float:
    """NaN where no example is of class 1, nor predicted to be."""
    return float(f1_score(labels, classes, zero_division=math.nan))


def _matthews(labels: Any, classes: Any) -> float:
    """NaN where all examples are of one class, and predicted to be."""
    if len({*labels.tolist(), *classes.tolist()}) == 1:
        return math.nan
    return float(matthews_corrcoef(labels, classes))


SCORES: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": accuracy_score, "F1": _f1, "Matthews correlation": _matthews,
}  # fmt: skip


#: Numbers that :func:`classification_metrics` measures.
MEASURED = (
    "score", "accuracy", "validation_loss", "half_loss", "half_accuracy", "confidence", "ece",
    "ece_floor", "ece_debiased",
)  # fmt: skip


def glue_task(name: str, corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load a task of GLUE.

    Source: Wang et al. 2019, arXiv 1804.07461.

    Args:
        name: of the task, a key of ``GLUE``.
        corpus: where the examples are, how many are used, and how many tokens of a text.
        tokenizer: of the model.

    Returns:
        Tokenized examples; ``score`` is the benchmark's metric.

    Raises:
        ValueError: data that is not there, or not of that task.
    """
    task = GLUE[name]
    tables, parts, splits = [], [], [("train", draw_training), (task.split, take_held_out)]
    if task.beside:
        if has_split(name, task.beside, corpus):
            splits.append((task.beside, take_held_out))
        else:
            say_once(f"{corpus.data}: no file of split {task.beside!r}, which is not measured")
    for split, choose in splits:
        read = read_split(HUB_NAME, name, split, corpus)
        require_columns(read, [*task.columns, "label"])
        require_texts(read, task.columns)
        _check_labels(read, task.classes)
        say_once(_what_is_read(read, task.classes))
        tables.append(read.table)
        parts.append(choose(read.table, corpus))
    train, held_out, *beside = parts
    made = classification_task(
        train, held_out, task.columns, task.classes, task.score, corpus, tokenizer, *beside
    )
    return replace(made, pool=pool_of(tables[0], corpus))


def classification_metrics(score: str, predictions: Any) -> dict[str, Any]:
    """Measure predicted classes and their probabilities.

    Args:
        score: name of the benchmark's metric.
        predictions: of a trainer: logits (m, classes) and labels (m,).

    Returns:
        ``score`` and ``accuracy`` on all examples; ``validation_loss`` on the first half; on the
        other half ``half_loss``, ``half_accuracy``, ``confidence`` (mean probability of the most
        probable class), ``ece``, ``ece_floor`` and ``ece_debiased`` (see
        ``probes.metrics.calibration_error``), and ``bins``, pairs of mean confidence and accuracy.
        Of a model whose logits are not finite everything is NaN, and there are no bins.
    """
    logits, labels = torch.from_numpy(predictions.predictions).double(), predictions.label_ids
    if not logits.isfinite().all():
        return dict.fromkeys(MEASURED, float("nan")) | {"bins": []}
    targets = torch.from_numpy(labels).long()
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    half = len(losses) // 2
    probabilities = logits.softmax(-1)[half:]
    confidence, predicted = probabilities.max(-1)
    right = (predicted == targets[half:]).numpy()
    accuracy, average = calibration_curve(right, confidence.numpy(), n_bins=DIAGRAM_BINS)
    classes = logits.argmax(-1).numpy()
    return {
        "score": float(SCORES[score](labels, classes)),
        "accuracy": float(accuracy_score(labels, classes)),
        "validation_loss": float(losses[:half].mean()),
        "half_loss": float(losses[half:].mean()),
        "half_accuracy": float(right.mean()),
        "confidence": float(confidence.mean()),
        "ece": calibration_error(probabilities, targets[half:]),
        "ece_floor": calibration_floor(probabilities),
        "ece_debiased": debiased_calibration_error(probabilities, targets[half:]),
        "bins": [list(pair) for pair in zip(average.tolist(), accuracy.tolist(), strict=True)],
    }


def regression_metrics(predictions: Any) -> dict[str, Any]:
    """Measure predicted numbers: ``score`` (Pearson) and ``spearman``."""
    values, targets = predictions.predictions.squeeze(-1), predictions.label_ids
    if not np.isfinite(values).all() or np.ptp(values) == 0 or np.ptp(targets) == 0:
        # A correlation with a constant is not defined.
        return {"score": float("nan"), "spearman": float("nan")}
    return {
        "score": float(pearsonr(values, targets).statistic),
        "spearman": float(spearmanr(values, targets).statistic),
    }


def classification_task(
    train: Any,
    held_out: Any,
    columns: Sequence[str],
    classes: int,
    score: str,
    corpus: Corpus,
    tokenizer: Any,
    beside: Any = None,
) -> FinetuneTask:
    """Tokenize texts and their labels.

    Args:
        train, held_out: data sets with the columns and ``label``.
        columns: one or two columns of texts.
        classes: number of classes, which labels count from 0; 1 for labels that are numbers.
        score: name of the metric of classes, a key of ``SCORES``.
        corpus: says after how many tokens a text, or a pair of them, is cut.
        tokenizer: of the model, with a token for padding.
        beside: a second held-out data set, or None.

    Returns:
        Tokenized examples.
    """
    from transformers import DataCollatorWithPadding

    tokens = corpus.tokens or OTHER_TOKENS

    def tokenize(rows: dict[str, list[Any]]) -> dict[str, Any]:
        made = tokenizer(*(rows[column] for column in columns), truncation=True, max_length=tokens)
        labels = [float(label) for label in rows["label"]]
        return dict(made) | {
            "labels": labels if classes == 1 else list(map(int, labels)),
            "cut": which_are_cut(made, tokens),
            "lost": which_are_lost(made["input_ids"], tokenizer),
        }

    tables = {"training": train, "held-out": held_out}
    if beside is not None:
        tables["held-out, second split"] = beside
    for which, table in tables.items():
        made = table.map(tokenize, batched=True, remove_columns=table.column_names,
                         keep_in_memory=True)  # fmt: skip
        check_texts_kept(made["lost"], f"{which}: ")
        if cut := sum(made["cut"]):
            after = how_many(tokens, "token")
            say_once(f"{which}: texts that are cut after {after}: {cut} of {len(made)}")
        tables[which] = made.remove_columns(["cut", "lost"])
    train, held_out, *others = tables.values()
    settings: dict[str, Any] = {"num_labels": classes}
    if classes == 1:
        settings["problem_type"] = "regression"
    return FinetuneTask(
        train,
        held_out,
        model="AutoModelForSequenceClassification",
        peft_type="SEQ_CLS",
        collate=DataCollatorWithPadding(tokenizer),
        label_names=["labels"],
        score_name=REGRESSION_SCORE if classes == 1 else score,
        metrics=regression_metrics if classes == 1 else partial(classification_metrics, score),
        model_settings=settings,
        beside=others[0] if others else None,
    )


def _check_labels(split: Split, classes: int) -> None:
    """Check every label, and that they differ: of one class or number nothing can be scored."""
    for row, label in enumerate(split.table["label"]):
        try:
            value = float(label)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            where = split.where(row)
            raise ValueError(f"{where}, column 'label', must be a finite number; got {label!r}")
        if classes > 1 and value not in range(classes):
            where = split.where(row)
            raise ValueError(
                f"{where}, column 'label', must be from 0 to {classes - 1}; got {value:g}"
            )
    if len({float(label) for label in split.table["label"]}) < 2:
        what = "numbers" if classes == 1 else "classes"
        raise ValueError(f"{split.source}, column 'label', must hold at least 2 different {what}")


def _what_is_read(split: Split, classes: int) -> str:
    """Say how many rows there are, all of which are used, and what their labels are."""
    count, kind = len(split.table), float if classes == 1 else int
    labels = pd.Series([kind(label) for label in split.table["label"]])
    return f"{split.source}: {'; '.join([rows_used(count, count, {}), *labels_used(labels)])}"
