"""What the packages need, and what they say of themselves."""

import importlib
import importlib.metadata
import subprocess
import sys
from importlib.util import find_spec

import pytest

import lora_dropout

WITHOUT = """
import sys
sys.modules |= dict.fromkeys(
    ["pandas", "scipy", "sklearn", "matplotlib", "transformers", "peft", {also}], None
)
{code}
"""


def in_a_bare_environment(code, also=""):
    script = WITHOUT.format(code=code, also=also)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_layer_needs_pytorch_and_numpy_alone():
    code = """
from torch import nn
import lora_dropout, theory
model = lora_dropout.inject(nn.Sequential(nn.Linear(3, 2)), rank=1, p=0.5)
print(lora_dropout.describe(model)[0].sparsity, theory.sparsity(0.5))
"""
    assert in_a_bare_environment(code) == "0.75 0.75"


@pytest.mark.slow
def test_the_theory_needs_numpy_alone():
    """Every module of it, and the one bound that used to need SciPy."""
    code = """
import importlib, pkgutil, theory
for module in pkgutil.iter_modules(theory.__path__):
    importlib.import_module("theory." + module.name)
from theory.langford2005 import binomial_tail_bound
print(round(binomial_tail_bound(0, 100, 0.05), 4))
"""
    assert in_a_bare_environment(code, also='"torch", "mpmath", "sympy"') == "0.0295"


def test_a_package_that_is_not_installed_says_so(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", missing)
        assert importlib.reload(lora_dropout).__version__ == "0+unknown"
    importlib.reload(lora_dropout)
    assert lora_dropout.__version__ != "0+unknown"


def test_what_is_offered_exists():
    assert all(hasattr(lora_dropout, name) for name in lora_dropout.__all__)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_what_bitsandbytes_says_of_itself_stays_off_the_screen():
    code = "import lora_dropout.peft, sys; print('bitsandbytes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.slow
def test_seeded_numbers_of_pytorch_are_left_as_they_are():
    """Neither an import nor looking at layers may change what a caller draws next."""
    code = """
import warnings
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

warnings.simplefilter("ignore")

class Plain(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)

def drawn(config):
    torch.manual_seed(0)
    model = nn.ModuleDict({"plain": Plain(4, 4), "attention": nn.MultiheadAttention(4, 2)})
    get_peft_model(model, config(r=2, target_modules=["plain", "attention"]))
    model["attention"](*[torch.ones(3, 1, 4)] * 3)
    return torch.rand(1).item()

plain = drawn(LoraConfig)
state = torch.random.get_rng_state()
from lora_dropout import inject
from lora_dropout.peft import LoraDropoutConfig
imported = torch.equal(torch.random.get_rng_state(), state)
ours = drawn(lambda **known: LoraDropoutConfig(**known, dropout_rate=0.5))
model = nn.Sequential(Plain(4, 4))
state = torch.random.get_rng_state()
inject(model, rank=2, p=0.5)
print(imported, ours == plain, torch.equal(torch.random.get_rng_state(), state))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\n"
