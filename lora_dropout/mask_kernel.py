# mypy: ignore-errors
# ruff: noqa: ANN001
"""Masks drawn where they are used: numpy's Philox generator as a program of a GPU, in Triton.

A block of the generator, four words of 64 bits, is a function of its number, its key and the rest
of its counter; a word gives two numbers. So every program computes its own, and none waits.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x64-10).
"""

import triton
import triton.language as tl

#: What a round multiplies by, and what is added to the keys between rounds.
FIRST_FACTOR = tl.constexpr(0xD2E7470EE14C6C93)
SECOND_FACTOR = tl.constexpr(0xCA5A826395121157)
FIRST_WEYL = tl.constexpr(0x9E3779B97F4A7C15)
SECOND_WEYL = tl.constexpr(0xBB67AE8584CAA73B)
#: Columns of the tables of layers and of rates, and entries a block.
COLUMNS, RATES, ENTRIES = tl.constexpr(6), tl.constexpr(4), tl.constexpr(8)


@triton.jit
def _unsigned(number):
    return number.to(tl.int64).to(tl.uint64, bitcast=True)


@triton.jit
def _philox(block, layer, sample, step, seed):
    """Four words of every block, which numpy numbers from 1."""
    a, b, c, d = block + 1, block * 0 + layer, block * 0 + sample, block * 0 + step
    first_key, second_key = seed, seed * 0
    for _ in tl.static_range(10):
        high_a, low_a = tl.umulhi(a, FIRST_FACTOR), a * FIRST_FACTOR
        high_c, low_c = tl.umulhi(c, SECOND_FACTOR), c * SECOND_FACTOR
        a, b, c, d = high_c ^ b ^ first_key, low_c, high_a ^ d ^ second_key, low_a
        first_key, second_key = first_key + FIRST_WEYL, second_key + SECOND_WEYL
    return a, b, c, d


@triton.jit
def _write(start, rates, number, entry, d_in, sides, column_in, column_out):
    """Write an entry of every block, of the upper 24 bits of a number of 32."""
    uniform = ((number & 0xFFFFFFFF) >> 8).to(tl.float32) * (1.0 / 16777216)
    of_in = entry < d_in
    rate = tl.where(of_in, tl.load(rates), tl.load(rates + 1))
    kept = tl.where(of_in, tl.load(rates + 2), tl.load(rates + 3))
    column = tl.where(of_in, column_in + entry, column_out + entry - d_in)
    mask = tl.where(uniform >= rate, kept, 0.0).to(start.dtype.element_ty)
    tl.store(start + column, mask, entry < sides)


@triton.jit
def _write_word(start, rates, word, entry, d_in, sides, column_in, column_out):
    _write(start, rates, word, entry, d_in, sides, column_in, column_out)
    _write(start, rates, word >> 32, entry + 1, d_in, sides, column_in, column_out)


@triton.jit(do_not_specialize=["width", "step", "sample", "samples"])
def draw_rows(memory, width, layers, rates, step, sample, samples, BLOCKS: tl.constexpr) -> None:
    """Draw the masks of a layer for a step and a sample: programs are (row, layer, blocks).

    Args:
        memory: where to write, (rows, width), the samples of the first step, then of the next.
        width: entries a row.
        layers: of every layer seed, number, d_in, d_in + d_out, and the columns in which its masks
            begin, (L, 6), int64.
        rates: of every layer p_in, p_out, and what kept entries are, (L, 4), float32.
        step: the first; in [0, 2**64) as a signed number.
        sample: the first.
        samples: of every step.
        BLOCKS: that a program draws.
    """
    row = tl.program_id(0).to(tl.int64)
    layer = layers + COLUMNS * tl.program_id(1)
    rates += RATES * tl.program_id(1)
    d_in, sides = tl.load(layer + 2), tl.load(layer + 3)
    block = (tl.program_id(2) * BLOCKS + tl.arange(0, BLOCKS)).to(tl.int64)
    a, b, c, d = _philox(
        _unsigned(block),
        _unsigned(tl.load(layer + 1)),
        _unsigned(sample + row % samples),
        _unsigned(step + row // samples),
        _unsigned(tl.load(layer)),
    )
    start, entry = memory + row * width, ENTRIES * block
    column_in, column_out = tl.load(layer + 4), tl.load(layer + 5)
    _write_word(start, rates, a, entry, d_in, sides, column_in, column_out)
    _write_word(start, rates, b, entry + 2, d_in, sides, column_in, column_out)
    _write_word(start, rates, c, entry + 4, d_in, sides, column_in, column_out)
    _write_word(start, rates, d, entry + 6, d_in, sides, column_in, column_out)
