"""The tasks that there are, by the names that manifests call them."""

from __future__ import annotations

from typing import Final

from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

TASKS: Final[dict[str, Task]] = {task.name: task for task in (SINGLE_LABEL,)}
