"""What each member of an ensemble remembers of a text that it generates: caches of transformers.

Generation knows of one cache. Either it holds the rows of all members, one member after the other,
or it is the first member's, and the others' hang on it. What generation does with it between two
passes, such as to reorder the beams, then happens to all members.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cache as once
from typing import Any

import torch
from torch import Tensor

#: What models call it, among their inputs and their outputs ("cache": from transformers 5.24 on).
NAMES = ("past_key_values", "cache", "cache_params")
#: What older models call what they remember in a form of their own.
OLDER_NAMES = ("state", "mems", "past_buckets_states")
#: What generation does with a cache between two passes: beams, assistants.
CHANGES = ("reorder_cache", "crop", "batch_repeat_interleave", "batch_select_indices", "reset")
#: Where layers of a cache hold tensors of a row an example.
HELD = ("keys", "conv_states", "recurrent_states")


def cache_of(named: Any) -> Any:
    """Return the cache among a model's inputs or outputs, None if there is none."""
    found = (named.get(name) for name in NAMES)
    return next((one for one in found if hasattr(one, "reorder_cache")), None)


def check_rows(inputs: dict[str, Any], rows: int) -> None:
    """Raise ``ValueError`` for a cache that holds something else than these members' rows.

    Args:
        inputs: of the model.
        rows: that a cache which is not empty has.

    Raises:
        ValueError: the cache has another number of rows.
    """
    tensors = _tensors(cache_of(inputs))
    if next((len(held) for held in tensors if held.numel()), rows) != rows:
        raise ValueError("generation by an ensemble takes no cache from elsewhere")


def hold_groups(cache: Any, ensemble: int) -> None:
    """Let beams move within each member's rows of a cache, from now on.

    Args:
        cache: with the rows of all members, one member after the other; None for no cache.
        ensemble: N, the number of members.
    """
    if cache is not None and not hasattr(cache, "members"):
        kind: Any = type(cache)
        cache.__class__ = _in_groups(kind)
        cache.members = ensemble


def hold_members(caches: list[Any]) -> None:
    """Let what happens to the first cache happen to all, from now on.

    Args:
        caches: one a member; None for no caches.
    """
    if caches[0] is not None and not hasattr(caches[0], "others"):
        kind: Any = type(caches[0])
        caches[0].__class__ = _with_others(kind)
        caches[0].others = caches[1:]


def caches_of_members(inputs: dict[str, Any], ensemble: int) -> list[dict[str, Any]]:
    """Give each member its cache.

    Args:
        inputs: of the model, with the cache that generation knows, or without.
        ensemble: N, the number of members.

    Returns:
        The cache by its name among the inputs, for each member; nothing where there is none.

    Raises:
        ValueError: the cache is not empty, and not of these members; or it is no cache of
            transformers, which the first member would hand to the others.
    """
    cache = cache_of(inputs)
    if cache is None:
        if ensemble > 1 and _remembers_otherwise(inputs):
            raise ValueError(
                "generation by an ensemble takes no cache of the model's own kind where members "
                "take a pass each: generate with use_cache=False (XLNet: use_mems=False)"
            )
        return [{} for _ in range(ensemble)]
    if not hasattr(cache, "others"):
        check_rows(inputs, 0)
        hold_members([cache, *(copied(cache) for _ in range(1, ensemble))])
    name = next(name for name in NAMES if inputs.get(name) is cache)
    return [{name: one} for one in (cache, *cache.others)]


def _remembers_otherwise(inputs: dict[str, Any]) -> bool:
    """Whether a model is given what another pass remembered, in another form than a cache."""
    given = (inputs.get(name) for name in (*NAMES, *OLDER_NAMES))
    return any(one is not None and not isinstance(one, Tensor) for one in given)


def copied(cache: Any) -> Any:
    """Copy a cache.

    Raises:
        ValueError: it cannot be copied, as it moves its tensors between devices by itself.
    """
    try:
        return copy.deepcopy(cache)
    except TypeError as reason:
        raise ValueError(
            f"generation by an ensemble takes no cache that cannot be copied ({reason}): leave out "
            "cache_implementation='offloaded'"
        ) from None


@once
def _in_groups(kind: Any) -> Any:
    class Groups(kind):
        def reorder_cache(self, beams: Tensor) -> None:
            first = torch.arange(self.members, device=beams.device).unsqueeze(1) * len(beams)
            super().reorder_cache((first + beams).flatten())

    Groups.__name__ = kind.__name__
    return Groups


@once
def _with_others(kind: Any) -> Any:
    there = [name for name in CHANGES if hasattr(kind, name)]
    return type(kind.__name__, (kind,), {name: _of_all(getattr(kind, name)) for name in there})


def _of_all(change: Callable[..., None]) -> Callable[..., None]:
    def of_all(cache: Any, *args: Any) -> None:
        for one in (cache, *cache.others):
            change(one, *args)

    return of_all


def _tensors(cache: Any) -> Iterator[Tensor]:
    # That of an encoder with a decoder holds one of these for each.
    for layer in getattr(getattr(cache, "self_attention_cache", cache), "layers", []):
        for held in (getattr(layer, name, None) for name in HELD):
            several = held.values() if isinstance(held, dict) else [held]
            yield from (one for one in several if isinstance(one, Tensor))
