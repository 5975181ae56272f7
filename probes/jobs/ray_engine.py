"""Cells on Ray: this machine's cores, or a cluster. Placing and retrying are Ray's own."""

import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any
from urllib.parse import urlsplit

import torch

from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import J, Progress, RunJob, SplitJobRunner, Tables, silent

#: Ray's number for unlimited retries of tasks whose worker or node was lost.
ENDLESSLY = -1
#: Seconds that a cluster has to accept a connection.
PATIENCE = 10


def run_on_ray(
    options: EngineOptions, jobs: Sequence[J], run: RunJob[J], progress: Progress
) -> Iterator[tuple[J, Tables]]:
    """Run jobs as Ray tasks.

    Where there are fewer jobs than places for them, those that can be are split into parts.

    Args:
        options: address of the cluster, cores and GPUs of a job.
        jobs, run: as for :func:`probes.jobs.engines.run_jobs`; they can be pickled.
        progress: told the steps of a job when it is done.

    Yields:
        Each job with its tables, in the order in which they are done.

    Raises:
        ValueError: there is no such cluster, or none of its nodes has what a job asks for.
    """
    import ray

    with _connected(options):
        waiting = _submit(options, jobs, run)
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(done)
            try:
                tables = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                # What went wrong in the job itself, as if it had run here.
                raise error.cause from None
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[0]
                raise ValueError(f"the cluster failed, finished cells are kept: {reason}") from None
            yield job, tables
            progress(job.replica_steps)


def _submit(options: EngineOptions, jobs: Sequence[J], run: RunJob[J]) -> dict[Any, J]:
    """Hand all jobs to Ray; return what stands for the tables of each."""
    import ray

    settings = {
        "num_cpus": options.cpus_per_cell, "num_gpus": options.gpus_per_cell,
        "max_retries": ENDLESSLY,
    }  # fmt: skip
    remote: Any = ray.remote
    whole, part, join = (remote(task).options(**settings) for task in (_whole, _part, _join))
    pieces = _places(options) // max(1, len(jobs))
    kept, threads = ray.put(run), options.cpus_per_cell
    waiting = {}
    for job in jobs:
        named = run.split(job, pieces) if pieces > 1 and isinstance(run, SplitJobRunner) else []
        if len(named) > 1:
            parts = [part.remote(kept, job, one, threads) for one in named]
            waiting[join.remote(kept, job, threads, *parts)] = job
        else:
            waiting[whole.remote(kept, job, threads)] = job
    return waiting


def _places(options: EngineOptions) -> int:
    """How many jobs the cluster can run at once."""
    import ray

    there = ray.cluster_resources()
    asked = {"CPU": options.cpus_per_cell, "GPU": options.gpus_per_cell}
    for kind, amount in asked.items():
        most = max(node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"])
        if amount > most:
            raise ValueError(
                f"{kind.lower()}s_per_cell must be at most {most:g}, what the largest node has; "
                f"got {amount:g}"
            )
    return int(min(there.get(kind, 0) // amount for kind, amount in asked.items() if amount))


@contextmanager
def _connected(options: EngineOptions) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine that ends with the sweep."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The default of Ray's next version; without it this version warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if options.address not in (None, "auto"):
        _check_that_somebody_listens(options.address)
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=options.address or "local",
            include_dashboard=None if options.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises what its own processes say, of any kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if options.address is None:
            raise ValueError(
                f"engine ray could not be started on this machine: {reason}; --engine local needs "
                "no Ray"
            ) from None
        raise ValueError(
            f"address must be that of a running cluster; got {options.address} ({reason}; one that "
            "asks for a token is reached by auto, or with RAY_AUTH_MODE=token)"
        ) from None
    try:
        if callable(on_termination) and current_thread() is main_thread():
            # Ray has put its own in the place of the command line's.
            signal.signal(signal.SIGTERM, on_termination)
        yield
    finally:
        ray.shutdown()


def _check_that_somebody_listens(address: str) -> None:
    """Raise ``ValueError`` unless a server listens there; Ray itself would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        with socket.create_connection((place.hostname or "", place.port or 0), PATIENCE):
            pass
    except (OSError, ValueError) as error:
        raise ValueError(
            f"address must be auto or that of a running cluster, HOST:PORT; got {address} ({error})"
        ) from None


def _whole(run: RunJob[J], job: J, threads: int) -> Tables:
    torch.set_num_threads(threads)
    return run(job, silent)


def _part(run: SplitJobRunner, job: Any, part: object, threads: int) -> object:
    torch.set_num_threads(threads)
    return run.part(job, part)


def _join(run: SplitJobRunner, job: Any, threads: int, *parts: object) -> Tables:
    torch.set_num_threads(threads)
    return run.join(job, list(parts))
