"""A bundle by its address on the Hugging Face Hub, hf://OWNER/NAME: fetched into the hub's own cache, opened as any."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.errors import DownloadFailed, InvalidBundle, InvalidValue, require
from sightline.system.progress import reporter
from sightline.system.text import printable

ADDRESS = "hf://"
# The folder of a published repository that is the bundle; who uploads by hand may have put its files at the top.
FOLDER = "bundle"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_NAME = re.compile(rf"{_NAME}/{_NAME}")
# A Path makes one stroke of two.
_TYPED = re.compile(r"hf:/{1,2}(?P<name>[^@]*)(?:@(?P<revision>[\w./-]{1,255}))?")
# Read when huggingface_hub is imported.
_QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1"}


def is_published(path: object) -> bool:
    """Whether a bundle is named by its address on the hub."""
    return isinstance(path, str | Path) and str(path).startswith(ADDRESS[:-1])


def check_hub_name(name: str, *, said: str) -> None:
    """Refuse what is no OWNER/NAME of the hub; `said` is how it was typed."""
    if not isinstance(name, str) or not _HUB_NAME.fullmatch(name) or ".." in name or "--" in name:
        raise InvalidValue(
            f"{printable(said)}: no repository is called so. Name OWNER/NAME, of letters, digits, - _ and . alone."
        )


def fetched(address: str | Path, *, files: tuple[str, ...]) -> Path:
    """The folder of a bundle on the hub, fetched where it is not in the hub's cache yet.

    Args:
        address: hf://OWNER/NAME, or hf://OWNER/NAME@REVISION.
        files: the names that a bundle may have files of; nothing else is fetched.
    """
    match, said = _TYPED.fullmatch(str(address)), printable(str(address).replace("hf:/", ADDRESS).replace("///", "//"))
    if match is None:
        raise InvalidValue(f"{said}: no address of a bundle. Name hf://OWNER/NAME, or hf://OWNER/NAME@REVISION.")
    check_hub_name(match["name"], said=said)
    hub = imported_hub(said)
    patterns = [place for name in files for place in (name, f"{FOLDER}/{name}")]
    with silent_hub(hub), telling_of_hub(hub, said):
        folder = hub.snapshot_download(match["name"], revision=match["revision"], allow_patterns=patterns)
    return Path(folder)


def imported_hub(purpose: str) -> Any:
    """huggingface_hub, with its telemetry off; a MissingPackage with the extra that brings it."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    options = {"purpose": purpose, "install": "sightline[hub]"}
    for part in ("errors", "utils"):  # which it hands on only once they were imported
        require(f"huggingface_hub.{part}", **options)
    hub = require("huggingface_hub", **options)
    _ = hub.snapshot_download, hub.HfApi  # loaded when they are first named, and each sets up what it logs by
    return hub


@contextlib.contextmanager
def silent_hub(hub: Any) -> Iterator[None]:
    """Without bars where nothing is to be said, and without its advice."""
    logger, are_off = logging.getLogger("huggingface_hub"), hub.utils.are_progress_bars_disabled()
    before = logger.level
    logger.setLevel(logging.ERROR)
    if reporter().mode != "terminal":
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(before)
        if not are_off:
            hub.utils.enable_progress_bars()


@contextlib.contextmanager
def telling_of_hub(hub: Any, said: str) -> Iterator[None]:
    """Turn what goes wrong at the hub into a sentence; no address with a signature in it is repeated."""
    errors = hub.errors
    try:
        yield
    except errors.GatedRepoError as error:
        raise InvalidBundle(f"{said}: its owner lets in whom they know. Ask for access on its page there.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InvalidBundle(
            f"{said}: no such repository or revision is there for you. If it is private, log in: hf auth login"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise DownloadFailed(
            f"{said}: the hub cannot be reached, and its cache on this machine does not have it. Fetch it where there "
            "is a network, and name the folder."
        ) from error
    except errors.HfHubHTTPError as error:
        raise DownloadFailed(f"{said}: the hub answers {_status(error)}. Try again later.") from error
    except Exception as error:  # what its client raises has no one root
        raise DownloadFailed(f"{said}: cannot be fetched ({printable(type(error).__name__)}). Try again.") from error


def _status(error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return "with an error" if status is None else f"with status {status}"
