from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.deployment.web.runtime_files import GLUE, PACKAGE, SCRIPT, VARIABLE, VERSION, WASM, runtime_files
from sightline.errors import DownloadFailed, InvalidValue
from sightline.system.caches import entries

BY_HAND = rf"run: npm pack {PACKAGE}@{VERSION}, and name the file that it leaves: {VARIABLE}={PACKAGE}-{VERSION}\.tgz"


@pytest.fixture
def other_files(tmp_path: Path) -> Path:
    """A folder of another release."""
    folder = tmp_path / "other"
    folder.mkdir()
    for name in (SCRIPT, GLUE, WASM):
        (folder / name).write_bytes(b"another release")
    return folder


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program of that name first, and nothing in the cache."""
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)

    def put(script: str) -> None:
        place = tmp_path / "bin" / "npm"
        place.parent.mkdir()
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place.parent}{os.pathsep}{os.environ['PATH']}")

    return put


def test_another_release_is_refused_by_the_file_and_with_what_to_do(
    other_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(other_files))
    with pytest.raises(InvalidValue, match=rf"{SCRIPT} is not that of {VERSION}\)\. .*{BY_HAND}"):
        runtime_files()


def test_an_archive_without_the_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "some.tgz"
    with tarfile.open(place, "w:gz") as archive:
        archive.add(__file__, "package/README.md")
    monkeypatch.setenv(VARIABLE, str(place))
    with pytest.raises(InvalidValue, match=r"some\.tgz, which does not hold"):
        runtime_files()


def test_without_npm_it_is_said_what_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadFailed, match=BY_HAND):
        runtime_files()


@pytest.mark.skipif(os.name == "nt", reason="a program is no script there")
def test_what_npm_says_is_told_and_nothing_is_kept(npm: Callable[[str], None]) -> None:
    npm("echo 'no network here' >&2; exit 1")
    with pytest.raises(DownloadFailed, match=rf"npm did not bring {PACKAGE} {VERSION} \(no network here\)"):
        runtime_files()
    assert not list(entries())


@pytest.mark.skipif(os.name == "nt", reason="a program is no script there")
def test_a_package_of_other_content_is_not_kept(npm: Callable[[str], None], other_files: Path) -> None:
    with tarfile.open(other_files / "other.tgz", "w:gz") as archive:
        for name in (SCRIPT, GLUE, WASM):
            archive.add(other_files / name, f"package/dist/{name}")
    npm(f"cp {other_files / 'other.tgz'} onnxruntime-web.tgz")
    with pytest.raises(DownloadFailed, match=f"{SCRIPT} is not that of {VERSION}"):
        runtime_files()
    assert not list(entries())


@pytest.mark.skipif(os.name == "nt", reason="a program is no script there")
def test_what_npm_brought_is_kept_and_not_fetched_again(
    runs_on: Path, npm: Callable[[str], None], tmp_path: Path
) -> None:
    if not runs_on.is_dir():
        pytest.skip("a folder of its files is needed")
    with tarfile.open(tmp_path / "whole.tgz", "w:gz", compresslevel=1) as archive:
        for name in (SCRIPT, GLUE, WASM):
            archive.add(runs_on / name, f"package/dist/{name}")
    npm(f"cp {tmp_path / 'whole.tgz'} onnxruntime-web.tgz")
    first = runtime_files()
    (tmp_path / "whole.tgz").unlink()
    assert runtime_files() == first
    assert [entry.kind for entry in entries()] == [PACKAGE]
