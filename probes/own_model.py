"""Stability and gap of any PyTorch model, by retraining it once without each example.

One replica after another, through the layers that ``inject`` puts in: slow, and without any
assumption on the model. For the tasks' networks ``probes.stability`` gives the same numbers some
hundred times faster.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lora_dropout import Ensemble, inject, mask_schedule
from lora_dropout.injection import adapted_layers
from lora_dropout.layer import initial_factor
from probes.cells.cell import seeds_of
from probes.jobs.sweep import progress_bar
from probes.jobs.validation import check_count, require
from probes.metrics.confidence_intervals import mean_interval
from probes.metrics.labels import inference_label
from probes.metrics.metrics_of_outputs import measure_losses
from probes.results.study_result import StudyResult, means
from probes.results.text_tables import with_interval
from probes.training.example_weights import full_sample, leave_one_out

QUANTITIES = ("train_loss", "test_loss", "gap", "beta", "beta_signed", "test_score")


@dataclass(frozen=True)
class OwnModel:
    """A model, its data, and how it is adapted.

    Attributes:
        model: the frozen model; it is copied and stays as it is.
        features: (examples, ...), what the model reads.
        targets: (examples, ...).
        loss: (outputs, targets) to the loss of every example, (m,).
        score: (outputs, targets) to a score of every example, (m,), such as 1 where a class is
            right; none if left out.
        rank: r of the updates.
        target: names of the adapted linear layers, as for ``inject``; all if left out.
        alpha: the updates are scaled by alpha / rank; ``rank`` if left out.
        steps: full-batch steps of Adam.
        lr: learning rate.
        adapt: (model, p, mask seed) to the adapted model, in place of ``inject``: an adapter of
            PEFT, for example. Its first factors A are drawn anew, uniformly.
    """

    model: nn.Module
    features: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor] | None = None
    rank: int = 4
    target: str | Sequence[str] | None = None
    alpha: float | None = None
    steps: int = 100
    lr: float = 5e-3
    adapt: Callable[[nn.Module, float, int], nn.Module] | None = None


class OwnModelResult(StudyResult):
    """One row a rate, draw and inference; ``ensemble`` is N, 0 for the expected weight."""

    name = "own_model"
    question = "Stability and gap of the model"
    note = "means over draws, 95 % intervals (Student)"

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate and inference: means of ``QUANTITIES``."""
        return means(self.rows, ["p", "ensemble"], QUANTITIES)

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        columns = {
            "p": summary["p"].map("{:g}".format),
            "inference": summary["ensemble"].map(inference_label),
            "train loss": summary["train_loss"].map("{:.4f}".format),
            "test loss": with_interval(summary, "test_loss"),
            "gap": with_interval(summary, "gap"),
            "β": with_interval(summary, "beta"),
        }
        if "test_score" in summary:
            columns["test score"] = summary["test_score"].map("{:.3f}".format)
        return pd.DataFrame(columns)

    def difference(self, one: tuple[float, int], other: tuple[float, int]) -> tuple[float, ...]:
        """Test loss of one less that of another, each a (p, N): mean and 95 % interval, paired."""
        losses = self.rows.set_index(["p", "ensemble", "draw"])["test_loss"]
        return mean_interval(losses.loc[one] - losses.loc[other])


def measure_model(
    own: OwnModel,
    *,
    p: float | Sequence[float],
    n: int,
    draws: int = 4,
    ensemble: Sequence[int] = (),
    seed: int = 0,
) -> OwnModelResult:
    """Measure a model of one's own by leave-one-out retraining.

    Args:
        own: the model, its data, and how it is adapted.
        p: dropout rates in [0, 1).
        n: number of training examples; the others are test data.
        draws: number of independent training sets S.
        ensemble: sizes N of test-time ensembles to measure beside the expected weight.
        seed: of everything random.

    Raises:
        ValueError: a value is out of range, or a layer that is not there.
    """
    rates = (p,) if isinstance(p, float | int) else tuple(p)
    for rate in rates:
        require(0 <= rate < 1, "p", "in [0, 1)", rate)
    require(2 <= n < len(own.features), "n", f"from 2 to {len(own.features) - 1}", n)
    check_count("draws", draws)
    for size in ensemble:
        check_count("ensemble", size)
    records: list[dict[str, Any]] = []
    with progress_bar(len(rates) * draws * (n + 1), "retraining", "replica") as bar:
        for rate in dict.fromkeys(rates):
            for draw in range(draws):
                seeds = seeds_of(seed, draw)
                order = np.random.default_rng(seeds[0]).permutation(len(own.features))
                index = torch.from_numpy(order)
                for record in _cell(own, rate, index, n, ensemble, seeds, bar.update):
                    records.append({"p": float(rate), "draw": draw} | record)
    known: dict[str, Any] = {
        "task": type(own.model).__name__,
        "n": n,
        "rank": own.rank,
        "steps": own.steps,
    }
    return OwnModelResult(pd.DataFrame(records).assign(**known))


def _cell(
    own: OwnModel,
    p: float,
    index: Tensor,
    n: int,
    ensemble: Sequence[int],
    seeds: tuple[int, int, int],
    progress: Callable[[int], object],
) -> Iterator[dict[str, Any]]:
    """Train the replica of S and those of all S^i; yield a record for every inference."""
    train, test = index[:n], index[n:]
    on_train: dict[int, list[Tensor]] = {size: [] for size in (0, *ensemble)}
    on_test: dict[int, Tensor] = {}
    scores: dict[int, dict[str, float]] = {size: {} for size in on_train}
    for number, weights in enumerate(torch.cat([full_sample(n), leave_one_out(n)])):
        model = _trained(own, p, train, weights, seeds)
        progress(1)
        for size in on_train:
            deployed = Ensemble(model, size) if size else model
            outputs = _outputs(deployed, own.features[train])
            on_train[size].append(own.loss(outputs, own.targets[train]).double())
            if number == 0:
                outputs = _outputs(deployed, own.features[test])
                on_test[size] = own.loss(outputs, own.targets[test]).double()
                if own.score is not None:
                    right = own.score(outputs, own.targets[test]).double()
                    scores[size]["test_score"] = float(right.mean())
    for size, losses in on_train.items():
        measured = measure_losses(torch.stack(losses).cpu(), on_test[size].cpu())
        yield {"ensemble": size} | measured | scores[size]


def _trained(
    own: OwnModel, p: float, train: Tensor, weights: Tensor, seeds: tuple[int, int, int]
) -> nn.Module:
    """Train one replica, in ``eval()``: the expected-weight network."""
    _, factor_seed, mask_seed = seeds
    model = copy.deepcopy(own.model)
    if own.adapt is not None:
        model = own.adapt(model, p, mask_seed)
    else:
        model = inject(
            model, rank=own.rank, p=p, target=own.target, alpha=own.alpha, seed=mask_seed
        )
    # Initial factors of a seed of their own, as in a cell: masks do not depend on their shapes.
    generator = torch.Generator().manual_seed(factor_seed)
    with torch.no_grad():
        for _, layer in adapted_layers(model):
            layer.factors[0].copy_(initial_factor(layer.rank, layer.shape.d_in, generator))
    trained = mask_schedule(model).factors()
    optimizer = torch.optim.Adam(trained, lr=own.lr)
    features, targets = own.features[train], own.targets[train]
    model.train()
    for _ in range(own.steps):
        optimizer.zero_grad()
        losses = own.loss(model(features), targets)
        (weights.to(losses) * losses).sum().backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def _outputs(model: nn.Module, features: Tensor) -> Tensor:
    return model(features)
