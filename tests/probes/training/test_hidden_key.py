"""HiddenKey in a transformer, against transformers' own layers, PEFT's modules and autograd."""

import pytest
import torch

from probes.models.encoder import LayerMasks
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.hidden_key import HiddenKey
from probes.training.plan import Training
from probes.training.rival_training import train_rival
from probes.training.rivals import Rival
from tests.probes.models.test_encoder import N, make, make_ids, model_outputs
from tests.probes.training.test_rival_training import agreeing
from tests.probes.training.transformer_twin import adapt, assert_trained_alike

TRAINING = Training(steps=3, lr=0.01, seed=3)


def drop(layer, hidden, keys, hooks):
    """Drop elements of what a layer's feed-forward block gives, and keys of its attention."""
    _, present = make_ids()
    kept = present & (keys > 0)
    kept = kept.where(kept.any(1, keepdim=True), present)
    logits = torch.zeros(N, 1, 1, kept.shape[1]).double().masked_fill(~kept[:, None, None], -1e30)

    def attend(module, args, kwargs):
        return args[:1], kwargs | {"attention_mask": logits}

    hooks.append(layer.attention.self.register_forward_pre_hook(attend, with_kwargs=True))
    hooks.append(layer.output.dense.register_forward_hook(lambda module, args, out: out * hidden))


@pytest.mark.parametrize(("layers", "pooling"), [(2, "mean"), (2, "cls"), (1, "cls")])
def test_an_encoder_is_trained_as_by_two_passes_of_transformers(layers, pooling):
    network, inputs, model = make(layers, pooling)
    start = network.initial_factors(torch.Generator().manual_seed(5))
    weights = torch.cat([full_sample(N), leave_one_out(N)[2:3]])
    together = train_rival(network, inputs, weights, start, TRAINING, Rival("HiddenKey", 0.3))
    drawn = HiddenKey(0.3).draw(network, TRAINING, N)
    adapted = adapt(model, layers, start, network.rank)

    def loss_of(step):
        outputs = []
        for number in range(2):
            hooks = []
            for layer, (hidden, keys) in zip(
                model.encoder.layer[-layers:], drawn[step], strict=True
            ):
                drop(layer, hidden[number], keys[number], hooks)
            outputs.append(model_outputs(model, network.head, pooling))
            for hook in hooks:
                hook.remove()
        return (weights[1] * agreeing(outputs, inputs.targets.argmax(0))).sum()

    assert_trained_alike([(A[1], B[1]) for A, B in together], adapted, TRAINING, loss_of)


def test_an_example_that_would_lose_all_its_keys_keeps_them():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    keys = torch.tensor([[False, False, True], [False, True, True]])
    found = LayerMasks(torch.ones(2, 3, 1), keys).attended(mask)
    assert found.tolist() == [[True, True, False], [False, True, True]]
