"""The formats of exported files: a module and a row each. `--help` lists the rows, so the modules wait until used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import UnknownName, pick


@dataclass(frozen=True)
class Format:
    """One format of an exported file.

    Attributes:
        summary: what it is, for lists.
        file: what the exported file is called; its ending is that of the format.
        runtime: the package that runs it, as it is imported; another thing is found by `find_runtime` of its module.
        install: what `pip install` has to be given for that.
        home: the module with `convert`, which writes the file of a bundle; `open_exported`, which runs it as an
            ExportedModel; for its README `IMPORTS` and `EXAMPLE`, lines of Python that run it; and where the runtime
            reports to its makers, `quietly`, a context in which it is imported. Where Python does not run it,
            `own_readme` in place of those lines.
        extra: what `pip install` has to be given to write it, too; the same where that is left out.
        beside: endings of what `convert` writes beside it under its name; with ".json", the description lies there.
        is_quantised: whether `convert` is given half of the rows, to choose by; the other half judges it by its loss.
        has_novelty: whether it holds the bundle's output `novelty`.
        decodes_files: whether it decodes images itself: then `check_files` of its module compares their pixels first.
        most_rows: on so many images it is compared at most; 0 is as many as the others.
        system: the only one that runs it, as `platform.system()` calls it; "" where any does.
    """

    summary: str
    file: str
    runtime: str
    install: str
    home: str
    extra: str = ""
    beside: tuple[str, ...] = ()
    is_quantised: bool = False
    has_novelty: bool = True
    decodes_files: bool = False
    most_rows: int = 0
    system: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether what is exported is a folder: without an ending, or as what a Mac shows as a file."""
        return Path(self.file).suffix in ("", ".mlpackage")

    def module(self) -> Any:
        """Its module, imported when it is needed."""
        return importlib.import_module(self.home)


_ROOM = "sightline.deployment.runtimes"

FORMATS: dict[str, Format] = {
    "onnx": Format(
        summary="one ONNX file with class names, preprocessing and calibration in its metadata",
        file="model.onnx",
        runtime="onnxruntime",
        install="onnxruntime",
        home=f"{_ROOM}.onnx",
    ),
    "onnx-int8": Format(
        summary="an ONNX file in whole numbers of 8 bits, down to a quarter of the size, kept where no loss is seen",
        file="model.int8.onnx",
        runtime="onnxruntime",
        install="onnxruntime",
        home=f"{_ROOM}.onnx_int8",
        extra="sightline[export]",
        is_quantised=True,
        has_novelty=False,
    ),
    "openvino": Format(
        summary="an OpenVINO network for processors of Intel, in float32",
        file="model.xml",
        runtime="openvino",
        install="openvino",
        home=f"{_ROOM}.openvino",
        extra="sightline[openvino]",
        beside=(".bin", ".json"),
    ),
    "litert": Format(
        summary="a LiteRT (TensorFlow Lite) file for phones and small boards",
        file="model.tflite",
        runtime="ai_edge_litert",
        install="ai-edge-litert",
        home=f"{_ROOM}.litert",
        extra="sightline[tensorflow,litert]",
        beside=(".json",),
        has_novelty=False,
    ),
    "litert-int8": Format(
        summary="the same in whole numbers of 8 bits, kept where no loss is seen",
        file="model.int8.tflite",
        runtime="ai_edge_litert",
        install="ai-edge-litert",
        home=f"{_ROOM}.litert_int8",
        extra="sightline[tensorflow,litert]",
        beside=(".json",),
        is_quantised=True,
        has_novelty=False,
    ),
    "tensorflow": Format(
        summary="a SavedModel, the folder that TensorFlow and TensorFlow Serving run",
        file="model",
        runtime="tensorflow",
        install="tensorflow",
        home=f"{_ROOM}.tensorflow",
        extra="sightline[tensorflow]",
        beside=(".json",),
        has_novelty=False,
    ),
    "torch": Format(
        summary="an ExportedProgram, which PyTorch runs without Keras",
        file="model.pt2",
        runtime="torch",
        install="torch",
        home=f"{_ROOM}.torch",
        extra="sightline[torch]",
        beside=(".json",),
        has_novelty=False,
    ),
    "coreml": Format(
        summary="a Core ML package for macOS and iOS, compared on a Mac alone",
        file="model.mlpackage",
        runtime="coremltools",
        install="coremltools",
        home=f"{_ROOM}.coreml",
        extra="sightline[tensorflow,coreml]",
        has_novelty=False,
        system="Darwin",
    ),
    "web": Format(
        summary="a folder with a page that classifies in the browser alone: pictures, the camera, a drawing",
        file="page",
        runtime="onnxruntime-web",
        install="",
        home=f"{_ROOM}.web",
        decodes_files=True,
        # Without threads, a photograph takes a second in a browser.
        most_rows=200,
    ),
    "web-file": Format(
        summary="the same page as one file, to be sent to somebody and opened on a telephone",
        file="classifier.html",
        runtime="onnxruntime-web",
        install="",
        home=f"{_ROOM}.web",
        decodes_files=True,
        most_rows=200,
    ),
}

# What is asked for and will not come, with what to do instead.
_NOT_OFFERED = {
    ("tfjs", "tensorflowjs", "tf.js"): (
        "TensorFlow.js: its converter does not run beside TensorFlow of today. For a page in a browser take web; a "
        "page of your own runs the file of onnx with onnxruntime-web."
    ),
}


def format_of(name: str) -> Format:
    """The row of a format; an UnknownName of what there is none of, with what to take instead where that is known."""
    for names, remedy in _NOT_OFFERED.items():
        if isinstance(name, str) and name.lower() in names:
            raise UnknownName(f"no export format is called {name!r}, and none will be for {remedy}")
    return pick(FORMATS, name, kind="export format")
