"""Bundles whose images may have several labels, served beside one of one class: the answers are those of `predict`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.bundles.sessions import session_of

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def files(labels_table: Path) -> list[Path]:
    return sorted(labels_table.parent.glob("*.png"))[:12]


def test_its_rows_are_those_of_predict_byte_for_byte(both: Any, files: list[Path], command: Any) -> None:
    said = command("predict", both.model("edges").bundle.path, *files, "--json", "--coverage", 0.9).out.splitlines()
    form, kind = both.form([(path.name, path.read_bytes()) for path in files])
    found = both.post("/v1/predict?model=edges&coverage=0.9", form, kind).json["images"]
    assert {len(row["labels"]) for row in found} >= {0, 1, 2}, "pictures of several kinds, or this tells little"
    for row, line, path in zip(found, said, files, strict=True):
        assert json.dumps({**row, "path": str(path)}, ensure_ascii=False) == line
        alone = both.post(f"/v1/predict?model=edges&coverage=0.9&name={path.name}", path.read_bytes()).json["images"]
        assert alone == [row]


def test_beside_it_one_class_is_answered_as_ever(both: Any) -> None:
    (row,) = both.post("/v1/predict", both.png("dog")).json["images"]
    assert (row["label"], "labels" in row, "certainty" in row) == ("dog", False, True)


def test_what_cannot_be_read_has_no_labels(both: Any, files: list[Path]) -> None:
    form, kind = both.form([("a.png", files[0].read_bytes()), ("b.png", b"no picture")])
    broken = both.post("/v1/predict?model=edges", form, kind).json["images"][1]
    alone = both.post("/v1/predict?model=edges&name=b.png", b"PK\x03\x04 no picture", "image/png")
    assert (broken["labels"], broken["top"], "label" in broken, bool(broken["error"])) == ([], [], False, True)
    assert (alone.status, set(alone.json["images"][0])) == (422, {"path", "labels", "top", "error"})


@pytest.mark.parametrize("asked", ["max_error=0.1", "novelty=0.1", "nearest=1"])
def test_what_goes_with_one_class_says_so(both: Any, files: list[Path], asked: str) -> None:
    found = both.post(f"/v1/predict?model=edges&{asked}", files[0].read_bytes())
    assert found.status == 400
    assert "is for one class an image, and here an image has several labels" in found.json["error"]


def test_a_map_shows_what_speaks_for_the_surest_label_that_is_said(both: Any, files: list[Path]) -> None:
    said = []
    for file in files:
        row = both.post("/v1/predict?model=edges&map=true", file.read_bytes()).json["images"][0]
        surest = max(row["labels"] or row["top"], key=lambda one: one["confidence"])
        assert row["explained"] == surest["label"]
        assert base64.b64decode(row["map_png"]).startswith(b"\x89PNG")
        said.append(len(row["labels"]))
    assert max(said) > 1, said


def test_score_and_per_class_go_with_one_class(both: Any, files: list[Path]) -> None:
    found = both.post("/v1/predict?model=edges&coverage=0.9&per_class=true", files[0].read_bytes())
    assert (found.status, "score and per_class are for one class" in found.json["error"]) == (400, True)


def test_a_client_sees_what_it_may_ask_and_from_where_each_label_is_said(both: Any) -> None:
    net, edges = both.get("/v1/models").json["models"]
    assert (net["task"], "said_from" in net) == ("single-label", False)
    assert edges["task"] == "multi-label"
    bundle = both.model("edges").bundle
    assert edges["said_from"] == pytest.approx(
        bundle.task.probabilities(np.array(bundle.task.thresholds), temperature=bundle.temperature), abs=1e-6
    )
    assert edges["promises"]["coverage"]["possible"]
    assert not any(edges["promises"][name]["possible"] for name in ("max_error", "novelty"))
    assert (edges["maps"]["possible"], edges["nearest"]["possible"], edges["trade_off"]) == (True, False, [])
    assert edges["figures"]["micro_f1_interval"][0] < edges["figures"]["micro_f1"]


def test_tensors_are_answered_with_sigmoids_and_the_labels_that_are_said(both: Any) -> None:
    bundle = both.model("edges").bundle
    about = both.get("/v2/models/edges").json
    assert {"name": "labels", "datatype": "UINT8", "shape": [-1, 3]} in about["outputs"]
    assert "labels" not in {one["name"] for one in both.get("/v2/models/net").json["outputs"]}
    images = np.random.default_rng(2).integers(0, 256, (5, *bundle.input.shape), dtype=np.uint8)
    entry = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.reshape(-1).tolist()}
    found = both.post("/v2/models/edges/infer", json.dumps({"inputs": [entry]}), "application/json").json["outputs"]
    values = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in found}
    assert list(values) == ["logits", "probabilities", "labels"]
    logits = session_of(bundle).logits(images)
    np.testing.assert_array_equal(values["logits"].astype(np.float32), logits)
    shares = bundle.task.probabilities(logits, temperature=bundle.temperature)
    np.testing.assert_allclose(values["probabilities"], shares, atol=1e-7)
    np.testing.assert_array_equal(values["labels"], bundle.task.decided(logits))
    asked = {"inputs": [entry], "outputs": [{"name": "labels", "parameters": {"binary_data": True}}]}
    packed = both.post("/v2/models/edges/infer", json.dumps(asked), "application/json")
    assert packed.body[int(packed.headers[LENGTH.lower()]) :] == bundle.task.decided(logits).tobytes()
    asked = {"inputs": [{**entry, "shape": [1, 8, 8, 3]}], "outputs": [{"name": "labels"}]}
    refused = both.post("/v2/models/net/infer", json.dumps(asked), "application/json")
    assert refused.status == 400


def test_every_row_is_one_that_the_description_names(both: Any, files: list[Path]) -> None:
    schemas = both.get("/openapi.json").json["components"]["schemas"]
    form, kind = both.form([("a.png", files[0].read_bytes()), ("b.png", b"no picture")])
    for model in ("edges", "net"):
        for row in both.post(f"/v1/predict?model={model}", form, kind).json["images"]:
            assert set(row) <= set(schemas["Row"]["properties"])
            assert any(set(one["required"]) <= set(row) for one in schemas["Row"]["anyOf"])
            assert set(schemas["Row"]["required"]) <= set(row)
