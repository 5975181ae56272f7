"""One fine-tuning run: the model with its adapter, the trainer, and rows of what was measured."""

import gc
import math
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from probes.finetuning.classification import GLUE, glue_task, text_task
from probes.finetuning.instructions import instruction_task
from probes.finetuning.spans import HUB_NAMES, squad_task
from probes.finetuning.task import Corpus, FinetuneTask
from probes.pretrained import load_pretrained
from probes.store import cell_key, unwritten
from probes.work import Progress, Tables

if TYPE_CHECKING:
    from transformers import TrainingArguments

#: The kind of the reliability diagram's table.
DIAGRAM = ".diagram"
#: Training examples whose loss is evaluated beside the held-out ones, at most.
EVALUATED = 512
#: Our values of the trainer's arguments; none of them is the paper's.
DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-4, "num_train_epochs": 3, "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 32, "eval_strategy": "steps", "eval_steps": 0.1,
    "save_strategy": "steps", "save_steps": 0.1, "save_total_limit": 2, "logging_strategy": "no",
    "report_to": "none", "eval_on_start": True, "optim": "adamw_torch",
    "ddp_find_unused_parameters": False,
}  # fmt: skip
#: AdaLoRA's budget, in shares of the steps and of the rank at the end; ours.
WARMUP, FINAL, INITIAL = 0.1, 0.2, 1.5
#: What writers that are no Python say where they cannot write: of weights and tokenizers, and
#: PyTorch's, of the trainer's settings.
NOT_WRITTEN = "os error|IoError|inline_container|iostream error"
#: What is measured at an evaluation, as it is called in rows.
MEASURED = {
    "loss": "test_loss", "score": "test_score", "accuracy": "accuracy", "confidence": "confidence",
    "ece": "ece", "validation_loss": "validation_loss", "half_loss": "half_loss",
    "half_accuracy": "half_accuracy", "spearman": "spearman", "exact_match": "exact_match",
    "bins": "bins",
}  # fmt: skip


@dataclass(frozen=True)
class FinetuneCell:
    """One method at one rate with one seed: all that determines its numbers.

    Attributes:
        task: glue/..., squad, squad_v2, alpaca, tweets, or the path of a file.
        digest: of the contents of a local file or folder.
        corpus: the examples.
        model: name on the hub, or a folder.
        trust_remote_code: whether code that comes with it may run.
        method: "lora" or "adalora".
        p, samples, grouped, own_masks, rank, alpha, target: of the method.
        ensemble: N at test time, 0 for none.
        ensemble_along: whether it is evaluated along training, or at the end alone.
        training: arguments of transformers' trainer, sorted, that differ from its own defaults.
    """

    task: str
    digest: str
    corpus: Corpus
    model: str
    trust_remote_code: bool
    method: str
    p: float
    samples: int
    grouped: bool
    own_masks: bool
    rank: int
    alpha: float
    target: tuple[str, ...]
    ensemble: int
    ensemble_along: bool
    training: tuple[tuple[str, Any], ...]

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.samples

    @property
    def name(self) -> str:
        """Short name, of the adapter's folder."""
        task = Path(self.task).stem
        return f"{task}-{self.method}-p{self.p:g}-N{self.samples}-seed{self.corpus.seed}"


def load_task(cell: FinetuneCell, tokenizer: Any) -> FinetuneTask:
    """Load and tokenize the examples of a cell.

    Raises:
        ValueError: data that is not there or not usable.
    """
    family, _, name = cell.task.partition("/")
    if family == "glue" and name in GLUE:
        return glue_task(name, cell.corpus, tokenizer)
    if cell.task in HUB_NAMES:
        return squad_task(cell.task, cell.corpus, tokenizer)
    if cell.task == "alpaca":
        return instruction_task(cell.corpus, tokenizer)
    return text_task(cell.task, cell.corpus, tokenizer)


