"""What the server can be asked, as OpenAPI 3.1 says it, and the same as a page for people."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from sightline._version import __version__
from sightline.deployment.server.limits import ServerLimits

_SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_OPTIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("top", {"type": "integer", "minimum": 1}, "how many classes to name; 3 if left out"),
    (
        "coverage",
        _SHARE,
        "sets, too, that hold the right class for this share of images, or this share of labels",
    ),
    ("per_class", {"type": "boolean"}, "keep the coverage for the images of each class by themselves"),
    ("score", {"type": "string", "enum": ["lac", "aps", "raps"]}, "by what classes are put into a set"),
    ("max_error", _SHARE, "mark answers as unsure, so that at most this share of the others is wrong"),
    ("novelty", _SHARE, "mark images unlike those it learned, and of images like them at most this share"),
    ("certainty", _SHARE, "with which max_error and novelty are kept; 0.95 if left out"),
    ("nearest", {"type": "integer", "minimum": 1, "maximum": 5}, "name so many training images most alike"),
    ("map", {"type": "boolean"}, "tell which places speak for the class, with a picture as base64 of a PNG"),
    ("invert", {"type": "boolean"}, "turn light into dark first"),
)
_NUMBER_OR_NONE = {"type": ["number", "null"]}
_REASONS = {
    "400": "something that is asked for cannot be meant",
    "401": "a key is needed",
    "404": "no such model, or nothing at this address",
    "409": "the bundle cannot promise what is asked for",
    "413": "more bytes or pictures than are allowed",
    "415": "a body of a kind that is not read",
    "421": "the server does not go by this name",
    "422": "no picture of the request can be read",
    "429": "too many requests a minute; Retry-After says when",
    "503": "no room now; Retry-After says when",
    "504": "not answered in time",
    "500": "a fault of the server",
}


def describe_api(limits: ServerLimits, names: Sequence[str], *, needs_key: bool = False) -> dict[str, Any]:
    """The OpenAPI document of a server of models of these names."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sightline",
            "version": __version__,
            "description": "What is on pictures, with what can be promised of each answer. The paths below /v2 are "
            "those of the Open Inference Protocol.",
        },
        "paths": {**_own_paths(limits, names), **_protocol_paths(limits, names)},
        "components": {
            "schemas": {"Error": _object({"error": {"type": "string"}}, required=["error"]), **_schemas()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}] if needs_key else [],
    }


