"""Writing without loss, hashes, and the folders that Sightline owns.

Nothing is ever written in place: a file is written beside, flushed to the disk
and renamed, so that a crash or a full disk leaves what was there before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.errors import CannotWrite, OutputExists


@contextlib.contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into a sentence.

    Args:
        place: what the user asked to be written, for the message.

    Yields:
        Nothing.

    Raises:
        CannotWrite: the disk is full, the folder is read-only, missing or not a folder.

    Example:
        >>> with writing_to(Path("out.png")):
        ...     pass
    """
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "the disk is full. Free some space, or choose another place with --out",
            errno.EDQUOT: "your disk quota is used up. Free some space, or choose another place with --out",
            errno.EROFS: "the disk is read-only. Choose another place with --out",
            errno.EFBIG: "the file would be larger than is allowed here. Choose another place with --out",
            errno.EACCES: "no permission to write there. Choose another place with --out",
            errno.EPERM: "no permission to write there. Choose another place with --out",
            errno.EEXIST: "a part of the path is a file, not a folder",
            errno.ENOTDIR: "a part of the path is a file, not a folder",
            errno.EISDIR: "it is a folder. Name a file",
            errno.ENAMETOOLONG: "the name is too long",
        }
        if error.errno not in remedies:
            raise
        raise CannotWrite(f"{place}: {remedies[error.errno]}. What was there before is untouched.") from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file beside its place and rename it there.

    Args:
        path: where the file shall stand; its folder is made if it is missing.
        content: bytes, or text to be written as UTF-8.

    Raises:
        CannotWrite: the disk is full or the folder cannot be written; an old file is untouched.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_atomically(path, "whole")
        >>> path.read_text()
        'whole'
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON; NaN becomes null, since JSON has no NaN.

    Args:
        path: where the file shall stand.
        content: dicts, lists, strings, numbers, booleans, None.

    Raises:
        CannotWrite: as `write_atomically`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.json"
        >>> write_json(path, {"f1": float("nan")})
        >>> json.loads(path.read_text())
        {'f1': None}
    """
    write_atomically(path, json.dumps(without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def without_nan(content: Any) -> Any:
    """The same tree with null where a number is NaN or infinite.

    Args:
        content: plain values.

    Returns:
        A tree that every JSON reader accepts.

    Raises:
        Nothing.

    Example:
        >>> without_nan({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Args:
        path: a readable file.

    Returns:
        The digest.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "empty"
        >>> path.touch()
        >>> sha256_of(path)[:8]
        'e3b0c442'
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where Sightline keeps what can be made again: SIGHTLINE_CACHE, or the user's cache folder.

    Returns:
        A path that may not exist yet.

    Raises:
        Nothing.

    Example:
        >>> cache_folder().name
        'sightline'
    """
    if chosen := os.environ.get("SIGHTLINE_CACHE"):
        return Path(chosen).expanduser()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "sightline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"


def check_free(out: Path) -> None:
    """Refuse a place that is taken, before any work is done for it.

    Args:
        out: a folder that may be missing or empty.

    Raises:
        OutputExists: it is a file, or a folder with something in it.

    Example:
        >>> check_free(Path("not-there-yet"))
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        what = "a folder that is not empty" if out.is_dir() else "a file"
        raise OutputExists(f"{out} is {what}; nothing in it was changed. Choose another --out, or move it away.")


@contextlib.contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A folder that appears under its name only when it is whole.

    Args:
        final: where it shall stand; must not exist.

    Yields:
        A temporary folder beside it, renamed to `final` at the end and removed on an error.

    Raises:
        OutputExists: `final` exists, or somebody else made it meanwhile.
        CannotWrite: the disk is full or read-only.

    Example:
        >>> import tempfile
        >>> final = Path(tempfile.mkdtemp()) / "bundle"
        >>> with staged_folder(final) as folder:
        ...     _ = (folder / "a.txt").write_text("a")
        >>> (final / "a.txt").read_text()
        'a'
    """
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.partial")
    with writing_to(final):
        if final.exists():
            raise _taken(final)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for path in temporary.iterdir():
                _flush_file(path)
            _rename(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _flush_folder(final.parent)


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError as error:
        # Onto a folder that somebody else made meanwhile: each system has an error of its own for that.
        if final.exists():
            raise _taken(final) from error
        raise


def _taken(final: Path) -> OutputExists:
    return OutputExists(f"{final} exists; nothing in it was changed. Choose another place.")


def _flush_file(path: Path) -> None:
    if path.is_file():
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    # Without this a power cut can lose the rename; Windows cannot open folders.
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
