"""Bounds on a network's 0-1 loss from its weights, and from a test set: they need no replicas.

Beside them stand the bounds of ``probes.cells.information_cell`` at the same draw of S.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from probes.cells.bounded_loss import ZERO_ONE
from probes.cells.cell import Cell, CellJob, objective_of
from probes.cells.evaluation import evaluate
from probes.cells.information_cell import InformationCell, measure_information
from probes.cells.prepare import Prepared, prepare
from probes.jobs.job import Progress, TableKind, Tables
from probes.models.network import Factors, Inputs
from probes.training.retrain import retrain
from theory.hoeffding1963 import sample_mean_bound
from theory.langford2005 import binomial_tail_bound
from theory.maurer2004 import pac_bayes_loss_bound
from theory.zhu2024 import quantized_gap_bound

#: The bounds, with their references.
BOUNDS = {
    "PAC-Bayes kl": "arXiv cs/0411099; prior at the base weights",
    "counting, as trained": "Zhu et al. 2024, arXiv 2402.16842",
    "counting, quantized": "Zhu et al. 2024, arXiv 2402.16842",
    "test set, binomial tail": "Langford, JMLR 6, 2005",
}
PAC_BAYES, AS_TRAINED, QUANTIZED, TEST_SET = BOUNDS
#: Standard deviations of the noise of the posterior, of which the best may be chosen.
NOISE = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
#: Columns of the train loss at each noise.
TRAIN_LOSSES = {noise: f"train_loss_at_{noise:g}" for noise in NOISE}
#: Networks drawn from a posterior.
POSTERIOR_SAMPLES = 128
#: Bits of a trained number, by precision; and of the scale of a quantized factor.
BITS = {"float32": 32, "float64": 64}
SCALE_BITS = 32


@dataclass(frozen=True)
class WeightBoundsCell(CellJob):
    """One draw of S at one rate.

    Attributes:
        base: the cell.
        selections: K of the bounds from information.
        bits: of a number of the quantized update.
        delta: failure probability.
    """

    selections: int
    bits: int
    delta: float

    @property
    def information(self) -> InformationCell:
        """What the bounds from information and from leaving one out are measured in."""
        return InformationCell(self.base, self.selections, ZERO_ONE, 2, self.delta)

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.information.replica_steps


def measure_weight_bounds(cell: WeightBoundsCell, progress: Progress) -> Tables:
    """State every bound on the 0-1 loss at one draw of S.

    Args:
        cell: one draw at one rate.
        progress: told the number of replicas after every step of a block.

    Returns:
        The rows of :func:`probes.cells.information_cell.measure_information`, then one row a bound
        of ``BOUNDS``, with ``bound``, ``gap``, ``train_loss`` and, for PAC-Bayes alone, ``noise``
        (of the posterior chosen), ``square`` (squared distance of the factors from their start) and
        the columns of ``TRAIN_LOSSES``; NaN where the network diverged. All rows have ``chance``,
        the error rate of the class that is most frequent.
    """
    base, ready = cell.base, prepare(cell.base)
    rows = measure_information(cell.information, progress)[TableKind.ROWS]
    factors = retrain(
        ready.network, ready.train, ready.weights[:1], ready.start, ready.training,
        objective_of(base),
    )  # fmt: skip
    own = pd.DataFrame(_records(cell, ready, factors)).assign(
        **ready.columns, p=base.p, selections=cell.selections, loss=ZERO_ONE
    )
    table = pd.concat([rows, own], ignore_index=True).assign(chance=chance_error(ready))
    return {TableKind.ROWS: table}


def chance_error(ready: Prepared) -> float:
    """Error rate, on the data set, of the class that is most frequent there."""
    targets = torch.cat([ready.train.targets, ready.test.targets], dim=1)
    if len(targets) == 1:
        ones = float(targets.double().mean())
        return min(ones, 1 - ones)
    return 1 - float(targets.double().mean(1).max())


def _records(cell: WeightBoundsCell, ready: Prepared, factors: Factors) -> Iterator[dict[str, Any]]:
    if not all(bool(part.isfinite().all()) for pair in factors for part in pair):
        nothing = dict.fromkeys(("bound", "gap", "train_loss"), float("nan"))
        yield from ({"name": name} | nothing for name in BOUNDS)
        return
    yield _pac_bayes(cell, ready, factors)
    bits = BITS[cell.base.dtype]
    yield _counting(cell, ready, factors, AS_TRAINED, bits * ready.network.size)
    rounded = quantized(factors, ready.start, cell.bits)
    total = cell.bits * ready.network.size + SCALE_BITS * 2 * len(factors)
    yield _counting(cell, ready, rounded, QUANTIZED, total)
    yield _test_set(cell, ready, factors)


def quantized(factors: Factors, start: Factors, bits: int) -> Factors:
    """Round the change of every factor to a grid of 2^bits - 1 values around 0.

    The start is drawn without the data, so that the change says all. The grid of a factor ends at
    its largest change, a number of ``SCALE_BITS`` bits.

    Args:
        factors: of R replicas.
        start: of one.
        bits: at least 2.

    Returns:
        Factors of the same shapes.
    """
    most = 2 ** (bits - 1) - 1

    def rounded(trained: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        change = trained - first
        step = change.abs().max() / most
        return first + (change / step).round() * step if step > 0 else trained

    return [
        (rounded(A, A_start), rounded(B, B_start))
        for (A, B), (A_start, B_start) in zip(factors, start, strict=True)
    ]


def noisy(factors: Factors, noise: float, count: int, generator: torch.Generator) -> Factors:
    """Draw networks whose factors have normal noise around trained ones.

    Args:
        factors: of one replica.
        noise: standard deviation of every entry.
        count: number of networks.
        generator: of the noise.

    Returns:
        Factors of so many replicas.
    """

    def drawn(trained: torch.Tensor) -> torch.Tensor:
        shape = (count, *trained.shape[1:])
        normal = torch.randn(shape, generator=generator, dtype=torch.float32)
        return trained + noise * normal.to(trained)

    return [(drawn(A), drawn(B)) for A, B in factors]


def posterior_bound(train_loss: float, divergence: float, n: int, delta: float) -> float:
    """Bound the risk of a posterior from networks that were drawn from it.

    Half of delta is for the train loss, which is estimated, half for the bound; each is shared by
    all ``NOISE``, so that the best of these may be chosen.

    Args:
        train_loss: mean of ``POSTERIOR_SAMPLES`` networks on S, in [0, 1].
        divergence: of the posterior from the prior, nats.
        n: size of S.
        delta: failure probability.

    Returns:
        The bound on the risk, in [0, 1].
    """
    share = delta / 2 / len(NOISE)
    mean = sample_mean_bound(mean=train_loss, n=POSTERIOR_SAMPLES, delta=share)
    return float(pac_bayes_loss_bound(train_loss=mean, divergence=divergence, n=n, delta=share))


def _errors(cell: Cell, ready: Prepared, factors: Factors, inputs: Inputs) -> np.ndarray:
    """Whether each network is wrong on each example, (R, m)."""
    ((_, found),) = evaluate(cell, ready.network, factors, inputs)
    # Not right, so that what is no number is wrong.
    return found.scores.numpy() != 1


def _pac_bayes(cell: WeightBoundsCell, ready: Prepared, factors: Factors) -> dict[str, Any]:
    """The best bound over the noise: see :func:`posterior_bound`.

    The posterior is normal around the trained factors, the prior around the start, which holds the
    base weights as B is 0. The gap is that of the networks drawn.
    """
    base = cell.base
    square = sum(
        float((part - first).double().square().sum())
        for pair, start in zip(factors, ready.start, strict=True)
        for part, first in zip(pair, start, strict=True)
    )
    drawn, losses = {}, {}
    for number, noise in enumerate(NOISE):
        generator = torch.Generator().manual_seed(base.seeds()[1] % 2**62 + number)
        drawn[noise] = noisy(factors, noise, POSTERIOR_SAMPLES, generator)
        losses[noise] = float(_errors(base, ready, drawn[noise], ready.train).mean())
    noise, bound = best_posterior(losses, square, base.n, cell.delta)
    tested = float(_errors(base, ready, drawn[noise], ready.test).mean())
    return {
        "name": PAC_BAYES, "bound": bound, "gap": tested - losses[noise],
        "train_loss": losses[noise], "noise": noise, "square": square,
        **{TRAIN_LOSSES[one]: loss for one, loss in losses.items()},
    }  # fmt: skip


def best_posterior(
    train_losses: Mapping[float, float], square: float, n: int, delta: float
) -> tuple[float, float]:
    """Choose the noise with the smallest bound on the risk, which may be chosen with S.

    Args:
        train_losses: by noise, those of ``NOISE``.
        square: squared distance of the factors from their start.
        n: size of S.
        delta: failure probability.

    Returns:
        The noise, and the bound on the gap of its networks.
    """
    risks = {
        noise: posterior_bound(loss, square / (2 * noise**2), n, delta)
        for noise, loss in train_losses.items()
    }
    noise = min(risks, key=lambda one: risks[one])
    return noise, risks[noise] - train_losses[noise]


def _counting(
    cell: WeightBoundsCell, ready: Prepared, factors: Factors, name: str, bits: int
) -> dict[str, Any]:
    train, tested = (
        float(_errors(cell.base, ready, factors, part).mean()) for part in (ready.train, ready.test)
    )
    bound = quantized_gap_bound(bits=bits, parameters=1, loss_bound=1.0, n=cell.base.n)
    return {"name": name, "bound": float(bound), "gap": tested - train, "train_loss": train}


def _test_set(cell: WeightBoundsCell, ready: Prepared, factors: Factors) -> dict[str, Any]:
    """As many test examples as there are training examples; the risk is that on all others."""
    wrong, n = _errors(cell.base, ready, factors, ready.test)[0], cell.base.n
    errors = int(wrong[:n].sum())
    bound = float(binomial_tail_bound(errors, n, cell.delta)) - errors / n
    return {
        "name": TEST_SET, "bound": bound, "gap": float(wrong[n:].mean()) - errors / n,
        "train_loss": errors / n,
    }  # fmt: skip
