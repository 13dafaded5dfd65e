"""What a network sees of an image before it decides, for whoever goes on with it: search, clusters, other heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.bundles.sessions import session_of
from sightline.errors import InvalidValue
from sightline.records import Bundle, Features

_OUTPUT = "features"


@dataclass(frozen=True)
class FeaturesMaker:
    """Hands on the output of the graph."""

    outputs: tuple[str, ...] = (_OUTPUT,)

    @property
    def promise(self) -> dict[str, Any]:
        """That they are there."""
        return {"features": True}

    @property
    def in_words(self) -> str:
        """Nothing is promised of them."""
        return ""

    def make(self, found: Mapping[str, NDArray[np.float32]], images: Any) -> Features:  # noqa: ARG002  # a seam
        """One row an image, flat."""
        values = found[_OUTPUT]
        return Features(np.ascontiguousarray(values.reshape(len(values), -1), np.float32))


def features_maker(bundle: Bundle) -> FeaturesMaker:
    """What hands them on; an InvalidValue where the graph of a bundle has no such output."""
    if _OUTPUT not in session_of(bundle).output_shapes():
        raise InvalidValue(f"{bundle.path}: its network tells no features. Leave them out.")
    return FeaturesMaker()
