"""Names in one piece of memory are the names that went in, however they are asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sightline.data.storage.packed_names import PackedNames

NAMES = ["a", "", "猫/1.jpg", "not \udce4 UTF-8", "a", "end"]


def test_names_come_back_as_they_went_in() -> None:
    packed = PackedNames.of(NAMES)
    assert list(packed) == NAMES == [packed[row] for row in range(len(packed))]
    assert (packed[-1], packed[-6]) == ("end", "a")
    assert list(packed[1:4]) == NAMES[1:4]
    assert list(packed[::-2]) == NAMES[::-2]
    assert list(pickle.loads(pickle.dumps(packed))) == NAMES  # made here
    with pytest.raises(IndexError):
        packed[6]


@pytest.mark.parametrize("rows", [[], [0], [2, 3, 4], [5, 0, 0, 3], [4, 5]])
def test_some_of_them_are_taken_in_their_order(rows: list[int]) -> None:
    taken = PackedNames.of(NAMES).take(np.array(rows, np.int64))
    assert list(taken) == [NAMES[row] for row in rows]
    assert len(taken.text) == sum(len(NAMES[row].encode("utf-8", "surrogateescape")) for row in rows)


def test_many_names_take_no_more_than_their_letters_and_a_number_each() -> None:
    packed = PackedNames.of(f"{number:08d}" for number in range(10_000))
    assert len(packed.text) + packed.ends.nbytes == 160_000
    assert list(packed)[5000:5002] == ["00005000", "00005001"]
