"""The calibration images that vouch for a promise: which images it is about, and what is not known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sightline.errors import InvalidBundle
from sightline.records import Bundle
from sightline.system.text import counted


@dataclass(frozen=True)
class Vouching:
    """How many calibration images there are, and in how many groups, where they hang together.

    Attributes:
        num_images: all of them.
        num_groups: of which one image each counts; None where each image stands alone.
    """

    num_images: int
    num_groups: int | None

    @property
    def words(self) -> str:
        """The rows that count: "3,000 calibration images, assumed independent"."""
        if self.num_groups is None:
            return f"{counted(self.num_images, 'calibration image')}, assumed independent"
        images, groups = counted(self.num_images, "calibration image"), counted(self.num_groups, "group")
        return f"{images} in {groups}, one of each counted"

    @property
    def of_images(self) -> str:
        """Of which images a share is promised: all of a large group may be hard, and they count as one."""
        return "images like the calibration images" + ", drawn one from each group" * (self.num_groups is not None)

    @property
    def kept(self) -> str:
        """How many a bundle keeps, for a refusal: "300, of which one of each group counts"."""
        return f"{self.num_images:,}" + ", of which one of each group counts" * (self.num_groups is not None)


def check_capability(
    bundle: Bundle, name: str, *, promises: str, without: str, settings: str, fewest: int | None = None
) -> None:
    """Refuse what a bundle was made without, in an InvalidBundle.

    Args:
        bundle: opened.
        name: of the capability.
        promises: what it could promise: "a coverage".
        without: what it was made without: "calibration images".
        settings: of the recipe, which have to be above 0.
        fewest: how many calibration images are needed for what was asked; None where nothing was.
    """
    if name in bundle.capabilities:
        return
    if bundle.manifest.get("kind") == "embedded":
        raise InvalidBundle(
            f"imagenet: cannot promise {promises}: no {without} of its own classes came with it. Train a bundle on "
            f"images of yours, or ask without {promises}."
        )
    if bundle.manifest.get("kind") == "adopted" and name == "novelty":
        raise InvalidBundle(
            f"{bundle.path}: cannot promise {promises}: it was adopted, and what it learned from did not come with it. "
            f"Train a bundle on images of yours, or ask without {promises}."
        )
    if bundle.manifest.get("kind") == "adopted":
        raise InvalidBundle(
            f"{bundle.path}: cannot promise {promises}: it was adopted without labelled images, or with too few. Adopt "
            f"it again with --images SOURCE, or ask without {promises}."
        )
    enough = "" if fewest is None else f" (it takes at least {fewest:,} calibration images)"
    raise InvalidBundle(
        f"{bundle.path}: cannot promise {promises}: it was made without {without}, or by an earlier Sightline. Train "
        f"again with {settings} above 0{enough}, or ask without {promises}."
    )


def not_known(metrics: Mapping[str, Any], then: str) -> str:
    """What to add to a promise where it is not known what the network or its teacher learned from.

    Args:
        metrics: of the bundle.
        then: "sets hold the right class of new images less often than that".

    Returns:
        A sentence with a blank before and no stop behind it; "" where all that was learned from is known.
    """
    if metrics.get("adopted"):
        return (
            " What the network learned from is not known here: the calibration images may be among it, and then " + then
        )
    if all((metrics.get(key) or {}).get("has_same_splits", True) for key in ("teacher", "ensemble")):
        return ""
    return " What a teacher learned from is not known here: the calibration images may be among it, and then " + then
