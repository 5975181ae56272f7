"""What is imported is not searched for garbage after every training."""

import gc

import pytest


@pytest.fixture(autouse=True, scope="package")
def _imported_is_no_garbage():
    """Accelerate collects garbage at the end of a training, which took half of a tiny one."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
