"""Which bound on the generalization gap says anything, and from which n on?

python -m probes.comparison
python -m probes.comparison --task wine --p 0.3 --strength 1 --n 50 100 200 400

>>> len(measure(n=20, draws=5).summary)
7
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import tyro

from lora_dropout.masks import ENSEMBLE_STEP, LayerShape, stack_masks
from probes.cli.probe import Probe
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, check_one_of, check_seed, require
from probes.results.json_records import as_json
from probes.results.result import Result
from probes.results.text_tables import TextTable
from probes.statements.exact_minimisers import TASKS, Problem, newton
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import ball_lipschitz, common_radius, largest_loss
from theory import sparsity_gap_bound
from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.feldman2018 import feldman_vondrak_gap_bound
from theory.langford2005 import binomial_tail_bound
from theory.masked_gaussian import masked_gaussian_divergence
from theory.maurer2004 import pac_bayes_gap_bound
from theory.readings import CORRECTED
from theory.second_moment import second_moment_gap_bound

if TYPE_CHECKING:
    from figures.style import Drawing

#: Sizes at which the bounds are continued beyond those that are measured.
CONTINUED = tuple(round(10**power) for power in np.arange(1.5, 9.01, 0.25))
#: Samples of the posterior that estimate a randomized predictor's losses.
POSTERIOR_SAMPLES = 32
#: The bounds, with their references.
BOUNDS = {
    "Theorem 4.4": "arXiv 2404.09610",
    "Bousquet & Elisseeff, Theorem 12": "JMLR 2, 2002",
    "Feldman & Vondrák": "arXiv 1812.09859, 2018",
    "second moment, derived": "theory.second_moment",
    "Bousquet, Klochkov & Zhivotovskiy": "COLT 2020, Theorem 4",
    "PAC-Bayes, masked posterior": "arXiv cs/0411099",
    "test set, binomial tail": "Langford, JMLR 6, 2005",
}


@dataclass(frozen=True)
class ComparisonSettings:
    """Compare bounds on the generalization gap: their size, and how often they hold."""

    task: str = "breast_cancer"
    """Data set of the exact minimisers: ridge, breast_cancer or wine."""

    p: float = 0.3
    """Dropout rate, in (0, 1)."""

    strength: float = 1.0
    """lambda, positive."""

    n: tuple[int, ...] = (50, 100, 200, 400)
    """Sizes of S that are drawn, at least 8, with replacement from the data set."""

    draws: int = 100
    """Draws of S at every size."""

    delta: float = 0.05
    """Failure probability, in (0, 1]."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the table, the manifest and the figure. Default: runs/comparison from the command
    line, none from Python."""

    engine_options: ClassVar[EngineOptions] = EngineOptions()

    def cells(self) -> "list[ComparisonCell]":
        """Check every value and return the cell.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        check_one_of("task", self.task, TASKS)
        require(0 < self.p < 1, "p", "in (0, 1)", self.p)
        require(0 < self.strength < float("inf"), "strength", "positive and finite", self.strength)
        require(len(self.n) > 0, "n", "at least one value", "none")
        for n in self.n:
            require(n >= 8, "n", "at least 8", n)
        check_count("draws", self.draws, least=2)
        require(0 < self.delta <= 1, "delta", "in (0, 1]", self.delta)
        check_seed(self.seed)
        sizes = tuple(sorted(set(self.n)))
        return [
            ComparisonCell(
                self.task, self.p, self.strength, sizes, self.draws, self.delta, self.seed
            )
        ]


@dataclass(frozen=True)
class ComparisonCell:
    """All sizes together, as the bounds are continued beyond the largest.

    Attributes:
        task, p, strength, n, draws, delta, seed: of the settings.
    """

    task: str
    p: float
    strength: float
    n: tuple[int, ...]
    draws: int
    delta: float
    seed: int

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return ("torch", "numpy", "scipy", "scikit-learn")

    @property
    def replica_steps(self) -> int:
        """Size of the work, in draws."""
        return len(self.n) * self.draws

    def setting(self, n: int) -> Setting:
        """The setting at one size."""
        return Setting(self.task, n, self.p, self.strength, 1, self.draws, self.delta, self.seed)


