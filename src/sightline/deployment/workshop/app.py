"""The studio as an ASGI application: its page, and what the page asks, each question with the token."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sightline.configuration.recipes import RECIPES
from sightline.deployment.conversion.formats import FORMATS
from sightline.deployment.server.classify import as_json
from sightline.deployment.server.gate.admission import Keys
from sightline.deployment.server.gate.door import Door
from sightline.deployment.server.gate.gate import Gate
from sightline.deployment.server.limits import Refusal, ServerLimits, ServerOptions
from sightline.deployment.server.page_files import PageFile, page_files
from sightline.deployment.server.telemetry import Telemetry
from sightline.deployment.server.uploads import body_of, json_of
from sightline.deployment.sorting.journal import WAYS
from sightline.deployment.workshop.answers import Answers
from sightline.deployment.workshop.commands import PLAN_PAGE, asked_of, run_at
from sightline.deployment.workshop.findings import shown_audit
from sightline.deployment.workshop.folders import Root, list_folder
from sightline.deployment.workshop.jobs import Jobs, command_line
from sightline.deployment.workshop.looking import Sources
from sightline.deployment.workshop.sets.routes import set_routes
from sightline.deployment.workshop.trainings import list_runs, look_at_run
from sightline.errors import CannotWrite, OutputExists, SightlineError
from sightline.evaluation.report import FILE as REPORT
from sightline.system.backends import installed_backends
from sightline.system.paths import absolute_path
from sightline.system.text import printable

# The page holds nothing; whoever opens it without the token is told where to find it.
_ADDRESS_OF_PAGE = "open the studio by the whole address that it printed: http://127.0.0.1:.../?token=..."
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# A report in a run that came from elsewhere is a stranger's page: it gets an origin of its own, and no network.
_POLICY_OF_SHOWN = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'"
)
_SHOWN = "/shown/"
_MOST_SHOWN = 1000
# What is not the fault of the question.
_STATUS: dict[type[SightlineError], int] = {CannotWrite: 507, OutputExists: 409}
_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Studio:
    """What the routes work with.

    Attributes:
        root: the folder that is shown.
        token: that every question bears.
        jobs: commands at work.
        sources: that were looked at.
        answers: bundles that were tried.
        limits: of a request.
        shown: files that a page of their own shows, by the tickets that stand in its address.
    """

    root: Root
    token: str = field(repr=False)
    jobs: Jobs
    sources: Sources
    answers: Answers
    limits: ServerLimits
    shown: dict[str, Path] = field(default_factory=dict)

    def ticket(self, path: Path) -> str | None:
        """An address under which one file is shown, as a link bears no header; None where there is no such file.

        Whoever has the address sees this file and no other.
        """
        if not _is_here(path):
            return None
        known = next((ticket for ticket, kept in list(self.shown.items()) if kept == path), None)
        if known is None:
            known = secrets.token_urlsafe(24)
            self.shown[known] = path
            for oldest in list(self.shown)[:-_MOST_SHOWN]:
                self.shown.pop(oldest, None)
        return f"{_SHOWN.removeprefix('/')}{known}"


def _is_here(path: Path) -> bool:
    """Whether it is a file, and no link on its way leads elsewhere."""
    return path.is_file() and absolute_path(path) == path


class TicketsInAddresses:
    """Lets questions pass whose address bears a ticket: it is as good as the token, for one file."""

    def __init__(self, app: ASGIApp, *, studio: Studio) -> None:
        """Stand before the gate."""
        self._app, self._studio = app, studio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; with a ticket that is known, the token is put beside it."""
        is_look = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"].startswith(_SHOWN)
        if is_look and scope["path"].removeprefix(_SHOWN) in self._studio.shown:
            token = (b"authorization", f"Bearer {self._studio.token}".encode())
            scope = {**scope, "headers": [*scope["headers"], token]}
        await self._app(scope, receive, send)


class QuietTelemetry(Telemetry):
    """Tells of faults alone: whoever has a studio open reads a terminal, not a log."""

    def say(self, event: str, **told: object) -> None:
        """A line of a fault."""
        if event == "fault":
            super().say(event, **told)


