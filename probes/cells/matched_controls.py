"""The controls: what p = 0 gives at the train loss that dropout reached.

At a fixed number of steps dropout also fits less, and fitting less lowers beta and the gap by
itself. So each rate is compared with networks without dropout that fit as little: stopped early,
trained with weight decay, with a smaller learning rate, or to the end with the update shrunk.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from lora_dropout.masks import expected_mask
from probes.cells.cell import CellJob
from probes.cells.prepare import Prepared, prepare
from probes.jobs.job import Progress, TableKind, Tables
from probes.metrics.confidence_intervals import means
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.metrics.multiple_comparisons import LEVEL
from probes.models.network import Factors, one_after_another, replica
from probes.training.plan import Dropout, Training, steps_in_even_ratios
from probes.training.retrain import retrain

#: Weight decays and shares of the learning rate that the controls are trained with. They are so
#: close that beta is nearly linear in between: interpolating a convex curve overestimates it.
WEIGHT_DECAYS = (0.3, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 13.0, 17.0, 22.0, 30.0, 100.0)
RATE_SHARES = (0.7, 0.5, 0.35, 0.25, 0.18, 0.14, 0.11, 0.085, 0.065, 0.05, 0.03, 0.01)
#: Factors of the update in the control that is shrunk after training.
UPDATE_SCALES = tuple(np.linspace(0, 1, 41))
#: Checkpoints of the control that is stopped early, spaced evenly in the logarithm of the step.
CHECKPOINTS = 60
#: What is compared at matched train loss.
QUANTITIES = ("beta", "beta_median", "beta_top_tenth", "gap", "test_loss", "test_score")
#: The controls, by what they are called.
CONTROLS = ("early stopping", "weight decay", "learning rate", "shrunk update")


@dataclass(frozen=True)
class ControlCell(CellJob):
    """One draw of S with all rates and all controls.

    Attributes:
        base: the cell of the draw; its own rate does not matter.
        rates: the rates p > 0 that are compared with the controls.
    """

    rates: tuple[float, ...]

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        runs = 1 + len(self.rates) + len(WEIGHT_DECAYS) + len(RATE_SHARES)
        return (self.base.n + 1) * self.base.steps * runs


def measure_controls(cell: ControlCell, progress: Progress) -> Tables:
    """Train the network with dropout at every rate, and all controls.

    Args:
        cell: one draw of S.
        progress: told the number of replicas after every step of a block.

    Returns:
        One row a trained (or shrunk, or stopped) network: ``variant`` ("dropout" or one of
        ``CONTROLS``), ``value`` (p, step, weight decay, share of the learning rate, or factor), the
        settings, ``train_loss``, ``test_loss``, ``test_score``, ``gap``, and of the leave-one-out
        changes of the loss ``beta`` (mean), ``beta_median``, ``beta_q90``, ``beta_top_tenth``
        (share of the sum that the largest tenth has).
    """
    ready, base = prepare(cell.base), cell.base
    records = [
        _record(ready, *network)
        for network in control_networks(ready, cell.rates, base.rescale, progress)
    ]
    return {TableKind.ROWS: pd.DataFrame(records).assign(**ready.columns)}


def control_networks(
    ready: Prepared,
    rates: Sequence[float],
    rescale: bool,
    progress: Progress,
    rate_shares: Sequence[float] = RATE_SHARES,
) -> Iterator[tuple[Factors, float, str, float]]:
    """Train the network with dropout at every rate, and all controls, one after the other.

    Args:
        ready: the examples, their weights in every replica, and the start.
        rates: p of dropout.
        rescale: whether survivors are divided by 1 - p.
        progress: told the number of replicas after every step of a block.
        rate_shares: of the control "learning rate"; none leaves it out.

    Yields:
        Factors of all replicas, the factor of the update, the variant ("dropout" or one of
        ``CONTROLS``) and its value.
    """
    plain = ready.training
    for p in rates:
        factors = _train(ready, plain, Dropout(p, rescale), progress)
        yield factors, expected_mask(p, p, rescale=rescale), "dropout", p
    yield from _stopped_and_shrunk(ready, plain, progress, rate_shares)
    for decay in WEIGHT_DECAYS:
        training = replace(plain, weight_decay=decay)
        yield _train(ready, training, Dropout(0.0), progress), 1.0, "weight decay", decay
    for share in rate_shares:
        training = replace(plain, lr=share * plain.lr)
        yield _train(ready, training, Dropout(0.0), progress), 1.0, "learning rate", share


def match(rows: pd.DataFrame, quantities: Sequence[str] = QUANTITIES) -> pd.DataFrame:
    """Interpolate every control to the train loss that dropout reached, draw by draw.

    Networks that diverged are left out, with dropout or as a control, and so are controls that fit
    less than the network before training: they blew up, and nothing lies between them and others.

    Args:
        rows: of :func:`measure_controls`, of many sizes and draws.
        quantities: columns that are compared.

    Returns:
        One row a size, draw, rate and control: ``n``, ``pool``, ``p``, ``draw``, ``variant``,
        ``train_loss`` (NaN where dropout diverged), and for each of the quantities its value with
        dropout (``..._dropout``), of the control at the same train loss (``..._control``) and the
        difference control - dropout (``..._difference``); NaN where the control did not pass
        through that train loss.
    """
    records = []
    measured = set(rows["variant"])
    controls = [control for control in CONTROLS if control in measured]
    for (n, draw), group in rows.groupby(["n", "draw"], sort=False):
        finite = group[np.isfinite(group["train_loss"]) & (group["train_loss"] <= _start(group))]
        for _, dropped in group[group["variant"] == "dropout"].iterrows():
            for control in controls:
                curve = finite[finite["variant"] == control].sort_values("train_loss")
                known = {"n": n, "draw": draw, "p": dropped["value"], "variant": control}
                if "pool" in group:
                    known["pool"] = group["pool"].iloc[0]
                records.append(known | _matched(dropped, curve, quantities))
    return pd.DataFrame(records)


def _start(group: pd.DataFrame) -> float:
    """Train loss before training, with what rounding may add; infinite where it is not known."""
    stopped = group[(group["variant"] == "early stopping") & (group["value"] == 0)]
    return float(stopped["train_loss"].iloc[0]) * (1 + 1e-6) if len(stopped) else float("inf")


def decide(matched: pd.DataFrame, quantity: str = "beta") -> pd.DataFrame:
    """Say whether dropout buys more than fitting less does.

    Args:
        matched: of :func:`match`.
        quantity: one of those that were matched, of which less is better.

    Returns:
        One row a size, rate and control: ``n``, ``p``, ``variant``, ``draws``, ``diverged`` (of
        them, those in which dropout diverged), ``difference_draws`` (those in which the control
        passed through the train loss), over which the means ``train_loss``, ``dropout`` and
        ``control`` are, ``difference`` with its 95 % Student interval (``difference_low``,
        ``difference_high``), ``difference_holm`` (p-value of no difference, corrected for the
        number of rows), and ``verdict`` at ``LEVEL`` for all rows together: "dropout" or "control"
        has less, "undecided", or "not reached" for fewer than two draws.
    """
    keys = ["n", "p", "variant"]
    reached = matched.where(np.isfinite(matched[f"{quantity}_difference"]))
    table = matched[[*keys, *(["pool"] if "pool" in matched else [])]].assign(
        diverged=~np.isfinite(matched["train_loss"]),
        train_loss=reached["train_loss"],
        dropout=reached[f"{quantity}_dropout"],
        control=reached[f"{quantity}_control"],
        difference=matched[f"{quantity}_difference"],
    )
    decided = means(table, keys, ["train_loss", "dropout", "control"], ["difference"])
    diverged = table.groupby(keys, sort=False)["diverged"].sum().to_numpy()
    shown = ["train_loss", "dropout", "control"]
    ends = [f"{name}_{end}" for name in shown for end in ("low", "high", "draws")]
    return decided.drop(columns=ends).assign(
        diverged=diverged, verdict=[_verdict(row) for row in decided.to_dict("records")]
    )


def _verdict(row: Mapping[Any, Any]) -> str:
    if row["difference_draws"] < 2:
        return "not reached"
    if not row["difference_holm"] <= LEVEL:
        return "undecided"
    return "dropout" if row["difference"] > 0 else "control"


def _matched(
    dropped: pd.Series, curve: pd.DataFrame, quantities: Sequence[str]
) -> dict[str, float]:
    at = float(dropped["train_loss"])
    record = {"train_loss": at if np.isfinite(at) else float("nan")}
    for name in quantities:
        known = curve[np.isfinite(curve[name])]
        losses = known["train_loss"].to_numpy()
        inside = len(losses) > 0 and losses[0] <= at <= losses[-1]
        value = float(np.interp(at, losses, known[name])) if inside else float("nan")
        record[f"{name}_dropout"] = float(dropped[name])
        record[f"{name}_control"] = value
        record[f"{name}_difference"] = value - float(dropped[name])
    return record


def _train(ready: Prepared, training: Training, objective: Dropout, progress: Progress) -> Factors:
    return retrain(
        ready.network,
        ready.train,
        ready.weights,
        ready.start,
        training,
        objective,
        checkpoint=lambda step, rows, factors: progress(rows.stop - rows.start),
    )


def _stopped_and_shrunk(
    ready: Prepared, training: Training, progress: Progress, rate_shares: Sequence[float]
) -> Iterator[tuple[Factors, float, str, float]]:
    """Train without dropout once; yield its checkpoints, then its end with the update shrunk."""
    last = training.steps
    kept: dict[int, list[Factors]] = {step: [] for step in steps_in_even_ratios(last, CHECKPOINTS)}

    def checkpoint(step: int, rows: slice, factors: Factors) -> None:
        if step in kept:
            kept[step].append([(A.clone(), B.clone()) for A, B in factors])
        progress(rows.stop - rows.start)

    retrain(
        ready.network, ready.train, ready.weights, ready.start, training, Dropout(0.0),
        checkpoint=checkpoint,
    )  # fmt: skip
    end = one_after_another(kept[last])
    yield end, 0.0, "early stopping", 0
    for step, parts in kept.items():
        yield one_after_another(parts), 1.0, "early stopping", step
    # Every control ends where nothing holds it back.
    yield end, 1.0, "weight decay", 0.0
    if rate_shares:
        yield end, 1.0, "learning rate", 1.0
    for update_scale in UPDATE_SCALES:
        yield end, float(update_scale), "shrunk update", float(update_scale)


@torch.no_grad()
def _record(
    ready: Prepared, factors: Factors, update_scale: float, variant: str, value: float
) -> dict[str, Any]:
    network, full = ready.network, replica(factors, 0)
    on_train = network.replica_outputs(factors, ready.train, update_scale=update_scale)
    on_test = network.replica_outputs(full, ready.test, update_scale=update_scale)
    measured = measure_outputs(network.loss, on_train, ready.train, on_test, ready.test)
    return {"variant": variant, "value": value} | measured
