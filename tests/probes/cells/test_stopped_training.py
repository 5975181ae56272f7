"""A training that is looked at on the way is, at every stop, a training that ends there."""

import pytest
import torch

from probes.cells.stopped_training import Setting, outputs_at_stops, told_work
from probes.cells.tuning_parts import prepare_part
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import silent
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.rivals import RIVALS

N, STEPS = 6, 12
(BASE,) = StabilitySettings(task="digits", n=N, steps=STEPS, draws=1).cells()


@pytest.fixture
def ready():
    return prepare_part(BASE, "all")


@pytest.mark.parametrize(
    ("method", "share", "steps", "stop"),
    [
        ("LoRA", 1.0, 8, 8), ("LoRA", 0.45, 8, 4), ("LoRA", 0.01, 8, 1),
        ("seed ensemble of 4", 1.0, 8, 2), ("seed ensemble of 4", 0.5, 40, 5),
    ],
)  # fmt: skip
def test_a_stop_is_the_nearest_step_of_every_network_and_at_least_the_first(
    method, share, steps, stop
):
    assert Setting(0.0, 0.01, share).stop(method, steps) == stop


@pytest.mark.parametrize("method", ["LoRA", "seed ensemble of 4"])
def test_of_the_first_inputs_the_first_replica_alone_is_predicted(ready, method):
    """Also where replicas train in several blocks."""
    weights = torch.cat([full_sample(N), leave_one_out(N)])
    settings = [Setting(0.0, 0.01, 0.25), Setting(0.0, 0.01, 1.0)]

    def outputs():
        inputs = ready.train, ready.test
        return dict(outputs_at_stops(ready, method, weights, settings, inputs, silent, first=(1,)))

    whole = outputs()
    ready.network.block_activations = 1
    for setting, (on_train, on_test) in outputs().items():
        assert on_train.shape == (N + 1, 10, N)
        assert on_test.shape == (1, 10, len(ready.test))
        assert on_train.dtype == on_test.dtype == torch.float64
        torch.testing.assert_close(on_train, whole[setting][0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(on_test, whole[setting][1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["LoRA", "LoRA Dropout, N = 4", "seed ensemble of 4", "CoTo"])
def test_the_work_is_what_is_done_until_the_last_stop(ready, method):
    strength = RIVALS[method].strengths[0]
    settings = [
        Setting(strength, 0.01, 0.25), Setting(strength, 0.01, 0.7), Setting(strength, 0.02, 0.3)
    ]  # fmt: skip
    told = []
    stopped = outputs_at_stops(
        ready, method, leave_one_out(N), settings, (ready.train,), told.append
    )
    assert len(list(stopped)) == len(settings)
    assert sum(told) == N * told_work(method, settings, STEPS)
    whole = told_work(method, [Setting(strength, 0.01, 1.0)], STEPS)
    assert whole == STEPS * RIVALS[method].samples
