import numpy as np
from PIL import Image

from sightline.data.sources.local.folders import read_folder
from sightline.quality.audit import audit, cheap_findings


def folder(place, scale, count=6):
    for number in range(count):
        path = place / "ab"[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (64, 64)).astype(np.uint16)
        Image.fromarray(noise * scale).save(path)
    return read_folder(place)


def test_12_bits_in_16_are_told_with_what_to_do_and_never_called_a_single_colour(tmp_path):
    found = {finding.kind: finding for finding in audit(folder(tmp_path, 16), mode="quiet").findings}
    assert found["narrow-range"].severity == "warning"
    assert "6 images of 16 bits with at most 17 of 256 grey levels" in found["narrow-range"].detail
    assert "by one number, 8 for instance" in found["narrow-range"].detail
    assert "constant" not in found


def test_training_is_told_of_it_without_the_audit(tmp_path):
    assert [finding.kind for finding in cheap_findings(folder(tmp_path, 5)) if finding.kind == "narrow-range"]


def test_images_that_use_their_16_bits_or_have_8_are_not_spoken_of(tmp_path):
    wide, narrow = folder(tmp_path / "wide", 257), tmp_path / "narrow"
    for letter in "ab":
        (narrow / letter).mkdir(parents=True)
        Image.new("L", (40, 40), 5).save(narrow / letter / "1.png")
    for data in (wide, read_folder(narrow)):
        assert "narrow-range" not in [finding.kind for finding in cheap_findings(data)]
        assert "narrow-range" not in [finding.kind for finding in audit(data, mode="quiet").findings]


def test_one_dark_image_among_others_is_not_spoken_of(tmp_path):
    folder(tmp_path, 257)
    Image.fromarray(np.full((64, 64), 900, dtype=np.uint16)).save(tmp_path / "a" / "0.tif")
    assert "narrow-range" not in [finding.kind for finding in cheap_findings(read_folder(tmp_path))]
