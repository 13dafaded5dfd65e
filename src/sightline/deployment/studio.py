"""`studio`: the page of a person without a terminal, over one folder of this machine."""

from __future__ import annotations

import contextlib
import html
import secrets
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sightline.deployment.serve import check_packages, listening, run_server
from sightline.system.files import write_atomically
from sightline.system.progress import reporter
from sightline.system.text import counted

_HOST = "127.0.0.1"
_STOP_SECONDS = 5.0


def studio(
    folder: str | Path = ".",
    *,
    port: int = 0,
    opens_browser: bool = True,
    started: Callable[[str], Any] | None = None,
) -> int:
    """Show a folder of pictures on a page in the browser, where somebody looks, audits, trains, sorts and exports.

    All of it is done by the commands of Sightline, each in a process of its own that goes on when the page or the
    studio is closed, and each shown as what could be typed. The page is reached from this machine alone, by an address
    that holds a token; it names nothing outside the folder, and nothing leaves the machine. Ends at Ctrl-C or SIGTERM.

    Args:
        folder: below which pictures and runs lie; commands run in it.
        port: to listen on; 0 for any that is free.
        opens_browser: whether the page is opened in the browser of this machine.
        started: is given the address, as soon as it listens.

    Returns:
        How many commands were begun on the page.

    Raises:
        InvalidValue: there is no such folder, or the port is none.
        CannotWrite: the port is taken, or may not be listened on.
        MissingPackage: what `pip install 'sightline[serve]'` brings is not installed.

    Example:
        >>> import os, sightline, signal, threading, urllib.request
        >>> def look(address):
        ...     with urllib.request.urlopen(address) as page:
        ...         print(page.read().decode().count("<title>Sightline studio</title>"), "page")
        ...     os.kill(os.getpid(), signal.SIGTERM)
        >>> sightline.studio(opens_browser=False, started=lambda it: threading.Thread(target=look, args=[it]).start())
        1 page
        0
    """
    check_packages("studio")
    from sightline.deployment.workshop.app import build_studio
    from sightline.deployment.workshop.jobs import Jobs

    token = secrets.token_urlsafe(32)
    app = build_studio(folder, token)
    with contextlib.closing(listening(_HOST, port)) as listener, contextlib.ExitStack() as open_now:
        address = f"http://{_HOST}:{listener.getsockname()[1]}/?token={token}"
        reporter().say(f"the studio is at {address}\nCtrl-C ends it; what it trains goes on.")
        if started is not None:
            started(address)
        if opens_browser:
            webbrowser.open(open_now.enter_context(_doorway(address)))
        run_server(app, listener, deadline=_STOP_SECONDS)
        jobs: Jobs = app.state.jobs
        num_running = sum(job["state"] == "running" for job in jobs.all())
        reporter().say(f"the studio is closed; {counted(num_running, 'command')} still at work")
        return jobs.num_begun


@contextlib.contextmanager
def _doorway(address: str) -> Iterator[str]:
    """A file that leads to the page: arguments of a browser can be read by everybody on a machine, this cannot."""
    with tempfile.TemporaryDirectory(prefix="sightline-studio-") as folder:
        file = Path(folder) / "studio.html"
        leading = f'<meta http-equiv="refresh" content="0;url={html.escape(address)}">'
        write_atomically(file, f"<!doctype html><title>Sightline</title>{leading}\n", permissions=0o600)
        yield file.as_uri()