def run_finetune(folder: Path | None, cell: FinetuneCell, progress: Progress) -> Tables:
    """Fine-tune, evaluating along the way, and save the adapter.

    What a killed run had saved in ``folder`` is where it goes on from.

    Returns:
        One row an evaluation and inference ("no masks" for p = 0, else "expected weight" and, at
        the end or along training, "ensemble"): the settings, ``step``, ``epoch``, ``train_loss``
        (without masks, on at most ``EVALUATED`` training examples), ``test_loss``, ``gap``,
        ``test_score`` and what else the task measures, ``seconds`` of the whole run (of a killed
        one, up to the checkpoint and from there on), and ``peak_mib``, its largest memory on the
        GPU, or the process's so far where there is none.
        The kind ``DIAGRAM``: the reliability diagram at the evaluation with the least validation
        loss.

    Raises:
        ValueError: a model or data that cannot be used, not enough memory, or a full disk.
    """
    with TemporaryDirectory() as temporary:
        place = Path(temporary) if folder is None else folder / "checkpoints" / cell_key(cell)
        try:
            tables, save = _run(cell, place)
        except (torch.OutOfMemoryError, MemoryError):
            raise _out_of_memory() from None
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            raise _out_of_memory() from None
        if folder is not None:
            save(folder / "adapters" / cell.name)
    progress(cell.replica_steps)
    return tables


