"""Networks of others in files of Keras: looked at by their bytes, settled by rules, and only then opened by Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.vetting.archives import (
    CONFIG,
    MOST_CONFIG_BYTES,
    check_network_archive,
    check_weights_archive,
    check_weights_hdf5,
)
from sightline.bundles.vetting.hdf5 import stored_shapes
from sightline.deployment.adoption.foreign import ForeignNetwork
from sightline.deployment.adoption.keras_configs import OTHER_LAYERS, check_legacy, is_teachable_machine, settled
from sightline.deployment.adoption.onnx_files import open_onnx
from sightline.errors import InvalidValue, MissingPackage
from sightline.system.backends import load_keras, usual_keras, without_retracing_notes
from sightline.system.stored import parse_json
from sightline.system.text import printable

# The website crops the middle of each image, and feeds -1 to 1.
_TEACHABLE_MACHINE = {"mean": (0.5,), "std": (0.5,), "resize": "fill", "colors": "rgb"}
_PORTION = 32


def open_keras(path: Path, folder: Path) -> ForeignNetwork:
    """A network of a `.keras` or an `.h5` file, with what is written of it in a folder that is ours."""
    _check_installed(path)
    is_archive = path.suffix.lower() == ".keras"
    try:
        copy, config = (_settled_archive if is_archive else _settled_hdf5)(path, folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidValue(
            f"{path}: not a network that is adopted: {printable(str(reason))[:200]}. Layers that are known are taken, "
            "code of others never; export it to ONNX where it was made, and adopt that."
        ) from error
    keras = load_keras()
    with _quiet(keras):
        network = _opened(keras, path, copy)
        graph = _as_onnx(keras, path, network, folder)
    is_known = is_teachable_machine(config)

    def answers(images: NDArray[np.float32]) -> NDArray[Any]:
        with _quiet(keras):
            return np.asarray(network.predict(images, batch_size=_PORTION, verbose=0))

    return dataclasses.replace(
        open_onnx(graph),
        path=path,
        answers=answers,
        runtime=f"Keras {keras.__version__} on {keras.config.backend()}",
        kind="export of Teachable Machine" if is_known else "network of Keras",
        known=_TEACHABLE_MACHINE if is_known else {},
    )


@contextlib.contextmanager
def _quiet(keras: Any) -> Iterator[None]:
    """Keras as it comes, on the processor, without remarks on what older versions wrote."""
    with usual_keras(), keras.device("cpu:0"), without_retracing_notes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_installed(path: Path) -> None:
    if not all(map(importlib.util.find_spec, ("keras", "h5py"))):
        raise MissingPackage(
            f"{path}: a file of Keras is opened by Keras, which is not installed here. Run: pip install "
            "'sightline[tensorflow]'. The bundle that it becomes needs none; an ONNX graph is adopted without."
        )


def _settled_archive(path: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    check_weights_archive(path)  # members and weights; now the archive can be read
    copy = folder / "settled.keras"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as written:
        if archive.getinfo(CONFIG).file_size > MOST_CONFIG_BYTES:
            raise ValueError(f"its {CONFIG} has more than {MOST_CONFIG_BYTES:,} bytes")
        config = settled(parse_json(archive.read(CONFIG).decode("utf-8"), allow_nan=True))
        for member in archive.namelist():
            written.writestr(member, json.dumps(config) if member == CONFIG else archive.read(member))
    check_network_archive(copy, others=OTHER_LAYERS)
    return copy, config


def _settled_hdf5(path: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    check_weights_hdf5(path)
    copy = folder / "settled.h5"
    shutil.copyfile(path, copy)
    check_weights_hdf5(copy)  # what is opened is what was looked at
    import h5py  # type: ignore[import-untyped]  # it carries no annotations

    with h5py.File(copy, "r+") as stored:
        text = stored.attrs.get("model_config")
        if text is None:
            raise ValueError("it holds weights without a network; save the whole model")
        if len(text) > MOST_CONFIG_BYTES:
            raise ValueError(f"its model_config has more than {MOST_CONFIG_BYTES:,} bytes")
        text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
        config = settled(parse_json(text, allow_nan=True))
        check_legacy(config, stored_shapes(memoryview(copy.read_bytes())))
        stored.attrs["model_config"] = json.dumps(config).encode()
        stored.attrs.pop("training_config", None)
    return copy, config


def _opened(keras: Any, path: Path, copy: Path) -> Any:
    try:
        network = keras.saving.load_model(copy, compile=False, safe_mode=True)
        is_single = len(network.inputs) == len(network.outputs) == 1
    except Exception as error:
        raise InvalidValue(f"{path}: Keras {keras.__version__} cannot open it ({_first_line(error)}).") from error
    if not is_single:
        raise InvalidValue(
            f"{path}: takes {len(network.inputs)} tensors and gives {len(network.outputs)}; images alone go in, and a "
            "number a class comes out, of what can be adopted."
        )
    return network


def _as_onnx(keras: Any, path: Path, network: Any, folder: Path) -> Path:
    from sightline.training.packaging.onnx_export import export_onnx

    graph = folder / "network.onnx"

    def called(layer: Any, *arguments: Any, **options: Any) -> Any:
        return arguments[0] if _augments(layer) else layer(*arguments, **options)

    try:
        plain = keras.Model(network.inputs, {"answer": network.outputs[0]})
        plain = keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=called)
        plain.save(folder / "network.keras")
        export_onnx(folder / "network.keras", graph)
    except MissingPackage:
        raise
    except Exception as error:
        raise InvalidValue(f"{path}: cannot be written as ONNX ({_first_line(error)}).") from error
    return graph


def _augments(layer: Any) -> bool:
    """Whether it changes training images alone; exported, it would change all."""
    inner = [part for part in getattr(layer, "layers", ()) if type(part).__name__ != "InputLayer"]
    return all(map(_augments, inner)) if inner else type(layer).__name__.startswith("Random")


def _first_line(error: Exception) -> str:
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]
