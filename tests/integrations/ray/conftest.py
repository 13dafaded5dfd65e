"""One Ray of two processors for a module, and small images with what nobody can read among them."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    """The package, connected; what asks for `on="ray"` in this process finds it."""
    pytest.importorskip("ray", minversion="2.60")
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2**28,
        )
    yield ray
    ray.shutdown()
    os.environ.clear()
    os.environ |= before


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Three hundred files and an archive of as many; two of each cannot be read."""
    folder = tmp_path / "many"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(299):
        Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "050.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "=cmd \u96ea.png").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, path.name)
    return folder
