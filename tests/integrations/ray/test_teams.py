"""Processes do a piece of work together: all of them, or none; and begin anew where one ends, if that is any use."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import InvalidValue, NotReached
from sightline.integrations.ray.teams import MOST_LOSSES, Line, Place, TeamWork, work_together
from sightline.system.progress import DistantReporter, reporter, reporting, retelling


def start() -> None:
    os.environ["OF_A_TEAM"] = "yes"


def prepare(item: dict[str, Any]) -> None:
    if item.get("lacks"):
        raise InvalidValue("nothing to do it with.")


def work(item: dict[str, Any], place: Place, line: Line) -> tuple[int, int, str]:
    """Each waits for all others, as those that compute together do."""
    folder = Path(item["folder"])
    line.may_lose.set()
    (folder / f"here-{place.number}-{os.getpid()}").touch()
    line.tell(("said", place.number))
    while len({path.name.split("-")[1] for path in folder.glob("here-*")}) < place.count:
        time.sleep(0.02)
    if place.number == item.get("ends") and len(list(folder.glob("ended-*"))) < item.get("times", 1):
        (folder / f"ended-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if place.number == item.get("refuses"):
        raise InvalidValue("process one is refused.")
    if "ends" in item or "refuses" in item or item.get("waits"):
        deadline = time.monotonic() + 60
        while item.get("waits") and not line.is_asked_to_stop.is_set() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1.0 if "waits" not in item else 0.0)
    return place.number, place.count, os.environ["OF_A_TEAM"]


def team(heard: list[Any], kept: Any = lambda: 0, count: int = 2) -> TeamWork:
    return TeamWork(count=count, start=start, prepare=prepare, work=work, kept=kept, hear=heard.append)


@pytest.mark.slow
def test_all_of_them_work_and_the_first_is_heard(ray_here, tmp_path: Path) -> None:
    heard: list[Any] = []
    assert work_together("ray", team(heard), {"folder": str(tmp_path)}) == [(0, 2, "yes"), (1, 2, "yes")]
    assert heard == [("said", 0)]
    assert len(list(tmp_path.glob("here-*"))) == 2


@pytest.mark.slow
def test_where_one_ends_all_are_ended_and_begin_anew(ray_here, tmp_path: Path, capsys) -> None:
    with reporting("plain"):
        found = work_together("ray", team([]), {"folder": str(tmp_path), "ends": 1})
    assert found == [(0, 2, "yes"), (1, 2, "yes")]
    assert "ended; all are ended, and begin anew from what is kept" in capsys.readouterr().err
    processes = [path.name.split("-")[2] for path in tmp_path.glob("here-*")]
    assert len(set(processes)) == 4, "none of the first two went on"


@pytest.mark.slow
@pytest.mark.soak
def test_losses_without_anything_new_kept_come_to_an_end(ray_here, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sightline.integrations.ray.teams.MOST_LOSSES", 2)
    item = {"folder": str(tmp_path), "ends": 0, "times": 99}
    with reporting("quiet"), pytest.raises(NotReached, match="2 times without anything new being kept"):
        work_together("ray", team([]), item)
    assert len(list(tmp_path.glob("ended-*"))) == 2
    assert MOST_LOSSES == 5


@pytest.mark.slow
def test_what_one_is_refused_is_raised_though_the_others_wait_for_it(ray_here, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"on .* \(node \w{8}\): process one is refused"):
        work_together("ray", team([]), {"folder": str(tmp_path), "refuses": 1})
    with pytest.raises(InvalidValue, match="nothing to do it with"):
        work_together("ray", team([]), {"folder": str(tmp_path), "lacks": True})


@pytest.mark.slow
def test_ctrl_c_lets_them_end_by_themselves(ray_here, tmp_path: Path) -> None:
    def press() -> None:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("here-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    pressed = threading.Thread(target=press, daemon=True)
    pressed.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work_together("ray", team([], count=1), {"folder": str(tmp_path), "waits": True})
    pressed.join()
    assert time.monotonic() - began < 50, "it was asked to stop, and did"


def test_what_is_told_there_is_shown_here(capsys) -> None:
    told: list[tuple[Any, ...]] = []
    with reporting(DistantReporter("plain", told.append)), reporter().bar("epoch 1", total=10, lines=False) as bar:
        reporter().say("epoch 1 of 2")
        bar.advance(4, description="epoch 1 step 2")
    assert capsys.readouterr().err == ""
    with reporting("plain"), retelling() as hear:
        for each in told:
            hear(each)
    assert capsys.readouterr().err == "epoch 1 of 2\n"
    assert [kind for kind, *_ in told] == ["bar", "say", "advance", "end of bar"]
