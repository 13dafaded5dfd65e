"""`stress`: how much a bundle still gets right where images go bad."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import load_bundle
from sightline.bundles.prediction import match_labels
from sightline.bundles.sessions import Session, session_of
from sightline.data.inputs.pixels import Pixels, read_pixels
from sightline.data.sources.loading import open_again
from sightline.errors import InvalidSource, InvalidValue, pick
from sightline.evaluation.corruptions.changes import corrupted
from sightline.evaluation.corruptions.strengths import SEVERITIES, STRENGTHS
from sightline.evaluation.measuring.judging import choose_rows, in_words, recorded_source
from sightline.evaluation.measuring.kept_classes import learned_source
from sightline.metrics.classification import checked_count
from sightline.metrics.grouped import accuracy_interval
from sightline.metrics.multi_label.counting import LabelRows, micro, micro_interval
from sightline.records import NO_NUMBER, Bundle, Run, image_tag
from sightline.reporting.charts.canvas import check_drawable
from sightline.reporting.charts.robustness import USUAL_UNIT, robustness_png
from sightline.system.files import write_atomically
from sightline.system.paths import check_output, places_of
from sightline.system.progress import Bar, reporter
from sightline.system.text import counted, csv_line, listed, percent, printable
from sightline.tasks.table import has_several_labels

USUAL_LIMIT: Final = 1000
COLUMNS: Final = ("corruption", "severity", "num_images", "num_correct", "accuracy", "lower", "upper")


@dataclass(frozen=True)
class StressLevel:
    """What is left at one severity of one corruption; of one that is told as a whole, at all of them together.

    Attributes:
        corruption: as it is called, "gaussian noise".
        severity: 1 to 5; 0 for all that were asked for together.
        num_images: answers that were judged.
        num_correct: of them.
        interval: of the accuracy at 95 %, or of micro F1; an image that was spoiled several times counts as one.
        micro_f1: where an image may have several labels; else None.
    """

    corruption: str
    severity: int
    num_images: int
    num_correct: int
    interval: tuple[float, float]
    micro_f1: float | None = None

    @property
    def accuracy(self) -> float:
        """num_correct / num_images; where an image may have several labels, the share of which all are right."""
        return self.num_correct / self.num_images

    @property
    def score(self) -> float:
        """What is told first, and what the interval is of: the accuracy, or micro F1."""
        return self.accuracy if self.micro_f1 is None else self.micro_f1


@dataclass(frozen=True, eq=False)
class Stress:
    """How a bundle stands images that go bad.

    Attributes:
        num_images: that were judged, each at each severity of each corruption.
        clean: the accuracy, or micro F1, on the images as they are, with its interval, as corruption "none".
        mean: over all corruptions and severities, as corruption "all".
        levels: one for each corruption and severity.
        corruptions: one for each corruption, all severities together, the worst first.
        errors: (path, reason) of the images that could not be read; they are in no figure.
        rows: which rows were judged, in words.
        png: the picture; None where no chart can be drawn.

    Example:
        >>> import sightline
        >>> found = sightline.stress("runs/mnist-fast-001", limit=100, corruptions=["contrast"], severities=[1, 5])
        >>> found.worst.corruption, len(found.levels), found.mean.num_images
        ('contrast', 2, 200)
    """

    num_images: int
    clean: StressLevel
    mean: StressLevel
    levels: tuple[StressLevel, ...]
    corruptions: tuple[StressLevel, ...]
    errors: tuple[tuple[str, str], ...]
    rows: str
    png: bytes | None

    @property
    def relative_drop(self) -> float:
        """The share of the clean accuracy, or micro F1, that is lost on the mean; NaN where there is none to lose."""
        return 1 - self.mean.score / self.clean.score if self.clean.score else math.nan

    @property
    def worst(self) -> StressLevel:
        """The corruption with the lowest accuracy, or micro F1, over its severities."""
        return self.corruptions[0]

    @property
    def in_words(self) -> str:
        """The figure in two sentences."""
        drop = "" if math.isnan(self.relative_drop) else f", {percent(self.relative_drop)} less"
        figure = "accuracy" if self.mean.micro_f1 is None else "micro F1"
        return (
            f"mean {figure} {_numbers(self.mean)} over {counted(len(self.corruptions), 'corruption')} on "
            f"{counted(self.num_images, 'image')}, where it is {_numbers(self.clean)} on the images as they are{drop}. "
            f"Worst: {self.worst.corruption}, {_numbers(self.worst)}"
        )

    def __repr__(self) -> str:
        return self.in_words

    def _repr_html_(self) -> str:
        return "" if self.png is None else image_tag(self.png, alt=self.in_words)

    def figures(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "num_images": self.num_images,
            "rows": self.rows,
            "clean": _plain(self.clean),
            "mean": _plain(self.mean),
            "relative_drop": self.relative_drop,
            "worst": _plain(self.worst),
            "corruptions": [_plain(level) for level in self.corruptions],
            "levels": [_plain(level) for level in self.levels],
            "errors": [{"path": path, "error": reason} for path, reason in self.errors],
        }

    def csv(self) -> str:
        """A table, a line for each corruption and severity; severity 0 is all of them together."""
        of_labels = self.clean.micro_f1 is not None
        lines = [csv_line([*(("micro_f1" if of_labels and name == "accuracy" else name) for name in COLUMNS)])]
        for level in (self.clean, self.mean, *self.corruptions, *self.levels):
            numbers = (level.severity, level.num_images, level.num_correct, level.score, *level.interval)
            lines.append(csv_line([level.corruption, *numbers]))
        return "\n".join(lines) + "\n"


def stress(  # noqa: PLR0913  # each is an option of the command line, and none is a group of others
    bundle: str | Path | Bundle | Run,
    source: Any = None,
    *,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    limit: int = USUAL_LIMIT,
    split: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Stress:
    """Spoil images in fifteen ways, each at five strengths, and count what a bundle still gets right.

    Noise, blur, weather and compression as in ImageNet-C and CIFAR-10-C, with their strengths, made anew for images of
    any size as the network is fed them; figures are not those on the published files. What is drawn at random is drawn
    by the image's bytes, so that the same images give the same figures. Where an image may have several labels, micro
    F1 is told in place of accuracy.

    Args:
        bundle: a bundle or a run, or its folder.
        source: whatever `sightline.load` takes, its classes matched by name; left out, the source of the run.
        corruptions: some of them by name; all if left out.
        severities: some of 1 to 5.
        limit: at most so many images, drawn at random.
        split: as `sightline.evaluate` takes it.
        seed: of what is drawn, images and noise.
        out: a PNG to write.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        The accuracy of each corruption and severity, their mean, and the worst, with intervals.

    Raises:
        InvalidBundle: the bundle cannot be used.
        UnknownName: no corruption is called so, or the source cannot be found.
        InvalidValue: a severity or a limit that is none, or classes that the bundle does not know.
        InvalidSource: the source cannot be opened, no image of it can be read, or the bundle learned from all of it.
        OutputExists: `out` is a file that Sightline did not write.
        MissingPackage: `out` is given and matplotlib is not installed.

    Source:
        Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261.

    Example:
        >>> import sightline
        >>> found = sightline.stress("runs/mnist-fast-001", limit=50, corruptions=["brightness"], severities=[1])
        >>> print(found)
        mean accuracy ... over 1 corruption on 50 images, where it is ... Worst: brightness, ...
    """
    names = _checked_names(corruptions)
    strengths = _checked_severities(severities)
    limit, seed = checked_count(limit, name="limit", at_least=1), checked_count(seed, name="seed", at_least=0)
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    named = recorded_source(opened) if source is None else source
    if out is not None:
        check_output("out", Path(out), keep=places_of(named), overwrite=overwrite)
        check_drawable()
    dataset = learned_source(opened) if source is None else open_again(named, opened.metrics.get("source", {}))
    choice = choose_rows(opened, dataset, split)
    drawn = np.arange(len(choice.rows))
    if len(drawn) > limit:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, limit, replace=False))
    chosen = dataset.take(choice.rows[drawn])
    labels = match_labels(opened.class_names, chosen, np.arange(len(chosen)))
    pixels = read_pixels(chosen, opened.input) if choice.pixels is None else choice.pixels.take(drawn)
    clean = _Judge(opened, pixels, labels, None if choice.groups is None else choice.groups[drawn])
    errors = tuple((str(chosen.row_ids[row]), reason) for row, reason in sorted(clean.errors.items()))
    for path, reason in errors:
        reporter().say(f"{printable(path)}: {reason}")
    if not len(clean.rows):
        raise InvalidSource(f"{dataset.name}: none of {counted(len(chosen), 'image')} can be answered.")
    found = clean.stressed(names, strengths, seed)
    told = Stress(**found, errors=errors, rows=in_words(choice.told), num_images=len(clean.rows), png=None)
    if out is None:
        return told
    png = robustness_png(
        {
            level.corruption: [one.score for one in told.levels if one.corruption == level.corruption]
            for level in told.corruptions
        },
        severities=strengths,
        clean=told.clean.score,
        mean=told.mean.score,
        unit="micro F1, %" if has_several_labels(opened.task) else USUAL_UNIT,
    )
    write_atomically(Path(out), png)
    return replace(told, png=png)


class _Judge:
    """The readable images of a source, asked again and again in other states."""

    def __init__(self, bundle: Bundle, pixels: Pixels, labels: NDArray[Any], groups: NDArray[np.str_] | None) -> None:
        self._session, self._task = session_of(bundle), bundle.task
        self._num_classes = len(bundle.class_names)
        logits = self._session.logits(pixels)
        self.errors = dict(pixels.errors)
        for row in np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist():
            self.errors.setdefault(row, NO_NUMBER)
        self.rows = np.setdiff1d(np.arange(len(labels)), list(self.errors))
        self._pixels, self._labels = pixels.take(self.rows), labels[self.rows]
        self._groups = np.arange(len(self.rows)).astype(str) if groups is None else groups[self.rows]
        self._has_groups = groups is not None
        self._said = self._answered(logits[self.rows])

    def _answered(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which answers are right, (num_images,); of several labels (num_images, num_classes), which are said."""
        # What is no number is no right answer, and says no label.
        is_number, known = np.asarray(np.isfinite(logits).all(axis=1)), np.nan_to_num(logits, nan=-np.inf)
        if has_several_labels(self._task):
            return np.asarray((self._task.decided(known) != 0) & is_number[:, None])
        return np.asarray(self._task.is_right(known, self._labels) & is_number)

    def stressed(self, names: Sequence[str], severities: Sequence[int], seed: int) -> dict[str, Any]:
        """The figures of a Stress."""
        right: dict[tuple[str, int], NDArray[np.bool_]] = {}
        with reporter().bar("spoiling", total=len(names) * len(severities) * len(self.rows)) as bar:
            for name in names:
                for severity in severities:
                    spoiled = _Spoiled(
                        self._pixels, functools.partial(corrupted, name=name, severity=severity, seed=seed)
                    )
                    right[name, severity] = self._answered(_answers(self._session, spoiled, self._num_classes, bar))
        levels = tuple(self._level(name, severity, [mask]) for (name, severity), mask in right.items())
        whole = [self._level(name, 0, [right[name, severity] for severity in severities]) for name in names]
        return {
            "clean": self._level("none", 0, [self._said]),
            "mean": self._level("all", 0, list(right.values())),
            "levels": levels,
            "corruptions": tuple(sorted(whole, key=lambda level: level.score)),
        }

    def _level(self, name: str, severity: int, masks: Sequence[NDArray[np.bool_]]) -> StressLevel:
        right = np.concatenate(masks)
        # An image in several states is one image.
        groups = np.tile(self._groups, len(masks)) if len(masks) > 1 or self._has_groups else None
        if has_several_labels(self._task):
            given = np.concatenate([np.asarray(self._labels) != 0] * len(masks))
            rows, num_right = LabelRows(given, right, groups), int((given == right).all(axis=1).sum())
            # Where no label was given or said, nothing is missed.
            value = 1.0 if math.isnan(found := micro(rows, "f1")) else found
            interval = (0.0, 1.0) if math.isnan(found) else micro_interval(rows, "f1")
            return StressLevel(name, severity, len(right), num_right, interval, value)
        return StressLevel(name, severity, len(right), int(right.sum()), accuracy_interval(right, groups))


