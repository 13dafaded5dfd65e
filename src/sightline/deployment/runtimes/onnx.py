"""The format `onnx`: the bundle's graph in one file that also says what it is, run by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.bundles.graphs import write_with_metadata
from sightline.bundles.sessions import Session
from sightline.bundles.trust.novelty import OUTPUT
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.records import Bundle

# Before each key, so that nobody else's metadata is taken for ours.
PREFIX = "sightline."

# What the program in the README imports for it behind `json`, `os` and `sys`, and how it runs the file: `images` was
# made by the lines before, and `logits` of that one image, `names` and `calibration` are used by those behind.
IMPORTS = """\
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before it is loaded; it sends events else
import onnxruntime
"""
EXAMPLE = """\
session = onnxruntime.InferenceSession("FILE")
about = session.get_modelmeta().custom_metadata_map
names = json.loads(about["sightline.labels"])
calibration = json.loads(about["sightline.calibration"])
logits = session.run(["logits"], {"images": images})[0][0]
"""


def convert(bundle: Bundle, target: Path) -> None:
    """Write the graph, to which the description is added; weights in other files were refused with the bundle."""
    write_described(bundle.path / "model.onnx", target, describe(bundle))


def write_described(graph: Path, target: Path, told: Mapping[str, Any]) -> None:
    """Copy a graph with a description in its metadata."""
    texts = {f"{PREFIX}{key}": json.dumps(value, ensure_ascii=False) for key, value in told.items()}
    write_with_metadata(graph, target, texts)


def open_exported(path: Path) -> ExportedModel:
    """The file in ONNX Runtime, with what it says of itself."""
    session = Session(path, num_classes=0)
    told = {key.removeprefix(PREFIX): text for key, text in session.metadata().items() if key.startswith(PREFIX)}
    has_novelty = OUTPUT in session.output_shapes()
    return ExportedModel(
        {key: json.loads(text) for key, text in told.items()},
        session.logits,
        novelty=(lambda images: session.collect(images, [OUTPUT])[OUTPUT]) if has_novelty else None,
    )
