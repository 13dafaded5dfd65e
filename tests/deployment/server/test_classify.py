"""Pictures over HTTP: what is answered, what is refused, and that nobody's answer depends on anybody else's."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.answers.rows import answer_rows
from sightline.bundles.trust.neighbours import read_neighbours, write_thumbnails


def test_a_picture_as_a_body_is_answered_as_predict_answers_it(server: Any, tmp_path: Path) -> None:
    for kind, noise in (("image/png", 1), ("application/octet-stream", 2)):
        content = server.png("dog", noise=noise, size=37)
        found = server.post("/v1/predict?name=dog.png", content, kind)
        expected = sightline.predict(server.model().bundle, content, progress=False)
        row = next(answer_rows(expected, 3))
        assert found.status == 200
        told = found.json["images"][0]
        assert told.pop("certainty") == pytest.approx(
            np.log(row["confidence"] / (1 - row["confidence"])) * 1.7, rel=0.5
        )
        assert told == {**row, "path": "dog.png"}
        assert found.json["bundle"] == server.model().version


def test_files_of_a_form_are_rows_in_their_order_and_a_broken_one_is_a_row_with_an_error(server: Any) -> None:
    files = [("a.png", server.png("cat")), ("b.png", b"no picture"), ("../../c.png", server.png("owl"))]
    found = server.post("/v1/predict?top=1", *server.form(files))
    assert found.status == 200
    assert [(row["path"], row["label"]) for row in found.json["images"]] == [
        ("a.png", "cat"),
        ("b.png", None),
        ("c.png", "owl"),
    ]
    assert found.json["images"][1]["error"]
    assert found.json["images"][0]["error"] is None
    assert len(found.json["images"][0]["top"]) == 1


def test_json_carries_pictures_as_base64_and_options(server: Any) -> None:
    images = [{"name": name, "data": base64.b64encode(server.png(name)).decode()} for name in ("cat", "dog", "owl")]
    found = server.post("/v1/predict", json.dumps({"images": images, "top": 2}), "application/json")
    assert [row["label"] for row in found.json["images"]] == ["cat", "dog", "owl"]
    assert all(len(row["top"]) == 2 for row in found.json["images"])


def test_no_readable_picture_is_a_refusal_that_says_why(server: Any) -> None:
    found = server.post("/v1/predict", b"PK\x03\x04 a zip, in truth", "image/png")
    assert found.status == 422
    assert found.json["error"] == found.json["images"][0]["error"]
    assert "image bytes" not in found.json["error"]


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "words"),
    [
        ("/v1/predict", b"", "image/png", 400, "no picture was sent"),
        ("/v1/predict?top=0", b"x", "image/png", 400, "top must be"),
        ("/v1/predict?top=many", b"x", "image/png", 400, "got 'many'"),
        ("/v1/predict?top=nan", b"x", "image/png", 400, "top must be a whole number"),
        ("/v1/predict?coverage=2", b"x", "image/png", 400, "coverage"),
        ("/v1/predict?coverage=nan", b"x", "image/png", 400, "coverage must be a number"),
        ("/v1/predict?map=perhaps", b"x", "image/png", 400, "map must be true or false"),
        ("/v1/predict?colour=red", b"x", "image/png", 400, "no option is called 'colour'"),
        ("/v1/predict?nearest=3", b"x", "image/png", 409, "cannot name the nearest"),
        ("/v1/predict?model=other", b"x", "image/png", 404, "There are: net"),
        ("/v1/predict", b"x", "text/html", 415, "text/html"),
        ("/v1/predict", b"{", "application/json", 400, "no JSON"),
        ("/v1/predict", b"[]", "application/json", 400, "a JSON object"),
        ("/v1/predict", b'{"images": [{"data": "*"}]}', "application/json", 400, "no base64"),
        ("/v1/predict", b'{"images": [7]}', "application/json", 400, "images[0]"),
        ("/v1/predict", b'{"images": [], "model": 3}', "application/json", 400, "no picture"),
        ("/v1/predict", b"--x\r\nbroken", "multipart/form-data; boundary=x", 400, "form"),
        ("/v1/predict", b"--x\r\n", "multipart/form-data", 400, "form"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_words(
    server: Any, path: str, body: bytes, kind: str, status: int, words: str
) -> None:
    found = server.post(path, body, kind)
    assert (found.status, words in found.json["error"]) == (status, True), found.json
    assert str(server.model().bundle.path) not in found.json["error"]


def test_a_body_packed_in_another_way_or_as_a_bomb_is_refused(server: Any) -> None:
    import gzip

    content = server.png("cat")
    assert server.post("/v1/predict", gzip.compress(content), "image/png", **{"Content-Encoding": "gzip"}).status == 200
    assert server.post("/v1/predict", content, "image/png", **{"Content-Encoding": "br"}).status == 415
    assert server.post("/v1/predict", content, "image/png", **{"Content-Encoding": "gzip"}).status == 400
    bomb = gzip.compress(bytes(100 * 2**20))
    assert server.post("/v1/predict", bomb, "image/png", **{"Content-Encoding": "gzip"}).status == 413


def test_more_than_is_allowed_is_refused(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_body_mib": 0.01, "max_images": 2})
    small = server.png("cat")
    assert server.post("/v1/predict", bytes(20_000), "image/png").status == 413
    assert server.post("/v1/predict", iter([bytes(9_000)] * 3), "image/png").status == 413  # chunked, without a length
    found = server.post("/v1/predict", *server.form([(f"{number}.png", small) for number in range(3)]))
    assert (found.status, "2 pictures at once" in found.json["error"]) == (413, True)
    # They are counted before the first of them is looked at, which is none here: there may be millions.
    found = server.post("/v1/predict", json.dumps({"images": [{"data": "?"}] * 3}), "application/json")
    assert (found.status, "3 pictures at once" in found.json["error"]) == (413, True)


def test_maps_come_as_pictures_and_promises_as_columns(tiny_run: sightline.Run, start_server: Any) -> None:
    server = start_server(tiny_run.path)
    stream = io.BytesIO()
    Image.fromarray(np.asarray(sightline.load("mnist").images[7])[:, :, 0]).save(stream, "PNG")
    listed = server.get("/v1/models").json["models"][0]
    assert listed["maps"]["possible"]
    assert listed["classes"] == list(tiny_run.bundle.class_names)
    options = "?map=true" + "".join(
        f"&{name}={value}"
        for name, value in (("coverage", 0.9), ("max_error", 0.5), ("novelty", 0.2))
        if listed["promises"][name]["possible"]
    )
    assert options.count("&"), "a run on 600 images promises nothing that could be tested here"
    row = server.post(f"/v1/predict{options}", stream.getvalue(), "image/png").json["images"][0]
    picture = Image.open(io.BytesIO(base64.b64decode(row["map_png"])))
    assert picture.format == "PNG"
    assert picture.size[0] >= 28
    assert {"explained", "where"} <= set(row)
    assert "set" in row or "unsure" in row or "novel" in row
    steps = listed["trade_off"]
    assert steps[-1]["answered"] == 1.0
    assert all(one["error_lower"] <= one["error"] <= one["error_upper"] for one in steps)


def test_an_answer_does_not_depend_on_its_neighbours(tiny_run: sightline.Run, start_server: Any) -> None:
    server = start_server(tiny_run.path)
    images = np.asarray(sightline.load("mnist").images[:48])[:, :, :, 0]
    contents = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        contents.append(stream.getvalue())
    options = "/v1/predict?top=10&name=x.png"
    alone = [server.post(options, content, "image/png").json["images"][0] for content in contents]
    with ThreadPoolExecutor(16) as pool:
        together = list(
            pool.map(lambda content: server.post(options, content, "image/png").json["images"][0], contents)
        )
    in_a_form = server.post("/v1/predict?top=10", *server.form([("x.png", content) for content in contents])).json[
        "images"
    ]
    assert alone == together == in_a_form
    sizes = server.get("/metrics").body.decode()
    assert 'sightline_images_total{model="net",outcome="answered"} 144.0' in sizes


def test_the_nearest_training_images_come_with_their_pictures(run_copy: Path, start_server: Any) -> None:
    bundle = run_copy / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    names = read_neighbours(sightline.reopen(run_copy).bundle).names
    write_thumbnails(bundle, np.zeros((len(names), 28, 28, 1), np.uint8))
    content = (bundle / "thumbnails.npz").read_bytes()
    manifest["files"]["thumbnails.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    manifest["capabilities"].append("thumbnails")
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    server = start_server(bundle)
    row = server.post("/v1/predict?nearest=2", server.png("cat"), "image/png").json["images"][0]
    pictures = [Image.open(io.BytesIO(base64.b64decode(near["thumbnail"]))) for near in row["nearest"]]
    assert [(picture.format, picture.size) for picture in pictures] == [("WEBP", (28, 28))] * 2


def test_what_a_model_is_is_told_without_where_it_lies(tiny_run: sightline.Run, start_server: Any) -> None:
    server = start_server({"digits": tiny_run.path})
    told = server.get("/v1/models").json["models"][0]
    assert told["figures"]["accuracy"] == tiny_run.bundle.metrics["test"]["accuracy"]
    assert len(told["figures"]["accuracy_interval"]) == 2
    assert told["temperature"] == tiny_run.bundle.temperature
    asked = server.post("/v1/predict?max_error=0.0001", server.png("cat"), "image/png")
    assert asked.status == 400
    assert "digits keeps" in asked.json["error"]
    assert str(tiny_run.path) not in server.get("/v1/models").body.decode() + asked.body.decode()
