"""Probes by their command lines: in a process of their own, as a user runs them, or in this one."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
import time
from unittest.mock import patch


def run_probe(name, *arguments, cwd):
    """Run ``python -m probes.NAME`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", f"probes.{name}", *arguments], cwd=cwd, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip


#: Sends itself a signal when so many cells are kept: a test that waits for them may come too late.
SIGNALLED = """
import os, runpy, sys
from probes.jobs.store import Store

kept, how = (int(sys.argv.pop(1)) for _ in range(2))
save, saved = Store.save, []

def save_and_signal(*arguments):
    save(*arguments)
    saved.append(arguments)
    if len(saved) == kept:
        os.kill(os.getpid(), how)

Store.save = save_and_signal
runpy.run_module("probes.stability", run_name="__main__", alter_sys=True)
"""


def start_sweep(folder, *arguments, cwd, signalled=None):
    """Start ``python -m probes.stability`` with one thread, as a user does.

    Args:
        folder: of its output.
        *arguments: further words.
        cwd: folder that it is started in.
        signalled: a number of cells, and the signal that comes when it has kept them.
    """
    if signalled is None:
        module = ["-m", "probes.stability"]
    else:
        module = ["-c", SIGNALLED, *(str(int(one)) for one in signalled)]
    return subprocess.Popen(
        [sys.executable, *module, "--out", str(folder), *arguments],
        cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def await_cells(folder, count, process):
    """Wait until so many cells are finished."""
    deadline = time.monotonic() + 180
    while len(list(folder.glob("cells/*.parquet"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no cell was finished"
        time.sleep(0.02)


def run_here(name, *arguments, cwd):
    """Run a probe's command line in this process, where its packages are imported already."""
    words = [f"probes.{name}", *arguments]
    said, complaint = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.chdir(cwd), patch.object(sys, "argv", words),
            contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint),
        ):  # fmt: skip
            question(name).main()
    except SystemExit as stop:
        return subprocess.CompletedProcess(
            words, stop.code, said.getvalue(), complaint.getvalue()
        )  # fmt: skip
    raise AssertionError("a command line always exits")


def question(name):
    """What has the command line of a question: its module, or its probe."""
    if name == "report":
        return importlib.import_module("probes.report.__main__")
    module = importlib.import_module(f"probes.{name}")
    return module if hasattr(module, "main") else module.PROBE


def assert_refused(name, arguments, words, folder, run=run_here):
    """Bad input: one line on standard error, exit status 2, nothing printed, nothing written."""
    before = sorted(folder.rglob("*"))
    done = run(name, *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert sorted(folder.rglob("*")) == before
