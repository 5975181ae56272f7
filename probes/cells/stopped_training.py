"""Trainings that are stopped at several times, and what the networks predict at each.

A training is run once for all its stopping times.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from probes.cells.prepare import Prepared
from probes.jobs.job import Progress
from probes.models.network import Factors, Inputs, some_replicas
from probes.training.rival_training import rival_outputs, train_rival
from probes.training.rivals import Rival

#: Rules whose perturbation depends on the number of steps: fewer steps are another training.
SCHEDULED = ("CoTo",)


@dataclass(frozen=True)
class Setting:
    """A method as it is trained.

    Attributes:
        strength: of the method.
        lr: learning rate.
        share: of the steps of a whole training, after which it is stopped, in (0, 1].
    """

    strength: float
    lr: float
    share: float

    def stop(self, method: str, steps: int) -> int:
        """Return the step after which it is stopped, at least 1.

        Args:
            method: its name.
            steps: of a whole training of plain LoRA.

        Returns:
            Number of the step, from 1.
        """
        return max(1, round(self.share * Rival(method, self.strength).steps(steps)))


@dataclass
class _Predictor:
    """Predicts at the stopping times of one training: the checkpoint of ``train_rival``.

    Attributes:
        ready: the data and the network.
        rival: that is trained.
        inputs: examples to predict.
        first: numbers of the ``inputs`` that the first replica alone predicts.
        progress: told about replicas times passes after every step.
        found: by step, for each of ``inputs``, the outputs of every block of replicas.
    """

    ready: Prepared
    rival: Rival
    inputs: tuple[Inputs, ...]
    first: tuple[int, ...]
    progress: Progress
    found: dict[int, list[list[Tensor]]]

    def __call__(self, step: int, rows: slice, factors: Factors) -> None:
        """Predict, if it is a step to stop at; arguments as of ``Checkpoint``."""
        self.progress((rows.stop - rows.start) * self.rival.method.passes)
        if step not in self.found:
            return
        one = some_replicas(factors, slice(self.rival.method.members))
        for number, found in enumerate(self.found[step]):
            if number not in self.first:
                found.append(self._outputs(factors, number))
            elif rows.start == 0:
                found.append(self._outputs(one, number))

    def _outputs(self, factors: Factors, number: int) -> Tensor:
        network, inputs = self.ready.network, self.inputs[number]
        seed = self.ready.training.seed
        return rival_outputs(network, factors, inputs, self.rival, seed=seed).double().cpu()


@torch.no_grad()
def outputs_at_stops(
    ready: Prepared,
    method: str,
    weights: Tensor,
    settings: Sequence[Setting],
    inputs: tuple[Inputs, ...],
    progress: Progress,
    first: tuple[int, ...] = (),
) -> Iterator[tuple[Setting, list[Tensor]]]:
    """Train, and predict at every stopping time.

    Args:
        ready: the data, the network, the start, and a whole training.
        method: its name in ``RIVALS``.
        weights: of the examples, one replica a row.
        settings: those that differ in nothing but ``share``, side by side, are one training.
        inputs: examples to predict.
        progress: told about replicas times passes after every step.
        first: numbers of the ``inputs`` that the first replica alone predicts.

    Yields:
        A setting and the outputs for each of ``inputs``, (R, k, m), or (1, k, m) for ``first``,
        float64 on the CPU.
    """
    steps = ready.training.steps
    for rival, lr, group in _trainings(method, settings):
        stops = {setting: setting.stop(method, steps) for setting in group}
        training = replace(ready.training, lr=lr, steps=_taken(rival, group, steps))
        found: dict[int, list[list[Tensor]]] = {
            stop: [[] for _ in inputs] for stop in stops.values()
        }
        train_rival(
            ready.network, ready.train, weights, ready.start, training, rival,
            checkpoint=_Predictor(ready, rival, inputs, first, progress, found),
        )  # fmt: skip
        for setting, stop in stops.items():
            yield setting, [torch.cat(parts) for parts in found[stop]]


def told_work(method: str, settings: Sequence[Setting], steps: int) -> int:
    """Size of the work of :func:`outputs_at_stops` with one replica, in steps times passes.

    Args:
        method, settings: as for :func:`outputs_at_stops`.
        steps: of a whole training.

    Returns:
        What ``progress`` is told in all.
    """
    return sum(
        rival.steps(_taken(rival, group, steps)) * rival.method.passes
        for rival, _, group in _trainings(method, settings)
    )


def _trainings(
    method: str, settings: Sequence[Setting]
) -> Iterator[tuple[Rival, float, list[Setting]]]:
    """What is trained, at which learning rate, and the settings that stop it."""
    for (strength, lr), group in groupby(settings, key=lambda one: (one.strength, one.lr)):
        yield Rival(method, strength), lr, list(group)


def _taken(rival: Rival, group: Sequence[Setting], steps: int) -> int:
    """Steps of the last stop, in those of plain LoRA; with a schedule all of them."""
    if rival.method.rule in SCHEDULED:
        return steps
    return max(setting.stop(rival.name, steps) for setting in group) * rival.method.members
