"""Inputs that `tools/fuzz.py` kept, run for hours before a release: what reached code that nothing else did."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

import sightline

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from fuzz import FILES, bundle_fuzzer, fuzz_decoder, seeds

FOUND = {
    kind: [base64.b64decode(text) for text in texts]
    for kind, texts in json.loads((Path(__file__).parent / "corpus.json").read_text(encoding="utf-8")).items()
}


def test_what_the_decoder_was_fuzzed_with_ends_in_pixels_or_in_a_refusal() -> None:
    for data in FOUND["decoder"]:
        fuzz_decoder(data)


def test_what_bundles_were_fuzzed_with_ends_in_an_answer_or_in_a_refusal(
    tiny_run: sightline.Run, tmp_path: Path
) -> None:
    fuzz, begun = bundle_fuzzer(tiny_run.path, tmp_path), seeds("bundle", tiny_run.path)
    assert {*begun, "thumbnails.npz"} == set(FILES)
    for data in (*begun.values(), *FOUND["bundle"]):
        fuzz(data)


def test_an_input_that_is_no_refusal_and_no_answer_would_be_noticed(
    tiny_run: sightline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz = bundle_fuzzer(tiny_run.path, tmp_path)
    monkeypatch.setattr("fuzz.predict", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz(seeds("bundle", tiny_run.path)["labels.json"])
