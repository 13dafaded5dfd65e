from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sightline
from sightline.bundles.bundle import CAPABILITIES, write_manifest
from sightline.errors import InvalidBundle, InvalidSource
from sightline.evaluation.verification import CONTENTS, Check, verify


def outcomes(found: sightline.Verification) -> dict[str, str]:
    return {check.name: check.outcome for check in found.checks}


def failed(found: sightline.Verification) -> dict[str, str]:
    return {check.name: check.in_words for check in found.checks if check.outcome == "fails"}


def check_of(found: sightline.Verification, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


def replace_arrays(path: Path, **changed: Any) -> None:
    with np.load(path) as archive:
        arrays = {**archive, **changed}
    np.savez_compressed(path, **arrays)


def replace_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_a_whole_run_holds_and_tells_what_was_compared(tiny_run: sightline.Run) -> None:
    found = verify(tiny_run)
    assert found.holds
    capabilities = tiny_run.bundle.manifest["capabilities"]
    steps = ["model.onnx", "answers", "model.keras", "kept figures", "test figures"]
    held = dict.fromkeys(["files", "description", "run", *capabilities, *steps], "holds")
    assert outcomes(found) == {**held, "signature": "not checked"}
    assert check_of(found, "answers").largest_difference == 0
    assert check_of(found, "kept figures").largest_difference == 0
    assert check_of(found, "test figures").largest_difference == 0
    keras = check_of(found, "model.keras").largest_difference
    assert keras is not None
    assert keras < 1e-4
    assert "200 test images once more" in str(found)
    assert str(found).endswith(f"{len(held)} checks held, 0 failed, 1 not made")


def test_each_capability_that_a_bundle_can_have_is_opened_by_a_reader() -> None:
    assert set(CONTENTS) == set(CAPABILITIES)


def test_a_changed_byte_in_any_file_is_named_and_nothing_of_it_is_opened(run_copy: Path) -> None:
    for path in sorted((run_copy / "bundle").iterdir()):
        if path.name == "manifest.json":
            continue
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        found = verify(run_copy)
        assert failed(found) == {
            "files": f"{path.name} is not the file that was saved (its SHA-256 differs). "
            "Copy the whole bundle again from where it was made."
        }
        assert outcomes(found) == {"files": "fails", "signature": "not checked", "contents": "not checked"}
        path.write_bytes(whole)
    (run_copy / "bundle" / "labels.json").unlink()
    assert "labels.json is missing" in failed(verify(run_copy))["files"]


def test_what_answers_otherwise_than_it_did_fails_though_its_hashes_are_right(
    run_copy: Path, tiny_mlp: sightline.Run
) -> None:
    bundle = run_copy / "bundle"
    shutil.copy(tiny_mlp.bundle.path / "model.keras", bundle / "model.keras")
    write_manifest(bundle)
    found = verify(bundle)
    assert set(failed(found)) == {"model.keras"}
    assert "on 32 images, probabilities as of model.onnx: largest difference" in str(found)
    shutil.copy(tiny_mlp.bundle.path / "model.onnx", bundle / "model.onnx")
    write_manifest(bundle)
    assert set(failed(verify(run_copy))) == {"answers", "test figures"}
    (bundle / "model.keras").write_bytes(b"no archive")
    write_manifest(bundle)
    assert set(failed(verify(run_copy))) == {"answers", "model.keras", "test figures"}


def test_figures_that_were_written_prettier_than_they_are_fail(run_copy: Path) -> None:
    def prettier(content: Any) -> None:
        content["test"]["accuracy"] += 0.01

    replace_json(run_copy / "metrics.json", prettier)
    found = verify(run_copy)
    assert set(failed(found)) == {"kept figures"}
    assert check_of(found, "kept figures").largest_difference == pytest.approx(0.01)
    replace_json(run_copy / "bundle" / "metrics.json", prettier)
    write_manifest(run_copy / "bundle")
    assert set(failed(verify(run_copy))) == {"kept figures", "test figures"}


def test_bounds_that_an_earlier_version_made_otherwise_do_no_harm(run_copy: Path) -> None:
    def moved(content: dict[str, Any]) -> None:
        content["test"].update(cross_entropy_interval=[0.0, 9.0])

    replace_json(run_copy / "metrics.json", moved)
    assert not failed(verify(run_copy))


def test_answers_that_were_changed_after_the_run_fail(run_copy: Path) -> None:
    with np.load(run_copy / "predictions.npz") as archive:
        logits = archive["test_logits"]
    replace_arrays(run_copy / "predictions.npz", test_logits=logits * 1.01)
    assert set(failed(verify(run_copy))) == {"kept figures", "test figures"}


def test_figures_that_are_no_numbers_fail_and_are_no_bug(run_copy: Path) -> None:
    replace_json(run_copy / "bundle" / "metrics.json", lambda content: content["test"].update(macro_f1="high"))
    write_manifest(run_copy / "bundle")
    words = failed(verify(run_copy))
    assert words == dict.fromkeys(
        ["kept figures", "test figures"], "metrics.json: a figure is no number. Copy the run or the bundle again."
    )


def test_a_bundle_apart_from_its_run_is_judged_on_a_source_that_is_named_alone(
    run_copy: Path, small_npz: Path, tmp_path: Path
) -> None:
    apart = Path(shutil.copytree(run_copy / "bundle", tmp_path / "apart"))
    found = verify(apart)
    assert found.holds
    left = check_of(found, "test figures")
    assert left.outcome == "not checked"
    assert "opened only if you name it" in left.in_words
    assert check_of(verify(apart, small_npz), "test figures").outcome == "holds"


def test_a_run_without_its_last_figure_fails_as_unfinished_and_says_how_to_go_on(run_copy: Path) -> None:
    (run_copy / "metrics.json").unlink()
    (run_copy / "checkpoints").mkdir()
    (run_copy / "checkpoints" / "request.json").touch()
    words = failed(verify(run_copy))
    assert "this run has no metrics.json; its training did not finish. Go on with it: sightline resume" in words["run"]


def test_what_a_newer_version_added_is_not_checked(run_copy: Path) -> None:
    replace_json(run_copy / "bundle" / "manifest.json", lambda content: content["capabilities"].append("\x1b[2Jmaps"))
    found = verify(run_copy / "bundle")
    assert found.holds
    assert outcomes(found)["\\x1b[2Jmaps"] == "not checked"


def test_where_keras_is_missing_it_is_said_and_all_else_is_checked(tiny_run: sightline.Run, python) -> None:
    program = """
import sys
sys.modules["keras"] = None
import sightline
for check in sightline.verify(sys.argv[1]).checks:
    if check.outcome != "holds":
        print(check)
assert "tensorflow" not in sys.modules
"""
    answer = python(program, tiny_run.path)
    assert answer.code == 0, answer.err
    unsigned, lacking = answer.out.splitlines()
    assert unsigned.startswith("not checked signature: it is not signed")
    assert lacking.startswith("not checked model.keras: Keras is not installed here (training needs the package")


def test_what_is_neither_run_nor_bundle_and_a_source_that_is_none_are_refused(
    tiny_run: sightline.Run, tmp_path: Path
) -> None:
    with pytest.raises(InvalidBundle, match=r"not a bundle: it has no manifest\.json"):
        verify(tmp_path)
    with pytest.raises((InvalidSource, ValueError), match="nowhere"):
        verify(tiny_run, tmp_path / "nowhere")


def test_the_command_prints_a_line_a_check_and_ends_with_1_where_one_fails(run_copy: Path, command) -> None:
    answer = command("verify", run_copy / "bundle", "--json", "--quiet")
    told = json.loads(answer.out)
    assert (answer.code, answer.err, told["holds"]) == (0, "", True)
    assert set(told["checks"][0]) == {"name", "outcome", "in_words", "largest_difference"}
    (run_copy / "bundle" / "card.md").write_text("better", "utf-8")
    answer = command("verify", run_copy, "--quiet")
    assert answer.code == 1
    assert answer.out.splitlines()[0].startswith("fails       files: card.md is not the file that was saved")
    assert command("verify", "nowhere").code == 2
