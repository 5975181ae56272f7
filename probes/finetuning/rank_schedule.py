"""When AdaLoRA takes ranks away, and how many: by the user's numbers, or by shares of ours."""

import math
from dataclasses import dataclass
from typing import Any

from probes.jobs.amounts import how_many

#: Shares of the steps and of the rank at the end, where nothing is given; ours.
WARMUP, FINAL, INITIAL = 0.1, 0.2, 1.5


@dataclass(frozen=True)
class RankSchedule:
    """AdaLoRA's schedule as it is given; None for what is not.

    Source: Zhang et al. 2023, arXiv 2303.10512, Eq. 12.

    Attributes:
        init_rank: rank of every update at the start, at least the rank at the end.
        tinit: steps at the start in which no rank is taken away.
        tfinal: steps at the end in which ranks stay as they are.
        delta_t: steps between two changes of the ranks.
    """

    init_rank: int | None = None
    tinit: int | None = None
    tfinal: int | None = None
    delta_t: int = 1

    def initial(self, rank: int) -> int:
        """Rank of every update at the start, where ``rank`` is the average at the end."""
        return self.init_rank or math.ceil(INITIAL * rank)

    def of_training(self, rank: int, steps: int) -> dict[str, Any]:
        """Name the schedule of a training as PEFT's ``AdaLoraConfig`` does.

        Args:
            rank: average rank at the end.
            steps: optimizer steps of the training.

        Returns:
            ``init_r``, ``target_r``, ``total_step``, ``tinit``, ``tfinal`` and ``deltaT``.

        Raises:
            ValueError: no step is left in which ranks are taken away.

        >>> RankSchedule(tinit=5).of_training(rank=4, steps=100)
        {'init_r': 6, 'target_r': 4, 'total_step': 100, 'tinit': 5, 'tfinal': 20, 'deltaT': 1}
        """
        tinit = int(WARMUP * steps) if self.tinit is None else self.tinit
        tfinal = int(FINAL * steps) if self.tfinal is None else self.tfinal
        if tinit + tfinal >= steps:
            raise ValueError(
                f"tinit and tfinal must leave some of the {how_many(steps, 'step')} of training "
                f"for taking ranks away; got {tinit} and {tfinal}"
            )
        return {
            "init_r": self.initial(rank), "target_r": rank,
            "total_step": steps, "tinit": tinit, "tfinal": tfinal, "deltaT": self.delta_t,
        }  # fmt: skip