class _Spoiled:
    """Images that are spoiled as they are sliced."""

    def __init__(self, pixels: Pixels, change: Any) -> None:
        self._pixels, self._change, self.shape = pixels, change, pixels.shape

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: slice) -> NDArray[np.uint8]:
        return np.stack([self._change(image) for image in self._pixels[index]])


def _answers(session: Session, images: Any, num_classes: int, bar: Bar) -> NDArray[np.float32]:
    logits = np.full((len(images), num_classes), np.nan, np.float32)
    for first, (part,) in session.portions(images, ["logits"]):
        logits[first : first + len(part)] = part
        bar.advance(len(part))
    return logits


def _checked_names(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(STRENGTHS)
    if isinstance(names, str) or not names:
        raise InvalidValue(f"corruptions must be a list of names, such as ['fog', 'jpeg']; got {names!r}.")
    for name in names:
        pick(STRENGTHS, name, kind="corruption")
    return tuple(dict.fromkeys(names))


def _checked_severities(severities: Sequence[int]) -> tuple[int, ...]:
    whole = list(severities) if isinstance(severities, list | tuple) else []
    if not whole or any(isinstance(one, bool) or one not in SEVERITIES for one in whole):
        raise InvalidValue(
            f"severities must be some of {listed([str(one) for one in SEVERITIES], most=5)}; got {severities!r}."
        )
    return tuple(sorted(set(whole)))


def _numbers(level: StressLevel) -> str:
    return f"{level.score:.4f} [{level.interval[0]:.4f}, {level.interval[1]:.4f}]"


def _plain(level: StressLevel) -> dict[str, Any]:
    return {
        "corruption": level.corruption,
        "severity": level.severity or None,
        "num_images": level.num_images,
        "num_correct": level.num_correct,
        "accuracy": level.accuracy,
        **({} if level.micro_f1 is None else {"micro_f1": level.micro_f1}),
        "interval": list(level.interval),
    }
