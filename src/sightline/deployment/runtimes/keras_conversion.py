"""Conversions that Keras makes, in a process of its own: another backend than ours, and nothing of it stays in memory.

Run as `python -P -m sightline.deployment.runtimes.keras_conversion FORMAT MODEL.keras TARGET [IMAGES.npy]`.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.vetting.network_files import check_network
from sightline.errors import CannotWrite, ExportRefused, InvalidBundle, MissingPackage, SightlineError
from sightline.records import Bundle
from sightline.system.backends import usual_keras
from sightline.system.text import printable

# Format, as `convert_keras` is asked for it, to the backend that makes it.
BACKENDS = {"litert": "tensorflow", "litert-int8": "tensorflow", "tensorflow": "tensorflow", "torch": "torch"}
_REFUSED = 3


def convert_keras(bundle: Bundle, target: Path, format_name: str, images: NDArray[np.uint8] | None = None) -> None:
    """Have the Keras network of a bundle written in another format.

    Args:
        bundle: with `model.keras`.
        target: the file or folder.
        format_name: of `BACKENDS`.
        images: (num_images, height, width, channels), by which ranges are measured.
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
        words = [format_name, str(network.absolute()), str(target.absolute())]
        if images is not None:
            np.save(Path(folder) / "images.npy", images)
            words.append(str(Path(folder) / "images.npy"))
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
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                f"writing the format {format_name} needs the package '{package}', which is not installed. "
                f"Run: pip install 'sightline[{backend}]'"
            )


def _without_room(target: Path, network: Path) -> Path | None:
    """Where less is free than twice the network, as some formats hold: in its place, or where parts are made."""
    places = (target.parent, Path(tempfile.gettempdir()))
    needed = 2 * network.stat().st_size
    return next((place for place in places if place.is_dir() and shutil.disk_usage(place).free < needed), None)


def _write(format_name: str, network: Any, target: Path, images: NDArray[np.uint8] | None) -> None:
    import keras

    # Nothing else is asked of these files; features would only be read by nobody.
    answering = keras.Model(network.input, {"logits": _logits(network)})
    if format_name == "torch":
        import torch

        batch = torch.export.Dim("batch", min=1, max=1024)
        answering.export(str(target), format="torch", dynamic_shapes={0: batch}, verbose=False)
    elif format_name == "litert-int8":
        import tensorflow as tf

        measured: Any = () if images is None else images
        with tempfile.TemporaryDirectory() as folder:
            answering.export(folder, format="tf_saved_model", verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([row[None]] for row in measured)
            target.write_bytes(converter.convert())
    else:
        names = {"litert": "litert", "tensorflow": "tf_saved_model"}
        answering.export(str(target), format=names[format_name], verbose=False)


def _logits(network: Any) -> Any:
    output = network.output
    return output["logits"] if isinstance(output, dict) else output


def main(words: list[str]) -> int:
    """What the process does; 3 where the file is one that nobody should open."""
    from sightline.bundles.vetting.network_files import open_network

    format_name, path, target, *rows = words
    with usual_keras():
        try:
            network = open_network(Path(path))
        except SightlineError as error:
            sys.stderr.write(f"{error}\n")
            return _REFUSED
        _write(format_name, network, Path(target), np.load(rows[0]) if rows else None)
    return 0


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, where `-m` was typed without `-P`
    sys.exit(main(sys.argv[1:]))
