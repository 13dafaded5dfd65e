"""How many processes a training may have, and where."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.integrations.ray.cluster import check_on
from sightline.integrations.ray.workers import cluster_map
from sightline.system.backends import load_keras
from sightline.system.workers import Map, available_processors, process_map


def check_jobs(jobs: int, recipe: Recipe, *, on: str | None = None) -> None:
    """Refuse a number of processes that cannot be, here or on a cluster, or that nothing can be spread over."""
    check_on(on)
    if not (type(jobs) is int and jobs >= 1):
        raise InvalidValue(f"jobs must be a whole number of at least 1; got {jobs!r}.")
    if jobs == 1 and on is None:
        return
    said, name = (f"jobs={jobs}", "jobs") if on is None else (f"on={on!r}", "on")
    if recipe.ensemble.kind == "none":
        raise InvalidValue(f"{said} trains members of an ensemble at once, and there is none. Set ensemble.kind.")
    if recipe.ensemble.kind == "boosting":
        raise InvalidValue(
            f"{said}: members of a boosted ensemble build on one another and are trained in turn. Leave {name} out."
        )
    if on is None and jobs > available_processors():
        raise InvalidValue(
            f"jobs={jobs} processes are more than there are processors to use, {available_processors()}. "
            "Set as many or fewer."
        )


def members_map(
    jobs: int, on: str | None, backend: str, *, lost: Callable[[Any], Any]
) -> AbstractContextManager[Map | None]:
    """What members are trained by: processes here, or those of a cluster; each begins with Keras on this backend."""
    begin = functools.partial(load_keras, backend)
    if on is None:
        return process_map(jobs, begin, lost=lost)
    return cluster_map(on, a_node=jobs, start=begin)
