"""Runs that are tracked by Weights & Biases, offline: read back from the file that its own program writes."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest

import sightline
from sightline.errors import CannotWrite
from sightline.integrations.tracking.addresses import read_address
from sightline.integrations.tracking.telling import FILES, FINGERPRINT, About
from sightline.integrations.tracking.tracker import NOTE, Tracker

pytest.importorskip("wandb", reason="wandb is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
ABOUT = About("first", {"training.epochs": "2", "seed": "0"}, {FINGERPRINT: "abc", "sightline.source": "mnist"})


def records_in(folder: Path) -> list[Any]:
    """What one folder of an offline run holds: records of its own protocol in a log as LevelDB has them."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("*.wandb")
    deadline = time.monotonic() + 60
    while not (found := parsed(path.read_bytes(), wandb_internal_pb2)) or not found[-1].HasField("exit"):
        assert time.monotonic() < deadline, "its service, which writes the file, has not ended"
        time.sleep(0.1)
    return found


def parsed(content: bytes, protocol: Any) -> list[Any]:
    place, parts, found = 7, b"", []
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        if not kind:
            break
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = protocol.Record()
            record.ParseFromString(parts)
            found.append(record)
            parts = b""
    return found


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return tmp_path / "wandb"


def items(record: Any) -> dict[str, Any]:
    return {".".join(one.nested_key) or one.key: json.loads(one.value_json) for one in record}


def test_a_run_is_kept_offline_with_its_keys_epochs_figures_and_files_and_nothing_of_the_machine(
    tiny_run: sightline.Run, offline: Path, tmp_path: Path
) -> None:
    tracker = Tracker(read_address("wandb:our team/digits"))
    tracker.check()
    with tracker.following(ABOUT, tmp_path / NOTE):
        for row in tiny_run.history:
            tracker.log_epoch(row)
        tracker.finish(tiny_run)
    (folder,) = offline.glob("offline-run-*")
    identity = json.loads((tmp_path / NOTE).read_text())["identity"]
    records = records_in(folder)
    (run,) = [record.run for record in records if record.HasField("run")][:1]
    assert (run.entity, run.project, run.display_name, run.run_id) == ("our team", "digits", "first", identity)
    config = {one.key: json.loads(one.value_json) for one in run.config.update}
    assert {name: config[name] for name in ABOUT.parameters} == dict(ABOUT.parameters)
    assert config[FINGERPRINT] == "abc"
    assert run.host == "not told"
    logged = [items(record.history.item) for record in records if record.HasField("history")]
    rows = [(row["epoch"], row["train/loss"], row["validation/accuracy"]) for row in logged]
    assert rows == [(row["epoch"], row["loss"], row["validation_accuracy"]) for row in tiny_run.history]
    summary: dict[str, Any] = {}
    for record in records:
        summary |= items(record.summary.update) if record.HasField("summary") else {}
    accuracy = tiny_run.evaluation.figures["accuracy"]  # type: ignore[union-attr]
    told = [summary[f"test/accuracy{end}"] for end in ("", "_lower", "_upper")]
    assert told == pytest.approx([accuracy.value, *accuracy.interval])  # type: ignore[misc]
    artifacts = [{entry.path for entry in record.artifact.manifest.contents} for record in records]
    assert {Path(name).name for name in FILES} in artifacts
    assert not list(folder.rglob("requirements.txt"))
    assert not list(folder.rglob("wandb-metadata.json"))
    assert not any(record.HasField("stats") for record in records)


def test_a_run_that_is_gone_on_with_keeps_its_identity(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Tracker(read_address("wandb:p")).following(ABOUT, tmp_path / NOTE):
        raise KeyboardInterrupt
    before = (tmp_path / NOTE).read_text()
    with Tracker(read_address("wandb:p")).following(ABOUT, tmp_path / NOTE):
        pass
    assert (tmp_path / NOTE).read_text() == before
    identity = json.loads(before)["identity"]
    assert [path.name for path in offline.rglob("*.wandb")] == [f"run-{identity}.wandb"] * len(
        list(offline.glob("offline-run-*"))
    )


def test_who_is_not_logged_in_is_told_before_an_image_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(
        CannotWrite, match=r"nobody is logged in to Weights & Biases\. Run: wandb login; or set WANDB_MODE"
    ):
        sightline.train("mnist", out=tmp_path / "run", track="wandb:digits")
    assert not (tmp_path / "run").exists()
