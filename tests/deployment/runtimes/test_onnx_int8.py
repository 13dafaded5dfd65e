from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.deployment.runtimes import onnx_int8
from sightline.errors import ExportRefused, InvalidValue, MissingPackage


@pytest.fixture
def dataset(many_photos):
    images, labels = many_photos
    return sightline.load({"x_train": images, "y_train": labels}, class_names=("cat", "dog", "owl"))


def test_the_nearest_setting_is_written_and_judged_by_the_other_half(uneven_bundle: Path, dataset, tmp_path) -> None:
    exported = sightline.export(uneven_bundle, "onnx-int8", images=dataset)
    told = exported.figures
    assert exported.path.name == "model.int8.onnx"
    assert (told["conversion"]["num_choosing_images"], told["num_images"]) == (150, 150)
    distances = told["conversion"]["distances"]
    # Of two layers with weights one stays in whole numbers at least.
    assert list(distances) == ["all in int8", "first 1 in float"]
    assert told["conversion"]["kept"] in distances
    told_tried = r"tried +all in int8 [\d.e-]+, first 1 in float .* on 150 other images; kept: "
    assert re.search(told_tried, str(exported))
    assert (told["effective_precision"], told["tolerance"], told["accuracy"]["export"]) == ("int8", None, 1)
    assert "150 images are too few to tell: up to 1.7" in str(exported)
    assert "keep onnx" in str(exported) or told["images_per_second"]["export"] > told["images_per_second"]["bundle"]
    model = onnx.load(exported.path)
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props if "sightline." in entry.key}
    assert about["sightline.promises"] == {"sets": {}, "unsure": {}, "novel": {}}
    assert about["sightline.calibration"]["temperature"] == told["quantised"]["temperature"] != 1.7
    assert about["sightline.calibration"]["num_images"] == 150
    assert "do not hold for this one" in exported.readme.read_text(encoding="utf-8")


def test_without_labelled_images_it_is_refused(uneven_bundle: Path) -> None:
    with pytest.raises(InvalidValue, match="half of which judge what was lost, and there are only the 32 images that"):
        sightline.export(uneven_bundle, "onnx-int8")


@pytest.mark.parametrize("name", ["onnx-int8", "litert-int8"])
def test_where_there_is_no_image_at_all_it_is_refused_even_unchecked(name: str, make_bundle, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="there is nothing to compare an export on"):
        sightline.export(make_bundle(has_parity=False), name, out=tmp_path / "out", unchecked=True)
    assert not (tmp_path / "out").exists()


def test_where_all_images_hang_together_none_are_left_to_choose_by(run: Path) -> None:
    place = run / "splits.csv"
    rows = [line.split(",")[:2] for line in place.read_text().splitlines()[1:]]
    tied = [f"{row},{split},{'film' if split == 'calibration' else row}" for row, split in rows]
    place.write_text("\n".join(["row_id,split,group", *tied]) + "\n")
    with pytest.raises(InvalidValue, match=r"calibration images of .*, all of one group\. Name images of its classes"):
        sightline.export(run, "onnx-int8")


def test_a_network_without_weights_is_refused(make_bundle, dataset) -> None:
    path = make_bundle()
    model = onnx.load(path / "model.onnx")
    model.graph.node[2].CopyFrom(onnx.helper.make_node("Identity", ["mean"], ["logits"]))
    del model.graph.initializer[:]
    onnx.save(model, path / "model.onnx")
    write_manifest(path, kind="embedded")
    with pytest.raises(ExportRefused, match=r"makes no whole numbers of this network \(it has no layer with weights"):
        sightline.export(path, "onnx-int8", images=dataset)


def test_without_the_package_that_writes_it_its_line_of_pip_is_said(
    uneven_bundle: Path, dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingPackage, match=r"pip install 'sightline\[export\]'"):
        sightline.export(uneven_bundle, "onnx-int8", images=dataset)


def test_the_size_of_images_is_fixed_before_it_is_folded(make_bundle, tmp_path: Path) -> None:
    bundle = sightline.reopen(make_bundle())
    assert len(onnx_int8._fold(bundle, tmp_path / "folded.onnx")) == 1
    (images,) = onnx.load(tmp_path / "folded.onnx").graph.input
    assert [side.dim_value for side in images.type.tensor_type.shape.dim][1:] == [8, 8, 3]
