"""Photographs from folder to prediction in whole processes: killed and started again, and with a broken file."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.system.backends import load_keras

keras = load_keras()

SIGN_DIGITS = Path(__file__).resolve().parents[3] / "shared" / "data" / "sign_digits"
pytestmark = [pytest.mark.slow, pytest.mark.soak]


def command(*arguments: object, slowly: bool = False) -> list[str]:
    """The program in a process of its own; `slowly` makes writing the cache last long enough to be killed in it."""
    code = "import sys\n"
    if slowly:
        code += textwrap.dedent("""
            import time
            from sightline.data.inputs import pixels
            usual = pixels.resize_image
            def slowly(image, spec, **more):
                time.sleep(0.2)
                return usual(image, spec, **more)
            pixels.resize_image = slowly
        """)
    code += "from sightline.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, *map(str, arguments)]


def answer(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SIGHTLINE_CACHE": str(cache)}
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, check=False)


def weights_of(run: Path) -> list[bytes]:
    network = keras.saving.load_model(run / "bundle" / "model.keras", compile=False)
    return [array.tobytes() for array in network.get_weights()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 40 pictures that differ in tint."""
    generator = np.random.default_rng(0)
    for name, tint in (("blue", (0, 0, 60)), ("red", (60, 0, 0))):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(40):
            small = generator.integers(0, 196, (9, 9, 3)) + np.array(tint)
            picture = Image.fromarray(small.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
            picture.save(folder / f"{number:02d}.png")
    return tmp_path / "photos"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_run_killed_while_it_writes_the_cache_and_started_again_gives_the_weights_of_one_never_killed(
    photos: Path, tmp_path: Path
) -> None:
    options = ("--epochs", 1, "--set", "data.image_size=32", "--model", "convnet", "--quiet")
    killed_cache = tmp_path / "killed"
    process = subprocess.Popen(
        command("train", photos, "--out", tmp_path / "first", *options, slowly=True),
        env={**os.environ, "SIGHTLINE_CACHE": str(killed_cache)},
    )
    deadline = time.monotonic() + 120
    while not list(killed_cache.glob("pixels/.*.partial/images.bin")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was killed in the middle"
    assert not (tmp_path / "first").exists(), "a run that did not begin to train leaves no folder in the way"

    again = answer("train", photos, "--out", tmp_path / "first", *options, cache=killed_cache)
    assert again.returncode == 0, again.stderr
    never = answer("train", photos, "--out", tmp_path / "second", *options, cache=tmp_path / "clean")
    assert never.returncode == 0, never.stderr
    assert weights_of(tmp_path / "first") == weights_of(tmp_path / "second")


@pytest.mark.skipif(not SIGN_DIGITS.is_dir(), reason="the photographs of hand signs are not at hand")
def test_real_photographs_are_audited_trained_on_and_predicted_with_a_broken_file_among_them(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    audit = answer("audit", SIGN_DIGITS, "--json", cache=cache)
    found = json.loads(audit.stdout)
    assert (found["num_files"], found["num_images"]) == (2062, 2062)
    turned = [finding for finding in found["findings"] if finding["kind"] == "exif-rotation"]
    assert sorted(Path(path).name for finding in turned for path in finding["paths"]) == [
        "IMG_5874.JPG",
        "IMG_5935.JPG",
        "IMG_5978.JPG",
    ]
    assert audit.returncode == (1 if {finding["severity"] for finding in found["findings"]} - {"note"} else 0)

    done = answer(
        "train", SIGN_DIGITS, "--out", tmp_path / "run", "--model", "convnet", "--epochs", 8, "--json", cache=cache
    )
    assert done.returncode == 0, done.stderr
    test = json.loads(done.stdout)["test"]
    assert test["num_images"] >= 380
    assert test["accuracy"] > 0.5, "eight short epochs are far above one in ten"

    with (tmp_path / "run" / "splits.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"][:20]
    folder = tmp_path / "new"
    folder.mkdir()
    for number, row in enumerate(rows):
        shutil.copy(SIGN_DIGITS / row["row_id"], folder / f"{number:02d}.jpg")
    whole = (folder / "00.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    predicted = answer("predict", tmp_path / "run" / "bundle", folder, "--json", cache=cache)
    lines = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert len(lines) == 21
    assert predicted.returncode == 1
    errors = [line for line in lines if line.get("error")]
    assert [Path(line["path"]).name for line in errors] == ["broken.jpg"]
    assert "truncated" in errors[0]["error"]
    assert all(line["label"] in set("0123456789") for line in lines if not line.get("error"))
