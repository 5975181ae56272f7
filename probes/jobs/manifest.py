"""The record of a run: settings, versions, machine and time, to reproduce its numbers."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from probes.jobs.atomic_files import write_whole

#: Name of a run's manifest in its folder.
MANIFEST = "manifest.json"
PACKAGES = ("lora-dropout", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def write_manifest(
    path: Path,
    settings: Mapping[str, Any],
    seconds: float,
    code: str,
    cells: Sequence[str],
    files: Sequence[str],
    question: str,
) -> None:
    """Write the manifest of a finished run as JSON.

    Args:
        path: of the file.
        settings: of the run; a value that JSON does not know is written as text.
        seconds: wall time, in which cells that were there already took none.
        code: fingerprint of the code that the numbers come from.
        cells: names of its cell files.
        files: names of the tables and figures that it wrote beside the manifest.
        question: that was asked.
    """
    content = {
        "question": question,
        "settings": settings,
        "versions": versions(),
        "code": code,
        "git": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(settings.get("device", "cpu")),
        "threads": torch.get_num_threads(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "cells": list(cells),
        "files": list(files),
    }
    text = json.dumps(content, indent=2, default=str)
    write_whole(path, lambda place: place.write_text(text + "\n"))


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
        # Without a lock on the index, at which a commit that is made meanwhile would fail.
        command = ["git", "--no-optional-locks", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed: Any = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
