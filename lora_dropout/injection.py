"""Putting LoRA Dropout into a model, taking it out again, and telling what is on."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lora_dropout.adaptable import (
    HOOKS,
    check_is_adaptable,
    left_out,
    listed,
    multiplies,
    names_of_modules,
    parts_of_peft,
    refuse_wrapped,
    why_refused,
)
from lora_dropout.given_numbers import whole_number
from lora_dropout.layer import LoRADropoutLinear
from lora_dropout.masked import Inference, MaskedUpdate
from lora_dropout.masks import MaskKind
from lora_dropout.schedule import MaskSchedule

#: Said where LoRA Dropout is asked of a model that has none.
NO_LAYER = (
    "the model has no layer with LoRA Dropout: call inject() first, or get_peft_model of PEFT with "
    "a LoraDropoutConfig"
)


def inject(
    model: nn.Module,
    *,
    rank: int,
    p: float,
    target: str | Iterable[str] | None = None,
    alpha: float | None = None,
    p_out: float | None = None,
    rescale: bool = False,
    mask_kind: MaskKind = "bernoulli",
    inference: Inference = "expected weight",
    seed: int = 0,
) -> nn.Module:
    """Replace linear layers of a model by :class:`LoRADropoutLinear`, in place.

    Adapted is what does nothing but multiply by its weight; a layer that the model holds under two
    names is adapted under both. Where no target is given, a warning names what was left out.

    All other parameters are frozen, so that the factors are what is trained. A second call adapts
    further layers, at other rates for example; they join the same mask schedule.

    Args:
        model: any module. If it is itself an ``nn.Linear``, the adapted layer is returned.
        rank, p, alpha, p_out, rescale, mask_kind, inference: see :class:`LoRADropoutLinear`.
        target: names of the layers, whole or the last parts of a dotted name ("query" matches
            "encoder.0.query"); every ``nn.Linear`` if left out.
        seed: seed of the masks and of A's initial values.

    Returns:
        The model.

    Raises:
        ValueError: a model with adapters of PEFT, in DistributedDataParallel or
            FullyShardedDataParallel, or within an ensemble; a target that matches
            nothing, or something that is not a plain ``nn.Linear`` (a subclass with a forward pass
            of its own, a computed weight, hooks); an argument out of range. The model is then
            unchanged.

    >>> model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    >>> model = inject(model, rank=2, p=0.5, target="0")
    >>> [(one.layer, one.rank, one.sparsity, one.masks) for one in describe(model)]
    [('0', 2, 0.75, True)]
    """
    seed = whole_number("seed", seed, 0, 2**64)
    _refuse_what_has_no_shape(model)
    _refuse_adapters_of_peft(model)
    refuse_wrapped(model)
    chosen = _match(model, target)
    adapted = adapted_layers(model)
    masks = adapted[0][1].masks if adapted else MaskSchedule(seed)
    if masks.lock.held:
        raise ValueError(
            "layers are adapted within an ensemble or inference_mode, whose mode they would not "
            "have: adapt them before"
        )
    generator = torch.Generator().manual_seed(seed)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    numbered = len(masks.layers)
    try:
        layers = [
            LoRADropoutLinear(
                model.get_submodule(names[0]),  # type: ignore[arg-type]
                rank=rank,
                alpha=alpha,
                p=p,
                p_out=p_out,
                rescale=rescale,
                mask_kind=mask_kind,
                inference=inference,
                masks=masks,
                generator=generator,
            )
            for names in chosen
        ]
    except ValueError:
        for layer in masks.layers[numbered:]:
            masks.leave(layer)
        for parameter in trainable:
            parameter.requires_grad_(True)
        raise
    if not adapted:
        masks.frozen = trainable
    model.requires_grad_(False)
    for names, layer in zip(chosen, layers, strict=True):
        layer.train(layer.base.training)
        model = _replace(model, names, layer)
    for factor in (factor for layer in masks.layers for factor in layer.factors):
        factor.requires_grad_(True)
    if not adapted:
        masks.attach(model)
    masks.seek(masks.step)
    return model


def merge(model: nn.Module) -> nn.Module:
    """Replace every adapted layer by an ``nn.Linear`` with the update added, in place.

    The inverse of :func:`inject`, for use: the model has its old structure and state-dict keys, and
    computes what it computed in ``eval()`` without sampling, the expected-weight network unless a
    layer's ``inference`` is ``"no masks"``. What :func:`inject` froze is trainable again.

    Returns:
        The model; the merged layer if the model is itself an adapted layer.

    Raises:
        ValueError: there is no adapted layer, PEFT has one, or one was given what its ``nn.Linear``
            would not have: hooks, or a weight that is computed. The model is then unchanged.
    """
    for name, layer in _require_adapted(model):
        if not isinstance(layer, LoRADropoutLinear):
            raise ValueError(f"{name} was not put there by inject(): use merge_and_unload()")
        if parts_of_peft(layer):
            raise ValueError(f"PEFT has adapted {name} in its turn: use merge_and_unload() first")
        if reason := _why_not_merged(layer):
            raise ValueError(f"{name or 'the model'} {reason}")
    names = names_of_modules(model)
    for _, layer in _require_adapted(model):
        assert isinstance(layer, LoRADropoutLinear)
        schedule = layer.masks
        for parameter in schedule.frozen:
            parameter.requires_grad_(True)
        # A new parameter, as the old one may be tied to another layer's.
        old = layer.base.weight
        layer.base.weight = nn.Parameter(layer.merged_weight().detach(), old.requires_grad)
        model = _replace(model, names[layer], layer.base.train(layer.training))
        schedule.leave(layer, model)
    return model


@dataclass(frozen=True)
class AdaptedLayer:
    """What :func:`describe` says of one adapted layer.

    Attributes:
        layer: name of the layer in the model.
        adapter: name of the adapter in PEFT, "" otherwise.
        number: of the layer in its mask schedule.
        d_in, d_out: sides of the update.
        rank, alpha: the update is multiplied by alpha / rank; with PEFT's ``use_rslora`` by alpha
            over the root of the rank.
        p_in, p_out: rates at which A's input columns and B's output rows are dropped, in [0, 1).
        kind: of the masks, "bernoulli", "gaussian", "two-point" or "mean": see
            ``lora_dropout.masks``.
        sparsity: probability that an entry of the update is dropped, 2p - p^2 for equal rates; 0
            where masks are not Bernoulli.
        rescale: whether masks are divided by 1 - p.
        mode: "training", the inference mode, or "off" where the update is not added.
        masks: whether a forward pass now would use masks.
        step: the optimizer step whose masks the layer holds.
    """

    layer: str
    adapter: str
    number: int
    d_in: int
    d_out: int
    rank: int
    alpha: float
    p_in: float
    p_out: float
    kind: MaskKind
    sparsity: float
    rescale: bool
    mode: str
    masks: bool
    step: int


def describe(model: nn.Module) -> list[AdaptedLayer]:
    """List every adapted layer and whether its dropout is on.

    ``pandas.DataFrame(describe(model))`` shows the list as a table.

    Returns:
        One entry a layer, in the order of the model.

    Raises:
        ValueError: there is no adapted layer, so there is no LoRA Dropout at all.
    """
    return [
        AdaptedLayer(
            layer=name.removesuffix(layer.place),
            adapter=layer.adapter,
            number=layer.number,
            **layer.shape._asdict(),
            rank=layer.rank,
            alpha=layer.alpha,
            sparsity=layer.sparsity,
            rescale=layer.rescale,
            mode=_mode(layer),
            masks=layer.draws_masks,
            step=layer.masks.step,
        )
        for name, layer in _require_adapted(model)
    ]


def adapted_layers(model: nn.Module) -> list[tuple[str, MaskedUpdate]]:
    """Return the names and modules of all adapted layers, in the order of the model."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, MaskedUpdate)]


