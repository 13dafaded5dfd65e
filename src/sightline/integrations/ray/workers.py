"""A map whose work is done by actors of a Ray cluster: in the order of its items, each once, whoever of them is lost.

Ray restarts what it lost by itself, too, without an end and without a word; here each loss is counted, and an item that
takes every worker along is named instead of tried for ever.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sightline._version import __version__
from sightline.errors import NotReached, SightlineError
from sightline.integrations.ray.cluster import WaitForRoom, joined
from sightline.system.interruption import raise_if_interrupted
from sightline.system.progress import reporter
from sightline.system.text import counted
from sightline.system.workers import NODE, SHARE, Map

# One at work and one that waits, so that no worker waits for its next one to travel.
_MOST_HELD = 2
# Results that wait for an earlier one, an item each; more of them would fill the memory here.
_MOST_AHEAD = 16
_MOST_TRIES = 5
_MOST_LOST_STARTS = 20
_LOOKS_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Raised:
    """What the work itself raised: Ray tries that again nowhere, and wraps it beyond recognition."""

    error: BaseException
    node: str


class Worker:
    """An actor: it does what it is handed, in the folder and within the processors that it was promised."""

    def __init__(self, folder: str, num_processors: int, start: Callable[[], Any] | None) -> None:
        """In this folder, so that names mean the same as where they were typed."""
        settle(folder, num_processors)
        if start is not None:
            start()

    def look(self) -> tuple[str, str]:
        """Where it is, and the version of Sightline there."""
        return os.environ[NODE], __version__

    def do(self, work: Callable[[Any], Any], item: Any) -> Any:
        """The result, or what was raised."""
        try:
            return work(item)
        except Exception as error:  # noqa: BLE001  # it is raised again where somebody asked for it
            return Raised(error, os.environ[NODE])


def settle(folder: str, num_processors: int) -> None:
    """Make a process of the cluster one that works in a folder, within so many processors, and knows its node."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before it is loaded
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name in (SHARE, "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(num_processors)
    os.environ[NODE] = _this_node()
    # Where it is not, names that begin there are told as missing, each by itself.
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _this_node() -> str:
    import ray

    context: Any = ray.get_runtime_context()
    util: Any = ray.util
    return f"{util.get_node_ip_address()} (node {context.get_node_id()[:8]})"


@contextlib.contextmanager
def cluster_map(
    on: str | None,
    *,
    a_node: int | None = None,
    at_once: int | None = None,
    start: Callable[[], Any] | None = None,
) -> Iterator[Map | None]:
    """A map for `on`; None for None, which is this process.

    Args:
        on: "ray" or "ray://HOST".
        a_node: how many pieces of work a node does at once, each with its share of the processors; one a processor if
            left out.
        at_once: the same of all nodes together.
        start: called in each worker before its first piece of work; can be pickled.

    Yields:
        A function of a function and items, all of which can be pickled; items are taken as they are needed, and
        results come in their order. What the work raises is raised there.

    Raises:
        InvalidValue, MissingPackage, NotReached: as `joined`; and NotReached by the map, where no node has room or an
            item lost its worker again and again.
    """
    if on is None:
        yield None
        return
    with joined(on) as ray, contextlib.ExitStack() as at_end:
        free: list[_Crew] = []

        def each(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            # Workers stay for the next piece of work; what they do meanwhile is nobody's to wait for.
            crew = free.pop() if free else _Crew(ray, _share(ray, a_node, at_once), start)
            at_end.callback(crew.dismiss)
            try:
                yield from crew.results(ray.put(work), items)
            except BaseException:
                crew.dismiss()
                raise
            free.append(crew)

        yield each


def on_each_node(ray: Any, work: Callable[[Any], Any], item: Any) -> list[Any]:
    """What a function makes of something on each node that has processors, without waiting for one of them.

    Raises:
        NotReached: a node cannot begin with it, or has another version of Sightline; else what the work raises there.
    """
    by_node: Any = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
    kind = ray.remote(num_cpus=0, max_restarts=0)(Worker)
    places = [by_node(node["NodeID"], soft=False) for node in ray.nodes() if processors_of(node)]
    actors = [kind.options(scheduling_strategy=place).remote(os.getcwd(), 1, None) for place in places]  # noqa: PTH109
    try:
        for node, version in ray.get([actor.look.remote() for actor in actors]):
            check_version(node, version)
        return [result_of(found) for found in ray.get([actor.do.remote(work, item) for actor in actors])]
    except ray.exceptions.RayError as error:
        raise NotReached(why_no_start(error)) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def share_of(ray: Any, at_once: int) -> float:
    """How many processors each of so many pieces has, spread over all nodes; a part of one where they are few."""
    there = _of_each_node(ray)
    share = min(there) / math.ceil(at_once / len(there))
    return float(int(share)) if share >= 1 else math.floor(100 * share) / 100


def _of_each_node(ray: Any) -> list[int]:
    return [count for node in ray.nodes() if (count := processors_of(node))] or [1]


def processors_of(node: Any) -> int:
    """How many a node has that answers; 0 of one that does not."""
    return int(node["Resources"].get("CPU", 0)) if node["Alive"] else 0


def _share(ray: Any, a_node: int | None, at_once: int | None) -> int:
    there = _of_each_node(ray)
    if at_once is not None:
        a_node = math.ceil(at_once / len(there))
    return 1 if a_node is None else max(1, min(there) // a_node)


@dataclass(eq=False)
class _Hand:
    """A worker as it is seen from here."""

    actor: Any
    node: str = ""
    is_ready: bool = False
    held: dict[Any, int] = field(default_factory=dict)


class _Crew:
    """Workers, what each of them holds, and what came back."""

    def __init__(self, ray: Any, processors: int, start: Callable[[], Any] | None) -> None:
        self.ray, self.processors, self.start = ray, processors, start
        self.lost_errors = lost_errors(ray)
        # They are never restarted by Ray: whom it restarts has forgotten what it held.
        self.kind = ray.remote(num_cpus=processors, max_restarts=0, max_task_retries=0)(Worker)
        self.hands: list[_Hand] = []
        self.calls: dict[Any, _Hand] = {}
        self._forget()
        self.lost_starts = 0
        self.room, self.looked = 1, 0.0
        self.wait: WaitForRoom | None = None

    def _forget(self) -> None:
        self.tries: Counter[int] = Counter()
        self.again: deque[int] = deque()
        self.items: dict[int, Any] = {}
        self.found: dict[int, Any] = {}

    def results(self, work: Any, items: Iterable[Any]) -> Iterator[Any]:
        """In the order of the items, which are taken no further ahead than there is somebody to do them.

        `work` is where Ray keeps the function: it travels to each node once.
        """
        self._forget()
        upcoming, first, last, is_over = iter(items), 0, 0, False
        self._count_room()
        while True:
            raise_if_interrupted()
            while first in self.found:
                yield result_of(self.found.pop(first))
                first += 1
            ahead = _MOST_AHEAD + _MOST_HELD * self.room
            while not is_over and len(self.again) < self.room and last - first < ahead:
                try:
                    self.items[last] = next(upcoming)
                except StopIteration:
                    is_over = True
                    break
                self.again.append(last)
                last += 1
                self._hand_out(work)
            if is_over and first == last:
                return
            self._call_for_workers()
            self._hand_out(work)
            self._take_in()

    def _hand_out(self, work: Any) -> None:
        for hand in sorted(filter(lambda hand: hand.is_ready, self.hands), key=lambda hand: len(hand.held)):
            while self.again and self._has_room(hand, self.again[0]):
                number = self.again.popleft()
                call = hand.actor.do.remote(work, self.items[number])
                hand.held[call] = number
                self.calls[call] = hand

    def _has_room(self, hand: _Hand, number: int) -> bool:
        # What lost a worker is done by one that holds nothing else, so that no other is blamed for it.
        if self.tries[number]:
            return not hand.held
        return len(hand.held) < _MOST_HELD and not any(self.tries[held] for held in hand.held.values())

    def _count_room(self) -> None:
        there = int(self.ray.cluster_resources().get("CPU", 0)) // self.processors
        self.room, self.looked = max(there, 1), time.monotonic()

    def _call_for_workers(self) -> None:
        """For all processors of the cluster, which may grow and shrink, but no more than there are items."""
        if time.monotonic() - self.looked > _LOOKS_AGAIN_SECONDS:
            self._count_room()
        for _ in range(min(self.room, len(self.items)) - len(self.hands)):
            actor = self.kind.remote(os.getcwd(), self.processors, self.start)  # noqa: PTH109
            hand = _Hand(actor)
            self.hands.append(hand)
            self.calls[actor.look.remote()] = hand

    def _take_in(self) -> None:
        done, _ = self.ray.wait(list(self.calls), num_returns=1, timeout=_LOOKS_AGAIN_SECONDS)
        for call in done:
            hand = self.calls.pop(call)
            try:
                result = self.ray.get(call)
            except self.lost_errors as error:
                self._lose(hand, call, error)
                continue
            if call not in hand.held:
                self._begin(hand, *result)
                continue
            number = hand.held.pop(call)
            self.found[number] = result
            del self.items[number], self.tries[number]
        self._check_any_ready()

    def _begin(self, hand: _Hand, node: str, version: str) -> None:
        check_version(node, version)
        hand.node, hand.is_ready = node, True

    def _lose(self, hand: _Hand, call: Any, error: Exception) -> None:
        """A worker, or its node, ended: others do what it held."""
        if hand in self.hands:
            self.hands.remove(hand)
            # One that could not be reached for a while may be at it still.
            self.ray.kill(hand.actor)
        if call not in hand.held:
            self.lost_starts += 1
            if is_missing(error) or self.lost_starts > _MOST_LOST_STARTS:
                raise NotReached(why_no_start(error)) from error
            return
        number = hand.held.pop(call)
        self.tries[number] += 1
        if self.tries[number] >= _MOST_TRIES:
            raise NotReached(
                f"{_MOST_TRIES} workers ended over the same piece of work, the last on {hand.node}. It may need more "
                "memory than a node has, or hold an image that ends what reads it; what is finished is kept."
            ) from error
        reporter().say(f"note: a worker on {hand.node} ended; another one does its work")
        self.again.appendleft(number)

    def _check_any_ready(self) -> None:
        if any(hand.is_ready for hand in self.hands) or not self.hands:
            self.wait = None
            return
        self.wait = self.wait or WaitForRoom(f"a worker of {counted(self.processors, 'processor')}")
        self.wait.look()

    def dismiss(self) -> None:
        """End them all, with what they are at."""
        for hand in self.hands:
            with contextlib.suppress(Exception):
                self.ray.kill(hand.actor)
        self.hands.clear()
        self.calls.clear()


def check_version(node: str, version: str) -> None:
    """Refuse a node that would do something else than is meant here."""
    if version != __version__:
        raise NotReached(f"{node} has Sightline {version}, and here it is {__version__}. Install the same on both.")


def lost_errors(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a worker, or its node, ended."""
    names = "RayActorError ObjectLostError OutOfMemoryError NodeDiedError WorkerCrashedError"
    return tuple(getattr(ray.exceptions, name) for name in names.split())


def result_of(result: Any) -> Any:
    """What the work gave; what it raised is raised here, with the node."""
    if not isinstance(result, Raised):
        return result
    if isinstance(result.error, SightlineError):
        result.error.args = (f"on {result.node}: {result.error}", *result.error.args[1:])
    else:
        result.error.add_note(f"on {result.node}")
    raise result.error


def is_missing(error: Exception) -> bool:
    """Whether a worker could not begin because a package is not there."""
    return "ModuleNotFoundError" in str(error) or "ImportError" in str(error)


def why_no_start(error: Exception) -> str:
    """Why no worker can begin, and what to do."""
    lines = [line.strip() for line in str(error).splitlines() if "Error" in line]
    reason = lines[-1][:300] if lines else type(error).__name__
    return (
        f"no worker can begin on the cluster ({reason}). Each node needs Sightline {__version__} and what it stands "
        "on: pip install 'sightline[ray]' there."
    )
