"""What the frozen part of a backbone gives for the images of a run, stored once: features, and the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sightline.bundles.bundle import EMBEDDED, load_bundle
from sightline.bundles.features import feature_tables
from sightline.bundles.sessions import Session, open_session
from sightline.configuration.networks import backbone_of
from sightline.data.storage.kept_rows import KeptRows
from sightline.training.augmentation.views import row_views
from sightline.training.setup.preparation import Prepared

MIDDLE, FEATURES = "middle", "features"


class FeatureTables:
    """Features, and activations of the middle where they are wanted, of every row and of every view of train rows."""

    def __init__(self, network: keras.Model, data: Prepared) -> None:
        """Compute what is not in the cache; `network` has the backbone that the resolved recipe of `data` names."""
        backbone = backbone_of(data.recipe.model.name)
        training = data.recipe.training
        self.has_middle = bool(training.finetune_epochs and training.finetune_part == "upper" and backbone.cut)
        self.cut = backbone.cut
        shapes = {FEATURES: tuple(network.get_layer(FEATURES).output.shape[1:])}
        if self.has_middle:
            shapes[MIDDLE] = tuple(network.get_layer(self.cut).output.shape[1:])
        session = _session(network, data, shapes)
        self.whole = feature_tables(session, data.pixels, outputs=shapes)
        self.train = data.splits.train
        self.views = [{name: StoredRows([(table, self.train)]) for name, table in self.whole.items()}]
        for view in row_views(data.recipe.augmentation, data.spec, count=int(training.feature_variants) - 1):
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


def _session(network: keras.Model, data: Prepared, shapes: dict[str, tuple[int, ...]]) -> Session:
    """The backbone in ONNX Runtime: the embedded file as it is, any other exported once and kept."""
    model = data.recipe.model
    if model.name == "efficientnet-lite0" and model.weights == "imagenet":
        return open_session(load_bundle(EMBEDDED))
    from sightline.training.packaging.contract import save_outputs

    outputs = {
        name: network.get_layer(name if name == FEATURES else backbone_of(model.name).cut).output for name in shapes
    }
    return save_outputs(keras.Model(network.input, outputs), name=model.name)
