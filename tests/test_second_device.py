"""What runs on a GPU keeps its tensors on one device: seen without one, by a pretended device."""

import ast
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch.utils import backend_registration

from tests.devices import DEVICES

pytestmark = pytest.mark.slow
#: Words in names of tests: not known to a pretended device, and too slow on it.
LEFT_OUT = ("autocast", "compile", "ridge")
TESTS = Path(__file__).parent
#: Those with tests on devices: to import all others would take as long as these tests.
FILES = [file for file in sorted(TESTS.rglob("test_*.py")) if "DEVICES" in file.read_text("utf-8")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Every test of a run on a pretended device: its name, and why it was skipped, if it was."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch knows no devices written in Python")
    written = tmp_path_factory.mktemp("second") / "junit.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "tests.second_device", "-p", "no:cacheprovider",
        "-m", "cuda", "-k", " and ".join(f"not {word}" for word in LEFT_OUT),
        f"--junitxml={written}", *map(str, FILES),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return list(_cases(written))


def test_every_test_on_devices_passed_on_the_second(ran):
    passed = {name.partition("[")[0] for name, skipped in ran if skipped is None}
    assert passed == set(_written())
    assert all("second:0" in name for name, skipped in ran if skipped is None)


def test_none_was_skipped_for_lack_of_a_device(ran):
    """What says nothing of a device, that a model has no batch say, may be skipped."""
    skipped = [reason for _, reason in ran if reason is not None]
    assert not [reason for reason in skipped if "device" in reason or "CUDA" in reason]
    assert len(ran) - len(skipped) >= len(set(_written()))


@pytest.mark.parametrize("device", DEVICES[1:])
def test_devices_do_not_mix(device):
    with pytest.raises((RuntimeError, AssertionError), match="device"):
        torch.ones(2, device=device) + torch.ones(2)


def _cases(junit):
    for case in ElementTree.parse(junit).iter("testcase"):
        skipped = case.find("skipped")
        reason = None if skipped is None else skipped.get("message", "")
        yield f"{case.get('classname')}.{case.get('name')}", reason


def _written():
    """Names of the tests whose source takes its devices from ``DEVICES``, less those left out."""
    for file in FILES:
        module = ".".join(file.relative_to(TESTS.parent).with_suffix("").parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            decorators = getattr(node, "decorator_list", [])
            name = f"{module}.{getattr(node, 'name', '')}"
            if any("DEVICES" in ast.unparse(one) for one in decorators) and not any(
                word in name for word in LEFT_OUT
            ):
                yield name
