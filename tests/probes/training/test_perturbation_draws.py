"""What perturbs has the expectation and the spread that its method states."""

import pytest
import torch

from probes.models.losses import logistic
from probes.training.example_masks import ExampleMasks
from probes.training.factor_noise import FactorNoise
from probes.training.hidden_key import HiddenKey, divergence_gradient
from probes.training.plan import Training
from probes.training.whole_adapters import CoTo, ModuleDropout
from tests.probes.models.test_encoder import make
from tests.probes.training.test_retrain import make_network

#: Five standard errors: 6e-7 a comparison.
ERRORS = 5
TRAINING = Training(steps=400, lr=0.1, seed=7)
NETWORK = make_network(widths=(6, 8, 3), rank=2)


def of_layer(drawn, layer, steps=400):
    return torch.stack([drawn[step][layer][0] for step in range(steps)])


def test_masks_of_examples_keep_with_the_rate_and_are_rescaled():
    for place, width in (("inputs", 6), ("rank", 2)):
        masks = of_layer(ExampleMasks(place, 0.3).draw(NETWORK, TRAINING, 5), 0)
        assert masks.shape == (400, 1, width, 5)
        torch.testing.assert_close(masks.unique(), torch.tensor([0.0, 1 / 0.7]).to(masks))
        error = (0.3 / 0.7 / masks.numel()) ** 0.5
        assert abs(float(masks.mean()) - 1) < ERRORS * error
        assert len(masks[0, 0].unique(dim=1).mT) > 1


def test_hidden_masks_fall_on_hidden_layers_alone_and_differ_between_the_passes():
    drawn = HiddenKey(0.3).draw(NETWORK, TRAINING, 5)
    masks = of_layer(drawn, 0)
    assert masks.shape == (400, 2, 1, 8, 5)
    assert drawn[0][1][0].numel() == 0
    assert abs(float(masks.mean()) - 1) < ERRORS * (0.3 / 0.7 / masks.numel()) ** 0.5
    assert not torch.equal(masks[:, 0], masks[:, 1])


def test_noise_has_mean_zero_and_the_spread_in_units_of_the_initial_factor():
    noise = of_layer(FactorNoise(2.0).draw(NETWORK, TRAINING, 5), 0)
    spread = 2 / 18**0.5
    assert noise.shape == (400, 1, 1, 2, 6)
    assert abs(float(noise.mean())) < ERRORS * spread / noise.numel() ** 0.5
    # The variance of a normal's square is twice its square.
    variance = float(noise.square().mean())
    assert abs(variance - spread**2) < ERRORS * spread**2 * (2 / noise.numel()) ** 0.5
    initial = torch.cat([
        NETWORK.initial_factors(torch.Generator().manual_seed(seed))[0][0] for seed in range(400)
    ])  # fmt: skip
    # A uniform number's fourth moment is 9/5 of its squared variance.
    error = (0.8 / initial.numel()) ** 0.5
    assert abs(float(initial.square().mean()) * 18 - 1) < ERRORS * error


def test_adapters_are_dropped_with_the_rate_and_independently():
    active = torch.tensor(
        [ModuleDropout(0.3).active(NETWORK, TRAINING, step) for step in range(2000)]
    ).double()
    assert ((active.mean(0) - 0.7).abs() < ERRORS * (0.21 / 2000) ** 0.5).all()
    both = float(active.prod(1).mean())
    assert abs(both - 0.49) < ERRORS * (0.49 * 0.51 / 2000) ** 0.5
    (mask_in, mask_out), _ = ModuleDropout(0.3).draw(NETWORK, TRAINING, 5)[0]
    assert mask_in.unique().numel() == 1
    assert mask_out.unique().tolist() == [1.0]


def test_coto_raises_the_rate_and_never_drops_all():
    plan = Training(steps=4000, lr=0.1, seed=1)
    active = torch.tensor([CoTo(0.1).active(NETWORK, plan, step) for step in range(4000)])
    assert active.any(1).all()
    assert active[3000:].all()
    # Given that one is active, each is with probability p / (1 - (1 - p)^2) = 1 / (2 - p).
    p = torch.tensor([CoTo(0.1).probability(plan, step) for step in range(3000)])
    share = 1 / (2 - p)
    error = (share * (1 - share)).mean().sqrt() / 3000**0.5
    assert ((active[:3000].double().mean(0) - share.mean()).abs() < ERRORS * error).all()


@pytest.mark.parametrize(
    ("steps", "probabilities"), [(1, [0.1]), (2, [0.1, 0.55]), (3, [0.1, 0.4, 0.7])]
)
def test_of_few_steps_three_quarters_are_rounded_up(steps, probabilities):
    plan = Training(steps=steps, lr=0.1)
    found = [CoTo(0.1).probability(plan, step) for step in range(steps)]
    assert found == pytest.approx(probabilities)


def test_coto_drops_the_adapters_of_a_transformer_layer_together():
    network, _, _ = make(2, "cls")
    plan = Training(steps=200, lr=0.1, seed=1)
    active = torch.tensor([CoTo(0.3).active(network, plan, step) for step in range(100)])
    assert active.shape == (100, len(network.sides)) == (100, 4)
    assert torch.equal(active[:, 0], active[:, 1])
    assert torch.equal(active[:, 2], active[:, 3])
    assert not torch.equal(active[:, 0], active[:, 2])


def test_equal_seeds_draw_equally_and_others_do_not():
    for objective in (
        ExampleMasks("inputs", 0.3), HiddenKey(0.3), FactorNoise(1.0), ModuleDropout(0.5), CoTo(0.3)
    ):  # fmt: skip
        first, again, other = (
            of_layer(objective.draw(NETWORK, Training(40, 0.1, seed=seed), 5), 0, 40)
            for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_divergence_of_two_classes_by_autograd():
    z = torch.tensor([[0.3, -2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[1.3, -1.0, -4.0]], dtype=torch.float64)
    p, q = z.sigmoid(), other.sigmoid()
    total = sum(
        (a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()).sum() for a, b in ((p, q), (q, p))
    )
    (expected,) = torch.autograd.grad(total, z)
    torch.testing.assert_close(divergence_gradient(logistic, z.detach(), other), expected)
