"""Work in several threads: in order, bounded, and over when nobody listens any more."""

from __future__ import annotations

import threading
import time

import pytest

from sightline.workers import in_order


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_results_come_in_the_order_of_their_items(workers: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return -number

    assert list(in_order(slow_at_first, iter(range(20)), workers=workers)) == [-number for number in range(20)]
    assert list(in_order(slow_at_first, [], workers=workers)) == []


def test_no_more_than_two_items_a_thread_are_taken_ahead() -> None:
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), workers=3)
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

    results = in_order(work, range(100), workers=2)
    assert next(results) == 0
    gate.set()
    results.close()
    assert len(started) <= 4
    assert not any(thread.name.startswith("ThreadPool") for thread in threading.enumerate())


def test_an_error_comes_at_the_place_of_its_item() -> None:
    results = in_order(lambda number: 1 // (2 - number), range(10), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
