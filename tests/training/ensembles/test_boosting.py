"""Boosting: votes and weights as SAMME defines them, over real members, and again when a run goes on."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import TrainingFailed
from sightline.system.backends import load_keras
from sightline.system.progress import reporting

load_keras()

from sightline.training.ensembles.boosting import boost  # noqa: E402  # the backend is chosen first
from sightline.training.ensembles.members import train_answers, with_data  # noqa: E402

BOOSTING = {"ensemble.kind": "boosting", "training.epochs": 3, "optimizer.learning_rate": 0.002}


def _boost(job, data):
    with with_data(job, data), reporting("plain"):
        return boost(job, data)


def _votes_slowly(job, data, num_members: int, given: np.ndarray) -> list[float]:
    rows = data.splits.train
    counts = [float(weight) for weight in given]
    votes = []
    for number in range(1, num_members + 1):
        _, logits = train_answers(job, number)
        wrong = [int(np.argmax(row)) != data.dataset.labels[place] for row, place in zip(logits, rows, strict=True)]
        error = sum(count for count, is_wrong in zip(counts, wrong, strict=True) if is_wrong) / sum(counts)
        votes.append(math.log((1 - error) / error) + math.log(data.dataset.num_classes - 1))
        counts = [count * math.exp(votes[-1] * is_wrong) for count, is_wrong in zip(counts, wrong, strict=True)]
    return votes


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.soak
def test_votes_are_those_of_the_definition_and_the_same_when_a_run_goes_on(
    weighs: bool, prepared_job, capsys: pytest.CaptureFixture[str]
) -> None:
    job, data = prepared_job(BOOSTING)
    given = np.ones(len(data.dataset))
    if weighs:
        given = np.where(data.dataset.labels == 0, 4.0, 0.5)
        data = dataclasses.replace(data, dataset=dataclasses.replace(data.dataset, weights=given))
    members, votes = _boost(job, data)
    assert [member.number for member in members] == [1, 2, 3]
    assert {len(member.history) for member in members} == {1}
    np.testing.assert_allclose(votes, _votes_slowly(job, data, 3, given[data.splits.train]), rtol=1e-9)
    assert "member 2: wrong on " in capsys.readouterr().err
    files = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*.keras")}
    again, replayed = _boost(job, data)
    np.testing.assert_array_equal(replayed, votes)
    assert [member.seconds for member in again] == [member.seconds for member in members]
    assert files == {path: path.stat().st_mtime_ns for path in job.folder.rglob("*.keras")}


@pytest.mark.soak
@pytest.mark.slow
def test_a_member_that_is_lost_is_trained_again_by_the_weights_that_it_had(prepared_job) -> None:
    job, data = prepared_job(BOOSTING)
    _, votes = _boost(job, data)
    before = [train_answers(job, number)[1] for number in (2, 3)]
    for number in (2, 3):
        for path in job.folder_of(number).iterdir():
            path.unlink()
        job.folder_of(number).rmdir()
    _, again = _boost(job, data)
    np.testing.assert_array_equal(again, votes)
    for number, logits in zip((2, 3), before, strict=True):
        np.testing.assert_array_equal(train_answers(job, number)[1], logits)


@pytest.mark.soak
@pytest.mark.slow
def test_a_failed_member_says_that_those_before_it_are_kept_and_the_same_call_goes_on(prepared_job) -> None:
    job, data = prepared_job(BOOSTING)
    # A file where a folder has to be: whatever member 2 learns cannot be kept.
    job.folder_of(2).parent.mkdir(parents=True)
    job.folder_of(2).write_text("in the way")
    with pytest.raises(TrainingFailed, match=r"^Member 2 failed: .*before it are kept in .*members; the same command"):
        _boost(job, data)
    kept = job.folder_of(1).stat().st_mtime_ns
    job.folder_of(2).unlink()
    assert len(_boost(job, data)[0]) == 3
    assert job.folder_of(1).stat().st_mtime_ns == kept


@pytest.mark.soak
def test_a_perfect_member_ends_boosting(prepared_job, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.arange(90) % 3
    images = np.random.default_rng(0).integers(0, 50, (90, 8, 8)) + 100 * labels[:, None, None]
    plain = {"x_train": images.astype(np.uint8), "y_train": labels}
    job, data = prepared_job(BOOSTING | {"training.epochs": 120}, source=plain)
    members, votes = _boost(job, data)
    assert len(members) == len(votes) == 1
    # As if half an image were wrong.
    num_train = len(data.splits.train)
    assert votes[0] == pytest.approx(math.log((num_train - 0.5) / 0.5) + math.log(2))
    assert "boosting ends: member 1 makes no error on train rows" in capsys.readouterr().err


def test_a_first_member_that_only_guesses_is_refused(prepared_job, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = {"x_train": random.integers(0, 256, (90, 8, 8)).astype(np.uint8), "y_train": np.arange(90) % 3}

    def boost_until_refused() -> None:
        # By chance a network that learned nothing may be a little better than a guess; not each time.
        for seed in range(10):
            settings = BOOSTING | {"optimizer.learning_rate": 1e-9, "seed": seed}
            _boost(*prepared_job(settings, source=noise, folder=tmp_path / str(seed)))

    told = r"the first member is no better than guessing: wrong on .* set more epochs, or fewer members"
    with pytest.raises(TrainingFailed, match=told):
        boost_until_refused()
