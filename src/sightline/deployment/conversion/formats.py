"""The formats of exported files: a module and a row each. `--help` lists the rows, so the modules wait until used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Format:
    """One format of an exported file.

    Attributes:
        summary: what it is, for lists.
        file: what the exported file is called; its ending is that of the format.
        runtime: the package that runs it, as it is imported.
        install: what `pip install` has to be given for that.
        home: the module with `convert`, which writes the file of a bundle; `open_exported`, which runs it as an
            ExportedModel; and for its README `IMPORTS` and `EXAMPLE`, lines of Python that run it.
    """

    summary: str
    file: str
    runtime: str
    install: str
    home: str

    def module(self) -> Any:
        """Its module, imported when it is needed."""
        return importlib.import_module(self.home)


FORMATS: dict[str, Format] = {
    "onnx": Format(
        summary="one ONNX file with class names, preprocessing and calibration in its metadata",
        file="model.onnx",
        runtime="onnxruntime",
        install="onnxruntime",
        home="sightline.deployment.conversion.onnx",
    ),
}
