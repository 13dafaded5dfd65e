"""The format `onnx-int8`: weights and activations in whole numbers of 8 bits, run by ONNX Runtime.

Which layers bear that is a lottery that only images decide: some settings are tried, and the nearest to the bundle
on labelled images is written. Others judge it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import Session
from sightline.deployment.conversion.choosing import first_in_float, try_settings
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.conversion.losses import without_promises
from sightline.deployment.conversion.rows import ComparedRows
from sightline.deployment.runtimes import onnx
from sightline.errors import ExportRefused, require
from sightline.records import Bundle

IMPORTS, EXAMPLE = onnx.IMPORTS, onnx.EXAMPLE

# So many layers at the beginning stay in floating point: none, the first, the first block, the first two.
FLOAT_LAYERS = (0, 1, 3, 6)
_LAYERS = ("Conv", "Gemm", "MatMul")
# By which ranges are measured; more of them widen the ranges by their outliers.
_MOST_MEASURED, _PORTION = 128, 16


def convert(bundle: Bundle, target: Path, rows: ComparedRows) -> dict[str, Any]:
    """Write the setting with the fewest layers in float that is as near to the bundle as any; the distances of all."""
    require("onnx", purpose="the format onnx-int8", install="sightline[export]")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        layers = _fold(bundle, folder / "folded.onnx")
        counts = [count for count in FLOAT_LAYERS if count < len(layers)]
        made = {first_in_float(count): folder / f"{count}.onnx" for count in counts}

        def settings() -> Iterator[tuple[str, Callable[[Any], NDArray[np.float32]]]]:
            for count, (name, file) in zip(counts, made.items(), strict=True):
                _quantise(folder / "folded.onnx", file, rows, layers[:count])
                yield name, Session(file, num_classes=len(bundle.class_names)).logits

        tried = try_settings(bundle, rows, settings(), of=len(made))
        told = describe(bundle)
        told |= without_promises(told["calibration"], tried.temperatures[tried.kept], rows)
        onnx.write_described(made[tried.kept], target, told)
    return tried.told()


def open_exported(path: Path) -> ExportedModel:
    """The file in ONNX Runtime, with what it says of itself."""
    model = onnx.open_exported(path)
    return ExportedModel(model.description, model.logits, precision="int8")


def _fold(bundle: Bundle, target: Path) -> list[str]:
    """Write the network with a fixed size and with constants and normalisation folded; its layers with weights.

    Without that, ranges are measured before normalisation, and seven times as many answers were lost.
    """
    import onnx as graphs
    from onnx.utils import Extractor
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        model = graphs.load(bundle.path / "model.onnx")
        # Distances to what was learned are promised by numbers of the network as it is.
        model = Extractor(model).extract_model(["images"], ["logits"])
        sides = model.graph.input[0].type.tensor_type.shape.dim
        for side, size in zip(list(sides)[1:], bundle.input.shape, strict=True):
            side.dim_value = size
        graphs.save(model, target)  # a model in memory is given weights in other files, which it does not find again
        # Symbolic inference is for what has no fixed size, and needs a package more.
        quant_pre_process(str(target), str(target), skip_symbolic_shape=True)
        model = graphs.load(target)
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"node_{number}"
        graphs.save(model, target)
    except Exception as error:  # the package's exceptions share no class
        raise _cannot(bundle, error) from error
    layers = [node.name for node in model.graph.node if node.op_type in _LAYERS]
    if not layers:
        raise _cannot(bundle, "it has no layer with weights")
    return layers


def _quantise(source: Path, target: Path, rows: ComparedRows, in_float: list[str], **settings: Any) -> None:
    """Weights in signed numbers with a range a channel, activations in unsigned ones; other settings are for tests."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it comes without types
        def __init__(self) -> None:
            self.portions = _portions(rows)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self.portions, None)

    usual = {"per_channel": True, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(
        str(source),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        nodes_to_exclude=in_float,
        **{**usual, **settings},
    )


def _portions(rows: ComparedRows) -> Iterator[dict[str, NDArray[np.uint8]]]:
    count = len(rows.row_ids)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_MEASURED)).astype(np.int64))
    for first in range(0, len(chosen), _PORTION):
        yield {"images": rows.images[chosen[first : first + _PORTION]]}


def _cannot(bundle: Bundle, reason: object) -> ExportRefused:
    return ExportRefused(
        f"{bundle.path}: ONNX Runtime makes no whole numbers of this network ({reason}). Keep the format onnx."
    )
