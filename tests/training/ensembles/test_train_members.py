"""Ensembles from the first member to the bundle: members missing, lost, failed, in several processes, and joined."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.sessions import open_session
from sightline.bundles.trust.abstention import read_answer_record
from sightline.bundles.trust.sets import read_certificate
from sightline.configuration.recipes import recipe as named_recipe
from sightline.errors import InvalidValue, TrainingFailed
from sightline.metrics.classification import softmax
from sightline.metrics.ensembles import ensemble_logits
from sightline.system.backends import installed_backends, load_keras
from sightline.system.progress import reporting
from sightline.system.workers import process_map

keras = load_keras()

from sightline.training.ensembles import train_members as module  # noqa: E402  # the backend is chosen first
from sightline.training.ensembles.members import Member, load_member, read_member, train_answers  # noqa: E402
from sightline.training.ensembles.train_members import (  # noqa: E402
    Ensemble,
    _mean_course,
    ensemble_summary,
    outcome_of_lost_process,
    train_ensemble,
)
from sightline.training.ensembles.weight_averaging import weight_average  # noqa: E402


@pytest.fixture(scope="module")
def bagged(corners: dict[str, np.ndarray], small_recipe, tmp_path_factory: pytest.TempPathFactory) -> sightline.Run:
    """Three members by bagging, on rows that belong together by twos, seen in five views."""
    out = tmp_path_factory.mktemp("runs") / "bagged"
    source = sightline.load(corners, name="corners")
    source = dataclasses.replace(source, groups=np.array([f"pair {row // 6}-{row % 3}" for row in range(180)]))
    recipe = small_recipe({"ensemble.kind": "bagging", "ensemble.test_views": "shifts"})
    return sightline.train(source, recipe=recipe, out=out, mode="quiet")


def _fit(job, data, **options):
    with reporting("quiet"):
        return train_ensemble(job, data, **options)


def _bytes_of(network) -> list[bytes]:
    return [array.tobytes() for array in network.get_weights()]


def test_the_bundle_loads_in_plain_keras_and_answers_as_the_run_says(bagged: sightline.Run, corners, python) -> None:
    program = """
