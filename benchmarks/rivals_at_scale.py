"""Does the ranking of methods at a millisecond a replica predict the one at full scale?

Every method at a strength that is named here gets a learning rate and a stopping time on training
sets from one part of the data, and is measured on fresh ones from the other part: small networks as
in ``probes.rivals`` (``small``), and MiniLM on tweets by ``probes.finetune`` (``full``). Nothing of
the choice touches the measured examples. ``compare`` reads what both kept.

    python -m benchmarks.rivals_at_scale full --n 64
    python -m benchmarks.rivals_at_scale small --task digits --n 64
    python -m benchmarks.rivals_at_scale differences --task digits --n 64
    python -m benchmarks.rivals_at_scale compare
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from probes import finetune
from probes.cells.rival_cells import (
    FOLDS,
    SHARES,
    MeasuredCell,
    Setting,
    TuningCell,
    learning_rates,
    measure,
    tune,
)
from probes.cells.tuning_parts import Part, examples_of
from probes.cli.command_line import run_functions
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.atomic_files import write_whole
from probes.jobs.job import silent
from probes.jobs.validation import check_count, check_one_of, require
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
)
#: What PEFT and its trainer do not express, and those whose full-scale runs take longest.
SMALL_ALONE = (
    Rival("LoRA Dropout, rescaled, N = 4", 0.3),
    Rival("LoRA Dropout, ensemble of 16", 0.3),
    Rival("module dropout", 0.3),
    Rival("module dropout, expected weight", 0.3),
    Rival("CoTo", 0.5),
    Rival("HiddenKey", 0.1),
    Rival("noise on A", 1.0),
    Rival("shrinking", 0.25),
    Rival("subbag of 4", 0.37),
    Rival("seed ensemble of 4"),
)
#: Where rows are kept, and what they are.
KEPT = Path(__file__).parent / "results"
COLUMNS = [
    "task", "n", "pool", "method", "strength", "lr", "stop", "draw", "train_loss", "test_loss",
]  # fmt: skip
#: Of a training at full scale: most steps of a batch at n = 64, and how often it may be stopped.
STEPS, STOPS, BATCH = 64, 4, 8
RATES, TOKENS = (1.5e-3, 4e-3), 32
TRAINING = {
    "per_device_train_batch_size": BATCH, "per_device_eval_batch_size": 50,
    "lr_scheduler_type": "constant", "eval_on_start": False, "save_strategy": "no", "bf16": True,
    "use_cpu": True,
}  # fmt: skip
#: Number of the first draw that measures.
FIRST_MEASURED = 1000


def full(
    n: int = 64,
    seeds: int = 5,
    tuning_seeds: int = 1,
    held_out: int = 300,
    items: int = len(ITEMS),
    out: Path = Path("runs/rivals_at_scale"),
    rows: Path | None = None,
) -> None:
    """Fine-tune MiniLM on tweets; the same command goes on from what is kept in ``out``.

    The learning rate is the best of the training sets that tune. A training set that measures is
    stopped by half of its held-out tweets, and its loss is that of the other half.

    Args:
        n: training examples.
        seeds: fresh training sets that measure.
        tuning_seeds: training sets that tune.
        held_out: held-out tweets.
        items: how many of the methods, the first ones.
        out: folder of the runs.
        rows: file of the rows; benchmarks/results/rivals-full-tweets-N.csv where none is given.
    """
    check_count("seeds", seeds)
    check_count("tuning_seeds", tuning_seeds)
    require(1 <= items <= len(ITEMS), "items", f"from 1 to {len(ITEMS)}", items)
    file = rows or KEPT / f"rivals-full-tweets-{n}.csv"
    longer = max(1, n // 64)
    steps = {"max_steps": longer * STEPS, "eval_steps": longer * STEPS // STOPS}

    def fine_tune(rival: Rival, part: Part, lr: float) -> pd.DataFrame:
        name = f"{n}-{rival.name}-{rival.strength:g}-{part}-{lr:g}".replace(" ", "_")
        return finetune.measure(
            task=str(_written(part, out)), model=str(packaged(MODEL)), n=n, held_out=held_out,
            tokens=TOKENS,
            regularizer=(rival.name,), strength=(rival.strength,) if rival.strength else (),
            out=out / name, training=TRAINING | steps | {"learning_rate": lr},
            draws=tuning_seeds if part == "tuning" else seeds,
            seed=0 if part == "tuning" else FIRST_MEASURED,
        ).rows  # fmt: skip

    def of(rival: Rival) -> pd.DataFrame:
        found = pd.concat(fine_tune(rival, "tuning", lr).assign(lr=lr) for lr in RATES)
        means = found.groupby(["lr", "draw"])["test_loss"].min().groupby("lr").mean()
        lr = float(means.index.to_numpy()[means.to_numpy().argmin()])
        measured = fine_tune(rival, "measuring", lr)
        stopped = measured.loc[measured.groupby("draw")["validation_loss"].idxmin()]
        return stopped.assign(
            lr=lr, stop=stopped["step"], test_loss=stopped["half_loss"], task="tweets"
        )

    _keep(of, ITEMS[:items], file)


def small(
    task: str = "digits",
    n: int = 64,
    draws: int = 24,
    tuning_draws: int = 8,
    items: int = len(ITEMS) + len(SMALL_ALONE),
    trainings: int = 6,
    rows: Path | None = None,
) -> None:
    """Train small networks.

    Args:
        task: what is learned.
        n: training examples.
        draws: fresh training sets that measure.
        tuning_draws: training sets that tune.
        items: how many of the methods, the first ones.
        trainings: learning rates that are tried.
        rows: file of the rows; benchmarks/results/rivals-small-TASK-N.csv where none is given.
    """
    check_one_of("task", task, (*TASKS, "tweets"))
    for name, value in (("draws", draws), ("tuning_draws", tuning_draws), ("trainings", trainings)):
        check_count(name, value)
    every = (*ITEMS, *SMALL_ALONE)
    require(1 <= items <= len(every), "items", f"from 1 to {len(every)}", items)
    require(n >= 2 * FOLDS, "n", f"at least {2 * FOLDS}", n)
    (base,) = StabilitySettings(p=(0.0,), task=task, n=n, draws=1).cells()

    def of(rival: Rival) -> pd.DataFrame:
        rates = learning_rates(base.lr, trainings)
        tuning = pd.concat(
            tune(
                TuningCell(
                    replace(base, draw=draw), "tuning", rival.name, (rival.strength,), rates,
                    SHARES, folds=True,
                ),
                silent,
            )
            for draw in range(tuning_draws)
        )  # fmt: skip
        setting = Setting(*tuned_settings(tuning)[SETTING].iloc[0])
        return pd.concat(
            measure(
                MeasuredCell(
                    replace(base, draw=FIRST_MEASURED + draw), "measuring", rival.name, (setting,),
                    "none",
                ),
                silent,
            )
            for draw in range(draws)
        )  # fmt: skip

    loss = load_task(task, base.text).loss
    apply = tuple(one for one in every[:items] if not obstacle(loss, base.rank, one.name))
    _keep(of, apply, rows or KEPT / f"rivals-small-{task}-{n}.csv")


def differences(
    task: str = "digits", n: int = 64, scale: str = "small", margin: float = 0.02
) -> None:
    """Print how much less test loss than LoRA's every method of a table has, paired over draws.

    Args:
        task, n: of the table.
        scale: small or full.
        margin: of equivalence, a share of LoRA's test loss.
    """
    file = KEPT / f"rivals-{scale}-{task}-{n}.csv"
    require(
        file.is_file(), "task", "one whose rows are kept", f"{task}, for which there is no {file}"
    )
    table = pd.read_csv(file)
    names = [Rival(*one) for one in zip(table["method"], table["strength"], strict=True)]
    table["method"] = [
        f"{one.name} {one.strength:g}" if one.strength else one.name for one in names
    ]
    found = compare_methods(table, REFERENCE, margin)
    losses = table.groupby("method", sort=False)["test_loss"].mean().reset_index()
    shown = losses.merge(found, how="left", on="method").sort_values("test_loss")
    told = with_interval(shown.drop(columns="difference_draws"), "difference")
    for method, loss, less, verdict in zip(
        shown["method"], shown["test_loss"], told, shown["verdict"], strict=True
    ):
        print(f"{method}: {loss:.4f}" + ("" if method == REFERENCE else f", {less}, {verdict}"))


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
            means = np.tile(given.loc[both].mean(axis=1).to_numpy()[:, None], truth.shape[1])
            _say(f"{name} by {other}, {given.shape[1]} draws", means, truth.loc[both])


def _by_method(rows: pd.DataFrame) -> pd.DataFrame:
    """Test losses, one row a method at its strength and one column a draw."""
    return rows.pivot(index=["method", "strength"], columns="draw", values="test_loss")


def _say(what: str, given: pd.DataFrame | np.ndarray, truth: pd.DataFrame) -> None:
    """Print one correlation."""
    scores, losses = (np.asarray(one, np.float64) for one in (given, truth))
    mean, low, high = mean_over_columns(scores, losses)
    _, lowest, highest = mean_over_rows_and_columns(scores, losses)
    print(
        f"{what}: {len(losses)} methods, {losses.shape[1]} seeds: {mean:+.2f} "
        f"({low:+.2f} to {high:+.2f}; {lowest:+.2f} to {highest:+.2f})"
    )


def _keep(of: Callable[[Rival], pd.DataFrame], items: tuple[Rival, ...], file: Path) -> None:
    """Measure method after method; those that the file holds are not measured again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=COLUMNS)
    for rival in items:
        if _rows_of(kept, rival).empty:
            found = of(rival).assign(method=rival.name, strength=rival.strength)[COLUMNS]
            kept = pd.concat([kept, found], ignore_index=True) if len(kept) else found
            write_whole(file, partial(kept.to_csv, index=False, float_format="%.6g"))
        loss = _rows_of(kept, rival)["test_loss"].mean()
        print(f"{rival.name} {rival.strength:g}: {loss:.4f}", flush=True)


def _rows_of(kept: pd.DataFrame, rival: Rival) -> pd.DataFrame:
    same = (kept["method"] == rival.name) & np.isclose(
        kept["strength"].astype(float), rival.strength
    )
    return kept[same]


def _written(part: Part, out: Path) -> Path:
    """Write the tweets of a part as a file of texts and labels."""
    file = out / f"{part}.csv"
    if not file.is_file():
        out.mkdir(parents=True, exist_ok=True)
        source = TextSource(str(packaged(TEXTS)), "text", "label", model="")
        texts = read_texts(source, clean_tweets, pool=None)
        own = texts.iloc[examples_of(part, len(texts), 0).tolist()]
        # A row a line, as our files of texts have.
        own.assign(text=own["text"].str.split().str.join(" ")).to_csv(file, index=False)
    return file


if __name__ == "__main__":
    run_functions(small, full, differences, compare)
