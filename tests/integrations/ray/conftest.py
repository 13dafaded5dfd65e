"""Small images with what nobody can read among them, and a cluster of which nodes may be killed."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster on this machine: a head that does no work, and two nodes of one processor."""
    pytest.importorskip("ray", minversion="2.60")
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            made.add_node(num_cpus=1)
    yield made
    made.shutdown()
    os.environ.clear()
    os.environ |= before


@pytest.fixture
def replica_processes(processes_of_ray: Callable[..., list[int]]) -> Callable[[], list[int]]:
    """Finds the replicas of our server that answer now on clusters that this process began."""
    return lambda: processes_of_ray("ray::ServeReplica:sightline", below=os.getpid())


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Three hundred files and an archive of as many; two of each cannot be read."""
    folder = tmp_path / "many"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(299):
        Image.fromarray(draw.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "050.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "=cmd \u96ea.png").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, path.name)
    return folder
