"""One fine-tuning run: the model with its adapter, and the trainer."""

import gc
import math
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from probes.finetuning.arguments import given_by_user, training_arguments
from probes.finetuning.cell import FinetuneCell
from probes.finetuning.classification import GLUE, glue_task
from probes.finetuning.instructions import instruction_task
from probes.finetuning.library_errors import one_line_of_libraries
from probes.finetuning.own_file import text_task
from probes.finetuning.padding import set_padding, tell_padding
from probes.finetuning.regularizers import drop_ranks
from probes.finetuning.rows import tables_of
from probes.finetuning.spans import HUB_NAMES, squad_task
from probes.finetuning.targets import check_targets, no_target, say_ranks
from probes.finetuning.task import (
    Corpus,
    FinetuneTask,
    default_tokens,
    token_ids,
)
from probes.jobs.atomic_files import unwritten
from probes.jobs.fingerprint import code_fingerprint, job_key
from probes.jobs.job import Progress, TableKind, Tables
from probes.models.causal import check_causal
from probes.models.pretrained import LANGUAGE_MODEL, load_model, load_pretrained, weights_dtype
from probes.tasks.labelled_texts import say_once
from probes.tasks.window import check_tokens_known, check_vocabulary, window

if TYPE_CHECKING:
    from transformers import TrainingArguments

#: What writers that are no Python say where they cannot write: of weights and tokenizers, and
#: PyTorch's, of the trainer's settings.
NOT_WRITTEN = "os error|IoError|inline_container|iostream error"

#: PEFT's names of the tasks whose models have a head of their own.
WITH_HEAD = ("SEQ_CLS", "QUESTION_ANS")
#: What PEFT takes for the head.
HEADS = ("classifier", "score", "qa_outputs")


