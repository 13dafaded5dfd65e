"""How Keras' network is written in each format; called in the process of `keras_conversion` alone."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# So many layers with weights at the beginning stay in floating point.
FLOAT_LAYERS = (0, 1, 3, 6)
FLOAT_FILE = "float.tflite"
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def write(format_name: str, network: Any, target: Path, given: Path) -> None:
    """Write the answers of a network; in the folder `given` lies what a format asks for besides."""
    import keras

    # Nothing else is asked of these files; features would only be read by nobody.
    output = network.output["logits"] if isinstance(network.output, dict) else network.output
    answering = keras.Model(network.input, {"logits": output})
    if format_name == "torch":
        _write_torch(answering, target)
    elif format_name == "litert-int8":
        _write_int8(answering, target, np.load(given / "images.npy"))
    elif format_name == "coreml":
        _write_coreml(answering, target, json.loads((given / "told.json").read_text(encoding="utf-8")))
    else:
        names = {"litert": "litert", "tensorflow": "tf_saved_model"}
        answering.export(str(target), format=names[format_name], verbose=False)


def _write_torch(answering: Any, target: Path) -> None:
    import torch

    batch = torch.export.Dim("batch", min=1, max=1024)
    answering.export(str(target), format="torch", dynamic_shapes={0: batch}, verbose=False)


def _write_int8(answering: Any, target: Path, measured: NDArray[np.uint8]) -> None:
    """Write a folder of files, one a setting; ranges are measured once, which takes longest by far."""
    import tensorflow as tf

    options, images = tf.lite.experimental.QuantizationDebugOptions, [[image[None]] for image in measured]
    with tempfile.TemporaryDirectory() as folder:
        answering.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        target.mkdir()
        # What whole numbers are to be faster than.
        (target / FLOAT_FILE).write_bytes(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: images
        # It quantises what was measured as often as it is asked to, and calls layers by their names.
        quantiser = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=lambda: images[:1], debug_options=options()
        )
        layers = _names_of_layers(quantiser)
        for count in FLOAT_LAYERS:
            if count < len(layers):
                quantiser.options = options(denylisted_nodes=layers[:count])
                (target / f"{count}.tflite").write_bytes(quantiser.get_nondebug_quantized_model())


def _names_of_layers(quantiser: Any) -> list[str]:
    """Layers with weights in their order, as the converter calls them."""
    quantiser.run()
    table = io.StringIO()
    quantiser.layer_statistics_dump(table)
    table.seek(0)
    return [row["tensor_name"] for row in csv.DictReader(table) if row["op_name"] in _LAYERS]


def _write_coreml(answering: Any, target: Path, told: dict[str, str]) -> None:
    import coremltools
    import tensorflow as tf

    _, height, width, channels = answering.input_shape
    shape = (1, height, width, channels)
    answer = tf.function(
        lambda images: answering(images)["logits"], input_signature=[tf.TensorSpec(shape, tf.uint8, name="images")]
    )
    color = coremltools.colorlayout.GRAYSCALE if channels == 1 else coremltools.colorlayout.RGB
    picture = coremltools.ImageType(name="images", shape=shape, color_layout=color)
    # By itself it takes that of the network, a whole number; a program of Core ML is given its images in float.
    picture.dtype = coremltools.converters.mil.mil.types.fp32
    package = coremltools.convert(
        [answer.get_concrete_function()],
        source="tensorflow",
        convert_to="mlprogram",
        inputs=[picture],
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS15,
        skip_model_load=True,
    )
    spec = package.get_spec()
    (logits,) = spec.description.output
    coremltools.utils.rename_feature(spec, logits.name, "logits")
    package = coremltools.models.MLModel(spec, weights_dir=package.weights_dir, skip_model_load=True)
    package.user_defined_metadata.update(told)
    package.save(str(target))
    # It copies some of them from a folder that nobody else may read.
    usual = (target / "Manifest.json").stat().st_mode, target.stat().st_mode
    for place in target.rglob("*"):
        place.chmod(usual[place.is_dir()])
