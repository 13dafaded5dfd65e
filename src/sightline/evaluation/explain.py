"""`explain`: which training images are most like an image for a network, and which of its places speak for a class."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.bundles.bundle import load_bundle
from sightline.bundles.given_images import check_there, find_images, num_given, paths_of
from sightline.bundles.maps.class_maps import ClassMaps, Method, maps_maker
from sightline.bundles.maps.grid import Grid
from sightline.bundles.prediction import predict_with
from sightline.bundles.trust.details import DetailMaker
from sightline.bundles.trust.neighbours import neighbours_maker, read_neighbours, read_thumbnails
from sightline.errors import InvalidBundle, InvalidValue
from sightline.records import Bundle, Dataset, Neighbours, Predictions, Run, image_tag
from sightline.reporting.pages.explanations.page import ExplainedImage, NearImage, explanations_page
from sightline.reporting.sheets.grids import Cell, draw_grid, make_cell
from sightline.reporting.sheets.overlays import SIDE, drawn, overlay
from sightline.system.files import check_free, staged_folder, write_atomically
from sightline.system.paths import FreeNames, check_output, places_of
from sightline.system.progress import reporter
from sightline.system.text import counted
from sightline.tasks.table import has_several_labels

NEAREST = 3
# A person looks at each of them, and all are held in memory.
MOST_EXPLAINED = 1_000
UNITS = {
    "activations": "what a place adds to the logit, above the mean of all classes",
    "occlusion": "how far the log-odds fall where the place is covered",
}
UNITS_OF_LABELS = {**UNITS, "activations": "what a place adds to the logit of the label"}
_REMARK = (
    "Look at the nearest training images first. Other ways of drawing such a map would mark other places, and a map "
    "of a wrong answer looks as convincing as one of a right one."
)
_TOP, _MOST_IN_NOTEBOOK = 3, 12


@dataclass(frozen=True, eq=False)
class Explanations:
    """Images with what they are answered with, the nearest training images, and maps of a class.

    Attributes:
        predictions: one row an image; an unreadable one has an error and no map.
        maps: of the same rows, with the images as the network was fed them.
        neighbours: the nearest training images, likewise; None where the bundle names none.
        bundle: that was asked.
        class_name: the class that all maps are about, or None for the one that each image is answered with.
        method: "activations" or "occlusion".
        about_maps: what a value of a map says, in words.
        about_nearest: why no training images are named; "" where they are.
        grid: where on the image the cells of a map lie; `grid.spread(maps)` gives a value for each pixel.

    Example:
        >>> import sightline
        >>> from PIL import Image
        >>> found = sightline.explain("imagenet", [Image.new("RGB", (224, 224), name) for name in ("white", "red")])
        >>> found.picture(1).shape  # the map over the second image, in colours that mean the same in all
        (224, 224, 3)
        >>> bool(abs(found.maps.maps).max() == found.scale)
        True
    """

    predictions: Predictions
    maps: ClassMaps
    neighbours: Neighbours | None
    bundle: Bundle
    class_name: str | None
    method: str
    about_maps: str
    about_nearest: str
    grid: Grid

    @property
    def scale(self) -> float:
        """The largest value of all maps, whatever its sign: the one scale for all that are looked at together."""
        values = np.abs(self.maps.maps[np.isfinite(self.maps.maps)])
        return float(values.max(initial=0.0)) or 1.0

    def __len__(self) -> int:
        return len(self.predictions)

    def __repr__(self) -> str:
        return f"Explanations of {counted(len(self), 'image')}, maps by {self.method}"

    def _repr_html_(self) -> str:
        return image_tag(self.sheet(most=_MOST_IN_NOTEBOOK), alt=repr(self))

    def picture(self, row: int) -> NDArray[np.uint8]:
        """The map of a readable row over its image, (height, width, 3), in the colours of the one scale."""
        image = drawn(self.maps.images[row])
        return overlay(image, self.grid.spread(self.maps.maps[row], image.shape[:2]), scale=self.scale)

    def sheet(self, *, most: int = 40, rows: Sequence[int] | None = None) -> bytes:
        """Images and their maps side by side as one PNG: the first that can be read, or these rows."""
        chosen = [row for row in (range(len(self)) if rows is None else rows) if self.predictions.errors[row] is None]
        lines = [[self._image_cell(row), self._map_cell(row), *self._nearest_cells(row)] for row in chosen[:most]]
        title = f"orange speaks for the class, blue against it; colours end at {self.scale:.3g}"
        return draw_grid(lines, title=title if lines else "no image can be read")

    def page(self) -> str:
        """Everything as one HTML page that needs nothing but itself."""
        images = [self._explained(row) for row in range(len(self))]
        remarks = [
            f"{text[0].upper()}{text[1:]}." for text in (self.about_maps, self.about_nearest.rstrip(".")) if text
        ]
        title = f"{counted(len(self), 'image')}, as {self.bundle.path} sees {'it' if len(self) == 1 else 'them'}"
        units = UNITS_OF_LABELS if has_several_labels(self.bundle.task) else UNITS
        return explanations_page(title, images, remarks=[*remarks, _REMARK], scale=self.scale, unit=units[self.method])

    def write(self, out: str | Path, *, overwrite: bool = False) -> None:
        """Write a page (`.html`), a sheet of the first 40 (`.png`), or a new folder with a picture of each image."""
        place = Path(out)
        kind = _kind_of(place)
        keep = [name for name in self.predictions.row_ids if Path(name).exists()]
        if kind != "folder":
            check_output("out", place, keep=keep, overwrite=overwrite)
            write_atomically(place, self.page() if kind == "page" else self.sheet())
            return
        check_free(place, keep=keep)
        names = FreeNames()
        with staged_folder(place) as made:
            for row, (name, error) in enumerate(zip(self.predictions.row_ids, self.predictions.errors, strict=True)):
                if error is None:
                    (made / names.free(PurePath(name).name, ".png")).write_bytes(self.sheet(rows=[row]))

    def _answer(self, row: int) -> str:
        predictions = self.predictions
        (told,) = predictions.task.answers(
            predictions.logits[[row]], predictions.class_names, temperature=predictions.temperature, top=_TOP
        )
        return predictions.task.line(told)

    def _about(self, row: int) -> str:
        return ClassMaps.words(self.maps.cells(row, self.predictions.logits[row], self.predictions.class_names))

    def _image_cell(self, row: int) -> Cell:
        caption = f"{PurePath(self.predictions.row_ids[row]).name}\n{self._answer(row)}"
        return make_cell(drawn(self.maps.images[row]), caption, SIDE)

    def _map_cell(self, row: int) -> Cell:
        name, where = self._about(row).removeprefix("for ").split(": ", 1)
        return make_cell(self.picture(row), f"for {name}\n{where}", SIDE)

    def _nearest_cells(self, row: int) -> list[Cell]:
        """Those of which a picture travels."""
        cells = []
        for near in self._nearest(row):
            if near.thumbnail is not None:
                picture = Image.open(io.BytesIO(near.thumbnail)).convert("RGB")
                caption = f"near: {near.label}\n{PurePath(near.name).name}"
                cells.append(make_cell(drawn(np.asarray(picture, np.uint8)), caption, SIDE))
        return cells

    def _nearest(self, row: int) -> tuple[NearImage, ...]:
        if self.neighbours is None:
            return ()
        pairs = zip(self.neighbours.names[row].tolist(), self.neighbours.classes[row].tolist(), strict=True)
        return tuple(NearImage(name, label, self._thumbnails.get(name)) for name, label in pairs if name)

    @functools.cached_property
    def _thumbnails(self) -> dict[str, bytes]:
        """By the name of the training image."""
        pictures = read_thumbnails(self.bundle)
        if pictures is None:
            return {}
        return dict(zip(read_neighbours(self.bundle).names.tolist(), pictures, strict=False))

    def _explained(self, row: int) -> ExplainedImage:
        name, error = self.predictions.row_ids[row], self.predictions.errors[row]
        if error is not None:
            return ExplainedImage(name, error.removeprefix(f"{name}: "), "", "", None, None, ())
        image = drawn(self.maps.images[row])
        notice = self.predictions.notices[row] or ""
        return ExplainedImage(
            name, self._answer(row), self._about(row), notice, image, self.picture(row), self._nearest(row)
        )


def explain(  # each is an option of the command line
    bundle: str | Path | Bundle | Run,
    images: Any,
    *,
    class_name: str | None = None,
    method: Method = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Explanations:
    """What a bundle answers to images, the training images most like them, and which places speak for a class.

    Where a network looks is not why it answers as it does, and maps make people believe wrong answers as well as
    right ones: look at the nearest training images first.

    Args:
        bundle: a bundle or a run, or its folder; "imagenet" for the network inside the package.
        images: as `sightline.predict` takes them: paths, arrays, a Dataset, ...; up to 1,000.
        class_name: the class that maps are about; left out, for each image the one that it is answered with; of several
            labels the surest that is said, or the most probable where none is.
        method: "activations": what each place adds to the logit, exactly, for networks that end in a mean over
            positions or in layers with ReLU; "occlusion": what covering each place changes, for any network; "auto":
            the first where it can be had.
        out: a page to write (`.html`), a sheet of pictures (`.png`), or a new folder for a picture of each image.
        overwrite: whether a file at `out` that Sightline did not write may be replaced.

    Returns:
        One row an image, with its answer, its nearest training images and its map; an unreadable one has an error.
        In a notebook it shows the maps.

    Raises:
        InvalidBundle: the bundle cannot be used, or its network has no maps of activations and they were asked for.
        InvalidValue: no image was given, or more than 1,000; there is no such class or method; `out` cannot be that.
        OutputExists, CannotWrite: `out` is taken, or cannot be written.

    Source:
        Zhou et al., Learning deep features for discriminative localization, arXiv 1512.04150; Draelos, Carin, Use
        HiResCAM instead of Grad-CAM, arXiv 2011.08891; Zeiler, Fergus, arXiv 1311.2901 (occlusion).

    Example:
        >>> import sightline
        >>> from PIL import Image
        >>> picture = Image.new("RGB", (224, 224), "white")
        >>> picture.paste("red", (20, 20, 90, 90))
        >>> found = sightline.explain("imagenet", picture)
        >>> found  # exact: the network ends in a mean over positions
        Explanations of 1 image, maps by activations
        >>> found.maps.maps.shape  # what each of 7 x 7 places adds to the logit, above the mean of all classes
        (1, 7, 7)
        >>> logits = found.predictions.logits[0]
        >>> bool(abs(found.maps.maps.sum() + found.maps.constants[0] - (logits.max() - logits.mean())) < 1e-4)
        True
    """
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    maker = maps_maker(opened, class_name=class_name, method=method)
    if out is not None:
        check_out(Path(out), images, overwrite=overwrite)
    given = _few_enough(images)
    nearest, about_nearest = _nearest(opened)
    reporter().say(maker.in_words)
    predictions = predict_with(opened, given, {**nearest, "maps": maker})
    details: dict[str, Any] = dict(predictions.details)
    found = Explanations(
        predictions=predictions,
        maps=details["maps"],
        neighbours=details.get("neighbours"),
        bundle=opened,
        class_name=class_name,
        method=maker.way.method,
        about_maps=maker.in_words,
        about_nearest=about_nearest,
        grid=maker.grid,
    )
    if out is not None:
        found.write(out, overwrite=overwrite)
    return found


def _kind_of(out: Path) -> str:
    """What is written there: "page", "sheet" or "folder"."""
    kind = {".html": "page", ".htm": "page", ".png": "sheet", "": "folder"}.get(out.suffix.lower())
    if kind is None:
        raise InvalidValue(f"out {out}: ends in {out.suffix}. Name a file .html or .png, or a new folder.")
    return kind


def check_out(out: Path, images: Any, *, overwrite: bool, option: str = "out") -> None:
    """Refuse what `explain` cannot write before any image is looked at; `option` is called as its user typed it."""
    keep = [*places_of(images)] if isinstance(images, Dataset) else [*(paths_of(images) or ())]
    if _kind_of(out) == "folder":
        check_free(out, keep=keep)
    else:
        check_output(option, out, keep=keep, overwrite=overwrite)


def _few_enough(images: Any) -> Any:
    """The same images, those of folders named one by one; refused where there are too many to be looked at."""
    if not isinstance(images, Dataset) and (names := paths_of(images)) is not None:
        check_there(names)
        images = find_images(names)
    count = len(images) if isinstance(images, Dataset) else num_given(images)
    if count is not None and count > MOST_EXPLAINED:
        raise InvalidValue(
            f"explain looks at up to {MOST_EXPLAINED:,} images, since each is to be looked at; got {count:,}. "
            "Name fewer."
        )
    return images


def _nearest(bundle: Bundle) -> tuple[dict[str, DetailMaker], str]:
    """What names the nearest training images; or why none are named."""
    if has_several_labels(bundle.task):
        return {}, "the nearest training images are not told: a bundle of several labels keeps none"
    try:
        maker = neighbours_maker(bundle, NEAREST)
    except InvalidBundle as error:
        return {}, f"the nearest training images are not told: {error}"
    return ({} if maker is None else {"neighbours": maker}), ""
