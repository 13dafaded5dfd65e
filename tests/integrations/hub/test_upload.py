"""A bundle there and back by the hub's own client, and what is told where the hub refuses, or is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidBundle, InvalidValue

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
NAME = "some-one/digits_v1"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(sightline.load("mnist").images[7, :, :, 0]).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


@pytest.mark.slow
def test_a_bundle_is_uploaded_and_answers_from_there_as_here(
    tiny_run: sightline.Run, hub: Any, sightline_at, picture: Path, tmp_path: Path
) -> None:
    hub.repositories[NAME] = {
        "bundle/thumbnails.npz": b"of before",
        "notes.txt": b"of its owner",
        ".gitattributes": b"",
    }
    done = sightline_at("publish", tiny_run.path, "--out", "out", "--hub", NAME, "--licence", "cc-by-sa-3.0")
    assert done.returncode == 0, done.stderr
    assert f"uploaded   {hub.address}/{NAME}\n" in done.stdout
    assert hub.token not in done.stdout + done.stderr
    files = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert hub.repositories[NAME] == files | {"notes.txt": b"of its owner"}, "old files of the bundle are gone"
    there = sightline_at("predict", f"hf://{NAME}", picture, "--json", is_logged_in=False)
    here = sightline_at("predict", tiny_run.path, picture, "--json")
    assert there.returncode == here.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    assert json.loads(here.stdout)["confidence"] > 0
    fetched = [re.sub(r".*/resolve/\w+/", "", line) for line in hub.asked if "/resolve/" in line]
    assert "notes.txt" not in fetched, "nothing is fetched but what a bundle may have"
    # From the cache, where there is no network; and by its commit.
    hub.asked.clear()
    hub.status = 503
    again = sightline_at("predict", f"hf://{NAME}@{hub.commit(NAME)}", picture, "--json", is_logged_in=False)
    assert (again.returncode, again.stdout) == (0, here.stdout), again.stderr


@pytest.mark.slow
def test_a_signed_bundle_is_trusted_from_the_hub_whose_cache_is_made_of_links(
    tiny_run: sightline.Run, hub: Any, sightline_at, picture: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    from sightline.system.signatures import new_key

    keys = [new_key(tmp_path / f"{name}.pem") for name in ("mine", "other")]
    made = sightline.publish(tiny_run, out=tmp_path / "out")
    sightline.sign(made.path, tmp_path / "mine.pem")
    hub.repositories[NAME] = {f"bundle/{path.name}": path.read_bytes() for path in made.bundle.iterdir()}
    for key, code in zip(keys, (0, 2), strict=True):
        done = sightline_at("predict", f"hf://{NAME}", picture, "--trusted", key, is_logged_in=False)
        assert done.returncode == code, done.stderr
    with pytest.raises(InvalidBundle, match=r"hf://a/b: it lies on the hub\. Sign the folder"):
        sightline.sign("hf://a/b", tmp_path / "mine.pem")


@pytest.mark.slow
def test_a_new_repository_is_private_unless_it_is_said_to_be_public(
    tiny_run: sightline.Run, hub: Any, sightline_at
) -> None:
    for name, words in (("me/first", ()), ("me/second", ("--public",))):
        done = sightline_at("publish", tiny_run.path, "--out", name, "--hub", name, *words, "--json", "--quiet")
        assert json.loads(done.stdout)["page"] == f"{hub.address}/{name}", done.stderr
        assert done.stderr == ""
    assert hub.private == {"me/first": True, "me/second": False}


@pytest.mark.slow
def test_nothing_is_sent_unless_a_repository_is_named(tiny_run: sightline.Run, hub: Any, sightline_at) -> None:
    done = sightline_at("publish", tiny_run.path, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "uploaded   nothing" in done.stdout
    assert hub.asked == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the hub does not take the login of this machine. Run: hf auth login."),
        (403, "whoever is logged in here may not write there"),
        (413, "the hub answers with status 413"),
    ],
)
def test_an_upload_that_is_refused_leaves_the_folder_and_tells_no_token(
    status: int, words: str, tiny_run: sightline.Run, hub: Any, sightline_at, tmp_path: Path
) -> None:
    hub.status = status
    done = sightline_at("publish", tiny_run.path, "--out", "out", "--hub", NAME)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sightline publish: --hub {NAME}: {words.rstrip('.')}")
    assert "What was written to out is whole; the same command with --overwrite tries again." in done.stderr
    assert hub.token not in done.stderr
    assert sightline.verify(tmp_path / "out")


def test_nobody_is_logged_in_is_told_before_anything_is_written(
    tiny_run: sightline.Run, hub: Any, sightline_at, tmp_path: Path
) -> None:
    done = sightline_at("publish", tiny_run.path, "--out", "out", "--hub", NAME, is_logged_in=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"sightline publish: --hub {NAME}: nobody is logged in to the hub on this machine. Run: hf auth login\n"
    )
    assert not (tmp_path / "out").exists()
    assert hub.asked == []


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        (
            "hf://no/such",
            None,
            "hf://no/such: no such repository or revision is there for you. If it is",
        ),
        (f"hf://{NAME}@gone", None, f"hf://{NAME}@gone: no such repository or revision"),
        (f"hf://{NAME}", None, f"hf://{NAME}: there is no bundle of Sightline in it, as it has no manifest.json."),
        (f"hf://{NAME}", 500, f"hf://{NAME}: "),
    ],
)
def test_an_address_without_a_bundle_is_refused_in_a_sentence(
    address: str, status: int | None, words: str, hub: Any, sightline_at, picture: Path
) -> None:
    hub.repositories[NAME] = {"README.md": b"# nothing"}
    hub.status = status
    done = sightline_at("predict", address, picture, is_logged_in=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"sightline predict: {words}"), done.stderr
    assert hub.token not in done.stderr


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf://", "hf://: no repository is called so. Name OWNER/NAME"),
        ("hf://one", "hf://one: no repository is called so"),
        ("hf://a/b/c", "hf://a/b/c: no repository is called so"),
        ("hf://a/../b", "hf://a/../b: no repository is called so"),
        ("hf://a/b@", "hf://a/b@: no address of a bundle"),
        (Path("hf://a/b/c"), "hf://a/b/c: no repository is called so"),
    ],
)
def test_what_is_no_address_is_refused_without_asking_anybody(address: Any, words: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{re.escape(words)}"):
        sightline.reopen(address)


def test_a_hub_that_is_not_there_is_told(sightline_at, hub: Any, picture: Path) -> None:
    hub.address = "http://127.0.0.1:1"
    done = sightline_at("predict", "hf://a/b", picture, is_logged_in=False)
    assert done.returncode == 2
    assert done.stderr.startswith("sightline predict: hf://a/b: the hub cannot be reached, and its cache on"), (
        done.stderr
    )


@pytest.mark.parametrize("call", ["sightline.reopen('hf://a/b')", "sightline.publish(run, out='out', hub='a/b')"])
def test_a_missing_client_is_told_with_the_extra_that_brings_it(call: str, python, tiny_run: sightline.Run) -> None:
    program = f"""
import sys, sightline
sys.modules["huggingface_hub"] = None
run = {str(tiny_run.path)!r}
try:
    {call}
except sightline.SightlineError as error:
    print(type(error).__name__, error)
"""
    answer = python(program)
    assert (
        "needs the package 'huggingface_hub', which is not installed. Run: pip install 'sightline[hub]'" in answer.out
    )
