"""The settings of a cell's sweep, checked once, where the user's values enter."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import tyro

from probes.cells.cell import Cell
from probes.cells.memory_limit import parse_size
from probes.cli.text_options import TextOptions
from probes.jobs.engine_options import EngineOptions
from probes.jobs.validation import (
    LARGEST_SIZE,
    check_count,
    check_device,
    check_left_out,
    check_one_of,
    check_seed,
    require,
)
from probes.landscape.newton_plan import DAMPING, SOLVERS
from probes.models.pretrained import require_package
from probes.tasks import TEXT_TASKS, Task, load_task
from probes.training.plan import OPTIMIZERS

OBJECTIVES = ("dropout", "penalty")
DTYPES = ("float32", "float64")
METHODS = ("retrain", "influence")


@dataclass(frozen=True)
class StabilitySettings(TextOptions, EngineOptions):
    """Measure pointwise hypothesis stability by leave-one-out retraining, beside its bounds."""

    p: tuple[float, ...] = (0.1,)
    """Dropout rates of A's input columns and B's output rows, each in [0, 1)."""

    ensemble: tuple[int, ...] = ()
    """Sizes N of test-time ensembles to measure beside the expected-weight network."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    n: int = 64
    """Number of training examples, from 2 to the size of the data set less 1."""

    draws: int = 8
    """Number of independent training sets S; intervals are over these."""

    rank: int | None = None
    """Rank r of the update, up to the layer's smaller side. Default: the task's."""

    alpha: float | None = None
    """The update is scaled by alpha / rank. Default: the rank."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    optimizer: str = "adam"
    """Optimizer: adam or sgd."""

    batch: int | None = None
    """Examples a step. Default: all n."""

    samples: int = 1
    """Number N of mask pairs a step in training."""

    objective: str = "dropout"
    """dropout (the real algorithm) or penalty (the theorem's: L + lambda (2p-p^2) |update|^2)."""

    strength: float | None = None
    """lambda of the bounds and of objective penalty, which needs it. Dropout has no lambda: its
    bounds are shown for a few values."""

    rescale: bool = False
    """Divide what survives by 1-p. The paper never does."""

    warm_start: bool = False
    """Start leave-one-out training at the parameters trained on S, not at the initial ones."""

    method: str = "retrain"
    """retrain, or influence: estimate the effect of leaving an example out by one Newton step from
    the network that was trained on S."""

    damping: float | None = None
    """Method influence: damping of the Newton step; less makes the estimates larger. Default: 0.05
    for dropout, 1e-6 for the penalty."""

    solver: str = "cg"
    """Method influence: cg (conjugate gradients, matrix-free), or ekfac (tasks tweets and text, by
    the package kronfluence), whose cost hardly grows with n."""

    validate: int = 0
    """Method influence: number of examples of each S that are really left out, to check the
    estimates."""

    loss_bound: float | None = None
    """Clip the loss at this value C. Default: C is the largest observed loss."""

    delta: float = 0.05
    """Failure probability of the generalization bounds, in (0, 1]."""

    seed: int = 0
    """Seed of everything random."""

    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""

    dtype: str = "float32"
    """Precision of the training: float32 or float64."""

    max_memory: str | None = None
    """Memory that a process may use for training, such as 2GiB: that of the GPU, where it trains
    there. With less, fewer replicas train at once, which changes rounding alone. What kronfluence
    holds is not counted. Default: half of what is free."""

    matrix: bool = False
    """Also keep the losses of every replica on every example, as matrix.parquet."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/stability from the command
    line, none from Python."""

    def cells(self) -> list[Cell]:
        """Check every value and return the cells of the grid, draws inside rates.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        text = self.text_source(self.task)
        task = load_task(self.task, text)
        self._check(task)
        rank = task.rank if self.rank is None else self.rank
        return [
            Cell(
                task=self.task,
                n=self.n,
                p=float(p),
                draw=draw,
                objective=self.objective,
                strength=self.strength,
                rank=rank,
                alpha=float(rank if self.alpha is None else self.alpha),
                steps=task.steps if self.steps is None else self.steps,
                lr=task.lr if self.lr is None else self.lr,
                optimizer=self.optimizer,  # type: ignore[arg-type]
                batch=self.batch,
                samples=self.samples,
                rescale=self.rescale,
                warm_start=self.warm_start,
                ensemble=tuple(sorted(set(self.ensemble))),
                loss_bound=self.loss_bound,
                seed=self.seed,
                device=self.device,
                dtype=self.dtype,
                text=text,
                method=self.method,
                damping=self._damping(),
                solver=None if self.method == "retrain" else self.solver,  # type: ignore[arg-type]
                validate=self.validate,
            )
            for p, draw in product(dict.fromkeys(self.p), range(self.draws))
        ]

    def _damping(self) -> float | None:
        if self.method == "retrain":
            return None
        return DAMPING[self.objective] if self.damping is None else self.damping

    def memory_limit(self) -> int | None:
        """Bytes that a process may take, None if left to what is free.

        Raises:
            ValueError: it is no size.
        """
        return None if self.max_memory is None else parse_size(self.max_memory)

    def _check(self, task: Task) -> None:
        require(len(self.p) > 0, "p", "at least one rate", "none")
        for p in self.p:
            require(0 <= p < 1, "p", "in [0, 1)", p)
        for size in self.ensemble:
            check_count("ensemble", size)
        examples = len(task)
        require(2 <= self.n < examples, "n", f"from 2 to {examples - 1} for {self.task}", self.n)
        check_count("draws", self.draws)
        limit = task.largest_rank
        allowed = f"from 1 to {limit}, the smallest side of {self.task}'s layers"
        require(self.rank is None or 1 <= self.rank <= limit, "rank", allowed, self.rank)
        for name in ("alpha", "lr", "loss_bound"):
            value = getattr(self, name)
            require(value is None or 0 < value < float("inf"), name, "positive and finite", value)
        self.check_engine()
        self.memory_limit()
        check_count("samples", self.samples)
        if self.steps is not None:
            check_count("steps", self.steps, most=LARGEST_SIZE)
        self._check_method()
        check_one_of("optimizer", self.optimizer, OPTIMIZERS)
        check_one_of("objective", self.objective, OBJECTIVES)
        check_one_of("dtype", self.dtype, DTYPES)
        require(
            self.batch is None or 1 <= self.batch <= self.n,
            "batch",
            f"from 1 to n = {self.n}",
            self.batch,
        )
        require(
            self.strength is None or 0 <= self.strength < float("inf"),
            "strength",
            "at least 0 and finite",
            self.strength,
        )
        require(0 < self.delta <= 1, "delta", "in (0, 1]", self.delta)
        check_seed(self.seed)
        if self.engine == "ray":
            # This machine need not have what the cluster has.
            check_one_of("device", self.device, ("cpu", "cuda"))
        else:
            check_device(self.device)
        if self.objective == "penalty":
            require(self.strength is not None, "strength", "given for objective penalty", "none")
            require(
                not self.ensemble,
                "ensemble",
                "left out for objective penalty, which draws no masks",
                self.ensemble,
            )

    def _check_method(self) -> None:
        check_one_of("method", self.method, METHODS)
        if self.method == "retrain":
            of_influence = ("damping", "solver", "validate")
            check_left_out(self, of_influence, "without method influence")
        else:
            damping = self.damping
            fine = damping is None or 0 < damping < float("inf")
            require(fine, "damping", "positive and finite", damping)
            within = 0 <= self.validate <= self.n
            require(within, "validate", f"from 0 to n = {self.n}", self.validate)
            given = self.warm_start
            require(not given, "warm_start", "left out for method influence", given)
            check_one_of("solver", self.solver, SOLVERS)
            if self.solver == "ekfac":
                self._check_ekfac()

    def _check_ekfac(self) -> None:
        fits = self.task in TEXT_TASKS and self.objective == "dropout"
        allowed = "cg, but for objective dropout of " + " and ".join(TEXT_TASKS)
        require(fits, "solver", allowed, self.solver)
        require_package("kronfluence", extra="ekfac")
