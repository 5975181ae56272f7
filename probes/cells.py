"""A cell: the unit of work. One draw of S at one rate, with all its replicas, to tidy rows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.audit import Audit, audit
from probes.influence import newton_step
from probes.landscape import Curvature, LipschitzTracker, smallest_curvature
from probes.members import member_outputs
from probes.memory import Size, safe_limit
from probes.network import Factors, Inputs, Network
from probes.resampling import full_sample, leave_one_out
from probes.retrain import (
    Dropout,
    Objective,
    Optimizer,
    Penalty,
    Training,
    blocks,
    replica_blocks,
    replicas_per_block,
    retrain,
)
from probes.tasks import TextSource, load_task
from probes.work import Progress, Tables, silent


@dataclass(frozen=True)
class Cell:
    """Everything that determines the numbers of a cell. Same cell, same numbers.

    The fields are the columns that every row carries; see ``probes.settings`` for their meaning.
    ``ensemble`` holds the sizes of the ensembles that are evaluated, ``text`` the files and the
    model of a text task.
    """

    task: str
    n: int
    p: float
    draw: int
    objective: str
    strength: float | None
    rank: int
    alpha: float
    steps: int
    lr: float
    optimizer: Optimizer
    batch: int | None
    samples: int
    rescale: bool
    warm_start: bool
    ensemble: tuple[int, ...]
    loss_bound: float | None
    seed: int
    device: str
    dtype: str
    text: TextSource | None = None
    method: str = "retrain"
    damping: float | None = None
    validate: int = 0

    @property
    def columns(self) -> dict[str, Any]:
        """The settings as they stand in a row, one level deep."""
        settings = asdict(self)
        return settings | (settings.pop("text") or {})

    @property
    def shrink(self) -> float:
        """Factor of the update in the deterministic network: the expected mask, (1-p)^2."""
        return 1.0 if self.objective == "penalty" or self.rescale else (1 - self.p) ** 2

    @property
    def sparsity(self) -> float:
        """Probability 2p - p^2 that an entry of the update is dropped."""
        return self.p * (2 - self.p)

    @property
    def training(self) -> dict[str, Any]:
        """The settings, apart from the rate, of a network that is trained in this cell."""
        names = ("task", "n", "draw", "rank", "steps", "lr", "optimizer", "rescale", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        if self.method == "influence":
            return (1 + self.validate) * self.steps
        return (self.n + 1 + (self.n + 1) * self.warm_start) * self.steps

    def seeds(self) -> tuple[int, int, int]:
        """Seeds of the split, the initial factors and the masks: the same for every p."""
        return seeds_of(self.seed, self.draw)


def seeds_of(seed: int, draw: int) -> tuple[int, int, int]:
    """Seeds of the split, the initial factors and the masks of a draw."""
    words = np.random.SeedSequence([seed, draw]).generate_state(3, np.uint64)
    split, factors, masks = (int(word) for word in words)
    return split, factors, masks


@dataclass(frozen=True)
class Trained:
    """What retraining a cell leaves.

    Attributes:
        network: the frozen network.
        train: S, n examples.
        test: the rest of the data set.
        index: of the examples of S in the data set, (n,); those of the test set follow.
        factors: of n + 1 replicas: trained on S, then without example 0, 1, ...
        lipschitz: largest gradient norm met on the way.
        lipschitz_how: how it was obtained.
        effect_how: how the factors of the replicas that leave an example out were obtained.
        checked: where these are estimated, factors of the first few of them by retraining.
    """

    network: Network
    train: Inputs
    test: Inputs
    index: Tensor
    factors: Factors
    lipschitz: float
    lipschitz_how: str
    effect_how: str = "retrained"
    checked: Factors | None = None


#: The kind of a cell's loss matrix among its tables.
MATRIX = ".matrix"


@dataclass(frozen=True)
class CellRun:
    """Retrain and measure cells, each as a whole or in parts: some of its replicas each.

    Attributes:
        matrix: whether a cell's loss matrix is made, too.
        max_memory: bytes that a process may hold; a safe share of what is free if None.
        processes: how many share this machine's memory.
    """

    matrix: bool = False
    max_memory: int | None = None
    processes: int = 1

    def __call__(self, cell: Cell, progress: Progress) -> Tables:
        """Retrain and measure a cell.

        Raises:
            ValueError: it does not fit into memory.
        """
        ready = prepare(cell)
        if cell.method == "influence":
            return self._tables(cell, estimate_cell(cell, ready, progress))
        part = train_part(cell, ready, self._blocks(cell, ready), progress)
        return self.join(cell, [part])

    def split(self, cell: Cell, pieces: int) -> list[list[slice]]:
        """Name at most so many parts of a cell: whole blocks of replicas, for the same numbers."""
        if cell.warm_start or cell.method == "influence":
            # Its replicas start from what another of them has learned.
            return []
        cut = self._blocks(cell, prepare(cell))
        groups = np.array_split(np.arange(len(cut)), min(pieces, len(cut)))
        return [[cut[number] for number in group] for group in groups]

    def part(self, cell: Cell, part: list[slice]) -> "TrainedPart":
        """Train the replicas of a part."""
        return train_part(cell, prepare(cell), part)

    def join(self, cell: Cell, parts: Sequence["TrainedPart"]) -> Tables:
        """Measure a cell of which all parts are trained."""
        return self._tables(cell, _trained(prepare(cell), parts))

    def _tables(self, cell: Cell, trained: "Trained") -> Tables:
        rows = {"": measure_cell(cell, trained)}
        return rows | {MATRIX: loss_matrix(cell, trained)} if self.matrix else rows

    def _blocks(self, cell: Cell, ready: "Prepared") -> list[slice]:
        most = None
        if torch.device(cell.device).type == "cpu":
            limit = self.max_memory or safe_limit(self.processes)
            most = self._size(cell, ready).replicas_within(limit)
        return _blocks(cell, ready, most)

    def _size(self, cell: Cell, ready: "Prepared") -> Size:
        replicas, examples = len(ready.weights), len(ready.train)
        pairs = replicas * (examples + len(ready.test)) if self.matrix else 0
        return Size(ready.network, replicas, examples, cell.samples, cell.steps, pairs)


def measure_cell(cell: Cell, trained: Trained) -> pd.DataFrame:
    """Measure what retraining a cell left.

    Returns:
        One row for every inference mode and left-out example. See ``probes.results`` for the
        columns.
    """
    network, full = trained.network, replica(trained.factors, 0)
    curvature = smallest_curvature(network, full, trained.train, cell.shrink, cell.seed)
    checked = audit(
        network,
        trained.factors,
        trained.train,
        cell.shrink,
        curvature.value,
        clipped=cell.loss_bound is not None,
        seed=cell.seed,
    )
    measured = zip(
        evaluate(cell, network, trained.factors, trained.train),
        evaluate(cell, network, full, trained.test),
        evaluate(cell, network, trained.checked or full, trained.train),
        strict=True,
    )
    return pd.concat(
        [
            _rows(cell, trained, curvature, checked, mode, on_train, on_test).assign(
                loss_retrained=_left_out(again.losses, cell) if trained.checked else np.nan
            )
            for (mode, on_train), (_, on_test), (_, again) in measured
        ],
        ignore_index=True,
    )


def _left_out(losses: Tensor, cell: Cell) -> np.ndarray:
    """Losses of the examples that the checked replicas leave out; NaN for all others, (n,)."""
    found = np.full(cell.n, np.nan)
    found[: len(losses)] = losses.diagonal().numpy()
    return found


def loss_matrix(cell: Cell, trained: Trained) -> pd.DataFrame:
    """Return the loss of every replica on every example, in the deterministic network.

    The ground truth of data attribution.

    Returns:
        One row a pair: ``replica`` (-1 for the one trained on S, otherwise the left-out example),
        ``example`` (both as positions in the data set), ``split`` ("train" or "test"), ``loss``.
    """
    left_out = [-1, *trained.index[: cell.n].tolist()]
    parts = []
    for split, inputs, index in (
        ("train", trained.train, trained.index[: cell.n]),
        ("test", trained.test, trained.index[cell.n :]),
    ):
        losses = next(evaluate(cell, trained.network, trained.factors, inputs))[1].losses
        table = pd.DataFrame(losses.numpy(), index=left_out, columns=index.tolist())
        named = table.rename_axis(index="replica").reset_index()
        long = named.melt(id_vars="replica", var_name="example", value_name="loss")
        long["example"] = long["example"].astype("int64")
        parts.append(long.assign(split=split, p=cell.p, draw=cell.draw))
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Prepared:
    """What a draw of S comes to before any training, the same for every p.

    Attributes:
        network, train, test, index: as in :class:`Trained`.
        weights: of the examples, for the replica of S and those of all S^i.
        start: one replica's initial factors.
        training: how replicas are trained.
    """

    network: Network
    train: Inputs
    test: Inputs
    index: Tensor
    weights: Tensor
    start: Factors
    training: Training


def prepare(cell: Cell) -> Prepared:
    """Split the data and draw the start."""
    task = load_task(cell.task, cell.text)
    split_seed, factor_seed, mask_seed = cell.seeds()
    network = task.network(
        rank=cell.rank,
        alpha=cell.alpha,
        dtype=getattr(torch, cell.dtype),
        device=torch.device(cell.device),
    )
    index = torch.from_numpy(np.random.default_rng(split_seed).permutation(len(task)))
    return Prepared(
        network,
        train=task.read(network, index[: cell.n]),
        test=task.read(network, index[cell.n :]),
        index=index,
        weights=torch.cat([full_sample(cell.n), leave_one_out(cell.n)]),
        start=network.initial_factors(torch.Generator().manual_seed(factor_seed)),
        training=Training(
            cell.steps, cell.lr, cell.optimizer, cell.batch, cell.samples, seed=mask_seed
        ),
    )


@dataclass(frozen=True)
class TrainedPart:
    """What training some replicas of a cell leaves: factors, and the largest gradient norm."""

    factors: Factors
    lipschitz: float
    lipschitz_how: str


def train_cell(cell: Cell, progress: Progress = silent) -> Trained:
    """Train the replica of S and those of all S^i."""
    ready = prepare(cell)
    return _trained(ready, [train_part(cell, ready, _blocks(cell, ready), progress)])


def estimate_cell(cell: Cell, ready: Prepared, progress: Progress = silent) -> Trained:
    """Train on S, and as many replicas as are checked; estimate all that leave an example out."""
    assert cell.damping is not None
    few = replace(ready, weights=ready.weights[: 1 + cell.validate])
    part = train_part(cell, few, _blocks(cell, few), progress)
    objective, full = objective_of(cell), replica(part.factors, 0)
    estimated, how = newton_step(
        ready.network,
        ready.train,
        full,
        ready.weights,
        shrink=cell.shrink,
        strength=objective.strength if isinstance(objective, Penalty) else 0.0,
        damping=cell.damping,
    )
    whole = TrainedPart(
        [
            (torch.cat([A, more_A]), torch.cat([B, more_B]))
            for (A, B), (more_A, more_B) in zip(full, estimated, strict=True)
        ],
        part.lipschitz,
        part.lipschitz_how,
    )
    checked = [(A[1:], B[1:]) for A, B in part.factors] if cell.validate else None
    return replace(_trained(ready, [whole]), effect_how=how, checked=checked)


def train_part(
    cell: Cell, ready: Prepared, pieces: Sequence[slice], progress: Progress = silent
) -> TrainedPart:
    """Train some blocks of a cell's replicas; for a warm start, all of them."""
    tracker = LipschitzTracker(ready.network, ready.train, cell.steps, cell.shrink)

    def checkpoint(step: int, rows: slice, factors: Factors) -> None:
        tracker.visit(step, rows, factors)
        progress(rows.stop - rows.start)

    def run(start: Factors) -> Factors:
        return retrain(
            ready.network, ready.train, ready.weights, start, ready.training, objective_of(cell),
            checkpoint=checkpoint, pieces=pieces,
        )  # fmt: skip

    with torch.no_grad():
        factors = run(ready.start)
        if cell.warm_start:
            factors = run(replica(factors, 0))
    return TrainedPart(factors, tracker.largest, tracker.how)


