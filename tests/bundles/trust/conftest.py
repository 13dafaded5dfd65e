from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.bundles.bundle import write_manifest


@pytest.fixture(scope="module")
def tests_of(small_arrays: dict[str, np.ndarray]) -> np.ndarray:
    return small_arrays["x_test"][:40]


@pytest.fixture(scope="module")
def files(tests_of: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    for row, image in enumerate(tests_of):
        Image.fromarray(image).save(folder / f"{row:02d}.png")
    return folder


@pytest.fixture
def altered(run_copy: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """A run in whose bundle the `FILE` of the test module holds other arrays, sealed again."""

    def alter(**arrays: Any) -> Path:
        path = run_copy / "bundle" / request.module.FILE
        with np.load(path) as stored:
            kept = dict(stored)
        np.savez(path, **{name: value for name, value in (kept | arrays).items() if value is not None})
        (run_copy / "bundle" / "manifest.json").unlink()
        write_manifest(run_copy / "bundle")
        return run_copy

    return alter