import json, sys
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
images = np.load(sys.argv[2])["x_test"][..., None]
assert not [name for name in sys.modules if name.startswith("sightline")]
print(json.dumps({name: np.asarray(value).tolist() for name, value in model(images).items()}))
"""
    images = bagged.path.parent / "images.npz"
    np.savez(images, x_test=corners["x_test"])
    answer = python(program, bagged.bundle.path / "model.keras", images)
    assert answer.code == 0, answer.err
    told = {name: np.array(value) for name, value in json.loads(answer.out).items()}
    assert set(told) == {"features", "logits", "member_logits", "disagreement"}
    with np.load(bagged.path / "predictions.npz") as saved:
        np.testing.assert_allclose(told["logits"], saved["test_logits"], atol=1e-4)
        np.testing.assert_allclose(told["member_logits"], saved["test_member_logits"], atol=1e-4)
    np.testing.assert_allclose(ensemble_logits(told["member_logits"], [1, 1, 1]), told["logits"], atol=1e-4)


def test_predictions_of_an_ensemble_say_how_many_members_disagree(bagged: sightline.Run, corners) -> None:
    predictions = sightline.predict(bagged, corners["x_test"], progress=False)
    with np.load(bagged.path / "predictions.npz") as saved:
        named = saved["test_member_logits"].argmax(axis=2)
        expected = (named != saved["test_logits"].argmax(axis=1)[:, None]).mean(axis=1)
    np.testing.assert_allclose(predictions.disagreements, expected, atol=1e-6)
    assert predictions.disagreements.max() > 0


def test_the_chosen_epoch_of_an_ensemble_is_the_mean_of_its_members() -> None:
    def member(number: int, *losses: float, chosen: int) -> Member:
        history = tuple({"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, start=1))
        return Member(number, "mlp", number, history, chosen, len(losses) < 5, 10.0 * number, 100.0 * number)

    course = _mean_course((member(1, 5, 4, chosen=1), member(2, 3, 2, 1, 4, 5, chosen=3), member(3, 1, 3, 2, chosen=2)))
    assert (course.chosen_epoch, course.stopped_early) == (2, True)
    assert [row["epoch"] for row in course.history] == [1, 2, 3, 4, 5]
    assert [row["loss"] for row in course.history] == [3, 3, 1.5, 4, 5]
    # Images of all members by the seconds of all.
    assert course.images_per_second == pytest.approx((100 * 10 + 200 * 20 + 300 * 30) / 60)


def test_the_run_tells_of_its_members(bagged: sightline.Run) -> None:
    figures = json.loads((bagged.path / "metrics.json").read_text())["ensemble"]
    assert figures == json.loads((bagged.bundle.path / "metrics.json").read_text())["ensemble"]
    assert (figures["kind"], len(figures["members"])) == ("bagging", 3)
    with np.load(bagged.path / "predictions.npz") as saved:
        named, labels = saved["test_member_logits"].argmax(axis=2), saved["test_labels"]
    for index, member in enumerate(figures["members"]):
        assert (member["number"], member["network"], member["seed"]) == (index + 1, "mlp", index)
        assert (member["vote"], member["epochs"]) == (1.0, 2)
        assert member["test"]["num_correct"] == int((named[:, index] == labels).sum())
        assert member["validation"]["num_images"] == bagged.validation.num_images
    for split in ("validation", "test"):
        with np.load(bagged.path / "predictions.npz") as saved:
            named, together = saved[f"{split}_member_logits"].argmax(axis=2), saved[f"{split}_logits"].argmax(axis=1)
        assert figures["disagreement"][split] == pytest.approx((named != together[:, None]).mean())
    assert len(bagged.history) == bagged.chosen_epoch == 2
    rows = [json.loads(line) for line in (bagged.path / "history.jsonl").read_text().splitlines()]
    lone = [
        [json.loads(line) for line in (bagged.path / f"members/0{number}/history.jsonl").read_text().splitlines()]
        for number in (1, 2, 3)
    ]
    for epoch, row in enumerate(rows):
        assert row["epoch"] == epoch + 1
        assert row["loss"] == pytest.approx(np.mean([history[epoch]["loss"] for history in lone]))


def test_a_member_with_the_smallest_vote_is_still_told_as_heard() -> None:
    members = tuple(Member(number, "mlp", number, (), 1, False, 1.0, 1.0) for number in (1, 2))
    told = ensemble_summary(Ensemble(None, None, members, np.array([1e-9, 2.0])), "boosting")  # type: ignore[arg-type]
    assert [member["vote"] for member in told["members"]] == [1e-9, 2.0]


def test_no_group_is_both_in_the_bag_and_out_of_it(bagged: sightline.Run) -> None:
    groups, train = bagged.splits.groups, bagged.splits.train
    for number in (1, 2, 3):
        with np.load(bagged.path / f"members/0{number}/train_answers.npz") as answers:
            out = answers["rows"]
        within = np.setdiff1d(train, out)
        assert len(out)
        assert not set(groups[out]) & set(groups[within])


def test_figures_out_of_the_bag_are_of_members_that_did_not_see_the_row(bagged: sightline.Run, corners) -> None:
    heard: dict[int, list[np.ndarray]] = {}
    for number in (1, 2, 3):
        with np.load(bagged.path / f"members/0{number}/train_answers.npz") as answers:
            for row, logits in zip(answers["rows"], answers["logits"], strict=True):
                heard.setdefault(int(row), []).append(softmax(logits[None])[0])
    labels = np.concatenate([corners["y_train"], corners["y_test"]])
    correct = sum(int(np.argmax(sum(parts)) == labels[row]) for row, parts in heard.items())
    told = bagged.ensemble["out_of_bag"]
    assert (told["num_images"], told["num_correct"]) == (len(heard), correct)
    assert set(heard) <= set(bagged.splits.train.tolist())


def test_the_card_tells_that_it_is_an_ensemble(bagged: sightline.Run) -> None:
    text = (bagged.bundle.path / "card.md").read_text()
    assert "It is an ensemble (bagging: 3 of mlp); their answers are averaged. Alone, they are right on 0." in text


def test_an_ensemble_is_evaluated_compared_and_asked_for_likeness_like_any_network(
    bagged: sightline.Run, corners, command, tmp_path: Path
) -> None:
    for row in range(6):
        Image.fromarray(corners["x_test"][row]).save(tmp_path / f"{row}.png")
    (tmp_path / "7.png").write_text("no picture")
    source = tmp_path / "corners.npz"
    np.savez(source, **corners)
    answer = command("evaluate", bagged.path, source, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["num_correct"] == bagged.evaluation.num_correct
    other = shutil.copytree(bagged.path, tmp_path / "other")
    assert "not distinguishable on 60 images" in command("compare", bagged.path, other).out
    found = sightline.similar(bagged, tmp_path / "0.png", folder=[tmp_path / f"{row}.png" for row in (1, 2, 3)])
    assert len(found.paths) == 3
    width = open_session(bagged.bundle).output_shapes()["features"][1]
    assert width == 3 * 128


def test_predict_has_a_column_for_the_disagreement_and_none_for_an_unreadable_file(
    bagged: sightline.Run, corners, command, tmp_path: Path
) -> None:
    for row in range(60):
        Image.fromarray(corners["x_test"][row]).save(tmp_path / f"{row:02d}.png")
    (tmp_path / "60.png").write_text("no picture")
    answer = command("predict", bagged.path, *sorted(tmp_path.glob("*.png")), "--json", "--csv", "told.csv")
    assert answer.code == 1
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert all(0 <= row["disagreement"] <= 1 for row in rows[:-1])
    assert max(row["disagreement"] for row in rows[:-1]) > 0
    assert rows[-1]["error"]
    assert "disagreement" not in rows[-1]
    lines = (tmp_path / "told.csv").read_text().splitlines()
    assert lines[0] == "path,label,confidence,label_2,confidence_2,label_3,confidence_3,disagreement,notice,error"
    assert float(lines[1].split(",")[7]) == rows[0]["disagreement"]
    assert lines[-1].split(",")[7] == ""
    plain = command("predict", bagged.path, *sorted(tmp_path.glob("*.png"))).out
    assert "  (33% of the members disagree)" in plain


@pytest.mark.soak
def test_going_on_trains_only_what_is_missing_and_ends_as_if_never_interrupted(prepared_job, tmp_path: Path) -> None:
    job, data = prepared_job({"ensemble.kind": "bagging"})
    whole = _fit(job, data)
    again = dataclasses.replace(job, folder=tmp_path / "again")
    # What an interrupted run leaves: two of three members.
    for number in (1, 3):
        shutil.copytree(job.folder_of(number), again.folder_of(number))
    kept = again.folder_of(1).stat().st_mtime_ns
    resumed = _fit(again, data)
    assert again.folder_of(1).stat().st_mtime_ns == kept
    assert _bytes_of(resumed.network) == _bytes_of(whole.network)
    np.testing.assert_array_equal(train_answers(again, 2)[1], train_answers(job, 2)[1])
    images = np.asarray(data.pixels.take(data.splits.test)[:])
    one, other = whole.network(images), resumed.network(images)
    np.testing.assert_array_equal(np.asarray(one["logits"]), np.asarray(other["logits"]))
    assert str(module.figures(resumed.out_of_bag)) == str(module.figures(whole.out_of_bag))


@pytest.mark.soak
@pytest.mark.slow
def test_a_soup_that_goes_on_is_the_soup_of_one_that_was_never_interrupted(prepared_job, tmp_path: Path) -> None:
    settings = {"ensemble.kind": "soup", "model.name": "convnet", "ensemble.members": 2, "model.dropout": 0.2}
    job, data = prepared_job(settings)
    whole = _fit(job, data)
    again = dataclasses.replace(job, folder=tmp_path / "again")
    shutil.copytree(job.folder_of(1), again.folder_of(1))
    assert _bytes_of(_fit(again, data).network) == _bytes_of(whole.network)


def test_a_failed_member_takes_no_other_along_and_the_same_call_goes_on(prepared_job) -> None:
    job, data = prepared_job({})
    # A file where a folder has to be: whatever member 2 learns cannot be kept.
    job.folder_of(2).parent.mkdir(parents=True)
    job.folder_of(2).write_text("in the way")
    with pytest.raises(TrainingFailed) as failure:
        _fit(job, data)
    told = str(failure.value)
    assert told.startswith("1 of 3 members failed. Member 2: ")
    assert f"finished are kept in {job.folder / 'members'}; the same command trains only the missing ones." in told
    assert [read_member(job, number) is not None for number in (1, 2, 3)] == [True, False, True]
    kept = job.folder_of(1).stat().st_mtime_ns
    job.folder_of(2).unlink()
    assert [member.number for member in _fit(job, data).members] == [1, 2, 3]
    assert job.folder_of(1).stat().st_mtime_ns == kept


def in_words(work: object, number: int) -> str:
    """A member's work as an expression for a process of its own, which the system ends where it is the second."""
    if number == 2:
        return "__import__('os').kill(__import__('os').getpid(), __import__('signal').SIGKILL)"
    return f"__import__('pickle').loads({pickle.dumps(work)!r})({number})"


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_member_whose_process_is_killed_takes_no_other_along_and_the_same_call_goes_on(
    corners, prepared_job, tmp_path: Path
) -> None:
    np.savez(tmp_path / "corners.npz", **corners)
    job, data = prepared_job({}, source=sightline.load(tmp_path / "corners.npz"))
    job = dataclasses.replace(job, source=str(tmp_path / "corners.npz"))
    with (
        process_map(2, functools.partial(load_keras, "tensorflow"), lost=lambda _: outcome_of_lost_process(2)) as each,
        pytest.raises(TrainingFailed, match=r"1 of 3 members failed\. Member 2: its process ended: from outside"),
    ):
        train_ensemble(job, data, map=lambda work, items: each(eval, [in_words(work, item) for item in items]))
    assert [read_member(job, number) is not None for number in (1, 2, 3)] == [True, False, True]
    kept = job.folder_of(1).stat().st_mtime_ns
    assert [member.number for member in _fit(job, data).members] == [1, 2, 3]
    assert job.folder_of(1).stat().st_mtime_ns == kept


