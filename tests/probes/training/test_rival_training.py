"""Every rival against PEFT's own modules, one replica after the other, and its own definition."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probes.models.losses import logistic, squared
from probes.models.network import replica
from probes.training.example_masks import ExampleMasks
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.factor_noise import FactorNoise
from probes.training.hidden_key import AGREEMENT, HiddenKey
from probes.training.plan import Training
from probes.training.rival_training import TRAINERS, obstacle, rival_outputs, smooth, train_rival
from probes.training.rivals import RIVALS, Rival
from probes.training.whole_adapters import CoTo, ModuleDropout
from tests.probes.models.test_encoder import make
from tests.probes.training.peft_twin import train_with_peft
from tests.probes.training.test_retrain import (
    N,
    assert_same_factors,
    make_inputs,
    make_network,
    start_of,
)

TRAINING = Training(steps=12, lr=0.01, seed=3)
BATCHES = Training(steps=9, lr=0.01, batch=5, seed=4)


class Masked(nn.Module):
    """In the place of ``nn.Dropout``: a product with a given mask."""

    def forward(self, x):
        return x * self.mask


def drop_inputs(network, training, m):
    drawn = ExampleMasks("inputs", 0.4).draw(network, training, m)

    def before(layers, step):
        for layer, (mask, _) in zip(layers, drawn[step], strict=True):
            layer.lora_dropout["default"] = Masked()
            layer.lora_dropout["default"].mask = mask[0].mT

    return {"before": before}


def drop_rank(network, training, m):
    drawn = ExampleMasks("rank", 0.4).draw(network, training, m)

    def before(layers, step):
        for layer, (mask, _) in zip(layers, drawn[step], strict=True):
            layer.lora_A["default"]._forward_hooks.clear()
            layer.lora_A["default"].register_forward_hook(
                lambda module, args, output, mask=mask: output * mask[0].mT
            )

    return {"before": before}


def skip_adapters(objective):
    def setting(network, training, m):
        def before(layers, step):
            active = objective.active(network, training, step)
            for layer, here in zip(layers, active, strict=True):
                layer.scaling["default"] = network.scaling * here

        return {"before": before}

    return setting


def noisy_factors(network, training, m):
    """By the layer that PEFT has for MonteCLoRA, whose sampler gives the noise."""
    from peft.tuners.lora.config import MontecloraConfig

    drawn = FactorNoise(2.0).draw(network, training, m)

    class Sampler(nn.Module):
        def forward(self):
            return self.noise, torch.ones(1, dtype=torch.float64)

    def before(layers, step):
        for layer, (noise, _) in zip(layers, drawn[step], strict=True):
            layer.lora_monteclora_sampler["default"] = Sampler()
            layer.lora_monteclora_sampler["default"].noise = noise[0].mT

    return {"before": before, "monteclora_config": MontecloraConfig()}


def agreeing(outputs, target):
    """HiddenKey's loss of every example, of the outputs of two passes."""
    entropies = sum(F.cross_entropy(each, target, reduction="none") for each in outputs)
    first, second = (each.log_softmax(-1) for each in outputs)
    apart = F.kl_div(first, second, log_target=True, reduction="none").sum(-1)
    apart = apart + F.kl_div(second, first, log_target=True, reduction="none").sum(-1)
    return (entropies + AGREEMENT * apart) / 2


def hidden_key(network, training, m):
    drawn = HiddenKey(0.3).draw(network, training, m)

    def losses(model, X, target, step):
        activations = [module for module in model.modules() if isinstance(module, nn.ReLU)]
        outputs = []
        for sample in range(2):
            for activation, (mask, _) in zip(activations, drawn[step][:-1], strict=True):
                activation._forward_hooks.clear()
                activation.register_forward_hook(
                    lambda module, args, output, mask=mask[sample, 0]: output * mask.mT
                )
            outputs.append(model(X))
        return agreeing(outputs, target)

    return {"losses": losses}


def smoothed(network, training, m):
    return {
        "losses": lambda model, X, target, step: nn.CrossEntropyLoss(
            label_smoothing=0.2, reduction="none"
        )(model(X), target.argmax(-1))
    }


TWINS = {
    "PEFT lora_dropout": (0.4, drop_inputs),
    "DropLoRA": (0.4, drop_rank),
    "module dropout": (0.4, skip_adapters(ModuleDropout(0.4))),
    "CoTo": (0.8, skip_adapters(CoTo(0.2))),
    "noise on A": (2.0, noisy_factors),
    "HiddenKey": (0.3, hidden_key),
    "label smoothing": (0.2, smoothed),
    "LoRA": (0.0, lambda network, training, m: {}),
}


