"""What a step of every rival costs, in steps of plain LoRA on the same replicas.

Ensembles of networks are left out: their step is one of plain LoRA for every network.
"""

import argparse

import numpy as np
import torch

from benchmarks.interleaved_timing import Variant, take_turns
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
    """Return the training of n + 1 replicas of digits by every rival, at its middle strength."""
    task = load_task("digits")
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


def main() -> None:
    """Time the rivals by turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=64, help="examples")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    _, times = take_turns(variants(options.n, options.steps), options.repetitions)
    for name, seconds in times.items():
        ratio = np.median(seconds / times["LoRA"])
        each = 1e6 * np.median(seconds) / options.steps
        print(f"{name:36s} {ratio:5.2f} times LoRA, {each:6.1f} us a replica and step")


if __name__ == "__main__":
    main()