def test_without_the_first_member_of_a_soup_the_others_do_not_begin(prepared_job) -> None:
    job, data = prepared_job({"ensemble.kind": "soup"})
    job.folder_of(1).parent.mkdir(parents=True)
    job.folder_of(1).write_text("in the way")
    with pytest.raises(TrainingFailed, match=r"1 of 3 members failed\. Member 1"):
        _fit(job, data)
    assert read_member(job, 2) is None


def test_a_mistake_of_ours_leaves_its_traceback_in_a_file(prepared_job) -> None:
    job, data = prepared_job({"ensemble.members": 2})
    with pytest.raises(TrainingFailed, match=r"2 of 2 members failed\. Member 1: AttributeError.*01-failed\.txt"):
        _fit(job, dataclasses.replace(data, pixels=None))
    assert "Traceback" in (job.folder / "members" / "01-failed.txt").read_text()
    _fit(job, data)
    assert not list((job.folder / "members").glob("*-failed.txt"))


@pytest.mark.slow
@pytest.mark.soak
def test_members_of_two_networks_vote_together(prepared_job) -> None:
    job, data = prepared_job({"ensemble.networks": "mlp,lenet5", "ensemble.members": 2, "training.epochs": 1})
    ensemble = _fit(job, data)
    assert [member.network for member in ensemble.members] == ["mlp", "lenet5"]
    assert ensemble.network.output["features"].shape[1] == 128 + 84


