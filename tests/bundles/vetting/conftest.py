"""Files of Keras and HDF5 made after published advisories: each is a whole network but for one thing."""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sightline.configuration.schema import ModelRecipe
from sightline.system.backends import load_keras

# What a file that is opened after all would make; nobody may.
CANARY = "/tmp/sightline-canary"  # no file of that name is ever written


@dataclass(frozen=True)
class Network:
    """The parts of a whole `.keras` file."""

    config: dict[str, Any]
    weights: bytes

    def archive(self, *, config: Any = None, weights: bytes | None = None, **options: Any) -> bytes:
        text = config if isinstance(config, str) else json.dumps(self.config if config is None else config)
        return packed(
            {"metadata.json": "{}", "config.json": text, "model.weights.h5": weights or self.weights}, **options
        )


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    load_keras()
    from sightline.networks.building import build_network
    from sightline.training.packaging.contract import contract_of

    path = tmp_path_factory.mktemp("whole") / "model.keras"
    contract_of(build_network((8, 8, 1), 2, ModelRecipe(name="mlp"))).save(path)
    with zipfile.ZipFile(path) as archive:
        return Network(json.loads(archive.read("config.json")), archive.read("model.weights.h5"))


def packed(
    members: dict[str, Any], *, change: Callable[[zipfile.ZipInfo], None] | None = None, twice: str = ""
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if change is not None:
                change(info)
            archive.writestr(info, content)
        if twice:
            archive.writestr("xxxxxx.json", "{}")
    return stream.getvalue().replace(b"xxxxxx.json", twice.encode()) if twice else stream.getvalue()


def with_layer(network: Network, module: Any, class_name: str, config: Any, **more: Any) -> bytes:
    """The network with one more layer, which hangs on its input."""
    layer = {"module": module, "class_name": class_name, "config": config, "registered_name": None, **more}
    changed = json.loads(json.dumps(network.config))
    call = changed["config"]["layers"][1]["inbound_nodes"]
    changed["config"]["layers"].append({**layer, "name": "added", "inbound_nodes": call})
    return network.archive(config=changed)


def with_changed(network: Network, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The network with a change of its first dense layer."""
    changed = json.loads(json.dumps(network.config))
    change(next(layer for layer in changed["config"]["layers"] if layer["class_name"] == "Dense"))
    return network.archive(config=changed)


def weights(make: Callable[[h5py.File], None], **options: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        make(file)
    return stream.getvalue()


class Payload:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return (open, (CANARY, "w"))


def descriptions(network: Network) -> Iterator[tuple[str, bytes, str]]:
    function = {"registered_name": "function"}
    code = base64.b64encode(marshal.dumps(compile(f"open({CANARY!r}, 'w')", "x", "eval"))).decode()
    lambda_ = {"function": {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}}
    yield (
        "CVE-2024-3660 lambda",
        with_layer(network, "keras.layers", "Lambda", lambda_),
        "names keras.layers.Lambda,",
    )
    yield "CVE-2025-1550 os.system", with_layer(network, "os", "function", "system", **function), "os.function, which"
    yield (
        "CVE-2025-8747 get_file",
        with_layer(network, "keras.utils", "get_file", {"origin": "file:///etc/passwd"}),
        ("keras.utils.get_file, which"),
    )
    yield (
        "CVE-2025-9906 unsafe",
        with_layer(network, "keras.config", "enable_unsafe_deserialization", {}),
        ("keras.config.enable_unsafe_deserialization, which"),
    )
    yield (
        "CVE-2025-9906 load_model",
        with_layer(network, "keras.models", "function", "load_model", **function),
        ("keras.models.function, which"),
    )
    for name, words in (("StringLookup", "/etc/passwd"), ("TextVectorization", "http://127.0.0.1:9/words")):
        yield (
            f"CVE-2025-12058 {name}",
            with_layer(network, "keras.layers", name, {"vocabulary": words}),
            (f"keras.layers.{name}, which no network that Sightline opens"),
        )
    yield (
        "CVE-2026-1462 saved model",
        with_layer(network, "keras.layers", "TFSMLayer", {"filepath": "/tmp/evil"}),
        ("keras.layers.TFSMLayer, which"),
    )
    pickled = base64.b64encode(pickle.dumps(Payload())).decode()
    yield (
        "CVE-2025-49655 torch",
        with_layer(network, "keras.layers", "TorchModuleWrapper", {"module": pickled}),
        ("TorchModuleWrapper, which"),
    )
    yield (
        "CVE-2026-12481 nested",
        with_changed(
            network, lambda layer: layer["config"].update(activation={"module": "keras.layers", "class_name": "Lambda"})
        ),
        "keras.layers.Lambda, which",
    )
    yield "module of a package", with_layer(network, "keras_hub.models", "Backbone", {}), "keras_hub.models.Backbone"
    yield "module of ours", with_layer(network, "sightline.cli.main", "main", {}), "sightline.cli.main.main, which"
    yield (
        "registered code",
        with_changed(network, lambda layer: layer.update(registered_name="evil>Dense")),
        ("by 'evil>Dense', code that is not of Keras"),
    )
    yield (
        "module without class",
        with_changed(network, lambda layer: layer["config"].update(x={"module": "os"})),
        ("names a module without a class"),
    )
    yield (
        "type specification",
        with_changed(
            network, lambda layer: layer["config"].update(x={"class_name": "__typespec__", "spec_name": "os"})
        ),
        "it names __typespec__, which",
    )
    yield "compiled", with_changed(network, lambda layer: layer.update(compile_config={"loss": "mse"})), "to be trained"
    yield (
        "million units",
        with_changed(network, lambda layer: layer["config"].update(units=10**9)),
        "units of 1,000,000,000",
    )
    yield (
        "room for weights",
        with_changed(network, lambda layer: layer["build_config"].update(input_shape=[None, 2**25])),
        "it makes room for",
    )
    yield "no size", with_changed(network, lambda layer: layer.pop("build_config")), "does not say how large it is"
    yield (
        "margins",
        with_layer(network, "keras.layers", "ZeroPadding2D", {"padding": [[10**6, 0], [0, 0]]}),
        ("asks for padding of 1,000,000"),
    )
    text = json.dumps(network.config)
    yield (
        "key twice",
        network.archive(config=text.replace('"class_name"', '"class_name": "x", "class_name"', 1)),
        "twice",
    )
    yield "deep", network.archive(config="[" * 100_000 + "]" * 100_000), "nested more than 32 deep"
    yield "no network", network.archive(config={"class_name": "Sequential", "config": {}}), "describes no network"


def archives(network: Network) -> Iterator[tuple[str, bytes, str]]:
    whole = {"config.json": json.dumps(network.config), "model.weights.h5": network.weights}
    for name in ("../outside.txt", "/tmp/outside.txt", "assets/../../outside.txt", "model.weights.npz"):
        yield f"CVE-2025-12060 {name}", packed({**whole, name: "x"}), f"holds '{name}', which Keras does not write"

    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    def bomb(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_DEFLATED

    yield "link", network.archive(change=link), "its member metadata.json is a link"
    yield "bomb of words", network.archive(config=" " * 2**25, change=bomb), "is compressed or encrypted"
    yield "bomb of weights", network.archive(weights=bytes(2**26), change=bomb), "is compressed or encrypted"
    yield (
        "member twice",
        packed(whole, twice="config.json"),
        "holds 'config.json', which Keras does not write, or twice",
    )
    yield "more behind it", network.archive() + b"PK\5\6" + bytes(18), "more than Keras writes"
    yield "many members", packed({**whole, **{f"{number}": "" for number in range(70_000)}}), "more than Keras writes"
    yield "elsewhere", _pointing_elsewhere(network.archive()), "is not where the archive says"
    yield "damaged", _flipped(network.archive(), network.weights), "its member model.weights.h5 is damaged"
    yield "pickle", pickle.dumps(Payload()), "no archive of Keras"
    yield "no weights", packed({"config.json": whole["config.json"]}), "lacks model.weights.h5"


def _pointing_elsewhere(archive: bytes) -> bytes:
    """The list says that the weights lie where the description does."""
    table = archive.rindex(b"PK\1\2")
    return archive[: table + 42] + struct.pack("<I", 0) + archive[table + 46 :]


def _flipped(archive: bytes, part: bytes) -> bytes:
    at = archive.index(part) + len(part) - 1
    return archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :]


def hdf5_files() -> Iterator[tuple[str, bytes, str]]:
    yield (
        "CVE-2026-1669 external link",
        weights(lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/x"))),
        "links in a form that Keras does not write",
    )
    yield "soft link", weights(lambda file: file.__setitem__("a", h5py.SoftLink("/b"))), "a link in place of an array"
    yield (
        "other file",
        weights(lambda file: file.create_dataset("a", (6,), "f4", external=[("/etc/passwd", 0, 24)])),
        "an array that lies in another file",
    )
    layout = h5py.VirtualLayout((6,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6,))
    yield "virtual", weights(lambda file: file.create_virtual_dataset("a", layout)), "made of other files"
    yield (
        "filter bomb",
        weights(lambda file: file.create_dataset("a", (2**24,), "f4", compression="gzip", data=np.zeros(2**24, "f4"))),
        "an array behind a filter",
    )
    yield "pieces", weights(lambda file: file.create_dataset("a", (6,), "f4", chunks=(2,))), "an array in pieces"
    yield (
        "CVE-2026-0897 shape",
        weights(lambda file: file.create_dataset("a", (2**40,), "f4")),
        "point beyond their end",
    )
    yield (
        "any length",
        weights(lambda file: file.create_dataset("a", data=["x"], dtype=h5py.string_dtype())),
        "something else than numbers",
    )
    yield (
        "compound",
        weights(lambda file: file.create_dataset("a", data=np.zeros(2, [("x", "f4"), ("y", "f4")]))),
        "something else than numbers",
    )
    yield (
        "opaque",
        weights(lambda file: file.create_dataset("a", data=np.zeros(2, "V8"))),
        "something else than numbers",
    )
    yield (
        "reference",
        weights(lambda file: file.attrs.create("a", file.ref, dtype=h5py.ref_dtype)),
        "neither text nor a number",
    )
    yield from _odd_hdf5_files()


def _odd_hdf5_files() -> Iterator[tuple[str, bytes, str]]:
    numbers = np.arange(6, dtype=np.float32)

    def circle(file: h5py.File) -> None:
        file.create_group("a")["b"] = file["/"]

    def named_twice(file: h5py.File) -> None:
        file["a"] = numbers
        file["b"] = file["a"]

    def deep(file: h5py.File) -> None:
        file["/".join(["a"] * 100)] = numbers

    def named_type(file: h5py.File) -> None:
        file["t"] = np.dtype("f4")

    yield "circle", weights(circle), "name one part twice"
    yield "named twice", weights(named_twice), "name one part twice"
    yield "too deep", weights(deep), "nested too deep"
    yield "named type", weights(named_type), "neither a group nor an array"
    large = np.arange(600, dtype=np.float32)
    whole = weights(lambda file: file.update({"a": large, "b": large + 1}))
    first, second = (struct.pack("<Q", whole.index(one.tobytes())) for one in (large, large + 1))
    yield "overlapping", whole.replace(second, first), "name one part twice"
    yield "newest layout", weights(lambda file: file.update({"a": numbers}), libver="latest"), "does not write"
    yield "cut off", whole[:-20], "cut off or damaged"
    yield "text", b"a text", "cut off or damaged"


@pytest.fixture(scope="session")
def hostile_hdf5(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Name to a `.h5` file and to words of its refusal."""
    return _written(tmp_path_factory.mktemp("hdf5"), hdf5_files(), ".h5")


@pytest.fixture(scope="session")
def hostile_networks(network: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Name to a `.keras` file and to words of its refusal; weights as in `hostile_hdf5` are in some of them."""
    inside = ((f"inside: {name}", network.archive(weights=content), words) for name, content, words in hdf5_files())
    cases = (*descriptions(network), *archives(network), *inside)
    return _written(tmp_path_factory.mktemp("networks"), cases, ".keras")


def _written(folder: Path, cases: Iterable[tuple[str, bytes, str]], suffix: str) -> dict[str, tuple[Path, str]]:
    found = {}
    for number, (name, content, words) in enumerate(cases):
        path = folder / f"{number:02d}{suffix}"
        path.write_bytes(content)
        found[name] = (path, words)
    return found
