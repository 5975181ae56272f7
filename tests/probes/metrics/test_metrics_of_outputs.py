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


def changes(on_train):
    """Change of every example's loss when it is left out."""
    loss = torch.nn.functional.cross_entropy
    on_s = [loss(one.T, torch.arange(EXAMPLES) % CLASSES, reduction="none") for one in on_train]
    return [float(on_s[i + 1][i] - on_s[0][i]) for i in range(EXAMPLES)]


def test_measures_are_their_definitions(outputs):
    on_train, on_test = outputs
    found = measured(on_train, on_test)
    loss = torch.nn.functional.cross_entropy
    on_s = [loss(one.T, torch.arange(EXAMPLES) % CLASSES, reduction="none") for one in on_train]
    test = loss(on_test[0].T, torch.arange(HELD_OUT) % CLASSES)
    change = changes(on_train)
    right = on_test[0].argmax(0) == torch.arange(HELD_OUT) % CLASSES
    assert found["gap"] == pytest.approx(float(test - on_s[0].mean()), rel=1e-5)
    assert found["beta_signed"] == pytest.approx(sum(change) / EXAMPLES, rel=1e-4)
    assert found["beta"] == pytest.approx(sum(map(abs, change)) / EXAMPLES, rel=1e-4)
    assert found["test_score"] == pytest.approx(float(right.float().mean()))


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
    assert found["beta"] == pytest.approx(sum(others) / len(others), rel=1e-4)
    assert (found["diverged"], sound["diverged"]) == (1, 0)
