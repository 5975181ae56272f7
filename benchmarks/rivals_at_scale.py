"""Does the ranking of methods at a millisecond a replica predict the one at full scale?

Every method at a strength that is named here gets a learning rate and a stopping time on training
sets from one part of the data, and is measured on fresh ones from the other part: small networks as
in ``probes.rivals`` (``small``), and MiniLM on tweets by ``probes.finetune`` (``full``). Nothing of
the choice touches the measured examples. ``compare`` reads what both kept.

    python -m benchmarks.rivals_at_scale full --n 64
    python -m benchmarks.rivals_at_scale full --n 64 --method LoRA "LoRA Dropout 0.3" --seeds 8
    python -m benchmarks.rivals_at_scale small --task digits --n 64
    python -m benchmarks.rivals_at_scale differences --task digits --n 64
    python -m benchmarks.rivals_at_scale compare
"""

import sys
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes import finetune
from probes.cells.cell import Cell
from probes.cells.prepare import network_of
from probes.cells.rival_cells import (
    SHARES,
    MeasuredCell,
    TuningCell,
    check_size,
    learning_rates,
    measure,
    tune,
)
from probes.cells.stopped_training import Setting
from probes.cells.tuning_parts import Part, examples_of
from probes.cli.command_line import run_functions
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.amounts import how_many
from probes.jobs.atomic_files import write_whole
from probes.jobs.job import silent
from probes.jobs.validation import check_count, check_one_of, check_seed, require
from probes.metrics.rank_correlations import mean_over_columns, mean_over_rows_and_columns
from probes.metrics.rival_comparison import compare_methods
from probes.metrics.tuned_settings import SETTING, tuned_settings
from probes.results.rivals_verdict import REFERENCE
from probes.results.text_tables import with_interval
from probes.tasks import TASKS, load_task
from probes.tasks.packaged import packaged
from probes.tasks.text import TextSource, read_texts
from probes.tasks.tweets import MODEL, TEXTS, clean_tweets
from probes.training.rival_training import obstacle
from probes.training.rivals import Rival

#: Methods and their strengths, named before anything was measured.
ITEMS = (
    Rival("LoRA"),
    Rival("LoRA Dropout", 0.3),
    Rival("PEFT lora_dropout", 0.3),
    Rival("weight decay", 1.0),
    Rival("label smoothing", 0.1),
    Rival("smaller rank", 0.75),
    Rival("DropLoRA", 0.3),
    Rival("LoRA Dropout, rescaled", 0.3),
    Rival("LoRA Dropout", 0.1),
    Rival("LoRA Dropout", 0.5),
    Rival("PEFT lora_dropout", 0.5),
    Rival("LoRA Dropout, N = 4", 0.3),
    Rival("LoRA Dropout, ensemble of 16", 0.3),
    Rival("LoRA Dropout, rescaled, N = 4", 0.3),
)
#: What PEFT and its trainer do not express.
SMALL_ALONE = (
    Rival("module dropout", 0.3),
    Rival("module dropout, expected weight", 0.3),
    Rival("CoTo", 0.5),
    Rival("HiddenKey", 0.1),
    Rival("noise on A", 1.0),
    Rival("shrinking", 0.25),
    Rival("subbag of 4", 0.37),
    Rival("seed ensemble of 4"),
)
#: Where rows are kept, and what they are; settings: those that change what is measured, in words.
KEPT = Path(__file__).parent / "results"
COLUMNS = [
    "task", "n", "pool", "method", "strength", "lr", "stop", "draw", "train_loss", "test_loss",
    "settings",
]  # fmt: skip
#: Of a training at full scale: how often it may be stopped, its batch and its texts' length.
STOPS, BATCH, TOKENS = 4, 8, 32
TRAINING = {
    "per_device_train_batch_size": BATCH, "per_device_eval_batch_size": 50,
    "lr_scheduler_type": "constant", "eval_on_start": False, "save_strategy": "no", "bf16": True,
    "use_cpu": True,
}  # fmt: skip
#: Fewer have no order to speak of.
LEAST_METHODS = 3
#: Number of the first draw that measures.
FIRST_MEASURED = 1000


