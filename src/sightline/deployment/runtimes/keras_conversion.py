"""Conversions that Keras makes, in a process of its own: another backend than ours, and nothing of it stays in memory.

Run as `python -P -m sightline.deployment.runtimes.keras_conversion FORMAT MODEL.keras TARGET FOLDER`. In the folder
lies what a format asks for besides: images in `images.npy`, a description in `told.json`.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.vetting.network_files import check_network
from sightline.deployment.runtimes.keras_writers import write
from sightline.errors import CannotWrite, ExportRefused, InvalidBundle, MissingPackage, SightlineError
from sightline.records import Bundle
from sightline.system.backends import usual_keras
from sightline.system.files import write_json
from sightline.system.text import printable

# Format, as `convert_keras` is asked for it, to the backend that makes it.
BACKENDS = {
    "litert": "tensorflow",
    "litert-int8": "tensorflow",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "coreml": "tensorflow",
}
# What writes a format beside Keras and its backend: package, and the extra that brings it.
_WRITERS = {"coreml": ("coremltools", "coreml")}
_REFUSED = 3


def convert_keras(
    bundle: Bundle,
    target: Path,
    format_name: str,
    *,
    images: NDArray[np.uint8] | None = None,
    told: Mapping[str, str] | None = None,
) -> None:
    """Have the Keras network of a bundle written in another format.

    Args:
        bundle: with `model.keras`.
        target: the file or folder.
        format_name: of `BACKENDS`.
        images: (num_images, height, width, channels), by which ranges are measured.
        told: what is written into the metadata of a format that has some.
    """
    network, shown = bundle.path / "model.keras", printable(str(bundle.path))
    if not network.is_file():
        raise ExportRefused(
            f"{shown}: the format {format_name} is written from a Keras network, and this bundle holds none. "
            "Take onnx, which every bundle has."
        )
    check_network(network)  # at once, and by its bytes alone
    _check_packages(format_name)
    with tempfile.TemporaryDirectory() as folder:
        words = [format_name, str(network.absolute()), str(target.absolute()), folder]
        if images is not None:
            np.save(Path(folder) / "images.npy", images)
        if told is not None:
            write_json(Path(folder) / "told.json", told)
        done = subprocess.run(
            # -P: a keras.py in the current folder is none of ours.
            [sys.executable, "-P", "-m", __name__, *words],
            env={**os.environ, "KERAS_BACKEND": BACKENDS[format_name], "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == _REFUSED:
        raise InvalidBundle((done.stderr.strip().splitlines() or [f"{network}: cannot be opened."])[-1])
    if done.returncode or not target.exists():
        reason = printable((done.stderr.strip().splitlines() or ["no reason given"])[-1])[:300]
        # Told by each library in words of its own, and by some in none.
        if (place := _without_room(target, network)) == target.parent:
            raise OSError(errno.ENOSPC, reason, str(target))
        if place is not None:
            raise CannotWrite(f"{place}: the disk is full, and parts of the export are made there. Set TMPDIR.")
        raise ExportRefused(f"{shown}: Keras does not write this network as {format_name} ({reason}).")


def _check_packages(format_name: str) -> None:
    backend = BACKENDS[format_name]
    needed, extra = ["keras", backend], backend
    if format_name in _WRITERS:
        package, own = _WRITERS[format_name]
        needed, extra = [*needed, package], f"{backend},{own}"
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                f"writing the format {format_name} needs the package '{package}', which is not installed. "
                f"Run: pip install 'sightline[{extra}]'"
            )


def _without_room(target: Path, network: Path) -> Path | None:
    """Where less is free than twice the network, as some formats hold: in its place, or where parts are made."""
    places = (target.parent, Path(tempfile.gettempdir()))
    needed = 2 * network.stat().st_size
    return next((place for place in places if place.is_dir() and shutil.disk_usage(place).free < needed), None)


def main(words: list[str]) -> int:
    """What the process does; 3 where the file is one that nobody should open."""
    from sightline.bundles.vetting.network_files import open_network

    format_name, path, target, folder = words
    with usual_keras():
        try:
            network = open_network(Path(path))
        except SightlineError as error:
            sys.stderr.write(f"{error}\n")
            return _REFUSED
        write(format_name, network, Path(target), Path(folder))
    return 0


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, where `-m` was typed without `-P`
    sys.exit(main(sys.argv[1:]))
