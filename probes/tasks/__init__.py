"""The tasks, by the names that ``--task`` takes."""

from collections.abc import Callable

from probes.jobs.validation import check_one_of
from probes.tasks.breast_cancer import breast_cancer
from probes.tasks.digits import digits
from probes.tasks.ridge import ridge
from probes.tasks.task import FeedForwardTask, Task
from probes.tasks.text import TextSource, text_task
from probes.tasks.tweets import clean_tweets
from probes.tasks.vector_checks import check_vectors

#: Tasks of vectors. The text tasks, "tweets" and "text", need a source.
TASKS: dict[str, Callable[[], FeedForwardTask]] = {
    "digits": digits,
    "breast_cancer": breast_cancer,
    "ridge": ridge,
}
TEXT_TASKS = ("tweets", "text")

__all__ = ["TASKS", "TEXT_TASKS", "FeedForwardTask", "Task", "TextSource", "load_task"]


def load_task(name: str, text: TextSource | None = None) -> Task:
    """Load a task.

    Args:
        name: of the task, one of ``TASKS`` or ``TEXT_TASKS``.
        text: files and model of a text task; None for a task of vectors.

    Returns:
        The task. Tensors of a task of vectors fit each other and are finite.

    Raises:
        ValueError: an unknown name, or data that cannot be used.
    """
    if name in TEXT_TASKS and text is not None:
        return text_task(name, text, clean_tweets if name == "tweets" else None)
    return _vectors(name)


def _vectors(name: str) -> FeedForwardTask:
    if name not in TASKS:
        check_one_of("task", name, (*TASKS, *TEXT_TASKS))
    task = TASKS[name]()
    check_vectors(name, task)
    return task
