"""Workers of a script: they do not run it again."""

import os
import signal
import subprocess
import sys
import time

import pytest

WORK = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Work:
    replica_steps: int = 1

def run(job, progress):
    return {}
"""
SCRIPT = """
print("top", flush=True)
from probes.jobs.job import silent
from probes.jobs.local_engine import run_in_workers
{work}
for job, tables in run_in_workers(1, [Work()], run, silent):
    print(tables)
"""

pytestmark = pytest.mark.slow


def python(script, folder):
    """Run a script from standard input or, as a file, from a folder."""
    (folder / "work.py").write_text(WORK)
    (folder / "script.py").write_text(script)
    return [
        subprocess.Popen(
            [sys.executable, *words], cwd=folder, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) for words in (["-"], ["script.py"])
    ]  # fmt: skip


def test_a_script_without_a_main_guard_measures_once(tmp_path):
    script = SCRIPT.format(work="from work import Work, run")
    for process in python(script, tmp_path):
        said, complaint = process.communicate(script, timeout=120)
        assert process.returncode == 0, complaint
        assert said.splitlines() == ["top", "{}"]


def test_a_script_that_workers_must_run_again_is_told_how(tmp_path):
    script = SCRIPT.format(work=WORK)
    for process in python(script, tmp_path):
        _, complaint = process.communicate(script, timeout=120)
        assert process.returncode == 1
        assert 'measure below if __name__ == "__main__":' in complaint.splitlines()[-1]


BROKEN = """
import threading
from contextlib import suppress
from probes.jobs.job import silent
from probes.jobs.local_engine import run_in_workers
{work}
with suppress(ValueError):
    list(run_in_workers(1, [Work()], run, silent))
print(threading.active_count())
"""


def test_a_broken_pool_leaves_no_thread_behind():
    said = subprocess.run(
        [sys.executable, "-"], input=BROKEN.format(work=WORK), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, timeout=120, check=True,
    )  # fmt: skip
    assert said.stdout == "1\n"


LONG = """
import os, time
from dataclasses import dataclass

@dataclass(frozen=True)
class Work:
    replica_steps: int = 1

def run(job, progress):
    print(os.getpid(), flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path, how):
    (tmp_path / "work.py").write_text(LONG)
    script = SCRIPT.format(work="from work import Work, run")
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "top\n"
        worker = int(process.stdout.readline())
        process.send_signal(how)
        assert process.wait(timeout=60) == -how
    deadline = time.monotonic() + 30
    while is_there(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_there(number):
    """Whether a process runs; one that has ended and that nobody asked for does not."""
    try:
        os.kill(number, 0)
        with open(f"/proc/{number}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