def full(
    n: int = 64,
    seeds: int = 5,
    tuning_seeds: int = 1,
    held_out: int = 300,
    steps: int = 64,
    rates: tuple[float, ...] = (1.5e-3, 4e-3),
    method: tuple[str, ...] = (),
    out: Path = Path("runs/rivals_at_scale"),
    rows: Path | None = None,
) -> None:
    """Fine-tune MiniLM on tweets; the same command goes on from what is kept.

    The learning rate is the best of the training sets that tune. A training set that measures is
    stopped by half of its held-out tweets, and its loss is that of the other half. With more seeds
    than there are rows, only the seeds that are missing are run.

    Args:
        n: training examples.
        seeds: fresh training sets that measure.
        tuning_seeds: training sets that tune.
        held_out: held-out tweets. Where n and these are more than 2 in 5 of all tweets, no part of
            them is kept for tuning alone: held-out tweets are never trained on, but what tunes may
            be in a measured training set.
        steps: most steps of a training, of 8 tweets each; it may be stopped at each quarter.
        rates: learning rates that are tried.
        method: methods with their strengths, such as "LoRA Dropout 0.3"; all where none is given.
        out: folder of the runs.
        rows: file of the rows; benchmarks/results/rivals-full-tweets-N.csv where none is given.
    """
    for name, value in (("seeds", seeds), ("tuning_seeds", tuning_seeds)):
        check_count(name, value)
    check_count("steps", steps, STOPS)
    require(len(rates) > 0, "rates", "at least one", "none")
    scale = FullScale(n, seeds, tuning_seeds, held_out, steps, rates, out)
    file = rows or KEPT / f"rivals-full-tweets-{n}.csv"
    _keep(scale, _asked(method, ITEMS), file, seeds)


