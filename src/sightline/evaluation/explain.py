"""`explain`: which training images are most like an image for a network, and which of its places speak for a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.bundles.bundle import load_bundle
from sightline.bundles.given_images import check_there, paths_of
from sightline.bundles.maps.class_maps import ClassMaps, MapsMaker, Method, maps_maker
from sightline.bundles.maps.grid import Grid
from sightline.bundles.prediction import find_images, predict_with
from sightline.bundles.trust.details import DetailMaker
from sightline.bundles.trust.neighbours import neighbours_maker
from sightline.errors import InvalidBundle, InvalidValue
from sightline.records import Bundle, Dataset, Neighbours, Predictions, Run
from sightline.system.progress import reporter
from sightline.system.text import counted

NEAREST = 3
# A person looks at each of them, and all are held in memory.
MOST_EXPLAINED = 1_000


@dataclass(frozen=True, eq=False)
class Explanations:
    """Images with what they are answered with, the nearest training images, and maps of a class.

    Attributes:
        predictions: one row an image; an unreadable one has an error and no map.
        maps: of the same rows, with the images as the network was fed them.
        neighbours: the nearest training images, likewise; None where the bundle names none.
        class_name: the class that all maps are about, or None for the one that each image is answered with.
        method: "activations" or "occlusion".
        about_maps: what a value of a map says, in words.
        about_nearest: why no training images are named; "" where they are.
        grid: where on the image the cells of a map lie; `grid.spread(maps)` gives a value for each pixel.
    """

    predictions: Predictions
    maps: ClassMaps
    neighbours: Neighbours | None
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


def explain(
    bundle: str | Path | Bundle | Run, images: Any, *, class_name: str | None = None, method: Method = "auto"
) -> Explanations:
    """What a bundle answers to images, the training images most like them, and which places speak for a class.

    Args:
        bundle: a bundle or a run, or its folder; "imagenet" for the network inside the package.
        images: as `sightline.predict` takes them: paths, arrays, a Dataset, ...; up to 1,000.
        class_name: the class that maps are about; left out, for each image the one that it is answered with.
        method: "activations": what each place adds to the logit, exactly, for networks that end in a mean over
            positions or in layers with ReLU; "occlusion": what covering each place changes, for any network; "auto":
            the first where it can be had.
    """
    opened = load_bundle(bundle.bundle if isinstance(bundle, Run) else bundle)
    maker = maps_maker(opened, class_name=class_name, method=method)
    given = _few_enough(images)
    nearest, about_nearest = _nearest(opened)
    reporter().say(maker.in_words)
    return _explained(predict_with(opened, given, {**nearest, "maps": maker}), maker, class_name, about_nearest)


def _explained(predictions: Predictions, maker: MapsMaker, class_name: str | None, about_nearest: str) -> Explanations:
    details: dict[str, Any] = dict(predictions.details)
    return Explanations(
        predictions=predictions,
        maps=details["maps"],
        neighbours=details.get("neighbours"),
        class_name=class_name,
        method=maker.way.method,
        about_maps=maker.in_words,
        about_nearest=about_nearest,
        grid=maker.grid,
    )


def _few_enough(images: Any) -> Any:
    """The same images, those of folders named one by one; refused where there are too many to be looked at."""
    if not isinstance(images, Dataset) and (names := paths_of(images)) is not None:
        check_there(names)
        images = find_images(names)
    if isinstance(images, Dataset | Sequence | np.ndarray) and not isinstance(images, str | bytes):
        count = len(images)
        if count > MOST_EXPLAINED and not (isinstance(images, np.ndarray) and images.ndim == 2):
            raise InvalidValue(
                f"explain looks at up to {MOST_EXPLAINED:,} images, since each is to be looked at; got {count:,}. "
                "Name fewer."
            )
    return images


def _nearest(bundle: Bundle) -> tuple[dict[str, DetailMaker], str]:
    """What names the nearest training images; or why none are named."""
    try:
        maker = neighbours_maker(bundle, NEAREST)
    except InvalidBundle as error:
        return {}, f"the nearest training images are not told: {error}"
    return ({} if maker is None else {"neighbours": maker}), ""
