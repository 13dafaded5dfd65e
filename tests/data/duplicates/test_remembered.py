"""The search for copies is done once, and a damaged memory of it is none."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.data.duplicates import search as module
from sightline.data.duplicates.fingerprints import empty_signatures
from sightline.data.duplicates.search import find_copies, remembered_copies


@pytest.fixture
def signatures(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (16, 16, 1), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(5)]
    found = empty_signatures(6)
    for row, image in enumerate([*images, images[0]]):
        found.put(row, image)
    return found


def test_the_second_asking_searches_nothing_and_gives_the_same(signatures, monkeypatch):
    first = remembered_copies(signatures)
    assert first.rows.tolist() == find_copies(signatures).rows.tolist() == [[0, 5]]

    def search_again(_: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(module, "find_copies", search_again)
    second = remembered_copies(signatures)
    assert second.rows.tolist() == [[0, 5]]
    assert second.kinds.tolist() == first.kinds.tolist()
    with pytest.raises(AssertionError, match="searched again"):
        remembered_copies(signatures.take(np.arange(4)))


@pytest.mark.parametrize("damage", [lambda data: b"damaged", lambda data: data[:10], lambda data: data[:-9]])
def test_a_damaged_memory_is_searched_anew(signatures, tmp_path, damage):
    remembered_copies(signatures)
    (path,) = (tmp_path / "cache" / "copies").glob("*/copies.npz")
    path.write_bytes(damage(path.read_bytes()))
    assert remembered_copies(signatures).rows.tolist() == [[0, 5]]


def test_a_cache_that_cannot_be_written_costs_only_time(signatures, tmp_path, monkeypatch):
    (tmp_path / "in-the-way").write_text("a file")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "in-the-way"))
    assert remembered_copies(signatures).rows.tolist() == [[0, 5]]
