"""The folder of a page: what is the same for every bundle, and what is made of this one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from sightline.deployment.conversion.description import describe
from sightline.deployment.web.runtime_files import GLUE, SCRIPT, VERSION, WASM, runtime_files
from sightline.errors import InvalidBundle
from sightline.records import Bundle
from sightline.system.stored import parse_json, read_plain

# In the order in which one uses another.
ENGINE = ("containers.js", "resizing.js", "pictures.js", "inversion.js", "answers.js", "worker.js")
PAGE = (
    *("index.html", "style.css", "words.js", "classifier.js", "answers-list.js", "ways.js", "app.js"),
    *("sw.js", "icon.svg"),
)
BUNDLE = "bundle.js"
# The whole of a page in one file; its network is a third larger in it.
_MOST_BYTES = 2**30
_BEGIN, _END = "const SIGHTLINE_BUNDLE = ", ";\n"
# What the wheel of ONNX Runtime brings along; the same sources are in the file of WebAssembly.
_NOTICES = {"LICENSE": "onnxruntime-LICENSE.txt", "ThirdPartyNotices.txt": "onnxruntime-notices.txt"}

# Where it was installed without its text.
_OWN_LICENCE = "Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"


def write_page(bundle: Bundle, folder: Path) -> None:
    """Write a page that classifies by a bundle, a folder that needs nothing but a browser."""
    made = page_files(bundle)
    made["manifest.webmanifest"] = _manifest(_title(bundle))
    made["files.js"] = _files(made)
    for name, data in made.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def page_files(bundle: Bundle, *, is_whole: bool = False) -> dict[str, bytes]:
    """Name to content of a page; of one that is to be a single file the licences stand in it."""
    made = {name: _packaged("page", name) for name in PAGE}
    made |= dict(_runtime(runtime_files()))
    licences = dict(_licences())
    if not is_whole:
        made |= {name: text for name, (_, text) in licences.items()}
    content = {
        "title": _title(bundle),
        "about": describe(bundle),
        "licences": [[shown, name, *[text.decode()] * is_whole] for name, (shown, text) in licences.items()],
        "isWhole": is_whole,
    }
    network = (bundle.path / "model.onnx").read_bytes()
    made[BUNDLE] = _script(_BEGIN, content).encode()
    made["engine.js"] = _script("const SIGHTLINE_ENGINE = ", engine()).encode()
    made["network.js"] = _script("let SIGHTLINE_NETWORK = ", _packed(network)).encode()
    return made


def _title(bundle: Bundle) -> str:
    return str(bundle.metrics.get("source", {}).get("name") or bundle.path.name)


def engine() -> str:
    """The text of the worker that a page starts, behind that of ONNX Runtime."""
    return "\n".join(_packaged("engine", name).decode() for name in ENGINE)


def read_description(place: Path) -> dict[str, Any]:
    """What a page says of itself, as `describe` made it, from its folder or its file; else an InvalidBundle."""
    script = place / BUNDLE if place.is_dir() else place
    try:
        text = read_plain(script, most_bytes=_MOST_BYTES).decode()
        line = next(line for line in text.splitlines() if line.startswith(_BEGIN))
        about = parse_json(line.removeprefix(_BEGIN).removesuffix(_END.rstrip()))["about"]
    except (OSError, ValueError, TypeError, KeyError, StopIteration) as error:
        raise InvalidBundle(f"{script}: cannot be read ({error}). Copy the whole export again.") from error
    if not isinstance(about, dict):
        raise InvalidBundle(f"{script}: says nothing of its network. Copy the whole export again.")
    return about


def _packaged(kind: str, name: str) -> bytes:
    return resources.files("sightline.deployment.web").joinpath(kind, name).read_bytes()


def _script(beginning: str, content: Any) -> str:
    """A script, since a page that was opened as a file may read nothing else."""
    # Nothing in it is taken for the end of a script, wherever it stands.
    text = json.dumps(content, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f"{beginning}{text}{_END}"


def _packed(data: bytes) -> str:
    """Without a time in it, so that the same bundle makes the same page."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _runtime(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    content = {"script": files[SCRIPT].decode(), "glue": files[GLUE].decode(), "wasm": _packed(files[WASM])}
    yield "runtime.js", _script("let SIGHTLINE_RUNTIME = ", content).encode()


def _licences() -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Name in the folder to what it is called on the page, and its text."""
    licence = "licences/sightline-LICENSE.txt"
    own = importlib.metadata.distribution("sightline").read_text("licenses/LICENSE") or _OWN_LICENCE
    yield licence, ("Sightline (Apache-2.0)", own.encode())
    names = {"LICENSE": f"ONNX Runtime {VERSION} (MIT)", "ThirdPartyNotices.txt": "ONNX Runtime, third parties"}
    for stored, written in _NOTICES.items():
        text = resources.files("onnxruntime").joinpath(stored).read_bytes()
        yield f"licences/{written}", (names[stored], text)


def _manifest(title: str) -> bytes:
    told = {
        "name": title,
        "short_name": title[:24],
        "start_url": "index.html",
        "display": "standalone",
        "background_color": "#f7f6f3",
        "theme_color": "#1f5f8b",
        "icons": [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}],
    }
    return json.dumps(told, indent=2).encode()


def _files(made: Mapping[str, bytes]) -> bytes:
    """What is kept for where there is no network; another content is another version."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(made.items())}
    version = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]
    names = ["./", *(name for name in hashes if name != "sw.js"), "files.js"]
    return _script("const SIGHTLINE_FILES = ", {"version": version, "names": names}).encode()
