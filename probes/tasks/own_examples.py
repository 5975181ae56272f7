"""Examples that somebody brings along, as tensors: NumPy arrays, lists or a Dataset."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from probes.jobs.validation import require
from probes.tasks.own_model import OwnModel, of_users_code
from probes.tasks.vector_checks import LEAST_EXAMPLES

ALLOWED = "a tensor, a NumPy array, a table of pandas or a list, or a Dataset of pairs"


def with_tensors(own: OwnModel) -> OwnModel:
    """Return a model whose examples are tensors.

    Args:
        own: its ``features`` may be a ``torch.utils.data.Dataset`` of pairs (features, target),
            with None for ``targets``. Real numbers get the precision of the model's parameters.

    Raises:
        ValueError: they are none of these, or too few; or tables of pandas whose indices have
            another order.
    """
    features, targets = own.features, own.targets
    _check_order(features, targets)
    if targets is None:
        features, targets = _pairs(features)
    dtype = _precision(own.model)
    made = _tensor("own.features", features, dtype)
    many = len(made) >= LEAST_EXAMPLES
    require(many, "own.features", f"{LEAST_EXAMPLES} examples at least", len(made))
    return replace(own, features=made, targets=_tensor("own.targets", targets, dtype))


def _check_order(features: Any, targets: Any) -> None:
    """Refuse tables whose rows belong together by their index, and not by their places."""
    if not all(isinstance(one, pd.DataFrame | pd.Series) for one in (features, targets)):
        return
    one, other = features.index, targets.index
    shuffled = not one.equals(other) and one.is_unique and set(one) == set(other)
    require(
        not shuffled, "own.targets", "in the order of the features, as their index says: rows that "
        "stand in the same place are one example", "the same index in another order",
    )  # fmt: skip


def _pairs(dataset: Any) -> tuple[Any, Any]:
    """The features and the targets of a Dataset, in its order."""
    known = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    known = known and not isinstance(dataset, IterableDataset)
    if isinstance(dataset, DataLoader):
        raise ValueError("own.features must be a Dataset: give the DataLoader's own, its .dataset")
    require(known, "own.features", "a Dataset of pairs where own.targets is None", _kind(dataset))
    with of_users_code("own.features"):
        items = [dataset[place] for place in range(len(dataset))]
    pairs = all(isinstance(item, tuple | list) and len(item) == 2 for item in items)
    require(pairs and len(items) > 0, "own.features", "a Dataset of pairs (features, target)",
            _kind(items[0]) if items else "an empty one")  # fmt: skip
    features, targets = zip(*items, strict=True)
    return list(features), list(targets)


def _tensor(name: str, values: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(values, Sequence) and not isinstance(values, str | bytes | tuple):
        values = list(values)  # a column of Hugging Face's datasets is read entry by entry
    if isinstance(values, list) and all(isinstance(one, Tensor) for one in values):
        shapes = {tuple(one.shape) for one in values}
        require(len(shapes) == 1, name, "numbers, as many in every row",
                f"tensors of shape {' and '.join(map(str, sorted(shapes)[:3]))}")  # fmt: skip
        values = torch.stack(values)
    if isinstance(values, Tensor):
        dense = values.layout is torch.strided and not values.is_nested
        require(dense and values.dim() > 0, name, "dense, one row an example", _layout(values))
        values = values.detach()
        return values.to(dtype) if values.is_floating_point() else values
    if hasattr(values, "to_numpy"):
        values = _array(name, values)
    require(isinstance(values, np.ndarray | list | tuple), name, ALLOWED, _kind(values))
    require(not np.ma.is_masked(values), name, "without masked values", _kind(values))
    several = isinstance(values, tuple) and any(np.ndim(one) > 0 for one in values)
    require(
        not several, name, f"{ALLOWED}; several inputs of a model stand in one tensor, which it "
        "takes apart", "a tuple of several",
    )  # fmt: skip
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.empty(0, dtype=object)
    fine = array.dtype.kind in "biuf" and array.ndim > 0
    inner = _kind(values[0]) if isinstance(values, list | tuple) and values else array.dtype
    require(fine, name, "numbers, as many in every row", f"{_kind(values)} of {inner}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # PyTorch has no longer numbers
        array = array.astype(np.float64)
    # PyTorch knows the byte order of the machine alone.
    made = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    return made.to(dtype) if made.is_floating_point() else made


def _array(name: str, table: Any) -> Any:
    """A table or a column of pandas as an array; numbers of several kinds are real numbers."""
    if getattr(table, "ndim", 1) != 2:
        return table.to_numpy()
    others = [
        f"{column} of {kind}" for column, kind in table.dtypes.items() if kind.kind not in "biuf"
    ]
    require(not others, name, "numbers in every column", ", ".join(others[:3]))
    array = table.to_numpy()
    return table.to_numpy(float, na_value=np.nan) if array.dtype == object else array


def _precision(model: nn.Module) -> torch.dtype:
    real = [one.dtype for one in model.parameters() if one.is_floating_point()]
    return real[0] if real else torch.float32


def _layout(values: Tensor) -> str:
    return (
        "a nested one" if values.is_nested else f"one of {values.dim()} dimensions, {values.layout}"
    )


def _kind(value: Any) -> str:
    return type(value).__name__