def build_studio(folder: str | Path, token: str, *, log: IO[str] | None = None) -> Starlette:
    """The application of the studio over a folder; every question has to bear the token.

    Faults are told in the log, None for stderr. An InvalidValue where there is no such folder.
    """
    root, limits, telemetry = Root(folder), ServerLimits(deadline_seconds=60.0), QuietTelemetry(log)
    studio = Studio(root, token, Jobs(root), Sources(), Answers(limits, telemetry), limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await studio.answers.close()

    options = ServerOptions(limits, (token,), hosts=_HOSTS)
    app = Starlette(
        routes=_routes(studio),
        middleware=[
            Middleware(TicketsInAddresses, studio=studio),
            Middleware(Gate, door=Door(options, telemetry), deadline=limits.deadline_seconds, telemetry=telemetry),
        ],
        exception_handlers={Refusal: _told_refusal, HTTPException: _told_absence, SightlineError: _told_mistake},
        lifespan=lifespan,
    )
    app.state.jobs = studio.jobs
    return app


def _routes(studio: Studio) -> list[Route]:
    root, jobs = studio.root, studio.jobs

    async def begin(request: Request) -> Response:
        told = await _told(request, studio)
        asked = asked_of(root, told.get("kind"), told)
        name = await asyncio.to_thread(jobs.start, str(told["kind"]), asked.arguments, asked.about, files=asked.files)
        return as_json(await asyncio.to_thread(jobs.of, name))

    async def command(request: Request) -> Response:
        told = await _told(request, studio)
        return as_json({"command": command_line(asked_of(root, told.get("kind"), told).arguments)})

    async def stop(request: Request) -> Response:
        told = await _told(request, studio)
        name = request.path_params["name"]
        await asyncio.to_thread(jobs.stop, name, at_once=told.get("at_once") is True)
        return as_json(jobs.of(name))

    async def pictures(request: Request) -> Response:
        told = await _told(request, studio)
        rows = told.get("rows")
        path = root.inside(told.get("source"))
        found = await asyncio.to_thread(studio.sources.pictures, path, rows if isinstance(rows, list) else [])
        return as_json({"pictures": found})

    async def predict(request: Request) -> Response:
        name = request.query_params.get("model", "")
        classifier = await asyncio.to_thread(studio.answers.classifier, name, run_at(root, name))
        return await classifier.predict(request)

    asking = _asking(studio)
    return [
        Route("/", _page(studio), methods=["GET"]),
        Route("/page/studio/{file:path}", _file("sightline.deployment.workshop"), methods=["GET"]),
        Route("/page/{file:path}", _file("sightline.deployment.server"), methods=["GET"]),
        Route(_SHOWN + "{ticket}", _shown_file(studio), methods=["GET"]),
        *(Route(f"/api/{path}", _in_thread(answer), methods=["GET"]) for path, answer in asking.items()),
        Route("/api/jobs", begin, methods=["POST"]),
        Route("/api/jobs/{name}/stop", stop, methods=["POST"]),
        Route("/api/command", command, methods=["POST"]),
        Route("/api/pictures", pictures, methods=["POST"]),
        Route("/api/predict", predict, methods=["POST"]),
        *set_routes(root, jobs, studio.sources, studio.answers.decoders, studio.limits),
    ]


def _asking(studio: Studio) -> dict[str, Callable[[Request], Any]]:
    """What only looks: path to function, which may take its time."""
    root, jobs = studio.root, studio.jobs

    def run(request: Request) -> Any:
        place = run_at(root, request.query_params.get("run"))
        return {**look_at_run(root, place), "report": studio.ticket(place / REPORT)}

    def job(request: Request) -> Any:
        told = jobs.of(request.path_params["name"])
        if told["kind"] == "audit":
            told["result"] = shown_audit(told["result"])
        return {**told, "page": studio.ticket(jobs.file_of(told["name"], PLAN_PAGE))}

    return {
        "about": lambda _: _about(root),
        "folder": lambda request: list_folder(root, request.query_params.get("path", "")),
        "look": lambda request: studio.sources.look(root.inside(request.query_params.get("source"))),
        "runs": lambda _: {"runs": list_runs(root)},
        "run": run,
        "jobs": lambda _: {"jobs": jobs.all()},
        "jobs/{name}": job,
    }


def _about(root: Root) -> dict[str, Any]:
    return {
        "root": printable(str(root.place)),
        "can_train": bool(installed_backends()),
        "recipes": [{"name": name, "summary": row.summary} for name, row in RECIPES.items()],
        "formats": [{"name": name, "summary": row.summary} for name, row in FORMATS.items()],
        "ways": list(WAYS),
    }


async def _told(request: Request, studio: Studio) -> dict[str, Any]:
    return json_of(await body_of(request, studio.limits))


def _in_thread(answer: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        return as_json(await asyncio.to_thread(answer, request))

    return answered


def _page(studio: Studio) -> Callable[[Request], Awaitable[Response]]:
    keys = Keys((studio.token,))

    async def page(request: Request) -> Response:
        try:
            keys.sender("", request.query_params.get("token", ""))
        except Refusal as refusal:
            raise Refusal(401, _ADDRESS_OF_PAGE) from refusal
        return _sent(request, page_files("sightline.deployment.workshop")["index.html"])

    return page


def _file(room: str) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        found = page_files(room).get(request.path_params["file"])
        if found is None:
            raise HTTPException(404)
        return _sent(request, found)

    return file


def _sent(request: Request, file: PageFile) -> Response:
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _shown_file(studio: Studio) -> Callable[[Request], Awaitable[Response]]:
    async def shown(request: Request) -> Response:
        path = studio.shown.get(request.path_params["ticket"])
        if path is None or not _is_here(path):
            raise HTTPException(404)
        headers = {"Content-Security-Policy": _POLICY_OF_SHOWN}
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)

    return shown


async def _told_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  # it is registered for these
    return as_json({"error": error.words, **error.content}, status=error.status, headers=dict(error.headers))


async def _told_absence(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # as above
    return as_json({"error": "there is nothing at this address."}, status=error.status_code)


async def _told_mistake(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
    return as_json({"error": printable(str(error))}, status=status)
