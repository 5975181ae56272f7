"""Profiles of Hypothesis, and one thread for products so small that threads only wait."""

import os

import matplotlib as mpl
import pytest
import torch
from hypothesis import HealthCheck, settings

mpl.use("agg")
settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "long", parent=settings.get_profile("ci"), derandomize=False, max_examples=2000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
