"""Which layers of a model can be adapted: those that do nothing but multiply by their weight."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import groupby, product
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

#: Names of parameters that are looked up or added: positions, embeddings, tokens for a mask.
NO_WEIGHTS = ("emb", "pos", "token")
#: Where a module keeps what is called around its passes.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
#: Classes of PyTorch that average gradients over processes.
WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel")
#: Names that a message shows.
SHOWN = 3


def why_refused(module: nn.Module, kind: type[nn.Module] = nn.Linear) -> str | None:
    """Say why a layer cannot be adapted, as the end of a sentence that begins with its name.

    What is adapted is the product with the weight. Where a layer does more, the update would be
    added in the wrong place, and merging it would change the outputs.

    Args:
        module: the layer.
        kind: the layer of PyTorch that it ought to be.

    Returns:
        The reason; None for a plain layer of that kind.

    >>> why_refused(nn.Linear(2, 2)), why_refused(nn.Embedding(2, 2))
    (None, 'is an Embedding and not an nn.Linear')
    """
    name = with_article(type(module).__name__)
    if not isinstance(module, kind):
        if type(module).__name__ == kind.__name__:
            # As those of torch.ao, which are quantized.
            name = f"{type(module).__module__}.{kind.__name__}"
        return f"is {name} and not {with_article(f'nn.{kind.__name__}')}"
    held = module._parameters.get("weight")
    if held is None:
        return "computes its weight (weight_norm, spectral_norm, pruning, a parametrization)"
    if type(held) is not nn.Parameter or not held.is_floating_point():
        return f"holds its weight as {type(held).__name__} of {held.dtype}"
    # Accelerate puts its placing of a layer on a device around the forward pass.
    own = "forward" in vars(module) and not hasattr(module, "_hf_hook")
    called = type(module).forward is kind.forward or _writes_the_same_out(module, kind)
    called = called and type(module).__call__ is kind.__call__
    if own or not called or hasattr(type(module), "weight"):
        return f"is {name} with a forward pass of its own"
    if any(getattr(module, hooks) for hooks in HOOKS):
        return "has hooks, which would see the frozen layer without the update"
    if getattr(module, "_hf_tp_plan", None) is not None:
        return "is split over several devices"
    return None


def _writes_the_same_out(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a linear layer's own forward pass is the product, as that of Falcon's layers is.

    It is tried where it can depend on nothing but input, weight and bias: the layer holds no more
    than ``nn.Linear`` does, and what transformers and Accelerate put there.
    """
    added = {"forward", "_hf_hook", "_old_forward", "_is_hf_initialized"}
    # Without data, nothing is drawn of the numbers that the caller may have seeded.
    alone = {*vars(module)} - added == {*vars(nn.Linear(1, 1, device="meta"))}
    held = {*module._parameters, *module._buffers, *module._modules} == {"weight", "bias"}
    of: Any = type(module)
    return kind is nn.Linear and alone and held and _is_the_product(of)


@cache
def _is_the_product(kind: Any) -> bool:
    layer, generator = nn.Linear(4, 3, device="meta"), torch.Generator().manual_seed(0)
    numbers: Any = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    weight, bias = (torch.randn(size, **numbers) for size in ((3, 4), (3,)))
    # An attribute that it reads may be missing, and it may return anything.
    layer.__class__ = kind
    for scale, training in product((1e-3, 1.0, 1e3), (True, False)):
        x, scaled = scale * torch.randn(2, 5, 4, **numbers), scale * weight
        try:
            found = functional_call(layer.train(training), {"weight": scaled, "bias": bias}, (x,))
            same = torch.allclose(found, nn.functional.linear(x, scaled, bias), rtol=1e-4)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
        if not same:
            return False
    return True


def with_article(name: str) -> str:
    """Put "a" or "an" before the name of a class, as it is spoken.

    >>> [with_article(name) for name in ("LSTM", "Embedding", "nn.Linear", "GRU", "Linear")]
    ['an LSTM', 'an Embedding', 'an nn.Linear', 'a GRU', 'a Linear']
    """
    spelt = name.startswith("nn.") or name[:2].isupper()
    vowels = "AEFHILMNORSX" if spelt else "AEIOU"
    return f"{'an' if name[0].upper() in vowels else 'a'} {name}"


def multiplies(module: nn.Module) -> bool:
    """Whether a layer, or its user, multiplies by a weight that it holds; embeddings do not.

    A weight is a matrix or several: those of a linear layer, of recurrent ones, of experts.
    """
    if isinstance(module, nn.Linear):
        return True
    return not isinstance(module, nn.Embedding) and any(
        one is not None and one.dim() > 1 and one.shape[0] > 1 and one[0].numel() > 1
        for name, one in module._parameters.items()
        if not any(word in name for word in NO_WEIGHTS)
    )


def names_of_modules(
    model: nn.Module, without: Iterable[nn.Module] = ()
) -> dict[nn.Module, list[str]]:
    """Find every name of every module: one that is held in two places has two.

    Args:
        model: the model.
        without: modules that are left out with all that is in them.

    Returns:
        The names by module, in the model's order.
    """
    inside = {id(part) for one in without for part in one.modules()}
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if id(module) not in inside:
            names.setdefault(module, []).append(name)
    return names


def parts_of_peft(model: nn.Module) -> list[str]:
    """Name the modules of PEFT's in a model; their factors are linear layers too.

    Args:
        model: searched whole; PEFT need not be installed.

    Returns:
        Names in the order of the model, "itself" for the whole.
    """
    return [
        name or "itself"
        for name, part in model.named_modules()
        if any(kind.__module__.partition(".")[0] == "peft" for kind in type(part).__mro__)
    ]


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse a model in a wrapper that takes down once whose gradients it averages over processes.

    Args:
        model: that is to be adapted.

    Raises:
        ValueError: it is, or holds, one of :data:`WRAPPERS`.
    """
    kinds = (one.__name__ for part in model.modules() for one in type(part).__mro__)
    wrapper = next((kind for kind in kinds if kind in WRAPPERS), None)
    if wrapper is not None:
        raise ValueError(
            f"the model is in {wrapper} already, which would not average the gradients of new "
            "factors over the processes: adapt the model first, and wrap it then"
        )


def held_twice(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Find the modules that several attributes hold, with all their names.

    A module inside one that is held twice has two names too, and yet one place.
    """
    places = Counter(
        part for module in model.modules() for part in module._modules.values() if part is not None
    )
    names = names_of_modules(model)
    return {module: names[module] for module, count in places.items() if count > 1}


def listed(names: Iterable[str]) -> str:
    """Name a few, and say how many more there are.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def left_out(refused: dict[str, str]) -> str:
    """Say which layers were not adapted, reason by reason.

    Args:
        refused: reasons by name, from :func:`why_refused`.

    Returns:
        Names and reasons, in one line.
    """
    by_reason = sorted(refused.items(), key=lambda item: item[1])
    groups = groupby(by_reason, key=lambda item: item[1])
    return "; ".join(f"{listed(name for name, _ in group)} {reason}" for reason, group in groups)


def check_is_adaptable(name: str, module: nn.Module) -> None:
    """Raise ``ValueError`` unless a layer can be adapted.

    Args:
        name: of the layer, for the message.
        module: the layer.

    Raises:
        ValueError: it cannot; the message names the layer and says why.
    """
    reason = why_refused(module)
    if reason is not None:
        raise ValueError(f"{name or type(module).__name__} cannot be adapted: it {reason}")
