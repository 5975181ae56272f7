"""A Ray cluster of several nodes on this machine, and ways to harm it."""

import signal
import time
from contextlib import contextmanager, suppress

import psutil

#: A sweep that takes some five seconds on two nodes of one core, and its number of cells.
SWEEP = ("--task", "digits", "--n", "48", "--p", "0.1", "0.5", "--draws", "4", "--steps", "300")
CELLS = 8
#: The prefix that Ray gives a worker's name while it runs a task.
RUNNING = "ray::_"


@contextmanager
def local_cluster():
    """Start a cluster whose head runs nothing."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def running_workers():
    """Processes that run a task of Ray, on a cluster that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        # It may have ended meanwhile.
        with suppress(psutil.NoSuchProcess):
            words = process.cmdline() or [""]
            if words[0].startswith(RUNNING):
                found.append(process)
    return found


def kill_a_worker():
    """Kill a process that runs a task; wait for one."""
    deadline = time.monotonic() + 60
    while not (found := running_workers()):
        assert time.monotonic() < deadline, "no task is running"
        time.sleep(0.01)
    found[0].send_signal(signal.SIGKILL)
