"""The files of the page, read once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """One file as it is sent.

    Attributes:
        content: its bytes.
        media_type: of HTTP.
        etag: changes when the content does.
    """

    content: bytes = field(repr=False)
    media_type: str
    etag: str


@functools.cache
def page_files(room: str = "sightline.deployment.server") -> Mapping[str, PageFile]:
    """Those of the page of a room, by the path within its folder, as in "words/en.json"; nothing else is ever sent."""
    return dict(_read(resources.files(room).joinpath("page"), ""))


def _read(folder: Traversable, within: str) -> Iterator[tuple[str, PageFile]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = f"{within}{entry.name}"
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif (media_type := _TYPES.get(f".{entry.name.rpartition('.')[2]}")) is not None:
            content = entry.read_bytes()
            yield name, PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
