"""Loading pretrained models and tokenizers: nothing is unpickled, nor code run unless trusted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Class of language models.
LANGUAGE_MODEL = "AutoModelForCausalLM"
#: Classes of models without a new head: a language model's is pretrained.
WHOLE = ("AutoModel", LANGUAGE_MODEL)
#: Files of a model's folder that are objects of JSON.
OBJECTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json",
)  # fmt: skip
#: Part of a pretrained network that many checkpoints do not hold, as pretraining does without it.
POOLER = "pooler"


def load_pretrained(
    kind: str, name: str, *, trust_remote_code: bool = False, **settings: Any
) -> Any:
    """Load a model or tokenizer of transformers; of a model, weights kept as safetensors.

    Args:
        kind: class of transformers, such as AutoModel.
        name: of a folder, or on the hub.
        trust_remote_code: whether code that comes with it may run.
        **settings: of its ``from_pretrained``.

    Returns:
        An object of that class; a model is on the CPU.

    Raises:
        ValueError: there is no such model, it cannot be loaded, or its files do not hold the
            weights of the pretrained network: see :func:`load_model`.
    """
    if kind.startswith("AutoModel"):
        return load_model(kind, name, trust_remote_code=trust_remote_code, **settings)[0]
    return _loaded(kind, name, trust_remote_code=trust_remote_code, **settings)


def load_model(
    kind: str, name: str, *, trust_remote_code: bool = False, **settings: Any
) -> tuple[Any, list[str]]:
    """Load a model of transformers from weights kept as safetensors.

    transformers draws at random what the files do not hold. This is right for a new head, and for
    nothing else: an update would be trained over a network that was never pretrained.

    Args:
        kind, name, trust_remote_code, **settings: as for :func:`load_pretrained`.

    Returns:
        The model on the CPU; and the names of its poolers that the files lack, which are new.

    Raises:
        ValueError: it cannot be loaded; the files lack a weight of the pretrained network, or, of a
            language model, any weight, or hold it in another shape; or a weight is not finite.
    """
    model, info = _loaded(
        kind, name, trust_remote_code=trust_remote_code, use_safetensors=True,
        output_loading_info=True, ignore_mismatched_sizes=True, **settings,
    )  # fmt: skip
    lacking = [*info["missing_keys"], *(one[0] for one in info["mismatched_keys"])]
    inside = [key for key in lacking if kind in WHOLE or _is_below_head(key, model)]
    poolers = {_pooler_of(key) for key in inside} - {""}
    first = next((key for key in sorted(inside) if not _pooler_of(key)), None)
    if first is not None:
        raise ValueError(
            f"model {name} must hold the weights of its network ({type(model).__name__}), as its "
            f"config describes it; {first} is not in its files, or has another shape there"
        )
    for key, weight in model.state_dict().items():
        if key not in lacking and not weight.isfinite().all():
            raise ValueError(f"model {name} must hold finite weights; {key} is not")
    return model, sorted(poolers)


def weights_dtype(kind: str, arguments: Any) -> "torch.dtype":
    """Choose the precision of a model's weights, whatever that of its files is.

    The files of some models, such as DeBERTa-v3-base and LLaMA2, are in float16, and transformers
    takes their precision. A new head of float16 cannot be trained: Adam's epsilon, 1e-8, is 0
    there, and every weight becomes NaN.

    Args:
        kind: class of transformers, such as AutoModel.
        arguments: of transformers' trainer.

    Returns:
        float32; the half precision that training asks for where nothing but adapters is trained,
        which PEFT keeps in float32.
    """
    import torch

    if kind != LANGUAGE_MODEL or not (arguments.bf16 or arguments.fp16):
        return torch.float32
    return torch.bfloat16 if arguments.bf16 else torch.float16


def _is_below_head(key: str, model: Any) -> bool:
    base = model.base_model_prefix
    return bool(base) and hasattr(model, base) and key.startswith(f"{base}.")


def _pooler_of(key: str) -> str:
    """Name of the pooler that a weight belongs to; empty for another weight."""
    parts = key.split(".")
    return ".".join(parts[: parts.index(POOLER) + 1]) if POOLER in parts else ""


def _loaded(kind: str, name: str, **settings: Any) -> Any:
    import transformers

    _check_name(name)
    try:
        with _quiet():
            return getattr(transformers, kind).from_pretrained(name, **settings)
    except MemoryError:
        raise
    except Exception as error:  # whatever its readers say of files that are none of theirs
        damaged = _damaged_file(Path(name))
        reason = damaged or _in_one_line(error)
        raise ValueError(f"model {name} cannot be loaded: {reason}") from None


def _check_name(name: str) -> None:
    """Refuse a path where there is no folder, which is no name on the hub either."""
    path = Path(name)
    looks_like_a_path = path.is_absolute() or name.startswith((".", "~")) or path.is_file()
    if not name or (looks_like_a_path and not path.is_dir()):
        found = "is a file" if name and path.is_file() else "is not there"
        raise ValueError(f"model must be a folder, or a name on the hub; {name!r} {found}")


def _damaged_file(folder: Path) -> str:
    """Say which file of a local folder is no object of JSON and should be one."""
    for name in OBJECTS:
        file = folder / name
        if not file.is_file():
            continue
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            return f"{name} is no JSON: {error}"
        if not isinstance(found, dict):
            return f"{name} must be an object, as in {{...}}; it is a {type(found).__name__}"
    return ""


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    known = isinstance(error, ValueError | OSError) and said
    return said if known else f"{type(error).__name__}: {said}"


def require_package(name: str, extra: str = "text") -> None:
    """Check that an optional package is installed.

    Args:
        name: of the package, as it is imported.
        extra: of this project that installs it.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec(name) is None:
        raise ValueError(f"package {name} is needed: pip install 'lora-dropout[{extra}]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and notes off the terminal."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