@dataclass(frozen=True, repr=False)
class ComparisonResult(Result):
    """Bounds side by side.

    Attributes:
        rows: one row a size and bound: see :func:`measure_cell`.
        settings: of the run.
    """

    settings: ComparisonSettings = ComparisonSettings()

    name = "comparison"
    question = "Bounds on the generalization gap"
    note = (
        "bound, measured (1 - δ quantile of the gap that it bounds) and coverage (share of the "
        "draws in which it held) at the largest n drawn; vacuous at 1 and above"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a bound: ``name``, ``reference``, ``first_n`` from which on it is not vacuous.

        Among the sizes of the rows; infinite where none suffices.
        """
        records = []
        for name, group in self.rows.groupby("name", sort=False):
            vacuous = group.loc[group["vacuous"], "n"]
            later = group.loc[group["n"] > (vacuous.max() if len(vacuous) else 0), "n"]
            first = later.min() if len(later) else float("inf")
            records.append({"name": name, "reference": BOUNDS[str(name)], "first_n": first})
        return pd.DataFrame(records)

    @property
    def setting(self) -> str:
        """What was compared."""
        s = self.settings
        return (
            f"{s.task}, exact minimisers, p = {s.p:g}, λ = {s.strength:g}, δ = {s.delta:g}, "
            f"{s.draws} draws of S; in units of the largest possible loss C"
        )

    def text(self) -> pd.DataFrame:
        """The thresholds as they are printed."""
        drawn = self.rows[self.rows["draws"] > 0]
        last = drawn[drawn["n"] == drawn["n"].max()].set_index("name")
        return pd.DataFrame(
            [
                {
                    "statement": row["name"],
                    "reference": row["reference"],
                    "n": str(last.loc[row["name"], "n"]),
                    "bound": f"{last.loc[row['name'], 'bound']:.4g}",
                    "measured": f"{last.loc[row['name'], 'measured']:.4g}",
                    "coverage": f"{last.loc[row['name'], 'coverage']:.0%}",
                    "not vacuous from n": f"{row['first_n']:.3g}",
                }
                for row in self.summary.to_dict("records")
            ]
        )

    def text_tables(self) -> list[TextTable]:
        """The thresholds."""
        title = f"{self.question}\n{self.setting}"
        return [TextTable(self.text(), title, self.note, width=170)]

    def plot(self) -> "Drawing":
        """Draw the bounds against n, with the measured gap."""
        from figures.comparison import draw

        return draw(self.rows, self.setting)

    def to_json(self) -> str:
        """Return the rows as a JSON document."""
        return as_json(self.rows)


def measure_cell(cell: ComparisonCell, progress: Progress) -> Tables:
    """Draw S at every size, and state every bound there and beyond.

    Args:
        cell: the data set, the rate and the sizes.
        progress: told 1 after every draw.

    Returns:
        One row a size and bound, all in units of the largest possible loss C (1 for the error rate
        of the test set): ``n``, ``name``, ``bound``, ``vacuous`` (at least 1), ``measured`` (the
        1 - delta quantile of the gap that it bounds), ``coverage`` (share of the draws in which it
        held), ``draws``; NaN where n was not drawn.
    """
    records: list[dict[str, Any]] = []
    for n in cell.n:
        measured = _measure(cell, n, progress)
        records += _rows(cell, n, measured)
    for n in sorted(set(CONTINUED) - set(cell.n)):
        records += _continued_rows(cell, n, measured)
    return {TableKind.ROWS: pd.DataFrame(records)}


@dataclass(frozen=True)
class _Draws:
    """What the draws of S at one size gave, one entry a draw, in units of C.

    Attributes:
        gap: of the minimiser.
        randomized: gap of the predictor with masks and noise.
        divergence: of that predictor's law from the prior.
        excess: error rate less that on a test set of n.
        errors: wrong answers on the test set.
        norm: mean squared norm of the minimisers.
        error_rate: mean share of wrong answers on the test set.
    """

    gap: Array
    randomized: Array
    divergence: Array
    excess: Array
    errors: Array
    norm: float
    error_rate: float


def _measure(cell: ComparisonCell, n: int, progress: Progress) -> _Draws:
    setting, rows, norms = cell.setting(n), [], []
    population = setting.population
    ceiling = largest_loss(population, common_radius(population, setting.s))
    for draw in range(cell.draws):
        problem = setting.sample(draw)
        shape = (1, problem.targets.shape[1], problem.features.shape[1])
        theta = newton(problem, np.full((1, n), 1 / n), setting.s, np.zeros(shape))[0]
        generator = np.random.default_rng([cell.seed, draw, 1])
        test = population.take(generator.integers(len(population), size=n))
        errors = _wrong(test, theta)
        norms.append(float(np.square(theta).sum()))
        rows.append(
            (
                (population.losses(theta).mean() - problem.losses(theta).mean()) / ceiling,
                _randomized_gap(setting, problem, theta, ceiling, draw),
                masked_gaussian_divergence(theta, cell.p, _deviation(setting)),
                _wrong(population, theta).mean() - errors.mean(),
                errors.sum(),
            )
        )
        progress(1)
    gap, randomized, divergence, excess, errors = np.array(rows).T
    return _Draws(
        gap, randomized, divergence, excess, errors, float(np.mean(norms)), float(errors.mean() / n)
    )


def _wrong(problem: Problem, theta: Array) -> Array:
    """Whether each answer is wrong; for regression, whether its sign is."""
    outputs = problem.outputs(theta)
    if problem.targets.shape[1] > 1:
        return (outputs.argmax(-1) != problem.targets.argmax(-1)).astype(float)
    boundary = 0.5 if problem.loss.name == "logistic" else 0.0
    return ((outputs > 0) != (problem.targets > boundary))[:, 0].astype(float)


def _deviation(setting: Setting) -> float:
    """The noise of the posterior, fixed without the data.

    The penalty's own scale, 1/sqrt(2s), shrunk by n^(1/4): the divergence then grows like the
    root of n, so that bound and noise both vanish.
    """
    return float(1 / np.sqrt(2 * setting.s * np.sqrt(setting.n)))


def _randomized_gap(
    setting: Setting, problem: Problem, theta: Array, ceiling: float, draw: int
) -> float:
    k, d = theta.shape
    mask_in, mask_out = stack_masks(
        LayerShape(d, k, setting.p, setting.p), seed=setting.seed, steps=[ENSEMBLE_STEP],
        layer=draw, samples=range(POSTERIOR_SAMPLES),
    )  # fmt: skip
    masks = (mask_out[0, :, :, None] * mask_in[0, :, None]).double().numpy()
    generator = np.random.default_rng([setting.seed, draw, 2])
    sampled = masks * theta + _deviation(setting) * generator.standard_normal(masks.shape)
    clipped = [
        np.minimum(part.losses(sampled), ceiling).mean() for part in (setting.population, problem)
    ]
    return float(clipped[0] - clipped[1]) / ceiling


def _rows(cell: ComparisonCell, n: int, measured: _Draws) -> list[dict[str, Any]]:
    """Rows of one size that was drawn; a bound that depends on the draw is shown at its mean."""
    setting, rows = cell.setting(n), []
    for name, bound in _bounds(setting, measured.norm, measured.error_rate).items():
        gap, limit = _measured_side(name, setting, measured, bound)
        rows.append(
            _row(n, name, float(np.mean(limit)))
            | {
                "measured": float(np.quantile(gap, 1 - cell.delta, method="higher")),
                "coverage": float(np.mean(gap <= limit)),
                "draws": cell.draws,
            }
        )
    return rows


def _continued_rows(cell: ComparisonCell, n: int, last: _Draws) -> list[dict[str, Any]]:
    """Rows of a size that was not drawn, at the norm and the error rate of the largest that was."""
    bounds = _bounds(cell.setting(n), last.norm, last.error_rate)
    return [_row(n, name, bound) for name, bound in bounds.items()]


def _row(n: int, name: str, bound: float) -> dict[str, Any]:
    return {
        "n": n,
        "name": name,
        "bound": bound,
        "vacuous": not bound < 1,
        "measured": float("nan"),
        "coverage": float("nan"),
        "draws": 0,
    }


def _measured_side(
    name: str, setting: Setting, measured: _Draws, bound: float
) -> tuple[Array, Array]:
    """The gap of every draw, and its bound."""
    if name.startswith("PAC-Bayes"):
        limit = pac_bayes_gap_bound(
            loss_bound=1.0, divergence=measured.divergence, n=setting.n, delta=setting.delta
        )
        return measured.randomized, np.asarray(limit)
    if name.startswith("test set"):
        rate = np.asarray(binomial_tail_bound(measured.errors, setting.n, setting.delta))
        return measured.excess, rate - measured.errors / setting.n
    return measured.gap, np.full(len(measured.gap), bound)


def _bounds(setting: Setting, norm: float, error_rate: float) -> dict[str, float]:
    """All bounds at one size, in units of C.

    Args:
        setting: the setting.
        norm: squared norm of the update, for PAC-Bayes.
        error_rate: on the test set, for its bound.
    """
    population, n = setting.population, setting.n
    radius = common_radius(population, setting.s)
    ceiling = largest_loss(population, radius)
    lipschitz, regularized = ball_lipschitz(population, setting.s, radius)
    beta = CORRECTED.bound(
        lipschitz=lipschitz, lipschitz_regularized=regularized, mu=2 * setting.s, n=n
    )
    known: dict[str, Any] = {"n": n, "delta": setting.delta}
    stable = known | {"loss_bound": 1.0, "gamma": 2 * float(beta) / ceiling}
    theorem = sparsity_gap_bound(
        loss_bound=ceiling, lipschitz=lipschitz, curvature=0.0, strength=setting.strength,
        p=setting.p, **known,
    )  # fmt: skip
    divergence = masked_gaussian_divergence(np.sqrt(norm), setting.p, _deviation(setting))
    found = {
        "Theorem 4.4": theorem / ceiling,
        "Bousquet & Elisseeff, Theorem 12": uniform_stability_gap_bound(
            loss_bound=1.0, beta=float(beta) / ceiling, **known
        ),
        "Feldman & Vondrák": feldman_vondrak_gap_bound(**stable),
        "second moment, derived": second_moment_gap_bound(**stable),
        "Bousquet, Klochkov & Zhivotovskiy": moment_gap_bound(**stable),
        "PAC-Bayes, masked posterior": pac_bayes_gap_bound(
            loss_bound=1.0, divergence=divergence, **known
        ),
        "test set, binomial tail": np.asarray(
            binomial_tail_bound(round(error_rate * n), n, setting.delta)
        )
        - error_rate,
    }
    return {name: float(np.asarray(value)) for name, value in found.items()}


PROBE = Probe(
    "comparison",
    ComparisonSettings,
    cells=ComparisonSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: ComparisonResult.of(tables, settings=settings),
    doing="drawing",
)
measure = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
