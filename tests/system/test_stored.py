from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sightline.data.sources.local.arrays import read_npz
from sightline.errors import InvalidSource
from sightline.system.stored import open_plain, parse_json, read_arrays, read_json, read_plain


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested more than 32 deep"),
        ("[" * 40 + "]" * 40, "nested more than 32 deep"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested more than 32 deep"),
        ("NaN", "NaN is no finite number"),
        ("[1e999]", "1e999 is no finite number"),
        ("9" * 5_000, "the number 99999999999999999999... is out of range"),
        ("[" + "[]," * 2_100_000 + "0]", "more than 4,000,000 parts"),
        ("[" + "1," * 4_100_000 + "0]", "more than 4,000,000 parts"),
        ('{"a":1,"a":2}', "the key 'a' is given twice"),
        # Half a megabyte from a stranger; to compare each key with all before it would take many minutes.
        (f'{{{",".join(f"{chr(34)}{key}{chr(34)}:1" for key in range(60_000))},"59999":2}}', "'59999' is given twice"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_deep_repeated_or_no_number_is_a_value_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_json_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": [1, 2.5, None, "é"]}))
    assert read_json(path) == {"a": [1, 2.5, None, "é"]}
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_json(path, most_bytes=10)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_json(path)


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders on Windows")
def test_what_is_no_file_is_told_at_once_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (read_plain, read_json, read_arrays, open_plain):
        for place in (tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(OSError, match="it is a pipe, socket or device, not a file"):
                read(place)
        with pytest.raises(IsADirectoryError):
            read(tmp_path)


def test_a_file_is_read_whole_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    assert read_plain(tmp_path / "a", most_bytes=4) == b"1234"
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_plain(tmp_path / "a", most_bytes=3)


def npz(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.eye(3)), "c": np.array(["é", "abc"])}
    arrays["empty"] = np.zeros((0, 4), np.float32)
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_an_array_that_says_more_than_it_holds_is_not_made(tmp_path: Path) -> None:
    head = npy(np.zeros((2, 4), np.uint8))
    huge = head.replace(b"(2, 4), }" + b" " * 12, b"(4000000000, 1000), }")
    assert huge != head
    with pytest.raises(ValueError, match="an array of uint8"):
        read_arrays(npz(tmp_path / "a.npz", {"a": huge}))


@pytest.mark.parametrize("content", [b"", b"no array", npy(np.array([{}], dtype=object)), npy(np.arange(4))[:-1]])
def test_what_is_no_plain_array_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_arrays(npz(tmp_path / "a.npz", {"a": content}))


@pytest.mark.parametrize(
    "head", ["{'descr': '(", "{1: 2, 'descr': 3}", "{'descr': (), 'fortran_order': False, 'shape': (4,), }"]
)
def test_a_header_that_makes_numpy_stumble_is_a_value_error(head: str, tmp_path: Path) -> None:
    content = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()
    path = npz(tmp_path / "a.npz", dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), content))
    with pytest.raises(ValueError, match=r"."):
        read_arrays(path)
    with pytest.raises(InvalidSource, match=r"not a readable \.npz"):
        read_npz(path)


@pytest.mark.parametrize("order", "<>")
def test_text_of_numbers_that_are_no_letters_is_refused(order: str, tmp_path: Path) -> None:
    text = np.array(["abc", "a"], f"{order}U3")
    broken = text.tobytes().replace("b".encode(f"utf-32-{'lb'[order == '>']}e"), b"\x7f" * 4)
    assert broken != text.tobytes()
    content = npy(np.zeros(6, f"{order}u4").view(text.dtype)).replace(bytes(24), broken)
    with pytest.raises(ValueError, match="no letters"):
        read_arrays(npz(tmp_path / "a.npz", {"a": content}))
    whole = dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), npy(np.zeros((2, 4), np.uint8)))
    with pytest.raises(InvalidSource, match="no letters"):
        read_npz(npz(tmp_path / "b.npz", {**whole, "class_names": content}))


def test_an_array_of_records_is_refused(tmp_path: Path) -> None:
    content = npy(np.zeros(3, [("a", "f4"), ("b", "U2")]))
    with pytest.raises(ValueError, match="an array of"):
        read_arrays(npz(tmp_path / "a.npz", {"a": content}))


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks the array 'b'"):
        read_arrays(npz(tmp_path / "a.npz", {"a": npy(np.arange(2))}), names=["b"])


def test_every_flipped_bit_ends_in_one_kind_of_error_or_in_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).integers(0, 9, 300), b=np.array(["x", "y"]))
    whole, refused = path.read_bytes(), 0
    for index in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[index] ^= 0x10
        path.write_bytes(changed)
        try:
            read_arrays(path)
        except ValueError:
            refused += 1
    assert refused > 100


def test_a_caller_bounds_what_the_arrays_may_take(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", {"a": npy(np.zeros(1000, np.uint8))})
    with pytest.raises(ValueError, match="holds 1,128 bytes"):
        read_arrays(path, most_bytes=1000)
    assert len(read_arrays(path, most_bytes=2000)["a"]) == 1000


def test_arrays_that_exceed_the_free_memory_are_refused_before_any_is_taken(tmp_path: Path) -> None:
    keys = ("x_train", "y_train", "x_test", "y_test")
    head = npy(np.zeros((2, 4), np.uint8)).replace(b"(2, 4), }" + b" " * 12, b"(1" + b"0" * 12 + b", 1000), }")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key in keys:
            archive.writestr(f"{key}.npy", head)
            archive.getinfo(f"{key}.npy").file_size = 2**60
    with pytest.raises(InvalidSource, match="memory"):
        read_npz(tmp_path / "a.npz")


def test_a_header_of_python_2_is_read_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    old = npy(np.zeros((2, 4), np.uint8)).replace(b"(2, 4), } ", b"(2L, 4), }")
    path = npz(tmp_path / "a.npz", dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), old))
    assert read_arrays(path)["x_train"].shape == read_npz(path)[0]["x_train"].shape == (2, 4)
    assert not recwarn.list
