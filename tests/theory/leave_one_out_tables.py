"""Losses of every example under every index left out: whatever a fixed algorithm can do."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

LOSSES = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)


@st.composite
def tables(draw, fitted=False):
    """Losses in [0, 1], (n + 1 left out, n + 1); fitted, 0 off the diagonal."""
    size = draw(st.integers(2, 6))
    losses = draw(arrays.arrays(np.float64, (size, size), elements=LOSSES))
    return np.diag(np.diag(losses)) if fitted else losses


def leave_one_out_gap(losses):
    """Mean over the index of the loss left out, less the mean of the others."""
    size = len(losses)
    left = np.trace(losses) / size
    return left - (losses.sum() / size - left) / (size - 1)
