"""The format `litert-int8`: weights and activations of a LiteRT network in whole numbers of 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sightline.deployment.conversion.description import ExportedModel, describe, write_beside
from sightline.deployment.conversion.losses import without_promises
from sightline.deployment.conversion.rows import ComparedRows
from sightline.deployment.runtimes import litert
from sightline.deployment.runtimes.keras_conversion import convert_keras
from sightline.errors import ExportRefused
from sightline.records import Bundle

IMPORTS, EXAMPLE = litert.IMPORTS, litert.EXAMPLE
# By which ranges are measured.
_MOST_MEASURED = 200


def convert(bundle: Bundle, target: Path, rows: ComparedRows) -> dict[str, Any]:
    """Write it by TensorFlow's converter, ranges measured on some of the rows; its temperature is fitted by all."""
    chosen = np.unique(np.linspace(0, len(rows.row_ids) - 1, min(len(rows.row_ids), _MOST_MEASURED)).astype(np.int64))
    convert_keras(bundle, target, "litert-int8", np.ascontiguousarray(rows.images[chosen]))
    write_beside(bundle, target)
    logits = litert.open_exported(target).logits(rows.images)
    if rows.labels is None or not np.isfinite(logits).all():
        raise ExportRefused(f"{bundle.path}: in whole numbers this network gives none. Keep the format litert.")
    told = describe(bundle)
    told |= without_promises(told["calibration"], bundle.task.fit_temperature(logits, rows.labels), rows)
    write_beside(bundle, target, told)
    return {"num_choosing_images": len(rows.row_ids)}


def open_exported(path: Path) -> ExportedModel:
    """As `litert` opens it."""
    return litert.open_exported(path, precision="int8")