@dataclass(frozen=True)
class FullScale:
    """How methods are tuned and measured at full scale; attributes as of :func:`full`."""

    n: int
    seeds: int
    tuning_seeds: int
    held_out: int
    steps: int
    rates: tuple[float, ...]
    out: Path

    @property
    def settings(self) -> str:
        """What its rows depend on, beside their own columns."""
        rates = " ".join(f"{rate:g}" for rate in self.rates)
        return (
            f"steps {self.steps}, rates {rates}, tuning seeds {self.tuning_seeds}, "
            f"held out {self.held_out}"
        )

    @cached_property
    def files(self) -> "Files":
        """The tweets that all methods learn, written once."""
        return _written(self.n, self.held_out, self.out)

    def rows_of(self, rival: Rival, kept: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a method, one a seed.

        Args:
            rival: the method at its strength.
            kept: rows of its first seeds, which are not measured again.
        """
        lr = float(kept["lr"].iloc[0]) if len(kept) else self._tuned_rate(rival)
        first = len(kept)
        seeds = range(FIRST_MEASURED + first, FIRST_MEASURED + self.seeds)
        measured = self._fine_tune(rival, "measuring", lr, seeds)
        measured = measured.reset_index(drop=True)
        stopped = measured.loc[measured.groupby("draw")["validation_loss"].idxmin()]
        found = stopped.assign(
            lr=lr, stop=stopped["step"], test_loss=stopped["half_loss"], task="tweets",
            settings=self.settings,
        )  # fmt: skip
        return pd.concat([kept, found], ignore_index=True) if first else found

    def _tuned_rate(self, rival: Rival) -> float:
        """The learning rate with the least loss at its best stop, on the seeds that tune."""
        found = pd.concat(
            self._fine_tune(rival, "tuning", lr, range(self.tuning_seeds)).assign(lr=lr)
            for lr in self.rates
        )
        means = found.groupby(["lr", "draw"])["test_loss"].min().groupby("lr").mean()
        return float(means.index.to_numpy()[means.to_numpy().argmin()])

    def _fine_tune(self, rival: Rival, part: Part, lr: float, seeds: range) -> pd.DataFrame:
        """Rows of the evaluations of a method as it predicts: an ensemble's as an ensemble."""
        name = f"{self.n}-{_named(rival)}-{part}-{lr:g}".replace(" ", "_")
        arguments = {
            "max_steps": self.steps, "eval_steps": self.steps // STOPS, "learning_rate": lr
        }  # fmt: skip
        members = rival.method.masked_members
        tunes = part == "tuning"
        judging = None if tunes else self.files.held_out
        # A folder a seed: with more seeds those that are done stay as they are.
        found = pd.concat(
            finetune.measure(
                task=str(self.files.tuning if tunes else self.files.measuring),
                held_out_file=str(judging) if judging else None,
                model=str(packaged(MODEL)), n=self.n, held_out=self.held_out, tokens=TOKENS,
                regularizer=(rival.name,), strength=(rival.strength,) if rival.strength else (),
                ensemble=members if members > 1 else 0, ensemble_along=members > 1,
                out=self.out / name / str(seed), training=TRAINING | arguments, draws=1, seed=seed,
            ).rows
            for seed in seeds
        )  # fmt: skip
        return found[found["inference"] == "ensemble"] if members > 1 else found


def small(
    task: str = "digits",
    n: int = 64,
    draws: int = 24,
    tuning_draws: int = 8,
    trainings: int = 6,
    method: tuple[str, ...] = (),
    seed: int = 0,
    rows: Path | None = None,
) -> None:
    """Train small networks.

    Args:
        task: what is learned.
        n: training examples.
        draws: fresh training sets that measure.
        tuning_draws: training sets that tune.
        trainings: learning rates that are tried.
        method: methods with their strengths, such as "LoRA Dropout 0.3"; all where none is given.
        seed: of everything random.
        rows: file of the rows; where none is given benchmarks/results/rivals-small-TASK-N.csv, and
            with another seed than 0 in the folder seed-SEED there.
    """
    check_one_of("task", task, (*TASKS, "tweets"))
    for name, value in (("draws", draws), ("tuning_draws", tuning_draws), ("trainings", trainings)):
        check_count(name, value)
    check_seed(seed)
    asked = _asked(method, (*ITEMS, *SMALL_ALONE))
    loaded = load_task(task, StabilitySettings().text_source(task))
    check_size(n, task, len(loaded), 0)
    (base,) = StabilitySettings(p=(0.0,), task=task, n=n, draws=1, seed=seed).cells()

    scale = SmallScale(base, draws, tuning_draws, trainings)
    network = network_of(base)
    apply = tuple(one for one in asked if not obstacle(network, one.name))
    folder = KEPT / f"seed-{seed}" if seed else KEPT
    _keep(scale, apply, rows or folder / f"rivals-small-{task}-{n}.csv", draws)


@dataclass(frozen=True)
class SmallScale:
    """How methods are tuned and measured on small networks.

    Attributes:
        base: a draw of S; its learning rate is the smallest that is tried.
        draws, tuning_draws, trainings: as of :func:`small`.
    """

    base: Cell
    draws: int
    tuning_draws: int
    trainings: int

    @property
    def settings(self) -> str:
        """What its rows depend on, beside their own columns."""
        seed = f", seed {self.base.seed}" if self.base.seed else ""
        return (
            f"steps {self.base.steps}, {self.trainings} rates from {self.base.lr:g}, "
            f"tuning draws {self.tuning_draws}{seed}"
        )

    def rows_of(self, rival: Rival, kept: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a method, one a draw.

        Args:
            rival: the method at its strength.
            kept: rows of its first draws; they take seconds, and are measured again.
        """
        del kept
        setting = self._tuned(rival)
        return pd.concat(
            measure(
                MeasuredCell(
                    replace(self.base, draw=FIRST_MEASURED + draw), "measuring", rival.name,
                    (setting,), "none",
                ),
                silent,
            )
            for draw in range(self.draws)
        ).assign(settings=self.settings)  # fmt: skip

    def _tuned(self, rival: Rival) -> Setting:
        rates = learning_rates(self.base.lr, self.trainings)
        tuning = pd.concat(
            tune(
                TuningCell(
                    replace(self.base, draw=draw), "tuning", rival.name, (rival.strength,), rates,
                    SHARES, folds=True,
                ),
                silent,
            )
            for draw in range(self.tuning_draws)
        )  # fmt: skip
        return Setting(*tuned_settings(tuning)[SETTING].iloc[0])


def differences(
    task: str = "digits",
    n: int = 64,
    scale: str = "small",
    margin: float = 0.02,
    folder: Path = KEPT,
    reference: str = REFERENCE,
) -> None:
    """Print how much less test loss than LoRA's every method of a table has, paired over draws.

    Args:
        task, n: of the table.
        scale: small or full.
        margin: of equivalence, a share of the reference's test loss.
        folder: of the rows.
        reference: method and strength that the others are compared with in place of LoRA.
    """
    file = folder / f"rivals-{scale}-{task}-{n}.csv"
    require(
        file.is_file(), "task", "one whose rows are kept", f"{task}, for which there is no {file}"
    )
    table = pd.read_csv(file)
    table["method"] = [
        _named(Rival(*one)) for one in zip(table["method"], table["strength"], strict=True)
    ]
    check_one_of("reference", reference, tuple(dict.fromkeys(table["method"])))
    found = compare_methods(table, reference, margin)
    losses = table.groupby("method", sort=False)["test_loss"].mean().reset_index()
    shown = losses.merge(found, how="left", on="method").sort_values("test_loss")
    told = with_interval(shown.drop(columns="difference_draws"), "difference")
    for method, loss, less, verdict in zip(
        shown["method"], shown["test_loss"], told, shown["verdict"], strict=True
    ):
        print(f"{method}: {loss:.4f}" + ("" if method == reference else f", {less}, {verdict}"))


def compare(folder: Path = KEPT) -> None:
    """Print how well every small table orders the methods of every one at full scale.

    Args:
        folder: of the rows.
    """
    tables = {
        scale: {file.stem: pd.read_csv(file) for file in sorted(folder.glob(f"rivals-{scale}-*"))}
        for scale in ("small", "full")
    }
    for scale, found in tables.items():
        require(bool(found), "folder", f"one with rows of {scale}", folder)
    print("rank correlation (Spearman) of mean test losses with those of one seed at full scale,")
    print("mean over seeds; 95 % intervals over seeds, and over seeds and methods")
    for name, rows in tables["full"].items():
        truth = _by_method(rows)
        others = (truth.sum(axis=1).to_numpy()[:, None] - truth) / (truth.shape[1] - 1)
        _say(f"{name} by its other seeds", others, truth)
        for other, small_rows in tables["small"].items():
            given = _by_method(small_rows)
            both = truth.index.intersection(given.index, sort=False)
            if len(both) < LEAST_METHODS:
                continue
            means = np.tile(given.loc[both].mean(axis=1).to_numpy()[:, None], truth.shape[1])
            _say(f"{name} by {other}, {given.shape[1]} draws", means, truth.loc[both])


def _by_method(rows: pd.DataFrame) -> pd.DataFrame:
    """Test losses, one row a method at its strength and one column a draw that all of them have."""
    table = rows.pivot(index=["method", "strength"], columns="draw", values="test_loss")
    return table.dropna(axis="columns")


def _say(what: str, given: pd.DataFrame | np.ndarray, truth: pd.DataFrame) -> None:
    """Print one correlation."""
    scores, losses = (np.asarray(one, np.float64) for one in (given, truth))
    mean, low, high = mean_over_columns(scores, losses)
    _, lowest, highest = mean_over_rows_and_columns(scores, losses)
    print(
        f"{what}: {len(losses)} methods, {losses.shape[1]} seeds: {mean:+.2f} "
        f"({low:+.2f} to {high:+.2f}; {lowest:+.2f} to {highest:+.2f})"
    )


def _named(rival: Rival) -> str:
    """A method with its strength, if it has one."""
    return f"{rival.name} {rival.strength:g}" if rival.strength else rival.name


def _asked(method: tuple[str, ...], known: tuple[Rival, ...]) -> tuple[Rival, ...]:
    """The methods of these names, or all."""
    by_name = {_named(rival): rival for rival in known}
    for name in method:
        check_one_of("method", name, tuple(by_name))
    return tuple(by_name[name] for name in dict.fromkeys(method)) or known


def _read(file: Path, settings: str) -> pd.DataFrame:
    """Rows that are kept; none where there is no file.

    Raises:
        ValueError: they were measured with other settings.
    """
    if not file.is_file():
        return pd.DataFrame(columns=COLUMNS)
    kept = pd.read_csv(file).reindex(columns=COLUMNS)
    others = [one for one in kept["settings"].dropna().unique() if one != settings]
    allowed = f"a file of rows with {settings}"
    require(not others, "rows", allowed, f"{file}, with {'; '.join(others)}")
    if unknown := int(kept["settings"].isna().sum()):
        print(
            f"{file}: {how_many(unknown, 'row says', 'rows say')} nothing of steps, rates and what "
            "tuned; taken as they are",
            file=sys.stderr,
        )
    return kept


def _keep(scale: FullScale | SmallScale, items: tuple[Rival, ...], file: Path, draws: int) -> None:
    """Measure method after method; one of which the file holds all draws is not measured again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = _read(file, scale.settings)
    for rival in items:
        is_own = kept["method"].eq(rival.name) & kept["strength"].astype(float).eq(rival.strength)
        own, others = kept[is_own], kept[~is_own]
        if len(own) < draws:
            measured = scale.rows_of(rival, own)
            own = measured.assign(method=rival.name, strength=rival.strength)[COLUMNS]
            kept = pd.concat([others, own], ignore_index=True) if len(others) else own
            write_whole(file, partial(kept.to_csv, index=False, float_format="%.6g"))
        print(f"{_named(rival)}: {own['test_loss'].mean():.4f}", flush=True)


@dataclass(frozen=True)
class Files:
    """Tweets and their labels.

    Attributes:
        tuning, measuring: what training sets are drawn from; the rest of each is held out.
        held_out: of the measured training sets, where it is a file of its own.
    """

    tuning: Path
    measuring: Path
    held_out: Path | None = None


def _written(n: int, held_out: int, out: Path) -> Files:
    """Write the tweets of both parts as files.

    Where the part that tunes is too small for n, all training sets are drawn from one pool, and
    what judges the measured ones is never trained on.
    """
    source = TextSource(str(packaged(TEXTS)), "text", "label", model="")
    texts = read_texts(source, clean_tweets, pool=None)
    tuning, measuring = (examples_of(part, len(texts), 0) for part in ("tuning", "measuring"))

    def keep(name: str, own: "np.ndarray[Any, Any]") -> Path:
        return _kept_tweets(texts.iloc[own], out / f"{name}.csv")

    if n + held_out <= len(tuning):
        return Files(keep("tuning", tuning.numpy()), keep("measuring", measuring.numpy()))
    judging = tuning.numpy()[:: max(1, len(tuning) // held_out)][:held_out]
    pool = keep("training", np.setdiff1d(np.arange(len(texts)), judging))
    return Files(pool, pool, keep("judging", judging))


def _kept_tweets(texts: pd.DataFrame, file: Path) -> Path:
    # A row a line, as our files of texts have.
    one_line = texts.assign(text=texts["text"].str.split().str.join(" "))
    # Another n or number of held-out tweets may have left others there.
    if not file.is_file() or file.read_text(encoding="utf-8") != one_line.to_csv(index=False):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, partial(one_line.to_csv, index=False))
    return file


if __name__ == "__main__":
    run_functions(small, full, differences, compare)
