"""The steps there and back: each goes by what lies on the disk, so that it may be repeated, and loses nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from sightline.deployment.sorting.journal import Journal, Step
from sightline.system.files import flush_folder, remove_leftovers, sha256_of

# What a file system answers that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_PARTIAL = ".sort.*.partial"
# A disk that takes no more; all else is about one file.
_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_COARSEST = 2 * 10**9
_RESERVED = b"A name that sightline sort has taken for a file that is on its way; it may be removed.\n"


@dataclass(frozen=True)
class Outcome:
    """What became of a step: it is done, by this call or before, or why it was left.

    Attributes:
        step: of the journal.
        why_left: "" where it is done.
        is_changed: whether this call did it.
        may_be_repeated: whether somebody may clear what is in the way, so that it can be done then.
    """

    step: Step
    why_left: str = ""
    is_changed: bool = False
    may_be_repeated: bool = False


def make_folders(journal: Journal) -> None:
    """Make those of a sorting, and clear what a killed one left half copied."""
    journal.into.mkdir(parents=True, exist_ok=True)
    for folder in journal.folders:
        (journal.into / folder).mkdir(exist_ok=True)
    clear_leftovers(journal)


def clear_leftovers(journal: Journal) -> None:
    """Remove what killed commands left half copied, there and, on the way back from another disk, here."""
    places = {(journal.into / step.target).parent for step in journal.steps}
    if journal.by == "move":
        places |= {(journal.source / step.source).parent for step in journal.steps}
    for place in places:
        remove_leftovers(place, _PARTIAL)


def do(journal: Journal, step: Step) -> Outcome:
    """Bring one file to its place; what is there already stays, and what is no longer as it was planned is left."""
    try:
        return _do(journal, step)
    except OSError as error:
        return _left(step, error)


def _left(step: Step, error: OSError) -> Outcome:
    """A file that cannot be read, or vanished, is left; a disk that takes no more ends all."""
    if error.errno in _NO_MORE:
        raise error
    return Outcome(step, f"it could not be brought there ({error.strerror or error})", may_be_repeated=True)


def _do(journal: Journal, step: Step) -> Outcome:
    source, target = journal.source / step.source, journal.into / step.target
    if why := _why_not_safe(journal, source, target):
        return Outcome(step, why)
    _clear_reservation(target)
    before, after = _status(source), _status(target)
    if before is None:
        is_there = after is not None and _is_about_as_planned(after, step)
        return Outcome(step, "" if is_there else "it is gone")
    if after is not None:
        return _finish(journal.by, step, source, target)
    if not _is_as_planned(before, step):
        return Outcome(step, "it changed since it was looked at")
    try:
        if journal.by == "copy":
            _copy(source, target)
        elif journal.by == "link":
            target.symlink_to(source)
        elif journal.by == "hardlink":
            os.link(source, target)
        else:
            _move(source, target)
    except FileExistsError:
        return Outcome(step, "something lies in its place")
    return Outcome(step)


def _finish(by: str, step: Step, source: Path, target: Path) -> Outcome:
    """Where both are there: whether it is what a killed sorting had brought there."""
    in_the_way = Outcome(step, "something lies in its place")
    if by == "link":
        return Outcome(step) if target.is_symlink() and target.readlink() == source else in_the_way
    if target.is_symlink():
        return in_the_way
    if by in ("hardlink", "move") and source.samefile(target):
        if by == "move":
            source.unlink()
        return Outcome(step)
    if by != "hardlink" and _is_same(source, target):
        if by == "move":
            source.unlink()
        return Outcome(step)
    return in_the_way


def undo(journal: Journal, step: Step) -> Outcome:
    """Take one file back; what its user changed since is left."""
    try:
        return _undo(journal, step)
    except OSError as error:
        return _left(step, error)


def _undo(journal: Journal, step: Step) -> Outcome:
    source, target = journal.source / step.source, journal.into / step.target
    if why := _why_not_safe(journal, source, target):
        return Outcome(step, why, may_be_repeated=True)
    _clear_reservation(target)
    return (_move_back if journal.by == "move" else _take_away)(journal, step, source, target)


def _take_away(journal: Journal, step: Step, source: Path, target: Path) -> Outcome:
    before, after = _status(source), _status(target)
    if after is None:
        return Outcome(step)
    if journal.by == "link":
        is_ours = target.is_symlink() and target.readlink() == source
    elif journal.by == "hardlink":
        is_ours = before is not None and os.path.samestat(before, after)
    else:
        is_ours = before is not None and _is_same(source, target)
        if not is_ours and _is_about_as_planned(after, step):
            return Outcome(step, "its original is gone or was changed, and this is the only one left")
    if not is_ours:
        return Outcome(step, "it was changed since")
    target.unlink()
    return Outcome(step, is_changed=True)


def _move_back(journal: Journal, step: Step, source: Path, target: Path) -> Outcome:
    # A disk that is not there now, or a folder that a stranger's journal alone names: neither is made.
    if not journal.source.is_dir():
        return Outcome(step, f"there is no folder {journal.source}", may_be_repeated=True)
    _clear_reservation(source)
    before, after = _status(source), _status(target)
    if after is None:
        return Outcome(step, "" if before is not None else "it is gone")
    if before is not None and (os.path.samestat(before, after) or _is_same(source, target)):
        target.unlink()
        return Outcome(step, is_changed=True)
    if not _is_about_as_planned(after, step):
        return Outcome(step, "it was changed since")
    source.parent.mkdir(parents=True, exist_ok=True)
    try:
        _move(target, source)
    except FileExistsError:
        return Outcome(step, "something lies where it was", may_be_repeated=True)
    return Outcome(step, is_changed=True)


def remove_folders(journal: Journal) -> None:
    """Remove the folders that a sorting made and that are empty now."""
    for folder in reversed(journal.folders):
        with contextlib.suppress(OSError):
            (journal.into / folder).rmdir()


def _why_not_safe(journal: Journal, source: Path, target: Path) -> str:
    """Why neither file is touched: a link leads elsewhere, or makes one folder of both, so that each is the other."""
    if leads_out(journal.into, target) or leads_out(journal.source, source):
        return "a link leads out of the folder"
    is_one = source.parent.exists() and target.parent.exists() and source.parent.samefile(target.parent)
    return "a link makes one folder of where it was and where it is" if is_one else ""


def leads_out(root: Path, place: Path) -> bool:
    """Whether a link on the way to a file leads out of a folder."""
    return not place.parent.resolve().is_relative_to(root.resolve())


def _copy(source: Path, target: Path, *, is_verified: bool = False) -> None:
    """Beside its place, then under its name, if nothing has it by then."""
    partial = target.with_name(f".sort.{secrets.token_hex(4)}.partial")
    try:
        shutil.copyfile(source, partial)
        shutil.copystat(source, partial)
        if is_verified:
            with partial.open("rb+") as stream:
                os.fsync(stream.fileno())
            if sha256_of(source) != sha256_of(partial):
                raise OSError(errno.EIO, "what was copied is not what lay there", str(target))
        put_if_free(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    """Under another name on the same disk; to another disk copied, compared and only then removed."""
    try:
        put_if_free(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, is_verified=True)
        flush_folder(target.parent)
        source.unlink()


def put_if_free(place: Path, target: Path) -> None:
    """Rename, and never onto what is there: a FileExistsError."""
    try:
        os.link(place, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without hard links the name is taken by a file of ours first, which may be replaced.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(_RESERVED)
        place.replace(target)
        return
    place.unlink()


def _clear_reservation(place: Path) -> None:
    """Remove what a killed command left of a name that it had taken: nobody's file holds just that."""
    found = _status(place)
    is_as_large = found is not None and stat.S_ISREG(found.st_mode) and found.st_size == len(_RESERVED)
    if is_as_large and place.read_bytes() == _RESERVED:
        place.unlink()


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_as_planned(found: os.stat_result, step: Step) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size == step.num_bytes and found.st_mtime_ns == step.time


def _is_about_as_planned(found: os.stat_result, step: Step) -> bool:
    """The same after another disk took it: some keep times to two seconds."""
    is_near = abs(found.st_mtime_ns - step.time) <= _COARSEST
    return stat.S_ISREG(found.st_mode) and found.st_size == step.num_bytes and is_near


def _is_same(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes, which are compared: a size and a time are shared by many. Links do not."""
    try:
        found = one.lstat(), other.lstat()
        is_plain = all(stat.S_ISREG(each.st_mode) for each in found)
        return is_plain and found[0].st_size == found[1].st_size and sha256_of(one) == sha256_of(other)
    except OSError:
        return False
