"""Which examples methods are tuned on, and on which examples the chosen settings are measured."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from probes.cells.cell import Cell
from probes.cells.prepare import Prepared, prepare
from probes.tasks import load_task

#: "tuning" and "measuring" have no example in common.
Part = Literal["all", "tuning", "measuring"]
#: Share of the examples that methods are tuned on.
TUNING_SHARE = 0.4
#: Tells the generator of the parts from those of the draws.
PARTS_KEY = 2404_09610


def examples_of(part: Part, examples: int, seed: int) -> Tensor:
    """Return the positions of a part's examples.

    Args:
        part: which.
        examples: of the whole data set.
        seed: of the run.

    Returns:
        Positions, int64; those of "tuning" and "measuring" are disjoint, random, and together all.
    """
    if part == "all":
        return torch.arange(examples)
    order = np.random.default_rng([seed, PARTS_KEY]).permutation(examples)
    end = round(TUNING_SHARE * examples)
    return torch.from_numpy(np.sort(order[:end] if part == "tuning" else order[end:]))


def prepare_part(cell: Cell, part: Part) -> Prepared:
    """Prepare a cell whose S, and whose test set, are drawn from a part of the data.

    Args:
        cell: one draw of S, whose n is below the size of the part.
        part: of the data.

    Returns:
        As of :func:`probes.cells.prepare.prepare`; ``index`` and ``pool`` are those of the part.
    """
    ready = prepare(cell)
    if part == "all":
        return ready
    task = load_task(cell.task, cell.text)
    own = examples_of(part, len(task), cell.seed)
    index = own[np.random.default_rng(cell.seeds()[0]).permutation(len(own))]
    return replace(
        ready,
        train=task.read(ready.network, index[: cell.n]),
        test=task.read(ready.network, index[cell.n :]),
        index=index,
        columns=ready.columns | {"pool": len(own)},
    )
