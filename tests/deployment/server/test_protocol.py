"""The Open Inference Protocol: what it asks and answers, in JSON and in bytes."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from sightline.bundles.bundle import load_bundle
from sightline.bundles.sessions import session_of

LENGTH = "Inference-Header-Content-Length"
IMAGES = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def tensor(**changes: Any) -> dict[str, Any]:
    entry = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape), "data": IMAGES.reshape(-1).tolist()}
    return {**entry, **changes}


def ask(server: Any, **told: Any) -> Any:
    return server.post("/v2/models/net/infer", json.dumps({"inputs": [tensor()], **told}), "application/json")


def test_health_and_metadata(server: Any) -> None:
    assert server.get("/v2").json["extensions"] == ["binary_tensor_data"]
    assert server.get("/v2/health/live").json == {"live": True}
    assert server.get("/v2/health/ready").json == {"ready": True}
    about = server.get("/v2/models/net").json
    assert about["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert {"name": "logits", "datatype": "FP32", "shape": [-1, 3]} in about["outputs"]
    version = about["versions"][0]
    assert server.get(f"/v2/models/net/versions/{version}").json == about
    assert server.get(f"/v2/models/net/versions/{version}/ready").json == {"name": "net", "ready": True}
    assert server.get("/v2/models/net/versions/7").status == server.get("/v2/models/other").status == 404


def test_logits_are_those_of_the_network_and_probabilities_those_of_predict(server: Any) -> None:
    bundle = server.model().bundle
    expected = session_of(load_bundle(bundle.path)).logits(IMAGES)
    found = ask(server, id="seven").json
    assert (found["id"], found["model_name"], found["model_version"]) == ("seven", "net", server.model().version[:12])
    outputs = {one["name"]: np.array(one["data"], np.float32).reshape(one["shape"]) for one in found["outputs"]}
    np.testing.assert_array_equal(outputs["logits"], expected)
    wanted = bundle.task.probabilities(expected, temperature=bundle.temperature)
    np.testing.assert_allclose(outputs["probabilities"], wanted, atol=1e-7)


def test_nested_numbers_are_read_as_flat_ones(server: Any) -> None:
    nested = ask(server, inputs=[tensor(data=IMAGES.tolist())])
    assert nested.json == ask(server).json


def test_bytes_come_and_go_behind_the_json(server: Any) -> None:
    head = json.dumps(
        {
            "inputs": [{**tensor(parameters={"binary_data_size": IMAGES.size}), "data": None}],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "probabilities"}],
        }
    ).encode()
    found = server.post("/v2/models/net/infer", head + IMAGES.tobytes(), **{LENGTH: str(len(head))})
    length = int(found.headers[LENGTH.lower()])
    told, rest = json.loads(found.body[:length]), found.body[length:]
    expected = session_of(server.model().bundle).logits(IMAGES)
    np.testing.assert_array_equal(np.frombuffer(rest, np.float32).reshape(3, 3), expected)
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 36}
    assert "data" in told["outputs"][1]


@pytest.mark.parametrize(
    ("way", "pack", "unpack"), [("gzip", gzip.compress, gzip.decompress), ("deflate", zlib.compress, zlib.decompress)]
)
def test_bodies_are_packed_where_that_is_asked_for(server: Any, way: str, pack: Any, unpack: Any) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    headers = {"Content-Encoding": way, "Accept-Encoding": way}
    found = server.post("/v2/models/net/infer", pack(body), "application/json", **headers)
    assert found.headers["content-encoding"] == way
    assert json.loads(unpack(found.body)) == ask(server).json


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"inputs": []}, "a list of one tensor"),
        ({"inputs": [tensor(), tensor()]}, "a list of one tensor"),
        ({"inputs": [tensor(name="pixels")]}, "must be called 'images'"),
        ({"inputs": [tensor(datatype="FP32")]}, "of 'FP32'"),
        ({"inputs": [tensor(shape=[3, 8, 8, 1])]}, "[n, 8, 8, 3]"),
        ({"inputs": [tensor(shape=[0, 8, 8, 3], data=[])]}, "n from 1 to 64"),
        ({"inputs": [tensor(shape=[2**40, 8, 8, 3])]}, "n from 1 to 64"),
        ({"inputs": [tensor(shape=[3.0, 8, 8, 3])]}, "got [3.0, 8, 8, 3]"),
        ({"inputs": [tensor(data=[1, 2])]}, "576 whole numbers"),
        ({"inputs": [tensor(data=[0.5] * 576)]}, "576 whole numbers"),
        ({"inputs": [tensor(data=[[1], [2, 3]])]}, "576 whole numbers"),
        ({"inputs": [tensor(data=[256] * 576)]}, "256 to 256"),
        ({"inputs": [tensor(data=[-1] * 576)]}, "-1 to -1"),
        ({"inputs": [tensor(parameters={"binary_data_size": 576})]}, "0 bytes of data came"),
        ({"inputs": [tensor(parameters=[])]}, "parameters must be"),
        ({"outputs": [{"name": "boxes"}]}, "no output is called 'boxes'"),
        ({"outputs": [3]}, "outputs must be"),
        ({"id": 7}, "id must be words"),
    ],
)
def test_what_does_not_fit_is_refused_with_words(server: Any, told: dict[str, Any], words: str) -> None:
    found = ask(server, **told)
    assert (found.status, words in found.json["error"]) == (400, True), found.json


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "²", "9" * 5000])
def test_a_length_that_is_none_is_refused(server: Any, length: str) -> None:
    headers = {LENGTH: length.encode("utf-8").decode("latin-1")}
    assert server.post("/v2/models/net/infer", b"{}", **headers).status == 400


def test_a_tensor_is_bounded(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_images": 2})
    assert "n from 1 to 2" in ask(server).json["error"]


def test_the_client_of_others_reads_and_infers(server: Any) -> None:
    clients = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")
    client = clients.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("net")
    assert client.get_model_metadata("net")["platform"] == "onnxruntime_onnx"
    expected = session_of(server.model().bundle).logits(IMAGES)
    for is_binary in (True, False):
        for packed in (None, "gzip", "deflate"):
            given = clients.InferInput("images", list(IMAGES.shape), "UINT8")
            given.set_data_from_numpy(IMAGES, binary_data=is_binary)
            wanted = [clients.InferRequestedOutput("logits", binary_data=is_binary)]
            found = client.infer(
                "net",
                [given],
                outputs=wanted,
                request_id="1",
                request_compression_algorithm=packed,
                response_compression_algorithm=packed,
            )
            np.testing.assert_array_equal(found.as_numpy("logits"), expected)
    client.close()
