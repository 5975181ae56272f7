"""Which layers of a model of one's own are adapted, at which rank, and which are not."""

import copy
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from lora_dropout import inject
from lora_dropout.adaptable import why_refused
from lora_dropout.injection import adapted_layers
from probes.jobs.amounts import first_of
from probes.tasks.labelled_texts import say_once
from probes.tasks.own_model import OwnModel, of_users_code

#: Layers that are named in a message.
NAMED = 3


@dataclass(frozen=True)
class LayerRank:
    """A layer that is adapted, and its rank."""

    name: str
    rank: int


def adapt_linear(own: OwnModel, model: nn.Module, p: float, seed: int) -> nn.Module:
    """Put LoRA Dropout into the linear layers of a model, at the rank that each of them allows.

    Args:
        own: says rank, target and alpha.
        model: a copy of its model, which is changed.
        p: dropout rate.
        seed: of the masks.

    Returns:
        The adapted model. A rank above the smaller side of a layer is that side there; the update
        is multiplied by alpha / rank of ``own`` everywhere.

    Raises:
        ValueError: nothing can be adapted, or a target cannot be.
    """
    ranks = layer_ranks(own)
    scale = 1.0 if own.alpha is None else own.alpha / own.rank
    with warnings.catch_warnings():
        # What is left out is said once, by layers_in_words.
        warnings.filterwarnings("ignore", "not adapted")
        if all(layer.rank == own.rank for layer in ranks):
            return inject(model, rank=own.rank, p=p, target=own.target, alpha=own.alpha, seed=seed)
        for rank, names in _turns(ranks):
            target = None if names == [""] else names
            model = inject(model, rank=rank, p=p, target=target, alpha=scale * rank, seed=seed)
    return model


def _turns(ranks: list[LayerRank]) -> Iterator[tuple[int, list[str]]]:
    """The names of layers of one rank after those of another, the smallest first.

    Where a name is the end of that of a layer of larger rank, which ``inject`` would take along,
    inner layers come first: what is adapted already is not taken.
    """
    clash = any(
        is_end(one.name, [other.name]) for one in ranks for other in ranks if one.rank < other.rank
    )

    def turn(layer: LayerRank) -> tuple[int, int]:
        return -layer.name.count(".") if clash else 0, layer.rank

    for (_, rank), layers in groupby(sorted(ranks, key=turn), turn):
        yield rank, [layer.name for layer in layers]


def is_end(name: str, others: Iterable[str]) -> bool:
    """Whether a name is the last part of one of the others, and would be taken for it.

    >>> is_end("0", ["0", "2.0"]), is_end("2", ["2", "2.0"])
    (True, False)
    """
    return any(other.endswith(f".{name}") for other in others)


def layer_ranks(own: OwnModel) -> list[LayerRank]:
    """Return the layers that are adapted, with the rank that each of them allows.

    Args:
        own: says rank and target.

    Raises:
        ValueError: nothing can be adapted, or a target cannot be.
    """
    _check_target(own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with of_users_code("a copy of own.model"):
            copied = copy.deepcopy(own.model)
        try:
            tried = inject(copied, rank=1, p=0.0, target=own.target)
        except ValueError as error:
            others = _others(own.model) if own.target is None else ""
            if not others:
                kinds = f"{error} (its parts: {_parts(own.model)})"
                raise ValueError(f"own.model cannot be adapted: {kinds}") from None
            raise ValueError(
                f"own.model has no layer that can be adapted without OwnModel(adapt=...): {others}"
            ) from None
    return [
        LayerRank(name, min(own.rank, layer.shape.d_in, layer.shape.d_out))
        for name, layer in adapted_layers(tried)
    ]


def update_rank(own: OwnModel) -> int:
    """Return the rank of the update: the largest of its layers, where ``inject`` adapts them.

    Args:
        own: says rank and target.

    Raises:
        ValueError: as of :func:`layer_ranks`.
    """
    if own.adapt is not None:
        return own.rank
    return max(layer.rank for layer in layer_ranks(own))


def say_layers(own: OwnModel) -> None:
    """Say once, in a line, which layers have a smaller rank and which are not adapted."""
    ranks = layer_ranks(own)
    cut = [one for one in ranks if one.rank < own.rank]
    said = []
    if cut:
        named = (f"{one.rank} in {f'layer {one.name}' if one.name else 'the layer'}" for one in cut)
        where = first_of(named, NAMED)
        said.append(f"rank {own.rank} is cut to {where}")
    if own.target is None and (others := _others(own.model)):
        said.append(f"not adapted: {others}")
    if said:
        say_once(f"own model: {'; '.join(said)}")


def _check_target(own: OwnModel) -> None:
    """Refuse a target that names a layer of another kind, by that kind."""
    targets = [own.target] if isinstance(own.target, str) else own.target or []
    for name, module in own.model.named_modules():
        if name in targets and _has_weights(module) and not isinstance(module, nn.Linear):
            raise ValueError(
                f"own.target must be nn.Linear layers; {name} ({type(module).__name__}) "
                "needs OwnModel(adapt=...)"
            )


def _others(model: nn.Module) -> str:
    """The layers with weights that cannot be adapted, each with the reason."""
    reasons = {}
    inside: list[str] = []
    for name, module in model.named_modules():
        part = any(name.startswith(f"{one}.") for one in inside)
        if _has_weights(module) and not part:
            reason = why_refused(module)
            if reason is not None:
                reasons[name or "the model"] = reason
                inside.append(name)
    return first_of((f"{name} {reason}" for name, reason in reasons.items()), NAMED)


def _parts(model: nn.Module) -> str:
    """The kinds of a model's innermost modules, by their full names."""
    kinds = (type(part) for part in model.modules() if not any(True for _ in part.children()))
    names = dict.fromkeys(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    return first_of(names, NAMED)


def _has_weights(module: nn.Module) -> bool:
    """Whether a module multiplies by parameters of its own; a bias or a scale is none."""
    held = any(one.dim() > 1 for one in module.parameters(recurse=False))
    return held or isinstance(module, nn.Linear)
