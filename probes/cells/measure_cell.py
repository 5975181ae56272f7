"""What is measured of a trained cell: tidy rows, and the losses of all replicas."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import Cell, objective_of
from probes.cells.evaluation import Evaluation, deterministic_losses, evaluate, evaluate_cells
from probes.cells.landscapes import Landscape
from probes.cells.leave_one_out import Trained
from probes.landscape.assumption_audit import Audit, audit
from probes.landscape.curvature import Curvature, smallest_curvature
from probes.models.network import replica
from probes.training.plan import Penalty


def measure_cell(cell: Cell, trained: Trained, known: Landscape | None = None) -> pd.DataFrame:
    """Measure what retraining a cell left.

    Args:
        cell: the cell.
        trained: its n + 1 replicas.
        known: what :func:`probes.cells.landscapes.landscapes_of` found; it is measured if None.

    Returns:
        One row for every inference mode and left-out example. See
        ``probes.results.stability_result`` for the columns.
    """
    network, full = trained.network, replica(trained.factors, 0)
    on_s = dict(evaluate(cell, network, trained.factors, trained.train))
    on_test = dict(evaluate(cell, network, full, trained.test))
    return _table(_measured(cell, trained, on_s, on_test, known))


def measure_cells(
    cells: Sequence[Cell], trained: Sequence[Trained], known: Sequence[Landscape]
) -> list[pd.DataFrame]:
    """Measure what retraining several cells left, of a sweep and alike but for the draw and p.

    Their rows become one table, which is cut: pandas takes longer for a table of each than a GPU
    for training it.

    Args:
        cells, trained, known: as for :func:`measure_cell`, one of each for every cell.

    Returns:
        For every cell what :func:`measure_cell` returns.
    """
    network = trained[0].network
    full = [replica(one.factors, 0) for one in trained]
    on_s = evaluate_cells(
        cells, network, [one.factors for one in trained], [one.train for one in trained]
    )
    on_test = evaluate_cells(cells, network, full, [one.test for one in trained])
    alike = zip(cells, trained, on_s, on_test, known, strict=True)
    found = [_measured(*each) for each in alike]
    table = _table([columns for of_cell in found for columns in of_cell])
    ends = np.cumsum([cell.n * len(modes) for cell, modes in zip(cells, found, strict=True)])
    parts = pairwise([0, *ends.tolist()])
    return [table.iloc[start:end].reset_index(drop=True) for start, end in parts]


def _measured(
    cell: Cell,
    trained: Trained,
    on_s: dict[int, Evaluation],
    on_test: dict[int, Evaluation],
    known: Landscape | None,
) -> list[dict[str, Any]]:
    """For every inference mode its columns: n values of each, or what all rows have in common."""
    network, full = trained.network, replica(trained.factors, 0)
    curvature = (
        known.curvature
        if known
        else smallest_curvature(network, full, trained.train, cell.update_scale, cell.seed)
    )
    objective = objective_of(cell)
    checked = audit(
        network,
        trained.factors,
        trained.train,
        update_scale=cell.update_scale,
        penalty_weight=objective.penalty_weight if isinstance(objective, Penalty) else None,
        curvature=curvature.value,
        clipped=cell.loss_bound is not None,
        seed=cell.seed,
        known=known.expansion if known else None,
    )
    again = dict(evaluate(cell, network, trained.checked, trained.train)) if trained.checked else {}
    return [
        _columns(cell, trained, curvature, checked, mode, on_train, on_test[mode])
        | {"loss_retrained": _left_out(again[mode].losses, cell) if again else np.nan}
        for mode, on_train in on_s.items()
    ]


def _table(pieces: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make one table of the columns of some pieces, the same columns in each."""
    rows = [len(columns["example"]) for columns in pieces]
    return pd.DataFrame(
        {name: _column([columns[name] for columns in pieces], rows) for name in pieces[0]}
    )


def _column(values: Sequence[Any], rows: Sequence[int]) -> Any:
    """One column of some pieces: the values of each, or its one value in as many rows."""
    if len(values) == 1:
        return values[0]
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    return pd.Series(values).array.repeat(rows)


def _left_out(losses: Tensor, cell: Cell) -> np.ndarray:
    """Losses of the examples that the checked replicas leave out; NaN for all others, (n,)."""
    found = np.full(cell.n, np.nan)
    found[: len(losses)] = losses.diagonal().numpy()
    return found


def loss_matrix(cell: Cell, trained: Trained) -> pd.DataFrame:
    """Return the loss of every replica on every example, in the deterministic network.

    The ground truth of data attribution.

    Args:
        cell: the cell.
        trained: its n + 1 replicas.

    Returns:
        One row a pair: ``replica`` (-1 for the one trained on S, otherwise the left-out example),
        ``example`` (both as positions in the data set), ``loss`` (NaN or infinite where a replica
        diverged), ``split`` ("train" or "test"), ``p`` and ``draw``.
    """
    left_out = [-1, *trained.index[: cell.n].tolist()]
    parts = []
    for split, inputs, index in (
        ("train", trained.train, trained.index[: cell.n]),
        ("test", trained.test, trained.index[cell.n :]),
    ):
        losses = deterministic_losses(cell, trained.network, trained.factors, inputs)
        table = pd.DataFrame(losses.numpy(), index=left_out, columns=index.tolist())
        named = table.rename_axis(index="replica").reset_index()
        long = named.melt(id_vars="replica", var_name="example", value_name="loss")
        long["example"] = long["example"].astype("int64")
        parts.append(long.assign(split=split, p=cell.p, draw=cell.draw))
    return pd.concat(parts, ignore_index=True)


def _columns(
    cell: Cell,
    trained: Trained,
    curvature: Curvature,
    checked: Audit,
    ensemble: int,
    on_train: Evaluation,
    on_test: Evaluation,
) -> dict[str, Any]:
    kept, left_out = on_train.losses[0], on_train.losses[1:].diagonal()
    train_loss, test_loss = kept.mean().item(), on_test.losses.mean().item()
    finite = torch.cat([on_train.losses.flatten(), on_test.losses.flatten()])
    finite = finite[finite.isfinite()]
    deterministic = "no masks" if cell.objective == "penalty" else "expected weight"
    settings = cell.columns | {"ensemble": ensemble, "batch": cell.batch or cell.n}
    return {
        "example": trained.index[: cell.n].numpy(),
        "loss_kept": kept.numpy(),
        "loss_left_out": left_out.numpy(),
        "diverged": ~left_out.isfinite().numpy(),
        **settings,
        "inference": "ensemble" if ensemble else deterministic,
        "start": "warm" if cell.warm_start else "initial",
        "score_name": trained.network.loss.score_name,
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_score": on_train.scores[0].mean().item(),
        "test_score": on_test.scores.mean().item(),
        "test_examples": len(trained.test),
        "pool": len(trained.index),
        "largest_loss": finite.max().item() if len(finite) else float("nan"),
        "lipschitz": trained.lipschitz,
        "lipschitz_how": trained.lipschitz_how,
        "effect_how": trained.effect_how,
        "curvature": curvature.value,
        "curvature_how": curvature.how,
        **{f"audit_{name}": value for name, value in asdict(checked).items()},
    }
