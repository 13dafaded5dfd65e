"""Images unlike what was learned are marked, as rarely by mistake as was promised, alone as in a batch, or refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.trust.novelty import (
    FILE,
    KnownDistances,
    NoveltyMaker,
    NoveltyMeasures,
    known_distances,
    novelty_maker,
    novelty_section,
    read_novelty,
    write_novelty,
)
from sightline.errors import InvalidBundle, InvalidValue
from sightline.evaluation.measuring.scoring import figures


@pytest.fixture(scope="module")
def asked(small_arrays: dict[str, np.ndarray]) -> np.ndarray:
    """40 digits that were not learned, and 20 images of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    return np.concatenate([small_arrays["x_test"][:40], noise])


def test_training_keeps_how_far_its_calibration_images_are_as_the_graph_says(
    tiny_run: sightline.Run, small_npz: Path
) -> None:
    assert "novelty" in tiny_run.bundle.capabilities
    known = read_novelty(tiny_run.bundle)
    assert len(known.scores) == known.num_images == len(tiny_run.splits.calibration)
    assert not known.is_grouped
    assert known.measures is not None
    dataset = sightline.load(small_npz)
    rows = dataset.take(tiny_run.splits.calibration)
    found = sightline.predict(tiny_run, rows, novelty=0.1, progress=False).novelty
    assert found is not None
    # With 30 of them none lies above the limit: the farthest of them is the limit.
    assert not found.is_novel.any()
    assert np.sort(found.nearer).max() < 1


def test_noise_is_marked_and_the_promise_says_of_what_it_is_one(tiny_run: sightline.Run, asked: np.ndarray) -> None:
    answers = sightline.predict(tiny_run, asked, novelty=0.1, progress=False)
    assert answers.novelty is not None
    assert answers.novelty.is_novel[:40].mean() <= 0.2
    assert (answers.novelty.nearer[answers.novelty.is_novel] == 1).all()
    maker = novelty_maker(tiny_run.bundle, 0.1, certainty=0.95)
    assert maker is not None
    assert maker.promise == {
        "novelty": 0.1,
        "certainty": 0.95,
        "method": read_novelty(tiny_run.bundle).method,
        "threshold": maker.limit,
        "num_images": 30,
        "num_groups": None,
        "num_above": 0,
    }
    assert "at most 10 % of images like the calibration images, with a certainty of 95 %" in maker.in_words
    assert "Classes that look like learned ones are often not marked" in maker.in_words
    assert sightline.predict(tiny_run, asked[:2], progress=False).novelty is None


def test_an_image_alone_in_a_batch_in_a_file_and_in_another_order_gets_the_same_answer(
    tiny_run: sightline.Run, asked: np.ndarray, tmp_path: Path
) -> None:
    def marked(images: Any) -> list[bool]:
        found = sightline.predict(tiny_run, images, novelty=0.2, certainty=0.5, progress=False).novelty
        assert found is not None
        return list(found.is_novel.tolist())

    together = marked(asked)
    assert 0 < sum(together) < len(together)
    assert marked(asked[::-1].copy())[::-1] == together
    assert [marked(image)[0] for image in asked[::5]] == together[::5]
    for row, image in enumerate(asked[:10]):
        Image.fromarray(image).save(tmp_path / f"{row:02d}.png")
    assert marked([tmp_path]) == together[:10]


def test_another_process_gives_the_same_answer(tiny_run: sightline.Run, asked: np.ndarray, tmp_path: Path) -> None:
    for row, image in enumerate(asked[30:50]):
        Image.fromarray(image).save(tmp_path / f"{row:02d}.png")
    here = sightline.predict(tiny_run, [tmp_path], novelty=0.2, certainty=0.5, progress=False).novelty
    assert here is not None
    options = ("--novelty", "0.2", "--certainty", "0.5", "--json", "--quiet")
    command = [sys.executable, "-P", "-m", "sightline", "predict", tiny_run.bundle.path, tmp_path, *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["novel"] for row in rows] == here.is_novel.tolist()
    assert 0 < sum(row["novel"] for row in rows) < len(rows)
    assert [row["farther_than"] for row in rows] == pytest.approx(here.nearer.tolist(), abs=1e-6)


