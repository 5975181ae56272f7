"""Passes that are written down, and run later or never, have the masks that a pass has."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, jvp, linearize
from torch.fx.experimental.proxy_tensor import make_fx

from lora_dropout import Ensemble, inject, mask_schedule
from lora_dropout.tracing import is_traced

X = torch.linspace(-1, 1, 18).reshape(3, 6)


def make_model():
    torch.manual_seed(0)
    model = inject(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), rank=2, p=0.5)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B"):
            nn.init.normal_(parameter)
    return model


def traced(ensemble):
    return torch.jit.trace(ensemble, (X,), check_trace=False)(X)


def exported(ensemble):
    return torch.export.export(ensemble, (X,), strict=False).module()(X)


WAYS = {
    "torch.jit.trace": traced,
    "torch.export": exported,
    "make_fx": lambda ensemble: make_fx(ensemble)(X)(X),
    "torch.compile": lambda ensemble: torch.compile(ensemble, backend="eager")(X),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_an_ensemble_that_is_written_down_has_all_its_members(way):
    model = make_model()
    before, ensemble = model(X).detach(), Ensemble(model.train(), 3)
    expected = ensemble(X)
    assert torch.equal(WAYS[way](ensemble), expected)
    assert torch.equal(ensemble(X), expected)
    # The model trains on with its masks.
    assert torch.equal(model(X), before)


@pytest.mark.filterwarnings("ignore")
def test_an_ensemble_is_linearized():
    ensemble, along = Ensemble(make_model(), 3), X.flip(0)
    _, linear = linearize(ensemble, X)
    torch.testing.assert_close(linear(along), jvp(ensemble, (X,), (along,))[1])


@pytest.mark.filterwarnings("ignore")
def test_a_training_pass_is_linearized_in_the_factors():
    model = make_model()
    factors = {name: one.detach() for name, one in model.named_parameters() if one.requires_grad}
    model(X)

    def outputs(factors):
        return functional_call(model, factors, (X,))

    _, linear = linearize(outputs, factors)
    _, expected = jvp(outputs, (factors,), (factors,))
    torch.testing.assert_close(linear(factors), expected)
    assert mask_schedule(model).step == 0


def meta(model):
    model.to("meta")(X.to("meta"))


def faked(model):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model(mode.from_tensor(X))
        assert is_traced()


@pytest.mark.parametrize("way", [meta, faked])
def test_training_passes_without_values_say_nothing_of_an_update(way):
    model = make_model()
    for _ in range(2):
        way(model)
    assert mask_schedule(model).step == 0


def test_masks_that_are_drawn_within_a_pass_without_values_have_some():
    model, other = make_model(), make_model()
    for one in (model, other):
        mask_schedule(one).reseed(3)
    faked(model)
    assert torch.equal(model(X), other(X))
