"""The frozen records that cross layers: Dataset, Splits, Predictions, Evaluation, Bundle, Run.

They hold values and print themselves; they decide nothing. The seventh noun,
Recipe, lives in `sightline.configuration.recipes` beside its parser.
"""

from __future__ import annotations

from sightline.records.data import (
    SPLIT_NAMES,
    ColorMode,
    Dataset,
    InputSpec,
    ResizeRule,
    SplitName,
    Splits,
    Store,
    View,
)
from sightline.records.details import AnswerDetail, Features, Neighbours, Novelty, PredictionSets, UnsureAnswers
from sightline.records.figure import Figure
from sightline.records.notebook import MOST_SHOWN, image_tag, pixels_tag
from sightline.records.results import NO_NUMBER, Bundle, Evaluation, Predictions, Run

__all__ = [
    "MOST_SHOWN",
    "NO_NUMBER",
    "SPLIT_NAMES",
    "AnswerDetail",
    "Bundle",
    "ColorMode",
    "Dataset",
    "Evaluation",
    "Features",
    "Figure",
    "InputSpec",
    "Neighbours",
    "Novelty",
    "PredictionSets",
    "Predictions",
    "ResizeRule",
    "Run",
    "SplitName",
    "Splits",
    "Store",
    "UnsureAnswers",
    "View",
    "image_tag",
    "pixels_tag",
]
