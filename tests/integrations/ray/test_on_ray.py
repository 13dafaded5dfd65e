"""What is done on a cluster is what is done here, byte for byte, and what is wrong with one is said in words."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.errors import InvalidValue, MissingPackage, NotReached, OutputExists
from sightline.integrations.ray import cluster as cluster_module
from sightline.integrations.ray.cluster import check_on, joined
from sightline.integrations.ray.workers import cluster_map
from sightline.system.progress import reporting


def slow_double(item: tuple[int, str]) -> int:
    number, place = item
    Path(place, f"{number}-{time.monotonic_ns()}.{os.getpid()}").touch()
    time.sleep(0.3)
    return 2 * number


def refused(item: int) -> int:
    if item == 3:
        raise InvalidValue("three is no number of ours.")
    return item


def broken(item: int) -> float:
    return 1 / item


def ends_its_process(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.deployment.bulk.parts.PART", 64)


@pytest.mark.slow
def test_a_file_is_the_same_byte_for_byte_as_of_one_machine(
    ray_here, tiny_run, many, in_small_parts, monkeypatch
) -> None:
    monkeypatch.chdir(many.parent)  # names as they are typed, from a folder that workers have to find
    for ending, options in (
        (".csv", {"probabilities": True}),
        (".jsonl", {"features": True}),
        (".parquet", {"top": 2}),
    ):
        named = ["many", "packed.zip"]
        one, other = Path(f"one{ending}"), Path(f"other{ending}")
        sightline.predict_into(tiny_run, named, one, progress=False, **options)
        written = sightline.predict_into(tiny_run, named, other, on="ray", progress=False, **options)
        assert other.read_bytes() == one.read_bytes()
        assert (written.num_images, written.num_unreadable, written.num_before) == (600, 4, 0)
    assert sorted(path.name for path in many.parent.iterdir() if "other" in path.name) == [
        "other.csv",
        "other.jsonl",
        "other.parquet",
    ]


@pytest.mark.slow
def test_a_folder_holds_the_parts_and_is_whole_once(ray_here, tiny_run, many, in_small_parts, command) -> None:
    said = command("predict", tiny_run.path, many, "--out", "answers", "--on", "ray")
    assert said.code == 1  # two of them cannot be read
    assert "2 could not be read" in said.out
    sightline.predict_into(tiny_run, many, many.parent / "one.jsonl", progress=False)
    parts = sorted(Path("answers").glob("part-*.jsonl"))
    assert len(parts) == 5
    assert b"".join(path.read_bytes() for path in parts) == (many.parent / "one.jsonl").read_bytes()
    again = command("predict", tiny_run.path, many, "--out", "answers", "--on", "ray")
    assert again.code == 2
    assert "came to its end" in again.err


@pytest.mark.slow
def test_whoever_is_killed_every_result_comes_once_and_in_order(ray_here, tmp_path, capsys) -> None:
    stop = threading.Event()

    def kill_now_and_then() -> None:
        killed = 0
        while killed < 3 and not stop.wait(0.2):
            if len(seen := sorted(tmp_path.iterdir(), key=lambda path: path.name.split("-")[1])) > 4 * (killed + 1):
                os.kill(int(seen[-1].suffix[1:]), signal.SIGKILL)
                killed += 1

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    with reporting("plain"), cluster_map("ray") as each:
        found = list(each(slow_double, ((number, str(tmp_path)) for number in range(24))))
    stop.set()
    killer.join()
    assert found == [2 * number for number in range(24)]
    assert "ended; another one does its work" in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_work_raises_is_raised_here_and_says_where(ray_here) -> None:
    with cluster_map("ray") as each:
        results = each(refused, range(6))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InvalidValue, match=r"on .* \(node \w{8}\): three is no number of ours"):
            next(results)
        with pytest.raises(ZeroDivisionError) as caught:
            list(each(broken, [1, 0]))
        assert "(node " in caught.value.__notes__[0]


@pytest.mark.slow
def test_what_ends_every_worker_is_named_and_the_others_are_done(ray_here) -> None:
    with cluster_map("ray") as each, reporting("quiet"):
        results = each(ends_its_process, range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(NotReached, match="5 workers ended over the same piece of work"):
            next(results)


@pytest.mark.parametrize("on", ["rya", "ray:/x", "ray://", "ray://a b", "ray://x:0", "ray://x:99999", "", 3, True])
def test_what_names_no_cluster_is_refused(on) -> None:
    with pytest.raises(InvalidValue, match=r"on must name where the work is done; got .* Known: ray"):
        check_on(on)


def test_a_head_that_is_not_there_is_said_at_once(tiny_run, many, command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        began = time.monotonic()
        said = command("predict", tiny_run.path, many, "--out", "a.csv", "--on", f"ray://127.0.0.1:{port}")
    assert (said.code, "refused" in said.err, f"ray://127.0.0.1:{port}" in said.err) == (2, True, True)
    assert time.monotonic() - began < 12
    assert not list(Path().glob("a.csv*"))


def test_a_head_of_the_environment_that_is_not_there_is_said_at_once(tiny_run, many, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(NotReached, match=r"RAY_ADDRESS 127\.0\.0\.1:\d+: Connection refused\. Start a head"):
            sightline.predict_into(tiny_run, many, many.parent / "a.csv", on="ray", progress=False)


def test_ray_that_is_missing_or_older_is_said_with_the_remedy(monkeypatch) -> None:
    import sys
    import types

    old = types.ModuleType("ray")
    old.__version__ = "2.9.3"
    monkeypatch.setitem(sys.modules, "ray", old)
    with pytest.raises(MissingPackage, match=r"needs Ray 2\.60 or later, and 2\.9\.3 is installed"), joined("ray"):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackage, match=r"pip install 'sightline\[ray\]'"), joined("ray"):
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--on", "ray"), "Name a file or a folder: --out FILE"),
        (("--on", "ray", "--csv", "a.csv"), "Name a file or a folder: --out FILE"),
        (("--on", "ray", "--out", "a.csv", "--json"), "Leave out one"),
        (("--on", "dask", "--out", "a.csv"), "got 'dask'"),
        (("--on", "ray", "--out", "a.txt"), "the ending says what is written"),
        (("--on", "ray", "--out", "many/answers"), "belongs to"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tiny_run, many, command, words, message) -> None:
    said = command("predict", tiny_run.path, "many", *words)
    assert said.code == 2
    assert message in said.err


def test_map_and_on_are_not_taken_together(tiny_run, many) -> None:
    with pytest.raises(InvalidValue, match="Pass one of them"):
        sightline.predict_into(tiny_run, many, many.parent / "a.csv", map=map, on="ray")


def test_a_stopped_command_of_one_machine_is_not_lost(ray_here, tiny_run, many) -> None:
    out = many.parent / "a.csv"
    (many.parent / "a.csv.partial").write_text("1")
    with pytest.raises(OutputExists, match=r"a\.csv\.partial holds answers of a command that was stopped"):
        sightline.predict_into(tiny_run, many, out, on="ray", progress=False)


def test_ray_is_told_not_to_report_home(monkeypatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    pytest.importorskip("ray")
    cluster_module._package()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_an_audit_finds_the_same(ray_here, many, command) -> None:
    photos = many.parent / "photos"
    draw = np.random.default_rng(1)
    for number in range(300):
        place = photos / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 48))
        coarse.save(place / f"{number:03d}.png")
        if number % 50 == 0:
            coarse.save(place / f"{number:03d}-again.jpg", quality=60)
    (photos / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    here, there = command("audit", photos, "--json"), command("audit", photos, "--json", "--on", "ray")
    assert there.out == here.out
    assert '"near-copies' in here.out or "near" in here.out
    assert here.code == there.code == 1
    found = sightline.audit(photos, on="ray", mode="quiet")
    assert found.findings == sightline.audit(photos, mode="quiet").findings


@pytest.mark.slow
def test_a_folder_is_sorted_by_the_same_answers(ray_here, tiny_run, many, monkeypatch, command) -> None:
    monkeypatch.setattr("sightline.deployment.predict_into.PART", 64)
    asked = ("sort", tiny_run.path, many, "--min-confidence", "0.3", "--json", "--by", "copy")
    here, there = command(*asked, "--into", "here"), command(*asked, "--into", "there", "--on", "ray")
    assert here.code == there.code == 1  # two of them cannot be read
    assert here.out.replace(str(Path("here").absolute()), "") == there.out.replace(str(Path("there").absolute()), "")
    ours = [sorted(str(path.relative_to(place)) for path in Path(place).rglob("*.png")) for place in ("here", "there")]
    assert ours[0] == ours[1]
    assert len(ours[0]) == 300


@pytest.mark.slow
@pytest.mark.soak
def test_members_of_an_ensemble_are_those_of_as_many_processes_here(ray_here, small_npz, tmp_path) -> None:
    keys = {"model.name": "mlp", "training.epochs": 2, "ensemble.kind": "deep", "ensemble.members": 3}
    recipe = sightline.recipe("fast", keys)
    here = sightline.train(small_npz, recipe=recipe, out=tmp_path / "here", jobs=2, mode="quiet")
    there = sightline.train(small_npz, recipe=recipe, out=tmp_path / "there", jobs=2, on="ray", mode="quiet")
    assert there.evaluation.figures == here.evaluation.figures
    with np.load(here.path / "predictions.npz") as one, np.load(there.path / "predictions.npz") as other:
        assert one.files == other.files
        assert all(np.array_equal(one[name], other[name]) for name in one.files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "ray"}, "on='ray' trains members of an ensemble at once, and there is none"),
        ({"on": "dask"}, "got 'dask'"),
        ({"on": "ray", "kind": "boosting"}, "are trained in turn. Leave on out"),
    ],
)
def test_trainings_that_nothing_can_be_spread_over_are_refused(small_npz, options, message) -> None:
    recipe = sightline.recipe("fast", {"ensemble.kind": options.get("kind", "none"), "model.name": "mlp"})
    with pytest.raises(InvalidValue, match=message):
        sightline.train(small_npz, recipe=recipe, on=options["on"], mode="quiet")


@pytest.mark.slow
@pytest.mark.soak
def test_trials_of_a_search_are_those_of_as_many_processes_here(ray_here, small_npz, tmp_path) -> None:
    pytest.importorskip("optuna")
    recipe = sightline.recipe("fast", {"model.name": "mlp", "training.epochs": 2, "optimizer.name": "adamw"})
    asked = {"recipe": recipe, "trials": 3, "vary": ["optimizer.learning_rate=1e-3..1e-2:log"], "jobs": 2}
    here = sightline.search(small_npz, out=tmp_path / "here", mode="quiet", **asked)
    there = sightline.search(small_npz, out=tmp_path / "there", mode="quiet", on="ray", **asked)
    assert there.recipe == here.recipe
    assert there.figures["test"] == here.figures["test"]
