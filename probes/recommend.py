"""Which method should I fine-tune with? Tuned and measured on my data, within a time that I give.

python -m probes.recommend --data mine.csv --text-column text --label-column label --minutes 5
python -m probes.recommend --task digits --minutes 1
python -m probes.recommend --own mine.py:own --minutes 5

>>> result = measure(task="ridge", method="LoRA Dropout", n=8, steps=10, trainings=1, minutes=0.05)
>>> result.choice.telling_draws >= 2
True
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import tyro

from probes.cells.cell import Cell, seeds_of
from probes.cells.own_rival_cells import OwnDraw, run_own_rival_cell
from probes.cells.prepare import network_of
from probes.cells.rival_cells import (
    FOLDS,
    SHARES,
    Beside,
    learning_rates,
    run_rival_cell,
)
from probes.cells.tuning_plan import (
    LEAST_TELLING,
    PLANNED_TELLING,
    Grid,
    Plan,
    fitting,
    least_seconds,
)
from probes.cli.measures import MeasureRecommend
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.cli.text_options import TextOptions
from probes.jobs.amounts import from_to, how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import TableKind, Tables
from probes.jobs.sweep import Sweep
from probes.jobs.time_limit import TimeLimit, run_draws
from probes.jobs.validation import (
    LARGEST_SIZE,
    check_count,
    check_left_out,
    check_one_of,
    check_seed,
    require,
)
from probes.metrics.confidence_intervals import means, overlap_of
from probes.metrics.sample_splitting import SplitChoice, split_choice
from probes.metrics.tuned_settings import SETTING, tuned_settings
from probes.results.adapter_config import config_files
from probes.results.answer_words import draws_in_words, intervals_in_words
from probes.results.json_records import as_json
from probes.results.recommendation import CONSTANT, SIMPLEST, Candidate, Choice, sentences
from probes.results.result import Result
from probes.results.text_tables import averages, calibration_errors, with_interval
from probes.tasks import load_task
from probes.tasks.labelled_texts import say_once
from probes.tasks.own_examples import with_tensors
from probes.tasks.own_model import load_own
from probes.tasks.packaged import packaged
from probes.tasks.text import TextTask
from probes.tasks.tweets import MODEL
from probes.training.own_training import own_obstacle, tried
from probes.training.rival_training import obstacle

if TYPE_CHECKING:
    from figures.style import Drawing

#: Methods that PEFT or its trainer can train with, the first ones first where time is short.
METHODS = (
    SIMPLEST, "LoRA Dropout", "weight decay", "PEFT lora_dropout", "LoRA Dropout, N = 4",
    "smaller rank", "label smoothing", "LoRA Dropout, ensemble of 16",
)  # fmt: skip
#: With fewer held-out examples than this, networks that did not see an example of S judge.
LEAST_HELD_OUT = 100
#: Draws that choose and draws that tell, however much time there is.
MOST_CHOOSING, MOST_TELLING = 8, 32
#: Shares of the time until which draws choose, and for the networks of which beta is made.
CHOOSING_TIME, BETA_TIME = 0.5, 0.5
#: Seconds that are kept back for starting and writing, and the largest share of the time for it.
KEPT_BACK, KEPT_BACK_SHARE = 10.0, 0.2
QUANTITIES = (
    "risk", "score", "gap", "beta", "ece", "ece_floor", "train_loss", "test_loss", "passes",
)  # fmt: skip
#: A run of which one of these is not finite has diverged.
TRAINED = ("risk", "gap", "train_loss", "test_loss")


@dataclass(frozen=True)
class RecommendSettings(TextOptions, EngineOptions):
    """Tune methods on your data, and recommend one with its setting."""

    minutes: float = 5.0
    """Time to spend, with loading. Fewer settings are tried to stay within it. If even the fewest
    do not fit, a message says at once how many minutes they need."""

    task: str | None = None
    """What is learned: digits, breast_cancer, ridge, tweets or text. Default: text where --data is
    given, otherwise digits."""

    own: Annotated[Any, tyro.conf.arg(constructor=str, metavar="FILE.py:NAME")] = None
    """In place of a task, a PyTorch model of your own: an OwnModel, or a function that makes one,
    as for probes.own_model. Its rank, steps and lr are the defaults of those below."""

    method: tuple[str, ...] = ()
    """Methods to choose from beside LoRA. Default: those that PEFT and its trainer know, as far as
    they apply."""

    trainings: int = 16
    """Largest number of trainings of a method on each draw of S that chooses: learning rates times
    strengths."""

    n: int | None = None
    """Number of training examples: as many as you will fine-tune on, if you have the time. Default:
    64, or all but one if there are fewer."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Largest number of optimizer steps; how many are taken is part of the choice. Default: the
    task's."""

    lr: float | None = None
    """Smallest learning rate that is tried; the largest is 32 times as large. Default: the
    task's."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest, the figure and the config of PEFT. Default: runs/recommend
    from the command line, none from Python."""

    def cells(self) -> list[Plan]:
        """Check every value and return the plan, alone.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        started = time.perf_counter()
        require(0 < self.minutes < float("inf"), "minutes", "positive and finite", self.minutes)
        check_count("trainings", self.trainings)
        for method in self.method:
            check_one_of("method", method, METHODS)
        base, examples, obstacle_to = self._task() if self.own is None else self._own()
        needed = f"at least {2 * FOLDS + 1}, so that some judge"
        require(examples > 2 * FOLDS, "number of examples", needed, examples)
        held_out = examples - base.n >= LEAST_HELD_OUT
        left = how_many(examples - base.n, "example is", "examples are")
        allowed = f"at least {2 * FOLDS}, as only {left} left to judge"
        require(held_out or base.n >= 2 * FOLDS, "n", allowed, base.n)
        asked = dict.fromkeys([SIMPLEST, *(self.method or METHODS)])
        reasons = {one: obstacle_to(one) for one in asked}
        for method in self.method:
            reason = reasons[method]
            require(not reason, "method", f"one that applies here ({reason})", method)
        if self.own is not None and any(reasons.values()):
            said = "; ".join(reason for reason in reasons.values() if reason)
            say_once(f"own model: methods left out: {said}")
        methods = tuple(one for one, reason in reasons.items() if not reason)
        return [Plan(started, base, Grid(methods, self.trainings), held_out)]

    @property
    def given_texts(self) -> dict[str, Any]:
        """The options of the text tasks that are not as usual, of those that fine-tuning has.

        Of a file of one's own also the model, as fine-tuning has another one by default.
        """
        taken = ("data", "text_column", "label_column", "encoding", "model", "tokens")
        given = {
            one.name: getattr(self, one.name)
            for one in fields(TextOptions)
            if one.name in taken and getattr(self, one.name) != one.default
        }
        return {"model": str(packaged(MODEL))} | given if self.data else given

    @property
    def tuned_texts(self) -> dict[str, Any]:
        """Those options, and after how many tokens texts were cut: fine-tuning reads more of them.

        Empty for another task.
        """
        name = self._task_name
        task = None if self.own else load_task(name, self.text_source(name))
        return self.given_texts | {"tokens": task.tokens} if isinstance(task, TextTask) else {}

    @property
    def _task_name(self) -> str:
        return self.task or ("text" if self.data else "digits")

    def _task(self) -> tuple[Cell, int, Callable[[str], str]]:
        """The first draw of a task, its number of examples, and what stands in a method's way."""
        name = self._task_name
        task = load_task(name, self.text_source(name))
        (base,) = StabilitySettings(
            p=(0.0,), task=name, n=self._size(len(task)), draws=1, rank=self.rank, steps=self.steps,
            lr=self.lr, seed=self.seed, **self.text_options, **self.engine_settings,
        ).cells()  # fmt: skip
        return base, len(task), partial(obstacle, network_of(base))

    def _own(self) -> tuple[OwnDraw, int, Callable[[str], str]]:
        """The same of a model of one's own."""
        of_tasks = ("task", *self.text_options, *self.engine_settings)
        check_left_out(self, of_tasks, "where own is given")
        own = with_tensors(load_own(self.own))
        changed = {name: getattr(self, name) for name in ("rank", "steps", "lr")}
        own = replace(own, **{name: one for name, one in changed.items() if one is not None})
        examples = len(own.features)
        n = self._size(examples)
        require(2 <= n < examples, "n", f"from 2 to {examples - 1}", n)
        check_count("steps", own.steps, most=LARGEST_SIZE)
        require(0 < own.lr < float("inf"), "lr", "positive and finite", own.lr)
        check_seed(self.seed)
        traits = tried(own, (0.0, 0.5), seeds_of(self.seed, 0), n)
        draw = OwnDraw(own, n, 0, self.seed, traits.coupled)
        return draw, examples, partial(own_obstacle, own)

    def _size(self, examples: int) -> int:
        return min(64, examples - 1) if self.n is None else self.n