def masked_updates(model: nn.Module) -> list[MaskedUpdate]:
    """Return all adapted layers, in the order of the model.

    Neither names nor an abstract class are asked for, which take most of the time that a walk
    through a large model takes.
    """
    found: list[MaskedUpdate] = []
    seen: set[nn.Module] = set()
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            if MaskedUpdate in type(module).__mro__:
                found.append(cast(MaskedUpdate, module))
            waiting += [child for child in reversed(module._modules.values()) if child is not None]
    return found


def layers_in_use(model: nn.Module) -> list[MaskedUpdate]:
    """Return the adapted layers whose update a forward pass adds.

    Raises:
        ValueError: there is none.
    """
    return _in_use(masked_updates(model))


def mask_schedules(model: nn.Module) -> list[MaskSchedule]:
    """Return the schedules of the layers in use: one, or one an active adapter of PEFT.

    Raises:
        ValueError: there is no adapted layer, or none in use.
    """
    return schedules_of(layers_in_use(model))


def schedules_of(layers: Iterable[MaskedUpdate]) -> list[MaskSchedule]:
    """Return the schedules that layers belong to, each once."""
    return list(dict.fromkeys(layer.masks for layer in layers))


def _in_use(layers: list[MaskedUpdate]) -> list[MaskedUpdate]:
    if not layers:
        raise ValueError(NO_LAYER)
    used = [layer for layer in layers if layer.in_use]
    if not used:
        raise ValueError("all adapters with LoRA Dropout are off: inactive, disabled or merged")
    return used


