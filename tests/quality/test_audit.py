from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.cli.main import main
from sightline.errors import UnknownName
from sightline.quality.audit import audit, cheap_findings
from sightline.quality.findings import Audit
from sightline.quality.survey import survey

SIGN_DIGITS = Path(__file__).resolve().parents[3] / "shared" / "data" / "sign_digits"


@pytest.fixture(scope="module")
def traps(trap_folder: Path) -> Audit:
    return audit(trap_folder, mode="quiet")


@pytest.fixture(scope="module")
def split_folder(tmp_path_factory: pytest.TempPathFactory, clean_folder: Path) -> Path:
    """The clean images as train and test, with one image of train in test, and one of another class."""
    root = tmp_path_factory.mktemp("split") / "photos"
    for name in ("cat", "dog"):
        for number, path in enumerate(sorted((clean_folder / name).iterdir())):
            split = "test" if number < 30 else "train"
            (root / split / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / split / name / path.name)
    with Image.open(root / "train/cat/050.jpg") as picture:
        picture.save(root / "test/cat/leaked.png")
    with Image.open(root / "train/dog/060.jpg") as picture:
        picture.save(root / "test/cat/contradicting.png")
    return root


def paths_of(found: Audit, kind: str) -> list[tuple[str, ...]]:
    return [finding.paths for finding in found.findings if finding.kind == kind]


def contents_of(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_clean_folder_is_called_clean(clean_folder: Path) -> None:
    found = audit(clean_folder, mode="quiet")
    assert found.findings == ()
    assert (found.num_files, found.num_images) == (210, 210)
    assert "nothing to remark" in str(found)


@pytest.mark.parametrize(
    ("kind", "severity", "paths"),
    [
        ("contradicting-labels", "error", ("cat/either.png", "dog/or.png")),
        ("class-too-small", "error", ("rare/only.jpg",)),
        ("duplicates", "warning", ("cat/copy-1.png", "cat/copy-2.bmp")),
        ("constant", "warning", ("cat/blank.png", "dog/blank.png")),
        ("tiny", "warning", ("dog/icon.png",)),
        ("extreme-shape", "warning", ("dog/banner.png",)),
        ("class-names", "warning", ()),
        ("wrong-extension", "note", ("cat/in-truth-a-jpeg.png",)),
        ("exif-rotation", "note", ("dog/turned.jpg",)),
    ],
)
def test_each_trap_is_found_and_nothing_else_of_its_kind(
    traps: Audit, kind: str, severity: str, paths: tuple[str, ...]
) -> None:
    (finding,) = (finding for finding in traps.findings if finding.kind == kind)
    assert (finding.severity, tuple(sorted(finding.paths))) == (severity, paths)


def test_every_unreadable_file_is_found_with_its_reason(traps: Audit) -> None:
    unreadable = {finding.paths[0]: finding.detail for finding in traps.findings if finding.kind == "unreadable"}
    assert unreadable["cat/page.jpg"] == "a web page, not an image; download the image itself."
    assert {path.split("/")[1][:3] for path in unreadable} == {"emp", "pag", "cut", "<sc"}
    assert traps.num_files - traps.num_images == 4


def test_a_picture_in_the_place_of_many_is_found(traps: Audit) -> None:
    (paths,) = paths_of(traps, "placeholder")
    assert len(paths) == 6
    assert all("missing-" in path for path in paths)


def test_the_plan_names_every_file_once_and_each_is_a_row(traps: Audit) -> None:
    files = [file for file, _ in traps.plan]
    assert len(files) == len(set(files)) == 15
    assert set(files) <= set(traps.dataset.row_ids.tolist())
    assert "cat/copy-1.png" not in files


def test_a_leak_leaves_train_and_a_contradiction_leaves_both(split_folder: Path) -> None:
    found = audit(split_folder, mode="quiet")
    (leak,) = (finding for finding in found.findings if finding.kind == "leak")
    assert sorted(leak.paths) == ["test/cat/leaked.png", "train/cat/050.jpg"]
    assert leak.exclusions == (("train/cat/050.jpg", "copy of test/cat/leaked.png, which is in test"),)
    (contradiction,) = paths_of(found, "contradicting-labels")
    assert sorted(contradiction) == ["test/cat/contradicting.png", "train/dog/060.jpg"]


def test_near_copies_are_found_and_can_be_left_aside(tmp_path: Path, clean_folder: Path) -> None:
    shutil.copytree(clean_folder, tmp_path / "photos")
    with Image.open(clean_folder / "cat/007.jpg") as picture:
        picture.resize((140, 105)).save(tmp_path / "photos/dog/enlarged.jpg", quality=60)
    (paths,) = paths_of(audit(tmp_path / "photos", mode="quiet"), "near-contradiction")
    assert sorted(paths) == ["cat/007.jpg", "dog/enlarged.jpg"]
    exact_only = audit(tmp_path / "photos", near_duplicates=False, mode="quiet")
    assert [finding.kind for finding in exact_only.findings] == ["not-searched"]


def test_pictures_under_one_fixed_camera_are_not_called_near_copies(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    scene = np.kron(generator.integers(40, 200, (12, 12, 1)), np.ones((4, 4, 1), np.int64))
    for number in range(48):
        spotted = scene + generator.normal(0, 5, (48, 48, 3))
        row, column = generator.integers(0, 44, 2)
        spotted[row : row + 4, column : column + 4] = 250
        path = tmp_path / "parts" / ("good", "dented")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(spotted, 0, 255).astype(np.uint8)).save(path)
    found = audit(tmp_path / "parts", mode="quiet")
    assert [finding.kind for finding in found.findings if "near" in finding.detail] == ["not-searched"]
    (told,) = (finding.detail for finding in found.findings if finding.kind == "not-searched")
    assert told.startswith("near copies of 48 images: they look so much like others, as under a fixed camera")
    assert not found.plan


def test_a_shortcut_through_the_format_is_found_in_real_files(tmp_path: Path, clean_folder: Path) -> None:
    shutil.copytree(clean_folder / "cat", tmp_path / "cat")
    (tmp_path / "dog").mkdir()
    for path in (clean_folder / "dog").iterdir():
        with Image.open(path) as picture:
            picture.save(tmp_path / "dog" / f"{path.stem}.png")
    details = [finding.detail for finding in audit(tmp_path, mode="quiet").findings if finding.kind == "shortcut"]
    assert any("the file format alone tells 'cat' from 'dog' in 100 %" in detail for detail in details)


def test_an_array_dataset_is_audited_as_far_as_it_goes() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (400, 28, 28), dtype=np.uint8)
    images[7], images[9] = images[3], 40
    labels = np.arange(400) % 2
    found = audit({"x_train": images, "y_train": labels}, mode="quiet")
    told = {finding.kind: finding.paths for finding in found.findings}
    assert told == {
        "duplicates": ("train/00003", "train/00007"),
        "constant": ("train/00009",),
        "not-searched": (),
    }
    assert "below 32 pixels a side" in found.findings[-1].detail


