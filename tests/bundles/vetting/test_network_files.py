"""Files of Keras that somebody may have sent: refused before Keras sees them, with nothing run, read or written."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.bundles.vetting.network_files import check_network, open_network
from sightline.bundles.vetting.weights_files import check_weights
from sightline.errors import InvalidBundle, InvalidValue

# Without Keras and h5py, in little memory, and with note of every file that is opened and every program that is run.
WATCHED = """
import json, resource, sys
from pathlib import Path
sys.modules["keras"] = sys.modules["h5py"] = None
from sightline.bundles.vetting.network_files import check_network
from sightline.bundles.vetting.weights_files import check_weights
from sightline.errors import InvalidBundle
import encodings.cp437  # what zipfile reads names by
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
events = []
sys.addaudithook(lambda name, given: events.append([name, str(given[0])[:80] if given else ""]))
told = {}
for path in sys.argv[1:]:
    events.clear()
    try:
        check_network(Path(path))
        told[path] = ["taken", []]
    except InvalidBundle as error:
        told[path] = [str(error), [event for event in events if event != ["open", path]]]
print(json.dumps(told))
"""
HARMLESS = ("object.__getattr__", "mmap.__new__")


def test_at_least_twenty_files_after_advisories_are_refused_without_keras_in_little_memory(
    hostile_networks: dict[str, tuple[Path, str]], python
) -> None:
    assert len(hostile_networks) > 50
    answer = python(WATCHED, *(path for path, _ in hostile_networks.values()))
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    for name, (path, words) in hostile_networks.items():
        message, events = told[str(path)]
        assert re.search(words.replace(".", r"\."), message), f"{name}: {message}"
        assert message.startswith(f"{path}: not a network that Sightline opens: "), name
        assert not [event for event in events if event[0] not in HARMLESS], name


def test_the_network_that_they_were_made_of_is_taken_and_opened(network, tmp_path: Path) -> None:
    path = tmp_path / "whole.keras"
    path.write_bytes(network.archive())
    check_network(path)
    assert set(open_network(path).output) == {"features", "logits"}


@pytest.mark.parametrize("value", [0, 1, 0x80, 0xFF])
def test_an_archive_with_any_other_byte_in_its_list_is_taken_or_refused_in_words(
    value: int, network, tmp_path: Path
) -> None:
    whole = network.archive()
    for at in range(whole.rindex(b"model.weights.h5") - 46, len(whole)):
        path = tmp_path / "changed.keras"
        path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
        with contextlib.suppress(InvalidBundle):
            check_network(path)
        with contextlib.suppress(InvalidValue):
            check_weights("mobilenet-v2", str(path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "empty.keras"):
        if place.suffix:
            place.touch()
        with pytest.raises(InvalidBundle, match="not a network that Sightline opens"):
            check_network(place)


def seal(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    write_manifest(bundle)


def graph_that_reads_elsewhere(bundle: Path) -> bytes:
    """The graph of a bundle, one of whose tensors lies in another file."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(bundle / "model.onnx"))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../recipe.json")
    content: bytes = model.SerializeToString()
    return content


# All that opens the network of a run or a bundle, each in a way of its own.
PATHS: dict[str, Callable[[Path, sightline.Run, Path], object]] = {
    "extend": lambda run, other, out: sightline.extend(run, epochs=1, out=out, mode="quiet"),
    "combine": lambda run, other, out: sightline.combine([run, other], votes=[1, 1], out=out, mode="quiet"),
    "distil": lambda run, other, out: sightline.distil(run, into="mlp", out=out, mode="quiet"),
    "evaluate": lambda run, other, out: sightline.evaluate(run, out=out),
    "predict": lambda run, other, out: sightline.predict(run, np.zeros((1, 28, 28), np.uint8)),
}
OF_KERAS = ("extend", "combine")


@pytest.mark.parametrize("path", PATHS)
def test_a_run_with_a_hostile_network_is_refused_by_each_path_that_opens_one(
    path: str,
    run_copy: Path,
    tiny_mlp: sightline.Run,
    hostile_networks: dict[str, tuple[Path, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import keras

    opened: list[object] = []
    monkeypatch.setattr(keras.saving, "load_model", lambda place, **_: opened.append(place))
    if path in OF_KERAS:
        tried = [
            ("model.keras", *hostile_networks[name])
            for name in ("CVE-2024-3660 lambda", "CVE-2025-1550 os.system", "CVE-2025-49655 torch")
        ]
    else:
        hostile = tmp_path / "model.onnx"
        hostile.write_bytes(graph_that_reads_elsewhere(run_copy / "bundle"))
        tried = [("model.onnx", hostile, "model.onnx")]
    for name, content, words in tried:
        seal(run_copy / "bundle", name, content.read_bytes())
        with pytest.raises(InvalidBundle, match=re.escape(words)):
            PATHS[path](run_copy, tiny_mlp, tmp_path / "out")
        assert not list(tmp_path.glob("out/*"))
    assert opened == []


def test_a_hostile_network_is_a_check_that_fails(
    run_copy: Path, hostile_networks: dict[str, tuple[Path, str]], command
) -> None:
    seal(run_copy / "bundle", "model.keras", hostile_networks["CVE-2024-3660 lambda"][0].read_bytes())
    answer = command("verify", run_copy, "--quiet")
    assert answer.code == 1
    assert re.search(r"^fails       model\.keras: .* it names keras\.layers\.Lambda", answer.out, re.MULTILINE)


def test_weights_that_a_recipe_names_are_looked_at_before_anything_is_made(
    hostile_hdf5: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    path, words = hostile_hdf5["other file"]
    recipe = sightline.recipe("transfer", {"model.name": "mobilenet-v2", "model.weights": str(path)})
    with pytest.raises(InvalidValue, match=rf"model\.weights: .* cannot be read \(its weights hold {words}\)"):
        sightline.train("mnist", recipe=recipe, out=tmp_path / "run", mode="quiet")
    assert not (tmp_path / "run").exists()
