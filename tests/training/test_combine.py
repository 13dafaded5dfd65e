"""Finished runs made into one: who is heard, on which rows, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.bundles.trust.abstention import read_answer_record
from sightline.bundles.trust.sets import read_certificate
from sightline.errors import InvalidBundle, InvalidSource, InvalidValue, OutputExists
from sightline.evaluation.measuring.finished_runs import has_known_train_rows, read_run
from sightline.metrics.classification import cross_entropy
from sightline.metrics.conformal import label_scores
from sightline.metrics.ensembles import ensemble_logits, selection_course
from sightline.metrics.selective import certainties_of
from sightline.training.combination.selection import choose
from sightline.training.combination.shared_rows import predictions_of, shared_classes, shared_rows

CLASSES = ("one", "seven", "zero")
DIGITS = {"zero": 0, "one": 1, "seven": 7}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 digits of three classes as files."""
    mnist, folder = sightline.load("mnist"), tmp_path_factory.mktemp("combining") / "photos"
    for name, digit in DIGITS.items():
        (folder / name).mkdir(parents=True)
        for row in np.flatnonzero(mnist.labels == digit)[:80]:
            Image.fromarray(mnist.images[row][:, :, 0]).save(folder / name / f"{row:05d}.png")
    return folder


def learn(source: Any, out: Path, **settings: Any) -> Path:
    keys = {
        "model.name": "mlp",
        "training.epochs": 1,
        "data.validation_fraction": 0.3,
        "data.calibration_fraction": 0.2,
    }
    keys |= {"augmentation.policy": "none", "optimizer.learning_rate": 0.001, "data.group_near_duplicates": False}
    keys |= {name.replace("__", "."): value for name, value in settings.items()}
    sightline.train(source, recipe=sightline.recipe("fast", keys), out=out, mode="quiet")
    return out


@pytest.fixture(scope="session")
def first(photos: Path) -> Path:
    return learn(photos, photos.parent / "first")


@pytest.fixture(scope="session")
def turned(photos: Path, first: Path) -> Path:
    """The same splits, the classes in another order, another start."""
    backwards = sightline.load(photos, class_names=CLASSES[::-1])
    return learn(backwards, photos.parent / "turned", seed=1, data__splits_file=str(first / "splits.csv"))


@pytest.fixture(scope="session")
def other_splits(photos: Path) -> Path:
    return learn(photos, photos.parent / "other", seed=5)


@pytest.fixture(scope="session")
def combined(photos: Path, first: Path, turned: Path) -> sightline.Run:
    return sightline.combine([first, turned], votes=[2, 1], out=photos.parent / "combined", mode="quiet")


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "predictions.npz") as stored:
        return dict(stored)