@contextmanager
def alone(model: nn.Module) -> Iterator[list[MaskedUpdate]]:
    """Within the block, passes of other threads through a model wait.

    Args:
        model: a model with adapted layers.

    Yields:
        The layers of all its adapters, also of those that are off now: a batch may name its
        adapters, and another may be set within the block.

    Raises:
        ValueError: there is no adapted layer, or none in use.
    """
    layers = masked_updates(model)
    _in_use(layers)
    with ExitStack() as locked:
        # In one order in all threads, so that none waits for another that waits for it.
        for schedule in sorted(schedules_of(layers), key=id):
            locked.enter_context(schedule.lock.changing())
        yield layers


@contextmanager
def schedules_restored(model: nn.Module) -> Iterator[list[MaskSchedule]]:
    """Within the block, masks may be those of any step; afterwards they are as they were.

    Args:
        model: a model with adapted layers; other threads wait for it: see :func:`alone`.

    Yields:
        The schedules of all its adapters.

    Raises:
        ValueError: there is no adapted layer, or none in use.
    """
    with alone(model) as layers:
        schedules = schedules_of(layers)
        before = [(one, one.step, one.samples) for one in schedules]
        try:
            yield schedules
        finally:
            for schedule, step, samples in before:
                schedule.seek(step, samples)


def mask_schedule(model: nn.Module) -> MaskSchedule:
    """Return the schedule that the model's adapted layers share.

    Raises:
        ValueError: there is no adapted layer, or there are several schedules.
    """
    schedules = mask_schedules(model)
    if len(schedules) > 1:
        raise ValueError(f"{len(schedules)} adapters are active, each with masks of its own")
    return schedules[0]


def _mode(layer: MaskedUpdate) -> str:
    if not layer.in_use:
        return "off"
    return "training" if layer.training else layer.inference


def _why_not_merged(layer: LoRADropoutLinear) -> str | None:
    """What was put onto a layer since it was adapted, and would be lost; None for nothing."""
    if layer.base._parameters.get("weight") is None:
        return "computes its frozen weight, to which no update can be added: undo that first"
    hooks = (hook for kind in HOOKS for hook in getattr(layer, kind).values())
    # A model that is one layer has the hooks of its masks.
    if any(getattr(hook, "__self__", None) is not layer.masks for hook in hooks):
        return "has hooks, which its nn.Linear would not have: remove them first"
    return None


def _require_adapted(model: nn.Module) -> list[tuple[str, MaskedUpdate]]:
    layers = adapted_layers(model)
    if not layers:
        raise ValueError(NO_LAYER)
    return layers


def _refuse_adapters_of_peft(model: nn.Module) -> None:
    """Refuse a model that PEFT has adapted, whose factors would be adapted in their turn."""
    if names := parts_of_peft(model):
        raise ValueError(
            f"the model has adapters of PEFT ({listed(names[:1])}): get_peft_model with a "
            "LoraDropoutConfig in place of inject(), or merge_and_unload() before it"
        )


def _refuse_what_has_no_shape(model: nn.Module) -> None:
    """Refuse lazy layers, which cannot be frozen before their first pass."""
    lazy = [name for name, one in model.named_parameters() if is_lazy(one)]
    if lazy:
        raise ValueError(
            f"{listed(lazy)} of the model have no shape yet (lazy layers): call the model once, "
            "and then inject()"
        )


def _match(model: nn.Module, target: str | Iterable[str] | None) -> list[list[str]]:
    """Choose the layers to adapt: every name of each."""
    names = names_of_modules(model, without=masked_updates(model))
    every = {module: held for module, held in names.items() if multiplies(module)}
    if target is None:
        refused = {
            held[0] or "the model": reason
            for module, held in every.items()
            if (reason := why_refused(module))
        }
        chosen = [held for held in every.values() if (held[0] or "the model") not in refused]
        if not chosen:
            rest = f"; left out: {left_out(refused)}" if refused else ""
            raise ValueError(f"the model has no nn.Linear that is not adapted already{rest}")
        if refused:
            warnings.warn(f"not adapted: {left_out(refused)}", stacklevel=3)
        return chosen
    if not isinstance(target, Iterable):
        raise ValueError(f"target must be a name or several, got {target!r}")
    targets = [target] if isinstance(target, str) else list(target)
    if not targets:
        raise ValueError("target is empty: name at least one layer, or leave it out for all")
    for wanted in targets:
        if not any(_matches(wanted, held) for held in every.values()):
            there = ", ".join(repr(name) for held in every.values() for name in held)
            raise ValueError(
                f"target {wanted!r} matches no nn.Linear of the model; there are {there or 'none'}"
            )
    matched = {
        module: held
        for module, held in every.items()
        if any(_matches(wanted, held) for wanted in targets)
    }
    for module, held in matched.items():
        check_is_adaptable(held[0], module)
    return list(matched.values())


def _matches(wanted: str, names: list[str]) -> bool:
    return any(_names(wanted, name) for name in names)


def _names(wanted: str, name: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def _replace(model: nn.Module, names: list[str], module: nn.Module) -> nn.Module:
    """Put a module in the places of these names."""
    for name in names:
        if not name:
            return module
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module)
    return model
