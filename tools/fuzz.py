"""Fuzz the decoder, or what reads a bundle: inputs are changed where the change reaches code that none reached before.

Usage: python tools/fuzz.py decoder CORPUS [--minutes 60]
       python tools/fuzz.py bundle CORPUS --run runs/mnist-fast-001 [--minutes 60]

It needs `pip install atheris onnx` in an environment of its own, beside Sightline's base install. CORPUS is a folder
that grows; sound inputs are put into an empty one. Anything but an answer or a refusal ends it with a traceback, and
leaves the input in `crash-*` there; so does one that takes over 5 s of processor or a process of over 1.5 GiB. Sums
that only tell damage of files apart from luck (CRC of PNG and ZIP, SHA-256 of a bundle) are right for every input.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    atheris: Any = importlib.import_module("atheris")
    watched = atheris.instrument_imports(include=["sightline", "PIL"])
except ModuleNotFoundError:  # a test tries inputs that were found, and looks for no more
    watched = contextlib.nullcontext()

with watched:
    import numpy as np
    import PIL.PngImagePlugin
    from hostile_images import sound_files

    from sightline.bundles.bundle import CAPABILITIES, load_bundle
    from sightline.bundles.prediction import predict
    from sightline.bundles.vetting.archives import check_weights_hdf5
    from sightline.bundles.vetting.network_files import check_network
    from sightline.data.decoding.decoder import decode_picture
    from sightline.data.decoding.tiff import camera_model
    from sightline.data.storage.stores import header_of
    from sightline.errors import SightlineError, UnreadableImage
    from sightline.evaluation.verification import CONTENTS
    from sightline.system.progress import reporting

MOST_SECONDS, MOST_MIB = 5.0, 1536
# What an input of the bundle's kind is in place of, by its first byte; the order may only grow, as the corpus keeps it.
FILES = (
    *("manifest.json", "input.json", "labels.json", "calibration.json", "metrics.json", "model.onnx", "parity.npz"),
    *("identity.npz", "sets.npz", "abstention.npz", "reference.npz", "novelty.npz", "neighbours.npz", "thumbnails.npz"),
    *("model.keras", "weights.h5"),
)
# What a prediction is asked for beside the class, by the file that tells it; all of it of a bundle with another change.
ASKED: dict[str, dict[str, Any]] = {
    "sets.npz": {"coverage": 0.8, "score": "raps"},
    "abstention.npz": {"max_error": 0.4, "certainty": 0.8},
    "novelty.npz": {"novelty": 0.2, "certainty": 0.8},
    "neighbours.npz": {"nearest": 3},
    "thumbnails.npz": {"nearest": 3},
}
ALL = {key: value for asked in ASKED.values() for key, value in asked.items()}


def fuzz_decoder(data: bytes) -> None:
    """Decode in both colour modes, and read what a header tells; a refusal is as good as pixels."""
    begun = time.process_time()
    for color_mode in ("rgb", "grey"):
        try:
            picture = decode_picture(data, color_mode=color_mode, minimum_size=(16, 16))
        except UnreadableImage as error:
            _check_words(str(error))
        else:
            height, width, channels = picture.pixels.shape
            if not (height and width) or channels != (3 if color_mode == "rgb" else 1):
                raise AssertionError(f"pixels of shape {picture.pixels.shape}")
            camera_model(picture.stored)
    try:
        header_of(data)
    except UnreadableImage as error:
        _check_words(str(error))
    _check_time(begun)


def _check_words(words: str) -> None:
    if not words.isprintable():
        raise AssertionError(f"a refusal that a terminal would obey: {words!r}")


def _check_time(begun: float) -> None:
    if time.process_time() - begun > MOST_SECONDS:
        raise AssertionError(f"{time.process_time() - begun:.1f} s of processor")


def bundle_fuzzer(run: Path, folder: Path) -> Callable[[bytes], None]:
    """What opens a bundle, one file of which is an input, in every way that needs no Keras."""
    bundle = folder / "bundle"
    shutil.copytree(run / "bundle", bundle)
    (bundle / "model.onnx").write_bytes(small_graph(bundle))
    reseal(bundle, {path.name: b"" for path in bundle.iterdir()}, "manifest.json")
    sound = {path.name: path.read_bytes() for path in bundle.iterdir()}
    images = np.random.default_rng(0).integers(0, 256, (3, *_side(bundle), 1), dtype=np.uint8)

    def fuzz(data: bytes) -> None:
        if not data:
            return
        begun, name = time.process_time(), FILES[data[0] % len(FILES)]
        place = folder / name if name == "weights.h5" else bundle / name
        place.write_bytes(data[1:])
        try:
            if name == "weights.h5":
                _refused(lambda: check_weights_hdf5(place), ValueError)
            elif name == "model.keras":
                _refused(lambda: check_network(place))
            else:
                reseal(bundle, sound, name)
                with reporting("quiet"):
                    _refused(lambda: _open(bundle, images, name))
        finally:
            for changed in {name, "manifest.json"} & set(sound):
                (bundle / changed).write_bytes(sound[changed])
        _check_time(begun)

    return fuzz


def _refused(step: Callable[[], object], refusal: type[Exception] = SightlineError) -> None:
    try:
        step()
    except refusal:
        return


def _open(bundle: Path, images: Any, changed: str) -> None:
    """Read the file as `verify` does, and predict with all that it has a part in."""
    opened = load_bundle(bundle)
    for name, parts in CAPABILITIES.items():
        if changed in parts:
            _refused(lambda name=name: CONTENTS[name](opened))  # type: ignore[misc]
    _answer(opened, images, ASKED.get(changed, ALL))


def _answer(bundle: Any, images: Any, asked: dict[str, Any]) -> None:
    found = predict(bundle, images, progress=False, **asked)
    named = [name for name, is_readable in zip(found.predicted, found.readable, strict=True) if is_readable]
    if not np.isfinite(found.confidences[found.readable]).all() or not set(named) <= set(found.class_names):
        raise AssertionError("an answer without a number or a class")


def reseal(bundle: Path, sound: dict[str, bytes], changed: str) -> None:
    """Make the hashes in the manifest right for the file that was changed, where it is one that lists hashes."""
    try:
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        for name in sound if changed == "manifest.json" else (changed,):
            if name in manifest["files"]:
                content = (bundle / name).read_bytes()
                manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return


def _side(bundle: Path) -> tuple[int, int]:
    described = json.loads((bundle / "input.json").read_bytes())
    return described["height"], described["width"]


def small_graph(bundle: Path) -> bytes:
    """A graph of a kilobyte that takes and gives what the manifest promises, so that inputs are small."""
    onnx: Any = importlib.import_module("onnx")
    manifest, (height, width) = json.loads((bundle / "manifest.json").read_bytes()), _side(bundle)
    make, kinds = onnx.helper, {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    nodes = [
        make.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        make.make_node("ReduceMean", ["floats", "sides"], ["means"], keepdims=0),
    ]
    initializers, outputs = [make.make_tensor("sides", onnx.TensorProto.INT64, [2], [1, 2])], []
    for name, entry in manifest["outputs"].items():
        width_of, kind = entry["shape"][1:], kinds[entry["dtype"]]
        factors = [number / 7 for number in range(width_of[0] if width_of else 1)]
        initializers.append(make.make_tensor(f"{name} of", onnx.TensorProto.FLOAT, [1, len(factors)], factors))
        nodes.append(make.make_node("MatMul", ["means", f"{name} of"], [f"{name} wide"]))
        axes = "last" if not width_of else ""
        nodes.append(make.make_node("Cast", [f"{name} wide"], [f"{name} cast" if axes else name], to=kind))
        if axes:
            nodes.append(make.make_node("Squeeze", [f"{name} cast", axes], [name]))
        outputs.append(make.make_tensor_value_info(name, kind, ["batch", *width_of]))
    initializers.append(make.make_tensor("last", onnx.TensorProto.INT64, [1], [1]))
    taken = [make.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", height, width, 1])]
    graph = make.make_graph(nodes, "small", taken, outputs, initializers)
    return bytes(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9).SerializeToString())


def seeds(kind: str, run: Path | None) -> dict[str, bytes]:
    """Sound inputs by the names of their files."""
    if kind == "decoder" or run is None:
        return {name.replace(" ", "-"): data for name, data in sound_files().items()}
    found = {}
    for number, name in enumerate(FILES):
        path = run / "bundle" / name
        if name == "model.onnx":
            content = small_graph(run / "bundle")
        elif name == "weights.h5":
            content = zipfile.ZipFile(run / "bundle" / "model.keras").read("model.weights.h5")
        elif path.suffix == ".npz" and path.exists():
            content = _smaller(path)
        else:
            content = path.read_bytes() if path.exists() else b""
        if content:
            found[name] = bytes([number]) + content
    return found


def _smaller(path: Path) -> bytes:
    """The arrays of a file, stored as they are: what packs them would hide them."""
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder, "stored.npz")
        np.savez(stored, **np.load(path))
        return stored.read_bytes()


def _without_sums() -> None:
    """Neither PNG nor ZIP is refused for its sums: otherwise hardly an input gets past them."""
    png: Any = PIL.PngImagePlugin
    png.ChunkStream.crc = lambda stream, _kind, _data: stream.fp.read(4)
    archive: Any = zipfile.ZipExtFile
    archive._update_crc = lambda _stream, _data: None


def main() -> None:
    """Fuzz until the time is over or something is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("decoder", "bundle"))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--run", type=Path, help="whose bundle is changed")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--longest", type=int, default=16_384, help="bytes of an input")
    asked = parser.parse_args()
    if asked.kind == "bundle" and asked.run is None:
        parser.error("a bundle is needed: --run RUN")
    asked.corpus.mkdir(parents=True, exist_ok=True)
    if not any(asked.corpus.iterdir()):
        for name, data in seeds(asked.kind, asked.run).items():
            (asked.corpus / name).write_bytes(data)
    _without_sums()
    # A folder in memory where there is one; libFuzzer ends the process, so that nothing would clear it up.
    shared = Path("/dev/shm")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="sightline-fuzz-", dir=shared if os.access(shared, os.W_OK) else None))
    fuzz = fuzz_decoder if asked.kind == "decoder" else bundle_fuzzer(asked.run, folder)
    options = [
        *(f"-max_total_time={int(asked.minutes * 60)}", f"-max_len={asked.longest}", "-timeout=300"),
        *(f"-rss_limit_mb={MOST_MIB}", f"-artifact_prefix={asked.corpus.resolve()}/", "-print_final_stats=1"),
        *("-report_slow_units=100", "-use_value_profile=0"),
    ]
    atheris.Setup([sys.argv[0], *options, str(asked.corpus)], fuzz)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