def test_last_digits_make_nobody_novel() -> None:
    maker = NoveltyMaker({}, "", 1.0, np.array([0.5, 1.0], np.float32))
    found = {"novelty": np.float32([1.0, 1.00001, 1.01, np.nan, np.nan]), "logits": np.zeros((5, 2), np.float32)}
    found["logits"][4] = np.nan  # what could not be read is not novel; what has no distance is
    assert maker.make(found, None).is_novel.tolist() == [False, False, True, True, False]
    assert np.isnan(maker.make(found, None).nearer).tolist() == [False, False, False, False, True]


def test_evaluate_measures_the_false_alarms(tiny_run: sightline.Run, small_npz: Path) -> None:
    told = figures(sightline.evaluate(tiny_run, small_npz, novelty=0.2, certainty=0.5))
    assert told["promises"]["novelty"]["num_above"] == 5
    assert 0 < told["novel"] < 0.4
    lower, upper = told["novel_interval"]
    assert lower < told["novel"] < upper
    assert "novel" not in figures(sightline.evaluate(tiny_run, small_npz))


def test_the_command_tells_it_in_words_json_and_the_table(
    command: Callable[..., Any], tiny_run: sightline.Run, asked: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(asked[0]).save(tmp_path / "digit.png")
    Image.new("L", (40, 28), 255).save(tmp_path / "white.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    names = [tmp_path / f"{name}.png" for name in ("digit", "white", "broken")]
    answer = command("predict", tiny_run.path, *names, "--novelty", "0.2", "--certainty", "0.5", "--csv", "out.csv")
    lines = answer.out.splitlines()
    assert [line.count("  unlike the images it learned") for line in lines] == [0, 1, 0]
    assert "and so are at most 20 % of images like the calibration images" in answer.err
    with (tmp_path / "out.csv").open(newline="") as table:
        cells = [(row["novel"], row["farther_than"]) for row in csv.DictReader(table)]
    assert [cell[0] for cell in cells] == ["false", "true", ""]
    assert float(cells[1][1]) > 0.8
    answer = command("predict", tiny_run.path, *names, "--novelty", "0.2", "--certainty", "0.5", "--json")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["novel"] for row in rows] == [False, True, None]
    assert 0 <= rows[0]["farther_than"] < 1
    refused = command("predict", tiny_run.path, names[0], "--novelty", "0.01")
    assert refused.code == 2
    assert "needs at least 299 calibration images; there are 30." in refused.err


@pytest.mark.parametrize("rate", [0, 1, -1, float("nan"), True, "0.05"])
def test_rates_that_are_none_are_refused(tiny_run: sightline.Run, asked: np.ndarray, rate: Any) -> None:
    with pytest.raises(InvalidValue, match=r"novelty must be a number above 0 and below 1, such as 0\.05; got"):
        sightline.predict(tiny_run, asked, novelty=rate, progress=False)


def test_bundles_without_it_open_and_say_that_they_cannot_tell(run_copy: Path, asked: np.ndarray) -> None:
    with pytest.raises(InvalidBundle, match=r"^imagenet: cannot promise a share of false alarms.*Train a bundle on"):
        sightline.predict("imagenet", asked, novelty=0.05, progress=False)
    (run_copy / "bundle" / FILE).unlink()
    (run_copy / "bundle" / "manifest.json").unlink()
    write_manifest(run_copy / "bundle")
    assert len(sightline.predict(run_copy, asked, progress=False)) == 60
    with pytest.raises(
        InvalidBundle,
        match=r"cannot promise a share of false alarms.*without calibration images or enough train images, or by .*"
        r"again with more images and data\.calibration_fraction above 0",
    ):
        sightline.predict(run_copy, asked, novelty=0.05, progress=False)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"scores": None}, "lacks the array 'scores'"),
        ({"method": np.array("energy")}, "method is none that is known"),
        ({"method": np.array(3)}, "method is none that is known"),
        ({"scores": np.zeros(30)}, "scores are not float32"),
        ({"scores": np.full(30, np.nan, np.float32)}, "scores are not finite"),
        ({"scores": np.zeros(0, np.float32)}, "none or too many"),
        ({"scores": np.zeros(31, np.float32)}, "counts do not go together"),
        ({"num_images": np.array([60])}, "how many images there were"),
        ({"caught": np.zeros(2)}, "not one share a kind"),
        ({"held_out": np.array([2.0, 0.5])}, "measures are no shares"),
        ({"held_out": np.zeros(3)}, "measures are no float64"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(altered: Callable[..., Path], arrays: Any, said: str) -> None:
    bundle = load_bundle(altered(**arrays))
    with pytest.raises(InvalidBundle, match=f"{FILE}: cannot be read .*{said}"):
        novelty_maker(bundle, 0.05, certainty=0.95)


def test_one_of_each_group_counts_and_ten_thousand_are_enough(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).uniform(size=12_000).astype(np.float32)
    groups = np.repeat([f"object {number}" for number in range(4_000)], 3)
    grouped = known_distances(scores, groups, method="images", measures=None, seed=0)
    assert grouped is not None
    assert (grouped.num_images, len(grouped.scores), grouped.is_grouped) == (12_000, 4_000, True)
    assert grouped.vouching.words == "12,000 calibration images in 4,000 groups, one of each counted"
    of_many = np.repeat(np.arange(11_000), [2] * 1_000 + [1] * 10_000)
    most = known_distances(scores, of_many, method="images", measures=None, seed=0)
    assert most is not None
    # 9,000 or so of the kept groups are of one image.
    assert 10_500 < most.num_images < 11_000
    assert most.vouching.words == f"{most.num_images:,} calibration images in 10,000 groups, one of each counted"
    many = known_distances(scores, None, method="classes", measures=None, seed=0)
    assert many is not None
    assert (many.num_images, len(many.scores)) == (10_000, 10_000)
    assert write_novelty(tmp_path, many) < 50_000
    assert known_distances(scores[:0], None, method="classes", measures=None, seed=0) is None


def test_the_card_says_what_was_tried_and_what_is_not_told(tiny_run: sightline.Run) -> None:
    (section,) = (tiny_run.bundle.path / "card.md").read_text(encoding="utf-8").split("## What it has never seen\n")[1:]
    assert "40 to 97 in 100 were missed" in section
    assert "It was tried on made images" in section
    known = KnownDistances(
        "classes", np.zeros(9, np.float32), 9, False, NoveltyMeasures(0.8, 0.3, {"noise": 1, "a": 0.5})
    )
    text = novelty_section(known, 9, metrics={})
    assert "marked were noise (100%); **not reliably marked: a (50%)**." in text
    assert "it marked 30% of their images, and they were farther than others in 80.0% of pairs" in text
    assert "does not reliably tell" not in text
    kinds = ["noise", "one colour", "stripes", "inverted images", "signs"]
    missed = dataclasses.replace(known, measures=NoveltyMeasures(0.6, 0.1, dict.fromkeys(kinds, 0.1)))
    text = novelty_section(missed, 9, metrics={})
    assert all(f"{kind} (10%)" in text for kind in kinds)
    assert "**So this network does not reliably tell what it never saw.**" in text
    assert "too few validation images" in novelty_section(dataclasses.replace(known, measures=None), metrics={})
    assert "Not told" in novelty_section(None, metrics={})


def test_a_network_that_tells_none_of_the_made_images_is_not_said_to_tell_what_it_never_saw(
    altered: Callable[..., Path], tiny_run: sightline.Run
) -> None:
    kinds = read_novelty(tiny_run.bundle).measures
    assert kinds is not None
    told = np.ones(len(kinds.caught))
    for caught, beginning in (
        (told, "images unlike those it learned are marked, and so are at most 20 % of"),
        (0 * told, "images unlike those it learned are marked, but none reliably, and so are at most 20 % of"),
    ):
        maker = novelty_maker(load_bundle(altered(caught=caught)), 0.2, certainty=0.8)
        assert maker is not None
        assert maker.in_words.startswith(beginning)
        assert all((kind in maker.in_words) == (caught[0] == 0) for kind in kinds.caught)
