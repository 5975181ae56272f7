"""Masks of every token's own in a transformer, against PEFT's modules and autograd."""

import pytest
import torch
from torch.nn import functional as F

from probes.training.example_masks import ExampleMasks
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.plan import Training
from probes.training.rival_training import train_rival
from probes.training.rivals import Rival
from tests.probes.models.test_encoder import N, make, model_outputs
from tests.probes.training.test_rival_training import Masked
from tests.probes.training.transformer_twin import adapt, assert_trained_alike

TRAINING = Training(steps=4, lr=0.01, seed=3)


def hold(layer, place, mask):
    if place == "inputs":
        layer.lora_dropout["default"] = Masked()
        layer.lora_dropout["default"].mask = mask[0]
    else:
        layer.lora_A["default"]._forward_hooks.clear()
        layer.lora_A["default"].register_forward_hook(
            lambda module, args, output: output * mask[0].permute(1, 2, 0)
        )


@pytest.mark.parametrize(("layers", "pooling"), [(2, "mean"), (2, "cls"), (1, "cls")])
@pytest.mark.parametrize(("name", "place"), [("PEFT lora_dropout", "inputs"), ("DropLoRA", "rank")])
def test_an_encoder_is_trained_as_by_peft(name, place, layers, pooling):
    network, inputs, model = make(layers, pooling)
    start = network.initial_factors(torch.Generator().manual_seed(5))
    weights = torch.cat([full_sample(N), leave_one_out(N)[2:3]])
    together = train_rival(network, inputs, weights, start, TRAINING, Rival(name, 0.4))
    drawn = ExampleMasks(place, 0.4).draw(network, TRAINING, N)
    adapted = adapt(model, layers, start, network.rank)

    def loss_of(step):
        for layer, (mask, _) in zip(adapted, drawn[step], strict=True):
            hold(layer, place, mask)
        outputs = model_outputs(model, network.head, pooling)
        losses = F.cross_entropy(outputs, inputs.targets.argmax(0), reduction="none")
        return (weights[1] * losses).sum()

    assert_trained_alike([(A[1], B[1]) for A, B in together], adapted, TRAINING, loss_of)
