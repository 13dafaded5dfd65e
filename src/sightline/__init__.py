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
    "load": "sightline.data.sources.loading",
    "split": "sightline.data.splitting.splits",
    "recipe": "sightline.configuration.recipes",
    "show": "sightline.training.preview",
    "audit": "sightline.quality.audit",
    "find_learning_rate": "sightline.training.search.learning_rate_finder",
    "learning_curve": "sightline.training.search.learning_curve",
    "search": "sightline.training.search.search",
    "train": "sightline.training.train",
    "resume": "sightline.training.resume",
    "extend": "sightline.training.extend",
    "combine": "sightline.training.combine",
    "distil": "sightline.training.distil",
    "evaluate": "sightline.evaluation.evaluate",
    "predict": "sightline.bundles.prediction",
    "predict_into": "sightline.deployment.predict_into",
    "sort": "sightline.deployment.sort",
    "undo_sort": "sightline.deployment.sort",
    "stress": "sightline.evaluation.stress",
    "check": "sightline.evaluation.check",
    "reopen": "sightline.evaluation.measuring.finished_runs",
    "trusting": "sightline.bundles.bundle",
    "sign": "sightline.bundles.bundle",
    "explain": "sightline.evaluation.explain",
    "similar": "sightline.evaluation.similarity",
    "compare": "sightline.evaluation.comparison",
    "adopt": "sightline.deployment.adopt",
    "export": "sightline.deployment.export",
    "publish": "sightline.integrations.publish",
    "serve": "sightline.deployment.serve",
    "studio": "sightline.deployment.studio",
    "verify": "sightline.evaluation.verification",
    "runs": "sightline.evaluation.kept_runs",
    "mistakes": "sightline.evaluation.mistakes",
    "report": "sightline.evaluation.report",
    "models": "sightline.information",
    "datasets": "sightline.information",
    "recipes": "sightline.information",
    "cache": "sightline.system.caches",
    "Dataset": "sightline.records",
    "Splits": "sightline.records",
    "Recipe": "sightline.configuration.schema",
    "Run": "sightline.records",
    "Bundle": "sightline.records",
    "Audit": "sightline.quality.findings",
    "Predictions": "sightline.records",
    "Explanations": "sightline.evaluation.explain",
    "Similar": "sightline.evaluation.similarity",
    "Evaluation": "sightline.records",
    "Sorting": "sightline.deployment.sort",
    "Stress": "sightline.evaluation.stress",
    "Check": "sightline.evaluation.check",
    "Comparison": "sightline.evaluation.comparison",
    "LearningCurve": "sightline.training.search.learning_curve",
    "Search": "sightline.training.search.results",
    "Adopted": "sightline.deployment.adopt",
    "Export": "sightline.deployment.export",
    "Published": "sightline.integrations.publish",
    "Verification": "sightline.evaluation.verification",
    "Mistakes": "sightline.evaluation.mistakes",
    "SightlineError": "sightline.errors",
    "SightlineClassifier": "sightline.integrations.scikit_learn",
}
# What needs an extra is had by its name alone: `from sightline import *` asks for no package that is not there.
_OF_EXTRAS = {"SightlineClassifier"}

__all__ = ["__version__", *(name for name in _HOMES if name not in _OF_EXTRAS)]  # noqa: PLE0604  # all strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:  # for editors and type checkers alone
    from sightline.bundles.bundle import sign as sign, trusting as trusting
    from sightline.bundles.prediction import predict as predict
    from sightline.configuration.recipes import recipe as recipe
    from sightline.configuration.schema import Recipe as Recipe
    from sightline.data.sources.loading import load as load
    from sightline.data.splitting.splits import split as split
    from sightline.deployment.adopt import Adopted as Adopted, adopt as adopt
    from sightline.deployment.export import Export as Export, export as export
    from sightline.deployment.predict_into import predict_into as predict_into
    from sightline.deployment.serve import serve as serve
    from sightline.deployment.sort import Sorting as Sorting, sort as sort, undo_sort as undo_sort
    from sightline.deployment.studio import studio as studio
    from sightline.errors import SightlineError as SightlineError
    from sightline.evaluation.check import Check as Check, check as check
    from sightline.evaluation.comparison import Comparison as Comparison, compare as compare
    from sightline.evaluation.evaluate import evaluate as evaluate
    from sightline.evaluation.explain import Explanations as Explanations, explain as explain
    from sightline.evaluation.kept_runs import runs as runs
    from sightline.evaluation.measuring.finished_runs import reopen as reopen
    from sightline.evaluation.mistakes import Mistakes as Mistakes, mistakes as mistakes
    from sightline.evaluation.report import report as report
    from sightline.evaluation.similarity import Similar as Similar, similar as similar
    from sightline.evaluation.stress import Stress as Stress, stress as stress
    from sightline.evaluation.verification import Verification as Verification, verify as verify
    from sightline.information import datasets as datasets, models as models, recipes as recipes
    from sightline.integrations.publish import Published as Published, publish as publish
    from sightline.integrations.scikit_learn import SightlineClassifier as SightlineClassifier
    from sightline.quality.audit import audit as audit
    from sightline.quality.findings import Audit as Audit
    from sightline.records import (
        Bundle as Bundle,
        Dataset as Dataset,
        Evaluation as Evaluation,
        Predictions as Predictions,
        Run as Run,
        Splits as Splits,
    )
    from sightline.system.caches import cache as cache
    from sightline.training.combine import combine as combine
    from sightline.training.distil import distil as distil
    from sightline.training.extend import extend as extend
    from sightline.training.preview import show as show
    from sightline.training.resume import resume as resume
    from sightline.training.search.learning_curve import (
        LearningCurve as LearningCurve,
        learning_curve as learning_curve,
    )
    from sightline.training.search.learning_rate_finder import find_learning_rate as find_learning_rate
    from sightline.training.search.results import Search as Search
    from sightline.training.search.search import search as search
    from sightline.training.train import train as train
