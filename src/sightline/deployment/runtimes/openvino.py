"""The format `openvino`: the bundle's graph as OpenVINO has it, run in float32 and not as the processor likes best."""

from __future__ import annotations

import contextlib
import errno
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.trust.novelty import OUTPUT
from sightline.deployment.conversion.description import ExportedModel, read_beside, write_beside
from sightline.errors import CannotWrite, ExportRefused, InvalidBundle, require
from sightline.records import Bundle

IMPORTS = """\
sys.modules["openvino_telemetry"] = None  # before it is loaded; it reports each import to its makers else
import openvino
"""
# No file holds in which precision it is to be run: without the hint, some processors take bfloat16.
EXAMPLE = """\
with open("DESCRIPTION", encoding="utf-8") as file:
    about = json.load(file)
names, calibration = about["labels"], about["calibration"]
network = openvino.compile_model("FILE", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
logits = network({"images": images})["logits"][0]
"""
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}
_PORTION = 64


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """While it is imported: OpenVINO reports each import over the network, where the package for that can be had."""
    reporter = "openvino_telemetry"
    is_loaded = reporter in sys.modules
    if not is_loaded:
        sys.modules[reporter] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        if not is_loaded:
            sys.modules.pop(reporter, None)


def convert(bundle: Bundle, target: Path) -> None:
    """Write the graph as `.xml` and its weights, in full precision, as `.bin`; the description lies beside."""
    runtime = _runtime()
    try:
        graph = runtime.Core().read_model(bundle.path / "model.onnx")
    except RuntimeError as error:
        raise ExportRefused(f"{bundle.path}: OpenVINO does not hold this network ({_line(error)}).") from error
    try:
        runtime.save_model(graph, target, compress_to_fp16=False)
    except RuntimeError as error:  # which does not say why
        if _has_no_room(target, bundle):
            raise OSError(errno.ENOSPC, _line(error), str(target)) from error
        raise CannotWrite(f"{target}: OpenVINO could not write it ({_line(error)}).") from error
    write_beside(bundle, target)


def _has_no_room(target: Path, bundle: Bundle) -> bool:
    needed = (bundle.path / "model.onnx").stat().st_size
    return target.parent.is_dir() and shutil.disk_usage(target.parent).free < needed


def open_exported(path: Path, *, settings: dict[str, str] | None = None) -> ExportedModel:
    """The file in OpenVINO, on the processor; other settings than those of the README are for tests."""
    try:
        network = _runtime().Core().compile_model(path, "CPU", _SETTINGS if settings is None else settings)
    except RuntimeError as error:
        raise InvalidBundle(f"{path}: OpenVINO does not open it ({_line(error)}).") from error
    names = {name for output in network.outputs for name in output.names}

    def answers(images: Any, name: str) -> NDArray[np.float32]:
        parts = [
            np.array(network({"images": np.ascontiguousarray(images[first : first + _PORTION])})[name])
            for first in range(0, len(images), _PORTION)
        ]
        return np.concatenate(parts)

    return ExportedModel(
        read_beside(path),
        lambda images: answers(images, "logits"),
        novelty=(lambda images: answers(images, OUTPUT)) if OUTPUT in names else None,
        precision=_precision(network.get_property("INFERENCE_PRECISION_HINT")),
    )


def _runtime() -> Any:
    with quietly():
        return require("openvino", purpose="the format openvino", install="sightline[openvino]")


def _precision(hint: Any) -> str:
    """As NumPy calls it, whichever of its names OpenVINO gives."""
    name = hint.to_string() if hasattr(hint, "to_string") else str(hint)
    return {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}.get(name, name)


def _line(error: Exception) -> str:
    """The last line of what OpenVINO says, before which it names lines of its own code."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return lines[-1] if lines else type(error).__name__
