"""Small pictures for exports to name, and what is asked of every Dataset that is made of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

import sightline


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Lays pictures of different colours into a folder, by their paths, and hands the folder back."""

    def lay(names: Iterable[str]) -> Path:
        for number, name in enumerate(names):
            stream = io.BytesIO()
            Image.new("RGB", (6, 4), (number % 256, 40, 90)).save(stream, "PNG")
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.getvalue())
        return tmp_path

    return lay


@pytest.fixture
def told() -> Callable[[sightline.Dataset], dict[str, tuple[str, str]]]:
    """Class and given split of each row by its id."""

    def tell(data: sightline.Dataset) -> dict[str, tuple[str, str]]:
        rows = zip(data.row_ids.tolist(), data.named(), data.given_splits.tolist(), strict=True)
        return {row_id: (name, split) for row_id, name, split in rows}

    return tell
