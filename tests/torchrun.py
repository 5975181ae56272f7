"""Two processes that train together, as a user starts them."""

import os
import subprocess
import sys


def two_processes(module, *arguments, cwd, path=None):
    """Run ``torchrun --nproc-per-node 2 -m MODULE ...``; all of them have to end well.

    Args:
        module: what is run.
        *arguments: its own.
        cwd: folder that it is run in.
        path: folder to import from; default: what is installed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", module, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done
