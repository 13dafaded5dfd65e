import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.decoding.decoder import decode_image
from sightline.data.decoding.isolation import Watchdog
from sightline.errors import UnreadableImage


def encoded(image, image_format="PNG"):
    stream = io.BytesIO()
    image.save(stream, image_format)
    return stream.getvalue()


PHOTO = encoded(Image.effect_noise((60, 40), 50).convert("RGB"), "JPEG")
# 300 ms of work that no bound forbids, in 60 kB.
SLOW = encoded(Image.new("L", (8_000, 8_000)))


def test_a_child_gives_the_same_pixels_and_the_same_refusals(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    with Watchdog() as watchdog:
        for source in (PHOTO, path):
            np.testing.assert_array_equal(
                watchdog.decode(source, color_mode="rgb", minimum_size=(8, 8)),
                decode_image(PHOTO, color_mode="rgb", minimum_size=(8, 8)),
            )
        first = watchdog._child
        (tmp_path / "cut.jpg").write_bytes(PHOTO[:300])
        with pytest.raises(UnreadableImage, match=r"cut\.jpg: truncated JPEG"):
            watchdog.decode(tmp_path / "cut.jpg", color_mode="grey")
        with pytest.raises(UnreadableImage, match=r"gone\.jpg: no such file"):
            watchdog.decode(tmp_path / "gone.jpg", color_mode="grey")
        assert watchdog._child is first, "one process for all of them"
    assert first.returncode is not None


def test_a_decoder_that_takes_too_long_is_ended_and_the_next_image_is_read():
    with Watchdog(timeout_seconds=5) as watchdog:
        watchdog.decode(PHOTO, color_mode="grey")
        watchdog.timeout_seconds = 0.02
        with pytest.raises(UnreadableImage, match=r"image bytes: decoding it took more than 0\.02 s and was ended"):
            watchdog.decode(SLOW, color_mode="grey")
        watchdog.timeout_seconds = 30
        assert watchdog.decode(PHOTO, color_mode="grey").shape == (40, 60, 1)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not bound memory")
def test_a_decoder_that_takes_too_much_is_refused_and_the_next_image_is_read():
    with Watchdog(memory_mib=40) as watchdog:
        with pytest.raises(UnreadableImage, match=r"memory does not suffice|ended without an answer"):
            watchdog.decode(SLOW, color_mode="grey")
        assert watchdog.decode(PHOTO, color_mode="grey").shape == (40, 60, 1)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system ends processes otherwise")
def test_a_child_that_was_ended_from_outside_costs_one_image():
    with Watchdog() as watchdog:
        watchdog.decode(PHOTO, color_mode="grey")
        os.kill(watchdog._child.pid, signal.SIGKILL)
        with pytest.raises(UnreadableImage, match="its decoder ended without an answer"):
            watchdog.decode(PHOTO, color_mode="grey")
        assert watchdog.decode(PHOTO, color_mode="grey").shape == (40, 60, 1)


def test_a_module_of_the_current_folder_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "struct.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    with Watchdog() as watchdog:
        assert watchdog.decode(PHOTO, color_mode="grey").shape == (40, 60, 1)
