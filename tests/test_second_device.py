"""What runs on a GPU keeps its tensors on one device: seen without one, by a pretended device."""

import subprocess
import sys

import pytest
import torch
from torch.utils import backend_registration

from tests.devices import DEVICES

#: Not known to a pretended device, and too slow on it.
LEFT_OUT = "not autocast and not compile and not ridge"


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch knows no devices written in Python",
)
def test_what_is_for_cuda_runs_on_a_second_device():
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "tests.second_device", "-p", "no:cacheprovider",
        "-m", "cuda", "-k", LEFT_OUT, "tests",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("device", DEVICES[1:])
def test_devices_do_not_mix(device):
    with pytest.raises((RuntimeError, AssertionError), match="device"):
        torch.ones(2, device=device) + torch.ones(2)
