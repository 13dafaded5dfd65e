"""Each answer of the server below /v2 held against the schemas that the protocol itself publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

PUBLISHED = json.loads(Path(__file__).with_name("open_inference_answers.json").read_text(encoding="utf-8"))
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [2, 8, 8, 3], "data": [7] * 384}


def check(answer: Any, name: str) -> None:
    """Raise where an answer is not of a published schema; objects of more keys than it names are none either."""
    schema = {**PUBLISHED, "$ref": f"#/components/schemas/{name}"}
    jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
    assert set(answer) <= set(PUBLISHED["components"]["schemas"][name]["properties"])


def test_what_the_server_and_its_model_tell_of_themselves(server: Any) -> None:
    for path in ("/v2", "/v2/"):
        check(server.get(path).json, "metadata_server_response")
    about = server.get("/v2/models/net").json
    check(about, "metadata_model_response")
    check(server.get(f"/v2/models/net/versions/{about['versions'][0]}").json, "metadata_model_response")


@pytest.mark.parametrize(
    "told", [{}, {"id": "a"}, {"outputs": []}, {"outputs": [{"name": "logits"}], "parameters": {"a": 1}}]
)
def test_what_it_infers(server: Any, told: dict[str, Any]) -> None:
    found = server.post("/v2/models/net/infer", json.dumps({"inputs": [TENSOR], **told}), "application/json")
    assert found.status == 200
    check(found.json, "inference_response")


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v2/models/other", "metadata_model_error_response"), ("/v2/other", "metadata_server_error_response")],
)
def test_what_is_not_there(server: Any, path: str, name: str) -> None:
    found = server.get(path)
    assert found.status == 404
    check(found.json, name)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", json.dumps({"inputs": [{**TENSOR, "shape": [1]}]}).encode()])
def test_what_cannot_be_inferred(server: Any, body: bytes) -> None:
    found = server.post("/v2/models/net/infer", body, "application/json")
    assert found.status == 400
    check(found.json, "inference_error_response")


def test_the_schemas_refuse_what_is_none() -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({"model_name": "net", "outputs": [{"name": "logits"}]}, "inference_response")
