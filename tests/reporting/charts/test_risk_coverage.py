"""The risk-coverage curve: what it shows, and that it is drawn whatever the figures are."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from sightline.metrics.selective import risk_coverage
from sightline.reporting.charts.risk_coverage import draw_risk_coverage, risk_coverage_png

matplotlib = pytest.importorskip("matplotlib")


def curve(num_images: int) -> np.ndarray:
    random = np.random.default_rng(0)
    sure = random.random(num_images)
    return risk_coverage(sure, random.random(num_images) > 0.2 * (1 - sure))


def test_the_curve_ends_where_all_are_answered_and_the_promise_is_a_rule() -> None:
    risks = curve(20_000)
    (panel,) = draw_risk_coverage(risks, max_error=0.01, measured=(0.4, 0.008)).axes
    drawn = {line.get_label(): line.get_xydata() for line in panel.lines}
    assert drawn["the surest answered"][-1].tolist() == pytest.approx([100, 100 * risks[-1]])
    assert len(drawn["the surest answered"]) <= 2_000
    assert drawn["all answered"][:, 1] == pytest.approx(100 * risks[-1])
    assert drawn["promised at most"][:, 1] == pytest.approx(1)
    assert drawn["not marked unsure"].tolist() == [pytest.approx([40, 0.8])]


def test_a_single_mistake_among_the_surest_does_not_flatten_the_rest() -> None:
    (panel,) = draw_risk_coverage(np.array([1, 0.5, 0.1, 0.1])).axes
    assert panel.get_ylim()[1] == pytest.approx(13.5)


@pytest.mark.parametrize(
    ("risks", "measured"), [(np.zeros(1), (1.0, 0.0)), (np.zeros(7), None), (np.ones(3), (0.0, math.nan))]
)
def test_one_image_no_mistake_and_no_answer_are_drawn(risks: np.ndarray, measured: tuple[float, float] | None) -> None:
    drawn = risk_coverage_png(risks, max_error=0.01, measured=measured)
    assert Image.open(io.BytesIO(drawn)).size == (792, 484)
    assert drawn == risk_coverage_png(risks, max_error=0.01, measured=measured)
