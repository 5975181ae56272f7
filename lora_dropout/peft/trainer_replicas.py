"""One process with several GPUs, for which transformers' trainer takes ``nn.DataParallel``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def without_replicas(trainer: Any, model: nn.Module) -> Iterator[nn.Module]:
    """Within the block, a model computes itself, and not its replicas on several GPUs.

    Replicas are called in threads of their own, in which nothing is averaged.

    Args:
        trainer: of transformers, which has the whole batch on one GPU.
        model: the trainer's, in ``nn.DataParallel`` or not.

    Yields:
        The model to be called.
    """
    args = trainer.args
    before, args._n_gpu = args.n_gpu, min(args.n_gpu, 1)
    try:
        yield model.module if isinstance(model, nn.DataParallel) else model
    finally:
        args._n_gpu = before
