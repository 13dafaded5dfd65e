from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import NotReached
from sightline.quality.survey import spreads, survey


def spread_written_slowly(image: np.ndarray) -> int:
    apart = []
    for channel in np.moveaxis(image, 2, 0):
        levels = sorted(int(level) for level in channel.ravel())
        cut = int(len(levels) * 0.0005)
        kept = levels[cut : len(levels) - cut]
        apart.append(kept[-1] - kept[0])
    return max(apart)


@pytest.mark.parametrize("shape", [(7, 5, 1), (60, 80, 3), (1, 1, 3)])
def test_the_spread_is_that_of_the_middle_of_the_sorted_levels(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).normal(120, 20, shape).clip(0, 255).astype(np.uint8)
    assert spreads(image[None]).tolist() == [spread_written_slowly(image)]


def test_a_speck_of_dust_does_not_hide_that_an_image_is_empty() -> None:
    image = np.full((1, 100, 100, 1), 200, dtype=np.uint8)
    image[0, 3, :5] = 0
    assert spreads(image).tolist() == [0]
    image[0, 3, :12] = 0
    assert spreads(image).tolist() == [200]


def test_an_array_is_measured_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 6, 9, 3), dtype=np.uint8)
    dataset = sightline.load({"x_train": images, "y_train": np.arange(300) % 2})
    seen = survey(dataset)
    assert seen.brightness == pytest.approx(images.reshape(300, -1).mean(axis=1))
    assert (seen.heights == 6).all()
    assert (seen.widths == 9).all()
    assert seen.signatures.known.all()


def test_sizes_are_those_of_the_whole_file_even_where_less_is_decoded(tmp_path: Path, make_scene) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_scene(3, (2000, 1500)).save(tmp_path / name / "large.jpg", quality=90)
    seen = survey(sightline.load(tmp_path))
    assert (seen.widths.tolist(), seen.heights.tolist()) == ([2000, 2000], [1500, 1500])
    assert seen.signatures.sides.max() < 2000


def test_every_unreadable_row_has_a_reason_without_its_path(trap_folder: Path) -> None:
    dataset = sightline.load(trap_folder)
    seen = survey(dataset)
    named = {str(dataset.row_ids[row]): reason for row, reason in seen.errors.items()}
    assert named["cat/empty.jpg"] == "empty file (0 bytes)."
    assert list(seen.errors) == sorted(seen.errors)
    assert not any(str(trap_folder) in reason for reason in named.values())
    assert seen.readable.sum() == len(dataset) - len(named)


def test_another_machine_that_lacks_a_file_is_named(tmp_path) -> None:
    for number in range(3):
        (tmp_path / "cat").mkdir(exist_ok=True)
        Image.new("L", (40, 40), 80 * number).save(tmp_path / "cat" / f"{number}.png")
    (tmp_path / "cat" / "3.png").write_bytes(b"none")
    (tmp_path / "dog").mkdir()
    Image.new("L", (40, 40)).save(tmp_path / "dog" / "0.png")
    dataset = sightline.load(tmp_path)

    def elsewhere(work, items):
        for item in items:
            (tmp_path / "cat" / "1.png").rename(tmp_path / "away")
            found = work(item)
            (tmp_path / "away").rename(tmp_path / "cat" / "1.png")
            yield found

    with pytest.raises(NotReached, match=r"cannot read what this machine reads: cat/1\.png: gone since"):
        survey(dataset, each=elsewhere)
    whole, parts = survey(dataset), survey(dataset, each=map)
    assert parts.errors == whole.errors
    assert parts.signatures.digests.tolist() == whole.signatures.digests.tolist()
