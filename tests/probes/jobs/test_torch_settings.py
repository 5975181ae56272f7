"""What a notebook has set in PyTorch changes nothing of what is measured, and is left as it was."""

import pytest
import torch
from transformers.modeling_utils import local_torch_dtype

from probes.stability import measure


def known_settings():
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
    )


def measured():
    return measure(p=0.5, ensemble=2, n=4, draws=1, steps=2).rows


@pytest.fixture(scope="module")
def usual():
    return measured()


@pytest.mark.parametrize(
    "setting",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.device("meta"),
        lambda: local_torch_dtype(torch.float64),
    ],
    ids=["no_grad", "inference_mode", "autocast", "default device", "default dtype"],
)
def test_a_setting_of_the_notebook_changes_nothing(setting, usual):
    with setting():
        before = known_settings()
        assert measured().equals(usual)
        assert known_settings() == before
