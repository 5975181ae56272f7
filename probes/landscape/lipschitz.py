"""The Lipschitz constant of the loss in the adapted weights, as far as training met it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from probes.jobs.amounts import how_many
from probes.models.feedforward import Columns, FeedForward, beside
from probes.models.network import Factors, Inputs, Network, scaled_together
from probes.training.replica_maps import in_one_call


class LipschitzTracker:
    """Largest per-example gradient norm over the parameters that training visits.

    It looks at all replicas on the examples of the pool, at evenly spaced steps and the last. A
    maximum over finitely many points is a lower estimate of the Lipschitz constant.

    Args:
        network: the frozen network.
        inputs: the m examples of the pool.
        steps: of the training; at most 10 of them are looked at.
        update_scale: factor of the update in the deterministic network.
    """

    def __init__(self, network: Network, inputs: Inputs, steps: int, update_scale: float) -> None:
        self.network, self.inputs, self.update_scale = network, inputs, update_scale
        # Of fewer than 6 steps the first would be 0, the start, which no training visits.
        self.at = {round(step) for step in np.linspace(steps / 10, steps, 10)} - {0} | {steps}
        self._largest = inputs.targets.new_zeros(())

    @property
    def largest(self) -> float:
        """The largest finite norm so far, in units of the loss per unit of weight.

        0 before any step was looked at.
        """
        return float(self._largest)

    @property
    def how(self) -> str:
        """How the value was obtained."""
        steps = how_many(len(self.at), "step")
        return f"largest per-example gradient in W at {steps} of all replicas"

    def visit(self, step: int, factors: Factors) -> None:
        """Take the factors of some replicas into account, at the steps that are looked at.

        Args:
            step: number of the step just taken, from 1.
            factors: of these replicas.
        """
        if step in self.at:
            self.see(factors)

    def see(self, factors: Factors) -> None:
        """Take the factors of some replicas into account, whatever the step."""
        norms = self.network.gradient_norms(factors, self.inputs, self.update_scale)
        (largest,) = _largest_finite(norms, 1)
        self.take(largest)

    def take(self, norm: Tensor) -> None:
        """Take a finite norm into account, a scalar."""
        # Read where it is asked for: until then the host need not wait for a GPU.
        self._largest = torch.maximum(self._largest, norm)


def visit_together(
    trackers: Sequence[LipschitzTracker], step: int, factors: Sequence[Factors]
) -> None:
    """Let the trackers of cells that train as one block visit a step.

    On a GPU they look at all cells at once: one by one they would take longer than the training.

    Args:
        trackers: one of every cell, of the same network and steps, with as many examples.
        step: number of the step just taken, from 1.
        factors: of every cell.
    """
    first = trackers[0]
    if step not in first.at:
        return
    if not (isinstance(first.network, FeedForward) and in_one_call(first.inputs.targets)):
        for tracker, of_cell in zip(trackers, factors, strict=True):
            tracker.see(of_cell)
        return
    # Their factors of the update differ.
    scaled = scaled_together(factors, [one.update_scale for one in trackers])
    columns = [one.inputs for one in trackers if isinstance(one.inputs, Columns)]
    norms = first.network.gradient_norms(scaled, beside(columns))
    for tracker, largest in zip(trackers, _largest_finite(norms, len(trackers)), strict=True):
        tracker.take(largest)


def _largest_finite(norms: Tensor, cells: int) -> Sequence[Tensor]:
    """Largest finite norm of every cell, scalars, from those of all replicas, (C * R, m)."""
    finite = torch.where(norms.isfinite(), norms, 0.0)
    return finite.reshape(cells, -1).amax(1).unbind()
