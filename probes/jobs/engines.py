"""Where jobs run: in this process, in others beside it, or on a Ray cluster."""

from collections.abc import Iterator, Sequence

from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import J, Progress, RunJob, Tables
from probes.jobs.local_engine import run_here, run_in_workers


def run_jobs(
    options: EngineOptions, jobs: Sequence[J], run: RunJob[J], progress: Progress
) -> Iterator[tuple[J, Tables]]:
    """Run jobs, in the order that suits the engine.

    Args:
        options: which engine, and its settings.
        jobs: what is run.
        run: what a job is; a function of a module, as other processes import it.
        progress: told the number of steps done since the last call.

    Yields:
        Each job with its tables, when it is done.
    """
    if not jobs:
        return iter(())
    if options.engine == "ray":
        # Ray is an extra, and takes a second to import.
        from probes.jobs.ray_engine import run_on_ray

        return run_on_ray(options, jobs, run, progress)
    if options.workers > 1:
        return run_in_workers(options.workers, jobs, run, progress)
    return run_here(jobs, run, progress)
