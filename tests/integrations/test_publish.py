"""What is published: a card that the hub's own classes read, and a bundle that answers as before, without an image."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import SIGNATURE
from sightline.bundles.parity import read_parity
from sightline.errors import InvalidBundle, InvalidValue, OutputExists
from sightline.metrics.figures import FIGURES, figure_in


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def published(tiny_run: sightline.Run, tmp_path: Path):
    return sightline.publish(
        tiny_run, out=tmp_path / "out", licence="cc-by-sa-3.0", hub=None, datasets=["ylecun/mnist"]
    )


def test_the_card_is_one_to_the_hubs_own_classes_with_each_figure_and_its_interval(
    published, tiny_run: sightline.Run
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    card = huggingface_hub.ModelCard.load(published.readme)
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-sa-3.0", "sightline", "image-classification")
    assert data.datasets == ["ylecun/mnist"]
    assert {"image-classification", "onnx", "sightline"} <= set(data.tags)
    test = tiny_run.bundle.metrics["test"]
    assert {result.metric_type for result in data.eval_results} >= {"accuracy", "cross_entropy", "calibration_error"}
    for result in data.eval_results:
        assert isinstance(result, huggingface_hub.EvalResult)
        figure = figure_in(test, result.metric_type)
        assert figure is not None
        assert math.isfinite(result.metric_value)
        assert result.metric_value == figure.value
        lower, upper = map(figure.written, figure.interval)
        assert f"95 % interval {lower} to {upper} (" in result.metric_name
        assert result.metric_name.endswith("on 200 test images")
        assert FIGURES[result.metric_type].words in result.metric_name
        assert (result.task_type, result.dataset_type, result.dataset_split) == (
            "image-classification",
            "ylecun/mnist",
            "test",
        )
    assert data.eval_results == huggingface_hub.ModelCard(str(card)).data.eval_results
    assert "## How to use it" in card.text
    assert "## Data and licences" in card.text


def test_without_a_licence_the_card_says_other_and_what_is_known(tiny_run: sightline.Run, tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    made = sightline.publish(tiny_run.path, out=tmp_path / "out")
    data = huggingface_hub.ModelCard.load(made.readme).data
    assert (data.license, data.license_name, data.license_link) == ("other", "not-stated", "#data-and-licences")
    assert data.datasets is None, "a file of one's own is no data set of the hub"
    assert data.eval_results[0].dataset_name == "small"
    assert "hf://OWNER/NAME" in made.readme.read_text(encoding="utf-8")


def test_a_published_folder_answers_byte_for_byte_as_the_run(published, tiny_run: sightline.Run) -> None:
    images = sightline.load("mnist").images[:50]
    answers = [sightline.predict(place, images, coverage=0.9) for place in (tiny_run, published.path, published.bundle)]
    for other in answers[1:]:
        assert other.logits.tobytes() == answers[0].logits.tobytes()
        assert other.confidences.tobytes() == answers[0].confidences.tobytes()
        assert other.named_sets == answers[0].named_sets
    before, after = files_of(tiny_run.bundle.path), files_of(published.bundle)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"card.md", "manifest.json", "metrics.json", "neighbours.npz", "parity.npz"}
    assert set(before) - set(after) == {"neighbours.npz"}


def test_no_image_no_name_of_one_and_no_place_of_this_machine_leaves(
    published, tiny_run: sightline.Run, small_npz: Path
) -> None:
    opened = sightline.reopen(published.path)
    found, made = read_parity(opened), read_parity(tiny_run.bundle)
    assert found is not None
    assert made is not None
    assert not any((image == other).all() for image in found[0] for other in made[0])
    assert "neighbours" not in opened.capabilities
    assert "parity" in opened.capabilities
    everything = b"".join(files_of(published.path).values())
    for place in (small_npz.parent, tiny_run.path):
        assert str(place).encode() not in everything
    card = (published.bundle / "card.md").read_text(encoding="utf-8")
    assert "no picture of the data is in the bundle" in card
    assert "## The nearest training images" not in card
    assert "## How it keeps its promises" in card
    assert card.count("## Images inside") == 1
    readme = published.readme.read_text(encoding="utf-8")
    assert all(f"- {remark}\n" in readme for remark in published.remarks)
    assert len(published.remarks) == 3
    versions = [place.manifest["versions"] for place in (opened, tiny_run.bundle)]
    assert versions[0] == versions[1], "who made the network does not change"


def test_with_images_and_a_known_source_every_file_is_the_same_its_signature_too(
    run_copy: Path, tmp_path: Path
) -> None:
    signatures = pytest.importorskip("sightline.system.signatures")
    pytest.importorskip("cryptography")
    key = tmp_path / "mine.pem"
    public = signatures.new_key(key)
    bundle, metrics = run_copy / "bundle", json.loads((run_copy / "bundle" / "metrics.json").read_text())
    metrics["source"]["typed"] = ""
    (bundle / "metrics.json").write_text(json.dumps(metrics))
    reseal(bundle)
    sightline.sign(run_copy, key)
    same = sightline.publish(run_copy, out=tmp_path / "same", with_images=True)
    assert files_of(same.bundle) == files_of(bundle)
    assert same.remarks == ()
    with sightline.trusting(public):
        assert sightline.reopen(same.path).class_names == sightline.reopen(bundle).class_names
        other = sightline.publish(run_copy, out=tmp_path / "other")
        with pytest.raises(InvalidBundle, match="not signed"):
            sightline.reopen(other.path)
    assert SIGNATURE not in files_of(other.bundle)
    assert any("sign this one anew" in remark for remark in other.remarks)


def reseal(bundle: Path) -> None:
    import hashlib

    manifest = json.loads((bundle / "manifest.json").read_text())
    content = (bundle / "metrics.json").read_bytes()
    manifest["files"]["metrics.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_the_snippet_of_the_card_runs_where_the_folder_lies(published, tmp_path: Path) -> None:
    Image.fromarray(sightline.load("mnist").images[7, :, :, 0]).save(published.path / "picture.jpg")
    (code,) = re.findall(r"^```python\n(.*?)^```$", published.readme.read_text(), re.DOTALL | re.MULTILINE)
    blocked = "import sys\nfor name in ('keras', 'tensorflow', 'huggingface_hub', 'yaml'): sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code],
        cwd=published.path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\('\d',\) \[0\.\d+\]\n", done.stdout)


def test_names_of_classes_and_sources_do_nothing_in_the_card(run_copy: Path, tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    name = 'x": y\n---\n# <b>猫\U0001f600\u2028\x7f\udce9 {{ a }}'
    bundle, metrics = run_copy / "bundle", json.loads((run_copy / "bundle" / "metrics.json").read_text())
    metrics["source"]["name"] = name
    (bundle / "metrics.json").write_text(json.dumps(metrics))
    reseal(bundle)
    made = sightline.publish(bundle, out=tmp_path / "out")
    data = huggingface_hub.ModelCard.load(made.readme).data
    assert "猫\U0001f600" in data.eval_results[0].dataset_name
    assert data.license == "other"


def test_a_taken_folder_is_refused_and_one_of_ours_is_renewed_where_that_is_said(
    tiny_run: sightline.Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sightline.publish(tiny_run, out=out, with_images=True)
    (out / ".git").mkdir()
    (out / ".git" / "config").write_text("of its owner")
    (out / "notes.txt").write_text("of its owner")
    assert "neighbours.npz" in files_of(out / "bundle")
    with pytest.raises(OutputExists, match=r"published before\. Name another folder, or add --overwrite"):
        sightline.publish(tiny_run, out=out)
    again = sightline.publish(tiny_run, out=out, overwrite=True)
    assert "neighbours.npz" not in files_of(again.bundle)
    assert (out / "notes.txt").read_text() == (out / ".git" / "config").read_text() == "of its owner"
    others = tmp_path / "others"
    others.mkdir()
    (others / "README.md").write_text("# mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match="not empty; nothing in it was changed"):
            sightline.publish(tiny_run, out=others, overwrite=overwrite)
    assert files_of(others) == {"README.md": b"# mine"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"licence": "apache"}, InvalidValue, r"no licence is called 'apache' on the hub\. Did you mean 'apple|apache"),
        ({"licence": ""}, InvalidValue, "no licence is called ''"),
        ({"hub": "digits"}, InvalidValue, "--hub digits: no repository is called so. Name OWNER/NAME"),
        ({"hub": "a/b/c"}, InvalidValue, "--hub a/b/c: no repository"),
        ({"hub": "-a/b"}, InvalidValue, "no repository is called so"),
        ({"hub": "a/b--c"}, InvalidValue, "no repository is called so"),
        ({"hub": ""}, InvalidValue, "no repository is called so"),
        ({"datasets": ["mnist data"]}, InvalidValue, "--dataset mnist data: no repository"),
        ({"public": True}, InvalidValue, r"--public says who .* Add --hub OWNER/NAME"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_here(
    options, error, words: str, tiny_run: sightline.Run, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        sightline.publish(tiny_run, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_embedded_network_a_damaged_bundle_and_a_place_in_a_bundle_are_refused(
    run_copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidBundle, match="not yours to publish"):
        sightline.publish("imagenet", out=tmp_path / "out")
    with pytest.raises(InvalidValue, match="belongs to"):
        sightline.publish(run_copy, out=run_copy / "bundle" / "out")
    (run_copy / "bundle" / "labels.json").write_text("[]")
    with pytest.raises(InvalidBundle, match=r"labels\.json is not the file that was saved"):
        sightline.publish(run_copy, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adopted_bundle_is_published_without_a_network_of_keras(tmp_path: Path) -> None:
    onnx = Path(sightline.__file__).parent / "bundles" / "imagenet" / "model.onnx"
    assert onnx.is_file()
    copy = shutil.copytree(onnx.parent, tmp_path / "copied")
    made = sightline.publish(copy, out=tmp_path / "out")
    images = np.zeros((1, 64, 64, 3), np.uint8)
    there, here = (sightline.predict(place, images) for place in (made.path, copy))
    assert there.logits.tobytes() == here.logits.tobytes()
    assert "on the hub" not in made.readme.read_text()
