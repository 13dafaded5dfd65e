"""Bundle: the one directory that predicts. Saved whole, opened only if every byte is what was saved."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sightline.bundles.checks import (
    MOST_BYTES,
    check_manifest,
    checked_calibration,
    checked_class_names,
    checked_input,
    checked_json,
    checked_metrics,
    checked_task,
    checked_thresholds,
)
from sightline.bundles.graphs import graph_outputs
from sightline.bundles.published import fetched, is_published
from sightline.errors import InvalidBundle
from sightline.records import Bundle, InputSpec
from sightline.system.files import sha256_of, write_json
from sightline.system.progress import reporter
from sightline.system.signatures import TrustedKey, read_trusted_key, signature_of, why_not_signed
from sightline.system.stored import parse_json, read_plain
from sightline.system.text import as_argument, printable
from sightline.tasks.multi_label import MultiLabel
from sightline.tasks.single_label import SINGLE_LABEL
from sightline.tasks.task import Task

# The backbone inside the package: opened by name, its bytes verified as any other's. Its `model.onnx` takes `images`,
# uint8 (batch, height, width, 3) with sides of 32 pixels and more, and gives `logits` (batch, 1000), `features`
# (batch, 1280), which are the mean over positions, and `middle` (batch, rows, columns, 112), where the upper part
# of the network begins.
EMBEDDED = "imagenet"
FOLDER = Path(__file__).resolve().parent / "imagenet"

FORMAT = "sightline-bundle"
FORMAT_VERSION = 2
READ_VERSIONS = (1, 2)
MANIFEST = "manifest.json"
# Beside the manifest, in a bundle that was signed: a signature of its bytes, and so of the hashes of all files.
SIGNATURE = "signature.json"
_SIGNATURE_FORMAT = {"format": "sightline-signature", "format_version": 1}
# Before what is signed, so that no signature made for something else is one of a bundle.
_SIGNED_AS = b"sightline-bundle 1\n"
_TRUSTED: contextvars.ContextVar[TrustedKey | None] = contextvars.ContextVar("trusted", default=None)
REQUIRED_FILES = (
    "input.json",
    "labels.json",
    "model.keras",
    "model.onnx",
    "calibration.json",
    "metrics.json",
    "card.md",
)
# The network that comes with the package is only run; Keras reads its weights from the ONNX file.
_RUN_ALONE = tuple(name for name in REQUIRED_FILES if name != "model.keras")
# One that others made and that was adopted is only run, too.
KINDS = {"trained": REQUIRED_FILES, "embedded": _RUN_ALONE, "adopted": _RUN_ALONE}
# What a bundle can do beyond predicting, and the files that it does it by. A bundle has a capability where it has all
# of its files: whoever adds one adds a line here and writes the files before the bundle is sealed. The version stays.
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "identity": ("identity.npz",),
    "parity": ("parity.npz",),
    "sets": ("sets.npz",),
    "abstention": ("abstention.npz",),
    "reference": ("reference.npz",),
    "novelty": ("novelty.npz",),
    "neighbours": ("neighbours.npz",),
    "thumbnails": ("neighbours.npz", "thumbnails.npz"),
}
# Every name that a file of a bundle may have.
_NAMES = (MANIFEST, SIGNATURE, *REQUIRED_FILES, *{part: None for parts in CAPABILITIES.values() for part in parts})
MEANINGS = {
    "features": "what the last layer sees of an image",
    "middle": "what the upper part of the network begins with: rows, columns, channels",
    "disagreement": "share of the members that name another class than the whole, 0 to 1",
    "member_logits": "logits of each member that has a vote",
    "novelty": "how far an image is from what was learned; compared with the distances in novelty.npz",
    "nearest": "which training images are nearest, by their places in neighbours.npz",
    "nearest_distances": "how far these are, between what is seen of images, of length 1",
}
RECORDED_PACKAGES = (
    "sightline",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "onnxruntime",
    "pillow",
)


def write_manifest(folder: Path, *, kind: str = "trained", task: Task = SINGLE_LABEL) -> None:
    """Seal a folder: its files with size and SHA-256, what made it, its outputs and its capabilities.

    Files that belong to no bundle are not listed, and nobody will read them.

    Args:
        folder: with all the files of a bundle but the manifest, and those of its capabilities.
        kind: "trained"; without `model.keras`, "embedded" for the one inside the package, "adopted" for others'.
        task: what its logits say.

    Raises:
        InvalidBundle: a file is missing, or `model.onnx` is no graph.
        CannotWrite: the disk is full.
    """
    missing = [name for name in KINDS[kind] if not (folder / name).is_file()]
    if missing:
        raise InvalidBundle(f"the bundle lacks {', '.join(missing[:1])}; it was not sealed.")
    capabilities = capabilities_of(folder)
    names = sorted({*KINDS[kind], *(part for name in capabilities for part in CAPABILITIES[name])})
    files = {name: {"sha256": sha256_of(folder / name), "size": (folder / name).stat().st_size} for name in names}
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **({} if kind == "trained" else {"kind": kind}),
            **({} if task == SINGLE_LABEL else {"task": task.name}),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "capabilities": capabilities,
            "outputs": _outputs(folder / "model.onnx", {"logits": task.meaning, **MEANINGS}),
            "files": files,
        },
    )


def capabilities_of(folder: Path) -> list[str]:
    """What a bundle in the making can do beyond predicting, by the files that are in it so far."""
    return [name for name, parts in CAPABILITIES.items() if all((folder / part).is_file() for part in parts)]


def write_description(
    folder: Path, *, spec: InputSpec, class_names: tuple[str, ...], calibration: Mapping[str, Any]
) -> None:
    """Write the files that say how to feed the network and read its answer.

    Args:
        folder: the bundle in the making.
        spec: becomes input.json.
        class_names: becomes labels.json.
        calibration: becomes calibration.json: `temperature`, positive, `num_images`, the rows behind it, and whatever
            else was fitted.

    Raises:
        CannotWrite: the disk is full.
    """
    write_json(folder / "input.json", {**dataclasses.asdict(spec), "channels": spec.channels})
    write_json(folder / "labels.json", list(class_names))
    write_json(
        folder / "calibration.json",
        {"thresholds": {}, **calibration},
    )


def load_bundle(path: str | Path | Bundle, *, is_own: bool = False) -> Bundle:
    """Open a bundle, or the bundle of a run, and verify every file in it.

    Args:
        path: a bundle's or a run's folder; "imagenet", the network that comes with the package,
            where no folder is called that; hf://OWNER/NAME, with @REVISION or without, a bundle on the Hugging Face
            Hub; or a Bundle, handed on.
        is_own: this process made it a moment before, so that nobody has signed it yet.

    Returns:
        The Bundle.

    Raises:
        DownloadFailed: the hub cannot be reached, and its cache has no such bundle.
        InvalidBundle: there is none, its format version is unknown, or a file is
            missing, altered or foreign; the message names the file. Within `trusting`, also where it is not
            signed with that key.
    """
    if isinstance(path, Bundle):
        check_signed(path.path, path.manifest)
        return path
    with readable(path):
        folder, manifest = read_manifest(path)
        if not is_own:
            check_signed(folder, manifest)
        for reason in altered_files(folder, manifest):
            raise InvalidBundle(f"{folder}: {reason}. Copy the whole bundle again from where it was made.")
    unknown = sorted(set(manifest.get("capabilities", ())) - set(CAPABILITIES))
    if unknown:
        _pass_over(folder, ", ".join(map(printable, unknown)))
    temperature, num_calibration_images = checked_calibration(folder / "calibration.json")
    class_names = checked_class_names(folder / "labels.json")
    task = checked_task(folder / MANIFEST, manifest)
    if isinstance(task, MultiLabel):
        thresholds = checked_thresholds(folder / "calibration.json", len(class_names))
        task = dataclasses.replace(task, thresholds=thresholds)
    return Bundle(
        path=folder,
        class_names=class_names,
        input=checked_input(folder / "input.json"),
        temperature=temperature,
        num_calibration_images=num_calibration_images,
        metrics=checked_metrics(folder / "metrics.json"),
        manifest=manifest,
        task=task,
    )


@contextlib.contextmanager
def trusting(key: str | Path) -> Iterator[None]:
    """Open only bundles that are signed with a key, whatever opens them, until the block ends.

    The network that comes with the package is opened all the same, and so is what is trained within the block.

    Args:
        key: file of the public key, as `sightline sign --new-key` writes it.

    Returns:
        What `with` takes. Within, a bundle that is not signed, or was signed with another key, or in which a file was
        added, removed or changed since, is refused with an InvalidBundle.

    Raises:
        InvalidValue: the file holds no public key of Ed25519.
        MissingPackage: `cryptography` is not installed.

    Example:
        >>> from pathlib import Path
        >>> import sightline
        >>> from sightline.system.signatures import new_key
        >>> public = new_key(Path("mine.pem"))
        >>> _ = sightline.sign("runs/mnist-fast-001", "mine.pem")
        >>> with sightline.trusting(public):
        ...     len(sightline.reopen("runs/mnist-fast-001/bundle").class_names)
        10
    """
    before = _TRUSTED.set(read_trusted_key(Path(key)))
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def trusted_key() -> Path | None:
    """The file of the public key that all bundles have to be signed with, within `trusting`."""
    trusted = _TRUSTED.get()
    return None if trusted is None else trusted.path


def sign(bundle: str | Path | Bundle, key: str | Path) -> Path:
    """Sign a bundle, which is verified first: whoever has the public key can tell that it is what you signed.

    Args:
        bundle: folder of a run or a bundle. A signature that it has is replaced.
        key: file of your private key, as `sightline sign --new-key` writes it.

    Returns:
        The signature, a file in the bundle.

    Raises:
        InvalidBundle: it is not whole, or holds files that do not belong to it.
        InvalidValue: the file holds no private key of Ed25519, or others may read it.
        CannotWrite, MissingPackage: the signature cannot be written, or made.

    Example:
        >>> from pathlib import Path
        >>> import sightline
        >>> from sightline.system.signatures import new_key
        >>> _ = new_key(Path("mine.pem"))
        >>> sightline.sign("runs/mnist-fast-001", "mine.pem").name
        'signature.json'
    """
    if is_published(bundle):
        raise InvalidBundle(f"{bundle}: it lies on the hub. Sign the folder that is published, and publish it anew.")
    opened = load_bundle(bundle, is_own=True)
    if opened.path == FOLDER:
        raise InvalidBundle(f"{EMBEDDED}: it comes with the package and is not yours to sign. Name a run or a bundle.")
    _refuse_others(opened.path, opened.manifest)
    if (opened.path / SIGNATURE).is_symlink():
        raise InvalidBundle(f"{opened.path / SIGNATURE}: a link, and it would be written where that leads. Remove it.")
    content = read_plain(opened.path / MANIFEST, most_bytes=MOST_BYTES[MANIFEST])
    _refuse_other_manifest(opened.path, opened.manifest, content)
    told = {**_SIGNATURE_FORMAT, **signature_of(_SIGNED_AS + content, Path(key))}
    write_json(opened.path / SIGNATURE, told)
    return opened.path / SIGNATURE


def check_signed(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Refuse a bundle that the key which is trusted has not signed; False where no key is asked for.

    Args:
        folder: of the bundle; the one inside the package needs no signature.
        manifest: as it was read; hashes are compared by whoever goes on.
    """
    trusted = _TRUSTED.get()
    if trusted is None or folder == FOLDER:
        return False
    if not (folder / SIGNATURE).is_file():
        raise InvalidBundle(
            f"{folder}: not signed, and only what is signed with the key of {trusted.path} is opened. Ask who made it "
            f"for a signed one; what is yours you sign by: sightline sign {as_argument(folder)} --key FILE"
        )
    content = read_plain(folder / MANIFEST, most_bytes=MOST_BYTES[MANIFEST])
    reason = why_not_signed(_SIGNED_AS + content, checked_json(folder / SIGNATURE), trusted)
    if reason is not None:
        raise InvalidBundle(f"{folder}: {reason}. Ask who made it for the bundle as they signed it, or for their key.")
    _refuse_other_manifest(folder, manifest, content)
    _refuse_others(folder, manifest)
    return True


