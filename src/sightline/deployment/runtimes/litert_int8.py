"""The format `litert-int8`: weights and activations of a LiteRT network in whole numbers of 8 bits.

As for `onnx-int8`, some settings are tried, and the nearest to the bundle on labelled images is written; others judge
it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sightline.deployment.conversion.choosing import first_in_float, try_settings
from sightline.deployment.conversion.description import ExportedModel, describe, write_beside
from sightline.deployment.conversion.gate import PORTION, milliseconds
from sightline.deployment.conversion.losses import without_promises
from sightline.deployment.conversion.rows import ComparedRows
from sightline.deployment.runtimes import litert
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.deployment.runtimes.keras_writers import FLOAT_FILE, FLOAT_LAYERS
from sightline.records import Bundle

IMPORTS, EXAMPLE = litert.IMPORTS, litert.EXAMPLE
# By which ranges are measured.
_MOST_MEASURED = 200


def convert(bundle: Bundle, target: Path, rows: ComparedRows) -> dict[str, Any]:
    """Write the setting with the fewest layers in float that is as near to the bundle as any; the distances of all."""
    chosen = np.unique(np.linspace(0, len(rows.row_ids) - 1, min(len(rows.row_ids), _MOST_MEASURED)).astype(np.int64))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "settings"
        convert_keras(bundle, folder, "litert-int8", images=np.ascontiguousarray(rows.images[chosen]))
        files = [(first_in_float(count), folder / f"{count}.tflite") for count in FLOAT_LAYERS]
        made = {name: file for name, file in files if file.is_file()}
        settings = ((name, litert.answers_of(file)) for name, file in made.items())
        tried = try_settings(bundle, rows, settings, of=len(made))
        rates = {
            name: round(
                1000 * len(rows.images[:PORTION]) / milliseconds(litert.answers_of(file), rows.images[:PORTION]), 1
            )
            for name, file in (("float", folder / FLOAT_FILE), ("kept", made[tried.kept]))
        }
        shutil.copyfile(made[tried.kept], target)
    told = describe(bundle)
    told |= without_promises(told["calibration"], tried.temperatures[tried.kept], rows)
    write_beside(bundle, target, told)
    return {**tried.told(), "images_per_second": rates}


def open_exported(path: Path) -> ExportedModel:
    """As `litert` opens it."""
    return litert.open_exported(path, precision="int8")
