from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import sightline
from sightline.errors import MissingPackage, UnknownName
from sightline.system.backends import choose_backend, installed_backends, load_keras, usual_keras

needs_tensorflow = pytest.mark.skipif("tensorflow" not in installed_backends(), reason="TensorFlow is not installed")


def without(*packages: str) -> str:
    """The start of a program that finds none of these packages, as on a machine without them."""
    return (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name in {packages!r} else find(name, *rest)\n"
        "from sightline.system.backends import choose_backend, load_keras\n"
    )


@pytest.mark.parametrize("typed", ["tensorfow", "TensorFlow", "numpy", "openvino"])
def test_an_unknown_backend_is_refused_with_the_known_ones(typed: str) -> None:
    with pytest.raises(UnknownName, match=f"no backend is called '{typed}'.*Known: jax, tensorflow, torch"):
        choose_backend(typed)


def test_an_unknown_backend_in_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(UnknownName, match="no backend is called 'theano'"):
        choose_backend()


@needs_tensorflow
def test_tensorflow_comes_first_and_the_request_beats_the_variable(python) -> None:
    program = "import sys; from sightline.system.backends import choose_backend; print(choose_backend(*sys.argv[1:]))"
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    assert python(program, env=environment).out == "tensorflow\n"
    assert python(program, "tensorflow", env={**environment, "KERAS_BACKEND": "theano"}).out == "tensorflow\n"


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_a_backend_that_is_not_installed_is_refused_with_the_command(name: str, python) -> None:
    program = without(name) + f"choose_backend({name!r})"
    assert (
        f"MissingPackage: the backend '{name}' is not installed. Run: pip install 'sightline[{name}]'"
        in python(program).err
    )


def test_without_any_backend_the_message_names_the_extra(python) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    answer = python(without("tensorflow", "jax", "torch") + "choose_backend()", env=environment)
    assert "MissingPackage: training needs a Keras backend and none is installed" in answer.err
    assert "pip install 'sightline[tensorflow]'" in answer.err


def test_missing_packages_are_import_errors_too() -> None:
    assert issubclass(MissingPackage, ImportError)


@needs_tensorflow
@pytest.mark.parametrize("settings", ['{"floatx": "bfloat16"}', '{"epsilon": 1}', "[]"])
def test_settings_of_another_project_that_keras_refuses_are_named(settings: str, python, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(settings)
    answer = python(
        "from sightline.system.backends import load_keras; load_keras()",
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
    )
    assert "InvalidValue: Keras cannot be imported (" in answer.err
    assert f"It reads {tmp_path}/keras.json" in answer.err
    assert "move it away, or set KERAS_HOME" in answer.err


@needs_tensorflow
def test_keras_loads_in_silence_and_stays_on_its_backend(python) -> None:
    program = """
import importlib.util
from sightline.system.backends import choose_backend, load_keras
from sightline.errors import InvalidValue
print(load_keras("tensorflow").config.backend(), choose_backend())
# As on a machine where JAX is installed, too.
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: find("json" if name == "jax" else name, *rest)
try:
    choose_backend("jax")
except InvalidValue as error:
    print(error)
"""
    answer = python(program)
    assert answer.err == ""
    assert answer.out.startswith("tensorflow tensorflow\n")
    assert "Keras is already loaded with 'tensorflow' in this process" in answer.out


@needs_tensorflow
def test_keras_is_set_as_it_comes_while_a_run_computes_and_then_as_it_was() -> None:
    config = load_keras().config
    odd = {"floatx": "float16", "epsilon": 1e-2, "image_data_format": "channels_first", "max_epochs": 1}
    odd["dtype_policy"] = "mixed_float16"
    usual = {name: getattr(config, name)() for name in odd}
    for name, value in odd.items():
        getattr(config, f"set_{name}")(value)
    try:
        with usual_keras():
            assert (config.floatx(), config.dtype_policy().name) == ("float32", "float32")
            assert (config.epsilon(), config.image_data_format(), config.max_epochs()) == (1e-7, "channels_last", None)
        assert config.dtype_policy().name == odd.pop("dtype_policy")
        assert {name: getattr(config, name)() for name in odd} == odd
    finally:
        for name, value in usual.items():
            getattr(config, f"set_{name}")(value)


@needs_tensorflow
@pytest.mark.parametrize("package", ["matplotlib", "tf2onnx", "onnx"])
def test_a_package_that_only_the_end_needs_is_missed_before_the_beginning(
    package: str, small_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackage, match=f"needs the package {package}, not installed here"):
        sightline.train(small_npz, backend="tensorflow", mode="quiet")
    assert not (tmp_path / "runs").exists()
