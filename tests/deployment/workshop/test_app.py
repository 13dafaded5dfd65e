"""What the page asks, asked as it does: with the token, below one folder, by the commands of Sightline."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

SECRETS = ("/api/about", "/api/folder", "/api/look?source=photos", "/api/runs", "/api/jobs", "/shown/x", "/docs", "/x")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "token=a-token-of-a-test"}])
def test_without_the_token_nothing_is_told(studio: Any, headers: dict[str, str]) -> None:
    for path in SECRETS:
        reply = studio.ask("GET", path, headers=headers)
        assert (path, reply.status) == (path, 401)
        assert b"photos" not in reply.body


def test_without_the_token_nothing_is_begun(studio: Any, tmp_path: Path) -> None:
    body = json.dumps({"kind": "audit", "source": "photos"})
    assert studio.ask("POST", "/api/jobs", body, {}).status == 401
    assert studio.ask("POST", f"/api/jobs?token={studio.address[-17:]}", body, {}).status == 401
    assert not (tmp_path / ".sightline-studio").exists()


def test_the_page_is_shown_by_its_whole_address_alone(studio: Any) -> None:
    refused = studio.ask("GET", "/", headers={})
    assert (refused.status, "whole address" in refused.json["error"]) == (401, True)
    page = studio.ask("GET", studio.address.partition(str(studio.port))[2], headers={})
    assert page.status == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    files = re.findall(r'(?:src|href)="(page/[^"]+)"', page.body.decode())
    assert len(files) == 4
    assert all(studio.ask("GET", f"/{file}", headers={}).status == 200 for file in files)


def test_no_other_file_is_sent(studio: Any) -> None:
    for file in ("../app.py", "studio/../../app.py", "studio/%2e%2e/app.py", "studio/nothing.js"):
        assert (file, studio.get(f"/page/{file}").status) == (file, 404)


def test_a_page_that_has_its_name_lead_here_is_refused(studio: Any) -> None:
    reply = studio.ask("GET", "/api/about", headers={"Host": "evil.example", "Authorization": "Bearer x"})
    assert reply.status == 421


def test_a_folder_is_chosen_and_looked_at(studio: Any) -> None:
    assert studio.get("/api/folder").json["folders"][-1] == {
        "name": "photos",
        "path": "photos",
        "num_folders": 3,
        "num_images": 0,
    }
    found = studio.get("/api/look?source=photos").json
    assert [(one["name"], one["count"], len(one["rows"])) for one in found["classes"]] == [
        ("cat", 4, 4),
        ("dog", 4, 4),
        ("owl", 4, 4),
    ]
    assert found["recipe"] == "transfer"
    rows = [found["classes"][1]["rows"][0], "owl/3.png", "owl/none.png", -1, True, None]
    pictures = studio.post("/api/pictures", {"source": "photos", "rows": rows}).json["pictures"]
    assert pictures[0]["is_small"]
    assert base64.b64decode(pictures[1]["address"].partition(",")[2]).startswith(b"\x89PNG")
    assert pictures[2:4] + pictures[5:] == [None, None, None]


def test_pictures_of_files_that_were_moved_are_found(
    studio: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.deployment.workshop.looking._STALE_SECONDS", 0.0)
    studio.get("/api/look?source=photos")
    shutil.move(photos / "cat" / "0.png", photos / "dog" / "new.png")
    found = studio.post("/api/pictures", {"source": "photos", "rows": ["dog/new.png", "cat/0.png"]}).json["pictures"]
    assert [picture is None for picture in found] == [False, True]


def test_what_is_none_is_refused_in_words(studio: Any) -> None:
    for path in ("folder?path=../", "look?source=/etc", "look", "look?source=gone", "run?run=photos", "jobs/0009"):
        reply = studio.get(f"/api/{path}")
        assert (path, reply.status) == (path, 400)
        assert reply.json["error"].endswith(".")
        assert "Traceback" not in reply.json["error"]


def test_the_audit_tells_its_findings_in_words_with_pictures(studio: Any, photos: Path) -> None:
    shutil.copy(photos / "cat" / "0.png", photos / "dog" / "copy.png")
    (photos / "owl" / "broken.png").write_bytes(b"no picture")
    job = studio.done(kind="audit", source="photos")
    assert (job["state"], job["code"], job["command"]) == ("done", 1, "sightline audit photos")
    groups = {group["kind"]: group for group in job["result"]["groups"]}
    assert set(groups["contradicting-labels"]["findings"][0]["paths"]) == {"cat/0.png", "dog/copy.png"}
    assert groups["unreadable"]["title"] == "files that cannot be read as images"
    assert job["result"]["counts"]["error"] == 2
    assert [told["name"] for told in studio.get("/api/jobs").json["jobs"]] == [job["name"]]


def test_the_command_is_told_before_it_is_begun(studio: Any, tmp_path: Path) -> None:
    asked = {"kind": "train", "source": "photos", "recipe": "fast", "minutes": 1}
    told = studio.post("/api/command", asked).json["command"]
    assert told == "sightline train photos --recipe fast --time-budget 60 --out runs/photos-fast-001"
    assert not (tmp_path / ".sightline-studio").exists()


@pytest.fixture
def finished(run: Path, tmp_path: Path) -> str:
    """A run where the studio looks for it, as far as its bundle goes."""
    shutil.copytree(run, tmp_path / "runs" / "first")
    return "runs/first"


def test_pictures_are_answered_by_the_bundle_of_a_run(studio: Any, finished: str, photos: Path) -> None:
    content = (photos / "dog" / "1.png").read_bytes()
    reply = studio.ask("POST", f"/api/predict?model={finished}&top=2", content, image(studio))
    assert reply.status == 200
    (row,) = reply.json["images"]
    assert row["label"] == "dog"
    assert (len(row["top"]), row["top"][0]["label"]) == (2, "dog")
    unreadable = studio.ask("POST", f"/api/predict?model={finished}", b"no picture", image(studio))
    assert (unreadable.status, unreadable.json["images"][0]["label"]) == (422, None)
    assert studio.ask("POST", "/api/predict?model=photos", content, image(studio)).status == 400
    assert studio.ask("POST", f"/api/predict?model={finished}", content, {}).status == 401


def test_a_bundle_that_vanished_is_told(studio: Any, finished: str, photos: Path, tmp_path: Path) -> None:
    content = (photos / "dog" / "1.png").read_bytes()
    assert studio.ask("POST", f"/api/predict?model={finished}", content, image(studio)).status == 200
    shutil.rmtree(tmp_path / finished / "bundle")
    for _ in range(2):
        reply = studio.ask("POST", f"/api/predict?model={finished}", content, image(studio))
        assert (reply.status, "its bundle is gone" in reply.json["error"]) == (400, True)


def test_a_name_that_no_file_has_is_refused_in_words(studio: Any, finished: str) -> None:
    asked = {"kind": "sort", "run": finished, "source": "photos", "into": "\ud800"}
    for path in ("/api/jobs", "/api/command"):
        reply = studio.post(path, asked)
        assert (path, reply.status, reply.json["error"][:6]) == (path, 400, "a path")


def image(studio: Any) -> dict[str, str]:
    token = studio.address.partition("token=")[2]
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}


@pytest.mark.slow
def test_a_folder_is_planned_sorted_and_taken_back(studio: Any, finished: str, photos: Path, tmp_path: Path) -> None:
    asked = {"run": finished, "source": "photos", "into": "sorted", "by": "move", "min_confidence": 0.0}
    planned = studio.done(kind="plan", **asked)
    assert (planned["state"], planned["result"]["did"], planned["result"]["num_files"]) == ("done", "planned", 12)
    assert len(list(photos.rglob("*.png"))) == 12
    page = studio.ask("GET", f"/{planned['page']}", headers={})
    assert page.status == 200
    assert b"photos" in page.body
    done = studio.done(kind="sort", **asked)
    assert (done["result"]["did"], not list(photos.rglob("*.png"))) == ("sorted", True)
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 12
    assert studio.done(kind="undo", into="sorted")["result"]["did"] == "undone"
    assert len(list(photos.rglob("*.png"))) == 12


@pytest.mark.slow
def test_a_run_is_exported(studio: Any, finished: str, tmp_path: Path) -> None:
    exported = studio.done(kind="export", run=finished, format="onnx")
    assert (exported["state"], exported["command"]) == ("done", f"sightline export {finished} onnx")
    assert (tmp_path / finished / "exports" / "onnx" / "parity.json").is_file()


def test_a_report_is_shown_as_a_strangers_page(studio: Any, finished: str, tmp_path: Path) -> None:
    (tmp_path / finished / "report.html").write_text("<script>top.location = 'https://evil.example'</script>")
    told = studio.get(f"/api/run?run={finished}").json
    page = studio.ask("GET", f"/{told['report']}", headers={})
    policy = page.headers["content-security-policy"]
    assert page.status == 200
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    # The address shows this file alone, and is no token.
    ticket = told["report"].partition("/")[2]
    assert studio.ask("GET", "/api/about", headers={"Authorization": f"Bearer {ticket}"}).status == 401
    assert studio.ask("POST", f"/{told['report']}", "", {}).status == 401


def test_a_report_that_is_a_link_to_elsewhere_is_not_shown(studio: Any, finished: str, tmp_path: Path) -> None:
    (tmp_path.parent / f"{tmp_path.name}-secret.html").write_text("secret")
    (tmp_path / finished / "report.html").symlink_to(tmp_path.parent / f"{tmp_path.name}-secret.html")
    assert studio.get(f"/api/run?run={finished}").json["report"] is None


@pytest.mark.slow
@pytest.mark.soak
def test_a_training_is_begun_stopped_and_gone_on_with(
    studio: Any, open_studio: Any, small_npz: Path, tmp_path: Path
) -> None:
    shutil.copy(small_npz, tmp_path / "digits.npz")
    begun = studio.post("/api/jobs", {"kind": "train", "source": "digits.npz", "recipe": "fast"}).json
    run = begun["about"]["run"]
    assert run == "runs/digits-fast-001"
    while (history := studio.get(f"/api/run?run={run}")).status != 200 or len(history.json["history"]) < 2:
        assert studio.get(f"/api/jobs/{begun['name']}").json["state"] == "running"
        time.sleep(0.3)  # each look takes something from what is looked at
    assert history.json["state"] == "running"
    # Another studio over the same folder sees it, too, and stops it.
    other = open_studio(tmp_path)
    assert other.post(f"/api/jobs/{begun['name']}/stop", {}).status == 200
    assert studio.end_of(begun["name"])["state"] == "stopped"
    assert studio.get(f"/api/run?run={run}").json["state"] == "interrupted"
    resumed = studio.end_of(studio.post("/api/jobs", {"kind": "resume", "run": run}).json["name"], seconds=180)
    assert (resumed["state"], resumed["command"]) == ("done", f"sightline resume {run}")
    told = studio.get(f"/api/run?run={run}").json
    assert (told["state"], len(told["history"])) == ("finished", 16)
    assert studio.get("/api/runs").json["runs"][0]["accuracy"] > 0.5
    assert studio.done(kind="report", run=run)["state"] == "done"
    assert studio.ask("GET", f"/{studio.get(f'/api/run?run={run}').json['report']}", headers={}).status == 200


# Stands in for a browser: what it is called with, what lies there, and who may read it.
BROWSER = """import pathlib, sys, urllib.parse
place = pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(sys.argv[1]).path))
pathlib.Path(sys.argv[2]).write_text(f"{sys.argv[1]} {place.stat().st_mode & 0o077} {place.read_text()}")
"""


@pytest.mark.slow
def test_the_command_leads_a_browser_to_its_address_and_ends_in_peace(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "browser.py").write_text(BROWSER)
    told = tmp_path / "told.txt"
    environment = {**os.environ, "BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s {told}"}
    typed = [sys.executable, "-m", "sightline", "studio", str(photos)]
    with subprocess.Popen(typed, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"the studio is at (http://127\.0\.0\.1:\d+/\?token=([\w-]{43}))$", line)
        assert found, line
        with urllib.request.urlopen(found[1], timeout=20) as page:
            assert b"Sightline studio" in page.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    called, others, content = told.read_text().split(" ", 2)
    # Everybody on a machine sees what a program is called with.
    assert (found[2] in called, others, html.escape(found[1]) in content) == (False, "0", True)
    assert not Path(urllib.parse.unquote(urllib.parse.urlsplit(called).path)).exists()


def test_what_is_no_folder_and_no_port_is_refused(command: Any, tmp_path: Path) -> None:
    refused = command("studio", "nowhere")
    assert (refused.code, "nowhere: no such folder" in refused.err) == (2, True)
    refused = command("studio", tmp_path, "--port", "70000", "--no-browser")
    assert (refused.code, "port must be a whole number" in refused.err) == (2, True)
