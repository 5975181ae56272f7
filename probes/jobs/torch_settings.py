"""PyTorch as it is in a new process, whatever a notebook has set before."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def usual_torch_settings() -> Iterator[None]:
    """Differentiate, in the dtypes of the tensors, on the CPU where no device is named.

    So it is in every worker process: what is measured must not depend on where it is measured.

    Yields:
        While gradients are on, and autocast and the caller's default device are off.
    """
    with ExitStack() as settings:
        if torch.is_inference_mode_enabled():
            settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        # Entered only where it differs: every operation below it takes longer.
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        yield
