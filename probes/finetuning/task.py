"""What is fine-tuned on: tokenized examples, the kind of model, and how predictions are scored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    from datasets import Dataset

#: Texts are cut after that many tokens where nothing is said, by kind of task; ours.
TOKENS = {"squad": 384, "squad_v2": 384, "alpaca": 512}
OTHER_TOKENS = 128
#: The order of the held-out examples, of which the first are taken, is a part of the task.
HELD_OUT_SEED = 0


@dataclass(frozen=True)
class Corpus:
    """Where a task's examples come from.

    Attributes:
        data: a folder with the hub's layout, or a file of one's own; the hub where it is None.
        text_column, label_column: of a file of one's own.
        n: training examples, drawn by ``seed``; all where it is None.
        held_out: largest number of held-out examples.
        tokens: texts are cut after that many tokens; None for the default of the task, or as many
            as the model has positions for.
        seed: of the draw.
        pair_column: of a file of pairs: column of the second texts.
        regression: whether the labels of a file are numbers, and not classes.
        held_out_file: file of the held-out examples; None where what is not drawn is held out.
        encoding: of the files.
    """

    data: str | None
    text_column: str
    label_column: str
    n: int | None
    held_out: int | None
    tokens: int | None
    seed: int
    pair_column: str | None = None
    regression: bool = False
    held_out_file: str | None = None
    encoding: str = "utf-8"


def default_tokens(task: str) -> int:
    """Number of tokens that texts of a task are cut to where nothing is said."""
    return TOKENS.get(task.partition("/")[0], OTHER_TOKENS)


@dataclass(frozen=True)
class FinetuneTask:
    """Tokenized examples and what is done with them.

    Attributes:
        train, held_out: examples as the model reads them.
        model: name of transformers' automatic class.
        peft_type: PEFT's name of the kind of task.
        collate: joins examples to a batch.
        label_names: arguments of the model that are targets.
        score_name: what ``score`` is, of which more is better.
        metrics: predictions and targets to ``score`` and further numbers; None where the loss is
            all that is measured.
        model_settings: of the model's config.
        outputs: number of the model's outputs that ``metrics`` reads, the first ones.
        beside: a second held-out set, whose accuracy is measured at the end: MNLI's mismatched
            examples; None for other tasks.
        pool: size of what the training examples are drawn from; None where all of it is taken.
        examples: number of training examples, where ``train`` holds several parts of some; None
            where it holds each once.
    """

    train: "Dataset"
    held_out: "Dataset"
    model: str
    peft_type: str
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]
    label_names: list[str]
    score_name: str = ""
    metrics: Callable[[Any], dict[str, Any]] | None = None
    model_settings: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    beside: "Dataset | None" = None
    pool: int | None = None
    examples: int | None = None

    @property
    def n(self) -> int:
        """Number of training examples."""
        return len(self.train) if self.examples is None else self.examples


def token_ids(task: FinetuneTask) -> "np.ndarray[Any, Any]":
    """Return the numbers of all tokens in the examples of a task, one after the other."""
    columns = (table.with_format("arrow")["input_ids"] for table in (task.train, task.held_out))
    return np.concatenate(
        [pc.list_flatten(column[:]).to_numpy(zero_copy_only=False) for column in columns]
    )


def draw_training(table: "Dataset", corpus: Corpus) -> "Dataset":
    """Draw the training examples.

    Args:
        table: all training examples.
        corpus: its ``n`` says how many, None for all; its ``seed`` says which.

    Returns:
        n examples in random order, without replacement.

    Raises:
        ValueError: there are fewer than asked for, or n is below 2.
    """
    n = len(table) if corpus.n is None else corpus.n
    if not 2 <= n <= len(table):
        raise ValueError(f"n must be from 2 to {len(table)}, the training examples; got {n}")
    order = np.random.default_rng(corpus.seed).permutation(len(table))
    return table.select(order[:n])


def pool_of(table: "Dataset", corpus: Corpus) -> int | None:
    """Return the size of what training examples are drawn from; None where all of it is taken.

    Args:
        table: all training examples.
        corpus: as for :func:`draw_training`.
    """
    return None if corpus.n in (None, len(table)) else len(table)


def take_held_out(table: "Dataset", corpus: Corpus) -> "Dataset":
    """Take as many held-out examples as are asked for, the same for every seed.

    Args:
        table: all held-out examples.
        corpus: its ``held_out`` is the largest number, None for all.

    Returns:
        The examples, in an order that is fixed.

    Raises:
        ValueError: there are fewer than 2.
    """
    count = len(table) if corpus.held_out is None else min(corpus.held_out, len(table))
    if count < 2:
        raise ValueError(f"at least 2 held-out examples are needed; there are {count}")
    return table.select(np.random.default_rng(HELD_OUT_SEED).permutation(len(table))[:count])
