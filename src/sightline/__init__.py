"""Sightline: from labelled pictures to an image classifier its owner can trust.

Names are handed on when they are first used, so that importing the package, and
with it `sightline --help`, takes milliseconds.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from sightline._version import __version__

# ONNX Runtime 1.32 keeps a device id and sends events unless it finds this when it is loaded; asked afterwards, it has
# already begun. Set before whatever of Sightline imports it, for child processes, too; who says otherwise is heeded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES: dict[str, str] = {
    "load": "sightline.data.sources",
    "split": "sightline.data.splits",
    "recipe": "sightline.training.recipes",
    "show": "sightline.preview",
    "audit": "sightline.quality.inspection",
    "find_learning_rate": "sightline.learning_rates",
    "train": "sightline.training.run",
    "combine": "sightline.training.combining",
    "distil": "sightline.training.distillation",
    "evaluate": "sightline.evaluation",
    "predict": "sightline.inference",
    "similar": "sightline.similarity",
    "compare": "sightline.comparison",
    "models": "sightline.tables",
    "datasets": "sightline.tables",
    "recipes": "sightline.tables",
    "cache": "sightline.data.caches",
    "Dataset": "sightline.records",
    "Splits": "sightline.records",
    "Recipe": "sightline.schema",
    "Run": "sightline.results",
    "Bundle": "sightline.results",
    "Audit": "sightline.quality.findings",
    "Predictions": "sightline.records",
    "Similar": "sightline.similarity",
    "Evaluation": "sightline.results",
    "Comparison": "sightline.comparison",
    "SightlineError": "sightline.errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # the names are the table's keys, all strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:  # for editors and type checkers alone
    from sightline.comparison import Comparison as Comparison, compare as compare
    from sightline.data.caches import cache as cache
    from sightline.data.sources import load as load
    from sightline.data.splits import split as split
    from sightline.errors import SightlineError as SightlineError
    from sightline.evaluation import evaluate as evaluate
    from sightline.inference import predict as predict
    from sightline.learning_rates import find_learning_rate as find_learning_rate
    from sightline.preview import show as show
    from sightline.quality.findings import Audit as Audit
    from sightline.quality.inspection import audit as audit
    from sightline.records import Dataset as Dataset, Predictions as Predictions, Splits as Splits
    from sightline.results import Bundle as Bundle, Evaluation as Evaluation, Run as Run
    from sightline.schema import Recipe as Recipe
    from sightline.similarity import Similar as Similar, similar as similar
    from sightline.tables import datasets as datasets, models as models, recipes as recipes
    from sightline.training.combining import combine as combine
    from sightline.training.distillation import distil as distil
    from sightline.training.recipes import recipe as recipe
    from sightline.training.run import train as train