def _run(cell: FinetuneCell, place: Path) -> tuple[Tables, Callable[[Path], None]]:
    from datasets import disable_progress_bars
    from transformers import TrainingArguments, set_seed

    from probes.finetuning.checkpoints import last_checkpoint
    from probes.finetuning.evaluation import FinetuneTrainer

    disable_progress_bars()
    trusted = cell.trust_remote_code
    tokenizer = load_pretrained("AutoTokenizer", cell.model, trust_remote_code=trusted)
    task = load_task(cell, tokenizer)
    arguments = TrainingArguments(
        str(place),
        **dict(cell.training),
        seed=cell.corpus.seed,
        label_names=task.label_names,
        save_only_model=True,
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    set_seed(cell.corpus.seed)
    model = load_pretrained(
        task.model, cell.model, trust_remote_code=trusted, ignore_mismatched_sizes=True,
        **task.model_settings,
    )  # fmt: skip
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    with warnings.catch_warnings():
        # PEFT asks transformers by an old name.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = adapt(model, cell, task, total_steps(arguments, len(task.train)))
    checkpoint = last_checkpoint(place)
    if checkpoint is not None:
        arguments.eval_on_start = False
    trainer = FinetuneTrainer(
        adapted,
        arguments,
        task=task,
        drops=cell.p > 0,
        members=cell.ensemble,
        along=cell.ensemble_along,
        checkpoint=checkpoint,
        samples=cell.samples,
        grouped=cell.grouped,
        own_masks=cell.own_masks,
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with _writing_into(place):
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    if not trainer.evaluated_at_the_end:
        trainer.evaluate()
    seconds = time.perf_counter() - trainer.checkpoints.begin
    tables = _tables(cell, task, trainer, seconds)

    def save(folder: Path) -> None:
        if trainer.is_world_process_zero():
            with _writing_into(folder):
                adapted.save_pretrained(str(folder))
                tokenizer.save_pretrained(str(folder))

    return tables, save


def adapt(model: Any, cell: FinetuneCell, task: FinetuneTask, steps: int) -> Any:
    """Put the cell's adapter into a model.

    Raises:
        ValueError: layers that are not there, or a method that does not fit.
    """
    from peft import get_peft_model

    from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig

    shared: dict[str, Any] = {
        "lora_alpha": cell.alpha, "task_type": task.peft_type, "dropout_rate": cell.p,
        "mask_seed": cell.corpus.seed,
    }  # fmt: skip
    if cell.target == ("all-linear",):
        shared["target_modules"] = "all-linear"
    elif cell.target:
        shared["target_modules"] = list(cell.target)
    if cell.method == "lora":
        return get_peft_model(model, LoraDropoutConfig(r=cell.rank, **shared))
    return get_peft_model(
        model,
        AdaLoraDropoutConfig(
            init_r=math.ceil(INITIAL * cell.rank),
            target_r=cell.rank,
            total_step=steps,
            tinit=int(WARMUP * steps),
            tfinal=int(FINAL * steps),
            **shared,
        ),
    )


def total_steps(arguments: "TrainingArguments", examples: int) -> int:
    """Number of optimizer steps that the trainer will take."""
    if arguments.max_steps > 0:
        return arguments.max_steps
    batches = math.ceil(examples / (arguments.train_batch_size * arguments.world_size))
    each = max(1, math.ceil(batches / arguments.gradient_accumulation_steps))
    return math.ceil(arguments.num_train_epochs * each)


def _tables(cell: FinetuneCell, task: FinetuneTask, trainer: Any, seconds: float) -> Tables:
    """Make rows of the trainer's log, which a resumed run has from before."""
    entries: dict[int, dict[str, Any]] = {}
    for entry in trainer.state.log_history:
        entries.setdefault(entry["step"], {}).update(entry)
    records = []
    for step, entry in sorted(entries.items()):
        for mode in trainer.modes:
            key = f"eval_{mode.replace(' ', '_')}_"
            if f"{key}loss" not in entry:
                continue
            found = {to: entry.get(key + name) for name, to in MEASURED.items()}
            train_loss = entry[f"eval_train_{mode.replace(' ', '_')}_loss"]
            records.append(
                {"step": step, "epoch": entry.get("epoch"), "inference": mode}
                | {name: value for name, value in found.items() if value is not None}
                | {"train_loss": train_loss, "gap": found["test_loss"] - train_loss}
            )
    settings = {
        "task": cell.task, "n": len(task.train), "draw": cell.corpus.seed, "method": cell.method,
        "p": cell.p, "samples": cell.samples, "own_masks": cell.own_masks, "rank": cell.rank,
        "alpha": cell.alpha, "ensemble": cell.ensemble, "model": cell.model,
        "steps": trainer.state.max_steps, "score_name": task.score_name or "none",
        "baseline": float("nan"), "seconds": seconds, "peak_mib": peak_mib(),
        "device": str(trainer.args.device),
        **{f"training_{name}": str(value) for name, value in cell.training},
    }  # fmt: skip
    rows = pd.DataFrame(records).assign(**settings)
    return {"": rows.drop(columns="bins", errors="ignore"), DIAGRAM: _diagram(rows)}


def _diagram(rows: pd.DataFrame) -> pd.DataFrame:
    """Reliability at each inference's evaluation with the least validation loss."""
    columns = ["p", "method", "draw", "inference", "confidence", "accuracy"]
    if "bins" not in rows:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in columns})
    best = rows.loc[rows.groupby("inference")["validation_loss"].idxmin()]
    return pd.DataFrame(
        [
            (*(row[name] for name in columns[:4]), confidence, accuracy)
            for _, row in best.iterrows()
            for confidence, accuracy in row["bins"]
        ],
        columns=columns,
    )


def peak_mib() -> float:
    """Largest memory so far, of the GPU where there is one, otherwise of the process, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def leave_process_group() -> None:
    """End what torchrun's processes have in common, if there is any, after all work is done.

    A group that is left to the interpreter's end may abort it. And whoever else holds the group
    must be gone before: the reducer of a distributed model ends it with Python's lock held, which
    the group's own threads may be waiting for. Trainers are in circles, so they are collected.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


@contextmanager
def _writing_into(folder: Path) -> Iterator[None]:
    """Turn what its writers say of a folder that takes no more into one clear line."""
    try:
        yield
    except Exception as error:  # each writer has its own
        if not isinstance(error, OSError) and not re.search(NOT_WRITTEN, str(error)):
            raise
        raise unwritten(folder, error) from None


def _out_of_memory() -> ValueError:
    return ValueError(
        "the model does not fit into memory with these settings: lower "
        "--per_device_train_batch_size or --tokens, or use --gradient_accumulation_steps"
    )
