from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.cli.main import build_parser
from sightline.cli.options import DISTIL_SHORTHANDS, SHORTHANDS, settings_of


@pytest.mark.parametrize(("command", "options"), [("train", tuple(SHORTHANDS)), ("distil", DISTIL_SHORTHANDS)])
def test_what_keeps_data_out_of_the_bundle_sets_its_key_beside_other_settings(command: str, options) -> None:
    parser = build_parser()
    typed = [command, "mnist", "--no-identity", "--set", "seed=1", "--no-parity-images", "--epochs", "3"]
    asked = sightline.recipe("fast", settings_of(parser.parse_args(typed), options))
    assert (asked.data.identity, asked.data.parity_images, asked.seed, asked.training.epochs) == (False, False, 1, 3)
    plain = sightline.recipe("fast", settings_of(parser.parse_args([command, "mnist"]), options))
    assert plain == sightline.recipe("fast")


def test_options_are_made_for_the_command_that_was_typed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser(["predict", "imagenet", "a.png"])
    assert parser.parse_args(["predict", "imagenet", "a.png"]).images == ["a.png"]
    with pytest.raises(SystemExit):
        parser.parse_args(["train", "mnist"])
    assert "unrecognized arguments: mnist" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--epochs", "--seed", "--label-from"])
def test_an_option_with_two_values_is_refused_and_one_that_is_typed_again_is_not(option: str, capsys) -> None:
    parser = build_parser()
    assert parser.parse_args(["train", "mnist", option, "1", option, "1"]).command == "train"
    with pytest.raises(SystemExit):
        parser.parse_args(["train", "mnist", option, "1", option, "2"])
    assert f"argument {option}: it is set twice, to 1 and to 2. Set it once." in capsys.readouterr().err


@pytest.fixture
def digits(small_arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    """Tables and folders of the first test images, in the folder where commands are typed."""
    lines = []
    for row in range(60):
        name = f"{small_arrays['y_test'][row]}/{row}.png"
        for place in (tmp_path / "in" / "one", tmp_path / "in" / "two"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small_arrays["x_test"][row]).save(place / name)
        lines.append(f"in/one/{name},{small_arrays['y_test'][row]},unused")
    (tmp_path / "named.csv").write_text("scan,digit,label\n" + "\n".join(lines))
    (tmp_path / "usual.csv").write_text("path,label,note\n" + "\n".join(lines))
    return tmp_path


NAMED = ("--column", "path=scan", "--column", "label=digit")


@pytest.mark.parametrize("options", [NAMED, ("--column", "path=scan,label=digit")])
def test_audit_and_show_open_a_table_by_the_columns_that_are_named(command, digits: Path, options) -> None:
    assert "has no column 'path'" in command("audit", "named.csv").err
    assert command("audit", "named.csv", *options, "--json").code in (0, 1)
    labels = json.loads(command("show", "named.csv", *options, "--json", "--count", "3").out)["labels"]
    assert labels == json.loads(command("show", "usual.csv", "--json", "--count", "3").out)["labels"]


def test_folders_are_opened_by_the_level_that_is_named(command, digits: Path) -> None:
    assert "label_from='last'" in command("show", "in").err
    assert "classes (0, 1, 2" in command("show", "in", "--label-from", "last").out
    assert "2 classes (one, two)" in command("show", "in", "--label-from", "top").out


def test_evaluate_takes_columns_for_the_source_that_is_named(command, digits: Path, tiny_run: sightline.Run) -> None:
    by_column = json.loads(command("evaluate", tiny_run.path, "named.csv", *NAMED, "--json").out)
    usual = json.loads(command("evaluate", tiny_run.path, "usual.csv", "--json").out)
    assert by_column["confusion"] == usual["confusion"]
    answer = command("evaluate", tiny_run.path, *NAMED)
    assert answer.code == 2
    assert "say how a source is opened; name one" in answer.err


def test_evaluate_takes_one_class_however_it_is_named(command, digits: Path, tiny_run: sightline.Run) -> None:
    header, *lines = (digits / "named.csv").read_text().splitlines()
    sevens = [line for line in lines if line.split(",")[1] == "7"]
    (digits / "named.csv").write_text("\n".join([header, *sevens]))
    answer = command("evaluate", tiny_run.path, "named.csv", *NAMED, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["num_images"] == len(sevens)
    assert "one class only" in command("show", "named.csv", *NAMED).err


@pytest.mark.slow
def test_a_run_remembers_the_columns_and_evaluates_by_them(command, digits: Path) -> None:
    trained = command(
        "train", "named.csv", *NAMED, "--recipe", "fast", "--model", "mlp", "--epochs", "1", "--out", "run"
    )
    assert trained.code == 0, trained.err
    figures = json.loads((digits / "run" / "bundle" / "metrics.json").read_text())
    assert figures["source"]["columns"] == "path=scan,label=digit"
    assert json.loads(command("evaluate", "run", "--json").out)["accuracy"] == figures["test"]["accuracy"]
