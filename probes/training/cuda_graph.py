"""A training step as a CUDA graph: one launch in place of some thirty.

At the sizes of a probe a GPU waits for the launches. The graph reads the masks from memory of its
own, into which those of every step are copied.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from probes.models.network import Masks

Step = Callable[[Masks], None]
#: Records a function and returns a function that runs it again.
Recorder = Callable[[Callable[[], None]], Callable[[], None]]
#: Steps before the capture: libraries set themselves up in their first calls.
WARM_UP = 3


def capture(step: Callable[[], None]) -> Callable[[], None]:
    """Capture a call as a CUDA graph on the current device; return its replay."""
    side = _side_stream(torch.cuda.current_device())
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # The stream of the warm-up: what libraries set up is then not set up in the graph's own memory.
    with torch.cuda.graph(graph, stream=side):
        step()
    return graph.replay


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """The stream that graphs of a device are captured on.

    One for all, as cuBLAS keeps 32 MiB on an H100 for every stream that it was called on.
    """
    return torch.cuda.Stream(device)


def captured(step: Step, masks: Masks, state: Sequence[Tensor], record: Recorder = capture) -> Step:
    """Return the same step, captured.

    Args:
        step: takes one training step; everything but the masks must stay where it is in memory.
        masks: of any step, for their shapes.
        state: all that a step changes; it is as before when this returns.
        record: how the step is captured; it may run it.

    Returns:
        A step that copies its masks into memory of its own and replays what was captured. The masks
        must be shaped as ``masks``.
    """
    held = [(mask_in.clone(), mask_out.clone()) for mask_in, mask_out in masks]
    before = [tensor.clone() for tensor in state]
    with torch.cuda.device_of(state[0]):
        replay = record(lambda: step(held))
    for tensor, kept in zip(state, before, strict=True):
        tensor.copy_(kept)

    def take(masks: Masks) -> None:
        for own, given in zip(held, masks, strict=True):
            for memory, mask in zip(own, given, strict=True):
                memory.copy_(mask)
        replay()

    return take
