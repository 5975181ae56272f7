"""What modules remember of a text between two passes, beside any cache: each member has its own.

RecurrentGemma's recurrent layers hold their states themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class MemberStates:
    """Tensors that modules hold as attributes, and neither as parameters nor as buffers.

    Args:
        model: whose modules are looked at.
        ensemble: N, the number of members.
    """

    def __init__(self, model: nn.Module, ensemble: int) -> None:
        self._modules = list(model.modules())
        self._states: list[list[tuple[dict[str, Any], str, Tensor]]] = [[] for _ in range(ensemble)]

    @contextmanager
    def of(self, member: int) -> Iterator[None]:
        """Within the block, in which a member passes, modules remember what it left.

        Args:
            member: its number, 0 to N - 1.
        """
        for attributes, name, value in self._states[member]:
            attributes[name] = value
        yield
        self._states[member] = [
            (vars(module), name, value)
            for module in self._modules
            for name, value in vars(module).items()
            if isinstance(value, Tensor)
        ]
