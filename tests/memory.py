"""What stays in memory."""

import gc
from contextlib import contextmanager


@contextmanager
def without_collection():
    """Within the block, what only cycles of references hold stays in memory."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
