"""Rules that hold for whatever Hypothesis comes upon: names, tables, recipes, sizes, splits, bytes of any kind.

The examples are the same in every run. To look for more: `HYPOTHESIS_PROFILE=search pytest tests/test_properties.py`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="needs pip install -e '.[dev]'")

from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from sightline.configuration.recipes import flatten, keys, parse_recipe
from sightline.configuration.schema import DataRecipe, Recipe
from sightline.data.decoding.transforms import resize_image, resized
from sightline.data.splitting.splits import read_splits_csv, split, splits_csv
from sightline.data.storage.stores import FolderStore
from sightline.errors import InvalidSource, SightlineError
from sightline.records import SPLIT_NAMES, Dataset, InputSpec
from sightline.system.files import write_arrays
from sightline.system.paths import portable_name, why_not_on_windows
from sightline.system.stored import read_arrays
from sightline.system.text import csv_line, json_line, printable

settings.register_profile("house", deadline=None, derandomize=True, database=None, max_examples=60)
settings.register_profile("search", deadline=None, database=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

# Letters of every language, terminal codes, and bytes of names that are no UTF-8, as Python has them.
TEXT = st.text(st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]))
# Kinds of letters that a terminal, an editor or a line may obey: control, format, half letters, ends of lines.
ACTIVE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
SPECS = st.builds(
    InputSpec,
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    color_mode=st.sampled_from(["grey", "rgb"]),
    resize=st.sampled_from(["fit", "fill", "stretch"]),
    background=st.sampled_from(["dark", "light", "mixed"]),
)


@given(TEXT)
def test_what_is_shown_is_printable_and_what_is_printable_is_shown_as_it_is(text: str) -> None:
    shown = printable(text)
    assert not ACTIVE.intersection(map(unicodedata.category, shown))
    assert printable(shown) == shown
    assert shown == text or ACTIVE.intersection(map(unicodedata.category, text))


@given(TEXT)
def test_text_comes_back_from_a_line_of_json_and_acts_on_no_terminal(text: str) -> None:
    line = json_line({text: [text]})
    assert not ACTIVE.intersection(map(unicodedata.category, line))
    assert json.loads(line) == {text: [text]}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"])), min_size=2, max_size=4))
def test_a_row_of_a_table_is_one_line_with_as_many_cells_and_no_formula(cells: list[str]) -> None:
    line = csv_line(cells)
    assert len(line.splitlines()) <= 1
    (found,) = csv.reader(io.StringIO(line))
    assert len(found) == len(cells)
    assert not any(cell[:1] in ("=", "@") for cell in found)


@given(TEXT)
def test_names_that_are_made_of_others_can_be_had_on_every_system(text: str) -> None:
    name = portable_name(text)
    assert not why_not_on_windows(name)
    assert portable_name(name) == name
    assert name == text or why_not_on_windows(text)


def _value_of(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    numbers = st.integers(-2, 300) | st.floats(-1, 2, allow_nan=False).map(lambda value: round(value, 4))
    words = st.sampled_from(["auto", "none", "lenet5", "mlp", "adamw", "sgd", "constant", "fit", "rgb", "deep", ""])
    return st.none() | st.booleans() | numbers | words | st.just(field.default)


@st.composite
def changes_of_recipes(draw: Any) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(keys())), max_size=4, unique=True))
    return {name: draw(_value_of(keys()[name])) for name in names}


@given(changes_of_recipes())
def test_a_recipe_is_refused_in_words_or_comes_back_from_its_json(changes: dict[str, Any]) -> None:
    try:
        recipe = Recipe().changed(changes)
    except SightlineError:
        return
    content = json.loads(json.dumps(recipe.to_dict()))
    assert parse_recipe(content) == recipe
    assert parse_recipe(dict(flatten(content))) == recipe


@given(st.data(), SPECS)
def test_an_image_of_any_size_comes_to_the_networks_size_within_its_own_range(data: Any, spec: InputSpec) -> None:
    shape = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)), spec.channels)
    image = data.draw(arrays(np.uint8, shape))
    found = resize_image(image, spec)
    assert (found.shape, found.dtype) == (spec.shape, np.dtype(np.uint8))
    padding = {"dark": 0, "light": 255, "mixed": 128}[spec.background] if spec.resize == "fit" else int(image.min())
    assert min(int(image.min()), padding) <= found.min()
    assert found.max() <= max(int(image.max()), padding)
    np.testing.assert_array_equal(resize_image(found, spec), found)
    np.testing.assert_array_equal(resized(image[None], spec)[0], found)


@given(SPECS, st.integers(0, 255), st.integers(1, 40), st.integers(1, 40))
def test_one_grey_stays_that_grey_where_nothing_is_padded(spec: InputSpec, value: int, height: int, width: int) -> None:
    assume(spec.resize != "fit")
    assert (resize_image(np.full((height, width, spec.channels), value, np.uint8), spec) == value).all()


@st.composite
def datasets(draw: Any) -> Dataset:
    """Files with labels, some groups, and splits that their source gives some of them."""
    count = draw(st.integers(4, 60))
    labels = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), np.int64)
    groups = draw(st.lists(st.sampled_from(["", "", "a", "b", "c", "d"]), min_size=count, max_size=count))
    given_splits = draw(st.lists(st.sampled_from(["", "", "", "", "test", "train"]), min_size=count, max_size=count))
    names = np.array([f"{label}/{row:03d}.png" for row, label in enumerate(labels)])
    arrivals = np.arange(count)
    return Dataset(
        name="photos",
        class_names=tuple("abcd"),
        row_ids=names,
        labels=labels,
        images=FolderStore(tuple(names.tolist()), arrivals, arrivals, Path("photos")),
        given_splits=np.array(given_splits, "<U11"),
        fingerprint="",
        groups=np.array(groups, dtype=str),
    )


@given(datasets(), st.integers(0, 9), st.sampled_from([0.05, 0.1, 0.3]))
def test_every_row_is_in_one_split_at_most_and_no_group_in_two(dataset: Dataset, seed: int, share: float) -> None:
    wanted = DataRecipe(validation_fraction=share, calibration_fraction=share, test_fraction=share)
    try:
        splits = split(dataset, wanted, seed=seed)
    except InvalidSource:
        return
    rows = np.concatenate([splits.rows(name) for name in SPLIT_NAMES])
    assert len(set(rows.tolist())) == len(rows)
    assert len(rows) + len(splits.left_out) == len(dataset)
    # Where the source itself gives splits, it has the last word, and what is torn apart is told.
    is_torn = any("lie in another split" in remark for remark in splits.remarks)
    home = {int(row): name for name in SPLIT_NAMES for row in splits.rows(name)}
    of_group: dict[str, set[str]] = {}
    for row, name in home.items():
        if dataset.groups is not None and dataset.groups[row]:
            of_group.setdefault(str(dataset.groups[row]), set()).add(name)
        assert name == "test" or dataset.given_splits[row] != "test"
    assert is_torn or all(len(names) == 1 for names in of_group.values())
    again = split(dataset, wanted, seed=seed)
    assert all(np.array_equal(splits.rows(name), again.rows(name)) for name in SPLIT_NAMES)


@given(datasets(), st.integers(0, 9))
def test_splits_come_back_from_their_table(dataset: Dataset, seed: int) -> None:
    try:
        splits = split(dataset, DataRecipe(), seed=seed)
    except InvalidSource:
        return
    found = read_splits_csv(splits_csv(dataset, splits), dataset)
    for name in SPLIT_NAMES:
        np.testing.assert_array_equal(found.rows(name), splits.rows(name))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_arrays(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "a.npz")
        place.write_bytes(content)
        with pytest.raises(ValueError, match=r"."):
            read_arrays(place)


@given(
    arrays(
        st.sampled_from([np.dtype(kind) for kind in ("u1", "<f4", ">i8", "?", "<U3", "S4")]),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
    )
)
def test_arrays_come_back_as_they_were_written(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(Path(folder, "a.npz"), a=array)
        found = read_arrays(Path(folder, "a.npz"))["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
