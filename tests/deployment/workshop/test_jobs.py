"""A command outlives who started it, can be stopped by who comes later, and says how it ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.deployment.workshop.folders import Root
from sightline.deployment.workshop.jobs import FOLDER, MOST_JOBS, Jobs
from sightline.errors import CannotWrite, InvalidValue
from sightline.system.files import hold_file, is_held


def wait(told: Callable[[], Any], *, seconds: float = 30) -> None:
    latest = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < latest
        time.sleep(0.05)


def test_a_command_says_its_result_and_how_it_ended(tmp_path: Path) -> None:
    jobs = Jobs(Root(tmp_path))
    fine, refused = jobs.start("models", ["models"], {"what": "all"}), jobs.start("runs", ["runs", "nowhere"], {})
    wait(lambda: all(job["state"] != "running" for job in jobs.all()))
    assert [(job["name"], job["state"], job["code"]) for job in jobs.all()] == [
        (refused, "refused", 2),
        (fine, "done", 0),
    ]
    told = jobs.of(fine)
    assert (told["command"], told["about"], told["kind"]) == ("sightline models", {"what": "all"}, "models")
    assert "lenet5" in {row["name"] for row in told["result"]}
    assert jobs.of(refused)["result"] is None
    assert "nowhere: no such folder" in jobs.of(refused)["lines"][-1]


@pytest.mark.skipif(os.name == "nt", reason="the size of files is bounded elsewhere alone")
def test_a_command_that_cannot_be_written_down_is_not_at_work_unseen(tmp_path: Path) -> None:
    import resource

    jobs = Jobs(Root(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # as on a disk with little room left
    try:
        with pytest.raises(CannotWrite, match=r"job\.json"):
            jobs.start("serve", ["serve", "imagenet", "--port", "0"], {"long": "a" * 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not is_held(tmp_path / FOLDER / "0001" / "lock")
    assert (jobs.all(), jobs.num_begun) == ([], 0)


def test_one_that_ended_with_1_and_told_nothing_failed(tmp_path: Path) -> None:
    for number, result in (("0001", '{"findings": []}\n'), ("0002", ""), ("0003", '{"findings": [')):
        place = tmp_path / FOLDER / number
        place.mkdir(parents=True)
        told = {"kind": "audit", "arguments": ["audit", "a"], "about": {}, "pid": 1, "started": 1.0}
        (place / "job.json").write_text(json.dumps(told))
        (place / "result.json").write_text(result)
        (place / "ended.json").write_text('{"code": 1, "ended": 2.0}')
    assert [job["state"] for job in Jobs(Root(tmp_path)).all()] == ["failed", "failed", "done"]


def test_a_folder_of_any_name_is_what_a_command_is_told(tmp_path: Path) -> None:
    jobs = Jobs(Root(tmp_path))
    name = jobs.start("runs", ["runs", "{job}"], {})
    assert jobs.of(name)["command"] == "sightline runs '{job}'"
    wait(lambda: jobs.of(name)["state"] == "refused")


def test_one_run_is_trained_by_one_command_at_a_time(tmp_path: Path) -> None:
    jobs = Jobs(Root(tmp_path))
    first = jobs.start("train", ["serve", "imagenet", "--port", "0"], {"run": "runs/a-001"})
    for kind in ("train", "resume"):
        with pytest.raises(InvalidValue, match="runs/a-001 is being trained already"):
            jobs.start(kind, ["models"], {"run": "runs/a-001"})
    other = jobs.start("train", ["models"], {"run": "runs/a-002"})
    jobs.stop(first, at_once=True)
    wait(lambda: all(job["state"] != "running" for job in jobs.all()))
    assert [job["name"] for job in jobs.all()] == [other, first]
    again = jobs.start("resume", ["models"], {"run": "runs/a-001"})
    wait(lambda: jobs.of(again)["state"] == "done")


def test_nothing_of_the_folder_is_run_as_python(tmp_path: Path) -> None:
    (tmp_path / "sightline.py").write_text("raise SystemExit(70)")
    (tmp_path / "numpy.py").write_text("raise SystemExit(70)")
    jobs = Jobs(Root(tmp_path))
    name = jobs.start("models", ["models"], {})
    wait(lambda: jobs.of(name)["state"] != "running")
    assert jobs.of(name)["code"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True])
def test_a_later_studio_finds_what_an_earlier_one_started_and_stops_it(tmp_path: Path, at_once: bool) -> None:
    name = Jobs(Root(tmp_path)).start("serve", ["serve", "imagenet", "--port", "0"], {})
    later = Jobs(Root(tmp_path))
    wait(lambda: any("serving imagenet" in line for line in later.of(name)["lines"]))
    assert later.of(name)["state"] == "running"
    later.stop(name, at_once=at_once)
    wait(lambda: later.of(name)["code"] is not None)
    assert later.of(name)["state"] in (("stopped",) if at_once else ("stopped", "done"))
    assert (later.of(name)["code"] == 137) == at_once


def test_of_one_that_ended_unheard_whole_json_says_that_it_came_to_its_end(tmp_path: Path) -> None:
    jobs = Jobs(Root(tmp_path))
    for number, result in (("0001", '{"runs": []}'), ("0002", '{"runs": [')):
        place = tmp_path / FOLDER / number
        place.mkdir(parents=True)
        told = {"kind": "runs", "arguments": ["runs"], "about": {}, "pid": 1, "started": 1.0}
        (place / "job.json").write_text(json.dumps(told))
        (place / "result.json").write_text(result)
        (place / "lock").touch()
    assert [job["state"] for job in jobs.all()] == ["unheard", "done"]
    with (tmp_path / FOLDER / "0001" / "lock").open("ab") as held:
        hold_file(held.fileno())
        assert jobs.of("0001")["state"] == "running"
    jobs.stop("0001")  # it is over, so no process of that number is touched
    (tmp_path / FOLDER / "0002" / "stop").touch()
    assert jobs.of("0002")["state"] == "stopped"


def test_no_file_of_a_job_that_is_a_link_is_read_or_written(tmp_path: Path) -> None:
    secret, untouched = tmp_path / "secret.txt", tmp_path / "untouched"
    secret.write_text('{"code": 0, "ended": 2.0}\n')
    place = tmp_path / "pictures" / FOLDER / "0001"
    place.mkdir(parents=True)
    told = {"kind": "audit", "arguments": ["audit", "a"], "about": {}, "pid": 1, "started": 1.0}
    (place / "job.json").write_text(json.dumps(told))
    for name in ("log.txt", "result.json", "ended.json"):
        (place / name).symlink_to(secret)
    (place / "stop").symlink_to(untouched)
    (place / "lock").touch()
    jobs = Jobs(Root(tmp_path / "pictures"))
    found = jobs.of("0001")
    assert (found["lines"], found["result"], found["code"], found["state"]) == ([], None, None, "stopped")
    with (place / "lock").open("ab") as held:  # as a command at work does
        hold_file(held.fileno())
        (place / "job.json").write_text(json.dumps(told | {"pid": 2**22 + 1}))
        jobs.stop("0001")
    assert not untouched.exists()
    (place / "job.json").unlink()
    (place / "job.json").symlink_to(secret)
    with pytest.raises(InvalidValue, match="was not written down whole"):
        jobs.of("0001")
    (place.parent / "0002").symlink_to(place)
    with pytest.raises(InvalidValue, match="no job is called"):
        jobs.of("0002")


def test_of_many_commands_the_last_are_kept_and_none_at_work_goes(tmp_path: Path) -> None:
    told = {"kind": "runs", "arguments": ["runs"], "about": {}, "pid": 1, "started": 1.0}
    for number in (*range(1, MOST_JOBS + 1), 9999):
        place = tmp_path / FOLDER / f"{number:04d}"
        place.mkdir(parents=True)
        (place / "job.json").write_text(json.dumps(told))
        (place / "lock").touch()
    jobs = Jobs(Root(tmp_path))
    with (tmp_path / FOLDER / "0001" / "lock").open("ab") as held:
        hold_file(held.fileno())
        name = jobs.start("models", ["models"], {})
    kept = sorted(int(path.name) for path in (tmp_path / FOLDER).iterdir())
    assert (name, kept) == ("10000", [1, *range(3, MOST_JOBS + 1), 9999, 10_000])
    assert [job["name"] for job in jobs.all()][:2] == ["10000", "9999"]
    wait(lambda: jobs.of(name)["state"] == "done")


@pytest.mark.parametrize("name", ["0009", "..", "../..", "", None, "1", "0001/..", "\u0660\u0661"])
def test_a_job_that_is_none_is_refused(tmp_path: Path, name: object) -> None:
    (tmp_path / FOLDER / "0001").mkdir(parents=True)
    with pytest.raises(InvalidValue, match=r"no job is called|was not written down whole"):
        Jobs(Root(tmp_path)).of(name)


def test_a_folder_of_jobs_that_leads_elsewhere_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "outside" / "0001").mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / FOLDER).symlink_to(tmp_path / "outside")
    jobs = Jobs(Root(tmp_path / "pictures"))
    assert jobs.all() == []
    with pytest.raises(CannotWrite, match="is a link"):
        jobs.start("models", ["models"], {})
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["0001"]
