"""The program in the README of an export, in an environment that has its runtime, NumPy and Pillow and nothing else."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import sightline
from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.transforms import resize_image
from sightline.data.inputs.pixels import decoding_size
from sightline.deployment.conversion.formats import FORMATS
from sightline.deployment.runtimes.keras_conversion import BACKENDS


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in (*BACKENDS, "web", "web-file")])
def test_the_program_in_a_readme_runs_where_pip_brought_what_it_names(
    name: str, uneven_bundle: Path, many_photos, photos: Path, answer_of, tmp_path: Path
) -> None:
    row = FORMATS[name]
    pytest.importorskip(row.runtime)
    images, labels = many_photos
    dataset = sightline.load({"x_train": images, "y_train": labels}, class_names=("cat", "dog", "owl"))
    exported = sightline.export(uneven_bundle, name, images=dataset)
    python = tmp_path / "alone" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    venv.create(tmp_path / "alone", with_pip=True)
    installed = [python, "-m", "pip", "install", "--quiet", row.install, "numpy", "pillow"]
    done = subprocess.run(installed, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no packages to be had: {done.stderr[-300:]}")
    image = photos / "owl" / "0.png"
    label, confidence = answer_of(exported.readme, image, python=python)
    model, spec = row.module().open_exported(exported.path), sightline.reopen(uneven_bundle).input
    pixels = resize_image(decode_image(image, color_mode=spec.color_mode, minimum_size=decoding_size(spec)), spec)
    (probabilities,) = model.probabilities(model.logits(pixels[None]))
    assert (label, confidence) == ("owl", pytest.approx(float(probabilities.max()), abs=1e-4))
