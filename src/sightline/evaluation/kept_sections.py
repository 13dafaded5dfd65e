"""What takes long of a report: computed once, kept beside the run, and computed anew where it was of something else."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import MANIFEST
from sightline.bundles.maps.class_maps import share_in_words
from sightline.data.inputs.pixels import read_pixels
from sightline.errors import InvalidSource, InvalidValue, OutputExists
from sightline.evaluation.explain import explain
from sightline.evaluation.measuring.finished_runs import FinishedRun, kept_predictions
from sightline.evaluation.measuring.judging import JudgedRows
from sightline.evaluation.slicing.finding import find_slices
from sightline.evaluation.stress import stress
from sightline.metrics.answers.decisions import is_right
from sightline.metrics.intervals import USUAL_LEVEL
from sightline.quality.labels.doubts import LabelDoubts, find_doubts
from sightline.records import Dataset, SplitName
from sightline.reporting.pages.miniatures import Miniature, miniature
from sightline.reporting.pages.report_content import text_of
from sightline.reporting.pages.sections.doubts import doubts_section
from sightline.reporting.pages.sections.maps import about_maps, drawn_map, kept_map
from sightline.reporting.pages.sections.robustness import robustness_section
from sightline.reporting.pages.sections.slices import slices_section
from sightline.system.files import sha256_of, write_json, writing_to
from sightline.system.progress import reporter
from sightline.system.stored import read_json
from sightline.system.text import as_argument, printable

FOLDER: Final = "report"
"""In the folder of a run: a file for each section."""
# Enough to tell corruptions apart, in less than a sixth of the time that `stress` takes by itself.
STRESSED_IMAGES: Final = 250
STRESSED_SEVERITIES: Final = (1, 3, 5)
_SIDE: Final = 96


@dataclass(frozen=True, eq=False)
class Judged:
    """What sections are computed from.

    Attributes:
        finished: the run.
        split: whose kept answers are judged; None where there are none.
        dataset: where the images are; None where they are not at hand.
        why: they are not.
        surest: row ids of the surest wrong answers.
    """

    finished: FinishedRun
    split: SplitName | None
    dataset: Dataset | None
    why: str
    surest: tuple[str, ...] = ()

    def picture(self, row_id: str) -> Miniature | None:
        """A row of the source by its name."""
        row = self._row_of.get(row_id)
        return None if row is None or self.dataset is None else miniature(self.dataset, row, side=_SIDE)

    def rows(self, row_ids: list[str]) -> NDArray[np.int64]:
        """(num_rows,) where each is in the source; -1 for what is not."""
        return np.array([self._row_of.get(row_id, -1) for row_id in row_ids], np.int64)

    @functools.cached_property
    def _row_of(self) -> Mapping[str, int]:
        names = [] if self.dataset is None else self.dataset.row_ids.tolist()
        return {name: row for row, name in enumerate(names)}


@dataclass(frozen=True)
class KeptSection:
    """One section of a report that is computed when it is asked for.

    Attributes:
        name: of its file, and where the page is linked to.
        title: its heading.
        about: what it would tell, where it was not computed.
        compute: plain values, for JSON.
        draw: HTML of them; of maps, the maps.
        method: raised where it is computed in another way.
        depends_on_bundle: False where it is about the images alone.
    """

    name: str
    title: str
    about: str
    compute: Callable[[Judged], dict[str, Any]]
    draw: Callable[[Mapping[str, Any], Judged], Any]
    method: int = 1
    depends_on_bundle: bool = True

    def made_from(self, judged: Judged) -> dict[str, Any]:
        """What tells whether what was kept is of this run and these images."""
        run, dataset = judged.finished, judged.dataset
        images = run.source.get("fingerprint", "") if dataset is None else dataset.fingerprint
        bundle = {"bundle": sha256_of(run.bundle.path / MANIFEST)} if self.depends_on_bundle else {}
        return {"method": self.method, "images": images, "splits": sha256_of(run.path / "splits.csv"), **bundle}


def sections_of(judged: Judged, *, is_full: bool = False) -> Iterator[tuple[str, str, str]]:
    """Id, title and HTML of each section: what is kept, what it would tell, or with `is_full` computed where missing.

    What was finished is kept at once, so that an interruption loses no more than the section that it came in.
    """
    for section in SECTIONS:
        drawn, why = _found(section, judged, is_full=is_full)
        yield section.name, section.title, why if drawn is None else drawn


Maps = Mapping[str, tuple[Miniature, str]]
"""Row id to the map of an image, and where most of it lies in words."""


def maps_of(judged: Judged, *, is_full: bool = False) -> tuple[Maps, str]:
    """Maps of the surest wrong answers, and what they say, or how they are made, as HTML."""
    if not judged.surest:
        return {}, ""
    drawn, why = _found(MAPS, judged, is_full=is_full)
    return ({}, why) if drawn is None else drawn


def _found(section: KeptSection, judged: Judged, *, is_full: bool) -> tuple[Any | None, str]:
    """What is drawn of a section; or None, and why not as HTML."""
    path = judged.finished.path / FOLDER / f"{section.name}.json"
    made_from = section.made_from(judged)
    drawn, why = _kept(path, section, judged, made_from)
    if drawn is None and is_full:
        return _computed(path, section, judged, made_from)
    command = f"<code>sightline report {escape(as_argument(judged.finished.path))} --full</code>"
    return drawn, f"<p>{escape(section.about)} {why}: {command} computes it, once.</p>"


def _kept(path: Path, section: KeptSection, judged: Judged, made_from: Mapping[str, Any]) -> tuple[Any | None, str]:
    try:
        if not path.exists():
            return None, "Not computed yet"
        kept = read_json(path)
        if kept["made_from"] != made_from:
            return None, "What is kept of it is of another bundle, or of other images"
        return section.draw(kept["content"], judged), ""
    except (OSError, TypeError, LookupError, ValueError, AttributeError, ArithmeticError):
        return None, "What is kept of it cannot be read"


def _computed(path: Path, section: KeptSection, judged: Judged, made_from: Mapping[str, Any]) -> tuple[Any | None, str]:
    if judged.dataset is None:
        return None, f"<p>{escape(section.about)} It needs the images: {text_of(judged.why)}.</p>"
    _check_can_keep(path.parent)
    reporter().say(f"report: {section.title.lower()}")
    try:
        content = section.compute(judged)
    except KeyboardInterrupt:
        reporter().say("stopped; what was finished is kept, and the same command goes on with the rest")
        raise
    except (InvalidSource, InvalidValue) as error:
        return None, f"<p>{escape(section.about)} It cannot be computed: {text_of(str(error))}</p>"
    write_json(path, {"made_from": made_from, "content": content})
    return section.draw(read_json(path)["content"], judged), ""


def _check_can_keep(folder: Path) -> None:
    """Make the folder of kept sections, and refuse what cannot be written there before minutes are spent on it."""
    with writing_to(folder):
        for place in (folder, *(folder / f"{section.name}.json" for section in (MAPS, *SECTIONS))):
            if place.is_symlink():
                raise OutputExists(f"{place} is a link, and a run may come from somebody else. Remove it.")
            what = "folder" if place == folder else "file"
            if place.exists() and not (place.is_dir() if what == "folder" else place.is_file()):
                raise OutputExists(f"{place} is no {what}, and what is computed is kept there. Move it away.")
        folder.mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def _slices(judged: Judged) -> dict[str, Any]:
    dataset, answers = judged.dataset, None if judged.split is None else kept_predictions(judged.finished, judged.split)
    if dataset is None or answers is None:
        raise InvalidValue("the run kept no answers to images that it did not learn from.")
    rows = judged.rows(list(answers.row_ids))
    there = np.flatnonzero(rows >= 0)
    if not len(there):
        raise InvalidSource(f"{printable(dataset.name)}: none of the images that were judged is there.")
    answers = answers.take(there)
    choice = JudgedRows(rows[there], None, answers.groups, {})
    found = find_slices(judged.finished.bundle, dataset, choice, answers, level=USUAL_LEVEL)
    return {"interval_level": USUAL_LEVEL, "slices": [one.figures() for one in found]}


def _doubts(judged: Judged) -> dict[str, Any]:
    finished, dataset = judged.finished, judged.dataset
    used = [row_id for row_id, split in finished.splits.items() if split]
    rows = judged.rows(used)
    if dataset is None or not (rows >= 0).any():
        raise InvalidSource("none of the images of the run is there.")
    chosen = dataset.take(rows[rows >= 0])
    groups = np.array([finished.groups.get(row_id, row_id) for row_id in chosen.row_ids.tolist()])
    chosen = dataclasses.replace(chosen, groups=groups)
    # What shows the same is in one group of the run.
    everything, no_pairs = np.ones(len(chosen), bool), np.empty((0, 2), np.int64)
    found = find_doubts(chosen, readable=everything, copies=no_pairs)
    if isinstance(found, str):
        raise InvalidValue(f"{found}.")
    told = found.figures(chosen)
    nearest = _named_nearest(found, chosen)
    for entry, (given, suggested) in zip(told["listed"], nearest, strict=False):
        entry |= {"nearest_given": given, "nearest_suggested": suggested}
    for entry in told["listed"]:
        entry["split"] = finished.splits[entry["file"]]
        entry.setdefault("nearest_given", [])
        entry.setdefault("nearest_suggested", [])
    return {**told, "believed": found.believed, **_wrong_among(told["listed"], judged)}


def _named_nearest(found: LabelDoubts, dataset: Dataset) -> list[tuple[list[str], list[str]]]:
    pairs = zip(found.nearest_given, found.nearest_suggested, strict=True)
    return [(dataset.row_ids[one[one >= 0]].tolist(), dataset.row_ids[two[two >= 0]].tolist()) for one, two in pairs]


def _wrong_among(listed: list[dict[str, Any]], judged: Judged) -> dict[str, int]:
    """How many wrong answers of the run are to images whose label is doubtful."""
    answers = None if judged.split is None else kept_predictions(judged.finished, judged.split)
    if answers is None:
        return {"num_wrong_answers": 0, "num_wrong_listed": 0}
    wrong = {answers.row_ids[row] for row in np.flatnonzero(~is_right(answers)).tolist()}
    return {"num_wrong_answers": len(wrong), "num_wrong_listed": len(wrong.intersection(e["file"] for e in listed))}


def _maps(judged: Judged) -> dict[str, Any]:
    rows = judged.rows(list(judged.surest))
    if judged.dataset is None or not (rows >= 0).any():
        raise InvalidSource("none of these images is there.")
    found = explain(judged.finished.bundle, judged.dataset.take(rows[rows >= 0]))
    details, readable = found.maps, np.flatnonzero(found.predictions.readable)
    told = [
        {
            "file": found.predictions.row_ids[row],
            "words": share_in_words(str(details.places[row]), float(details.shares[row])),
            "values": kept_map(found.grid.spread(details.maps[row]), found.scale),
        }
        for row in readable.tolist()
    ]
    return {"about": found.about_maps, "maps": told}


def _draw_maps(told: Mapping[str, Any], judged: Judged) -> tuple[Maps, str]:
    drawn: dict[str, tuple[Miniature, str]] = {}
    for one in told["maps"]:
        # A run may come from somebody else, and hold more than is shown.
        if one["file"] not in judged.surest or one["file"] in drawn:
            continue
        (row,) = judged.rows([one["file"]])
        if judged.dataset is None or row < 0:
            continue
        pixels = read_pixels(judged.dataset.take(np.array([row])), judged.finished.bundle.input)
        if not pixels.errors:
            drawn[str(one["file"])] = (drawn_map(pixels[0], one["values"]), str(one["words"]))
    return drawn, about_maps(told)


def _robustness(judged: Judged) -> dict[str, Any]:
    if judged.split is None:
        raise InvalidValue("the run kept no answers to images that it did not learn from.")
    found = stress(
        judged.finished.bundle,
        judged.dataset,
        severities=STRESSED_SEVERITIES,
        limit=STRESSED_IMAGES,
        split=judged.split,
    )
    return found.figures()


def _draw_doubts(told: Mapping[str, Any], judged: Judged) -> str:
    return doubts_section(told, judged.picture, source=str(judged.finished.source.get("typed") or "SOURCE"))


MAPS: Final = KeptSection(
    "maps",
    "Where it looks",
    "Which places of these images speak for the class that was named.",
    compute=_maps,
    draw=_draw_maps,
)
# In the order in which they are told and computed: what takes longest comes last.
SECTIONS: Final = (
    KeptSection(
        "slices",
        "Where it is weaker",
        "On which parts of the images, by class, group, size, brightness, sharpness and look, it is wrong more often.",
        compute=_slices,
        draw=lambda told, _: slices_section(told),
    ),
    KeptSection(
        "labels",
        "Labels worth a second look",
        "Which given labels may be doubtful, by what a network sees that did not learn from them.",
        compute=_doubts,
        draw=_draw_doubts,
        depends_on_bundle=False,
    ),
    KeptSection(
        "robustness",
        "When images go bad",
        "What it still gets right in noise, blur, bad weather and compression.",
        compute=_robustness,
        draw=lambda told, judged: robustness_section(told, run=str(judged.finished.path)),
    ),
)
