"""Examples that are no tensors give the tensors that they would be; others are refused by name."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from probes.tasks.own_examples import with_tensors
from probes.tasks.own_model import OwnModel

FEATURES = np.arange(12.0).reshape(6, 2)
TARGETS = np.arange(6) % 2
HUGGING_FACE = Dataset.from_dict({"x": FEATURES.tolist(), "y": TARGETS.tolist()})


class Failing(list):
    """Examples whose files are not there."""

    def __len__(self):
        return 6

    def __getitem__(self, place):
        raise KeyError(f"image {place}")


class Stream(IterableDataset):
    def __len__(self):
        return 6

    def __iter__(self):
        return iter(zip(FEATURES, TARGETS, strict=True))


def brought(features, targets):
    own = OwnModel(nn.Linear(2, 2), features, targets, lambda outputs, targets: outputs)
    made = with_tensors(own)
    return made.features, made.targets


@pytest.mark.parametrize(
    ("features", "targets"),
    [
        (FEATURES, TARGETS), (FEATURES.tolist(), TARGETS.tolist()),
        (TensorDataset(torch.from_numpy(FEATURES).float(), torch.from_numpy(TARGETS)), None),
        (torch.from_numpy(FEATURES).float(), torch.from_numpy(TARGETS)),
        (torch.from_numpy(FEATURES).requires_grad_(), torch.from_numpy(TARGETS)),
        (pd.DataFrame(FEATURES), pd.Series(TARGETS)),
        (pd.DataFrame(FEATURES, index=[9, 4, 7, 1, 2, 0]), pd.Series(TARGETS)),
        (list(torch.from_numpy(FEATURES)), list(torch.from_numpy(TARGETS))),
        (list(zip(FEATURES.tolist(), TARGETS.tolist(), strict=True)), None),
        (list(zip(FEATURES, TARGETS, strict=True)), None),
        (FEATURES.astype(">f8"), TARGETS.astype(">i8")),
        (FEATURES.astype(np.longdouble), TARGETS),
        (HUGGING_FACE["x"], HUGGING_FACE["y"]),
        (HUGGING_FACE.with_format("torch")["x"], HUGGING_FACE.with_format("torch")["y"]),
    ],
    ids=["NumPy", "lists", "Dataset", "tensors", "other precision", "pandas", "other index",
         "lists of tensors",
         "pairs of lists", "pairs of NumPy", "other byte order", "longer numbers",
         "columns of datasets", "columns of tensors"],
)  # fmt: skip
def test_all_kinds_give_the_same_tensors_in_the_precision_of_the_model(features, targets):
    found, classes = brought(features, targets)
    assert torch.equal(found, torch.arange(12.0).reshape(6, 2))
    assert not found.requires_grad
    assert torch.equal(classes, torch.tensor([0, 1] * 3))


@pytest.mark.parametrize(
    ("features", "targets", "words"),
    [
        ("texts", TARGETS, "own.features must be a tensor, a NumPy array, a table"),
        ([[1], [2, 3]], TARGETS, "own.features must be numbers, as many in every row"),
        (FEATURES, ["a"] * 6, "own.targets must be numbers"),
        (TensorDataset(torch.zeros(6, 2)), None, "a Dataset of pairs (features, target)"),
        (3, None, "a Dataset of pairs where own.targets is None"),
        ((FEATURES, FEATURES), TARGETS, "several inputs of a model stand in one tensor"),
        (
            torch.tensor(1.0),
            TARGETS,
            "own.features must be dense, one row an example; got one of 0",
        ),
        (torch.eye(6).to_sparse(), TARGETS, "own.features must be dense"),
        ([torch.zeros(2), torch.zeros(3)], TARGETS, "tensors of shape (2,) and (3,)"),
        (np.ma.masked_greater(FEATURES, 3), TARGETS, "own.features must be without masked values"),
        (Failing([]), None, "own.features fails: KeyError: 'image 0' (test_own_examples.py, line"),
        (DataLoader([(0, 1)] * 6), None, "give the DataLoader's own, its .dataset"),
        (Stream(), None, "a Dataset of pairs where own.targets is None; got Stream"),
        (
            pd.DataFrame(FEATURES).assign(name="a"),
            TARGETS,
            "own.features must be numbers in every column; got name of ",
        ),
        (FEATURES[:2], TARGETS[:2], "own.features must be 3 examples at least; got 2"),
        (
            pd.DataFrame(FEATURES)[::-1],
            pd.Series(TARGETS),
            "own.targets must be in the order of the features",
        ),
        (
            [({"x": 1}, 0)],
            None,
            "own.features must be numbers, as many in every row; got list of d",
        ),
    ],
)
def test_other_examples_are_refused_by_name(features, targets, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        brought(features, targets)


def test_a_table_of_several_kinds_of_numbers_is_real():
    whole = pd.array([1, None, 5], dtype="Int64")
    found, _ = brought(
        pd.DataFrame({"a": [True, False, True], "b": [1, 2, 3], "c": whole}), [0] * 3
    )
    expected = torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, float("nan")], [1.0, 3.0, 5.0]])
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_a_model_is_named_by_what_it_is_made_of():
    """The name stands in the manifest: the same model again is the same run."""

    def named(**changes):
        torch.manual_seed(0)
        known = {"model": nn.Linear(2, 2), "features": FEATURES, "targets": TARGETS}
        return repr(OwnModel(**(known | {"loss": lambda outputs, targets: outputs} | changes)))

    assert named() == named()
    others = [{"features": FEATURES + 1}, {"rank": 2}, {"model": nn.Linear(2, 2)},
              {"features": torch.zeros(6, 2, dtype=torch.bfloat16)},
              {"features": pd.DataFrame(FEATURES + 2)}]  # fmt: skip
    assert len({named(), *(named(**other) for other in others)}) == 6
