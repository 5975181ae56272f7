"""A model that somebody brings along, with its data."""

import hashlib
import re
import runpy
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lora_dropout.adaptable import parts_of_peft
from probes.jobs.validation import require

#: Files that are not the user's: what is installed, and this project's packages.
INSTALLED = re.compile(r"[/\\](site-packages|dist-packages|lib[/\\]python3\.\d+)[/\\]|^<")
PROJECT = tuple(str(Path(__file__).parents[2] / name) for name in ("probes", "lora_dropout"))


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A model, its data, and how it is adapted.

    Attributes:
        model: the frozen model; it is copied and stays as it is.
        features: (examples, ...), what the model reads: a tensor, a NumPy array, a table of pandas,
            a list or a column of Hugging Face's datasets; or a ``torch.utils.data.Dataset`` of
            pairs (features, target). Real numbers get the model's precision.
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
            PEFT, for example, over linear layers, convolutions or embeddings. p is the largest rate
            of its layers. What it draws from PyTorch's generator is the same for every replica of a
            draw; first factors A of linear layers are drawn anew, uniformly, as those of
            ``inject``.
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
            elif isinstance(values, np.ndarray | list) or hasattr(values, "to_numpy"):
                digest.update(repr(np.asarray(values, dtype=object).tolist()).encode())
        return f"OwnModel({type(self.model).__name__}, {digest.hexdigest()[:12]})"


def load_own(own: OwnModel | str) -> OwnModel:
    """Return the model that a user names.

    Args:
        own: the model itself, or ``FILE.py:NAME``, a name in a Python file, which is run.

    Raises:
        ValueError: no such file or name, the file or its function fails, it is no ``OwnModel`` and
            makes none, or one of its values cannot be used.
    """
    made = own if isinstance(own, OwnModel) else _of_file(own)
    _check(made)
    return made


def _of_file(own: Any) -> OwnModel:
    known = "an OwnModel, or FILE.py:NAME, a name in a Python file"
    require(isinstance(own, str), "own", known, f"a {type(own).__name__}")
    file, _, name = own.rpartition(":")
    there = Path(file).is_file()
    lacking = f": there is no file {file}" if file else ""
    require(there, "own", known, f"{own!r}{lacking}")
    with of_users_code(f"own: {own}"):
        found = runpy.run_path(file).get(name)
        made = found() if callable(found) else found
    require(isinstance(made, OwnModel), "own", "an OwnModel, or a function that makes one", own)
    assert isinstance(made, OwnModel)
    return made


@contextmanager
def of_users_code(what: str) -> Iterator[None]:
    """Turn whatever a user's own code raises into one line that says where.

    Args:
        what: fails, for the message.

    Raises:
        ValueError: something was raised, which is its cause.
    """
    try:
        yield
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        frames = traceback.extract_tb(error.__traceback__)
        own = [
            one for one in frames
            if not INSTALLED.search(one.filename) and not one.filename.startswith(PROJECT)
        ]  # fmt: skip
        place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
        said = lines[0] if isinstance(error, ValueError | RuntimeError) and lines[0] else (
            f"{type(error).__name__}: {lines[0]}".rstrip(": ")
        )  # fmt: skip
        raise ValueError(f"{what} fails: {said}{place}") from error


def _check(own: OwnModel) -> None:
    """Check what stands in an ``OwnModel``, the examples left out."""
    model = own.model
    require(isinstance(model, nn.Module), "own.model", "an nn.Module", _kind(model))
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        require(not is_lazy(weight), "own.model", "initialized by a first pass (LazyLinear)", name)
        require(not weight.is_meta, "own.model", "with values, on no meta device", name)
    peft = parts_of_peft(model)
    plain = "without adapters of PEFT, as after merge_and_unload(); OwnModel(adapt=...) adds one"
    require(not peft, "own.model", plain, ", ".join(peft[:1]))
    for name in ("loss", "score", "adapt"):
        value = getattr(own, name)
        known = callable(value) or (value is None and name != "loss")
        require(known, f"own.{name}", "a function", _kind(value))
    for name in ("rank", "steps"):
        value = getattr(own, name)
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        require(whole and value >= 1, f"own.{name}", "a whole number, at least 1", repr(value))
    for name in ("lr", "alpha"):
        value = getattr(own, name)
        real = isinstance(value, Real) and 0 < float(value) < float("inf")
        known = real or (value is None and name == "alpha")
        require(known, f"own.{name}", "positive and finite", repr(value))
    target = [own.target] if isinstance(own.target, str) else own.target
    names = target is None or (
        isinstance(target, list | tuple | set) and all(isinstance(one, str) for one in target)
    )
    require(names, "own.target", "names of layers", repr(own.target))


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
