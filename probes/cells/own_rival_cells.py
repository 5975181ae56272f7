"""Tuning and measuring a method on a model of one's own: as ``probes.cells.rival_cells`` does.

One replica is trained after the other, through the layers that are put into the model.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from probes.cells.cell import seeds_of
from probes.cells.own_constant import best_constant_of
from probes.cells.rival_cells import FOLDS, Beside, left_out, size_with_folds
from probes.cells.stopped_training import Setting
from probes.jobs.job import Progress, TableKind, Tables
from probes.metrics.metrics_of_outputs import measure_losses
from probes.tasks.own_model import OwnModel
from probes.tasks.own_model_layers import is_end, layer_ranks, update_rank
from probes.training.example_weights import full_sample, leave_out
from probes.training.own_training import OwnSample, own_outputs, train_own
from probes.training.rivals import RIVALS, Rival


@dataclass(frozen=True, eq=False)
class OwnDraw:
    """One draw of S from the examples of a model of one's own.

    Attributes:
        own: the model; its learning rate is the smallest that is tried, its steps are the most.
        n: size of S.
        draw: number of the draw, from 0.
        seed: of the run.
        coupled: whether what is left out has to be taken from the batch: see ``traits_of``.
    """

    own: OwnModel
    n: int
    draw: int
    seed: int
    coupled: bool

    @property
    def lr(self) -> float:
        """The smallest learning rate."""
        return self.own.lr

    @cached_property
    def rank(self) -> int:
        """Rank of the update of plain LoRA."""
        return update_rank(self.own)

    @property
    def steps(self) -> int:
        """The most steps."""
        return self.own.steps

    @property
    def columns(self) -> dict[str, Any]:
        """What a row says of the draw."""
        own = self.own
        return {
            "task": type(own.model).__name__, "n": self.n, "pool": len(own.features),
            "rank": own.rank, "alpha": float(own.rank if own.alpha is None else own.alpha),
            "steps": own.steps, "draw": self.draw,
        }  # fmt: skip

    @cached_property
    def seeds(self) -> tuple[int, int, int]:
        """Seeds of the split, the initial factors and the masks."""
        return seeds_of(self.seed, self.draw)

    @cached_property
    def order(self) -> Tensor:
        """Places of all examples; S is the first of them."""
        every = np.random.default_rng(self.seeds[0]).permutation(len(self.own.features))
        return torch.from_numpy(every)


@dataclass(frozen=True, eq=False)
class OwnRivalCell:
    """A method on a draw. Its numbers are not kept: a model has no name to keep them under.

    Attributes:
        base: the draw.
        method: its name in ``RIVALS``.
    """

    base: OwnDraw
    method: str

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return ("torch", "numpy")


@dataclass(frozen=True, eq=False)
class OwnTuningCell(OwnRivalCell):
    """One draw of S on which all settings of a method are tried.

    Attributes:
        strengths, rates, shares: that are tried, every combination.
        folds: whether cross validation judges, or the rest of the data does.
    """

    strengths: tuple[float, ...]
    rates: tuple[float, ...]
    shares: tuple[float, ...]
    folds: bool

    @property
    def replica_steps(self) -> int:
        """Size of the work, in trainings."""
        return (FOLDS if self.folds else 1) * len(self.strengths) * len(self.rates)


@dataclass(frozen=True, eq=False)
class OwnMeasuredCell(OwnRivalCell):
    """One draw of S on which the tuned setting of a method is measured.

    Attributes:
        setting: that is measured.
        beside, judge: as for ``MeasuredCell``.
    """

    setting: Setting
    beside: Beside
    judge: Literal["test set", "unseen"]

    @property
    def replica_steps(self) -> int:
        """Size of the work, in trainings."""
        return 1 + len(left_out(self.beside, self.base.n))


def run_own_rival_cell(cell: OwnTuningCell | OwnMeasuredCell, progress: Progress) -> Tables:
    """Tune or measure, whichever the cell is.

    Args:
        cell: the draw, the method, and what is tried or measured.
        progress: told 1 after every training.

    Returns:
        The rows, as of ``probes.cells.rival_cells.tune`` or ``measure``.
    """
    rows = _tune(cell, progress) if isinstance(cell, OwnTuningCell) else _measure(cell, progress)
    return {TableKind.ROWS: rows}


def _tune(cell: OwnTuningCell, progress: Progress) -> pd.DataFrame:
    """Try all settings of a method: rows as of ``probes.cells.rival_cells.tune``."""
    base = cell.base
    n = size_with_folds(base.n, len(base.own.features)) if cell.folds else base.n
    train, rest = base.order[:n], base.order[n:]
    folds = left_out("folds" if cell.folds else "none", n)
    weights = leave_out(folds, n) if folds else full_sample(n)
    judged = [train[held] for held in folds] or [rest]
    records = []
    for strength, lr in product(cell.strengths, cell.rates):
        settings = [Setting(strength, lr, share) for share in cell.shares]
        found = []
        for row, index in zip(weights, judged, strict=True):
            sample = OwnSample(train, row, base.seeds, base.coupled)
            found.append(_losses_at_stops(cell, settings, sample, index))
            progress(1)
        for setting, losses in zip(settings, zip(*found, strict=True), strict=True):
            mean = float(torch.cat(losses).mean())
            loss = mean if np.isfinite(mean) else float("inf")
            records.append(vars(setting) | {"validation_loss": loss})
    return pd.DataFrame(records).assign(**base.columns, method=cell.method)


def _losses_at_stops(
    cell: OwnTuningCell, settings: Sequence[Setting], sample: OwnSample, index: Tensor
) -> list[Tensor]:
    """Losses of the examples ``index`` at every stopping time of one training."""
    base, (strength, lr) = cell.base, (settings[0].strength, settings[0].lr)
    stops = [setting.stop(cell.method, base.steps) for setting in settings]
    found: dict[int, Tensor] = {}

    def checkpoint(step: int, model: nn.Module) -> None:
        found[step] = _evaluated(cell, model, index)[0]

    own = replace(base.own, lr=lr, steps=max(stops))
    train_own(own, Rival(cell.method, strength), sample, stops, checkpoint)
    return [found[stop] for stop in stops]


def _measure(cell: OwnMeasuredCell, progress: Progress) -> pd.DataFrame:
    """Measure the tuned setting: a row as of ``probes.cells.rival_cells.measure``.

    The score is NaN where the model has none, and there is no calibration: what a class is, only
    the user's loss knows.
    """
    base, n, setting = cell.base, cell.base.n, cell.setting
    train, rest = base.order[:n], base.order[n:]
    stop, method = setting.stop(cell.method, base.steps), RIVALS[cell.method]
    own = replace(base.own, lr=setting.lr, steps=stop)
    groups = left_out(cell.beside, n)
    weights = torch.cat([full_sample(n), leave_out(groups, n)])
    on_train, unseen = [], torch.full((2, n), torch.nan, dtype=torch.float64)
    for number, row in enumerate(weights):
        sample = OwnSample(train, row, base.seeds, base.coupled)
        model = train_own(own, Rival(cell.method, setting.strength), sample)
        losses, scores = _evaluated(cell, model, train)
        on_train.append(losses)
        if number == 0:
            on_test, test_scores = _evaluated(cell, model, rest)
        else:
            held = groups[number - 1]
            unseen[:, held] = torch.stack([losses, scores])[:, held]
        progress(1)
    kept = torch.stack(on_train if cell.beside == "examples" else on_train[:1])
    judged = unseen if cell.judge == "unseen" else torch.stack([on_test, test_scores])
    chance_risk, chance_score = best_constant_of(own, train if cell.judge == "unseen" else rest)
    record = {
        "stop": stop, "passes": stop * method.passes, "test_passes": method.test_passes,
        "risk": float(judged[0].mean()), "score": float(judged[1].mean()),
        "ece": float("nan"), "ece_floor": float("nan"), "score_name": "score",
        "chance_risk": chance_risk, "chance_score": chance_score, "judge": cell.judge,
    }  # fmt: skip
    measured = measure_losses(kept, on_test)
    known = base.columns | {"method": cell.method, "layers": layers_of(base.own)}
    return pd.DataFrame([vars(setting) | record | measured | known])


def _evaluated(cell: OwnRivalCell, model: nn.Module, index: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and scores of examples, (m,) each, float64 on the CPU; scores NaN if there is none."""
    own, targets = cell.base.own, cell.base.own.targets[index]
    outputs = own_outputs(model, own.features[index], RIVALS[cell.method].masked_members)
    losses = own.loss(outputs, targets).double().cpu()
    if own.score is None or not losses.isfinite().all():
        return losses, torch.full_like(losses, torch.nan)
    return losses, own.score(outputs, targets).double().cpu()


def layers_of(own: OwnModel) -> str:
    """Return rank by name of every layer that ``inject`` adapts, as JSON; of another adapter none.

    A name that is the end of another module's has a ``^`` before it, as in PEFT's ``rank_pattern``.

    Args:
        own: the model.
    """
    layers = layer_ranks(own) if own.adapt is None else []
    names = [name for name, _ in own.model.named_modules()]
    return json.dumps({f"{'^' * is_end(one.name, names)}{one.name}": one.rank for one in layers})