def _refuse_other_manifest(folder: Path, manifest: Mapping[str, Any], content: bytes) -> None:
    if parse_json(content.decode("utf-8")) != manifest:
        raise InvalidBundle(f"{folder}: {MANIFEST} changed while it was read. Open the bundle again.")


def _refuse_others(folder: Path, manifest: Mapping[str, Any]) -> None:
    """A signature is of all that is in a bundle: what the manifest does not list has no place in a signed one."""
    for path in sorted(folder.iterdir()):
        if path.name not in (MANIFEST, SIGNATURE, *manifest["files"]):
            raise InvalidBundle(f"{path}: not one of the files that the bundle was saved with. Take it out, or away.")


@contextlib.contextmanager
def readable(place: str | Path) -> Iterator[None]:
    """Turn the operating system's refusals to open a bundle or a run into an InvalidBundle."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename in (None, str(place)) else f"{error.filename}: "
        raise InvalidBundle(
            f"{place}: cannot be read ({where}{error.strerror}). Name a run or a bundle that you may read."
        ) from error


@functools.lru_cache(maxsize=64)
def _pass_over(folder: Path, capabilities: str) -> None:
    """Say, once in a process, what a newer Sightline made of this bundle."""
    reporter().say(f"note: {folder}: passed over what this Sightline does not know of it: {capabilities}")


def read_manifest(path: str | Path) -> tuple[Path, Mapping[str, Any]]:
    """The folder of a bundle, and its manifest, of a format that is read here; no other file of it is looked at."""
    if is_published(path):
        folder = _found_in(fetched(path, files=_NAMES), path)
    else:
        folder = FOLDER if str(path) == EMBEDDED and not Path(path).is_dir() else find_bundle(Path(path))
    manifest = checked_json(folder / MANIFEST)
    _check_format(folder, manifest)
    return folder, manifest


def _found_in(folder: Path, address: str | Path) -> Path:
    """The bundle of a repository that was fetched, told by the address where there is none."""
    try:
        return find_bundle(folder)
    except InvalidBundle as error:
        raise InvalidBundle(f"{address}: there is no bundle of Sightline in it, as it has no {MANIFEST}.") from error


def find_bundle(path: Path) -> Path:
    """The bundle's folder of what was named: the bundle itself, or the run it is in."""
    for folder in (path, path / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    if path.is_file():
        inside = path.parent if (path.parent / MANIFEST).is_file() else None
        remedy = (
            f"Name {inside}, the folder it lies in" if inside else "Name its folder; unpack it first if it is packed"
        )
        raise InvalidBundle(f"{path}: a file, and a run or a bundle is a folder. {remedy}.")
    if not path.is_dir():
        raise InvalidBundle(f"{path}: no such folder. Name a run or a bundle, for instance runs/mnist-fast-001.")
    if (path / "recipe.json").is_file():
        raise InvalidBundle(f"{path}: this run has no bundle; its training did not finish. Train again.")
    raise InvalidBundle(f"{path}: not a bundle: it has no {MANIFEST}. Name a run or a bundle.")


def _check_format(folder: Path, manifest: Any) -> None:
    if not isinstance(manifest, Mapping) or manifest.get("format") != FORMAT:
        raise InvalidBundle(f"{folder / MANIFEST}: not the manifest of a Sightline bundle.")
    version = manifest.get("format_version")
    if type(version) is not int or version not in READ_VERSIONS:
        raise InvalidBundle(
            f"{folder}: format version {version!r}; this Sightline reads versions 1 and 2. "
            "Run: pip install --upgrade sightline, or export the bundle again with the version that made it."
        )
    check_manifest(folder / MANIFEST, manifest)


def altered_files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Of each file that is not what was saved, why; files that are not listed are never read and do no harm."""
    listed = manifest["files"]
    required = KINDS[kind if (kind := manifest.get("kind")) in ("embedded", "adopted") else "trained"]
    present = {path.name for path in folder.iterdir()}
    for name in dict.fromkeys((*required, *listed)):
        if name not in present or name not in listed:
            yield f"{name} is missing"
        elif not (folder / name).is_file():
            yield f"{name} is {'a link that leads to no file' if (folder / name).is_symlink() else 'no file'}"
        elif sha256_of(folder / name) != _listed_hash(listed[name]):
            yield f"{name} is not the file that was saved (its SHA-256 differs)"


def _listed_hash(entry: Any) -> Any:
    return entry.get("sha256") if isinstance(entry, Mapping) else None


def _outputs(network: Path, meanings: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the manifest says of each output: dtype, shape with the batch first, and meaning."""
    return {
        output.name: {
            "dtype": output.dtype,
            "shape": ["batch", *output.shape[1:]],
            "meaning": meanings.get(output.name, ""),
        }
        for output in graph_outputs(network)
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
