"""What tests of training share: images so small that a member learns them in a second, and a run of them prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline


@pytest.fixture(scope="session")
def corners() -> dict[str, np.ndarray]:
    """Three classes of 8x8 images by their bright corner, in so much noise that some are taken for others."""
    random = np.random.default_rng(0)
    labels = np.arange(180) % 3
    images = random.normal(90, 60, (180, 8, 8))
    images[labels == 0, :4, :4] += 35
    images[labels == 1, :4, 4:] += 35
    images[labels == 2, 4:, :4] += 35
    pixels, given = np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.uint8)
    return {"x_train": pixels[:120], "y_train": given[:120], "x_test": pixels[120:], "y_test": given[120:]}


@pytest.fixture(scope="session")
def small_recipe() -> Callable[[Mapping[str, Any]], Any]:
    """An ensemble of three small networks, with some keys set otherwise."""

    def make(settings: Mapping[str, Any]) -> Any:
        usual = {
            "model.name": "mlp",
            "augmentation.policy": "none",
            "data.validation_fraction": 0.2,
            "data.calibration_fraction": 0.1,
            "training.epochs": 2,
            "training.batch_size": 32,
            "ensemble.kind": "deep",
            "ensemble.members": 3,
        }
        return sightline.recipe("fast", usual | dict(settings))

    return make


@pytest.fixture
def prepared_job(corners: dict[str, np.ndarray], small_recipe, tmp_path: Path) -> Callable[..., Any]:
    """What the members of an ensemble are trained from: a Job, and the same data prepared."""

    def make(settings: Mapping[str, Any], *, source: Any = None, folder: Path | None = None) -> Any:
        from sightline.training.ensembles.members import Job
        from sightline.training.setup.preparation import prepare

        chosen = sightline.load(corners, name="corners") if source is None else source
        recipe = small_recipe(settings)
        data = prepare(chosen, recipe)
        return Job(chosen, recipe, folder or tmp_path / "run", data.dataset.fingerprint), data

    return make
