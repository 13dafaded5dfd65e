"""Work in several threads or processes: in order, bounded, and over when nobody listens any more."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from sightline.system import workers
from sightline.system.progress import Mode, reporter, reporting
from sightline.system.workers import available_processors, free_bytes, map_in_order, num_workers, process_map


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_results_come_in_the_order_of_their_items(workers: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return -number

    assert list(map_in_order(slow_at_first, iter(range(20)), workers=workers)) == [-number for number in range(20)]
    assert list(map_in_order(slow_at_first, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_quiet_holds_in_every_thread_that_works(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work(number: int) -> str:
        with reporter().bar("work", total=1) as bar:
            bar.advance(1)
        reporter().say(f"a remark on {number}")
        return reporter().mode

    with reporting("quiet"):
        assert list(map_in_order(work, range(6), workers=workers)) == ["quiet"] * 6
    assert capsys.readouterr().err == ""
    with reporting("plain"):
        assert list(map_in_order(work, range(2), workers=workers)) == ["plain"] * 2
    assert sorted(capsys.readouterr().err.splitlines()) == ["a remark on 0", "a remark on 1"]


def test_two_callers_at_once_keep_a_mode_each() -> None:
    found: dict[str, set[str]] = {}

    def call(mode: Mode) -> None:
        with reporting(mode):
            found[mode] = set(map_in_order(lambda _: reporter().mode, range(20), workers=2))

    callers = [threading.Thread(target=call, args=(mode,)) for mode in ("quiet", "plain")]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {"quiet": {"quiet"}, "plain": {"plain"}}


def test_no_more_than_two_items_a_thread_are_taken_ahead() -> None:
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_in_order(lambda number: number, items(), workers=3)
    assert next(results) == 0
    assert len(taken) == 6
    assert next(results) == 1
    assert len(taken) == 7
    results.close()


def test_who_stops_listening_waits_for_what_is_under_way_alone() -> None:
    started: list[int] = []
    gate = threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if number:
            gate.wait(5)
        return number

    results = map_in_order(work, range(100), workers=2)
    assert next(results) == 0
    gate.set()
    results.close()
    assert len(started) <= 4
    assert not any(thread.name.startswith("ThreadPool") for thread in threading.enumerate())


def test_an_error_comes_at_the_place_of_its_item() -> None:
    results = map_in_order(lambda number: 1 // (2 - number), range(10), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_one_process_is_this_one_and_its_map_that_of_python() -> None:
    with process_map(1, dict) as each:
        assert each is map


@pytest.mark.slow
def test_several_processes_share_the_processors_out() -> None:
    with process_map(2, dict) as each:
        share = max(1, available_processors() // 2)
        assert list(each(os.getenv, ["OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"])) == [str(share)] * 2
        assert list(each(num_workers, [100, 100])) == [share] * 2, "threads keep to it, too"
        assert sorted(each(abs, [-3, 1, -2])) == [1, 2, 3]
        assert os.getpid() not in set(each(eval, ["__import__('os').getpid()"] * 4))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_an_error_ends_what_the_other_processes_are_at_and_no_child_of_the_callers() -> None:
    started, mine = time.monotonic(), []

    def fail_beside_one_more(each) -> None:
        mine.append(multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,)))
        mine[0].start()
        list(each(time.sleep, ["a while", 600, 600, 600]))

    with pytest.raises(TypeError), process_map(2, dict) as each:
        fail_beside_one_more(each)
    assert time.monotonic() - started < 100
    assert multiprocessing.active_children() == mine
    mine[0].kill()
    mine[0].join()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="a process is bound to processors on Linux alone")
def test_only_the_processors_that_a_process_may_use_count(python) -> None:
    first = min(os.sched_getaffinity(0))
    program = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    program += "from sightline.system.workers import num_workers; print(num_workers(100))"
    assert python(program, first).out.strip() == "1"


@pytest.mark.parametrize(
    ("said", "count"), [("50000 100000\n", 1), ("max 100000\n", 8), ("250000 100000\n", 3), ("", 8)]
)
def test_the_quota_of_a_container_counts(
    said: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(workers, "_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(said)
    assert available_processors() == count


@pytest.mark.slow
def test_a_process_that_is_ended_from_outside_is_told() -> None:
    with pytest.raises(BrokenProcessPool), process_map(2, dict) as each:
        list(each(os._exit, [1]))


@pytest.mark.slow
def test_a_process_that_is_ended_from_outside_takes_no_other_item_along() -> None:
    items = ["__import__('os')._exit(1)", "1 + 1", "2 + 2", "__import__('os')._exit(1)", "3 + 3"]
    with process_map(2, dict, lost=lambda item: f"lost: {item[-7:]}") as each:
        assert sorted(map(str, each(eval, items))) == ["2", "4", "6", "lost: exit(1)", "lost: exit(1)"]
    assert not multiprocessing.active_children()


def _exit_at_once() -> None:
    os._exit(1)


@pytest.mark.slow
def test_a_process_that_cannot_begin_is_told_at_once() -> None:
    with pytest.raises(BrokenProcessPool), process_map(2, _exit_at_once, lost=str) as each:
        list(each(abs, [1, 2, 3]))


PROGRAM = """
import time
from sightline.system.workers import process_map
if __name__ == "__main__":
    with process_map(2, dict) as each:
        for number in each(eval, ["__import__('os').getpid()", "__import__('os').getpid()"]):
            print(number, flush=True)
        list(each(time.sleep, [600, 600]))
"""


def _is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux lists them")
def test_processes_end_with_the_one_that_began_them_however_it_ended(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        numbers = {int(parent.stdout.readline()) for _ in range(2)}
        assert all(map(_is_running, numbers))
        parent.kill()
    until = time.monotonic() + 60
    while any(map(_is_running, numbers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_is_running, numbers))


def test_free_memory_is_a_number_of_bytes_or_unknown() -> None:
    free = free_bytes()
    assert free is None or 2**20 < free < 2**50
