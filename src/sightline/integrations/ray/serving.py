"""Several of the same thing that answer, kept by Ray Serve wherever there is room, and asked as one.

Ray Serve begins them, spreads them, begins others where some end, and says which of them has least to do. Its own
proxies are left out: what comes by HTTP is looked at before it is let in, by whoever asks here.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

from sightline.errors import MissingPackage, NotReached
from sightline.integrations.ray.cluster import WaitForRoom
from sightline.integrations.ray.workers import lost_errors, share_of
from sightline.system.text import counted

# What is asked changes nothing, so whoever else is there may be asked the same.
_MOST_TRIES = 3
_CONTROLLER, _CONTROLLERS_ROOM = "SERVE_CONTROLLER_ACTOR", "serve"
_ROOM = "sightline"
_LOOKS_AGAIN_SECONDS = 0.1
_ENDS_WITHIN_SECONDS = 20.0
# What a replica of an app of ours is called there.
_PART = "replica"


class Replicas:
    """All of them, by the name that they have on the cluster.

    Attributes:
        name: of them together, on the cluster.
        count: how many there are to be.
    """

    def __init__(self, ray: Any, handle: Any, *, name: str, count: int) -> None:
        self.name, self.count = name, count
        self._handle = handle
        self._lost_errors: Any = lost_errors(ray)
        self._absent_errors = (importlib.import_module("ray.serve.exceptions").DeploymentUnavailableError,)

    async def ask(self, method: str, *given: Any) -> Any:
        """What one of them answers; where it ends over that, what another one does.

        A replica that cannot be had is waited for, until whoever asks gives up.

        Raises:
            NotReached: three of them ended over it, one behind the other, or none can be begun.
        """
        lost: BaseException | None = None
        for _ in range(_MOST_TRIES):
            try:
                return await getattr(self._handle, method).remote(*given)
            except self._lost_errors as error:
                lost = error
            except self._absent_errors as error:
                raise NotReached("no replica can be begun on the cluster.") from error
        raise NotReached(f"{_MOST_TRIES} replicas ended over the same request.") from lost

    async def ask_all(self, method: str, *, seconds: float) -> list[Any] | None:
        """What all that are there answer, each once; None where they take longer than that."""
        try:
            response = self._handle.broadcast(method)
            found = await response.results_async(timeout_s=seconds, return_exceptions=True)
        except self._absent_errors:
            return []
        except (*self._lost_errors, TimeoutError):
            return None
        return [one for one in found if not isinstance(one, BaseException)]


class _Owner:
    """An actor that lives as long as the command that begins it: by it replicas know whether that is still there."""


@contextlib.contextmanager
def replicated(
    ray: Any, kind: type, given: tuple[Any, ...], *, count: int, at_once: int, is_own: bool
) -> Iterator[Replicas]:
    """So many of a class, made with what is given, as long as it is used; all of them are ready then.

    Args:
        ray: as `joined` gives it.
        kind: the class, made with what is given, how many processors it has, and the name of an actor that is there
            as long as this command is, or None; its public methods are coroutines.
        given: can be pickled.
        count: how many.
        at_once: how many calls one of them takes at a time.
        is_own: whether the cluster ends with this command.

    Raises:
        MissingPackage: Ray is installed without its Serve.
        NotReached: they cannot begin, or no node has room for them.
    """
    serve = _serve()
    # A name of its own: others may serve there, too.
    name = re.sub(r"\W+", "-", f"sightline-{platform.node()}-{os.getpid()}-{int(time.time())}")
    began_serve = not _is_there(ray, _CONTROLLER, _CONTROLLERS_ROOM)
    with contextlib.ExitStack() as at_end:
        serve.start(proxy_location="Disabled")
        if not is_own:  # else they end with Ray
            # The node that it is on may end while the command is there still.
            made = ray.remote(num_cpus=0, max_restarts=-1)(_Owner)
            owner = made.options(name=name, namespace=_ROOM).remote()
            at_end.callback(_end, ray, serve, name, owner, ends_serve=began_serve)
        share = share_of(ray, count)
        deployment = serve.deployment(
            kind,
            name=_PART,
            num_replicas=count,
            max_ongoing_requests=at_once,
            ray_actor_options={"num_cpus": share},
            # A line a request, on the disk of each node.
            logging_config={"enable_access_log": False, "log_level": "ERROR"},
            graceful_shutdown_wait_loop_s=0.1,
            graceful_shutdown_timeout_s=_ENDS_WITHIN_SECONDS,
            health_check_period_s=2,
            health_check_timeout_s=10,
        )
        application = deployment.bind(*given, max(1, int(share)), None if is_own else name)
        handle = _begun(serve, application, name, words=f"{counted(count, 'replica')} of {_processors(share)}")
        yield Replicas(ray, handle, name=name, count=count)


def has_owner(name: str) -> bool:
    """Whether the command that began a replica is still there; asked within that."""
    import ray

    return _is_there(ray, name, _ROOM)


def give_up(name: str) -> None:
    """End all replicas of a name; called within one of them."""
    _serve().delete(name, _blocking=False)


def _serve() -> Any:
    try:
        with warnings.catch_warnings():  # it uses what its own packages call old
            warnings.simplefilter("ignore", DeprecationWarning)
            serve = importlib.import_module("ray.serve")
    except ImportError as error:
        raise MissingPackage(
            f"serve on ray needs what Ray Serve stands on, too ({error}). Run: pip install 'sightline[ray]'"
        ) from error
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return serve


def _is_there(ray: Any, name: str, room: str) -> bool:
    try:
        ray.get_actor(name, namespace=room)
    except ValueError:
        return False
    return True


def _begun(serve: Any, application: Any, name: str, *, words: str) -> Any:
    """The handle of an application as soon as all of it runs; Ray would wait for processors without end or word."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def begin() -> None:
        try:
            found.append(serve.run(application, name=name, route_prefix=None))
        except BaseException as error:  # noqa: BLE001  # it is raised where somebody waits
            failed.append(error)

    thread = threading.Thread(target=begin, name="sightline-begin", daemon=True)
    thread.start()
    wait = WaitForRoom(words)
    while thread.is_alive():
        thread.join(_LOOKS_AGAIN_SECONDS)
        wait.look()
    if failed:
        raise NotReached(_why_not(failed[0])) from failed[0]
    return found[0]


def _processors(share: float) -> str:
    return counted(int(share), "processor") if share >= 1 else f"{share:g} of a processor"


def _why_not(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "Error" in line or "InvalidBundle" in line]
    return f"the replicas cannot begin on the cluster ({(lines or [type(error).__name__])[-1][:300]})."


def _end(ray: Any, serve: Any, name: str, owner: Any, *, ends_serve: bool) -> None:
    """Nothing of ours stays."""
    # Whoever ended the head, or the network, has ended them, too, or `has_owner` will.
    with contextlib.suppress(Exception):
        serve.delete(name)
        if ends_serve and not serve.status().applications:
            serve.shutdown()
    with contextlib.suppress(Exception):
        ray.kill(owner)
