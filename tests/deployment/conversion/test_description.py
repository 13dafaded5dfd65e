from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime

import sightline
from sightline.bundles.trust.novelty import _MARGIN


def test_by_the_promises_of_an_export_sets_unsure_answers_and_novelty_are_those_of_predict(
    tiny_run: sightline.Run, tmp_path: Path
) -> None:
    exported = sightline.export(tiny_run, "onnx", out=tmp_path)
    session = onnxruntime.InferenceSession(exported.path)
    about = session.get_modelmeta().custom_metadata_map
    promises = json.loads(about["sightline.promises"])
    images = np.random.default_rng(0).integers(0, 256, (40, *tiny_run.bundle.input.shape), np.uint8)
    logits, novelty = session.run(["logits", "novelty"], {"images": images})
    # As the README says it.
    columns = range(logits.shape[1])
    odds = np.stack([logits[:, k] - np.logaddexp.reduce(np.delete(logits, k, axis=1), axis=1) for k in columns], 1)
    best = odds.max(axis=1)
    coverage, least = max(promises["sets"].items())
    answers = sightline.predict(tiny_run, images, progress=False, coverage=float(coverage))
    in_set = (odds >= least) | (odds == best[:, None])
    np.testing.assert_array_equal(in_set, answers.sets.members)
    for error, threshold in promises["unsure"].items():
        answers = sightline.predict(tiny_run, images, progress=False, max_error=float(error))
        is_unsure = np.zeros(len(images), bool) if threshold is None else best < threshold
        np.testing.assert_array_equal(is_unsure, answers.unsure)
    share, limit = max(promises["novel"].items())
    answers = sightline.predict(tiny_run, images, progress=False, novelty=float(share))
    np.testing.assert_array_equal(novelty > limit * (1 + _MARGIN), answers.novelty.is_novel)
