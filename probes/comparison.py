"""Which bound on the generalization gap says anything, and from which n on?

python -m probes.comparison
python -m probes.comparison --task wine --p 0.3 --strength 1 --n 50 100 200 400
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import tyro

from lora_dropout.masks import ENSEMBLE_STEP, LayerShape, stack_masks
from probes.cli.command_line import run
from probes.cli.stability_settings import from_keywords
from probes.jobs.atomic_files import make_folder, write_figure, write_whole
from probes.jobs.manifest import write_manifest
from probes.jobs.sweep import progress_bar
from probes.jobs.validation import check_count, check_one_of, require
from probes.results.text_tables import print_table
from probes.statements.exact_minimisers import TASKS, Problem, newton
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import ball_lipschitz, common_radius, largest_loss
from theory import sparsity_gap_bound
from theory.alternatives import (
    binomial_tail_bound,
    feldman_vondrak_gap_bound,
    masked_gaussian_divergence,
    moment_gap_bound,
    pac_bayes_gap_bound,
    second_moment_gap_bound,
    uniform_stability_gap_bound,
)
from theory.readings import CORRECTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the command line puts its files unless ``--out`` says otherwise.
DEFAULT_OUT = Path("runs/comparison")
#: Sizes at which the bounds are continued beyond those that are measured.
CONTINUED = tuple(round(10**power) for power in np.arange(1.5, 9.01, 0.25))
#: Samples of the posterior that estimate a randomized predictor's losses.
POSTERIOR_SAMPLES = 32
#: The bounds, with their references.
BOUNDS = {
    "Theorem 4.4": "arXiv 2404.09610",
    "Bousquet & Elisseeff, Theorem 12": "JMLR 2, 2002",
    "Feldman & Vondrák": "arXiv 1812.09859, 2018",
    "second moment, derived": "theory.alternatives",
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

    def check(self) -> None:
        """Check every value.

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
        require(0 <= self.seed < 2**63, "seed", "from 0 to 2**63 - 1", self.seed)

    def setting(self, n: int) -> Setting:
        """The setting at one size."""
        return Setting(self.task, n, self.p, self.strength, 1, self.draws, self.delta, self.seed)


@dataclass(frozen=True)
class CommandLine(ComparisonSettings):
    """Compare bounds on the generalization gap: their size, and how often they hold."""

    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """Bounds side by side.

    Attributes:
        table: one row a size and bound, all in units of the largest possible loss C (1 for the
            error rate of the test set): ``n``, ``name``, ``bound``, ``vacuous`` (at least 1),
            ``measured`` (the 1 - delta quantile of the gap that it bounds), ``coverage`` (share of
            the draws in which it held), ``draws``; NaN where n was not drawn.
        settings: of the run.
    """

    table: pd.DataFrame
    settings: ComparisonSettings

    @cached_property
    def thresholds(self) -> pd.DataFrame:
        """One row a bound: ``name``, ``reference``, ``first_n`` from which on it is not vacuous.

        Among the sizes of the table; infinite where none suffices.
        """
        records = []
        for name, group in self.table.groupby("name", sort=False):
            vacuous = group.loc[group["vacuous"], "n"]
            later = group.loc[group["n"] > (vacuous.max() if len(vacuous) else 0), "n"]
            first = later.min() if len(later) else float("inf")
            records.append({"name": name, "reference": BOUNDS[str(name)], "first_n": first})
        return pd.DataFrame(records)

    def plot(self) -> "Figure":
        """Draw the bounds against n, with the measured gap."""
        return import_module("figures.comparison").draw(self.table, self.caption)

    @property
    def caption(self) -> str:
        """What was compared."""
        s = self.settings
        return (
            f"{s.task}, exact minimisers, p = {s.p:g}, λ = {s.strength:g}, δ = {s.delta:g}, "
            f"{s.draws} draws of S; in units of the largest possible loss C"
        )

    def text(self) -> pd.DataFrame:
        """The thresholds as they are printed."""
        return _text(self)

    def __repr__(self) -> str:
        return self.text().to_string(index=False)

    def _repr_html_(self) -> str:
        return self.text().to_html(index=False)


