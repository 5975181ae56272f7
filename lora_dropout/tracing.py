"""Passes that are written down, to be computed later or never, and what must not be."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes


def is_traced() -> bool:
    """Whether a pass is written down now: ``torch.jit.trace``, ``linearize``, ``make_fx``, fakes.

    Its tensors may have no values. What it writes down knows tensors, and not what is written to
    them between two of their uses.
    """
    kinds = torch._C._TorchDispatchModeKey
    modes = (torch._C._get_dispatch_mode(kind) for kind in (kinds.FAKE, kinds.PROXY))
    return torch.jit.is_tracing() or any(mode is not None for mode in modes)


@contextmanager
def with_values() -> Iterator[None]:
    """Within the block, what is made has values, and no transform writes it down."""
    if not is_traced():
        yield
        return
    with _disable_current_modes():
        yield
