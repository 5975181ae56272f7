# mypy: ignore-errors
# ruff: noqa: ANN001
"""The whole training of a replica in one program of a GPU, in Triton.

Replicas do not depend on each other: each is one program that takes all steps by itself, so that
nothing but the factors and Adam's state is ever written to memory. Where the network is small, the
activations of a step would take a GPU longer to write and read than to compute.

The network is W2 relu(W1 x + b1) + b2, its updates B1 A1 and B2 A2 under masks. Sides are filled up
to multiples of 16, which products need.

Tensor cores multiply numbers of TF32. A float32 is the sum of a high part, which is one, and a low
part, which nearly is: a product is high by high, high by low and low by high. Of a rank of at most
8, the high and the low parts fill a side of 16 together, so that two products are all four.
"""

import triton
import triton.language as tl


@triton.jit
def _read(start, width, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Read a matrix of ``width`` numbers a row, 0 beyond its ``rows`` and ``columns``."""
    i, j = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(start + i * width + j, (i < rows) & (j < columns), 0.0)


@triton.jit
def _mask(start, drawn, side, SIDE: tl.constexpr):
    at = tl.arange(0, SIDE)
    return tl.load(start + drawn * side + at, at < side, 0.0)[None, :]


@triton.jit
def _parts(x):
    """Return the high part, rounded to nearest, and the low part of a float32."""
    high = ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def _twice(x):
    """Return a matrix and, below it, the same."""
    rows: tl.constexpr = x.shape[0]
    columns: tl.constexpr = x.shape[1]
    return tl.broadcast_to(x[None], (2, rows, columns)).reshape(2 * rows, columns)


@triton.jit
def _stacked(x):
    """Return the low parts of a matrix and, below them, the high ones.

    Tensor cores add rows in order and round toward zero: what is small comes first.
    """
    high, low = _parts(_twice(x))
    return tl.where(tl.arange(0, 2 * x.shape[0])[:, None] < x.shape[0], low, high)


@triton.jit
def _product(a, b, PRECISION: tl.constexpr):
    if PRECISION == "ieee":
        product = tl.dot(a, b, input_precision="ieee")
    else:
        a_high, a_low = _parts(a)
        b_high, b_low = _parts(b)
        product = tl.dot(a_low, b_high, input_precision="tf32")
        product = tl.dot(a_high, b_low, product, input_precision="tf32")
        product = tl.dot(a_high, b_high, product, input_precision="tf32")
    return product


@triton.jit
def _product_of_rank(a, b, PRECISION: tl.constexpr):
    """Return a b, where a has a row for each rank."""
    if a.shape[0] < 16:
        stacked = _stacked(a)
        high, low = _parts(b)
        product = tl.dot(stacked, low, input_precision="tf32")
        product = tl.dot(stacked, high, product, input_precision="tf32")
        product = tl.sum(product.reshape(2, a.shape[0], b.shape[1]), 0)
    else:
        product = _product(a, b, PRECISION)
    return product


@triton.jit
def _sum_over_rank(a, b, PRECISION: tl.constexpr):
    """Return a' b, where a and b have a row for each rank."""
    if a.shape[0] < 16:
        stacked = _stacked(b)
        high, low = _parts(tl.trans(_twice(a)))
        product = tl.dot(low, stacked, input_precision="tf32")
        product = tl.dot(high, stacked, product, input_precision="tf32")
    else:
        product = _product(tl.trans(a), b, PRECISION)
    return product


@triton.jit
def _output_gradient(output, targets, rows, LOSS: tl.constexpr):
    """As in ``probes.models.losses``; ``rows`` says which outputs there are."""
    if LOSS == "cross-entropy":
        output = tl.where(rows, output, float("-inf"))
        powers = tl.exp(output - tl.max(output, 0)[None, :])
        gradient = powers / tl.sum(powers, 0)[None, :] - targets
    elif LOSS == "logistic":
        gradient = tl.sigmoid(output) - targets
    else:
        gradient = 2 * (output - targets)
    return gradient


@triton.jit
def _adam(
    trained, first, second, row, side, rank, gradient, rate, correction, keep,
    RANK: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    """Step one factor, (rank, side), that begins at a row of the trained numbers."""
    i, j = tl.arange(0, RANK)[:, None], tl.arange(0, SIDE)[None, :]
    at, known = row + i * side + j, (i < rank) & (j < side)
    m = 0.9 * tl.load(first + at, known, 0.0) + 0.1 * gradient
    v = 0.999 * tl.load(second + at, known, 0.0) + 0.001 * gradient * gradient
    tl.store(first + at, m, known)
    tl.store(second + at, v, known)
    before = tl.load(trained + at, known, 0.0)
    after = keep * before - rate * m / (tl.sqrt(v) * correction + 1e-8)
    tl.store(trained + at, after, known)


@triton.jit(do_not_specialize=["start", "stop", "replicas", "cell_replicas", "cells", "samples"])
def train_replica(
    trained, first, second, features, frozen, targets, weights, weight_2, bias_2,
    in_1, out_1, in_2, out_2, rates, start, stop, replicas, cell_replicas, cells, examples, samples,
    scaling, keep,
    d: tl.constexpr, h: tl.constexpr, k: tl.constexpr, r: tl.constexpr,
    D: tl.constexpr, H: tl.constexpr, K: tl.constexpr, R: tl.constexpr, M: tl.constexpr,
    LOSS: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Take the steps from ``start`` to ``stop`` for one replica.

    Args:
        trained, first, second: factors, laid out as ``Network.views``, and Adam's moments.
        features, frozen, targets: of every cell, (C, d, m), (C, h, m) and (C, k, m); ``frozen`` is
            W1 x + b1.
        weights: of the examples, (C R, m).
        weight_2, bias_2: W2, (k, h), and b2, (k,).
        in_1, out_1, in_2, out_2: masks, (steps, N, C, side).
        rates: of every step lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), (steps, 2).
        start, stop: the steps.
        replicas, cell_replicas, cells: C R, R, C.
        examples, samples: m and N.
        scaling: alpha / r.
        keep: 1 - lr * weight_decay.
        d, h, k, r: d_in, the hidden width, the number of outputs, the rank.
        D, H, K, R: the same, filled up.
        M: examples that are computed at once.
        LOSS: its name.
        PRECISION: of products for all examples, "ieee" or, by tensor cores, "tf32x3".
    """
    # Of 64 bits, as are then the places that are computed from it: of the masks there may be many.
    replica = tl.program_id(0).to(tl.int64)
    cell = replica // cell_replicas
    # Where this replica's A1, B1', A2 and B2' begin.
    row_A1 = replica * r * d
    row_B1 = replicas * r * d + replica * r * h
    row_A2 = replicas * r * (d + h) + replica * r * h
    row_B2 = replicas * r * (d + 2 * h) + replica * r * k
    # Rows of A1 and B1.
    S: tl.constexpr = 8 if PRECISION != "ieee" and r <= 8 else R
    outputs = tl.arange(0, K)
    there = (outputs < k)[:, None]
    bias = tl.load(bias_2 + outputs, outputs < k, 0.0)[:, None]
    for step in range(start, stop):
        grad_A1 = tl.zeros((S, D), tl.float32)
        grad_B1 = tl.zeros((S, H), tl.float32)
        grad_A2 = tl.zeros((R, H), tl.float32)
        grad_B2 = tl.zeros((R, K), tl.float32)
        for sample in range(samples):
            drawn = (step * samples + sample) * cells + cell
            A1 = _read(trained + row_A1, d, r, d, S, D) * _mask(in_1, drawn, d, D)
            B1 = _read(trained + row_B1, h, r, h, S, H) * (scaling * _mask(out_1, drawn, h, H))
            A2 = _read(trained + row_A2, h, r, h, R, H) * _mask(in_2, drawn, h, H)
            B2 = _read(trained + row_B2, k, r, k, R, K) * (scaling * _mask(out_2, drawn, k, K))
            W2 = _read(weight_2, h, k, h, K, H)
            # In float32, as is all that is computed once: other layouts would take more registers.
            W2 = tl.dot(tl.trans(B2), A2, W2, input_precision="ieee")
            # Of A1 and B1 without their masks, and of W2.
            by_A1 = tl.zeros((S, D), tl.float32)
            by_B1 = tl.zeros((S, H), tl.float32)
            by_W2 = tl.zeros((K, H), tl.float32)
            for begin in range(0, examples, M):
                some = begin + tl.arange(0, M)
                left = examples - begin
                x = _read(features + cell * d * examples + begin, examples, d, left, D, M)
                y = _read(frozen + cell * h * examples + begin, examples, h, left, H, M)
                t = _read(targets + cell * k * examples + begin, examples, k, left, K, M)
                weight = tl.load(weights + replica * examples + some, some < examples, 0.0)
                z = _product_of_rank(A1, x, PRECISION)
                y += _sum_over_rank(B1, z, PRECISION)
                y = tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)
                o = _product(W2, y, PRECISION) + bias
                g = _output_gradient(o, t, there, LOSS) * (weight / samples)[None, :]
                g = tl.where(there & (some < examples)[None, :], g, 0.0)
                by_W2 += _product(g, tl.trans(y), PRECISION)
                g_y = _product(tl.trans(W2), g, PRECISION)
                g_y = tl.where(y <= 0, 0.0, g_y)
                by_B1 += _product_of_rank(z, tl.trans(g_y), PRECISION)
                g_z = _product_of_rank(B1, g_y, PRECISION)
                by_A1 += _product_of_rank(g_z, tl.trans(x), PRECISION)
            # Read again: held all the while, they would fall out of the registers.
            grad_A1 += by_A1 * _mask(in_1, drawn, d, D)
            grad_B1 += by_B1 * (scaling * _mask(out_1, drawn, h, H))
            mask_A2, mask_B2 = _mask(in_2, drawn, h, H), scaling * _mask(out_2, drawn, k, K)
            B2 = _read(trained + row_B2, k, r, k, R, K) * mask_B2
            grad_A2 += tl.dot(B2, by_W2, input_precision="ieee") * mask_A2
            A2 = _read(trained + row_A2, h, r, h, R, H) * mask_A2
            grad_B2 += tl.dot(A2, tl.trans(by_W2), input_precision="ieee") * mask_B2
        rate, correction = tl.load(rates + 2 * step), tl.load(rates + 2 * step + 1)
        _adam(trained, first, second, row_A1, d, r, grad_A1, rate, correction, keep, S, D)
        _adam(trained, first, second, row_B1, h, r, grad_B1, rate, correction, keep, S, H)
        _adam(trained, first, second, row_A2, h, r, grad_A2, rate, correction, keep, R, H)
        _adam(trained, first, second, row_B2, k, r, grad_B2, rate, correction, keep, R, K)
        # A thread reads what others wrote.
        tl.debug_barrier()
