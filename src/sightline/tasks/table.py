"""The tasks that there are, by the names that manifests call them; and what is refused for several labels."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from sightline.errors import InvalidValue
from sightline.tasks.multi_label import MULTI_LABEL
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

TASKS: Final[dict[str, Task]] = {task.name: task for task in (SINGLE_LABEL, MULTI_LABEL)}


def has_several_labels(task: Task) -> bool:
    """Whether an image may have several labels, or none: labels are a row of zeros and ones."""
    return task.name == MULTI_LABEL.name


def task_of(labels: NDArray[Any]) -> Task:
    """What labels are, by their shape: a number an image, or a row of zeros and ones."""
    return MULTI_LABEL if labels.ndim == 2 else SINGLE_LABEL


def refuse_several_labels(task: Task, what: str, why: str) -> None:
    """Refuse what only goes where each image has one class, with an InvalidValue that says why."""
    if has_several_labels(task):
        raise InvalidValue(f"{what} is for one class an image, and here an image has several labels: {why}")
