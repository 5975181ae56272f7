"""Classifying texts with a pretrained transformer encoder, whose last layers are adapted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.jobs.amounts import how_many
from probes.models.encoder import Encoder, EncoderLayer, Pooling, Tokens
from probes.models.losses import Loss, cross_entropy
from probes.models.pretrained import load_pretrained, require_package
from probes.tasks.labelled_texts import labelled_texts, say_once
from probes.tasks.text_file import read_table
from probes.tasks.window import (
    check_texts_kept,
    check_tokens_known,
    check_vocabulary,
    which_are_cut,
    which_are_lost,
    window,
)

#: Examples that S and the test set are drawn from: as many as are quickly embedded.
POOL = 1500
#: Texts are cut after that many tokens where nothing is said.
TOKENS = 48
#: Texts that are embedded together.
EMBEDDED_TOGETHER = 100
#: The choice of the pool and the frozen head are part of the task, the same for every seed.
BASE_SEED = 0
#: Architectures whose layers ``probes.models.encoder`` computes.
FAMILY = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


@dataclass(frozen=True)
class TextSource:
    """Texts, a model, and how it is adapted: what a text task is made of.

    Attributes:
        data: file of the texts.
        text_column, label_column: its columns.
        model: folder of a pretrained model, or its name on the hub.
        layers: number of adapted layers, the last ones.
        pooling: what is read out.
        tokens: texts are cut after that many; ``TOKENS``, or what the model takes, if None.
        digest: of the contents of the data file and of the folder's weights.
        encoding: of a text file.
    """

    data: str
    text_column: str
    label_column: str
    model: str
    layers: int = 1
    pooling: Pooling = "cls"
    tokens: int | None = None
    digest: str = ""
    encoding: str = "utf-8"


@dataclass(frozen=True)
class TextTask:
    """Embedded texts and the layers that are adapted.

    Attributes:
        name, loss, rank, lr, steps: as for :class:`probes.tasks.task.Task`.
        hidden: inputs of the first adapted layer, (examples, tokens, d), float32.
        mask: whether a token is there, (examples, tokens).
        targets: one-hot classes, (examples, k).
        frozen: embeddings of the frozen model, averaged over tokens, (examples, d): what a baseline
            without adaptation sees.
        classes: names of the classes.
        layers, head, heads, pooling, activation, epsilon: of the encoder.
    """

    name: str
    hidden: Tensor
    mask: Tensor
    targets: Tensor
    frozen: Tensor
    classes: tuple[str, ...]
    layers: list[EncoderLayer]
    head: Tensor
    heads: int
    pooling: Pooling
    activation: Any
    epsilon: float
    loss: Loss = cross_entropy
    rank: int = 8
    lr: float = 3e-4
    steps: int = 60

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def largest_rank(self) -> int:
        """The smallest side of an adapted layer."""
        return self.hidden.shape[-1]

    @property
    def tokens(self) -> int:
        """Texts are cut after that many."""
        return self.hidden.shape[1]

    def network(
        self, *, rank: int, alpha: float, dtype: torch.dtype, device: str | torch.device
    ) -> Encoder:
        """Build the network, as in :meth:`Task.network`."""
        network = Encoder(
            self.layers, self.head, heads=self.heads, pooling=self.pooling,
            tokens=self.tokens, activation=self.activation, epsilon=self.epsilon,
            rank=rank, alpha=alpha, loss=self.loss,
        )  # fmt: skip
        return network.place(torch.empty((), dtype=dtype, device=device))

    def read(self, network: Encoder, index: Tensor) -> Tokens:
        """Return examples, as in :meth:`Task.read`."""
        return network.read(self.hidden[index], self.mask[index], self.targets[index])


@lru_cache(maxsize=2)
def text_task(
    name: str, source: TextSource, clean: Callable[[pd.DataFrame], pd.DataFrame] | None = None
) -> TextTask:
    """Load the texts, embed them by the frozen layers and take out those that are adapted.

    Args:
        name: of the task.
        source: the files, and how the model is adapted.
        clean: what is done to the file's table before anything else; None for nothing.

    Returns:
        The task; ``hidden`` and ``frozen`` are float32 on the CPU. The frozen head is drawn from a
        fixed seed.

    Raises:
        ValueError: a file, column or model that is not there or not usable, or packages missing.
    """
    table = read_texts(source, clean)
    classes = tuple(sorted(table["label"].unique()))
    labels = torch.tensor(table["label"].map(classes.index).tolist())
    tokenizer, model = load_encoder(source.model)
    tokens = window(source.tokens, TOKENS, model.config)
    depth = len(model.encoder.layer)
    if not 1 <= source.layers <= depth:
        raise ValueError(f"layers must be from 1 to {depth} for this model; got {source.layers}")
    texts = table["text"].tolist()
    hidden, mask, last = _embed(texts, tokenizer, model, source.layers, tokens)
    width = hidden.shape[-1]
    generator = torch.Generator().manual_seed(BASE_SEED)
    head = torch.randn(len(classes), width, generator=generator, dtype=torch.float32) / width**0.5
    weight = mask.float() / mask.sum(1, keepdim=True)
    return TextTask(
        name=name,
        hidden=hidden,
        mask=mask,
        targets=torch.nn.functional.one_hot(labels, len(classes)).float(),
        frozen=(last * weight.unsqueeze(-1)).sum(1),
        classes=classes,
        layers=[EncoderLayer.of(layer) for layer in model.encoder.layer[depth - source.layers :]],
        head=head,
        heads=model.config.num_attention_heads,
        pooling=source.pooling,
        activation=model.encoder.layer[0].intermediate.intermediate_act_fn,
        epsilon=model.config.layer_norm_eps,
    )


def read_texts(
    source: TextSource,
    clean: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    pool: int | None = POOL,
) -> pd.DataFrame:
    """Read, clean and subsample the texts; see :func:`labelled_texts` for what is left out.

    Args:
        source: the file and its columns; the model is not read.
        clean: what is done to the table of a known corpus before anything else, whose bytes that
            are no UTF-8 become replacement characters, which is said; None for nothing.
        pool: largest number of rows; None for all.

    Returns:
        Rows of ``text`` and ``label``, both strings, in an order drawn from a fixed seed.

    Raises:
        ValueError: no such file or column, or fewer than two classes.
    """
    table = read_table(Path(source.data), source.encoding, "replace" if clean else "strict")
    where = Path(source.data).name if clean else source.data
    texts = labelled_texts(
        clean(table) if clean else table, [source.text_column], source.label_column, where,
        known=clean is not None,
    )  # fmt: skip
    check_classes(texts["label"], source.label_column, where)
    order = np.random.default_rng(BASE_SEED).permutation(len(texts))[:pool]
    chosen = texts.iloc[order].reset_index(drop=True)
    if clean is None and len(chosen) < len(texts):
        say_once(f"{source.data}: of these, {len(chosen)} are drawn: S and the test set are theirs")
    if chosen["label"].nunique() < 2:
        raise ValueError(f"{source.data} has next to no examples outside of one class")
    return chosen


def check_classes(labels: "pd.Series[str]", column: str, where: str) -> None:
    """Check that labels are classes.

    Args:
        labels: of all examples.
        column: that they stand in, for the message.
        where: what the table is called in the message.

    Raises:
        ValueError: there is one class, or nearly every example has a class of its own.
    """
    classes = labels.nunique()
    if not 2 <= classes <= len(labels) / 2:
        raise ValueError(
            f"{where}: column {column!r} must hold at least 2 classes, of at least 2 examples "
            f"on average; got {classes} for {how_many(len(labels), 'text')} that can be used"
        )


def load_encoder(name: str) -> tuple[Any, Any]:
    """Load a tokenizer and a model of the BERT family, float32, in ``eval()``.

    Nothing of the model's repository is run.

    Raises:
        ValueError: it cannot be loaded, is of another family, or transformers is missing.
    """
    require_package("transformers")
    tokenizer = load_pretrained("AutoTokenizer", name)
    model = load_pretrained("AutoModel", name, dtype=torch.float32)
    kind = getattr(model.config, "model_type", "unknown")
    decodes = getattr(model.config, "is_decoder", False)
    if kind not in FAMILY or decodes:
        found = f"a decoder ({kind})" if decodes else kind
        raise ValueError(
            f"model must be an encoder of {', '.join(FAMILY)}; {name} is {found} "
            "(python -m probes.finetune takes more kinds)"
        )
    return tokenizer, model.eval().requires_grad_(False)


def _embed(
    texts: list[str], tokenizer: Any, model: Any, layers: int, tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of the first adapted layer, the mask of the tokens, and the model's output."""
    coded = tokenizer(
        texts, truncation=True, max_length=tokens, padding="max_length", return_tensors="pt"
    )
    check_vocabulary(coded["input_ids"].max(), model)
    check_tokens_known(coded["input_ids"].numpy(), tokenizer)
    check_texts_kept(which_are_lost(coded["input_ids"].tolist(), tokenizer))
    if cut := sum(which_are_cut(coded, tokens)):
        after = how_many(tokens, "token")
        say_once(f"texts that are cut after {after}: {cut} of {len(texts)}")
    mask = coded["attention_mask"].bool()
    # Sorted by length, a batch is as wide as its longest text.
    order = mask.sum(1).argsort()
    shape = (len(texts), tokens, model.config.hidden_size)
    hidden, last = (torch.zeros(shape, dtype=model.dtype) for _ in range(2))
    # Not in inference mode: training reads these tensors with automatic differentiation.
    with torch.no_grad():
        for rows in order.split(EMBEDDED_TOGETHER):
            width = int(mask[rows].sum(1).max())
            batch = {key: value[rows, :width] for key, value in coded.items()}
            found = model(**batch, output_hidden_states=True)
            hidden[rows, :width] = found.hidden_states[-1 - layers]
            last[rows, :width] = found.last_hidden_state
    return hidden, mask, last