def _blocks(cell: Cell, ready: Prepared, most: int | None = None) -> list[slice]:
    return replica_blocks(
        ready.network, len(ready.weights), len(ready.train), ready.training, objective_of(cell),
        most,
    )  # fmt: skip


def _trained(ready: Prepared, parts: Sequence[TrainedPart]) -> Trained:
    factors = [
        (torch.cat([A for A, _ in layers]), torch.cat([B for _, B in layers]))
        for layers in zip(*(part.factors for part in parts), strict=True)
    ]
    return Trained(
        ready.network, ready.train, ready.test, ready.index, factors,
        max(part.lipschitz for part in parts), parts[0].lipschitz_how,
    )  # fmt: skip


def objective_of(cell: Cell) -> Objective:
    """The objective that the cell's replicas minimise."""
    if cell.objective == "penalty":
        assert cell.strength is not None
        return Penalty(cell.strength * cell.sparsity)
    return Dropout(cell.p, cell.rescale)


def replica(factors: Factors, number: int) -> Factors:
    """Return one replica's factors."""
    return [(A[number : number + 1], B[number : number + 1]) for A, B in factors]


@dataclass(frozen=True)
class Evaluation:
    """Losses and scores of R replicas on m examples, (R, m) each, float64 on the CPU."""

    losses: Tensor
    scores: Tensor


