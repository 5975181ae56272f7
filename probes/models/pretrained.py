"""Loading pretrained models and tokenizers: nothing is unpickled, nor code run unless trusted."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


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
        ValueError: there is no such model, or it cannot be loaded.
    """
    import transformers

    if "Tokenizer" not in kind:
        settings["use_safetensors"] = True
    try:
        with _quiet():
            return getattr(transformers, kind).from_pretrained(
                name, trust_remote_code=trust_remote_code, **settings
            )
    except MemoryError:
        raise
    except Exception as error:  # whatever its readers say of files that are none of theirs
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"model {name} cannot be loaded: {reason}") from None


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
    """Keep progress bars, notes and what the hub says of a lost network off the terminal."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    before, of_hub = logging.get_verbosity(), hub.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub.set_verbosity_error()
    try:
        yield
    finally:
        hub.set_verbosity(of_hub)
        logging.set_verbosity(before)
        logging.enable_progress_bar()
