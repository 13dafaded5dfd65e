"""JSON and arrays read back from the disk: damaged or made by a stranger, they end in one kind of error.

What a file may cost is bounded before it is parsed, and nothing in it is run.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import stat
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sightline.errors import OutOfResources

if TYPE_CHECKING:  # the command line imports this file and does not wait for NumPy
    import numpy as np
    from numpy.typing import NDArray

# metrics.json of a thousand classes had 11 MB once; nothing else comes near.
MOST_JSON_BYTES = 64 * 2**20
MOST_DEPTH = 32
# Counts of a thousand classes by a thousand are one million; an empty list costs 30 times its bytes of text.
MOST_PARTS = 4_000_000
MOST_ARRAY_BYTES = 8 * 2**30
# Five million images and more; what is larger was hardly meant.
MOST_TABLE_BYTES = 512 * 2**20
# Deflate packs a thousand to one at most; 64 more for headers.
_MOST_PACKED = 1100
_MOST_WHOLE = 2**63
# Truths, whole and broken numbers, bytes and text; nothing in these is an object or has parts.
_PLAIN_KINDS = "biufSU"


def open_without_waiting(path: str, flags: int) -> int:
    """An opener for `open`, which a pipe that nobody writes to does not hold up for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def raise_if_exhausted(error: OSError) -> None:
    """Refuse what is no fault of the file that was to be read: whoever took it for one would call sound data damaged.

    Raises:
        OutOfResources: too many files are open, or there is no memory.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE):
        raise OutOfResources(
            "too many files are open at once. Allow this process more, for instance with: ulimit -n 4096"
        ) from error
    if error.errno == errno.ENOMEM:
        raise OutOfResources("the memory does not suffice. End other programs, or use a larger machine.") from error


def open_plain(path: Path) -> io.BufferedReader:
    """A file opened to be read in bytes; an OSError that says so where it is a folder, a pipe or a device."""
    _check_plain(path, path.stat())
    stream = open(path, "rb", opener=open_without_waiting)  # noqa: SIM115  # Path's own takes no opener
    try:
        _check_plain(path, os.fstat(stream.fileno()))  # something else may have taken its place meanwhile
    except OSError:
        stream.close()
        raise
    return stream


def _check_plain(path: Path, status: os.stat_result) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # opening a folder raises by itself
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a file", str(path))


def read_plain(path: Path, *, most_bytes: int = MOST_TABLE_BYTES) -> bytes:
    """The content of a file; an OSError that says so where it is larger, or no file."""
    with open_plain(path) as stream:
        num_bytes = os.fstat(stream.fileno()).st_size
        # One byte more than it has, so that no more memory is taken than needed, and a file that grows is noticed.
        content = stream.read(num_bytes + 1) if num_bytes <= most_bytes else b""
    if num_bytes > most_bytes or len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def read_json(path: Path, *, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """The content of a JSON file of bounded size and depth: plain values, of which every number is finite.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large or too deep, holds a key twice or a number that is none, or is no JSON.
    """
    with open_plain(path) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return parse_json(content.decode("utf-8"))


def parse_json(text: str, *, allow_nan: bool = False, most_parts: int = MOST_PARTS) -> Any:
    """The content of JSON text of bounded depth; a ValueError where it is none."""
    if sum(map(text.count, ",[{")) > most_parts:
        raise ValueError(f"it has more than {most_parts:,} parts")
    try:
        content = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_int=_whole,
            parse_float=float if allow_nan else _finite,
            parse_constant=float if allow_nan else _finite,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep") from None
    _check_depth(content)
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} is given twice")
            seen.add(key)
    return content


def _whole(digits: str) -> int:
    value = int(digits) if len(digits) < 20 else _MOST_WHOLE
    if not -_MOST_WHOLE < value < _MOST_WHOLE:
        raise ValueError(f"the number {digits[:20]}... is out of range")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is no finite number")
    return value


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MOST_DEPTH + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEPTH} deep")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def read_arrays(
    path: Path, *, names: Iterable[str] | None = None, most_bytes: int = MOST_ARRAY_BYTES
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file of bounded size, each as long as it says; objects, which can run code, never.

    Args:
        path: a file.
        names: what to read; all that is there if left out.
        most_bytes: what the arrays may take together; while one is read, it is held twice.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, lacks one of `names`, or says that it holds more than it does.
    """
    # Opened first: once it is, an OSError comes of the places that a damaged archive points to.
    with (
        open_plain(path) as stream,
        as_value_error(),
        zipfile.ZipFile(stream) as archive,
    ):
        found = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        wanted = list(found) if names is None else list(names)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ValueError(f"it lacks the array {missing[0]!r}")
        packed = sum(found[name].compress_size for name in wanted)
        whole = sum(found[name].file_size for name in wanted)
        if whole > min(most_bytes, _MOST_PACKED * packed + 64 * len(wanted)):
            raise ValueError(f"it says that it holds {whole:,} bytes")
        return {name: _array(archive.read(found[name])) for name in wanted}


@contextlib.contextmanager
def as_value_error() -> Iterator[None]:
    """Damage brings NumPy, tokenizers and unpackers to raise nearly every type there is; here it becomes one."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it lies by columns, and dtype of an array in NumPy's format; what fails is of any type."""
    import numpy as np

    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"an array of format {version}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote, which are read all the same
        shape, is_by_columns, dtype = read(stream)
    return shape, is_by_columns, dtype


def _array(content: bytes) -> NDArray[Any]:
    import numpy as np

    stream = io.BytesIO(content)
    shape, is_by_columns, dtype = read_header(stream)
    rest = len(content) - stream.tell()
    size = dtype.itemsize
    for side in shape:
        size *= side
    if dtype.kind not in _PLAIN_KINDS or dtype.itemsize == 0 or any(side < 0 for side in shape) or size != rest:
        raise ValueError(f"an array of {dtype} {shape} in {rest:,} bytes")
    flat = np.frombuffer(content, dtype=dtype, offset=stream.tell())
    check_letters(flat)
    return flat.reshape(shape, order="F" if is_by_columns else "C").copy()


def check_letters(array: NDArray[Any]) -> None:
    """Refuse an array of text with numbers that are no letters: Python takes them, and fails when they are looked at.

    Raises:
        ValueError: there is one.
    """
    import numpy as np

    if array.dtype.kind == "U" and array.dtype.itemsize:
        number = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        if int(np.ascontiguousarray(array).reshape(-1).view(number).max(initial=0)) > sys.maxunicode:
            raise ValueError("text of numbers that are no letters")
