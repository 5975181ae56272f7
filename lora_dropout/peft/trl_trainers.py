"""Trainers of TRL that N samples have to know of, by name: TRL need not be installed."""

from typing import Any

#: They generate what they train on within a step.
DRAW_THEIR_DATA = (
    "GRPOTrainer", "RLOOTrainer", "OnlineDPOTrainer", "NashMDTrainer", "XPOTrainer", "PPOTrainer",
    "GKDTrainer", "MiniLLMTrainer",
)  # fmt: skip
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
    kind = type(trainer)
    draws = _is_one_of(kind, DRAW_THEIR_DATA) or hasattr(kind, "_generate_and_score_completions")
    if samples > 1 and draws:
        raise ValueError(
            f"samples must be 1 in {kind.__name__}, whose every pass draws data of its own; "
            f"got {samples}"
        )


def compares_with_averages(trainer: Any) -> bool:
    """Whether a trainer's loss compares rows with an average over them."""
    return _is_one_of(type(trainer), COMPARE_WITH_AVERAGES)


def _is_one_of(kind: type, names: tuple[str, ...]) -> bool:
    return not {one.__name__ for one in kind.__mro__}.isdisjoint(names)
