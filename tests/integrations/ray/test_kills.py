"""Workers, nodes and the command itself are killed in the middle: the answers are all there, once, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.deployment.bulk import step as step_module

pytestmark = [pytest.mark.slow, pytest.mark.soak]
NUM_KILLS = int(os.environ.get("SIGHTLINE_KILLS", "20"))
# Small parts, so that there are many of them; the cuts of a plan are made where the command runs.
DRIVER = """
import sys
from sightline.deployment.bulk import parts
import sightline
parts.PART = 256
sightline.predict_into(sys.argv[1], sys.argv[2], sys.argv[3], on="ray", progress=False)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for number in range(8000):
        Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{number:05d}.png")
    return folder


@pytest.fixture(scope="module")
def wanted(tiny_run: sightline.Run, images: Path) -> bytes:
    out = images.parent / "wanted.csv"
    sightline.predict_into(tiny_run, images, out, progress=False)
    return out.read_bytes()


@pytest.fixture(scope="module", autouse=True)
def connected(nodes: Any) -> Iterator[None]:
    """What asks for `on="ray"` in this process finds the cluster."""
    import ray

    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def answered_meanwhile(tiny_run: sightline.Run, images: Path, out: Path, disturb: Any) -> bytes:
    """What is written while something is done in the middle of it, as soon as a part is there."""
    failed: list[BaseException] = []

    def when_begun() -> None:
        place, deadline = out.with_name(f"{out.name}.parts"), time.monotonic() + 60
        while not list(place.glob("part-*.note.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.random())
        try:
            disturb()
        except Exception as error:  # noqa: BLE001  # it is raised where the test is
            failed.append(error)

    other = threading.Thread(target=when_begun)
    other.start()
    sightline.predict_into(tiny_run, images, out, on="ray", progress=False)
    other.join()
    assert not failed, failed
    content = out.read_bytes()
    out.unlink()
    return content


def test_workers(processes_of_ray, tiny_run, images, wanted, monkeypatch) -> None:
    monkeypatch.setattr("sightline.deployment.bulk.parts.PART", 256)
    assert step_module.PART == 2048  # of one machine: other parts, the same bytes
    killed = 0

    def kill_one() -> None:
        nonlocal killed
        if there := processes_of_ray("ray::Worker", below=os.getpid()):
            os.kill(random.choice(there), signal.SIGKILL)
            killed += 1

    for number in range(2 * NUM_KILLS):
        assert answered_meanwhile(tiny_run, images, images.parent / f"w{number}.csv", kill_one) == wanted
        if killed >= NUM_KILLS:
            break
    assert killed >= NUM_KILLS


def test_nodes(nodes, tiny_run, images, wanted, monkeypatch) -> None:
    monkeypatch.setattr("sightline.deployment.bulk.parts.PART", 256)
    there = sorted(nodes.list_all_nodes(), key=lambda node: node.head)[:2]
    assert not any(node.head for node in there)
    for number in range(NUM_KILLS):

        def kill_one(chosen: int = number % 2) -> None:
            process = there[chosen].all_processes["raylet"][0].process
            process.kill()

        assert answered_meanwhile(tiny_run, images, images.parent / f"n{number}.csv", kill_one) == wanted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes.remove_node(there[number % 2], allow_graceful=False)
            there[number % 2] = nodes.add_node(num_cpus=1)


def test_the_command_itself(nodes, tiny_run, images, wanted, tmp_path) -> None:
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    killed = 0
    while killed < NUM_KILLS:
        out = images.parent / f"d{killed}.csv"
        begin = [sys.executable, "-c", DRIVER, str(tiny_run.path), str(images), str(out)]
        for _ in range(3):
            process = subprocess.Popen(begin, env=environment, stderr=subprocess.PIPE)
            place, before = (
                out.with_name(f"{out.name}.parts"),
                len(list(out.parent.glob(f"{out.name}.parts/*.note.json"))),
            )
            while process.poll() is None and len(list(place.glob("*.note.json"))) <= before and not out.exists():
                time.sleep(0.01)
            time.sleep(random.random())
            if process.poll() is None:
                process.kill()
                killed += 1
            process.communicate()
        finished = subprocess.run(begin, env=environment, check=False, capture_output=True, text=True)
        assert out.exists(), finished.stderr
        assert out.read_bytes() == wanted
        assert not list(out.parent.glob(f"{out.name}.*"))
