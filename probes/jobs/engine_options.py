"""The settings of an engine, which every probe that runs cells has."""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

from probes.jobs.validation import check_count, check_left_out, check_one_of, require

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineOptions:
    """Where cells run. Their numbers are the same everywhere, given the same number of threads."""

    workers: int = 1
    """Number of parallel worker processes, each of one thread (engine local). Starting them takes
    seconds. The numbers equal those of one process with OMP_NUM_THREADS=1; more threads round
    otherwise. A script that uses workers needs the usual guard: if __name__ == "__main__"."""

    engine: str = "local"
    """local, or ray: the cells run on Ray (extra cluster), on this machine or on a cluster."""

    address: str | None = None
    """Ray: address of a running cluster, such as auto or HOST:6379; its nodes need this project
    installed. Default: this machine."""

    cpus_per_cell: int = 1
    """Ray: cores, and threads, of a cell or a part of one."""

    gpus_per_cell: float = 0.0
    """Ray: GPUs of a cell or a part of one; a half lets two share one."""

    @property
    def engine_options(self) -> "EngineOptions":
        """These options alone."""
        return EngineOptions(**self.engine_settings)

    @property
    def engine_settings(self) -> dict[str, Any]:
        """These options alone, by name."""
        return {field.name: getattr(self, field.name) for field in fields(EngineOptions)}

    def check_engine(self) -> None:
        """Raise ``ValueError`` unless the values are in range and fit together."""
        check_count("workers", self.workers)
        check_one_of("engine", self.engine, ENGINES)
        check_count("cpus_per_cell", self.cpus_per_cell)
        gpus = self.gpus_per_cell
        require(0 <= gpus < float("inf"), "gpus_per_cell", "at least 0 and finite", gpus)
        if self.engine == "ray":
            require(
                find_spec("ray") is not None, "engine",
                "local, as Ray is not installed (pip install 'lora-dropout[cluster]')", "ray",
            )  # fmt: skip
            return
        only_ray = ("address", "cpus_per_cell", "gpus_per_cell")
        check_left_out(self, only_ray, "without engine ray")