def rewrite(run: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    arrays = arrays_of(run)
    change(arrays)
    np.savez(run / "predictions.npz", **arrays)
    return run


def table_of(run: Path) -> dict[str, str]:
    return {line["row_id"]: line["split"] for line in csv.DictReader(io.StringIO((run / "splits.csv").read_text()))}


def write_table(run: Path, splits: Mapping[str, str], groups: Mapping[str, str] | None = None) -> None:
    lines = [f"{row_id},{split},{(groups or {}).get(row_id, row_id)}" for row_id, split in splits.items()]
    (run / "splits.csv").write_text("\n".join(["row_id,split,group", *lines]) + "\n")


@pytest.fixture
def copies(first: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of one run, to be altered."""
    places = tmp_path / "a", tmp_path / "b"
    return tuple(Path(shutil.copytree(first, place)) for place in places)  # type: ignore[return-value]


def test_classes_in_another_order_are_turned_inside_the_network(
    first: Path, turned: Path, combined: sightline.Run
) -> None:
    runs = [read_run(first), read_run(turned)]
    assert (runs[0].class_names, runs[1].class_names) == (CLASSES, CLASSES[::-1])
    rows = shared_rows(runs)
    arrays = arrays_of(combined.path)
    for split in ("validation", "calibration", "test"):
        said = [predictions_of(run, rows, split, CLASSES) for run in runs]
        assert len(said[0]) > 5
        assert said[0].labels.tolist() == said[1].labels.tolist()
        row_of = {row_id: number for number, row_id in enumerate(said[0].row_ids)}
        order = [row_of[row_id] for row_id in arrays[f"{split}_row_ids"].tolist()]
        together = ensemble_logits(np.stack([one.logits for one in said], axis=1), [2, 1])[order]
        assert np.abs(arrays[f"{split}_logits"] - together).max() < 1e-3
        assert arrays[f"{split}_labels"].tolist() == said[0].labels[order].tolist()
    assert [member["vote"] for member in combined.ensemble["members"]] == [2, 1]


def test_a_run_is_heard_as_it_is_calibrated(first: Path) -> None:
    run = read_run(first)
    rows = shared_rows([run, run])
    said = predictions_of(run, rows, "validation", run.class_names)
    raw = dict(zip(run.predictions["validation"].given, run.predictions["validation"].logits, strict=True))
    assert run.bundle.temperature != 1
    expected = np.stack([raw[row_id] for row_id in said.row_ids]) / run.bundle.temperature
    np.testing.assert_allclose(said.logits, expected, rtol=1e-5)


def test_a_combined_run_is_an_ordinary_run(
    combined: sightline.Run, first: Path, turned: Path, photos: Path, tmp_path: Path
) -> None:
    found = sightline.compare([first, combined])
    assert found.tests[0].num_images == combined.evaluation.num_images
    assert str(sightline.evaluate(combined)) == str(combined.evaluation)
    answers = sightline.predict(combined.path, [photos / "zero"], progress=False)
    assert set(answers.class_names) == set(DIGITS)
    assert answers.disagreements is not None
    recipe = json.loads((combined.path / "recipe.json").read_text())
    assert sightline.recipe(combined.path / "recipe.json").model.name == "mlp", "it is what --recipe takes"
    told = json.loads((combined.path / "metrics.json").read_text())["ensemble"]
    assert told["kind"] == "combined"
    assert [(member["run"], member["vote"]) for member in told["members"]] == [(str(first), 2.0), (str(turned), 1.0)]
    assert json.loads((combined.path / "resolution.json").read_text()) == [], "votes that are given settle nothing"
    assert recipe["model"]["name"] == "mlp"
    assert "seed" not in recipe, "they had different ones"
    assert "Trained on" in (combined.path / "bundle" / "card.md").read_text()
    assert repr(combined).endswith("2 runs combined")
    again = sightline.combine([combined, first], votes=[1, 1], out=tmp_path / "again", mode="quiet")
    assert again.evaluation.num_images == combined.evaluation.num_images
    assert [member["network"] for member in again.ensemble["members"]] == ["mlp (combined)", "mlp"]


def test_a_run_whose_teacher_is_a_stranger_is_told(first: Path, turned: Path) -> None:
    one, other = read_run(first), read_run(turned)
    usual = shared_rows([one, other]).remarks
    metrics = {**other.bundle.metrics, "teacher": {"bundle": "elsewhere", "has_same_splits": False}}
    taught = dataclasses.replace(other, bundle=dataclasses.replace(other.bundle, metrics=metrics))
    (remark,) = set(shared_rows([one, taught]).remarks) - set(usual)
    assert remark.startswith(f"{turned} was distilled, and what its teacher learned from is not known")


@pytest.mark.soak
def test_that_a_teacher_is_a_stranger_stays_with_what_is_combined(
    combined: sightline.Run, copies: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    assert combined.ensemble["has_same_splits"]
    describe(copies[1], "metrics.json", lambda metrics: metrics | {"teacher": {"has_same_splits": False}})
    run = sightline.combine(copies, votes=[1, 1], out=tmp_path / "both", source=photos, mode="quiet")
    assert not run.ensemble["has_same_splits"]
    assert not has_known_train_rows(run.bundle)
    assert "learned from is not known; the test images may be among it" in (run.bundle.path / "card.md").read_text()
    unheard = sightline.combine(copies, votes=[1, 0], out=tmp_path / "one", source=photos, mode="quiet")
    assert has_known_train_rows(unheard.bundle)


def test_the_run_says_how_it_does_against_the_best_member(combined: sightline.Run, first: Path, turned: Path) -> None:
    against = combined.ensemble["against_best"]
    assert against["first"] in (str(first), str(turned))
    (test,) = sightline.compare([against["first"], combined]).tests
    assert (test.num_images, test.difference, test.p_value) == (
        against["num_images"],
        against["difference"],
        against["p_value"],
    )
    written = json.loads((combined.path / "metrics.json").read_text())
    assert written["ensemble"]["against_best"]["in_words"] == against["in_words"]


def test_each_step_of_the_selection_takes_whoever_lowers_the_cross_entropy_most() -> None:
    random = np.random.default_rng(0)
    logits, labels = 2 * random.normal(size=(50, 6, 4)), random.integers(0, 4, 50)
    order, losses = selection_course(logits, labels, most=12)
    counts = np.zeros(6)
    for taken, loss in zip(order, losses, strict=True):
        tried = [cross_entropy(ensemble_logits(logits, counts + one), labels) for one in np.eye(6)]
        assert (np.argmin(tried), min(tried)) == (taken, pytest.approx(loss))
        counts[taken] += 1


def test_votes_by_hand(copies: tuple[Path, Path]) -> None:
    """Two runs that are each sure of one half of the rows, and wrong on none: both are needed."""

    def sure_of(half: int) -> Callable[[dict[str, np.ndarray]], None]:
        def change(arrays: dict[str, np.ndarray]) -> None:
            labels = arrays["validation_labels"]
            logits = np.zeros_like(arrays["validation_logits"])
            known = np.arange(len(labels)) % 2 == half
            logits[known, labels[known]] = 9
            arrays["validation_logits"] = logits

        return change

    runs = [read_run(rewrite(run, sure_of(half))) for half, run in enumerate(copies)]
    choice = choose(runs, shared_rows(runs), shared_classes(runs), votes=None, most=4)
    assert choice.votes.tolist() in ([2, 2], [1, 1])
    assert [line["epoch"] for line in choice.history] == list(range(1, len(choice.history) + 1))
    losses = [line["validation_loss"] for line in choice.history]
    assert losses == sorted(losses, reverse=True)
    # Where one is sure and the other undecided among three, together they say (1 + 1/3) / 2.
    assert losses[1] == pytest.approx(-np.log((1 + 1 / 3) / 2), abs=0.01)


@pytest.mark.soak
def test_a_run_that_makes_nothing_better_is_not_heard(copies: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    def mislead(arrays: dict[str, np.ndarray]) -> None:
        arrays["validation_logits"][:] = 0
        arrays["validation_logits"][np.arange(len(arrays["validation_labels"])), arrays["validation_labels"]] = -20

    rewrite(copies[1], mislead)
    run = sightline.combine(copies, out=tmp_path / "one", mode="quiet")
    assert [member["vote"] for member in run.ensemble["members"]] == [1, 0]
    told = json.loads((run.path / "resolution.json").read_text())
    assert [(one["key"], one["asked"], one["settled"]) for one in told] == [("ensemble.votes", None, [1.0, 0.0])]
    assert "validation images that none of them learned from" in told[0]["reason"]
    assert run.ensemble["against_best"] is None
    assert run.ensemble["members"][1]["validation"]["num_correct"] == 0
    assert "disagreement" not in arrays_of(run.path)
    calibrated = arrays_of(copies[0])["test_logits"] / read_run(copies[0]).bundle.temperature
    assert np.abs(arrays_of(run.path)["test_logits"] - calibrated).max() < 1e-3
    assert "One of them alone is heard" in (run.path / "bundle" / "card.md").read_text()


def test_nothing_is_judged_on_what_any_run_learned_from(first: Path, other_splits: Path, tmp_path: Path) -> None:
    run = sightline.combine([first, other_splits], votes=[1, 1], out=tmp_path / "both", mode="quiet")
    before, written = (table_of(first), table_of(other_splits)), table_of(run.path)
    assert before[0] != before[1]
    arrays = arrays_of(run.path)
    for split in ("validation", "calibration", "test"):
        shared = {row_id for row_id in before[0] if before[0][row_id] == before[1].get(row_id) == split}
        assert set(arrays[f"{split}_row_ids"].tolist()) == shared
        assert {row_id for row_id, name in written.items() if name == split} == shared
    learned = {row_id for table in before for row_id, split in table.items() if split == "train"}
    assert {row_id for row_id, name in written.items() if name == "train"} == learned
    excluded = (run.path / "excluded.csv").read_text()
    assert all(row_id in excluded for row_id in set(before[0]) - set(written))


def test_a_group_that_another_run_tore_apart_is_left_out(copies: tuple[Path, Path]) -> None:
    splits = table_of(copies[0])
    one, two = [row_id for row_id, split in splits.items() if split == "test"][:2]
    write_table(copies[0], splits, groups={one: one, two: one})
    write_table(copies[1], {**splits, two: "train"})
    rows = shared_rows([read_run(run) for run in copies])
    assert rows.splits[two] == "train"
    assert one not in rows.splits
    assert dict(rows.left_out)[one] == "a run learned from a part of its group"


def test_rows_with_two_classes_are_left_out(copies: tuple[Path, Path]) -> None:
    def relabel(arrays: dict[str, np.ndarray]) -> None:
        arrays["test_labels"][:1] = (arrays["test_labels"][:1] + 1) % 3

    row_id = str(arrays_of(copies[0])["test_row_ids"][0])
    rewrite(copies[1], relabel)
    rows = shared_rows([read_run(run) for run in copies])
    assert row_id not in rows.splits
    assert "'" in dict(rows.left_out)[row_id]

    def rename(arrays: dict[str, np.ndarray]) -> None:
        arrays["class_names"] = np.roll(arrays["class_names"], 1)

    rewrite(copies[1], rename)
    with pytest.raises(InvalidValue, match="rows that they share by different classes"):
        shared_rows([read_run(run) for run in copies])


def test_runs_without_a_shared_validation_row_are_told_how_to_train(copies: tuple[Path, Path]) -> None:
    splits = table_of(copies[1])
    write_table(copies[1], {row_id: "train" if name == "validation" else name for row_id, name in splits.items()})
    with pytest.raises(InvalidValue) as caught:
        sightline.combine(copies, mode="quiet")
    assert "share no validation row" in str(caught.value)
    assert f"Train again with --splits {copies[0] / 'splits.csv'}." in str(caught.value)


@pytest.mark.soak
def test_what_one_run_keeps_back_of_its_images_stays_where_it_is(copies: tuple[Path, Path], tmp_path: Path) -> None:
    path = copies[1] / "recipe.json"
    recipe = json.loads(path.read_text())
    recipe["data"] |= {"neighbours": "none", "parity_images": False}
    path.write_text(json.dumps(recipe))
    run = sightline.combine(copies, votes=[1, 1], out=tmp_path / "run", mode="quiet")
    assert "neighbours" not in run.bundle.capabilities
    assert "nearest" not in run.bundle.manifest["outputs"]
    card = (run.bundle.path / "card.md").read_text(encoding="utf-8")
    assert "no training image is named" in card
    assert "pictures of the data" not in card


def describe(run: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Alter a JSON file of a bundle and seal it anew."""
    path = run / "bundle" / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    write_manifest(run / "bundle")


def reseal(run: Path, **source: Any) -> None:
    describe(run, "metrics.json", lambda metrics: metrics | {"source": metrics["source"] | source})


def test_other_classes_and_other_images_are_refused_by_name(copies: tuple[Path, Path]) -> None:
    first, other = copies
    describe(other, "input.json", lambda spec: spec | {"height": 32, "resize": "fill"})
    with pytest.raises(InvalidValue) as caught:
        sightline.combine(copies, mode="quiet")
    assert f"{first} takes 28x28 grey by 'fit'; {other} takes 32x28 grey by 'fill'." in str(caught.value)
    describe(other, "labels.json", lambda names: [*names[:2], "null"])
    with pytest.raises(InvalidValue) as caught:
        sightline.combine(copies, mode="quiet")
    assert f"only {first} knows 'zero', only {other} knows 'null'." in str(caught.value)


def test_images_that_changed_or_went_are_asked_for(copies: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    for run in copies:
        reseal(run, fingerprint="another")
    with pytest.raises(InvalidValue, match=r"not the images that the runs were trained on, .* --source"):
        sightline.combine(copies, mode="quiet")
    for run in copies:
        reseal(run, typed=str(tmp_path / "gone"))
    with pytest.raises(InvalidValue, match=r"cannot be opened .* Name with --source where it is now"):
        sightline.combine(copies, mode="quiet")
    for run in copies:
        reseal(run, typed="")
    with pytest.raises(InvalidValue, match=r"does not say where its images are. Name them with --source"):
        sightline.combine(copies, mode="quiet")
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    row_id = str(arrays_of(copies[0])["test_row_ids"][0])
    (moved / row_id).write_bytes(b"broken")
    with pytest.raises(InvalidSource, match="can no longer be read; the first is"):
        sightline.combine(copies, source=moved, mode="quiet")
    (moved / row_id).unlink()
    with pytest.raises(InvalidValue, match="1 images that the runs were judged on are not in it"):
        sightline.combine(copies, source=moved, mode="quiet")


def test_different_arrays_are_refused(tiny_run: sightline.Run, run_copy: Path) -> None:
    reseal(run_copy, fingerprint="another")
    with pytest.raises(InvalidValue, match="they were trained on different arrays"):
        sightline.combine([tiny_run, run_copy], mode="quiet")


def test_what_is_not_two_finished_runs_is_refused(first: Path, copies: tuple[Path, Path], tmp_path: Path) -> None:
    for runs in ([], [first], first, str(first)):
        with pytest.raises(InvalidValue, match="combine takes two runs or more; got"):
            sightline.combine(runs)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="is given twice"):
        sightline.combine([first, copies[0], first])
    with pytest.raises(InvalidBundle, match="a bundle holds no predictions"):
        sightline.combine([first, copies[0] / "bundle"])
    (copies[0] / "metrics.json").unlink()
    with pytest.raises(InvalidBundle, match="training did not finish"):
        sightline.combine([first, copies[0]])
    with pytest.raises(OutputExists):
        sightline.combine([first, copies[1]], out=copies[0])


@pytest.mark.parametrize("votes", [[-1, 1], [0, 0], [float("nan"), 1], [1], [1, 1, 1]])
def test_unusable_votes_are_refused(votes: list[float]) -> None:
    with pytest.raises(InvalidValue, match="weight"):
        sightline.combine(["a", "b"], votes=votes)


def test_steps_of_a_selection_are_at_least_one_and_go_with_no_votes() -> None:
    with pytest.raises(InvalidValue, match="most must be a whole number of at least 1; got 0"):
        sightline.combine(["a", "b"], most=0)
    with pytest.raises(InvalidValue, match="votes leave nothing to select"):
        sightline.combine(["a", "b"], most=3, votes=[1, 1])


def test_a_failure_leaves_nothing_behind(
    first: Path, turned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sightline.bundles import parity

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parity, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(sightline.SightlineError, match="differ by"):
        sightline.combine([first, turned], votes=[1, 1], mode="quiet")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.soak
def test_the_folder_in_which_one_stands_can_become_the_run(
    first: Path, turned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = sightline.combine([first, turned], votes=[1, 1], out=".", mode="quiet")
    assert str(sightline.evaluate(run)) == str(run.evaluation)
    assert (tmp_path / "bundle").is_dir()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.soak
def test_the_command_prints_who_is_heard_and_counts_up(command, first: Path, turned: Path, tmp_path: Path) -> None:
    answer = command("combine", first, turned, "--votes", "2,1")
    assert answer.code == 0, answer.err
    assert f"2 of 3 votes: {first} (mlp, validation " in answer.out
    assert "test       accuracy " in answer.out
    assert "the combined run" in answer.out
    assert "rows that none of them learned from" in answer.err
    printed = command("combine", first, turned, "--most", "2", "--json", "--quiet")
    assert (printed.code, printed.err) == (0, "")
    told = json.loads(printed.out)
    assert told["run"] == str(Path("runs") / "photos-combined-002")
    assert told["ensemble"]["kind"] == "combined"
    assert 1 <= told["epochs"] <= 2
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "photos-combined-001",
        "photos-combined-002",
    ]
    assert command("combine", first, turned, "--votes", "a,b").code == 2


def test_what_combined_runs_promise_rests_on_the_calibration_rows_that_they_share(
    first: Path, turned: Path, combined: sightline.Run
) -> None:
    rows = shared_rows([read_run(first), read_run(turned)])
    kept = read_certificate(combined.bundle)
    assert kept.num_images == len(rows.rows("calibration")) == len(combined.splits.calibration) > 0
    logits = combined_predictions(combined)
    labels = np.array([combined.bundle.class_names.index(rows.given[row_id]) for row_id in logits])
    scores = label_scores(np.stack(list(logits.values())))[np.arange(len(labels)), labels]
    assert sorted(kept.scores["lac"]) == sorted(scores)
    record = read_answer_record(combined.bundle)
    assert sorted(record.certainties) == sorted(certainties_of(np.stack(list(logits.values()))))
    assert record.steps.num_answered[-1] == len(combined.splits.validation) > 0


def combined_predictions(run: sightline.Run) -> dict[str, np.ndarray]:
    with np.load(run.path / "predictions.npz") as arrays:
        return dict(zip(arrays["calibration_row_ids"].tolist(), arrays["calibration_logits"], strict=True))
