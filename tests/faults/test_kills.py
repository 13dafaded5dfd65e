"""A hundred trainings killed by SIGKILL, at random instants and at aimed ones, each gone on with: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.system.backends import installed_backends

TOOL = Path(__file__).resolve().parents[2] / "tools" / "kill_training.py"


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform == "win32" or "tensorflow" not in installed_backends(), reason="trainings are forked, on TensorFlow"
)
@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        ("one network", 5),
        *(
            pytest.param(kind, 25, marks=pytest.mark.soak)
            for kind in ("one network", "ensemble", "student", "fine-tuned")
        ),
    ],
)
def test_a_training_that_was_killed_ends_with_the_weights_of_one_never_stopped(
    kind: str, kills: int, tmp_path: Path
) -> None:
    words = [str(kills), "--kinds", kind, "--per-run", "6", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=3600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert found["kills"] >= kills
    assert found["equal"] == found["runs"]