def load_task(task: str, corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load and tokenize the examples of a cell.

    Args:
        task: as a cell has it.
        corpus: its examples.
        tokenizer: of the model.

    Returns:
        The examples, and how predictions are scored.

    Raises:
        ValueError: data that is not there or not usable.
    """
    family, _, name = task.partition("/")
    if family == "glue" and name in GLUE:
        return glue_task(name, corpus, tokenizer)
    if task in HUB_NAMES:
        return squad_task(task, corpus, tokenizer)
    if task == "alpaca":
        return instruction_task(corpus, tokenizer)
    return text_task(task, corpus, tokenizer)


def run_finetune(folder: Path | None, cell: FinetuneCell, progress: Progress) -> Tables:
    """Fine-tune, evaluating along the way, and save the adapter.

    What a killed run had saved in ``folder`` is where it goes on from.

    Args:
        folder: of checkpoints and adapters; None to keep neither.
        cell: the run.
        progress: told ``cell.replica_steps`` at the end.

    Returns:
        One row an evaluation and inference ("no masks" for p = 0, else "expected weight" and, at
        the end or along training, "ensemble", or "at test alone, p = ..."): the settings,
        ``step``, ``epoch``, ``train_loss`` (by that inference, on at most ``EVALUATED`` training
        examples), ``test_loss``, ``gap``, ``test_score`` and what else the task measures,
        ``seconds`` of the whole run (of a killed one, up to the checkpoint and from there on), and
        ``peak_mib``, its largest memory on the GPU, or the process's so far where there is none,
        and ``adapter``, the name of the folder that its weights are kept in.
        And the reliability diagram at the evaluation with the least validation
        loss.

    Raises:
        ValueError: a model or data that cannot be used, not enough memory, or a full disk.
    """
    # Trainers are in circles: that of a run before would keep its model beside this one's.
    gc.collect()
    with TemporaryDirectory() as temporary:
        key = job_key(cell, code_fingerprint(run_finetune))
        place = Path(temporary) if folder is None else folder / "checkpoints" / key
        try:
            with one_line_of_libraries("fine-tuning", given_by_user(dict(cell.training))):
                tables, save = _run(cell, place)
        except (torch.OutOfMemoryError, MemoryError):
            raise _out_of_memory() from None
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            raise _out_of_memory() from None
        adapter = f"{cell.name}-{key}"
        if folder is not None:
            save(folder / "adapters" / adapter)
    progress(cell.replica_steps)
    rows = tables[TableKind.ROWS].assign(adapter=adapter)
    return tables | {TableKind.ROWS: rows}


def _import_peft() -> None:
    """Import PEFT before transformers' trainer does it: ours leaves unsaid what nobody asked."""
    import lora_dropout.peft  # noqa: F401


def _loaded(cell: FinetuneCell, place: Path) -> tuple[FinetuneTask, "TrainingArguments", Any, Any]:
    """The examples, the trainer's arguments, the tokenizer, and the model with its adapter."""
    from datasets import disable_progress_bars
    from transformers import set_seed

    disable_progress_bars()
    trusted = cell.trust_remote_code
    tokenizer = load_pretrained("AutoTokenizer", cell.model, trust_remote_code=trusted)
    set_padding(tokenizer, cell.pad_token)
    config = load_pretrained("AutoConfig", cell.model, trust_remote_code=trusted)
    tokens = window(cell.corpus.tokens, default_tokens(cell.task), config)
    task = load_task(cell.task, replace(cell.corpus, tokens=tokens), tokenizer)
    arguments = training_arguments(
        str(place),
        dict(cell.training),
        seed=cell.corpus.seed,
        label_names=task.label_names,
        save_only_model=True,
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    set_seed(cell.corpus.seed)
    model, poolers = load_model(
        task.model, cell.model, trust_remote_code=trusted,
        dtype=weights_dtype(task.model, arguments), **task.model_settings,
    )  # fmt: skip
    tell_padding(model, tokenizer)
    ids = token_ids(task)
    check_vocabulary(int(ids.max()), model)
    check_tokens_known(ids, tokenizer)
    if task.model == LANGUAGE_MODEL:
        check_causal(model)
    with warnings.catch_warnings():
        # PEFT asks transformers by an old name.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = adapt(model, cell, task, total_steps(arguments, len(task.train)), poolers)
    return task, arguments, tokenizer, adapted


def _run(cell: FinetuneCell, place: Path) -> tuple[Tables, Callable[[Path], None]]:
    """Fine-tune; return the tables, and what saves the adapter in a folder."""
    _import_peft()
    from probes.finetuning.checkpoints import last_checkpoint
    from probes.finetuning.evaluation import FinetuneTrainer

    task, arguments, tokenizer, adapted = _loaded(cell, place)
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
        drop_at_test=cell.drop_at_test,
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
    tables = tables_of(cell, task, trainer, seconds)

    def save(folder: Path) -> None:
        if trainer.is_world_process_zero():
            with _writing_into(folder):
                adapted.save_pretrained(str(folder))
                tokenizer.save_pretrained(str(folder))

    return tables, save


def adapt(
    model: Any, cell: FinetuneCell, task: FinetuneTask, steps: int, poolers: Sequence[str] = ()
) -> Any:
    """Put the cell's adapter into a model.

    Source: Hu et al. 2022, arXiv 2106.09685 (LoRA); Zhang et al. 2023, arXiv 2303.10512 (AdaLoRA);
    arXiv 2404.09610 (dropout in both).

    Args:
        model: of transformers; its layers are replaced in place.
        cell: method, rates, rank and target.
        task: says the kind of task.
        steps: of the training, for AdaLoRA's budget.
        poolers: names of those that are new, and so trained whole.

    Returns:
        PEFT's model around it.

    Raises:
        ValueError: layers that are not there, or a method that does not fit.
    """
    from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig  # isort: skip
    from peft import LoraConfig

    shared: dict[str, Any] = {
        "lora_alpha": cell.alpha, "task_type": task.peft_type, "dropout_rate": cell.p,
        "mask_seed": cell.corpus.seed, "rescale": cell.rescale, "lora_dropout": cell.lora_dropout,
    }  # fmt: skip
    if cell.target == ("all-linear",):
        shared["target_modules"] = "all-linear"
    elif cell.target or cell.target_pattern:
        shared["target_modules"] = list(cell.target) or cell.target_pattern
    if task.peft_type in WITH_HEAD:
        shared["modules_to_save"] = [*_head(model), *poolers]
    if cell.rank_dropout:
        # PEFT's own layer calls A and B one after the other, and there is something between them.
        for name in ("dropout_rate", "mask_seed", "rescale"):
            del shared[name]
        config: Any = LoraConfig(r=cell.rank, **shared)
    elif cell.method == "lora":
        config = LoraDropoutConfig(r=cell.rank, **shared)
    else:
        config = AdaLoraDropoutConfig(**cell.ranks.of_training(cell.rank, steps), **shared)
    adapted = _with_adapter(model, config)
    check_targets(adapted, cell.target)
    say_ranks(adapted, cell.rank)
    if cell.rank_dropout:
        drop_ranks(adapted, cell.rank_dropout)
    return adapted


def _with_adapter(model: Any, config: Any) -> Any:
    """Adapt the layers that the config names, PEFT's default, or all where it has none."""
    from peft import get_peft_model

    asked, kind = config.target_modules, model.config.model_type
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        if not re.search("target.modules", str(error), re.IGNORECASE):
            raise
        if asked is not None:
            raise no_target(model, asked, error) from error
    say_once(f"PEFT has no default layers for {kind}: all linear layers are adapted (see --target)")
    config.target_modules = "all-linear"
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise no_target(model, "all-linear", error) from error


def _head(model: Any) -> list[str]:
    """Names of what is not the pretrained network: new, and so trained whole.

    PEFT alone trains what is called ``classifier``, ``score`` or ``qa_outputs``. DeBERTa has a
    pooler before it, which its checkpoints do not hold: that would stay as it was drawn. So would
    ModernBERT's head, whose questions are answered by a ``classifier``. Where the network has no
    name of its own, as T5's for questions, these names are all that is known.
    """
    if not hasattr(model, model.base_model_prefix):
        return [name for name in HEADS if hasattr(model, name)]
    return [
        name
        for name, part in model.named_children()
        if name != model.base_model_prefix and any(True for _ in part.parameters())
    ]


def total_steps(arguments: "TrainingArguments", examples: int) -> int:
    """Number of optimizer steps that the trainer will take.

    Args:
        arguments: of the trainer.
        examples: number of training examples.

    Returns:
        ``max_steps`` where that is positive, otherwise the steps of all epochs.

    Raises:
        ValueError: there is not one batch, as those that are not full are dropped.
    """
    each = arguments.train_batch_size * arguments.world_size
    batches = examples // each if arguments.dataloader_drop_last else math.ceil(examples / each)
    if batches == 0:
        raise ValueError(
            f"n must be at least {each}, a batch, with --dataloader_drop_last; got {examples}"
        )
    if arguments.max_steps > 0:
        return arguments.max_steps
    steps = max(1, math.ceil(batches / arguments.gradient_accumulation_steps))
    return math.ceil(arguments.num_train_epochs * steps)


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
