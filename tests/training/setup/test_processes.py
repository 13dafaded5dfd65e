"""One network learns on several processes where that can be; elsewhere it is refused with the reason and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

import sightline
from sightline.errors import InvalidValue
from sightline.training.setup.processes import check_batch, check_jobs, check_processes

FAST = sightline.recipe("fast")


@pytest.mark.parametrize("processes", [0, -1, 2.0, True, "2", None, float("nan")])
def test_a_number_of_processes_that_is_none_is_refused(processes: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^processes must be a whole number of at least 1; got"):
        check_processes(processes, FAST, "jax", on="ray")


def test_one_process_is_what_is_usual_on_every_backend() -> None:
    for backend in ("tensorflow", "jax", "torch"):
        check_processes(1, FAST, backend)
    check_processes(4, FAST, "jax", on="ray")
    check_processes(2, FAST, "jax", on="ray://head")


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("tensorflow", "fails there with TensorFlow's strategies"),
        ("torch", "a network of its own there, and says noth"),
    ],
)
def test_other_backends_are_refused_with_the_reason_and_the_remedy(backend: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^processes=2 need the backend 'jax': .*{why}.*Pass --backend jax; got"):
        check_processes(2, FAST, backend, on="ray")


@pytest.mark.parametrize(
    ("keys", "options", "words"),
    [
        ({}, {}, "are processes of Ray, of this machine or of a cluster. Pass --on ray"),
        ({}, {"on": "spark"}, "on must name where the work is done; got 'spark'"),
        ({}, {"on": "ray", "jobs": 2}, "let one network learn, and jobs=2 members of an ensemble"),
        ({"ensemble.kind": "deep"}, {"on": "ray"}, "leave processes out, and set jobs=2"),
        ({"training.time_budget_seconds": 60}, {"on": "ray"}, "planned by the speed of one process. Set training.epo"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_do(keys: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        check_processes(2, sightline.recipe("fast", keys), "jax", **options)


def test_a_head_on_features_is_fitted_by_one_process() -> None:
    with pytest.raises(InvalidValue, match=r"recipe transfer fits a head on features that one process computes"):
        check_processes(2, sightline.recipe("transfer"), "jax", on="ray")


@pytest.mark.parametrize(
    ("processes", "batch_size", "others"), [(2, 65, "64 or 66"), (3, 128, "126 or 129"), (4, 3, "4"), (3, 2, "3")]
)
def test_batches_that_do_not_divide_are_refused_with_those_that_do(
    processes: int, batch_size: int, others: str
) -> None:
    with pytest.raises(InvalidValue, match=rf"training.batch_size={batch_size} does not .* Set .*={others}\.$"):
        check_batch(processes, batch_size)
    check_batch(processes, int(others.split()[0]))
    check_batch(1, batch_size)


def test_a_cluster_for_one_network_is_told_of_processes() -> None:
    with pytest.raises(InvalidValue, match=r"Set ensemble\.kind; or processes, to let one network learn on several"):
        check_jobs(1, FAST, on="ray")
