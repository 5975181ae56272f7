"""EK-FAC: the modules that kronfluence sees, its inverse where that is known, and the whole way."""

import pytest
import torch

from probes import attribution
from probes.landscape.ekfac import Replica, ekfac_inverse
from probes.landscape.newton_plan import EXPECTED_PRODUCTS
from probes.landscape.newton_step import newton_step
from probes.models.encoder import Encoder
from probes.models.losses import cross_entropy
from probes.stability import measure
from probes.training.example_weights import full_sample
from tests.devices import DEVICES
from tests.probes.commands import assert_refused
from tests.probes.encoders import save_bert, write_reviews
from tests.probes.models.test_encoder import SHAPES, TOKENS, make, random_factors


def one_of(factors):
    return [(A[:1], B[:1]) for A, B in factors]


@pytest.mark.parametrize(("layers", "pooling"), SHAPES)
def test_linear_modules_make_the_same_network(layers, pooling):
    network, inputs, _ = make(layers, pooling)
    factors = one_of(random_factors(network))
    outputs = Replica(network, factors, update_scale=0.7)(inputs)
    expected = network.replica_outputs(factors, inputs, update_scale=0.7)[0]
    torch.testing.assert_close(outputs, expected)


def test_the_inverse_is_exact_where_the_curvature_is_a_kronecker_product():
    """One example many times, one token read: gradients are multiples of one outer product.

    Labels are drawn from what the network predicts, whatever else was drawn before.
    """
    whole, several, _ = make(1, "cls")
    network = Encoder(
        whole.layers, whole.head[:2], heads=2, pooling="cls", tokens=TOKENS, rank=3, alpha=6.0,
        loss=cross_entropy,
    ).place(torch.zeros(()))  # fmt: skip
    copies, damping = 64, 1e-6
    inputs = several.take(torch.zeros(copies, dtype=torch.int64)).place(torch.zeros(()))
    inputs = network.read(inputs.hidden, inputs.mask, torch.tensor([[0.0, 1.0]] * copies))
    factors = [(A.float(), B.float()) for A, B in one_of(random_factors(network))]
    flat = torch.cat([factor.flatten() for pair in factors for factor in pair])

    def loss(moved):
        sizes = [factor.numel() for pair in factors for factor in pair]
        parts = iter(moved.split(sizes))
        made = [tuple(next(parts).view(factor.shape) for factor in pair) for pair in factors]
        return network.losses(made, inputs).mean()

    gradient = torch.func.grad(loss)(flat).unsqueeze(0)

    def solved(seed):
        inverse = ekfac_inverse(
            network, inputs, factors, update_scale=1.0, damping=damping, seed=seed
        )
        return inverse(gradient)

    found = solved(0)
    probability = network.replica_outputs(factors, inputs)[0, :, 0].softmax(0)
    # The gradient of the other label is so many times as large.
    other = float(probability[1] / probability[0])
    drawn, start = [], 0
    for size in (factors[0][0].numel(), factors[0][1].numel()):  # those of the query
        own, got = (part[:, start : start + size] for part in (gradient, found))
        scale = float((own / got).mean())
        torch.testing.assert_close(scale * got, own, rtol=1e-3, atol=1e-8)
        square = (scale - damping) / float(own.square().sum())
        drawn.append(copies * (square - other**2) / (1 - other**2))
        start += size
    # Of both factors alike, a whole number, and within 4 deviations of what is expected.
    assert drawn == pytest.approx([round(drawn[0])] * 2, abs=0.05)
    expected = copies * float(probability[1])
    assert abs(drawn[0] - expected) < 4 * (expected * float(probability[0])) ** 0.5
    torch.randn(3)
    weights = full_sample(copies)
    steps = []
    moved, how = newton_step(
        network, inputs, factors, torch.cat([weights, 2 * weights]), update_scale=1.0,
        penalty_weight=0.0, damping=damping, solver="ekfac", seed=0, memory_budget=0,
        progress=steps.append,
    )  # fmt: skip
    after = torch.cat([factor.flatten() for pair in moved for factor in pair])
    # The difference of the two gradients is the gradient.
    torch.testing.assert_close(after[:start], (flat - found[0])[:start], rtol=1e-3, atol=1e-4)
    assert how == "one step by EK-FAC, damping 1e-06"
    assert sum(steps) == copies * EXPECTED_PRODUCTS


@pytest.fixture
def reviews(tmp_path):
    return {
        "task": "text", "data": write_reviews(tmp_path / "reviews.csv"), "text_column": "review",
        "label_column": "liked", "model": save_bert(tmp_path / "model"), "n": 24, "steps": 40,
        "lr": 0.01, "p": 0.1, "solver": "ekfac",
    }  # fmt: skip


@pytest.mark.slow
def test_the_probe_estimates_and_checks_with_it(reviews):
    found = measure(**reviews, draws=1, method="influence", validate=24)
    assert found.rows["effect_how"].unique().tolist() == ["one step by EK-FAC, damping 0.05"]
    assert found.validation["spearman"].item() > 0.5


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("solver", ["ekfac", "cg"])
def test_another_device_gives_the_numbers_of_the_cpu(device, solver, reviews, tmp_path):
    settings = reviews | {
        "solver": solver, "draws": 1, "method": "influence", "validate": 2, "dtype": "float64",
        "n": 4, "steps": 3, "model": save_bert(tmp_path / "narrow", width=8),
    }  # fmt: skip
    here, there = measure(**settings), measure(**settings, device=device)
    assert there.table["beta"].item() == pytest.approx(here.table["beta"].item(), rel=1e-5)


def test_its_attributions_are_scored(reviews):
    found = attribution.measure(**reviews, subsets=30).summary.set_index("score")["mean"]
    assert found["leave-one-out correlation"] > 0.5
    assert found["linear datamodeling score"] > 0.3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--solver", "ekfac"], ["solver", "influence"]),
        (["--method", "influence", "--solver", "ekfac"], ["solver", "tweets", "text"]),
        (["--method", "influence", "--solver", "lu"], ["solver", "cg"]),
    ],
)
def test_a_solver_that_does_not_fit_is_refused(arguments, words, tmp_path):
    assert_refused("stability", arguments, words, tmp_path)
