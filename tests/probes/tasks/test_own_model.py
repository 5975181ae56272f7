"""What stands in an OwnModel, and the file that it comes from, are checked before all else."""

import re

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from probes.tasks.own_model import OwnModel, load_own


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
        ({"adapt": "lora"}, "own.adapt must be a function; got str"),
        ({"rank": 2.5}, "own.rank must be at least 1; got 2.5"),
        ({"steps": 0}, "own.steps must be at least 1; got 0"),
        ({"lr": float("nan")}, "own.lr must be positive and finite; got nan"),
        ({"alpha": 0}, "own.alpha must be positive and finite; got 0"),
        ({"target": 0}, "own.target must be names of layers; got 0"),
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


def test_values_that_can_be_used_are_taken_as_they_are():
    made = own(score=None, alpha=None, target=["0", "2"], rank=3, lr=1)
    assert load_own(made) is made


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = 1\n1/0", "mine.py:own fails: ZeroDivisionError: division by zero (mine.py, line 2)"),
        ("def (", "fails: SyntaxError"),
        ("import nowhere.at.all", "No module named 'nowhere' (mine.py, line 1)"),
        ("def own():\n    raise ValueError('no data')", "fails: no data (mine.py, line 2)"),
        ("def own(name): pass", "missing 1 required positional argument"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
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
