"""What `sightline.runs` tells of a run that somebody is at, and of one that was left."""

from __future__ import annotations

from pathlib import Path

import sightline
from sightline.training.setup.run_folder import run_folder


def test_whoever_has_the_folder_of_an_ensemble_is_running_it_until_the_folder_is_left(
    prepared_job, tmp_path: Path
) -> None:
    with run_folder(tmp_path / "mine", prepared_job({})[1]):
        assert [row["state"] for row in sightline.runs(tmp_path)] == ["running"]
    assert [row["state"] for row in sightline.runs(tmp_path)] == ["interrupted"]