@dataclass(frozen=True, repr=False, eq=False)
class RecommendResult(Result):
    """One row a tuned method and telling draw: see ``probes.cells.rival_cells.measure``.

    The table of kind ``TUNING`` has the draws that chose.

    Attributes:
        texts: options of the text tasks that were given, by name, as fine-tuning takes them.
    """

    texts: Mapping[str, Any] = field(default_factory=dict)

    name = "recommend"
    question = "Loss on new data, stability and calibration of every tuned method"

    @property
    def note(self) -> str:
        """How the risk was estimated, and what was tried."""
        tuning = self.more[TableKind.TUNING]
        how = (
            "held-out examples"
            if self.rows["judge"].iloc[0] == "test set"
            else "the examples of S, each by a network that did not see it"
        )
        tried = tuning.drop_duplicates(["method", *SETTING]).groupby("method").size()
        chose, told = tuning["draw"].nunique(), self.rows["draw"].nunique()
        return (
            "learning rate, strength and stopping time of every method by "
            f"{draws_in_words(chose)}, of {from_to(tried.min(), tried.max())} combinations; means "
            f"over {how_many(told, 'other draw')}, 95 % intervals (Student); loss, score and "
            f"ECE (of a calibrated predictor) on {how}; * "
            "recommended; behind: loss less that of the recommended, paired; where one network of "
            "a run diverged, the run enters no mean"
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The constant prediction, then one row a method: means over the telling draws.

        They are those of ``QUANTITIES`` and of ``behind``, the loss less that of the recommended
        candidate, paired over draws. What diverged enters no mean: ``..._draws`` says over how many
        of the ``draws`` a mean is. ``diverged`` says in how many of all draws a candidate diverged,
        ``chosen`` which is recommended.
        """
        rows = pd.concat([self._constant, self._finite], ignore_index=True)
        chosen = self._split.recommended
        recommended = self._chance if chosen is None else self._telling[:, chosen]
        of_draw = pd.Series(recommended, self._draws)
        rows = rows.assign(behind=rows["risk"] - rows["draw"].map(of_draw))
        summary = means(rows, ["method"], [*QUANTITIES, "behind"])
        known = pd.DataFrame([asdict(one) for one in (_constant(), *self._candidates)])
        settings = known.drop(columns="passes")
        places = np.arange(len(summary)) - 1
        return settings.merge(summary, on="method").assign(
            diverged=[0, *self._split.diverged],
            chosen=places == (-1 if chosen is None else chosen),
        )

    @cached_property
    def choice(self) -> Choice:
        """The recommendation."""
        split, candidates = self._split, self._candidates
        row = self.summary[self.summary["chosen"]].iloc[0]
        tried = self.summary[self.summary["method"] != CONSTANT]
        close = tried[(tried["behind_low"] <= 0) & (tried["behind_high"] >= 0)]
        margin, margin_low, margin_high = split.margin
        gain, gain_low, gain_high = split.gain
        choice = Choice(
            recommended=_constant() if split.recommended is None else candidates[split.recommended],
            learned=split.learned,
            nothing_learned=split.learned is False,
            risk=float(row["risk"]),
            low=float(row["risk_low"]),
            high=float(row["risk_high"]),
            chance=float(self._chance.mean()),
            margin=margin,
            margin_low=margin_low,
            margin_high=margin_high,
            simplest=None if split.simplest is None else candidates[split.simplest],
            rival=None if split.rival is None else candidates[split.rival],
            gain=gain,
            gain_low=gain_low,
            gain_high=gain_high,
            gains=split.gains,
            equals=tuple(close["method"]),
            diverged={
                one.named: int(count)
                for one, count in zip(candidates, split.diverged, strict=True)
                if count
            },
            choosing_draws=int((~split.telling).sum()),
            telling_draws=int(split.telling.sum()),
        )
        learner = None if split.learner is None else candidates[split.learner]
        return replace(choice, reason=sentences(choice, learner))

    def text(self) -> pd.DataFrame:
        """The summary as it is printed, the least loss first."""
        summary = self.summary.sort_values("risk", kind="stable", ignore_index=True)
        score, trained = self.rows["score_name"].iloc[0], summary["method"] != CONSTANT
        table = pd.DataFrame(
            {
                "": np.where(summary["chosen"], "*", ""),
                "method": summary["method"],
                "strength": summary["strength"].map("{:g}".format),
                "lr": summary["lr"].map("{:.2g}".format),
                "stop": summary["stop"].astype(str),
                "loss": with_interval(summary, "risk"),
                "behind": with_interval(summary, "behind"),
                score: averages(summary, "score", 3),
                "gap": averages(summary, "gap", 3),
                "β": averages(summary, "beta", 3) if "beta" in summary else "",
                "ECE": calibration_errors(summary),
                "passes": summary["passes"].map("{:.0f}".format),
            }
        )
        # A constant is not trained: it has neither a gap nor a beta.
        table.loc[~trained, ["strength", "lr", "stop", "gap", "β", "passes"]] = ""
        table.loc[summary["method"] == SIMPLEST, "strength"] = ""
        # A model of one's own may have no score.
        return table if summary["score"].notna().any() else table.drop(columns=score)

    @property
    def setting(self) -> str:
        """Task, n, rank and draws."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, n = {first['n']}, rank {first['rank']}, "
            f"at most {how_many(first['steps'], 'step')}, {draws_in_words(self.draw_count)}"
        )

    @property
    def conclusion(self) -> str:
        """The recommendation."""
        said = [self.choice.reason, self._at_the_end, self._command]
        return " ".join(one for one in said if one)

    @property
    def _command(self) -> str:
        """How to fine-tune with what is recommended, on the texts that it was tuned on."""
        recommended, first = self.choice.recommended, self.rows.iloc[0]
        if recommended.method == CONSTANT or self._is_own:
            return ""
        texts = {
            name.replace("_", "-"): shlex.quote(str(value)) for name, value in self.texts.items()
        }
        # Of the other tasks there is none at full scale.
        tasks = {"text": texts.pop("data", "FILE"), "tweets": "tweets"}
        task = tasks.get(first["task"])
        flags = ({"task": task, **texts, "n": first["n"]} if task else {}) | {
            "regularizer": f'"{recommended.method}"', "strength": f"{recommended.strength:g}",
            "rank": first["rank"], "alpha": first["rank"],
            "learning_rate": f"{recommended.lr:.3g}", "max_steps": recommended.stop,
            "per_device_train_batch_size": first["n"], "lr_scheduler_type": "constant",
        }  # fmt: skip
        words = " ".join(f"--{name} {value}" for name, value in flags.items())
        return f"To fine-tune with it:\npython -m probes.finetune {words}"

    @property
    def _is_own(self) -> bool:
        """Whether it is of a model of one's own."""
        return "layers" in self.rows

    def documents(self) -> dict[str, str]:
        """The recommended method as a config of PEFT and arguments of transformers' trainer."""
        recommended, first = self.choice.recommended, self.rows.iloc[0]
        if recommended.method == CONSTANT or not find_spec("peft"):
            return {}
        rank = int(first["rank"])
        alpha = float(first["alpha"]) if self._is_own else float(rank)
        layers = json.loads(first["layers"]) if self._is_own else {}
        return config_files(recommended, rank, alpha, int(first["n"]), layers)

    @property
    def _at_the_end(self) -> str:
        """Whether longer training would perhaps have been chosen, or have learned something."""
        recommended, learner = self._split.recommended, self._split.learner
        best = learner if recommended is None else recommended
        if best is None:
            return ""
        method, largest = self._candidates[best].method, self.more[TableKind.TUNING]["lr"].max()
        chosen = self._tuned[self._tuned["method"] == method].iloc[0]
        if chosen["share"] < SHARES[-1] or not np.isclose(chosen["lr"], largest):
            return ""
        longest = "the longest training at the largest rate that was tried: give more --steps"
        return (
            f"{method} had {longest} or --minutes." if recommended is None else f"It is {longest}."
        )

    def plot(self) -> "Drawing":
        """Draw why it was chosen."""
        from figures.recommend import draw

        how = "held-out examples" if self.rows["judge"].iloc[0] == "test set" else "unseen examples"
        told = self.choice.telling_draws
        over = f"95 % intervals over the {told} draws that did not choose"
        caption = (
            f"{self.setting}; loss and calibration by {how}; "
            + (over if told > 1 else intervals_in_words(told))
            + ("; nothing was learned" if self.choice.nothing_learned else "")
        )
        return draw(self.summary, caption, self.rows["score_name"].iloc[0]).titled(self.answer)

    def to_json(self) -> str:
        """Return the choice and the candidates as a JSON document."""
        return as_json({"choice": asdict(self.choice), "candidates": self.summary})

    @cached_property
    def _tuned(self) -> pd.DataFrame:
        """The setting of every method, in the order of the methods."""
        return tuned_of(self.more[TableKind.TUNING])

    @cached_property
    def _split(self) -> SplitChoice:
        choosing, telling = self._choosing, self._telling
        return split_choice(
            np.vstack([choosing, telling]),
            [one.price for one in self._candidates],
            np.concatenate([np.full(len(choosing), np.nan), self._chance]),
            telling=np.arange(len(choosing) + len(telling)) >= len(choosing),
            overlap=overlap_of(self.rows),
        )

    @cached_property
    def _candidates(self) -> list[Candidate]:
        """In order of first appearance."""
        names = ["method", "strength", "lr", "stop", "passes", "test_passes"]
        first = self.rows.drop_duplicates("method")
        return [Candidate(*values) for values in first[names].itertuples(index=False)]

    @cached_property
    def _draws(self) -> np.ndarray:
        """Numbers of the telling draws."""
        return np.sort(self.rows["draw"].unique())

    @cached_property
    def _finite(self) -> pd.DataFrame:
        """The rows, without any number of runs that diverged, on S or without an example."""
        known = [name for name in (*TRAINED, "beta") if name in self.rows]
        sound = np.isfinite(self.rows[known].to_numpy(np.float64)).all(axis=1)
        measured = [name for name in QUANTITIES if name in self.rows]
        return self.rows.assign(**self.rows[measured].where(pd.Series(sound, self.rows.index)))

    @cached_property
    def _choosing(self) -> np.ndarray:
        """Losses of the tuned settings on the draws that chose, (draws, candidates)."""
        tuning = self._tuned[["method", *SETTING]].merge(self.more[TableKind.TUNING], how="left")
        return self._table(tuning, "validation_loss")

    @cached_property
    def _telling(self) -> np.ndarray:
        """Losses on new data, (draws, candidates); NaN where a run diverged."""
        return self._table(self._finite, "risk")

    def _table(self, rows: pd.DataFrame, name: str) -> np.ndarray:
        table = rows.pivot(index="draw", columns="method", values=name)
        return table[[one.method for one in self._candidates]].to_numpy(np.float64)

    @cached_property
    def _constant(self) -> pd.DataFrame:
        """Rows of the constant prediction, one a draw."""
        first = self.rows.drop_duplicates("draw").sort_values("draw", ignore_index=True)
        known = [name for name in ("draw", "n", "pool") if name in first]
        return first[known].assign(
            method=CONSTANT, risk=first["chance_risk"], score=first["chance_score"]
        )

    @property
    def _chance(self) -> np.ndarray:
        """Losses of the constant prediction, (draws,)."""
        return self._constant["risk"].to_numpy(np.float64)


