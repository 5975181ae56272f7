"""The peer in JAX: full-batch Adam in a scan over the steps, all replicas by vmap, compiled.

Products are as exact as PyTorch's: on recent GPUs JAX would round the factors of float32 products
to the 10 bits of TF32, which PyTorch does only if it is asked to.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.interleaved_timing import Variant


def array(tensor: Tensor) -> Any:
    """Hand a tensor to JAX, with float64 and full precision of products switched on."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")
    if tensor.dtype == torch.float64:
        jax.config.update("jax_enable_x64", True)
    return jnp.asarray(tensor.numpy())


def compiled_training(
    loss: Callable[[list, Any, list], Any],
    start: list[Tensor],
    weights: Tensor,
    masks: list[Tensor],
    lr: float,
    cells: bool = False,
) -> Callable[[], list[Tensor]]:
    """Compile the training of all replicas; return what runs it, which returns their factors.

    Args:
        loss: of factors, example weights (m,) and one step's masks; of one replica.
        start: one replica's factors.
        weights: of all replicas, (R, m).
        masks: of every kind, (steps, ...) each; of several cells (cells, steps, ...).
        cells: whether they are.
        lr: learning rate of Adam.

    Returns:
        A function that trains on the device that was JAX's default when this was called. Its
        factors are on the CPU, the replicas first, or the cells and then the replicas.
    """
    import jax
    import jax.numpy as jnp

    begin, drawn, rows = list(map(array, start)), list(map(array, masks)), array(weights)

    def train(weight: Any, drawn: list) -> list:
        def step(state: tuple, step_masks: list) -> tuple:
            factors, first, second, count = state
            grads = jax.grad(loss)(factors, weight, step_masks)
            count = count + 1
            first = [0.9 * m + 0.1 * g for m, g in zip(first, grads, strict=True)]
            second = [0.999 * v + 0.001 * g * g for v, g in zip(second, grads, strict=True)]
            rate, correction = lr / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
            factors = [
                f - rate * m / (jnp.sqrt(v) / correction + 1e-8)
                for f, m, v in zip(factors, first, second, strict=True)
            ]
            return (factors, first, second, count), None

        zeros = [jnp.zeros_like(factor) for factor in begin]
        (factors, *_), _ = jax.lax.scan(step, (begin, zeros, zeros, 0.0), drawn)
        return factors

    run = jax.vmap(train, (0, None))
    run = jax.vmap(run, (None, 0)) if cells else run
    compiled = jax.jit(run).lower(rows, drawn).compile()
    return lambda: [torch.from_numpy(np.array(factor)) for factor in compiled(rows, drawn)]


def peer_variant(
    name: str,
    prepare: Callable[[], Callable[[], Tensor]],
    replicas: int,
    platform: str | None = None,
) -> list[Variant]:
    """The peer, on JAX's own device or a platform's.

    It is left out, and said why, where it cannot be run: the machine's JAX may not fit its driver,
    which is no reason to measure nothing else.

    Args:
        name: of the variant.
        prepare: compiles the training and returns what runs it.
        replicas: that it trains.
        platform: "cpu" for the CPU; None for JAX's own device.

    Returns:
        The variant, once it has run; nothing where it does not run.
    """
    if not find_spec("jax"):
        print("jax is not installed: left out")
        return []
    jax: Any = import_module("jax")
    try:
        with jax.default_device(platform and jax.devices(platform)[0]):
            run = prepare()
            run()
    except Exception as error:  # whatever its compiler, driver and libraries say
        print(f"{name} is left out: {repr(error)[:300]}")
        return []
    return [Variant(name, lambda: run().cpu(), replicas)]
