"""What a run was: settings, versions, machine, time, so that its numbers can be had again."""

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from probes.jobs.atomic_files import write_whole
from probes.jobs.fingerprint import code_fingerprint

PACKAGES = ("lora-dropout", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def write_manifest(path: Path, settings: Any, seconds: float, cells: Sequence[str] = ()) -> None:
    """Write the manifest of a finished run as JSON.

    Args:
        path: of the file.
        settings: of the run, a dataclass.
        seconds: wall time, in which cells that were there already took none.
        cells: names of its cell files.
    """
    device = getattr(settings, "device", "cpu")
    content = {
        "settings": asdict(settings) | {"out": str(settings.out)},
        "versions": versions(),
        "code": code_fingerprint(),
        "git": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "cells": list(cells),
    }
    write_whole(path, lambda place: place.write_text(json.dumps(content, indent=2) + "\n"))


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    return {name: version(name) for name in PACKAGES}


def environment() -> dict[str, str]:
    """What the numbers were made with, as words."""
    return {
        **versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": device_name("cpu"),
        "git": git_revision() or "not in a checkout",
        "code": code_fingerprint(),
    }


def device_name(device: str) -> str:
    """Name the hardware behind a device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """Revision of the checkout that the code runs from, "+" if changed; None outside of one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed: Any = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
