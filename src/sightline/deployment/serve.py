"""`serve`: bundles behind HTTP, until it is asked to stop."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from sightline.errors import CannotWrite, InvalidValue, require
from sightline.integrations.ray.cluster import check_on
from sightline.records import Bundle, Run
from sightline.system.progress import reporter
from sightline.system.text import counted

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EXTRA = "sightline[serve]"
# One goes on while another one is begun anew.
_USUAL_REPLICAS = 2
_MOST_REPLICAS = 1000


def serve(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run | Mapping[str, str | Path | Bundle | Run],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: tuple[str, ...] = (),
    limits: Mapping[str, Any] | None = None,
    origins: tuple[str, ...] = (),
    host_names: tuple[str, ...] = (),
    tls: tuple[str | Path, str | Path] | None = None,
    reload_seconds: float = 2.0,
    started: Callable[[str], Any] | None = None,
    on: str | None = None,
    replicas: int | None = None,
) -> int:
    """Answer pictures over HTTP until Ctrl-C or SIGTERM; requests that were let in are answered first.

    There is a page at `/`, `POST /v1/predict` for pictures, the Open Inference Protocol below `/v2`, figures for
    Prometheus at `/metrics`, and what all that takes at `/docs`. Nothing that is sent is kept.

    Args:
        bundle: a bundle or a run, or its folder; several by their names in a mapping, of which the first is usual.
        host: the address that it listens on; 127.0.0.1 is reached from this machine alone, 0.0.0.0 from everywhere.
        port: of it; 0 for any that is free.
        keys: of which every request has to name one; none for no keys.
        limits: those of `sightline.deployment.server.limits.ServerLimits` that are to differ, by name.
        origins: other sites whose pages may ask, as "https://example.org".
        host_names: names by which it may be asked; left out, those of this machine on a loopback address, any else.
        tls: files of a certificate with its chain and of its key, both PEM.
        reload_seconds: how often it looks whether a bundle was replaced, which then answers; 0 for never.
        started: is given the address, as soon as it listens.
        on: "ray" or "ray://HOST": the networks answer there, in processes of a Ray cluster; this one lets in what
            comes, and hands it on. None: they answer in this process.
        replicas: how many such processes there are, each with all bundles; 2 if left out.

    Returns:
        How many requests were answered.

    Raises:
        InvalidBundle: one cannot be used.
        InvalidValue: a limit, a port or a name is none, or replicas are asked for and no cluster is named.
        CannotWrite: the port is taken, or may not be listened on.
        MissingPackage: what `pip install 'sightline[serve]'` brings is not installed, or `sightline[ray]` for `on`.
        NotReached: the cluster cannot be joined, has no room, or a node of it is without Sightline or the bundle.

    Example:
        >>> import os, signal, threading, urllib.request
        >>> import sightline
        >>> def ask(address):
        ...     with urllib.request.urlopen(f"{address}/v2/health/live") as answer:
        ...         print(answer.read().decode())
        ...     os.kill(os.getpid(), signal.SIGTERM)  # what ends it
        >>> begin = lambda address: threading.Thread(target=ask, args=[address]).start()
        >>> sightline.serve("imagenet", port=0, started=begin)
        {"live": true}
        1
    """
    check_packages("serve")
    from sightline.deployment.server.gate.connection import connections_at
    from sightline.deployment.server.limits import ServerLimits, ServerOptions
    from sightline.deployment.server.telemetry import Telemetry

    _check_replicas(on, replicas)
    if not 0 <= reload_seconds < math.inf:
        raise InvalidValue(f"reload_seconds must be a number of at least 0; got {reload_seconds!r}.")
    places = _places(bundle)
    chosen = ServerLimits(**(limits or {}))
    is_loopback = host in _LOOPBACK
    names = host_names or (("localhost", "127.0.0.1", "[::1]") if is_loopback else ())
    options = ServerOptions(chosen, keys, origins, names, reload_seconds)
    with contextlib.closing(listening(host, port)) as listener, contextlib.ExitStack() as at_end:
        telemetry = Telemetry()
        app = at_end.enter_context(_application(places, options, telemetry, on=on, replicas=replicas))
        if not (is_loopback or keys):
            reporter().say("note: everybody who reaches this address may ask. Name keys: --keys FILE")
        address = _address(listener, is_encrypted=tls is not None)
        reporter().say(f"serving {', '.join(places)} at {address}. Ctrl-C stops it.")
        if started is not None:
            started(address)
        connection = connections_at(app.state.door)
        run_server(app, listener, deadline=chosen.deadline_seconds, tls=tls, connection=connection)
        reporter().say(f"stopped; {counted(telemetry.num_requests, 'request')} answered, none that was let in is lost")
        return telemetry.num_requests


def _check_replicas(on: str | None, replicas: int | None) -> None:
    check_on(on)
    if replicas is None:
        return
    if isinstance(replicas, bool) or not isinstance(replicas, int) or not 1 <= replicas <= _MOST_REPLICAS:
        raise InvalidValue(f"replicas must be a whole number from 1 to {_MOST_REPLICAS}; got {replicas!r}.")
    if on is None:
        raise InvalidValue(
            f"replicas are processes of a cluster, and none is named; got {replicas}. Add --on ray, or leave it."
        )


@contextlib.contextmanager
def _application(
    places: Mapping[str, Any], options: Any, telemetry: Any, *, on: str | None, replicas: int | None
) -> Iterator[Any]:
    """With its models opened, here or on a cluster, where they end with it."""
    if on is None:
        from sightline.deployment.server.app import build_app

        yield build_app(places, options=options, telemetry=telemetry)
        return
    from sightline.deployment.server.replicas.front import build_front, replicas_of

    with replicas_of(places, options, on=on, count=replicas or _USUAL_REPLICAS) as found:
        yield build_front(found, [*places], options=options, telemetry=telemetry)


def check_packages(verb: str) -> None:
    """Refuse a verb where what a server is made of is not installed."""
    for package in ("starlette", "uvicorn", "python_multipart", "prometheus_client"):
        require(package, purpose=verb, install=_EXTRA)


def _places(bundle: Any) -> dict[str, Any]:
    from sightline.deployment.server.served import checked_name, usual_name

    if isinstance(bundle, Mapping):
        if not bundle:
            raise InvalidValue("no bundle was named, so there is nothing to serve.")
        named = {checked_name(name): value for name, value in bundle.items()}
    else:
        named = {usual_name(_place(bundle)): bundle}
    return {name: _place(value) for name, value in named.items()}


def _place(bundle: str | Path | Bundle | Run) -> str | Path:
    opened = bundle.bundle if isinstance(bundle, Run) else bundle
    return opened.path if isinstance(opened, Bundle) else opened


def listening(host: str, port: int) -> socket.socket:
    """A socket that waits for connections; whoever connects meanwhile is answered once the models are opened."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise InvalidValue(f"port must be a whole number from 0 to 65535; got {port!r}.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except socket.gaierror as error:
        raise InvalidValue(f"host must be an address of this machine; got {host!r} ({error.strerror}).") from error
    except OSError as error:
        remedy = "Choose another one: --port 0 takes any that is free"
        raise CannotWrite(f"{host}:{port} cannot be listened on ({error.strerror}). {remedy}.") from error
    # An answer is written in two parts: without this the second waits up to 40 ms for whoever asked to confirm the
    # first. asyncio does it by itself only for sockets that were made by the protocol's number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket, *, is_encrypted: bool) -> str:
    host, port = listener.getsockname()[:2]
    return f"http{'s' * is_encrypted}://{f'[{host}]' if ':' in host else host}:{port}"


def run_server(
    app: Any, listener: socket.socket, *, deadline: float, tls: Any = None, connection: Any = "httptools"
) -> None:
    """Answer until Ctrl-C or SIGTERM; what was let in has until the deadline, in seconds, to be answered."""
    uvicorn: Any = require("uvicorn", purpose="serve", install=_EXTRA)

    class Server(uvicorn.Server):  # type: ignore[misc,unused-ignore]  # known when it is needed
        """Ends in peace at a signal; uvicorn's own would raise it once more."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            kept = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in kept.items():
                    signal.signal(number, handler)

        def _stop(self, number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app,
        # Another one that happens to be installed forks with the hooks of all libraries, and is no faster.
        loop="asyncio",
        http=connection,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        date_header=True,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(deadline) + 1,
        ssl_certfile=certificate and str(certificate),
        ssl_keyfile=key and str(key),
        ws="none",
        proxy_headers=False,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise InvalidValue(
            f"tls must be PEM files of a certificate and its key; they cannot be used ({error})."
        ) from error
    Server(config).run(sockets=[listener])
