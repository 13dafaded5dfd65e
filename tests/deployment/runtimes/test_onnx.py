from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.errors import InvalidBundle
from sightline.records import InputSpec


def test_an_exported_graph_says_what_it_is_and_answers_as_before(make_bundle, tmp_path: Path) -> None:
    bundle = sightline.reopen(make_bundle())
    exported = sightline.export(bundle, "onnx")
    assert exported.path == tmp_path / "bundle-exports" / "onnx" / "model.onnx"
    onnx.checker.check_model(onnx.load(exported.path))
    session = onnxruntime.InferenceSession(exported.path)
    about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert about["sightline.labels"] == ["cat", "dog", "owl"]
    assert about["sightline.input"] == json.loads((bundle.path / "input.json").read_text())
    assert about["sightline.calibration"]["temperature"] == bundle.temperature
    assert (about["sightline.task"], about["sightline.version"]) == ("single-label", sightline.__version__)
    assert about["sightline.bundle"]["model_sha256"] == bundle.manifest["files"]["model.onnx"]["sha256"]
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    (logits,) = session.run(["logits"], {"images": images})
    np.testing.assert_array_equal(logits, sightline.predict(bundle, images, progress=False).logits)


@pytest.mark.parametrize(
    ("spec", "outputs"),
    [(InputSpec(8, 6, "grey", background="light"), ("logits",)), (InputSpec(8, 8, "rgb"), ("logits", "disagreement"))],
    ids=["grey", "ensemble"],
)
def test_grey_bundles_and_ensembles_are_exported_whole(spec: InputSpec, outputs: tuple[str, ...], make_bundle) -> None:
    exported = sightline.export(make_bundle(spec=spec, outputs=outputs), "onnx")
    session = onnxruntime.InferenceSession(exported.path)
    assert tuple(output.name for output in session.get_outputs()) == outputs


def test_weights_in_another_file_are_refused_as_predicting_does(make_bundle, photos: Path) -> None:
    path = make_bundle()
    model = onnx.load(path / "model.onnx")
    onnx.save(model, path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    write_manifest(path, kind="embedded")
    with pytest.raises(InvalidBundle, match="weights lie in another file"):
        sightline.export(path, "onnx", images=photos)
