"""A file of nested values and tensors, sealed by a digest: safetensors with JSON, no pickle."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from probes.jobs.atomic_files import write_whole


def write_state(path: Path, state: Any) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers, strings and None.

    Tensors go into a file of safetensors; all else, with their places, is JSON in its header, with
    a digest of both.

    Args:
        path: of the file.
        state: what is written.

    Raises:
        ValueError: a value of another type, or the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    try:
        plain = json.dumps(_encode(state, tensors))
    except TypeError as error:
        raise ValueError(f"{path.name} cannot keep this training: {error}") from None
    content = save(tensors, {"state": plain, "digest": _digest(plain, tensors)})
    write_whole(path, partial(Path.write_bytes, data=content))


def read_state(path: Path) -> Any:
    """Read what :func:`write_state` wrote; tensors are on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            plain, digest = (file.metadata()[name] for name in ("state", "digest"))
    except (SafetensorError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if digest != _digest(plain, tensors):
        raise ValueError(f"{path} does not hold what was written")
    return _decode(json.loads(plain), tensors)


def _digest(plain: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(plain.encode() + save(tensors)).hexdigest()


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Turn a value into JSON that tells types apart, and set its tensors aside."""
    match value:
        case Tensor():
            name = str(len(tensors))
            # A copy, as tensors that share memory are refused.
            tensors[name] = value.detach().cpu().clone().contiguous()
            return {"tensor": name}
        case dict():
            return {"dict": [[_encode(one, tensors) for one in pair] for pair in value.items()]}
        case list() | tuple():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [_encode(one, tensors) for one in value]}
    return value


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"dict": items}:
            return {_decode(key, tensors): _decode(one, tensors) for key, one in items}
        case {"tuple": items}:
            return tuple(_decode(one, tensors) for one in items)
        case {"list": items}:
            return [_decode(one, tensors) for one in items]
    return value
