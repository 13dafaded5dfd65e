"""Small images with what nobody can read among them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


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