@pytest.mark.soak
def test_a_soup_is_made_of_the_members_and_judged_on_validation_rows(prepared_job) -> None:
    job, data = prepared_job({"ensemble.kind": "greedy-soup", "training.epochs": 4, "ensemble.test_views": "shifts"})
    ensemble = _fit(job, data)
    members = [load_member(job, number) for number in (1, 2, 3)]
    rows = (module.rows_for_fit(data, data.splits.train), module.rows_for_fit(data, data.splits.validation))
    average, chosen = weight_average(members, *rows, greedy=True)
    np.testing.assert_array_equal(ensemble.votes, chosen)
    assert _bytes_of(ensemble.network) == _bytes_of(average)
    assert set(ensemble.network.output) == {"features", "logits"}
    assert [len(member.history) for member in ensemble.members] == [4, 1, 1]


def test_an_image_size_that_one_of_several_networks_does_not_take_is_refused_before_training(prepared_job) -> None:
    large = {"x_train": np.zeros((40, 70, 70), np.uint8), "y_train": np.arange(40) % 2}
    with pytest.raises(InvalidValue, match="lenet5 takes images up to 64 pixels a side; got 70x70"):
        prepared_job({"model.name": "auto", "ensemble.networks": "convnet,lenet5"}, source=large)


@pytest.mark.soak
@pytest.mark.slow
def test_training_takes_up_the_unfinished_run_that_has_no_name(
    corners, small_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source, recipe = sightline.load(corners, name="corners"), small_recipe({"ensemble.members": 2})
    first = sightline.train(source, recipe=recipe, mode="quiet")
    before = _bytes_of(keras.saving.load_model(first.bundle.path / "model.keras", compile=False))
    # What is there when a run is ended between its bundle and its figures, and one member is lost besides.
    (first.path / "metrics.json").unlink()
    shutil.rmtree(first.path / "members" / "02")
    run = sightline.train(source, recipe=recipe, mode="plain")
    assert run.path == first.path == Path("runs/corners-fast-001")
    told = capsys.readouterr().err
    assert "going on with the ensemble that was left unfinished in runs/corners-fast-001" in told
    assert "1 of 2 members are finished already" in told
    assert _bytes_of(keras.saving.load_model(run.bundle.path / "model.keras", compile=False)) == before
    assert run.evaluation.num_correct == first.evaluation.num_correct
    assert sightline.train(source, recipe=recipe, mode="quiet").path == Path("runs/corners-fast-002")


@pytest.mark.slow
@pytest.mark.soak
def test_two_at_once_train_the_members_that_one_by_one_gives(prepared_job, tmp_path: Path) -> None:
    job, data = prepared_job({"ensemble.members": 2})
    alone = _fit(job, data)
    apart = dataclasses.replace(job, folder=tmp_path / "apart")
    with process_map(2, functools.partial(load_keras, "tensorflow")) as each:
        together = _fit(apart, data, map=each)
    assert [member.seed for member in together.members] == [0, 1]
    # Another number of threads adds up in another order.
    for one, other in zip(alone.network.get_weights(), together.network.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


PROGRAM = """
import sys
from sightline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a group of processes")
def test_ctrl_c_ends_several_processes_soon_and_leaves_no_half_member(corners, tmp_path: Path) -> None:
    np.savez(tmp_path / "corners.npz", **corners)
    words = ["train", "corners.npz", "--ensemble", "deep", "--members", "3", "--epochs", "99999", "--model", "mlp"]
    words += ["--jobs", "2", "--out", "run", "--set", "augmentation.policy=none"]
    # Whoever runs the tests in the background has the signal ignored, and hands that on.
    heeding = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen(
        [sys.executable, "-c", heeding + PROGRAM, *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        until = time.monotonic() + 240
        while len(list(tmp_path.glob("run/members/.*/history.jsonl"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(started.pid, signal.SIGINT)
        try:
            _, told = started.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            raise
    assert started.returncode == 130, told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("run/members/0*"))
    assert "spawn_main" not in _processes_of(started.pid)


def _processes_of(group: int) -> str:
    listed = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in listed.splitlines() if line.split()[0] == str(group))


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deep", "bagging", "boosting", "soup"])
def test_pretrained_networks_make_ensembles_of_every_kind(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            image = random.integers(0, 100, (70, 80, 3))
            image[..., label] += random.integers(60, 150)
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / "photos" / name / f"{number}.png")
    settings = {
        # A head on frozen features comes out alike for every seed; drawn or weighted images make it another one.
        "training.finetune_epochs": 0 if kind in ("bagging", "boosting") else 2,
        "training.feature_variants": 1,
        "data.image_size": 64,
        "ensemble.kind": kind,
        "ensemble.members": 2,
    }
    run = sightline.train(
        tmp_path / "photos", recipe=named_recipe("transfer", settings), out=tmp_path / "run", mode="quiet"
    )
    assert run.evaluation.accuracy > 0.8
    assert run.ensemble["kind"] == kind
    card = (run.bundle.path / "card.md").read_text()
    assert "licence of the weights: Apache-2.0 (Google)" in card


@pytest.mark.soak
@pytest.mark.slow
def test_an_ensemble_is_bundled_on_jax(corners, tmp_path: Path, python) -> None:
    if "jax" not in installed_backends():
        pytest.skip("jax is not installed")
    np.savez(tmp_path / "corners.npz", **corners)
    words = ["train", "corners.npz", "--ensemble", "bagging", "--members", "2", "--epochs", "1", "--model", "mlp"]
    answer = python(PROGRAM, *words, "--out", "run", "--backend", "jax", "--json")
    assert answer.code == 0, answer.err
    assert len(json.loads(answer.out)["ensemble"]["members"]) == 2


@pytest.mark.slow
def test_what_an_ensemble_promises_rests_on_one_image_of_each_group_that_no_member_learned_from(
    bagged: sightline.Run,
) -> None:
    kept, rows, groups = read_certificate(bagged.bundle), bagged.splits.calibration, bagged.splits.groups
    assert groups is not None
    assert (kept.num_images, len(kept.labels)) == (len(rows), len(set(groups[rows])))
    assert kept.is_grouped
    assert len(kept.labels) < len(rows)
    record = read_answer_record(bagged.bundle)
    assert record.is_right.tolist() == kept.is_right.tolist()
    assert record.steps.num_answered[-1] == len(set(groups[bagged.splits.validation]))
    learned = set(bagged.splits.train.tolist()) | set(bagged.splits.validation.tolist())
    assert not learned & set(rows.tolist())
    card = (bagged.bundle.path / "card.md").read_text(encoding="utf-8")
    assert f"{len(rows)} calibration images in {len(kept.labels)} groups, one of each counted" in card
