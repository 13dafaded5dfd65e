"""Processes of a Ray cluster that do one piece of work together: where one of them ends, all are ended and begin anew.

Each waits for the others all the time, so none can be replaced alone. What they go on from is theirs to keep.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sightline.errors import NotReached, SightlineError
from sightline.integrations.ray.cluster import WaitForRoom, joined
from sightline.integrations.ray.workers import (
    Raised,
    Worker,
    check_version,
    is_missing,
    lost_errors,
    processors_of,
    result_of,
    why_no_start,
)
from sightline.system.interruption import is_interrupted, noting_interrupts, raise_if_interrupted
from sightline.system.progress import reporter
from sightline.system.text import counted

# Of losses with nothing new kept between them: what ends a process each time would end it for ever.
MOST_LOSSES = 5
_LISTENS_EACH_SECONDS = 0.2
# Where one of them ended, the others fail in their own words, and sooner than Ray tells of it.
_WAITS_FOR_REASON_SECONDS = 15.0
_WAITS_FOR_END_SECONDS = 10.0
# What JAX raises where a process does not answer another one; or for a fault of its own, which comes again.
_OF_CONNECTION = ("JaxRuntimeError", "XlaRuntimeError")


@dataclass(frozen=True)
class Place:
    """Which of them a process is.

    Attributes:
        number: from 0.
        nodes: where each is, in the order of their numbers.
        address: where the first one can be met, "HOST:PORT".
    """

    number: int
    nodes: tuple[str, ...]
    address: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.nodes)


class Line:
    """Between a process and who waits for it.

    Attributes:
        may_lose: set from when on it would lose something by being ended.
        is_asked_to_stop: set where it is to end by itself.
    """

    def __init__(self) -> None:
        self.may_lose, self.is_asked_to_stop = threading.Event(), threading.Event()
        self._told: deque[Any] = deque()

    def tell(self, told: Any) -> None:
        """Keep something, which can be pickled, until it is asked for."""
        self._told.append(told)

    def news(self) -> tuple[bool, list[Any]]:
        """Whether it may lose something, and what was told since the last time."""
        told = []
        with contextlib.suppress(IndexError):
            while True:
                told.append(self._told.popleft())
        return self.may_lose.is_set(), told


class Member(Worker):
    """A worker that is asked for news while it works."""

    def __init__(self, folder: str, num_processors: int, start: Callable[[], Any] | None) -> None:
        super().__init__(folder, num_processors, start)
        self.line = Line()

    def free_address(self) -> str:
        """Where others can meet this one."""
        import ray

        util: Any = ray.util
        host = str(util.get_node_ip_address())
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
            free.bind((host, 0))
            port = free.getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def take_part(self, work: Callable[[Any, Place, Line], Any], item: Any, place: Place) -> Any:
        """The result, or what was raised."""
        return self.do(lambda item: work(item, place, self.line), item)

    def news(self) -> tuple[bool, list[Any]]:
        """As that of its line."""
        return self.line.news()

    def ask_to_stop(self) -> None:
        """Answered by the work, when it can."""
        self.line.is_asked_to_stop.set()


@dataclass(frozen=True)
class TeamWork:
    """What processes do together; all of it can be pickled but `kept` and `hear`.

    Attributes:
        count: how many processes, each on a processor of its own.
        start: called in each before anything else.
        prepare: called with the item in each; none begins with the work before all have ended this.
        work: called with the item, and `place` and `line`; all have to get there at the same time.
        kept: what has been kept so far; when another process begins it goes on from that.
        hear: called with what the first one tells.
    """

    count: int
    start: Callable[[], Any]
    prepare: Callable[[Any], Any]
    work: Callable[[Any, Place, Line], Any]
    kept: Callable[[], Any]
    hear: Callable[[Any], Any]


class _Lost(Exception):  # it says what happened to a process
    """One of them ended."""


def work_together(on: str, team: TeamWork, item: Any) -> list[Any]:
    """Have a piece of work done by several processes together; they begin anew where one of them ends.

    Ctrl-C asks the first of them to stop all; where nothing can be lost yet, they are ended.

    Args:
        on: "ray" or "ray://HOST".
        team: what is done.
        item: what it is done with; can be pickled.

    Returns:
        What the work gave, in the order of the processes.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        NotReached: as `joined`; or processes ended again and again without anything new being kept.
        Whatever the work raises.
    """
    with joined(on) as ray, noting_interrupts():
        num_losses, before = 0, team.kept()
        while True:
            try:
                return _once(ray, team, item)
            except _Lost as loss:
                now = team.kept()
                num_losses, before = 1 if now != before else num_losses + 1, now
                if num_losses >= MOST_LOSSES:
                    raise NotReached(
                        f"{loss}, {MOST_LOSSES} times without anything new being kept: it may need more memory than "
                        "its node has (dmesg, /tmp/ray there)."
                    ) from loss.__cause__
                reporter().say(f"note: {loss}; all are ended, and begin anew from what is kept")


def _once(ray: Any, team: TeamWork, item: Any) -> list[Any]:
    with _members(ray, team) as (members, nodes):
        _all(ray, members, [member.do.remote(team.prepare, item) for member in members], nodes)
        address = _all(ray, members[:1], [members[0].free_address.remote()], nodes)[0]
        work = ray.put(team.work)
        calls = [
            member.take_part.remote(work, item, Place(number, nodes, address)) for number, member in enumerate(members)
        ]
        return _all(ray, members, calls, nodes, hear=team.hear)


@contextlib.contextmanager
def _members(ray: Any, team: TeamWork) -> Iterator[tuple[list[Any], tuple[str, ...]]]:
    """As many processes as are wanted, all at once, and the nodes that they are on; ended at the end."""
    processors = _a_process(ray, team.count)
    group = ray.util.placement_group([{"CPU": processors}] * team.count, strategy="PACK")
    kind = ray.remote(num_cpus=processors, max_restarts=0, max_task_retries=0, max_concurrency=2)(Member)
    members: list[Any] = []
    try:
        _wait_for_room(ray, group, team.count)
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        members += [
            kind.options(scheduling_strategy=strategy(group, placement_group_bundle_index=number)).remote(
                os.getcwd(),  # noqa: PTH109
                1,
                team.start,
            )
            for number in range(team.count)
        ]
        looks = _all(ray, members, [member.look.remote() for member in members], ("",) * team.count)
        for node, version in looks:
            check_version(node, version)
        yield members, tuple(node for node, _ in looks)
    finally:
        _end(ray, members)
        with contextlib.suppress(Exception):
            ray.util.remove_placement_group(group)


def _a_process(ray: Any, count: int) -> float:
    """The processors that are held for each: one, or a part of one where there are fewer than processes."""
    there = sum(map(processors_of, ray.nodes()))
    if there >= count:
        return 1
    reporter().say(f"note: {counted(count, 'process', 'processes')} share {counted(max(there, 1), 'processor')}")
    return 1 / math.ceil(count / max(there, 1))


def _wait_for_room(ray: Any, group: Any, count: int) -> None:
    wait, ready = WaitForRoom(counted(count, "process", "processes")), group.ready()
    while not ray.wait([ready], timeout=_LISTENS_EACH_SECONDS)[0]:
        wait.look()


def _all(
    ray: Any, members: list[Any], calls: list[Any], nodes: tuple[str, ...], *, hear: Callable[[Any], Any] | None = None
) -> list[Any]:
    """The results of a call of each, in their order; the first that is raised, or a _Lost where one of them ended."""
    waiting, found = {call: number for number, call in enumerate(calls)}, dict[int, Any]()
    ear, is_asked = None if hear is None else _Ear(ray, members[0], nodes[0], hear), False
    while waiting:
        _take_in(ray, waiting, found, nodes)
        if ear is not None:
            ear.listen()
        if is_interrupted() and not is_asked:
            if ear is None or not ear.may_lose:
                raise_if_interrupted()
            members[0].ask_to_stop.remote()
            is_asked = True
        raised = [number for number, result in found.items() if isinstance(result, Raised)]
        if raised:
            _raise_reason(ray, waiting, found, nodes)
    if ear is not None:
        ear.listen(to_the_end=True)
    return [found[number] for number in range(len(calls))]


def _take_in(ray: Any, waiting: dict[Any, int], found: dict[int, Any], nodes: tuple[str, ...]) -> None:
    """Wait a moment for another result; a _Lost where its process ended."""
    done, _ = ray.wait(list(waiting), num_returns=1, timeout=_LISTENS_EACH_SECONDS)
    for call in done:
        number = waiting.pop(call)
        try:
            found[number] = ray.get(call)
        except lost_errors(ray) as error:
            raise _gone(nodes[number], error) from error


class _Ear:
    """Hands on what the first one tells, without waiting for it: it may be slow, and others have news, too."""

    def __init__(self, ray: Any, first: Any, node: str, hear: Callable[[Any], Any]) -> None:
        self.ray, self.first, self.node, self.hear = ray, first, node, hear
        self.may_lose = False
        self._asked: Any = None

    def listen(self, *, to_the_end: bool = False) -> None:
        """What came since the last time; a _Lost where it ended."""
        for _ in range(2 if to_the_end else 1):
            self._asked = self._asked or self.first.news.remote()
            if not self.ray.wait([self._asked], timeout=None if to_the_end else 0)[0]:
                return
            try:
                self.may_lose, news = self.ray.get(self._asked)
            except lost_errors(self.ray) as error:
                raise _gone(self.node, error) from error
            self._asked = None
            for told in news:
                self.hear(told)


def _gone(node: str, error: Exception) -> Exception:
    if is_missing(error):
        return NotReached(why_no_start(error))
    return _Lost(f"a process{f' on {node}' * bool(node)} ended")


def _raise_reason(ray: Any, waiting: dict[Any, int], found: dict[int, Any], nodes: tuple[str, ...]) -> None:
    """Raise what one of them raised, or what that came from: another one that ended, or that was refused something."""
    deadline = time.monotonic() + _WAITS_FOR_REASON_SECONDS
    while True:
        raised = [result for result in found.values() if isinstance(result, Raised)]
        refused = [result for result in raised if isinstance(result.error, SightlineError)]
        if refused or not waiting or time.monotonic() > deadline:
            break
        _take_in(ray, waiting, found, nodes)
    first = (refused or raised)[0]
    if not refused and type(first.error).__name__ in _OF_CONNECTION:
        said = " ".join(str(first.error).split())[:200]
        raise _Lost(f"the processes lost one another ({first.node}: {said})") from first.error
    result_of(first)


def _end(ray: Any, members: list[Any]) -> None:
    """End them, and see to it that they have ended: the next ones must not meet them."""
    for member in members:
        with contextlib.suppress(Exception):
            ray.kill(member)
    deadline = time.monotonic() + _WAITS_FOR_END_SECONDS
    for member in members:
        with contextlib.suppress(Exception):
            while time.monotonic() < deadline:
                ray.get(member.look.remote(), timeout=1)
                time.sleep(0.05)