def test_a_bright_class_of_an_array_dataset_is_a_shortcut() -> None:
    images = np.random.default_rng(0).integers(0, 100, (300, 40, 40, 1), dtype=np.uint8)
    labels = np.arange(300) % 3
    images[labels == 1] += 100
    (finding,) = (
        finding for finding in audit({"x_train": images, "y_train": labels}).findings if finding.kind == "shortcut"
    )
    assert finding.severity == "warning"
    assert finding.detail.startswith("the mean brightness alone tells '1' from the rest in 97 % of 300 images")


def test_the_same_source_gives_the_same_findings_in_the_same_order(traps: Audit, trap_folder: Path) -> None:
    assert audit(trap_folder, mode="quiet").findings == traps.findings


def test_nothing_of_the_source_is_changed(trap_folder: Path, tmp_path: Path) -> None:
    before = contents_of(trap_folder)
    options = ["--quiet", "--html", str(tmp_path / "a.html"), "--plan", str(tmp_path / "plan.csv")]
    main(["audit", str(trap_folder), *options])
    assert contents_of(trap_folder) == before


def test_training_gets_the_cheap_part_from_what_it_has(split_folder: Path) -> None:
    dataset = sightline.load(split_folder)
    seen = survey(dataset)
    told = cheap_findings(dataset, errors={0: "cut"}, signatures=seen.signatures)
    assert [finding.kind for finding in told] == ["unreadable", "contradicting-labels", "leak"]
    assert [finding.kind for finding in cheap_findings(dataset)] == []


def test_the_command_prints_json_alone_and_exits_with_1(trap_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(trap_folder), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"num_files", "num_images", "findings"}
    assert {key for finding in content["findings"] for key in finding} == {"kind", "severity", "paths", "detail"}
    assert {finding["severity"] for finding in content["findings"]} <= {"error", "warning", "note"}


def test_the_command_exits_with_0_where_nothing_is_wrong(
    clean_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(clean_folder), "--quiet"]) == 0
    streams = capsys.readouterr()
    assert "nothing to remark" in streams.out
    assert streams.err == ""


def test_an_audit_does_not_wait_for_keras(python, trap_folder: Path, tmp_path: Path) -> None:
    program = """
import sys
from sightline.cli.main import main
main(["audit", *sys.argv[1:]])
sys.exit(f"imported {sorted(heavy)}" if (heavy := {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)) else 0)
"""
    answer = python(program, trap_folder, "--quiet", "--html", tmp_path / "a.html")
    assert answer.code == 0, answer.err


def test_the_command_refuses_a_source_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "no-such-folder"]) == 2
    with pytest.raises(UnknownName):
        audit("no-such-folder")


def test_the_command_never_writes_over_a_part_of_the_source(
    trap_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = trap_folder / "cat" / "000.jpg"
    before = victim.read_bytes()
    assert main(["audit", str(trap_folder), "--plan", str(victim)]) == 2
    assert "which is never changed" in capsys.readouterr().err
    assert victim.read_bytes() == before


def test_the_plan_is_a_table_of_files_and_reasons(trap_folder: Path, tmp_path: Path) -> None:
    main(["audit", str(trap_folder), "--quiet", "--plan", str(tmp_path / "plan.csv")])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "plan.csv").read_text(encoding="utf-8"))))
    assert {"file": "cat/empty.jpg", "reason": "cannot be read: empty file (0 bytes)."} in rows


@pytest.mark.skipif(not SIGN_DIGITS.is_dir(), reason=f"the photographs of sign digits are not at {SIGN_DIGITS}")
def test_the_three_turned_photographs_of_sign_digits_are_found() -> None:
    found = audit(SIGN_DIGITS, near_duplicates=False, mode="quiet")
    (turned,) = paths_of(found, "exif-rotation")
    assert sorted(turned) == ["7/IMG_5874.JPG", "7/IMG_5935.JPG", "7/IMG_5978.JPG"]
    assert (found.num_files, found.num_images) == (2062, 2062)
    assert found.is_clean