def _constant() -> Candidate:
    return Candidate(CONSTANT, float("nan"), float("nan"), 0, 0, 0)


def tuned_of(tuning: pd.DataFrame) -> pd.DataFrame:
    """Return the tuned setting of every method, one row each; see ``tuned_settings``."""
    found = tuned_settings(tuning)
    return found[found["chosen"]].reset_index(drop=True)


def kept_back(given: float) -> float:
    """Return how many of the seconds that are given are kept back."""
    return min(KEPT_BACK, KEPT_BACK_SHARE * given)


def least_given(needed: float) -> float:
    """Return how many seconds have to be given.

    >>> [(given, given - kept_back(given)) for given in map(least_given, (20.0, 80.0))]
    [(25.0, 20.0), (90.0, 80.0)]

    Args:
        needed: seconds beside those that are kept back.
    """
    return min(needed + KEPT_BACK, needed / (1 - KEPT_BACK_SHARE))


def _gather(settings: RecommendSettings, plans: Sequence[Plan], sweep: Sweep) -> Tables:
    """Measure what a training costs, shrink the grid to the time, choose, and tell."""
    (plan,) = plans
    given, loading = 60 * settings.minutes, time.perf_counter() - plan.started
    limit = TimeLimit(given - loading - kept_back(given))
    training = _seconds_of(limit, [_one_training(plan)], sweep.unkept)
    grid = fitting(plan.grid, training, limit.left)
    if grid is None:
        least = least_given(loading + limit.spent + least_seconds(plan.grid, training)) / 60
        raise ValueError(
            f"minutes must be at least about {least:.2g} for n = {plan.base.n} and "
            f"{how_many(plan.base.steps, 'step')}, as one training takes {training:.2g} s here; "
            f"got {settings.minutes:g}"
        )
    draws = [plan.choosing(grid, draw) for draw in range(MOST_CHOOSING)]
    tuning = run_draws(draws, sweep, limit, share=CHOOSING_TIME)
    tuned = tuned_of(tuning)
    beside = _beside(plan, grid, tuned, limit, sweep)
    telling = [plan.telling(tuned, beside, draw) for draw in range(MOST_TELLING)]
    rows = run_draws(telling, sweep, limit, least=LEAST_TELLING)
    return {TableKind.ROWS: rows, TableKind.TUNING: tuning}


