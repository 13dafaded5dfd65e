from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.transforms import resize_image
from sightline.data.inputs.pixels import decoding_size
from sightline.deployment.conversion.readme import prepared
from sightline.records import InputSpec


def test_the_program_in_the_readme_answers_as_predict_does(run: Path, photos: Path, answer_of) -> None:
    exported = sightline.export(run, "onnx", out=run.parent / "elsewhere" / "animals.onnx")
    assert exported.readme.name == "animals.README.md"
    image = photos / "dog" / "2.png"
    label, confidence = answer_of(exported.readme, image)
    answers = sightline.predict(run, image, progress=False)
    assert label == answers.predicted[0] == "dog"
    assert confidence == pytest.approx(float(answers.confidences[0]), abs=1e-6)


def test_the_program_in_the_readme_finds_a_file_whatever_its_name(run: Path, photos: Path, answer_of) -> None:
    exported = sightline.export(run, "onnx", out=run.parent / "elsewhere" / '\U00020bb7 "\U0001f600".onnx')
    assert answer_of(exported.readme, photos / "dog" / "2.png")[0] == "dog"


@pytest.mark.parametrize("rule", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_the_program_in_the_readme_prepares_an_image_byte_by_byte(
    rule: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    spec = InputSpec(20, 14, mode, rule, "light")
    for number, size in enumerate([(20, 14), (31, 17), (13, 57), (3, 2), (170, 130), (700, 620)]):
        # A large JPEG is decoded at an eighth to a half of its size.
        path = tmp_path / f"{number}.{'jpg' if size[0] > 100 else 'png'}"
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels if mode == "rgb" or size[0] > 100 else pixels[..., 0]).save(path)
        monkeypatch.setattr(sys, "argv", ["program", str(path)])
        names: dict[str, object] = {}
        exec("import sys\nimport numpy as np\nfrom PIL import Image, ImageOps\n" + prepared(spec), names)
        wanted = resize_image(decode_image(path, color_mode=mode, minimum_size=decoding_size(spec)), spec)
        np.testing.assert_array_equal(names["images"], wanted[None])
