"""What stands in an OwnModel, and the file that it comes from, are checked before all else."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from probes.tasks.own_model import OwnModel, load_own, of_users_code


def own(**changes):
    known = {"model": nn.Linear(2, 2), "features": torch.zeros(4, 2), "targets": torch.zeros(4)}
    return OwnModel(**(known | {"loss": lambda outputs, targets: outputs} | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": nn.Linear}, "own.model must be an nn.Module; got the class Linear"),
        ({"model": None}, "own.model must be an nn.Module; got NoneType"),
        ({"model": nn.LazyLinear(2)}, "own.model must be initialized by a first pass"),
        ({"model": nn.Linear(2, 2, device="meta")}, "own.model must be with values"),
        ({"loss": "mse"}, "own.loss must be a function; got str"),
        ({"loss": None}, "own.loss must be a function; got NoneType"),
        ({"score": 1.0}, "own.score must be a function; got float"),
        ({"adapt": "lora"}, "own.adapt must be a function; got str"),
        ({"rank": 2.5}, "own.rank must be a whole number, at least 1; got 2.5"),
        ({"steps": 0}, "own.steps must be a whole number, at least 1; got 0"),
        ({"lr": float("nan")}, "own.lr must be positive and finite; got nan"),
        ({"lr": None}, "own.lr must be positive and finite; got None"),
        ({"alpha": 0}, "own.alpha must be positive and finite; got 0"),
        ({"target": 0}, "own.target must be names of layers; got 0"),
        ({"target": ["0", 1]}, "own.target must be names of layers; got ['0', 1]"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        load_own(own(**changes))


def test_an_adapter_of_peft_is_not_adapted_again():
    """Its factors are linear layers, which ours would be put on."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    inject_adapter_in_model(LoraConfig(target_modules=["1"]), model)
    with pytest.raises(ValueError, match=r"without adapters of PEFT.*; got 1$"):
        load_own(own(model=model))


@pytest.mark.parametrize("target", [None, "0", ["0", "2"], ("0",), {"2"}])
def test_values_that_can_be_used_are_taken_as_they_are(target):
    made = own(score=None, alpha=None, target=target, rank=1, steps=1, lr=1)
    assert load_own(made) is made


def test_numbers_of_numpy_are_numbers():
    made = own(rank=np.int64(2), steps=np.int32(3), lr=np.float32(0.1), alpha=np.int64(4))
    assert load_own(made) is made


def test_a_name_tells_models_apart_by_all_that_makes_their_numbers():
    """It stands in the manifest of a run."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    other = copy.deepcopy(model)
    other[1].num_batches_tracked += 1
    values = [[1.0, 2.0], [3.0, 4.0]]
    kinds = (torch.tensor, np.asarray, pd.DataFrame, list)
    made = [
        *(own(model=one, features=torch.tensor(values).T) for one in (model, other)),
        *(own(model=model, features=kind(values)) for kind in kinds[:2]),
        *(own(model=model, features=kind(values[::-1])) for kind in kinds),
        own(model=model, rank=5), own(model=model, noise=True),
    ]  # fmt: skip
    names = [repr(one) for one in made]
    assert names == [repr(copy.deepcopy(one)) for one in made]
    # What a list, an array and a table hold counts, not which of them holds it.
    assert len(set(names)) == len(names) - 2
    assert all(name.startswith("OwnModel(Sequential, ") for name in names)


@pytest.mark.parametrize("name", ["made", "make"])
def test_a_file_has_the_model_or_a_function_that_makes_it(name, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom probes.own_model import OwnModel\n"
        "made = OwnModel(nn.Linear(2, 2), [], [], nn.MSELoss(reduction='none'))\n"
        "def make():\n    return made\n"
    )
    assert type(load_own(f"{tmp_path / 'mine.py'}:{name}").model) is nn.Linear
    with pytest.raises(ValueError, match=r"a function that makes one; got .*mine\.py:nn$"):
        load_own(f"{tmp_path / 'mine.py'}:nn")


@pytest.mark.parametrize(
    ("given", "words"),
    [("nowhere.py:own", "got 'nowhere.py:own': there is no file nowhere.py"), ("own", "got 'own'")],
)
def test_a_file_that_is_not_there_is_named(given, words):
    with pytest.raises(ValueError, match=f"own must be an OwnModel, or FILE.py:NAME.*; {words}$"):
        load_own(given)


def test_memory_that_is_not_there_is_no_failure_of_the_users_code():
    with pytest.raises(MemoryError), of_users_code("own.model"):
        raise MemoryError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1\n1/0", "mine.py:own fails: ZeroDivisionError: division by zero (mine.py, line 2)"),
        ("def (", "fails: SyntaxError"),
        ("import nowhere.at.all", "No module named 'nowhere' (mine.py, line 1)"),
        ("def own():\n    raise ValueError('no data')", "fails: no data (mine.py, line 2)"),
        ("def own(name): pass", "missing 1 required positional argument"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def own():\n    assert not 1", "mine.py:own fails: AssertionError (mine.py, line 2)"),
        (
            "import json\njson.loads('{')",
            "double quotes: line 1 column 2 (char 1) (mine.py, line 2)",
        ),
        ("from lora_dropout import inject\n\ninject(3)", "(mine.py, line 3)"),
    ],
)
def test_a_file_that_fails_is_one_line_with_its_place(content, words, tmp_path):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        load_own(f"{tmp_path / 'mine.py'}:own")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("given", [nn.Linear(2, 2), {}, 3])
def test_what_is_no_own_model_is_named_by_its_kind(given):
    with pytest.raises(ValueError, match=f"or FILE.py:NAME.* got a {type(given).__name__}"):
        load_own(given)
