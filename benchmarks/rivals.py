"""What a step of every rival costs, in steps of plain LoRA on the same replicas.

Ensembles of networks are left out: their step is one of plain LoRA for every network.
"""

import numpy as np
import torch

from benchmarks.interleaved_timing import Variant, take_turns
from probes.cli.command_line import run_functions
from probes.jobs.validation import check_count, require
from probes.models.network import Factors
from probes.tasks import load_task
from probes.training.autograd_training import LoRA, Setup, train
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.mask_placements import Dropping
from probes.training.plan import Training
from probes.training.rival_training import train_rival
from probes.training.rivals import RIVALS, Rival

#: Two trainings by autograd, to compare the written-out gradients with.
AUTOGRAD = {"autograd, masks of inputs": "inputs", "autograd, masks of rank": "rank"}


def variants(n: int, steps: int) -> list[Variant]:
    """Return the training of n + 1 replicas of digits by every rival, at its middle strength.

    Args:
        n: size of S.
        steps: of the training.

    Returns:
        One variant a rival, and one a place of masks that autograd trains.
    """
    task = load_task("digits")
    require(2 <= n <= len(task), "n", f"from 2 to {len(task)}", n)
    network = task.network(rank=8, alpha=16.0, dtype=torch.float32, device=torch.device("cpu"))
    inputs = task.read(
        network, torch.from_numpy(np.random.default_rng(0).permutation(len(task)))[:n]
    )
    weights = torch.cat([full_sample(n), leave_one_out(n)])
    start = network.initial_factors(torch.Generator().manual_seed(0))
    training = Training(steps=steps, lr=0.005)

    def by_rule(name: str) -> Factors:
        strengths = RIVALS[name].strengths
        rival = Rival(name, strengths[len(strengths) // 2])
        return train_rival(network, inputs, weights, start, training, rival)

    def by_autograd(place: str) -> Factors:
        setup = Setup(network, inputs, weights, training, Dropping(place, 0.3, rescale=True))
        return train(setup, LoRA(network), torch.Generator().manual_seed(0))

    names = [
        name for name, method in RIVALS.items() if method.members == 1 and name != "early stopping"
    ]
    return [
        *(Variant(name, lambda name=name: by_rule(name), n + 1) for name in names),
        *(Variant(name, lambda place=place: by_autograd(place), n + 1)
          for name, place in AUTOGRAD.items()),
    ]  # fmt: skip


def main(n: int = 64, steps: int = 100, repetitions: int = 5) -> None:
    """Time the rivals by turns and print the ratios.

    Args:
        n: examples.
        steps: optimizer steps.
        repetitions: interleaved repetitions; medians are shown.
    """
    check_count("steps", steps)
    check_count("repetitions", repetitions)
    _, times = take_turns(variants(n, steps), repetitions)
    for name, seconds in times.items():
        ratio = np.median(seconds / times["LoRA"])
        each = 1e6 * np.median(seconds) / steps
        print(f"{name:36s} {ratio:5.2f} times LoRA, {each:6.1f} us a replica and step")


if __name__ == "__main__":
    run_functions(main)
