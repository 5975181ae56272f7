"""Methods of ``probes.training.rivals`` at full scale: those that PEFT and its trainer express."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from probes.finetuning.adapter_config import METHOD
from probes.finetuning.arguments import SMOOTHING
from probes.finetuning.cell import FinetuneCell
from probes.jobs.amounts import how_many
from probes.jobs.validation import check_one_of, require
from probes.training.rivals import Rival

#: What plain LoRA has of the settings that are a method's.
PLAIN: dict[str, Any] = {
    "p": 0.0, "samples": 1, "rescale": False, "lora_dropout": 0.0, "rank_dropout": 0.0,
}  # fmt: skip
#: Digits of a number of epochs after the point.
EPOCH_DIGITS = 9


def regularized(cell: FinetuneCell, rival: Rival) -> FinetuneCell:
    """Return a fine-tuning run by a method at a strength.

    Weight decay falls on all that is trained except biases and norms, a new head included, as in
    transformers' trainer. A smaller rank keeps the factor of the update. Early stopping takes fewer
    epochs, or steps where these are given, and its learning rate falls to 0 within them.

    Args:
        cell: plain LoRA or AdaLoRA.
        rival: one of ``REGULARIZERS`` at a strength.

    Returns:
        The run, which says the rival.
    """
    changed = REGULARIZERS[rival.name](cell, rival)
    return replace(changed, regularizer=rival.name, strength=rival.strength)


def check_regularizer(name: str) -> None:
    """Check that a method can be fine-tuned with.

    Raises:
        ValueError: the name is not one of ``REGULARIZERS``.
    """
    check_one_of("regularizer", name, tuple(REGULARIZERS))


def check_named(cell: FinetuneCell) -> None:
    """Check that a run whose method is named beside its settings is trained by that method.

    Args:
        cell: the run.

    Raises:
        ValueError: no such method or strength, or settings that are not the method's.
    """
    if not cell.regularizer:
        return
    check_regularizer(cell.regularizer)
    rival = Rival(cell.regularizer, cell.strength)
    # Of these two the rank and the steps say what was left out, and not of how many.
    leaves_out = rival.name in ("smaller rank", "early stopping")
    change = REGULARIZERS["LoRA" if leaves_out else rival.name]
    said = _of_method(change(replace(cell, **PLAIN), rival))
    for name, found in _of_method(cell).items():
        allowed = f"{said[name]}, as {METHOD} names {rival.name} {rival.strength:g}"
        require(found == said[name], name, allowed, found)


def _of_method(cell: FinetuneCell) -> dict[str, Any]:
    given = dict(cell.training)
    return {name: getattr(cell, name) for name in (*PLAIN, "ensemble")} | {
        name: given.get(name, 0.0) for name in ("weight_decay", SMOOTHING)
    }


def check_smoothing(cell: FinetuneCell) -> None:
    """Check that labels are smoothed of classes alone.

    transformers smooths what is called ``labels``, as classes: the places of SQuAD's answers are
    not, and would be trained on as they are, and numbers are none.

    Args:
        cell: the run.

    Raises:
        ValueError: labels are smoothed that are no classes.
    """
    places, numbers = cell.task in ("squad", "squad_v2"), cell.task == "glue/stsb"
    if dict(cell.training).get(SMOOTHING) and (places or numbers or cell.corpus.regression):
        named = "regularizer" if cell.regularizer == "label smoothing" else SMOOTHING
        given = cell.regularizer if named == "regularizer" else dict(cell.training)[SMOOTHING]
        kind = "places in a text" if places else "numbers"
        require(False, named, f"left out for {cell.task}, whose labels are {kind}", given)


def _dropout(cell: FinetuneCell, rival: Rival) -> FinetuneCell:
    method = rival.method
    members = method.masked_members if method.masked_members > 1 else cell.ensemble
    return replace(
        cell, p=rival.strength, samples=method.samples, rescale=method.rescale, ensemble=members
    )


def _rank_dropout(cell: FinetuneCell, rival: Rival) -> FinetuneCell:
    require(cell.method == "lora", "method", "lora where the regularizer is DropLoRA", cell.method)
    return replace(cell, rank_dropout=rival.strength)


def drop_ranks(model: Any, rate: float) -> None:
    """Drop entries of A x in every layer with LoRA, for every token, while the model trains.

    Source: DropLoRA, arXiv 2508.17337, whose code has ``nn.Dropout`` between A and B.

    Args:
        model: of PEFT; hooks are added to its layers.
        rate: p, in [0, 1); survivors are divided by 1 - p.
    """

    def drop(module: nn.Module, args: Any, hidden: Tensor) -> Tensor:
        return nn.functional.dropout(hidden, rate, module.training)

    for name, module in model.named_modules():
        if name.rpartition(".")[0].endswith(".lora_A"):
            module.register_forward_hook(drop)


def _smaller_rank(cell: FinetuneCell, rival: Rival) -> FinetuneCell:
    require(cell.rank > 1, "rank", "at least 2 where the regularizer is smaller rank", cell.rank)
    rank = rival.rank(cell.rank)
    _check_change(rival, rank < cell.rank, f"leaves out a part of rank {cell.rank}")
    smaller = replace(cell, rank=rank)
    return replace(smaller, alpha=cell.alpha * smaller.initial_rank / cell.initial_rank)


def _fewer_steps(cell: FinetuneCell, rival: Rival) -> FinetuneCell:
    given = dict(cell.training)
    if given.get("max_steps", -1) > 0:
        steps = rival.steps(given["max_steps"])
        _check_change(
            rival,
            steps < given["max_steps"],
            f"leaves out one of {how_many(given['max_steps'], 'step')}",
        )
        return _trained(cell, max_steps=steps)
    # Rounded, as 1 - 0.7 is more than 0.3, for which the trainer would take a step more.
    epochs = round(given["num_train_epochs"] * (1 - rival.strength), EPOCH_DIGITS)
    return _trained(cell, num_train_epochs=epochs)


def _check_change(rival: Rival, changes: bool, what: str) -> None:
    """Check that a strength above 0 is not plain LoRA, by rounding."""
    require(changes or rival.strength == 0, "strength", f"one that {what}", rival.strength)


def _trained(cell: FinetuneCell, **changes: float) -> FinetuneCell:
    return replace(cell, training=tuple(sorted({**dict(cell.training), **changes}.items())))


Change = Callable[[FinetuneCell, Rival], FinetuneCell]
#: What a method changes in a run, by its name in ``probes.training.rivals``.
REGULARIZERS: dict[str, Change] = {
    "LoRA": lambda cell, rival: cell,
    "LoRA Dropout": _dropout,
    "LoRA Dropout, N = 4": _dropout,
    "LoRA Dropout, rescaled": _dropout,
    "LoRA Dropout, rescaled, N = 4": _dropout,
    "LoRA Dropout, ensemble of 16": _dropout,
    "DropLoRA": _rank_dropout,
    "PEFT lora_dropout": lambda cell, rival: replace(cell, lora_dropout=rival.strength),
    "weight decay": lambda cell, rival: _trained(cell, weight_decay=rival.strength),
    "smaller rank": _smaller_rank,
    "label smoothing": lambda cell, rival: _trained(cell, **{SMOOTHING: rival.strength}),
    "early stopping": _fewer_steps,
}
