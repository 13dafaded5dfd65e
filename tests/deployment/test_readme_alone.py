"""The program in the README of an export, in an environment that has its runtime, NumPy and Pillow and nothing else."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import sightline
from sightline.deployment.conversion.formats import FORMATS


@pytest.mark.soak
@pytest.mark.parametrize("name", FORMATS)
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
    label, confidence = answer_of(exported.readme, photos / "owl" / "0.png", python=python)
    answers = sightline.predict(uneven_bundle, photos / "owl" / "0.png", progress=False)
    assert label == answers.predicted[0]
    assert confidence == pytest.approx(float(answers.confidences[0]), abs=0.1 if row.is_quantised else 1e-4)
