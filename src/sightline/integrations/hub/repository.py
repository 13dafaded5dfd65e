"""The folder of a published bundle: its files, with no image and no name of one in them unless that was said."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sightline.bundles.bundle import CAPABILITIES, MANIFEST, SIGNATURE, load_bundle
from sightline.bundles.parity import FILE as PARITY, made_images, parity_section, write_parity
from sightline.bundles.published import FOLDER
from sightline.bundles.sessions import session_of
from sightline.data.sources.catalog import SOURCES
from sightline.errors import OutputExists
from sightline.integrations.hub.model_cards import MARK
from sightline.records import Bundle
from sightline.system.files import check_free, sha256_of, write_atomically, write_json
from sightline.system.paths import check_place
from sightline.system.stored import read_arrays, read_json, read_plain

README, ATTRIBUTES = "README.md", ".gitattributes"
# What shows or names an image: files, the heading of what the card says of them, and what is told.
_NAMING = {
    "thumbnails.npz": "small pictures of train images",
    "neighbours.npz": "names of train images",
}
_NEAREST = "## The nearest training images"
_INSIDE = "## Images inside"
# Whoever pushes it by git stores these as the hub asks for it.
_LARGE = ("*.onnx", "*.keras", "*.npz")


def check_folder(out: Path, keep: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse a folder that is taken; one that was published before may be renewed where its user says so."""
    is_ours = out.is_dir() and _is_ours(out)
    if is_ours and overwrite:
        check_place("out", out, keep=keep)
        return
    if is_ours:
        check_place("out", out, keep=keep)
        raise OutputExists(f"{out} holds a bundle that was published before. Name another folder, or add --overwrite.")
    check_free(out, keep=keep)


def _is_ours(out: Path) -> bool:
    try:
        return MARK.encode() in read_plain(out / README) and (out / FOLDER / MANIFEST).is_file()
    except OSError:
        return False


def copy_bundle(bundle: Bundle, folder: Path, *, with_images: bool) -> list[str]:
    """Copy a bundle, and take out of the copy what shows or names an image; what was changed, in words.

    Where nothing had to be changed, every byte is the same, its signature, too.
    """
    names = [MANIFEST, *bundle.manifest["files"]]
    if (bundle.path / SIGNATURE).is_file():
        names.append(SIGNATURE)
    folder.mkdir()
    for name in names:
        shutil.copyfile(bundle.path / name, folder / name)
    remarks = [] if with_images else [*_without_images(bundle, folder)]
    remarks += _without_place(folder)
    if remarks:
        _seal(folder, bundle.manifest)
        if SIGNATURE in names:
            (folder / SIGNATURE).unlink()
            remarks.append("The signature is of the bundle as it was before, and was left out; sign this one anew.")
    return remarks


def _without_images(bundle: Bundle, folder: Path) -> Iterable[str]:
    card = (folder / "card.md").read_text(encoding="utf-8")
    if (folder / PARITY).is_file() and not _is_made(folder / PARITY):
        images = made_images(bundle.input)
        write_parity(folder, session_of(bundle), images, are_made=True)
        card = _with_section(card, _INSIDE, parity_section(len(images), are_made=True).strip())
        yield f"Of the images of the data that it was verified by (`{PARITY}`), made ones took the place."
    gone = [name for name in _NAMING if (folder / name).is_file()]
    for name in gone:
        (folder / name).unlink()
    if gone:
        card = _with_section(card, _NEAREST, "")
        listed = " and ".join(f"{_NAMING[name]} (`{name}`)" for name in gone)
        yield f"Left out: {listed}. `predict --nearest` has nothing to name."
    write_atomically(folder / "card.md", card)


def _is_made(path: Path) -> bool:
    """Whether the images by which a bundle is verified show nothing; of an older bundle nobody knows."""
    try:
        return str(read_arrays(path, names=("kind",))["kind"]) == "made"
    except (OSError, ValueError):
        return False


def _without_place(folder: Path) -> Iterable[str]:
    """Where on this machine its images lie is nobody's business; the name of a data set that all know stays."""
    metrics = read_json(folder / "metrics.json")
    source = metrics.get("source") or {}
    if source.get("typed") and source["typed"] not in SOURCES:
        told = {**metrics, "source": {**source, "typed": ""}}
        write_atomically(folder / "metrics.json", json.dumps(told, indent=2) + "\n")  # a stranger's may hold any letter
        yield "Where its images lie on the machine that it was made on was left out (`metrics.json`)."


def _with_section(card: str, heading: str, section: str) -> str:
    """A card with another section in place of that under a heading, or with none."""
    put = f"{section}\n\n" if section else ""
    pattern = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    return pattern.sub(lambda _: put, card).rstrip() + "\n"


def _seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The manifest of what is there now; who made the network, when and by what stays as it was."""
    files = {
        name: {"sha256": sha256_of(folder / name), "size": (folder / name).stat().st_size}
        for name in manifest["files"]
        if (folder / name).is_file()
    }
    kept = [name for name in manifest.get("capabilities", ()) if set(CAPABILITIES.get(name, ())) <= files.keys()]
    write_json(folder / MANIFEST, {**manifest, "capabilities": kept, "files": files})
    load_bundle(folder, is_own=True)


def attributes() -> str:
    """`.gitattributes`: which files git keeps as large ones."""
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LARGE)
