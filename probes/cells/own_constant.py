"""The best prediction of a model of one's own that is the same for every example."""

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from probes.cells.output_kinds import kind_of
from probes.tasks.own_model import OwnModel, of_users_code
from probes.training.own_training import own_outputs

#: Iterations of L-BFGS of one search.
ITERATIONS = 100
#: Step with which a search begins, and whether it gives the loss copies, as one that views outputs
#: as of another shape or changes them needs; each only where the search before was cut short.
SEARCHES = [(1.0, False), *((0.3**power, True) for power in range(12))]


def best_constant_of(own: OwnModel, index: Tensor) -> tuple[float, float]:
    """Find the best outputs that are the same for every example, by L-BFGS.

    Outputs are of the kind that the model's are: see ``probes.cells.output_kinds``. Where it tries
    outputs whose loss is not known, as that of a rate below 0, it goes on from the best ones so far
    with a smaller step.

    Args:
        own: its loss and score judge; every floating-point tensor in what its model returns, with
            the examples along the first dimension, is such an output.
        index: places of the examples.

    Returns:
        Mean loss, the least that was found, and mean score there; the score is NaN if there is
        none. The loss is inf where the model returns no such output, or none has a loss.
    """
    constant = _Constant(own, index)
    for step, copied in SEARCHES if constant.free else ():
        if constant.search(step, copied):
            break
    return constant.loss, constant.score


class _Constant:
    """Outputs that are the same for every example, and the best of those that were tried."""

    def __init__(self, own: OwnModel, index: Tensor) -> None:
        self.own, self.targets = own, own.targets[index]
        outputs = own_outputs(copy.deepcopy(own.model).eval(), own.features[index])
        self.leaves, self.form = _pytree.tree_flatten(outputs)
        self.kinds = {
            place: kind_of(leaf.detach())
            for place, leaf in enumerate(self.leaves)
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim()
            and len(leaf) == len(index)
        }  # fmt: skip
        self.free = {place: kind.start.requires_grad_() for place, kind in self.kinds.items()}
        self.loss, self.score = float("inf"), float("nan")
        self.best: list[Tensor] = []

    def search(self, step: float, copied: bool) -> bool:
        """Search from the best outputs so far; return whether that ended by itself."""
        with torch.no_grad():
            for one, value in zip(self.free.values(), self.best, strict=False):
                one.copy_(value)
        optimizer = torch.optim.LBFGS(
            list(self.free.values()), step, max_iter=ITERATIONS, line_search_fn="strong_wolfe"
        )
        try:
            optimizer.step(partial(self._loss, optimizer, copied))
        except _UnknownLossError:
            return False
        return True

    def _loss(self, optimizer: torch.optim.Optimizer, copied: bool) -> Tensor:
        optimizer.zero_grad()
        outputs = self._outputs(copied)
        try:
            with of_users_code("own.loss"):
                loss = self.own.loss(outputs, self.targets).mean()
                if -math.inf < loss.item() < self.loss:
                    self._keep(loss, outputs)
                loss.backward()
        except ValueError as error:
            raise _UnknownLossError from error
        found = [loss, *(one.grad for one in self.free.values() if one.grad is not None)]
        if not all(bool(one.isfinite().all()) for one in found):
            raise _UnknownLossError
        return loss

    def _outputs(self, copied: bool) -> Any:
        made = list(self.leaves)
        for place, one in self.free.items():
            each = self.kinds[place].outputs(one).expand_as(made[place])
            made[place] = each.clone(memory_format=torch.contiguous_format) if copied else each
        return _pytree.tree_unflatten(made, self.form)

    def _keep(self, loss: Tensor, outputs: Any) -> None:
        score = float("nan")
        if self.own.score is not None:
            score = self.own.score(outputs, self.targets).double().mean().item()
        self.loss, self.score = loss.item(), score
        self.best = [one.detach().clone() for one in self.free.values()]


class _UnknownLossError(Exception):
    """A loss of outputs that were tried is not finite, or its function fails."""
