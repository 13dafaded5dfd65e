"""Files of Keras that somebody may have sent: refused before Keras sees them, with nothing run, read or written."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

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


def test_a_run_with_a_hostile_network_is_refused_by_all_that_would_open_it(
    run_copy: Path, tiny_mlp: sightline.Run, hostile_networks: dict[str, tuple[Path, str]], tmp_path: Path, command
) -> None:
    path, _ = hostile_networks["CVE-2024-3660 lambda"]
    (run_copy / "bundle" / "model.keras").write_bytes(path.read_bytes())
    write_manifest(run_copy / "bundle")
    with pytest.raises(InvalidBundle, match=r"it names keras\.layers\.Lambda, which no network of Sightline"):
        sightline.combine([run_copy, tiny_mlp], votes=[1, 1], out=tmp_path / "both", mode="quiet")
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
