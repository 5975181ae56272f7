"""Probes as subprocesses, as a user runs them."""

import subprocess
import sys


def run_probe(name, *arguments, cwd):
    """Run ``python -m probes.NAME`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", f"probes.{name}", *arguments], cwd=cwd, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip


def assert_refused(name, arguments, words, folder):
    """Bad input: one line on standard error, exit status 2, nothing printed, nothing written."""
    before = sorted(folder.rglob("*"))
    done = run_probe(name, *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert sorted(folder.rglob("*")) == before
