"""A task that does not fit itself is refused: most of these would train, for something else."""

from dataclasses import replace

import pytest
import torch

from probes.models.losses import cross_entropy, squared
from probes.tasks import TASKS, load_task
from probes.tasks.ridge import ridge
from probes.tasks.task import FeedForwardTask

FEATURES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.eye(3, dtype=torch.float64).repeat(2, 1)


def task(**changes) -> FeedForwardTask:
    fields = {
        "name": "mine", "features": FEATURES, "targets": TARGETS,
        "weights": [torch.zeros(3, 4).double()], "biases": [torch.zeros(3).double()],
        "loss": cross_entropy, "rank": 2, "lr": 1e-2, "steps": 5,
    }  # fmt: skip
    return FeedForwardTask(**fields | changes)


def deaf(outputs, targets, out):
    """The right gradient, which is not written where it is wanted."""
    return torch.softmax(outputs, -2) - targets


def steep(outputs, targets, out):
    """Twice the softmax: wrong."""
    return torch.softmax(outputs, -2, out=out).mul_(2).sub_(targets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": TARGETS.argmax(1)}, "targets of task 'mine' must be a tensor of one row"),
        ({"targets": ["a", "b", "c"] * 2}, "targets of task 'mine' .* 3 at least; got list"),
        ({"features": FEATURES.numpy()}, "features of task 'mine' .* got ndarray of shape"),
        ({"features": FEATURES[:2]}, "features of task 'mine' .* one row an example, 3 at least"),
        ({"features": FEATURES[:4]}, "targets of task 'mine' must be of 4 examples.* got 6"),
        ({"targets": TARGETS[:, :1]}, "targets of task 'mine' must be of 3 columns.* got 1"),
        ({"features": FEATURES[:, :3]}, r"weight 1 of task 'mine' .* \(d_out, 3\); got Tensor of"),
        ({"biases": [torch.zeros(1)]}, r"bias 1 of task 'mine' must be .* \(3,\); got Tensor of"),
        ({"biases": []}, "biases of task 'mine' must be 1, one a layer; got 0"),
        ({"weights": [], "biases": []}, "weights of task 'mine' .* one layer at least"),
        ({"features": FEATURES.log()}, "features of task 'mine' must be finite"),
        ({"rank": 4}, "rank of task 'mine' must be from 1 to 3.* got 4"),
        ({"loss": squared}, "loss 'squared' of task 'mine' must be one value per example"),
        ({"loss": replace(cross_entropy, gradient=deaf)}, "the gradient of loss .* into the memor"),
        ({"loss": replace(cross_entropy, gradient=steep)}, "the gradient of loss .* of its value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(changes, message, monkeypatch):
    monkeypatch.setitem(TASKS, "mine", lambda: task(**changes))
    with pytest.raises(ValueError, match=message) as refused:
        load_task("mine")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes", [{}, {"features": FEATURES.float()}, {"targets": TARGETS.int()}]
)
def test_a_task_in_another_precision_is_read(changes, monkeypatch):
    monkeypatch.setitem(TASKS, "mine", lambda: task(**changes))
    assert len(load_task("mine")) == len(FEATURES)


def test_the_gradient_is_compared_at_one_output_too(monkeypatch):
    """A squared loss whose gradient is half of it, and does not go where it is wanted."""
    halved = replace(squared, gradient=lambda outputs, targets, out: torch.sub(outputs, targets))
    monkeypatch.setitem(TASKS, "ridge", lambda: replace(ridge(), loss=halved))
    with pytest.raises(ValueError, match="the gradient of loss 'squared' of task 'ridge'"):
        load_task("ridge")