def compare(**settings: Any) -> ComparisonResult:
    """Compare the bounds.

    Args:
        **settings: fields of :class:`ComparisonSettings`, the same as the flags of
            ``python -m probes.comparison``; ``n`` takes a number or several.

    Raises:
        ValueError: a value is out of range.
        TypeError: there is no such setting.

    >>> result = compare(n=20, draws=5)
    >>> len(result.thresholds)
    7
    """
    return run_probe(from_keywords(ComparisonSettings, settings))


def run_probe(settings: ComparisonSettings) -> ComparisonResult:
    """Run the probe; with ``settings.out``, keep table, manifest and figure there.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    settings.check()
    folder = make_folder(settings.out) if settings.out else None
    start = time.perf_counter()
    records: list[dict[str, Any]] = []
    with progress_bar(len(settings.n) * settings.draws, "drawing", "draw") as bar:
        for n in sorted(set(settings.n)):
            measured = _measure(settings, n, bar.update)
            records += _rows(settings, n, measured)
    for n in sorted(set(CONTINUED) - set(settings.n)):
        records += _continued_rows(settings, n, measured)
    result = ComparisonResult(pd.DataFrame(records), settings)
    if folder:
        write_whole(folder / "table.parquet", result.table.to_parquet)
        write_figure(folder / "comparison.png", result.plot())
        write_manifest(folder / "manifest.json", settings, time.perf_counter() - start)
    return result


def main(settings: CommandLine) -> None:
    """Run the probe from the command line."""
    settings = replace(settings, out=settings.out or DEFAULT_OUT)
    result = run_probe(settings)
    if settings.json:
        print(result.table.to_json(orient="records", indent=2, force_ascii=False))
        return
    print_table(
        _text(result),
        title=f"Bounds on the generalization gap\n{result.caption}",
        caption=(
            "bound, measured (1 - δ quantile of the gap that it bounds) and coverage (share of the "
            "draws in which it held) at the largest n drawn; vacuous at 1 and above"
        ),
        width=170,
    )
    print(f"table, manifest and figure: {settings.out}/")


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


def _measure(settings: ComparisonSettings, n: int, progress: Callable[[], object]) -> _Draws:
    setting, rows, norms = settings.setting(n), [], []
    population = setting.population
    ceiling = largest_loss(population, common_radius(population, setting.s))
    for draw in range(settings.draws):
        problem = setting.sample(draw)
        shape = (1, problem.targets.shape[1], problem.features.shape[1])
        theta = newton(problem, np.full((1, n), 1 / n), setting.s, np.zeros(shape))[0]
        generator = np.random.default_rng([settings.seed, draw, 1])
        test = population.take(generator.integers(len(population), size=n))
        errors = _wrong(test, theta)
        norms.append(float(np.square(theta).sum()))
        rows.append(
            (
                (population.losses(theta).mean() - problem.losses(theta).mean()) / ceiling,
                _randomized_gap(setting, problem, theta, ceiling, draw),
                masked_gaussian_divergence(theta, settings.p, _deviation(setting)),
                _wrong(population, theta).mean() - errors.mean(),
                errors.sum(),
            )
        )
        progress()
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


def _rows(settings: ComparisonSettings, n: int, measured: _Draws) -> list[dict[str, Any]]:
    """Rows of one size that was drawn; a bound that depends on the draw is shown at its mean."""
    setting, rows = settings.setting(n), []
    for name, bound in _bounds(setting, measured.norm, measured.error_rate).items():
        gap, limit = _measured_side(name, setting, measured, bound)
        rows.append(
            _row(n, name, float(np.mean(limit)))
            | {
                "measured": float(np.quantile(gap, 1 - settings.delta, method="higher")),
                "coverage": float(np.mean(gap <= limit)),
                "draws": settings.draws,
            }
        )
    return rows


def _continued_rows(settings: ComparisonSettings, n: int, last: _Draws) -> list[dict[str, Any]]:
    """Rows of a size that was not drawn, at the norm and the error rate of the largest that was."""
    bounds = _bounds(settings.setting(n), last.norm, last.error_rate)
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


def _text(result: ComparisonResult) -> pd.DataFrame:
    drawn = result.table[result.table["draws"] > 0]
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
            for row in result.thresholds.to_dict("records")
        ]
    )


if __name__ == "__main__":
    run(CommandLine, main)
