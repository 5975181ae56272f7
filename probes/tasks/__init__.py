"""The tasks, by the names that ``--task`` takes."""

from collections.abc import Callable

from probes.tasks.breast_cancer import breast_cancer
from probes.tasks.digits import digits
from probes.tasks.ridge import ridge
from probes.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "digits": digits,
    "breast_cancer": breast_cancer,
    "ridge": ridge,
}

__all__ = ["TASKS", "Task", "load_task"]


def load_task(name: str) -> Task:
    """Load a task.

    Raises:
        ValueError: an unknown name, or data that are not finite.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {name!r}")
    task = TASKS[name]()
    for what, values in (("features", task.features), ("targets", task.targets)):
        if not values.isfinite().all():
            raise ValueError(
                f"the {what} of task {name!r} must be finite, but hold NaN or infinity"
            )
    return task
