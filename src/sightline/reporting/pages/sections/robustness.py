"""The section of a report on images that go bad: what is left of the accuracy in noise, blur, weather, compression."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from sightline.reporting.pages.plots import Axis, Line, plot
from sightline.reporting.pages.report_content import share_in_words, text_of
from sightline.reporting.pages.shell import count_cell, wide_table
from sightline.system.text import as_argument, counted


def robustness_section(told: Mapping[str, Any], *, run: str) -> str:
    """The one figure, the worst corruption, a plot, and all of them in a table.

    Args:
        told: as `sightline.Stress.figures`.
        run: what is typed behind `sightline stress`.
    """
    clean, mean, worst = told["clean"], told["mean"], told["worst"]
    lost = "" if told["relative_drop"] is None else f"; {share_in_words(told['relative_drop'])} of that is lost"
    return (
        f"<p>Noise, blur, weather and compression were put on {counted(told['num_images'], 'image')}, in "
        f"{len(told['corruptions'])} ways. <b>On the mean {_percent(mean)} of the answers are still right</b>, where "
        f"{_percent(clean)} are on the images as they are{lost}. Worst is {text_of(worst['corruption'])}: "
        f"{_percent(worst)}. Of a way that will not occur where the network is used, its row says nothing.</p>"
        f"{_plot(told)}{_table(told)}"
        '<p class="faint">Strengths as of ImageNet-C and CIFAR-10-C, made anew for images of this size, so that the '
        "figures are not those on the published files. In brackets 95 % intervals; an image in several states counts "
        f"once. <code>sightline stress {escape(as_argument(run))}</code> looks at more images, at all five "
        "strengths.</p>"
    )


def _percent(level: Mapping[str, Any]) -> str:
    low, high = level["interval"]
    return f"{share_in_words(level['accuracy'])} [{share_in_words(low)}, {share_in_words(high)}]"


def _severities(told: Mapping[str, Any]) -> list[int]:
    return sorted({level["severity"] for level in told["levels"]})


def _plot(told: Mapping[str, Any]) -> str:
    worst, clean = told["worst"], told["clean"]["accuracy"]
    means, of_worst = [(0.0, clean)], [(0.0, clean)]
    for severity in _severities(told):
        levels = [level for level in told["levels"] if level["severity"] == severity]
        # Each corruption was put on the same images.
        means.append((severity, sum(level["accuracy"] for level in levels) / len(levels)))
        of_worst += [(severity, level["accuracy"]) for level in levels if level["corruption"] == worst["corruption"]]
    lines = [
        Line("mean of all", means, "first", has_dots=True),
        Line(str(worst["corruption"]), of_worst, "second", has_dots=True),
    ]
    words = f"From {share_in_words(clean)} as they are to {share_in_words(means[-1][1])} at the strongest, on the mean."
    across = Axis("strength; 0 is the image as it is", 0, means[-1][0], is_whole=True)
    up = Axis("share right", 0, 1, is_percent=True)
    return plot("Accuracy on images that go bad", words, across=across, up=up, lines=lines)


def _table(told: Mapping[str, Any]) -> str:
    severities = _severities(told)
    by_place = {(level["corruption"], level["severity"]): level["accuracy"] for level in told["levels"]}
    rows = []
    for whole in told["corruptions"]:
        name = whole["corruption"]
        low, high = whole["interval"]
        mean = count_cell(f"{whole['accuracy']:.4f} [{low:.4f}, {high:.4f}]", whole["accuracy"])
        cells = "".join(count_cell(f"{by_place[name, one]:.4f}", by_place[name, one]) for one in severities)
        rows.append(f'<tr><th scope="row">{escape(str(name))}</th>{mean}{cells}</tr>')
    counts = ["accuracy", *(f"strength {severity}" for severity in severities)]
    return wide_table("accuracy by corruption", rows, texts=["corruption"], counts=counts, is_sortable=True)
