"""What the page asks of sets, by address: each a short question, answered in a thread beside the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sightline.bundles.bundle import load_bundle
from sightline.data.decoding.formats import format_of
from sightline.data.inputs.reading import Reader
from sightline.deployment.server.classify import as_json
from sightline.deployment.server.decoders import Decoders
from sightline.deployment.server.limits import Refusal, ServerLimits
from sightline.deployment.server.uploads import body_of, json_of
from sightline.deployment.workshop.commands import ANSWERS, run_at
from sightline.deployment.workshop.folders import Root
from sightline.deployment.workshop.jobs import Jobs
from sightline.deployment.workshop.looking import Sources
from sightline.deployment.workshop.sets.adding import add_picture
from sightline.deployment.workshop.sets.asking import doubted, doubted_in, unlabelled
from sightline.deployment.workshop.sets.changes import (
    correct_file,
    keep_label,
    label_file,
    remove_file,
    rename_class,
    told,
    undo_change,
)
from sightline.deployment.workshop.sets.contents import (
    begin_set,
    existing_class,
    look_at_set,
    make_class,
    page_of_class,
    set_at,
    thumbnails,
)
from sightline.deployment.workshop.sets.journal import last_change
from sightline.deployment.workshop.sets.tables import keep_row, relabel_row
from sightline.errors import InvalidValue
from sightline.records import Dataset, InputSpec
from sightline.reporting.pages.miniatures import SIDE
from sightline.system.text import printable

# How a picture is read before it is written into a set.
_TRIED = Reader(InputSpec(SIDE, SIDE, "rgb"))
_LONGEST_NAME = 255
_MOST_FIRST = 10**6


def set_routes(root: Root, jobs: Jobs, sources: Sources, decoders: Decoders, limits: ServerLimits) -> list[Route]:
    """Those of sets, below /api/set."""

    def answer(work: Callable[[Mapping[str, Any]], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            asked = request.query_params if request.method == "GET" else json_of(await body_of(request, limits))
            return as_json(await asyncio.to_thread(work, asked))

        return answered

    looks, works = _looks(root, jobs, sources), _works(root) | _tables(root, sources)
    return [
        *(Route(f"/api/set{path}", answer(work), methods=["GET"]) for path, work in looks.items()),
        *(Route(f"/api/set/{path}", answer(work), methods=["POST"]) for path, work in works.items()),
        Route("/api/set/add", _adding(root, decoders, limits), methods=["POST"]),
    ]


def _looks(root: Root, jobs: Jobs, sources: Sources) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    def unlabelled_of(asked: Mapping[str, Any]) -> Any:
        place = set_at(root, asked.get("set"))
        if asked.get("job") is None:
            return unlabelled(root, place, None)
        job = jobs.of(asked.get("job"))
        if job["kind"] != "answers" or job["about"].get("source") != root.name_of(place):
            raise InvalidValue("these are not answers to the pictures of this folder. Ask the run again.")
        names = load_bundle(run_at(root, job["about"].get("run"))).class_names
        return unlabelled(root, place, jobs.file_of(job["name"], ANSWERS), names)

    def doubts(asked: Mapping[str, Any]) -> Any:
        job = jobs.of(asked.get("job"))
        source = job["about"].get("source")
        if not isinstance(source, str) or not (place := root.inside(source)).exists():
            raise InvalidValue("the pictures do not lie in the folder of this studio, so no label is changed here.")
        if place.is_dir():
            return doubted(root, set_at(root, source), job)
        return doubted_in(root, place, job, sources.opened(place).class_names)

    return {
        "": lambda asked: _looked_at(root, set_at(root, asked.get("set"))),
        "/pictures": lambda asked: {"files": _page(root, asked)},
        "/unlabelled": unlabelled_of,
        "/doubts": doubts,
    }


def _looked_at(root: Root, place: Path) -> dict[str, Any]:
    last = last_change(place)
    return {**look_at_set(root, place), "last": None if last is None else told(last)}


def _page(root: Root, asked: Mapping[str, Any]) -> list[str]:
    first = str(asked.get("first", "0"))
    if not (first.isascii() and first.isdecimal() and len(first) < 8):
        raise InvalidValue(f"first must be a whole number up to {_MOST_FIRST:,}; got {printable(first)[:50]!r}.")
    return page_of_class(root, set_at(root, asked.get("set")), str(asked.get("class", "")), int(first))


def _works(root: Root) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    def place_of(asked: Mapping[str, Any]) -> Path:
        return set_at(root, asked.get("set"))

    def pictures(asked: Mapping[str, Any]) -> Any:
        files = asked.get("files")
        found = thumbnails(
            place_of(asked), files if isinstance(files, list) else [], is_large=asked.get("large") is True
        )
        return {"pictures": found}

    return {
        "begin": lambda asked: _looked_at(root, begin_set(root, asked.get("folder"), asked.get("name"))),
        "class": lambda asked: {"class": make_class(root, place_of(asked), asked.get("name"))},
        "rename": lambda asked: rename_class(root, place_of(asked), asked.get("name"), asked.get("to")),
        "remove": lambda asked: remove_file(place_of(asked), asked.get("file")),
        "label": lambda asked: label_file(root, place_of(asked), asked.get("file"), asked.get("label")),
        "correct": lambda asked: correct_file(
            root, place_of(asked), asked.get("file"), asked.get("given"), asked.get("label")
        ),
        "keep": lambda asked: keep_label(place_of(asked), asked.get("file"), asked.get("given")),
        "undo": lambda asked: undo_change(place_of(asked), asked.get("number")),
        "thumbnails": pictures,
    }


def _tables(root: Root, sources: Sources) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """For sources that are no folders."""

    def source_of(asked: Mapping[str, Any]) -> tuple[Path, Dataset]:
        source = root.inside(asked.get("source"))
        if not source.is_file():
            raise InvalidValue(f"{printable(root.name_of(source))}: there is no such file. Choose it again.")
        set_at(root, root.name_of(source.parent))
        return source, sources.opened(source)

    return {
        "relabel": lambda asked: told(relabel_row(*source_of(asked), asked.get("file"), asked.get("label"))),
        "keep-row": lambda asked: told(keep_row(*source_of(asked), asked.get("file"))),
    }


def _adding(root: Root, decoders: Decoders, limits: ServerLimits) -> Callable[[Request], Awaitable[Response]]:
    def where(asked: Mapping[str, Any]) -> tuple[Path, Path]:
        place = set_at(root, asked.get("set"))
        name = asked.get("class", "")
        return place, existing_class(root, place, name) if name else place

    async def add(request: Request) -> Response:
        asked = request.query_params
        # What cannot be written is refused before a body is waited for.
        place, folder = await asyncio.to_thread(where, asked)
        name = asked.get("name", "")[-_LONGEST_NAME:]
        content = await body_of(request, limits)
        # What breaks a decoder does so in a process of its own, before it lies in the set.
        reading = await decoders.read(_TRIED, content)
        if reading.error is not None:
            raise Refusal(422, f"{printable(name) or 'picture'}: {reading.error.removeprefix('image bytes: ')}")

        def write() -> dict[str, Any]:
            path, was_there = add_picture(place, folder, name, content, picture=format_of(content))
            file = path.relative_to(place).as_posix()
            (picture,) = thumbnails(place, [file])
            return {"file": file, "was_there": was_there, **(picture or {})}

        return as_json(await asyncio.to_thread(write))

    return add