@torch.no_grad()
def evaluate(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluate the deterministic network (0), then an ensemble of each size that is asked for.

    The members of a smaller ensemble are the first of a larger one, and the same for all replicas.

    Yields:
        The size of the ensemble, 0 for the deterministic network, and its losses.
    """
    replicas, examples = len(factors[0][0]), len(inputs)
    found = {
        size: Evaluation(*torch.empty(2, replicas, examples, dtype=torch.float64))
        for size in (0, *cell.ensemble)
    }
    for rows in blocks(replicas, replicas_per_block(network, examples)):
        some = [(A[rows], B[rows]) for A, B in factors]
        for size, result in _evaluate_block(cell, network, some, inputs):
            found[size].losses[rows], found[size].scores[rows] = result.losses, result.scores
    yield from found.items()


def _evaluate_block(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[int, Evaluation]]:
    weights = network.merged_weights(factors, shrink=cell.shrink)
    yield 0, _evaluation(cell, network, network.outputs(weights, inputs), inputs)
    if not cell.ensemble:
        return
    *_, mask_seed = cell.seeds()
    total: Tensor | float = 0.0
    outputs = member_outputs(
        network,
        factors,
        inputs,
        max(cell.ensemble),
        p=cell.p,
        seed=mask_seed,
        rescale=cell.rescale,
    )
    for size, output in enumerate(outputs, start=1):
        total = total + output
        if size in cell.ensemble:
            yield size, _evaluation(cell, network, total / size, inputs)


def _evaluation(cell: Cell, network: Network, outputs: Tensor, inputs: Inputs) -> Evaluation:
    losses = network.loss.value(outputs, inputs.targets)
    if cell.loss_bound is not None:
        # NaN stays NaN: a diverged replica is not a loss at the bound.
        losses = losses.clamp(max=cell.loss_bound)
    return Evaluation(
        losses.double().cpu(), network.loss.score(outputs, inputs.targets).double().cpu()
    )


def _rows(
    cell: Cell,
    trained: Trained,
    curvature: Curvature,
    checked: Audit,
    ensemble: int,
    on_train: Evaluation,
    on_test: Evaluation,
) -> pd.DataFrame:
    kept, left_out = on_train.losses[0], on_train.losses[1:].diagonal()
    train_loss, test_loss = kept.mean().item(), on_test.losses.mean().item()
    finite = torch.cat([on_train.losses.flatten(), on_test.losses.flatten()])
    finite = finite[finite.isfinite()]
    deterministic = "no masks" if cell.objective == "penalty" else "expected weight"
    settings = cell.columns | {"ensemble": ensemble, "batch": cell.batch or cell.n}
    return pd.DataFrame(
        {
            "example": trained.index[: cell.n].numpy(),
            "loss_kept": kept.numpy(),
            "loss_left_out": left_out.numpy(),
            "diverged": ~left_out.isfinite().numpy(),
        }
    ).assign(
        **settings,
        inference="ensemble" if ensemble else deterministic,
        start="warm" if cell.warm_start else "initial",
        score_name=trained.network.loss.score_name,
        train_loss=train_loss,
        test_loss=test_loss,
        train_score=on_train.scores[0].mean().item(),
        test_score=on_test.scores.mean().item(),
        test_examples=len(trained.test),
        largest_loss=finite.max().item() if len(finite) else float("nan"),
        lipschitz=trained.lipschitz,
        lipschitz_how=trained.lipschitz_how,
        effect_how=trained.effect_how,
        curvature=curvature.value,
        curvature_how=curvature.how,
        **{f"audit_{name}": value for name, value in asdict(checked).items()},
    )
