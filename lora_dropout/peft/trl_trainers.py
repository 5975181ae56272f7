"""Trainers of TRL that N samples have to know of; TRL need not be installed."""

import sys
from typing import Any

#: What a module of TRL imports whose trainer generates, within a step, what it trains on.
GENERATES = "unwrap_model_for_generation"
#: Others get it from elsewhere while they train.
ASYNCHRONOUS = ("AsyncGRPOTrainer", "AsyncDistillationTrainer")
#: Their loss compares rows with an average over the batch, or over those before. In the first batch
#: that may be 0 whatever the rows are, so that gradients say nothing of it.
COMPARE_WITH_AVERAGES = ("KTOTrainer", "BCOTrainer")


def refuse_own_data(trainer: Any, samples: int) -> None:
    """Refuse N samples where a step of training draws data of its own, for each anew.

    Args:
        trainer: of transformers or TRL.
        samples: N, at least 1.

    Raises:
        ValueError: N is above 1, and the trainer draws data.
    """
    if samples > 1 and draws_own_data(trainer):
        raise ValueError(
            f"samples must be 1 in {type(trainer).__name__}, whose every pass draws data of its "
            f"own; got {samples}"
        )


def draws_own_data(trainer: Any) -> bool:
    """Whether a step of training draws data of its own; its loss is then none of the model's."""
    kind = type(trainer)
    of_trl = [one.__module__ for one in kind.__mro__ if one.__module__.partition(".")[0] == "trl"]
    generates = any(GENERATES in vars(sys.modules[name]) for name in of_trl)
    return generates or _is_one_of(kind, ASYNCHRONOUS)


def compares_with_averages(trainer: Any) -> bool:
    """Whether a trainer's loss compares rows with an average over them."""
    return _is_one_of(type(trainer), COMPARE_WITH_AVERAGES)


def _is_one_of(kind: type, names: tuple[str, ...]) -> bool:
    return not {one.__name__ for one in kind.__mro__}.isdisjoint(names)
