from __future__ import annotations

import re
from pathlib import Path

import pytest

from sightline.bundles.vetting.weights_files import check_weights
from sightline.errors import InvalidValue
from sightline.system.backends import load_keras


@pytest.mark.parametrize("name", ["a.weights.h5", "a.keras", "a.h5"])
def test_weights_as_keras_writes_them_are_taken_whatever_layers_they_are_of(name: str, tmp_path: Path) -> None:
    keras = load_keras()
    layers = [keras.layers.Lambda(lambda images: images), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    network = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    if name == "a.weights.h5":
        network.save_weights(tmp_path / name)
    elif name == "a.keras":
        network.save(tmp_path / name)
    else:  # as the files of `keras.applications` are
        import h5py
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

        with h5py.File(tmp_path / name, "w") as file:
            save_weights_to_hdf5_group(file, network)
    check_weights("mobilenet-v2", str(tmp_path / name))


def test_weights_that_are_more_than_arrays_are_refused(
    hostile_hdf5: dict[str, tuple[Path, str]], hostile_networks: dict[str, tuple[Path, str]]
) -> None:
    archived = {name: case for name, case in hostile_networks.items() if name.startswith(("inside", "bomb of weights"))}
    for name, (path, words) in {**hostile_hdf5, **archived}.items():
        with pytest.raises(InvalidValue, match=r"model\.weights: ") as caught:
            check_weights("mobilenet-v2", str(path))
        assert re.search(words.replace(".", r"\."), str(caught.value)), name
