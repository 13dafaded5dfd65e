"""What several test files share: a copy of the tiny run, the command line, a Ray, a user without rights."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sightline

# Shells start what runs in the background with Ctrl-C ignored, and what it starts inherits that: tests that send it
# would wait without end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_copy(tiny_run: sightline.Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.path, tmp_path / "run"))


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Types a command in an empty folder and hands back what it answered."""
    from sightline.cli.main import main

    monkeypatch.chdir(tmp_path)

    def type_in(*words: Any) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return type_in


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the tests of one file, which none of another file has filled."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    """The package, connected; what asks for `on="ray"` in this process finds it."""
    pytest.importorskip("ray", minversion="2.60")
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2**28,
        )
    yield ray
    ray.shutdown()
    os.environ.clear()
    os.environ |= before


@pytest.fixture(scope="session")
def processes_of_ray() -> Callable[..., list[int]]:
    """Finds the processes by which a cluster on this machine answers now, by how their command lines begin."""

    def find(called: str, *, below: int | None = None) -> list[int]:
        parents, found = {}, []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                if (place / "cmdline").read_text().startswith(called):
                    found.append(int(place.name))
            except (OSError, UnicodeDecodeError):
                continue

        def is_below(process: int) -> bool:
            while process > 1 and process != below:
                process = parents.get(process, 0)
            return process == below

        return found if below is None else list(filter(is_below, found))

    return find


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user for whom closed doors are closed, even where the tests run as root.

    What a test patches goes back later: such a user may be unable to return to the folder that the tests began in.
    """
    folder = Path(tempfile.mkdtemp(prefix="sightline-"))
    folder.chmod(0o777)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Answer]:
    """Runs a program in a fresh interpreter."""

    def run(program: str, *words: Any, **options: Any) -> Answer:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            **{"cwd": tmp_path, "timeout": 300, **options},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
