"""Whether what was measured of a promise is what calibration and judged images bring about by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from sightline.metrics.conformal import coverage_law
from sightline.metrics.significance import binomial_cdf
from sightline.records import Evaluation
from sightline.system.text import counted, exact_percent, told_p_value

# What is measured and less probable than this is no chance.
_SURPRISING = 0.01


def draw_of(name: str, promise: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any] | None:
    """Whether what was measured of a promise is brought about by chance.

    Args:
        name: of the detail.
        promise: of it.
        evaluation: that has its figures.

    Returns:
        `range`, in which the figure lies in 95 of 100 such draws, `p_value`, of one so bad or worse, `is_surprising`,
        whether that is no chance, and all of them `in_words`; None where there is no law of it, or no figure.
    """
    found = _DRAWS[name](promise, evaluation) if name in _DRAWS else None
    return None if found is None else {**found, "is_surprising": found["p_value"] < _SURPRISING}


def _of_sets(promise: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any] | None:
    """Of the coverage, whose law is known; not where each class has a promise of its own."""
    if promise.get("per_class", True):  # of several labels a share is held, which has no law
        return None
    # Of groups of many the mean varies less than one image of each, so that the law is on the safe side.
    num_rows, num_judged = (one["num_groups"] or one["num_images"] for one in (promise, vars(evaluation)))
    law = coverage_law(num_rows, promise["coverage"], num_judged)
    lower, upper = (float(np.searchsorted(law, chance)) / num_judged for chance in (0.025, 0.975))
    measured = evaluation.figures["coverage"].value
    # Of groups, of which parts count, no more misses than are whole.
    p_value = float(law[num_judged - math.floor((1 - measured) * num_judged + 1e-9)])
    rows = counted(num_judged, _row(evaluation))
    words = f"{lower:.4f} to {upper:.4f} is what 95 of 100 such calibrations reach on {rows}"
    if p_value < _SURPRISING:
        chance = told_p_value(p_value)
        words += f"; so little by chance alone has p {chance}: these images are not like the calibration images"
    elif measured > upper:
        words += "; it lies above where answers alone are right more often than asked, or these images are easier"
    return {"range": [lower, upper], "p_value": p_value, "in_words": words}


def _of_abstention(promise: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any] | None:
    """Of the error of the answered, were it the highest that is allowed."""
    num_judged = evaluation.num_groups or evaluation.num_images
    answered = evaluation.figures["answered"].value * num_judged
    return _at_most(
        evaluation.figures["answered_error"].value, answered, promise["max_error"],
        row=f"answered {_row(evaluation)}", certainty=promise["certainty"],
    )  # fmt: skip


def _of_novelty(promise: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any] | None:
    """Of the share that is marked, were it the highest that is allowed."""
    num_judged = evaluation.num_groups or evaluation.num_images
    measured, certainty = evaluation.figures["novel"].value, promise["certainty"]
    return _at_most(measured, num_judged, promise["novelty"], row=_row(evaluation), certainty=certainty)


def _at_most(measured: float, judged: float, allowed: float, *, row: str, certainty: float) -> dict[str, Any] | None:
    if not judged or math.isnan(measured):
        return None
    # Of groups, of which parts count, as many as make it least surprising: more answered ones, fewer wrong ones.
    num_judged, num_hits = math.ceil(judged - 1e-9), math.floor(measured * judged + 1e-9)
    law = binomial_cdf(num_judged, allowed)
    upper = float(np.searchsorted(law, 0.95)) / num_judged
    # So many hits or more are so many misses or fewer, whose law has no digits lost to a difference from 1.
    p_value = float(binomial_cdf(num_judged, 1 - allowed)[num_judged - num_hits])
    rows = counted(num_judged, row)
    words = f"up to {upper:.4f} is what 95 of 100 draws of {rows} show where it is {exact_percent(allowed)} of all"
    if p_value < _SURPRISING:
        words += (
            f"; so much by chance alone has p {told_p_value(p_value)}: these images are not like the calibration "
            f"images, or the calibration is one that fails, for which a certainty of {exact_percent(certainty)} leaves "
            "room"
        )
    return {"range": [0.0, upper], "p_value": p_value, "in_words": words}


def _row(evaluation: Evaluation) -> str:
    return "image" if evaluation.num_groups is None else "group"


_DRAWS: Final[dict[str, Callable[[Mapping[str, Any], Evaluation], dict[str, Any] | None]]] = {
    "sets": _of_sets,
    "abstention": _of_abstention,
    "novelty": _of_novelty,
}