def _one_training(plan: Plan) -> Any:
    """Plain LoRA, once, on the first draw."""
    return plan.tuning(0, SIMPLEST, (0.0,), learning_rates(plan.base.lr, 1))


def _beside(plan: Plan, grid: Grid, tuned: pd.DataFrame, limit: TimeLimit, sweep: Sweep) -> Beside:
    """Whether there is time for the networks without each example, of which beta is made."""
    least: Beside = "none" if plan.held_out else "folds"
    simplest = tuned[tuned["method"] == SIMPLEST]
    few, many = plan.telling(simplest, least, 0), plan.telling(simplest, "examples", 0)
    more = many[0].replica_steps / few[0].replica_steps
    every = more * _seconds_of(limit, few, sweep)
    # Replicas of a task are trained together, for less; those of one's own model one by one.
    if not isinstance(plan.base, OwnDraw):
        if not limit.fits(every):
            return least
        every = _seconds_of(limit, many, sweep)
    draws = PLANNED_TELLING * grid.telling_cost * every
    return "examples" if draws <= BETA_TIME * limit.left else least


def _seconds_of(limit: TimeLimit, jobs: Sequence[Any], sweep: Sweep) -> float:
    """How long jobs take; those that are kept would take no time, and are run again."""
    start = limit.spent
    run = sweep if len(sweep.left(jobs)) == len(jobs) else sweep.unkept
    run(jobs)
    return limit.spent - start


PROBE = Probe(
    "recommend",
    RecommendSettings,
    cells=RecommendSettings.cells,
    run=lambda settings: run_rival_cell if settings.own is None else run_own_rival_cell,
    result=lambda settings, tables: RecommendResult.of(tables, texts=settings.tuned_texts),
    gather=_gather,
    keeps_cells=lambda settings: settings.own is None,
)
measure: MeasureRecommend[RecommendResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()
