"""What `probes.recommend` claims where the truth is known: among equals, with a gain, of noise.

Tables of losses are simulated, one row a draw of S and one column a tuned method of the probe's
default, and chosen from as the probe does (``probes.metrics.sample_splitting``; every third draw
chooses), beside two ways that it does not use: all draws choose and tell, and all but one choose
and that one tells, in turn. Then small networks are trained on labels that were permuted, and on
the true ones.

    python -m benchmarks.recommend
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probes import recommend
from probes.cli.command_line import run_functions
from probes.jobs.validation import check_count
from probes.metrics.confidence_intervals import mean_interval
from probes.metrics.sample_splitting import split_choice
from probes.results.recommendation import Candidate
from probes.tasks import TASKS
from probes.training.rivals import RIVALS

Losses = NDArray[np.float64]

#: The tuned methods, of 100 steps each.
GRID = [
    Candidate(name, 0.1, 1e-3, 100, 100 * RIVALS[name].passes, RIVALS[name].test_passes)
    for name in recommend.METHODS
]
PRICE = [one.price for one in GRID]
#: Distributions of a candidate's own noise, all with mean 0 and variance 1.
NOISES = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "heavy tails (Student, 3)": lambda generator, shape: (
        generator.standard_t(3, shape) / np.sqrt(3)
    ),
    "skewed (exponential)": lambda generator, shape: generator.exponential(size=shape) - 1,
}
DRAWS = (3, 6, 12, 24, 48)


def main(runs: int = 10_000, permutations: int = 20, seed: int = 0) -> None:
    """Print three tables.

    Args:
        runs: simulated tables a line.
        permutations: of the labels of every task.
        seed: of everything random.
    """
    check_count("runs", runs)
    check_count("permutations", permutations)
    generator = np.random.default_rng(seed)
    _print("Equal candidates, all better than chance", _equals(generator, runs))
    _print(
        "Unequal candidates: gains from 0 to 1 (noise of a difference: 1)", _gains(generator, runs)
    )
    _print("Trained networks, 3 draws that choose and 6 that tell", _trained(permutations))


def simulate(
    generator: np.random.Generator, runs: int, draws: int, means: Losses, noise: str
) -> Iterator[Losses]:
    """Make tables of losses; a difference of two candidates has variance 1.

    Args:
        generator: of all that is random.
        runs: number of tables.
        draws: rows of a table.
        means: expected loss of every candidate.
        noise: one of ``NOISES``.

    Yields:
        Losses, (draws, candidates).
    """
    for _ in range(runs):
        common = generator.standard_normal((draws, 1))
        own = NOISES[noise](generator, (draws, len(means)))
        yield means + np.sqrt(0.5) * (common + own)


def _equals(generator: np.random.Generator, runs: int) -> pd.DataFrame:
    records = []
    for noise, draws in product(NOISES, DRAWS):
        found = [
            _claims(losses)
            for losses in simulate(generator, runs, draws, np.zeros(len(GRID)), noise)
        ]
        table = pd.DataFrame(found).mean()
        records.append({"noise": noise, "draws": draws} | _formatted(table))
    return pd.DataFrame(records)


def _claims(losses: Losses) -> dict[str, float]:
    """Whether gains are claimed, and the told loss of the chosen: 0 is true."""
    choice = split_choice(losses, PRICE, np.full(len(losses), 1e6))
    best = int(losses.mean(axis=0).argmin())
    total = losses.sum(axis=0)
    others = losses[np.arange(len(losses)), [(total - one).argmin() for one in losses]]
    return {
        "LoRA recommended": choice.recommended == 0,
        "gain claimed": choice.gains,
        "by all draws": mean_interval(losses[:, 0] - losses[:, best])[1] > 0,
        "by all but one": mean_interval(losses[:, 0] - others)[1] > 0,
        "told loss": losses[choice.telling, choice.rival].mean(),
        "told by all draws": losses[:, best].mean(),
    }


def _gains(generator: np.random.Generator, runs: int) -> pd.DataFrame:
    means = -np.linspace(0, 1, len(GRID))
    records = []
    for draws in DRAWS:
        found = []
        for losses in simulate(generator, runs, draws, means, "normal"):
            choice = split_choice(losses, PRICE, np.full(len(losses), 1e6))
            true = float(means[0] - means[choice.rival])
            found.append((choice.gains, true, choice.gain[0] - true, *choice.gain[1:]))
        gains, true, error, low, high = np.array(found).T
        claimed = gains > 0
        records.append(
            {
                "draws": draws,
                "gain claimed": f"{claimed.mean():.1%}",
                "true gain of the rival": f"{true.mean():.2f}",
                "told less true": f"{error.mean():+.3f}",
                "where claimed": f"{error[claimed].mean():+.3f}",
                "covered": f"{((low <= true) & (true <= high)).mean():.1%}",
            }
        )
    return pd.DataFrame(records)


def _trained(permutations: int) -> pd.DataFrame:
    records = []
    for name in TASKS:
        found = [
            (_learned(name, seed, permuted=False), _learned(name, seed, permuted=True))
            for seed in range(permutations)
        ]
        right, wrong = np.sum(found, axis=0)
        records.append(
            {
                "task": name,
                "learned, true labels": f"{right} of {permutations}",
                "learned, permuted labels": f"{wrong} of {permutations}",
            }
        )
    return pd.DataFrame(records)


def _learned(name: str, seed: int, *, permuted: bool) -> bool:
    """Whether the probe says after 3 and 6 draws that something was learned."""
    task = TASKS[name]()
    if permuted:
        order = torch.randperm(len(task), generator=torch.Generator().manual_seed(seed))
        task = replace(task, targets=task.targets[order])
    known = {"MOST_CHOOSING": 3, "MOST_TELLING": 6, "_beside": lambda *rest: "none"}
    with patch.dict(TASKS, {name: lambda: task}), ExitStack() as stack:
        for what, value in known.items():
            stack.enter_context(patch.object(recommend, what, value))
        result = recommend.measure(
            task=name, n=24, steps=60, method="LoRA Dropout", trainings=4, minutes=60, seed=seed
        )
    return bool(result.choice.learned)


def _formatted(table: pd.Series) -> dict[str, str]:
    return {
        str(name): f"{value:+.3f}" if "told" in str(name) else f"{value:.2%}"
        for name, value in table.items()
    }


def _print(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string(index=False)}", flush=True)


if __name__ == "__main__":
    run_functions(main)
