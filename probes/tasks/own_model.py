"""A model that somebody brings along, with its data."""

import hashlib
import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.jobs.validation import require


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A model, its data, and how it is adapted.

    Attributes:
        model: the frozen model; it is copied and stays as it is.
        features: (examples, ...), what the model reads: a tensor, a NumPy array or a list; or a
            ``torch.utils.data.Dataset`` of pairs (features, target).
        targets: (examples, ...), as the features; None for a Dataset.
        loss: (outputs, targets) to the loss of every example, (m,).
        score: (outputs, targets) to a score of every example, (m,), such as 1 where a class is
            right; none if left out.
        rank: r of the updates; in a layer with a smaller side, that side.
        target: names of the adapted linear layers, as for ``inject``; all if left out.
        alpha: the updates are scaled by alpha / rank; ``rank`` if left out.
        steps: full-batch steps of Adam.
        lr: learning rate.
        adapt: (model, p, mask seed) to the adapted model, in place of ``inject``: an adapter of
            PEFT, for example, over linear layers, convolutions or embeddings. What it draws from
            PyTorch's generator is the same for every replica of a draw; first factors A of linear
            layers are drawn anew, uniformly, as those of ``inject``.
        noise: whether the model may draw random numbers in training, as nn.Dropout does. Every
            replica then draws the same ones; beta counts what an example's own numbers do, too, so
            that it is not 0 even where all examples are equal.
    """

    model: nn.Module
    features: Any
    targets: Any
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor] | None = None
    rank: int = 4
    target: str | Sequence[str] | None = None
    alpha: float | None = None
    steps: int = 100
    lr: float = 5e-3
    adapt: Callable[[nn.Module, float, int], nn.Module] | None = None
    noise: bool = False

    def __repr__(self) -> str:
        """Name the model by its kind and by a digest of what makes it, the functions left out."""
        settings = (self.rank, self.target, self.alpha, self.steps, self.lr, self.noise)
        digest = hashlib.sha256(repr(settings).encode())
        for values in (*self.model.state_dict().values(), self.features, self.targets):
            if isinstance(values, Tensor):
                digest.update(
                    values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
                )
            elif isinstance(values, np.ndarray | list):
                digest.update(repr(np.asarray(values, dtype=object).tolist()).encode())
        return f"OwnModel({type(self.model).__name__}, {digest.hexdigest()[:12]})"


def load_own(own: OwnModel | str) -> OwnModel:
    """Return the model that a user names.

    Args:
        own: the model itself, or ``FILE.py:NAME``, a name in a Python file, which is run.

    Raises:
        ValueError: no such file or name, or it is no ``OwnModel`` and makes none.
    """
    if isinstance(own, OwnModel):
        return own
    file, _, name = str(own).rpartition(":")
    require(Path(file).is_file(), "own", "FILE.py:NAME, a name in a Python file", repr(own))
    found = runpy.run_path(file).get(name)
    made = found() if callable(found) else found
    require(isinstance(made, OwnModel), "own", "an OwnModel, or a function that makes one", own)
    assert isinstance(made, OwnModel)
    return made
