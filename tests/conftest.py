"""Profiles of Hypothesis, one thread for products so small that threads only wait, a small disk."""

import gc
import os
import subprocess

# Before torch is imported, and for every process that a test starts: two threads of each of two
# workers wait for each other longer than they compute.
os.environ["OMP_NUM_THREADS"] = "1"

import matplotlib as mpl
import pytest
import torch
from hypothesis import HealthCheck, settings

mpl.use("agg")
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.register_profile(
    "long", parent=settings.get_profile("ci"), derandomize=False, max_examples=2000
)
settings.register_profile("quick", parent=settings.get_profile("ci"), max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: what a worker begins last is soon done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def pytest_collectstart():
    """Modules that tests make where they are imported have the same weights in any order."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seeded():
    """What a test draws without a generator is the same whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _what_stays_is_no_garbage():
    """Accelerate collects garbage after every training: all that was imported is left out."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def undrawn(monkeypatch):
    """No figures are kept: to draw them takes longer than a small measurement."""
    for result in ("result.Result", "stability_result.StabilityResult"):
        monkeypatch.setattr(f"probes.results.{result}.figures", lambda result: {})


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 128 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    # A checkpoint that a run went on from may still be mapped.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
