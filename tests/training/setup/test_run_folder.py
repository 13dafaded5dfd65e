"""The folder of a run: a new one, the one of a run that was left unfinished, or a refusal."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest

import sightline
from sightline.configuration.schema import EnsembleRecipe
from sightline.errors import InvalidValue, OutputExists, TrainingFailed
from sightline.system.progress import reporting
from sightline.training.setup.run_folder import BEGUN, GoingOn, run_folder


def made_folder(out, data, **options) -> Path:
    """The folder of a run that nobody is at any more."""
    with run_folder(out, data, **options) as folder:
        return folder


def test_an_unfinished_ensemble_is_gone_on_with_and_half_a_member_is_cleared_away(prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    folder = made_folder(tmp_path / "mine", data)
    assert json.loads((folder / "recipe.json").read_text()) == data.recipe.to_dict()
    half = folder / "members" / ".01.abcd.partial"
    half.mkdir()
    (half / "history.jsonl").touch()
    (folder / "members" / "02").mkdir()
    assert made_folder(tmp_path / "mine", data) == folder
    assert not half.exists()
    assert (folder / "members" / "02").exists()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"seed": 1}, r"seed was 0 and is 1"),
        ({"ensemble.members": 4}, r"ensemble\.members was 3 and is 4"),
        ({"training.epochs": 3}, r"training\.epochs was 2 and is 3"),
    ],
)
def test_an_unfinished_ensemble_of_another_recipe_is_refused_with_the_difference(
    other: dict, difference: str, prepared_job, tmp_path: Path
) -> None:
    made_folder(tmp_path / "mine", prepared_job({})[1])
    with pytest.raises(
        OutputExists, match=rf"an unfinished ensemble that is not this one: {difference}\. Name another"
    ):
        made_folder(tmp_path / "mine", prepared_job(other)[1])


def test_an_unfinished_ensemble_of_other_images_is_refused(prepared_job, corners: dict, tmp_path: Path) -> None:
    made_folder(tmp_path / "mine", prepared_job({})[1])
    changed = sightline.load(corners | {"x_test": 255 - corners["x_test"]}, name="corners")
    with pytest.raises(OutputExists, match=r"the images or their labels changed\. Name another folder, or delete this"):
        made_folder(tmp_path / "mine", prepared_job({}, source=changed)[1])


@pytest.fixture
def single(prepared_job):
    """The data of a single network, prepared; with keys set otherwise."""

    def make(settings: dict | None = None, **options):
        data = prepared_job(settings or {}, **options)[1]
        return dataclasses.replace(data, recipe=dataclasses.replace(data.recipe, ensemble=EnsembleRecipe()))

    return make


def test_an_unfinished_run_of_a_single_network_is_gone_on_with_where_all_is_as_it_was(single, tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "mine", single())
    (folder / "checkpoints" / "000001").mkdir()
    half = folder / "checkpoints" / ".000002.12345678.partial"
    half.mkdir()
    (folder / "history.jsonl").write_text("{}\n")
    assert made_folder(tmp_path / "mine", single()) == folder
    assert not half.exists()
    assert (folder / "checkpoints" / "000001").exists()
    assert not (folder / "history.jsonl").exists(), "it is written anew as far as the checkpoint goes"


@pytest.mark.parametrize("what", ["recipe", "data", "splits", "version", "damage"])
def test_an_unfinished_run_that_changed_since_is_refused_with_the_difference(
    what: str,
    single,
    corners: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, data = made_folder(tmp_path / "mine", single()), single()
    expected = {
        "recipe": r"optimizer\.learning_rate was 0\.\d+ and is 0\.125; seed was 0 and is 7",
        "data": "the images or their labels changed",
        "splits": "the images are divided otherwise",
        "version": r"numpy was 0\.1 and is [\d.]+",
        "damage": "what it was begun from cannot be read any more",
    }[what]
    if what == "recipe":
        data = single({"seed": 7, "optimizer.learning_rate": 0.125})
    elif what == "data":
        data = single(source=sightline.load(corners | {"x_test": 255 - corners["x_test"]}, name="corners"))
    elif what == "splits":
        (folder / "splits.csv").write_text("row,split\n")
    elif what == "version":
        plan = json.loads((folder / "checkpoints" / "plan.json").read_text())
        (folder / "checkpoints" / "plan.json").write_text(
            json.dumps({**plan, "versions": {**plan["versions"], "numpy": "0.1"}})
        )
    else:
        (folder / "checkpoints" / "plan.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    forced = GoingOn(force=True)
    for going_on in (GoingOn(), forced)[: 1 if what == "version" else 2]:
        with pytest.raises(
            OutputExists, match=rf"an unfinished run that is not this one: {expected}\. Name another folder"
        ) as refusal:
            made_folder(tmp_path / "mine", data, going_on=going_on)
    assert ("or go on all the same with --force" in str(refusal.value)) is (what == "version")
    if what == "version":
        with reporting("plain"):
            assert made_folder(tmp_path / "mine", data, going_on=forced) == folder
        assert re.search(rf"note: {expected}; the weights will be those of neither alone", capsys.readouterr().err)


def test_where_no_folder_is_named_a_run_that_changed_is_told_and_left_alone(
    single, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = made_folder(None, single())
    with reporting("plain"):
        assert made_folder(None, single({"seed": 5})).name == "corners-fast-002"
        assert "corners-fast-001: holds an unfinished run that is not this one: seed was 0" in capsys.readouterr().err
    assert made_folder(None, single()) == first
    with pytest.raises(InvalidValue, match=r"nothing to go on with: .*seed was 5 and is 9\. Leave --resume out"):
        made_folder(None, single({"seed": 9}), going_on=GoingOn(must=True))
    with pytest.raises(InvalidValue, match="nothing to go on with: there is no unfinished run in"):
        made_folder(tmp_path / "other", single(), going_on=GoingOn(must=True))
    assert not (tmp_path / "other").exists()


def test_a_run_that_another_process_is_at_is_refused_and_left_as_it_is(single, tmp_path: Path) -> None:
    with run_folder(tmp_path / "mine", single()) as folder:
        (folder / "history.jsonl").touch()
        with pytest.raises(OutputExists, match=r"mine: is being trained by another command\. Name .* or wait"):
            made_folder(tmp_path / "mine", single())
        assert (folder / "history.jsonl").exists()
    assert made_folder(tmp_path / "mine", single()) == folder


def test_what_is_finished_or_diverged_keeps_no_checkpoints(single, tmp_path: Path) -> None:
    with run_folder(tmp_path / "mine", single()) as folder:
        (folder / "metrics.json").write_text("{}")
    assert not (folder / "checkpoints").exists()

    def diverge() -> None:
        with run_folder(tmp_path / "other", single()):
            raise TrainingFailed("the loss is no longer a finite number")

    with pytest.raises(TrainingFailed):
        diverge()
    assert not (tmp_path / "other" / "checkpoints").exists()


@pytest.mark.parametrize("name", ["recipe.json", "splits.csv", "members/plan.json"])
def test_a_damaged_plan_is_not_gone_on_with(name: str, prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    (made_folder(tmp_path / "mine", data) / name).write_text("{")
    with pytest.raises(OutputExists, match="unfinished ensemble"):
        made_folder(tmp_path / "mine", data)


@pytest.mark.parametrize("written", [[], ["lock"], ["lock", "recipe"], ["lock", "recipe", "splits", "half"]])
def test_a_run_that_was_killed_before_it_had_written_what_it_was_begun_from_begins_in_its_folder(
    written: list[str], prepared_job, tmp_path: Path
) -> None:
    _, data = prepared_job({})
    whole = made_folder(tmp_path / "whole", data)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "recipe.json").write_bytes((whole / "recipe.json").read_bytes() if "recipe" in written else b"")
    if "lock" in written:
        (begun / "members").mkdir()
        (begun / "members" / "lock").touch()
    if "splits" in written:
        (begun / "splits.csv").write_text("half of what")
    if "half" in written:
        (begun / ".excluded.csv.0123abcd.partial").touch()
    assert made_folder(begun, data, going_on=GoingOn(must="lock" in written)) == begun
    for name in (*BEGUN, "members/plan.json"):
        assert (begun / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("link", ["recipe.json", "splits.csv", "members/lock", "members"])
def test_a_claimed_folder_of_a_stranger_leads_to_no_write_elsewhere(link: str, prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "lock").write_text("mine")
    begun = tmp_path / "begun"
    (begun if link == "members" else begun / "members").mkdir(parents=True)
    leads_to = tmp_path / "precious" if link == "members" else tmp_path / "precious" / "lock"
    (begun / link).symlink_to(leads_to, target_is_directory=link == "members")
    with pytest.raises(OutputExists, match="is a link that leads out of it"):
        made_folder(begun, data)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["lock"]
    assert (tmp_path / "precious" / "lock").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked otherwise there")
def test_a_run_that_somebody_ends_while_it_is_looked_at_stays_as_it_is(
    single, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    folder = made_folder(tmp_path / "mine", single())
    (folder / "bundle").mkdir()
    lock = fcntl.flock

    def lock_of_a_finished_run(stream, how: int) -> None:
        (folder / "metrics.json").write_text("{}")
        lock(stream, how)

    monkeypatch.setattr(fcntl, "flock", lock_of_a_finished_run)
    with pytest.raises(OutputExists, match="another command"):
        made_folder(folder, single())
    assert {path.name for path in folder.iterdir()} == {*BEGUN, "bundle", "metrics.json"}


def test_a_folder_that_holds_only_its_claim_and_something_else_is_refused(prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    (tmp_path / "mine").mkdir()
    for name in ("recipe.json", "notes.txt"):
        (tmp_path / "mine" / name).touch()
    with pytest.raises(OutputExists, match="not empty"):
        made_folder(tmp_path / "mine", data)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"recipe.json", "notes.txt"}


def test_without_a_name_the_unfinished_run_is_found_and_a_finished_one_left_alone(
    prepared_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, data = prepared_job({})
    first = made_folder(None, data)
    assert str(first) == str(Path("runs") / "corners-fast-001")
    assert made_folder(None, data) == first
    other = made_folder(None, prepared_job({"seed": 3})[1])
    assert other.name == "corners-fast-002"
    assert made_folder(None, data) == first
    (first / "metrics.json").write_text("{}")
    assert made_folder(None, data).name == "corners-fast-003"


def test_a_folder_with_something_else_in_it_is_refused(prepared_job, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(OutputExists, match="is a folder that is not empty"):
        made_folder(tmp_path / "mine", prepared_job({})[1])


def test_whoever_trains_the_same_ensemble_at_the_same_time_is_refused_or_gets_a_folder_of_its_own(
    prepared_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = prepared_job({})[1]
    with run_folder(tmp_path / "mine", data) as folder:
        half = folder / "members" / ".01.partial"
        half.mkdir()
        with pytest.raises(OutputExists, match=r"mine: is being trained by another command\. Name .* or wait"):
            made_folder(tmp_path / "mine", data)
        assert half.is_dir(), "what the other command writes is left alone"
    assert made_folder(tmp_path / "mine", data) == folder
    assert not half.exists()
    with run_folder(None, data) as first, run_folder(None, data) as second:
        assert first != second
    assert made_folder(None, data) in (first, second)


def _refused(out: Path, data, *, has_learned: bool) -> None:
    def refuse() -> None:
        with run_folder(out, data) as folder:
            if has_learned:
                (folder / "history.jsonl").write_text("{}\n")
            raise InvalidValue("a budget too short")

    with pytest.raises(InvalidValue, match="a budget too short"):
        refuse()


def test_a_run_that_is_refused_before_it_learned_leaves_no_folder(prepared_job, tmp_path: Path) -> None:
    _, data = prepared_job({})
    data = dataclasses.replace(data, recipe=dataclasses.replace(data.recipe, ensemble=EnsembleRecipe()))
    _refused(tmp_path / "mine", data, has_learned=False)
    assert not (tmp_path / "mine").exists()
    _refused(tmp_path / "mine", data, has_learned=True)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {*BEGUN, "history.jsonl"}
