"""Rows that were made once: kept one by one, given back as one array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.data.storage import kept_rows as module
from sightline.data.storage.kept_rows import MOST_ENTRIES, Column, Shelf, kept_rows
from sightline.system.caches import cache, entries

SHELF = Shelf("numbers", "key", (Column("square", (2,), np.int64), Column("name", (), "S4")), "numbers of a test")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Squares of numbers, and a list of which were asked for."""

    def __init__(self, numbers: list[int], bad: tuple[int, ...] = ()) -> None:
        self.numbers, self.bad, self.made = np.array(numbers), bad, list[int]()
        self.identities = np.array([f"{number:032x}" for number in numbers], dtype="S32")

    def __call__(self, rows, arrays):
        wanted = self.numbers[rows]
        self.made += wanted.tolist()
        arrays["square"][:] = np.stack([wanted**2, -wanted], axis=1)
        arrays["name"][:] = [str(number).encode() for number in wanted]
        return ~np.isin(wanted, self.bad)


def rows_of(maker: Maker) -> list[int]:
    found = kept_rows(SHELF, maker.identities, maker)
    values = found["square"][:]
    assert (values[:, 0] == maker.numbers**2).all()
    assert (values[:, 1] == -maker.numbers).all()
    assert found["name"][:].tolist() == [str(number).encode() for number in maker.numbers]
    return maker.made


def test_only_what_is_new_is_made_in_whatever_order_it_is_asked_for() -> None:
    assert rows_of(Maker([1, 2, 3])) == [1, 2, 3]
    assert rows_of(Maker([3, 1])) == []
    assert rows_of(Maker([5, 3, 4, 1, 3])) == [5, 4]
    assert rows_of(Maker([4, 2, 5])) == []
    assert rows_of(Maker([])) == []


def test_rows_are_sliced_like_an_array_wherever_they_lie() -> None:
    rows_of(Maker([1, 2, 3]))
    maker = Maker([9, 2, 7, 1, 3])
    found = kept_rows(SHELF, maker.identities, maker)["square"]
    whole = np.stack([maker.numbers**2, -maker.numbers], axis=1)
    assert (len(found), found.shape, found.nbytes) == (5, (5, 2), whole.nbytes)
    for index in (slice(None), slice(1, 4), slice(0, 0), np.array([4, 0, 0]), np.array([], np.int64)):
        assert np.array_equal(found[index], whole[index])
    assert np.array_equal(found[3], whole[3])
    assert np.array_equal(found[-1], whole[-1])
    assert np.array_equal(np.asarray(found, dtype=np.float32), whole.astype(np.float32))
    with pytest.raises(IndexError):
        found[5]


def test_what_may_not_be_kept_is_given_and_made_again_each_time() -> None:
    assert rows_of(Maker([1, 2], bad=(2,))) == [1, 2]
    assert rows_of(Maker([1, 2], bad=(2,))) == [2]
    assert rows_of(Maker([1, 2], bad=(2,))) == [2]
    assert rows_of(Maker([1, 2])) == [2]
    assert rows_of(Maker([1, 2])) == []
    unknown = Maker([6])
    unknown.identities[:] = b""
    assert [rows_of(unknown), rows_of(unknown)] == [[6, 6]] * 2


def test_many_small_entries_become_one() -> None:
    numbers = list(range(100))
    rows_of(Maker(numbers))
    for number in range(100, 100 + MOST_ENTRIES):
        numbers.append(number)
        assert rows_of(Maker(numbers)) == [number]
    assert rows_of(Maker(numbers)) == numbers[100:]
    assert len(list(entries())) == 2
    assert rows_of(Maker(numbers)) == []


def test_an_entry_of_the_same_place_and_other_identities_is_never_taken(root: Path) -> None:
    rows_of(Maker([1, 2]))
    (place,) = (root / "numbers").iterdir()
    with (place / "index.npz").open("rb") as stream:
        index = dict(np.load(stream).items())
    np.savez(place / "index.npz", **{**index, "identities": Maker([8, 9]).identities})
    assert rows_of(Maker([1, 2])) == [1, 2]


def test_a_cache_that_is_emptied_meanwhile_costs_nothing_but_the_next_time() -> None:
    maker = Maker([1, 2, 3])
    found = kept_rows(SHELF, maker.identities, maker)["square"]
    cache(empty=True)
    assert found[:][:, 0].tolist() == [1, 4, 9]
    assert rows_of(Maker([1, 2, 3])) == [1, 2, 3]


def test_another_run_that_is_faster_is_made_use_of(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker([1, 2, 3])
    usual = module._write

    def write_second(*parts) -> None:
        monkeypatch.setattr(module, "_write", usual)
        rows_of(Maker([1, 2, 3]))
        usual(*parts)

    monkeypatch.setattr(module, "_write", write_second)
    assert rows_of(maker) == [1, 2, 3]
    assert len(list(entries())) == 1


@pytest.mark.parametrize("change", [lambda index: index.pop("identities"), lambda index: index.update(identities=1.5)])
def test_an_index_that_lacks_a_part_is_made_anew(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    rows_of(Maker([1, 2]))
    (place,) = (root / "numbers").iterdir()
    with (place / "index.npz").open("rb") as stream:
        index = dict(np.load(stream).items())
    change(index)
    np.savez(place / "index.npz", **index)
    assert rows_of(Maker([1, 2])) == [1, 2]