@pytest.mark.parametrize(
    ("widths", "training"), [((9, 8, 7, 3), TRAINING), ((5, 16, 4), BATCHES)], ids=["", "batches"]
)
@pytest.mark.parametrize("name", TWINS)
def test_replicas_are_trained_as_by_peft_one_after_the_other(name, widths, training):
    strength, setting = TWINS[name]
    network = make_network(widths=widths, rank=2)
    inputs, start = make_inputs(network), start_of(network)
    weights = torch.cat([full_sample(N), leave_one_out(N)[:1]])
    together = train_rival(network, inputs, weights, start, training, Rival(name, strength))
    twin = setting(network, training, min(training.batch or N, N))
    for number, weight in enumerate(weights):
        alone = train_with_peft(network, inputs, weight, start, training, **twin)
        for (A, B), (A_alone, B_alone) in zip(together, alone, strict=True):
            # Adam divides by the root of the squared gradient: rounding grows a little.
            torch.testing.assert_close(A[number], A_alone, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(B[number], B_alone, rtol=1e-7, atol=1e-9)


def train(rival, network=None, weights=None, training=TRAINING, **others):
    network = network or make_network()
    weights = torch.cat([full_sample(N), leave_one_out(N)]) if weights is None else weights
    return train_rival(
        network, make_inputs(network), weights, start_of(network), training, rival, **others
    )


def test_every_rule_has_a_trainer():
    assert {method.rule for method in RIVALS.values()} == set(TRAINERS)


@pytest.mark.parametrize("name", RIVALS)
def test_strength_zero_is_plain_training(name):
    training = replace(TRAINING, steps=TRAINING.steps * RIVALS[name].members)
    network = make_network()
    found, plain = train(Rival(name), training=training), train(Rival("LoRA"))
    outputs, expected = (
        rival_outputs(network, factors, make_inputs(network), rival, seed=0)
        for factors, rival in ((found, Rival(name)), (plain, Rival("LoRA")))
    )
    if name.startswith("seed"):
        assert outputs.shape == expected.shape
    else:
        torch.testing.assert_close(outputs, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", RIVALS)
def test_neither_blocks_nor_the_moment_of_reading_change_what_is_trained(name):
    """Replicas one by one are those of one block, and a checkpoint sees what ends there."""
    rival = Rival(name, RIVALS[name].strengths[0])
    network, inputs = make_network(), make_inputs(make_network())
    seen = []

    def checkpoint(step, rows, factors):
        if step == rival.steps(TRAINING.steps):
            outputs = rival_outputs(network, factors, inputs, rival, seed=0)
            assert len(outputs) == rows.stop - rows.start
            seen.append((rows.start, outputs))

    pieces = [slice(i, i + 1) for i in range(N + 1)]
    apart = train(rival, network, pieces=pieces, checkpoint=checkpoint)
    assert_same_factors(apart, train(rival, network))
    assert [start for start, _ in seen] == list(range(N + 1))
    torch.testing.assert_close(
        torch.cat([outputs for _, outputs in seen]),
        rival_outputs(network, apart, inputs, rival, seed=0),
    )


@pytest.mark.parametrize(
    "changed",
    [
        lambda factors: [(A, 0 * B) for A, B in factors],
        lambda factors: [(A[..., :1], B) for A, B in factors],
        lambda factors: factors[:1],
        lambda factors: None,
    ],
    ids=["masked", "cut", "layers left out", "nothing"],
)
def test_factors_that_are_changed_after_the_last_step_are_refused(changed, monkeypatch):
    """They were never measured: predictions are made of those that the checkpoint gets."""
    monkeypatch.setitem(TRAINERS, "LoRA", lambda run: changed(run.retrain()))
    with pytest.raises(ValueError, match="LoRA must return the factors that it hands to checkpoin"):
        train(Rival("LoRA"))


def test_other_steps_than_those_that_are_asked_for_are_refused(monkeypatch):
    fewer = replace(TRAINING, steps=TRAINING.steps - 1)
    monkeypatch.setitem(TRAINERS, "LoRA", lambda run: replace(run, training=fewer).retrain())
    with pytest.raises(ValueError, match=f"after its {TRAINING.steps} steps: those are what is"):
        train(Rival("LoRA"))


def test_a_training_that_diverged_returns_what_it_hands_over():
    factors = train(Rival("LoRA"), training=replace(TRAINING, lr=1e300))
    assert not all(factor.isfinite().all() for pair in factors for factor in pair)


def test_a_smaller_rank_leaves_components_at_zero_and_trains_the_others_as_alone():
    network = make_network(rank=4, alpha=8.0)
    full = train(Rival("smaller rank", 0.5), network)
    small = make_network(rank=2, alpha=4.0)
    start = [(A[:, :2], B[:, :, :2]) for A, B in start_of(network)]
    weights = torch.cat([full_sample(N), leave_one_out(N)])
    alone = train_rival(small, make_inputs(small), weights, start, TRAINING, Rival("LoRA"))
    assert_same_factors([(A[:, :2], B[:, :, :2]) for A, B in full], alone)
    assert all((A[:, 2:] == 0).all() and (B[:, :, 2:] == 0).all() for A, B in full)


def test_a_seed_ensemble_averages_networks_from_other_starts():
    rival, network = Rival("seed ensemble of 4"), make_network()
    training = replace(TRAINING, steps=4 * TRAINING.steps)
    inputs, weights = make_inputs(network), full_sample(N)
    factors = train(rival, network, weights, training)
    starts = {float(A.sum()) for A, _ in [factors[0]] for A in A}
    assert len(starts) == 4
    first = train(Rival("LoRA"), network, weights)
    assert_same_factors(replica(factors, 0), first)
    outputs = rival_outputs(network, factors, inputs, rival, seed=0)
    each = [network.replica_outputs(replica(factors, number), inputs) for number in range(4)]
    torch.testing.assert_close(outputs, torch.stack(each).mean(0))


def test_smoothed_labels_of_two_classes_are_those_of_a_softmax():
    """Of the outputs 0 and z, whose softmax is the sigmoid of z."""
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    found = logistic.value(z, smooth(logistic, labels.float().unsqueeze(0), 0.3))
    pair = torch.cat([torch.zeros_like(z), z]).mT
    torch.testing.assert_close(
        found, F.cross_entropy(pair, labels, label_smoothing=0.3, reduction="none")
    )


@pytest.mark.parametrize("name", ["HiddenKey", "label smoothing"])
def test_regression_has_no_classes_to_smooth(name):
    network = make_network(widths=(5, 16, 1), loss=squared)
    assert "classes" in obstacle(network, name)
    assert obstacle(make_network(), name) == ""
    inputs = network.read(torch.ones(N, 5), torch.ones(N, 1))
    with pytest.raises(ValueError, match="task with classes, and the loss of this one is squared"):
        train_rival(network, inputs, full_sample(N), start_of(network), TRAINING, Rival(name, 0.1))


def test_of_rank_1_nothing_can_be_left_out():
    """It would be plain LoRA under another name."""
    one, two = make_network(rank=1), make_network(rank=2)
    said = "smaller rank needs a rank of at least 2, and it is 1"
    assert obstacle(one, "smaller rank") == said
    assert obstacle(two, "smaller rank") == obstacle(one, "LoRA Dropout") == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [("CoTo", "needs two adapted layers"), ("HiddenKey", "needs a hidden layer")],
)
def test_a_method_that_needs_several_layers_does_not_apply_to_one(name, said):
    """It would be plain LoRA under another name."""
    network = make_network(widths=(5, 4))
    assert said in obstacle(network, name)
    assert obstacle(make_network(widths=(5, 16, 4)), name) == ""
    inputs = make_inputs(network)
    with pytest.raises(ValueError, match=said):
        train_rival(network, inputs, full_sample(N), start_of(network), TRAINING, Rival(name, 0.1))


@pytest.mark.parametrize(("layers", "said"), [(1, "needs two adapted layers"), (2, "")])
def test_a_single_transformer_layer_cannot_be_dropped(layers, said):
    """Its query and value are adapted, and dropped together."""
    network, _, _ = make(layers, "cls")
    assert network.depth == layers
    assert obstacle(network, "HiddenKey") == ""
    assert obstacle(network, "CoTo").startswith(f"CoTo {said}" if said else "")
    assert bool(obstacle(network, "CoTo")) == bool(said)


def test_members_share_the_steps_of_one_network():
    assert Rival("seed ensemble of 4").steps(3) == 1
    assert Rival("early stopping", 0.9).steps(4) == 1
    assert Rival("LoRA Dropout, N = 4", 0.5).steps(100) == 100
    assert [RIVALS[name].passes for name in ("LoRA", "LoRA Dropout, N = 4", "HiddenKey")] == [
        1,
        4,
        2,
    ]
    assert RIVALS["LoRA Dropout, ensemble of 16"].test_passes == 16


def test_updates_are_scaled_by_their_expectation():
    assert Rival("LoRA Dropout", 0.5).update_scale == 0.25
    assert Rival("LoRA Dropout, rescaled", 0.5).update_scale == 1
    assert Rival("module dropout, expected weight", 0.25).update_scale == 0.75
    assert Rival("shrinking", 0.25).update_scale == 0.75
    assert Rival("PEFT lora_dropout", 0.25).update_scale == 1


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [
        ("DropLoRa", 0.1, "method must be one of LoRA, "),
        ("DropLoRA", 1.0, r"strength of DropLoRA must lie in \[0, 1\), got 1.0"),
        ("weight decay", -1.0, r"strength of weight decay must lie in \[0, inf\), got -1.0"),
        ("CoTo", float("nan"), "got nan"),
    ],
)
def test_what_is_no_rival_is_refused(name, strength, message):
    with pytest.raises(ValueError, match=message):
        Rival(name, strength)
