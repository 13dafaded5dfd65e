"""What the frozen part of a backbone gives for the images of a run, stored once: features, and the middle."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import EMBEDDED, load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import Session, open_session
from sightline.configuration.consistency import SECONDS_FOR_THE_REST
from sightline.configuration.networks import backbone_of
from sightline.data.storage.kept_rows import KeptRows
from sightline.errors import InvalidValue
from sightline.training.augmentation.views import row_views
from sightline.training.loop.time_budget import FORWARD_SHARE, ROOM
from sightline.training.setup.preparation import Prepared

MIDDLE, FEATURES = "middle", "features"
# By so many images the time of all is foretold; an augmented view costs its change on top.
PROBED, VIEW_COST = 96, 1.5


class FeatureTables:
    """Features, and activations of the middle where they are wanted, of every row and of every view of train rows."""

    def __init__(
        self, network: keras.Model, data: Prepared, *, deadline: float | None = None, is_published: bool = True
    ) -> None:
        """Compute what is not in the cache; `network` has the backbone that the resolved recipe of `data` names.

        As it was published, or changed since: then it is exported as it is now.
        With a deadline on the clock of `time.perf_counter`, as many views as end in time; an InvalidValue says what
        would be needed where not even the images as they are do.
        """
        backbone = backbone_of(data.recipe.model.name)
        training = data.recipe.training
        self.has_middle = bool(training.finetune_epochs and training.finetune_part == "upper" and backbone.cut)
        self.cut = backbone.cut
        shapes = {FEATURES: tuple(network.get_layer(FEATURES).output.shape[1:])}
        if self.has_middle:
            shapes[MIDDLE] = tuple(network.get_layer(self.cut).output.shape[1:])
        session = _session(network, data, shapes, is_published=is_published)
        self.train = data.splits.train
        count = int(training.feature_variants) - 1
        if deadline is not None:
            count = min(count, _views_within(deadline, session, data, shapes))
        self.whole = feature_tables(session, data.pixels, outputs=shapes)
        self.views = [{name: StoredRows([(table, self.train)]) for name, table in self.whole.items()}]
        for view in row_views(data.recipe.augmentation, data.spec, count=count):
            tables = feature_tables(session, data.pixels.take(self.train), outputs=shapes, view=view)
            everything = np.arange(len(self.train))
            self.views.append({name: StoredRows([(table, everything)]) for name, table in tables.items()})

    def of_train(self, name: str) -> StoredRows:
        """All views of the train rows, view after view."""
        return StoredRows([part for view in self.views for part in view[name].parts])


class StoredRows:
    """Rows of several tables, one after the other, as one array that stays where it is."""

    def __init__(self, parts: Sequence[tuple[KeptRows, NDArray[np.int64]]]) -> None:
        """`parts`: a table (num_stored, ...) and which of its rows, in order."""
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(rows) for _, rows in self.parts)])
        self.dtype = self.parts[0][0].dtype
        self.shape = (int(self.starts[-1]), *self.parts[0][0].shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, in memory or not."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, index: slice | NDArray[np.int64]) -> NDArray[Any]:
        wanted = np.arange(len(self))[index]
        part = np.searchsorted(self.starts, wanted, side="right") - 1
        picked = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for number in np.unique(part):
            table, rows = self.parts[number]
            here = part == number
            picked[here] = table[rows[wanted[here] - self.starts[number]]]
        return picked


def _views_within(deadline: float, session: Session, data: Prepared, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many further views of the train rows end in time, by a few images, which are kept like all others."""
    rows = np.unique(np.linspace(0, len(data.pixels) - 1, PROBED).astype(np.int64))
    feature_tables(session, data.pixels.take(rows[:1]), outputs=shapes)  # what is done once is done
    started = time.perf_counter()
    feature_tables(session, data.pixels.take(rows[1:]), outputs=shapes)
    now = time.perf_counter()
    # Those that were there already cost nothing, and so will the others.
    an_image = (now - started) / max(len(rows) - 1, 1)
    budget = data.recipe.training.time_budget_seconds or deadline - now
    rest = SECONDS_FOR_THE_REST + FORWARD_SHARE * an_image * len(data.pixels)
    left, needed = deadline - now - rest, an_image * len(data.pixels)
    if needed > left:
        enough = math.ceil(ROOM * (budget - (deadline - now) + needed + rest) / 10) * 10
        raise InvalidValue(
            f"training.time_budget_seconds={budget:g} is too short even for a head on a frozen backbone: "
            f"{len(data.pixels):,} images take about {needed:.0f} s here, what comes after it {rest:.0f} s, and "
            f"{max(left + rest, 0):.0f} s are left. Give {enough} s or more, or use fewer images (--fraction)."
        )
    return int((left - needed) / max(an_image * len(data.splits.train), 1e-9) / VIEW_COST)


def _session(
    network: keras.Model, data: Prepared, shapes: dict[str, tuple[int, ...]], *, is_published: bool
) -> Session:
    """The backbone in ONNX Runtime: the embedded file as it is, any other exported once and kept."""
    model = data.recipe.model
    if is_published and model.name == "efficientnet-lite0" and model.weights == "imagenet":
        return open_session(load_bundle(EMBEDDED))
    from sightline.training.packaging.contract import save_outputs

    outputs = {
        name: network.get_layer(name if name == FEATURES else backbone_of(model.name).cut).output for name in shapes
    }
    return save_outputs(keras.Model(network.input, outputs), name=model.name)
