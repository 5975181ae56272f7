"""What is measured of outputs; a diverged replica has no numbers."""

from math import isfinite, isnan
from types import SimpleNamespace

import pytest
import torch

from probes.metrics.metrics_of_outputs import measure_outputs
from probes.models.losses import cross_entropy

EXAMPLES, HELD_OUT, CLASSES = 4, 5, 3


def held(count):
    return SimpleNamespace(targets=torch.eye(CLASSES)[torch.arange(count) % CLASSES].T)


@pytest.fixture
def outputs():
    """Of five replicas on S, and of the first on held-out examples."""
    generator = torch.Generator().manual_seed(0)
    shapes = (EXAMPLES + 1, CLASSES, EXAMPLES), (1, CLASSES, HELD_OUT)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def measured(on_train, on_test):
    return measure_outputs(cross_entropy, on_train, held(EXAMPLES), on_test, held(HELD_OUT))


def losses(outputs):
    """Of one network on every example, in float64."""
    labels = torch.arange(outputs.shape[-1]) % CLASSES
    return torch.nn.functional.cross_entropy(outputs.double().T, labels, reduction="none")


def right(outputs):
    """Share of the examples whose class one network predicts."""
    labels = torch.arange(outputs.shape[-1]) % CLASSES
    return sum((outputs.argmax(0) == labels).tolist()) / len(labels)


def changes(on_train):
    """Change of every example's loss when it is left out."""
    on_s = [losses(one) for one in on_train]
    return [float(on_s[i + 1][i] - on_s[0][i]) for i in range(EXAMPLES)]


def test_measures_are_their_definitions_in_float64(outputs):
    on_train, on_test = outputs
    found = measured(on_train, on_test)
    train, test, change = losses(on_train[0]), losses(on_test[0]), changes(on_train)
    expected = {
        "train_loss": float(train.mean()), "test_loss": float(test.mean()),
        "gap": float(test.mean() - train.mean()), "beta_signed": sum(change) / EXAMPLES,
        "beta": sum(map(abs, change)) / EXAMPLES,
        "train_score": right(on_train[0]), "test_score": right(on_test[0]),
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name
    assert 0 < found["train_score"] < 1
    alone = measured(on_train[:1], on_test)
    assert alone == {name: found[name] for name in expected if "beta" not in name}


@pytest.mark.parametrize("lost", [slice(None), 0], ids=["everywhere", "on one example"])
def test_a_network_that_diverged_has_no_numbers(outputs, lost):
    on_train, on_test = outputs
    on_train[0, :, lost], on_test[0, :, lost] = float("nan"), float("nan")
    found = measured(on_train, on_test)
    assert found.pop("diverged") == EXAMPLES
    assert all(isnan(value) for value in found.values())


def test_a_replica_that_diverged_is_left_out_and_counted(outputs):
    on_train, on_test = outputs
    sound = measured(on_train, on_test)
    on_train[2] = float("nan")
    found = measured(on_train, on_test)
    for name in ("train_loss", "test_loss", "train_score", "test_score", "gap"):
        assert isfinite(found[name])
        assert found[name] == sound[name]
    # Replica 2 leaves out example 1.
    others = [abs(change) for i, change in enumerate(changes(on_train)) if i != 1]
    assert found["beta"] == pytest.approx(sum(others) / len(others), rel=1e-12)
    assert (found["diverged"], sound["diverged"]) == (1, 0)
