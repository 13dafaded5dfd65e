"""What `--track` takes: a tracker and a place there, and never a password."""

from __future__ import annotations

from pathlib import Path

import pytest

import sightline
from sightline.errors import InvalidValue, UnknownName
from sightline.integrations.tracking.addresses import read_address, without_credentials


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("mlflow:https://mlflow.example.org:5000/", "mlflow:https://mlflow.example.org:5000"),
        ("mlflow:http://10.0.0.2/team/mlflow", "mlflow:http://10.0.0.2/team/mlflow"),
        ("wandb:flowers", "wandb:flowers"),
        ("wandb:our team/flowers 2", "wandb:our team/flowers 2"),
        ("wandb:花/猫", "wandb:花/猫"),
    ],
)
def test_an_address_is_read_as_it_is_typed(typed: str, told: str) -> None:
    assert str(read_address(typed)) == told


def test_a_folder_is_told_from_the_root_and_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(read_address("mlflow:my logs/été")) == f"mlflow:{tmp_path}/my logs/été"
    assert str(read_address("mlflow:~/logs")) == f"mlflow:{tmp_path}/home/logs"
    again = read_address(str(read_address("mlflow:logs")))
    assert again == read_address("mlflow:logs")
    assert not again.is_server
    assert list(tmp_path.iterdir()) == [], "reading an address makes nothing"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("mlfow:logs", r"no tracker is called that\. Did you mean 'mlflow'\? Known: mlflow, wandb"),
        ("", r"no tracker is called that"),
        ("logs", r"--track logs: no tracker"),
        ("https://user:secret@host/", r"--track https://\*\*\*@host/: no tracker"),
    ],
)
def test_an_unknown_tracker_is_told_which_there_are(typed: str, words: str) -> None:
    with pytest.raises(UnknownName, match=words):
        read_address(typed)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("mlflow", "--track mlflow names no place"),
        ("mlflow:", "--track mlflow names no place"),
        ("wandb:  ", "--track wandb names no place"),
        ("wandb:a/b/c", "no project is called so"),
        ("wandb:a#b", "no project is called so"),
        ("wandb:/b", "no project is called so"),
        ("wandb:" + "a" * 129, "no project is called so"),
        ("wandb:a\nb", "no project is called so"),
        ("mlflow:ftp://host", "reached by a folder, or by the address of its server"),
        ("mlflow:postgresql://host/db", "mlflow:postgresql://host/db: MLflow is reached by a folder"),
        ("mlfow:http://me:se/secret@host", r"--track mlfow:http://\*\*\*@host: no tracker"),
        ("mlflow:http://", "reached by a folder"),
        ("mlflow:http://host:port", "no address of a server"),
        ("mlflow:http://[::1", "no address of a server"),
        ("mlflow:a?b", "no folder with any of"),
        ("mlflow:a\0b", "no folder with any of"),
        (5, "--track takes mlflow:FOLDER"),
        (None, "--track takes mlflow:FOLDER"),
    ],
)
def test_what_is_no_place_is_refused(typed: object, words: str) -> None:
    with pytest.raises(InvalidValue, match=words) as refused:
        read_address(typed)  # type: ignore[arg-type]
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "typed",
    [
        "mlflow:https://me:secret@host",
        "mlflow:https://secret@host/x",
        "mlflow:https://host/?token=secret",
        "mlflow:http://me:5/secret@@host",
        "mlflow:postgresql://user:secret@host/db",
    ],
)
def test_a_password_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(InvalidValue, match="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as refused:
        read_address(typed)
    assert "secret" not in str(refused.value)


def test_what_stands_before_an_at_is_not_told() -> None:
    told = without_credentials("cannot reach https://me:se/cr:et@@host:5000/x, nor s3://key:more@store, nor me@host")
    assert told == "cannot reach https://***@host:5000/x, nor s3://***@store, nor ***@host"


def test_a_file_and_a_place_in_a_bundle_are_no_folder(tmp_path: Path, tiny_run: sightline.Run) -> None:
    (tmp_path / "logs").write_text("taken")
    with pytest.raises(InvalidValue, match=r"mlflow:.*logs/inside: .*logs is no folder"):
        read_address(f"mlflow:{tmp_path}/logs/inside")
    with pytest.raises(InvalidValue, match="belongs to the bundle"):
        read_address(f"mlflow:{tiny_run.bundle.path}/logs")


def test_a_wrong_tracker_is_refused_before_keras_and_a_folder_come(python, tmp_path: Path) -> None:
    program = """
import sys, sightline
for typed in ("mlfow:logs", "mlflow:https://a:b@host"):
    try:
        sightline.train("mnist", out="run", track=typed)
    except sightline.SightlineError as error:
        print(type(error).__name__, "keras" in sys.modules, "mlflow" in sys.modules)
"""
    answer = python(program)
    assert answer.out == "UnknownName False False\nInvalidValue False False\n", answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("package", "track"), [("mlflow", "mlflow:logs"), ("sqlalchemy", "mlflow:logs"), ("wandb", "wandb:p")]
)
def test_a_missing_tracker_is_told_with_the_extra_that_brings_it(
    python, tmp_path: Path, package: str, track: str
) -> None:
    program = f"""
import sys, sightline
sys.modules["{package}"] = None
try:
    sightline.train("mnist", out="run", track="{track}")
except sightline.SightlineError as error:
    print(type(error).__name__, error, "keras" in sys.modules)
"""
    answer = python(program)
    kind = track.partition(":")[0]
    assert (
        f"needs the package '{package}', which is not installed. Run: pip install 'sightline[{kind}]' False"
        in answer.out
    )
    assert answer.out.startswith("MissingPackage --track "), answer.err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "logs").exists()
