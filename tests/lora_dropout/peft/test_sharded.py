"""Trainings of which no process holds all the parameters are those of one process."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.lora_dropout.peft.sharded import straight_and_resumed
from tests.torchrun import two_processes

ROOT = Path(__file__).parents[3]
DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)
#: Relative: sums in another order; the rounding unit of bfloat16, which losses are returned in.
EXACT, ROUGH = 2e-5, 2**-8


def adapter(folder):
    return load_file(folder / "saved" / "adapter_model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["fsdp2", pytest.param("zero2", marks=DEEPSPEED), pytest.param("zero3", marks=DEEPSPEED)],
)
def test_two_ranks_train_resume_and_save_as_one(kind, tmp_path, monkeypatch):
    """In float32 and in bfloat16: parts of a batch, samples, checkpoints, and the adapter."""
    alone = straight_and_resumed("one", tmp_path / "one", True)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    two_processes("tests.lora_dropout.peft.sharded", str(tmp_path), kind, cwd=ROOT, path=path)
    for name, tolerance in (("float32", EXACT), ("bfloat16", ROUGH)):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        expected = "FSDP" if kind == "fsdp2" else "DEEPSPEED"
        assert found["distributed"] == f"DistributedType.{expected}"
        for way in ("straight", "resumed"):
            assert found[way] == pytest.approx(alone[way], rel=tolerance)
        assert len(set(found["straight"])) == 4
    whole, saved = adapter(tmp_path / "one"), adapter(tmp_path / "float32")
    assert whole.keys() == saved.keys()
    for key, value in whole.items():
        torch.testing.assert_close(saved[key], value, rtol=1e-3, atol=EXACT)
    assert adapter(tmp_path / "bfloat16").keys() == whole.keys()
