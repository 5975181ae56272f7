"""What trainers of TRL write down for their log in every call of their loss."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Where they write it.
NOTES = ("_metrics", "_stored_metrics", "_total_train_tokens", "_logs")
#: Of these, the number of tokens that were trained on, and its name in the log.
TOKENS, LOGGED_TOKENS = "_total_train_tokens", "num_tokens"


@contextmanager
def without_notes(trainer: Any) -> Iterator[None]:
    """Within the block, what a trainer writes down for its log is forgotten.

    Args:
        trainer: of transformers or TRL.
    """
    before = {name: copy.deepcopy(vars(trainer)[name]) for name in NOTES if name in vars(trainer)}
    try:
        yield
    finally:
        vars(trainer).update(before)


@contextmanager
def counted_once(trainer: Any, samples: int) -> Iterator[None]:
    """Within the block, tokens of a batch that is passed N times are counted once.

    Args:
        trainer: of transformers or TRL.
        samples: N, at least 1.
    """
    before = vars(trainer).get(TOKENS)
    yield
    if before is None or samples == 1:
        return
    counted = before + (vars(trainer)[TOKENS] - before) // samples
    vars(trainer)[TOKENS] = counted
    trainer._metrics["train"][LOGGED_TOKENS] = [counted]
