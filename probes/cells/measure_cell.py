"""What is measured of a trained cell: tidy rows, and the losses of all replicas."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import Cell, objective_of
from probes.cells.landscapes import Landscape
from probes.cells.leave_one_out import Trained
from probes.landscape.assumption_audit import Audit, audit
from probes.landscape.curvature import Curvature, smallest_curvature
from probes.models.network import Factors, Inputs, Network, replica, some_replicas
from probes.training.blocks import blocks, examples_per_block, replicas_per_block
from probes.training.ensemble_members import member_outputs
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
    return _table(_measured(cell, trained, known))


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
    found = [_measured(*each) for each in zip(cells, trained, known, strict=True)]
    table = _table([columns for of_cell in found for columns in of_cell])
    ends = np.cumsum([cell.n * len(modes) for cell, modes in zip(cells, found, strict=True)])
    parts = pairwise([0, *ends.tolist()])
    return [table.iloc[start:end].reset_index(drop=True) for start, end in parts]


def _measured(cell: Cell, trained: Trained, known: Landscape | None) -> list[dict[str, Any]]:
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
    on_s = dict(evaluate(cell, network, trained.factors, trained.train))
    on_test = dict(evaluate(cell, network, full, trained.test))
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


@dataclass(frozen=True)
class Evaluation:
    """Losses and scores of R replicas on m examples, (R, m) each, float64 on the CPU."""

    losses: Tensor
    scores: Tensor


@torch.no_grad()
def deterministic_losses(cell: Cell, network: Network, factors: Factors, inputs: Inputs) -> Tensor:
    """Compute the losses of R replicas on m examples without masks.

    Args:
        cell: says the factor of the update and where losses are clipped.
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Returns:
        Losses, (R, m), float64 on the CPU, clipped at ``cell.loss_bound``; NaN stays NaN.
    """
    found = torch.empty(len(factors[0][0]), len(inputs), dtype=torch.float64)
    for rows, columns, some, part in pieces(network, factors, inputs):
        outputs = network.replica_outputs(some, part, update_scale=cell.update_scale)
        found[rows, columns] = _losses(cell, network, outputs, part)
    return found


@torch.no_grad()
def evaluate(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluate the deterministic network (0), then an ensemble of each size that is asked for.

    The members of a smaller ensemble are the first of a larger one, and the same for all replicas.

    Args:
        cell: says the sizes of the ensembles, the masks, and where losses are clipped.
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Yields:
        The size of the ensemble, 0 for the deterministic network, and its losses and scores.
    """
    replicas, examples = len(factors[0][0]), len(inputs)
    found = {
        size: Evaluation(*torch.empty(2, replicas, examples, dtype=torch.float64))
        for size in (0, *cell.ensemble)
    }
    for rows, columns, some, part in pieces(network, factors, inputs):
        for size, outputs in inferred_outputs(cell, network, some, part):
            result = _evaluation(cell, network, outputs, part)
            found[size].losses[rows, columns] = result.losses
            found[size].scores[rows, columns] = result.scores
    yield from found.items()


def pieces(
    network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[slice, slice, Factors, Inputs]]:
    """Cut replicas and examples into what is evaluated together.

    Args:
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Yields:
        The replicas and the examples of a piece, and their factors and inputs.
    """
    examples = len(inputs)
    for rows, columns in product(
        blocks(len(factors[0][0]), replicas_per_block(network, examples)),
        blocks(examples, examples_per_block(network)),
    ):
        part = inputs
        if columns.stop - columns.start < examples:
            part = inputs.take(torch.arange(columns.start, columns.stop))
        yield rows, columns, some_replicas(factors, rows), part


def inferred_outputs(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[int, Tensor]]:
    """Compute the outputs of the deterministic network (0), then of an ensemble of each size.

    Args:
        cell: says the factor of the update, the sizes of the ensembles, and the masks.
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Yields:
        The size, 0 for the deterministic network, and the outputs, (R, k, m).
    """
    yield 0, network.replica_outputs(factors, inputs, update_scale=cell.update_scale)
    if not cell.ensemble:
        return
    *_, mask_seed = cell.seeds()
    total: Tensor | float = 0.0
    members = member_outputs(
        network,
        factors,
        inputs,
        max(cell.ensemble),
        p=cell.p,
        seed=mask_seed,
        rescale=cell.rescale,
    )
    for size, output in enumerate(members, start=1):
        total = total + output
        if size in cell.ensemble:
            yield size, total / size


def _evaluation(cell: Cell, network: Network, outputs: Tensor, inputs: Inputs) -> Evaluation:
    scores = network.loss.score(outputs, inputs.targets)
    return Evaluation(_losses(cell, network, outputs, inputs), scores.double().cpu())


def _losses(cell: Cell, network: Network, outputs: Tensor, inputs: Inputs) -> Tensor:
    losses = network.loss.value(outputs, inputs.targets)
    if cell.loss_bound is not None:
        # NaN stays NaN: a diverged replica is not a loss at the bound.
        losses = losses.clamp(max=cell.loss_bound)
    return losses.double().cpu()


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
