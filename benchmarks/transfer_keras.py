"""What Keras' guides print for a few thousand photographs: a frozen backbone and a new head, then its upper third.

After every epoch it prints a JSON line: seconds on the clock and of the processor so far, and the share of the test
files it has right; what that look costs is not counted.

Usage: python benchmarks/transfer_keras.py BACKBONE FOLDER SIDE SEED FROZEN_EPOCHS TUNED_EPOCHS

BACKBONE is `mobilenet`, for which KERAS_HOME must hold the weights of MobileNetV2 or the network be reached, or
`lite0`, EfficientNet-Lite0 rebuilt in Keras with the weights that come with Sightline.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers


def backbone_of(name: str, side: int) -> tuple[Any, Any]:
    """The network up to its last feature maps, and the layer that scales pixels for it."""
    if name == "mobilenet":
        network = keras.applications.MobileNetV2(weights="imagenet", include_top=False, input_shape=(side, side, 3))
        return network, layers.Rescaling(1 / 127.5, -1)
    from sightline.configuration.schema import ModelRecipe
    from sightline.networks.building import build_network

    network = build_network((side, side, 3), 2, ModelRecipe(name="efficientnet-lite0"))
    maps = network.get_layer("features").input
    # Behind its own scaling, which takes whole numbers.
    scaled = network.get_layer("pixels").output
    return keras.Model(scaled, maps), layers.Rescaling(1 / 128, -127 / 128)


class Look(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no annotations
    """Prints how good the network is after each epoch."""

    def __init__(self, test: Any) -> None:
        super().__init__()
        self.test, self.started, self.looked = test, time.perf_counter(), 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print a line; Keras says which epoch it was, which nobody needs."""
        del epoch, logs
        now, spent = time.perf_counter(), time.process_time()
        truth = np.concatenate([label for _, label in self.test])
        right = self.model.predict(self.test, verbose=0).argmax(1) == truth
        row = {"seconds": now - self.started, "processor": spent - self.looked, "accuracy": float(right.mean())}
        print(json.dumps(row), flush=True)
        self.started += time.perf_counter() - now
        self.looked += time.process_time() - spent


def main(name: str, folder: Path, side: int, seed: int, frozen: int, tuned: int) -> None:
    """Learn in two goes."""
    keras.utils.set_random_seed(seed)

    def read(part: str, **options: Any) -> Any:
        return keras.utils.image_dataset_from_directory(
            folder / part, image_size=(side, side), batch_size=32, seed=seed, verbose=False, **options
        ).prefetch(2)

    train, test = read("train"), read("test", shuffle=False)
    look = Look(test)
    num_classes = sum(1 for place in (folder / "train").iterdir() if place.is_dir())
    backbone, scaling = backbone_of(name, side)
    backbone.trainable = False
    inputs = keras.Input((side, side, 3))
    tensor = layers.RandomFlip("horizontal")(inputs)
    tensor = layers.RandomRotation(0.03)(tensor)
    tensor = backbone(scaling(tensor), training=False)
    tensor = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(tensor))
    model = keras.Model(inputs, layers.Dense(num_classes)(tensor))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    model.fit(train, epochs=frozen, verbose=0, callbacks=[look])
    if not tuned:
        return
    backbone.trainable = True
    for layer in backbone.layers[: len(backbone.layers) * 2 // 3]:
        layer.trainable = False
    model.compile(optimizer=keras.optimizers.Adam(1e-5), loss=loss)
    model.fit(train, epochs=tuned, verbose=0, callbacks=[look])


if __name__ == "__main__":
    backbone_name, place, *numbers = sys.argv[1:]
    main(backbone_name, Path(place), *map(int, numbers))
