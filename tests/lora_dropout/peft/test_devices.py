"""A model with adapters on another device trains and predicts as on the CPU."""

import pytest
import torch

from lora_dropout import Ensemble, backward_over_samples, grouped_samples
from tests.devices import DEVICES
from tests.lora_dropout.peft.models import CONFIGS, MODELS, adapted, batch_for


def here_and_there(name, config, device):
    """The same adapters twice, and a batch for each, on the CPU and on the device."""
    batch = batch_for(name)
    for place in ("cpu", device):
        model = adapted(name, CONFIGS[config], p=0.4).to(place)
        model.config.use_cache = False
        yield model, {key: value.to(place) for key, value in batch.items()}


def trained(model, batch, objective):
    """The factors after two steps."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        objective(model, batch)
        optimizer.step()
    return {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


def one_sample(model, batch):
    model(**batch).loss.backward()


def three_passes(model, batch):
    backward_over_samples(model, lambda: model(**batch).loss, samples=3)


def one_group(model, batch):
    with grouped_samples(model, 3):
        model(**{key: value.repeat(3, *[1] * (value.dim() - 1)) for key, value in batch.items()}
              ).loss.backward()  # fmt: skip


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("objective", [one_sample, three_passes, one_group])
def test_training(device, config, name, objective):
    if (name, objective) == ("deberta", one_group):
        pytest.skip("its relative positions have no batch")
    here, there = (trained(*made, objective) for made in here_and_there(name, config, device))
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("name", MODELS)
def test_ensembles(device, name):
    means = []
    for model, batch in here_and_there(name, "lora", device):
        means.append(Ensemble(model, 3, lambda result: result.logits)(**batch).detach().cpu())
    torch.testing.assert_close(means[1], means[0], rtol=1e-4, atol=1e-5)
