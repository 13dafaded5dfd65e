"""The folder of a run: a new one, the one of an ensemble that was left unfinished, or a refusal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import sightline
from sightline.errors import InvalidValue, OutputExists
from sightline.schema import EnsembleRecipe, Recipe
from sightline.training.resuming import check_jobs, run_folder

BAGGING, BOOSTING = (Recipe(ensemble=EnsembleRecipe(kind=kind)) for kind in ("bagging", "boosting"))


@pytest.mark.parametrize("jobs", [0, -1, 1.0, True, "2", None, float("nan")])
def test_a_number_of_jobs_that_is_none_is_refused(jobs: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^jobs must be a whole number of at least 1; got"):
        check_jobs(jobs, BAGGING)


def test_jobs_without_members_to_spread_are_refused() -> None:
    with pytest.raises(InvalidValue, match="jobs=2 trains members of an ensemble at once, and there is none"):
        check_jobs(2, Recipe())
    with pytest.raises(InvalidValue, match="members of a boosted ensemble build on one another"):
        check_jobs(2, BOOSTING)
    check_jobs(1, BOOSTING)


def test_more_jobs_than_processors_are_refused() -> None:
    most = os.cpu_count() or 1
    check_jobs(most, BAGGING)
    with pytest.raises(InvalidValue, match=f"jobs={most + 1} processes are more than .* Set as many or fewer"):
        check_jobs(most + 1, BAGGING)


def test_an_unfinished_ensemble_is_gone_on_with_and_half_a_member_is_cleared_away(prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    folder = run_folder(tmp_path / "mine", data)
    assert json.loads((folder / "recipe.json").read_text()) == data.recipe.to_dict()
    half = folder / "members" / ".01.abcd.partial"
    half.mkdir()
    (half / "history.jsonl").touch()
    (folder / "members" / "02").mkdir()
    assert run_folder(tmp_path / "mine", data) == folder
    assert not half.exists()
    assert (folder / "members" / "02").exists()


@pytest.mark.parametrize("other", [{"seed": 1}, {"ensemble.members": 4}, {"training.epochs": 3}])
def test_an_unfinished_ensemble_of_another_recipe_is_refused(other: dict, prepared_job, tmp_path: Path) -> None:
    run_folder(tmp_path / "mine", prepared_job({})[1])
    with pytest.raises(OutputExists, match="holds an unfinished ensemble of another recipe, other data or other"):
        run_folder(tmp_path / "mine", prepared_job(other)[1])


def test_an_unfinished_ensemble_of_other_images_is_refused(prepared_job, corners: dict, tmp_path: Path) -> None:
    run_folder(tmp_path / "mine", prepared_job({})[1])
    changed = sightline.load(corners | {"x_test": 255 - corners["x_test"]}, name="corners")
    with pytest.raises(OutputExists, match=r"other data or other splits\. Name another folder, or delete this one"):
        run_folder(tmp_path / "mine", prepared_job({}, source=changed)[1])


@pytest.mark.parametrize("name", ["recipe.json", "splits.csv", "members/plan.json"])
def test_a_damaged_plan_is_not_gone_on_with(name: str, prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    (run_folder(tmp_path / "mine", data) / name).write_text("{")
    with pytest.raises(OutputExists, match="unfinished ensemble"):
        run_folder(tmp_path / "mine", data)


def test_without_a_name_the_unfinished_run_is_found_and_a_finished_one_left_alone(
    prepared_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, data = prepared_job({})
    first = run_folder(None, data)
    assert str(first) == str(Path("runs") / "corners-fast-001")
    assert run_folder(None, data) == first
    other = run_folder(None, prepared_job({"seed": 3})[1])
    assert other.name == "corners-fast-002"
    assert run_folder(None, data) == first
    (first / "metrics.json").write_text("{}")
    assert run_folder(None, data).name == "corners-fast-003"


def test_a_folder_with_something_else_in_it_is_refused(prepared_job, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(OutputExists, match="is a folder that is not empty"):
        run_folder(tmp_path / "mine", prepared_job({})[1])
