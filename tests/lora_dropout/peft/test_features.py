"""The page of features says what is so."""

import ast
import re

import pytest

from tests.lora_dropout.peft import features
from tests.lora_dropout.peft.features import HERE, LAYERS, PAGE, USES, page, refuses

TESTS = sorted({test for row in (*LAYERS, *USES) for test in row.tests})


def test_the_page_is_what_the_layers_and_tests_say():
    """Layers are tried for it: python -m tests.lora_dropout.peft.features writes it anew."""
    assert PAGE.read_text() == page()


def definitions(name):
    return {
        one.name: ast.unparse(ast.Module((one.decorator_list and [one]) or [one], []))
        for one in ast.parse((HERE / name).read_text()).body
        if isinstance(one, ast.FunctionDef)
    }


@pytest.mark.parametrize("file", sorted({test.partition("::")[0] for test in TESTS}))
def test_every_test_that_is_named_exists_and_is_not_skipped(file):
    found = definitions(file)
    for test in TESTS:
        where, _, name = test.partition("::")
        if where == file:
            assert name in found
            # One that is left out with an older library alone ("skipif") counts.
            assert not re.search(r"mark\.(skip|xfail)\b", found[name])


def test_what_adalora_has_is_tested_with_adalora():
    """Parametrized by the kind of adapter, or by a name that says it."""
    for use in USES:
        for test in use.adalora or ():
            file, _, name = test.partition("::")
            words = ("@both", "CONFIGS", "'adalora'", "adalora(", "AdaLora")
            assert any(word in definitions(file)[name] for word in words), test


def test_a_cell_that_says_refused_names_a_test_of_that_and_no_other():
    for use in USES:
        for tests in (use.lora or (), use.adalora or ()):
            assert len({refuses(test) for test in tests}) <= 1


def test_a_layer_that_could_not_be_trained_would_not_be_a_yes(monkeypatch):
    """The trial notices masks that are never drawn."""
    layer = next(one for one in LAYERS if one.name == "`nn.Conv2d`")
    monkeypatch.setattr(features, "P", 0.0)
    with pytest.raises(AssertionError):
        features.outcome(layer, features.LoraDropoutConfig)
