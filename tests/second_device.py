"""A device that computes on the CPU and refuses to mix its tensors with the CPU's: a pytest plugin.

    python -m pytest -p tests.second_device -m cuda

runs the tests that are marked for a CUDA device on it. Code that passes keeps what it computes
with on one device, as CUDA asks; of CUDA's kernels, graphs and speed that says nothing.
"""

from contextlib import ContextDecorator, nullcontext

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from probes.jobs import validation as checks
from tests import devices

NAME = "second"
aten = torch.ops.aten
#: As on CUDA, these go from one device to the other, and these take indices of the CPU.
COPIES = (aten._to_copy, aten.copy_)
INDEXED = (aten.index, aten.index_put, aten.index_put_)


class Placed(Tensor):
    """A tensor of the second device; ``held`` is the one of the CPU behind it."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Placed":
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _compute(function, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Makes the device known to operations that have no tensor of it among their arguments."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _compute(function, args, kwargs or {})


class AsItIs(nullcontext, ContextDecorator):
    """Changes nothing, around a block or a function."""


def _tensors(values):
    """Tensors among the arguments of an operation, and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _compute(function, args, kwargs):
    given = list(_tensors((*args, *kwargs.values())))
    placed = {id(tensor.held): tensor for tensor in given if isinstance(tensor, Placed)}
    asked = kwargs.get("device")
    lands = bool(placed) if asked is None else torch.device(asked).type == NAME
    if not placed and not lands:
        return function(*args, **kwargs)
    packet = function.overloadpacket
    if placed and packet not in COPIES + INDEXED:
        # A number is taken from either device.
        strangers = [t for t in given if not isinstance(t, Placed) and t.dim() > 0]
        assert not strangers, f"{function} mixes devices: {[tuple(t.shape) for t in strangers]}"
    if packet is aten.copy_:
        lands = isinstance(args[0], Placed)
    if asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map(lambda x: x.held if isinstance(x, Placed) else x, (args, kwargs))

    def place(made):
        if id(made) in placed:
            return placed[id(made)]
        return Placed(made) if lands and isinstance(made, Tensor) else made

    return tree_map(place, function(*args, **kwargs))


def pytest_configure() -> None:
    """Register the device and put it in the place of CUDA."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    devices.DEVICES[1:] = [pytest.param(f"{NAME}:0", marks=pytest.mark.cuda)]
    there = checks.available_devices()
    checks.available_devices = lambda: [*there, f"{NAME}:0"]
    # Tensors of a subclass cannot be made in inference mode.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else AsItIs()


@pytest.fixture(autouse=True)
def _second_device():
    with SecondDevice():
        yield