def _object(properties: Mapping[str, Any], *, required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": required}


def _schemas() -> dict[str, Any]:
    named = _object({"label": {"type": "string"}, "confidence": {"type": "number"}}, required=["label", "confidence"])
    row = _object(
        {
            "path": {"type": "string", "description": "what the sender calls the picture"},
            "label": {"type": ["string", "null"]},
            "confidence": _NUMBER_OR_NONE,
            "labels": {
                "type": "array",
                "items": named,
                "description": "in place of label and confidence where a picture may have several, or none",
            },
            "top": {"type": "array", "items": named},
            "error": {"type": ["string", "null"], "description": "why it cannot be read"},
            "certainty": {"type": "number", "description": "log-odds of the answer, by which trade_off counts"},
            "set": {"type": ["array", "null"], "items": {"type": "string"}},
            "unsure": {"type": ["boolean", "null"]},
            "novel": {"type": ["boolean", "null"]},
            "nearest": {
                "type": ["array", "null"],
                "items": _any_object(),
                "description": "name, label, distance, and thumbnail, base64 of a WebP, where it travels",
            },
            "map_png": {"type": ["string", "null"], "description": "base64 of a PNG"},
            "notice": {"type": "string"},
        },
        required=["path", "top", "error"],
    )
    row["anyOf"] = [{"required": ["label", "confidence"]}, {"required": ["labels"]}]
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
    answers = {"model": {"type": "string"}, "bundle": {"type": "string"}, "images": rows}
    return {"Row": row, "Answers": _object(answers, required=["model", "bundle", "images"])}


def _own_paths(limits: ServerLimits, names: Sequence[str]) -> dict[str, Any]:
    model = ("model", {"type": "string", "enum": [*names]}, "which of several models; left out, the first")
    query = [
        {"name": name, "in": "query", "schema": schema, "description": words}
        for name, schema, words in (model, *_OPTIONS)
    ]
    entry = _object(
        {"name": {"type": "string"}, "data": {"type": "string", "contentEncoding": "base64"}}, required=["data"]
    )
    pictures = {"type": "array", "minItems": 1, "maxItems": limits.max_images, "items": entry}
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = _object({"image": {"type": "array", "items": {"type": "string", "format": "binary"}}}, required=["image"])
    body = {
        "required": True,
        "description": f"One picture, or up to {limits.max_images}, in at most {limits.max_body_mib:g} MiB.",
        "content": {
            "image/*": binary,
            "application/octet-stream": binary,
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": _object({"images": pictures}, required=["images"])},
        },
    }
    answers = {"$ref": "#/components/schemas/Answers"}
    refused = ("400", "401", "404", "409", "413", "415", "421", "422", "429", "500", "503", "504")
    return {
        "/v1/models": {
            "get": _operation("models", "The models, and what each can promise.", _any_object(), ("401", "421"))
        },
        "/v1/predict": {
            "post": {
                **_operation("predict", "What is on pictures.", answers, refused),
                "parameters": query,
                "requestBody": body,
            }
        },
    }


def _any_object() -> dict[str, Any]:
    return {"type": "object"}


def _protocol_paths(limits: ServerLimits, names: Sequence[str]) -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": [*names]}}
    version = {**name, "name": "version", "schema": {"type": "string"}}
    tensor = _object(
        {
            "name": {"const": "images"},
            "datatype": {"const": "UINT8"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 4, "maxItems": 4},
            "data": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
        },
        required=["name", "datatype", "shape"],
    )
    inputs = {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1}
    schema = _object({"id": {"type": "string", "maxLength": 256}, "inputs": inputs}, required=["inputs"])
    words = f"A tensor of up to {limits.max_images} images; bytes behind the JSON where "
    body = {
        "required": True,
        "description": f"{words}Inference-Header-Content-Length says how long that is.",
        "content": {"application/json": {"schema": schema}},
    }
    few, usual = ("401", "421"), ("401", "404", "421")
    refused = ("400", "401", "404", "413", "415", "421", "429", "500", "503", "504")
    live = _operation("live", "Whether it runs.", _any_object(), ("421",))
    is_ready = _operation("ready", "Whether it answers at once.", _any_object(), ("421", "503"))
    paths: dict[str, Any] = {
        "/v2": {"get": _operation("server", "Name and version.", _any_object(), few)},
        # Whoever watches a server needs no key.
        "/v2/health/live": {"get": {**live, "security": []}},
        "/v2/health/ready": {"get": {**is_ready, "security": []}},
    }
    for ending, parameters in (("", [name]), ("/versions/{version}", [name, version])):
        path, suffix = f"/v2/models/{{name}}{ending}", "Version" if ending else ""
        about = _operation(f"model{suffix}", "What a model takes and gives.", _any_object(), usual)
        ready = _operation(f"modelReady{suffix}", "Whether it answers.", _any_object(), usual)
        infer = _operation(
            f"infer{suffix}", "Outputs of the network for images as it is fed them.", _any_object(), refused
        )
        paths[path] = {"parameters": parameters, "get": about}
        paths[f"{path}/ready"] = {"parameters": parameters, "get": ready}
        paths[f"{path}/infer"] = {"parameters": parameters, "post": {**infer, "requestBody": body}}
    return paths


def _operation(name: str, summary: str, schema: dict[str, Any], refused: tuple[str, ...]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    fine = {"description": "done", "content": {"application/json": {"schema": schema}}}
    responses = {"200": fine, **{code: {"description": _REASONS[code], "content": error} for code in refused}}
    return {"operationId": name, "summary": summary, "responses": responses}


def documentation(api: Mapping[str, Any]) -> str:
    """The document as one HTML page that needs nothing but itself."""
    parts = [
        _section(method, path, entry[method])
        for path, entry in api["paths"].items()
        for method in ("get", "post")
        if method in entry
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sightline: the HTTP interface</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main>'
        f"<h1>Sightline {html.escape(__version__)}: the HTTP interface</h1>"
        f"<p>{html.escape(api['info']['description'])} For programs: <a href='/openapi.json'>openapi.json</a>.</p>"
        f"{''.join(parts)}</main></body></html>"
    )


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'><code>{html.escape(one['name'])}</code></th>"
        f"<td>{html.escape(one['description'])}</td></tr>"
        for one in operation.get("parameters", ())
    )
    table = f"<table><caption>in the query</caption>{rows}</table>" if rows else ""
    body = operation.get("requestBody")
    about = f"<p>{html.escape(body['description'])} {html.escape(', '.join(body['content']))}.</p>" if body else ""
    codes = "".join(
        f"<li><code>{code}</code> {html.escape(told['description'])}</li>"
        for code, told in operation["responses"].items()
    )
    title = f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
    return f"<section>{title}<p>{html.escape(operation['summary'])}</p>{about}{table}<ul>{codes}</ul></section>"
