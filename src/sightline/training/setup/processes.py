"""How many processes a training may have, and where: members of an ensemble each by itself, one network together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sightline.configuration.consistency import is_pretrained
from sightline.configuration.schema import Recipe
from sightline.errors import InvalidValue
from sightline.integrations.ray.cluster import check_on
from sightline.integrations.ray.workers import cluster_map
from sightline.system.backends import load_keras
from sightline.system.workers import Map, available_processors, process_map

# Why one network cannot learn on several processes of a backend (Keras 3.15).
_ALONE = {
    "tensorflow": "Keras' own training fails there with TensorFlow's strategies",
    "torch": "Keras' own training lets each process of PyTorch learn a network of its own there, and says nothing",
}


def check_processes(processes: int, recipe: Recipe, backend: str, *, on: str | None = None, jobs: int = 1) -> None:
    """Refuse several processes that cannot let one network learn together; one is what is usual."""
    if not (type(processes) is int and processes >= 1):
        raise InvalidValue(f"processes must be a whole number of at least 1; got {processes!r}.")
    if processes == 1:
        return
    check_on(on)
    said = f"processes={processes}"
    if recipe.ensemble.kind != "none":
        raise InvalidValue(
            f"{said} let one network learn together; members of an ensemble are trained each by itself, several at "
            f"once: leave processes out, and set jobs={processes}."
        )
    if jobs != 1:
        raise InvalidValue(
            f"{said} let one network learn, and jobs={jobs} members of an ensemble. Leave one of them out."
        )
    if backend != "jax":
        raise InvalidValue(f"{said} need the backend 'jax': {_ALONE[backend]}. Pass --backend jax; got {backend!r}.")
    if on is None:
        raise InvalidValue(f"{said} are processes of Ray, of this machine or of a cluster. Pass --on ray.")
    if is_pretrained(recipe):
        raise InvalidValue(
            f"{said}: recipe {recipe.name} fits a head on features that one process computes, and fine-tunes by what "
            "that brings. Leave processes out, or name a recipe that learns from nothing: photos, or fast."
        )
    if recipe.training.time_budget_seconds is not None:
        raise InvalidValue(
            f"{said}: training.time_budget_seconds is planned by the speed of one process. Set training.epochs."
        )


def check_batch(processes: int, batch_size: int) -> None:
    """Refuse batches of which each process cannot have as much as the others."""
    if batch_size % processes:
        least = max(batch_size // processes, 1) * processes
        others = f"{least} or {least + processes}" if least < batch_size else str(least)
        raise InvalidValue(
            f"processes={processes} have equal parts of each batch, and training.batch_size={batch_size} does not "
            f"divide by {processes}. Set training.batch_size={others}."
        )


def begin_on_one_processor() -> None:
    """Have JAX compute in one thread, which gives the same digits each time, as several do not; before it is loaded."""
    os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1"}


def check_jobs(jobs: int, recipe: Recipe, *, on: str | None = None) -> None:
    """Refuse a number of processes that cannot be, here or on a cluster, or that nothing can be spread over."""
    check_on(on)
    if not (type(jobs) is int and jobs >= 1):
        raise InvalidValue(f"jobs must be a whole number of at least 1; got {jobs!r}.")
    if jobs == 1 and on is None:
        return
    said, name = (f"jobs={jobs}", "jobs") if on is None else (f"on={on!r}", "on")
    if recipe.ensemble.kind == "none":
        more = "" if on is None else "; or processes, to let one network learn on several of them"
        raise InvalidValue(f"{said} trains members of an ensemble at once, and there is none. Set ensemble.kind{more}.")
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
