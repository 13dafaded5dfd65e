"""A network at work on many images: in portions, on all processors, in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sightline import sessions as module, workers
from sightline.bundle import load_bundle
from sightline.sessions import open_session

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def session():
    return open_session(load_bundle("imagenet"))


@pytest.fixture(params=[1, 2, 3])
def portions_of_two(request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTION_BYTES", 2 * IMAGES[0].nbytes)
    monkeypatch.setattr(workers.os, "cpu_count", lambda: request.param)


@pytest.mark.usefixtures("portions_of_two")
def test_portions_come_in_order_and_hold_what_the_whole_gives(session) -> None:
    starts, parts = zip(*session.portions(IMAGES, ["logits", "features"]), strict=True)
    assert starts == (0, 2, 4, 6)
    for place, whole in enumerate(session.outputs(IMAGES, ["logits", "features"])):
        assert np.allclose(np.concatenate([part[place] for part in parts]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("portions_of_two")
def test_images_can_be_changed_on_their_way(session) -> None:
    changed = session.portions(IMAGES, ["logits"], change=lambda first, part: np.roll(part, first, axis=1))
    for first, (logits,) in changed:
        (expected,) = session.outputs(np.roll(IMAGES[first : first + 2], first, axis=1), ["logits"])
        assert np.allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("portions_of_two")
def test_an_error_in_a_portion_reaches_the_caller(session) -> None:
    def fail_late(first, part):
        if first == 4:
            raise ZeroDivisionError
        return part

    with pytest.raises(ZeroDivisionError):
        list(session.portions(IMAGES, ["logits"], change=fail_late))


@pytest.mark.usefixtures("portions_of_two")
def test_who_stops_early_leaves_no_thread_behind(session) -> None:
    before = threading.active_count()
    portions = session.portions(np.concatenate([IMAGES] * 4), ["logits"])
    next(portions)
    portions.close()
    assert threading.active_count() == before


def test_no_images_give_no_rows(session) -> None:
    assert session.logits(IMAGES[:0]).shape == (0, 1000)
    assert list(session.portions(IMAGES[:0], ["logits"])) == []


PREDICT_IN_A_CHILD_AND_HERE = """
import os, subprocess, sys, time
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
import numpy, sightline
sightline.predict("imagenet", numpy.zeros((1, 224, 224, 3), numpy.uint8), progress=False)
time.sleep(1)
"""


def clean(home: Path, **chosen: str) -> dict[str, str]:
    """The environment of somebody who has just moved in."""
    settled = {"ORT_DISABLE_TELEMETRY", "CI", "SIGHTLINE_CACHE", "XDG_CACHE_HOME", "PYTHONPYCACHEPREFIX"}
    return {name: value for name, value in os.environ.items() if name not in settled} | {"HOME": str(home)} | chosen


def test_predicting_leaves_nothing_at_home_and_asks_nobody(tmp_path: Path) -> None:
    home, trace, script = tmp_path / "home", tmp_path / "trace", tmp_path / "predict.py"
    home.mkdir()
    script.write_text(PREDICT_IN_A_CHILD_AND_HERE)
    strace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", trace]
    may_trace = subprocess.run([*strace, "true"], check=False).returncode == 0 if shutil.which("strace") else False
    subprocess.run([*(strace if may_trace else []), sys.executable, script], check=True, env=clean(home), timeout=120)
    assert list(home.rglob("*")) == []
    if not may_trace:
        pytest.skip("strace is not here, or may not trace: what is sent was not looked at")
    assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []


@pytest.mark.parametrize("chosen", ["0", ""])
def test_who_wants_telemetry_is_heeded(chosen: str, tmp_path: Path) -> None:
    program = "import os, sightline; print(repr(os.environ['ORT_DISABLE_TELEMETRY']))"
    environment = clean(tmp_path, ORT_DISABLE_TELEMETRY=chosen)
    said = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == repr(chosen)
