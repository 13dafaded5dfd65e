"""What goes wrong when networks are carried elsewhere, planted: the gate refuses each of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import sightline
from sightline.bundles.bundle import write_manifest
from sightline.bundles.sessions import session_of
from sightline.deployment.conversion.description import ExportedModel, describe
from sightline.deployment.conversion.gate import check_export
from sightline.deployment.conversion.losses import without_promises
from sightline.deployment.conversion.rows import ComparedRows, halves
from sightline.deployment.runtimes import onnx_int8
from sightline.deployment.runtimes.onnx import write_described
from sightline.errors import ExportRefused
from sightline.records import Bundle


def as_rows(images: np.ndarray, labels: np.ndarray) -> ComparedRows:
    ids = [str(number) for number in range(len(images))]
    return ComparedRows("images", f"{len(images)} images", ids, images, labels=labels)


@pytest.fixture
def bundle(uneven_bundle: Path) -> Bundle:
    return sightline.reopen(uneven_bundle)


@pytest.fixture
def rows(many_photos) -> ComparedRows:
    return as_rows(*many_photos)


@pytest.fixture
def int8(bundle: Bundle, rows: ComparedRows, tmp_path: Path):
    """Quantised by other settings, or from a network that was not folded, and judged."""

    def judge(*, is_folded: bool = True, **settings: object) -> dict[str, object]:
        choosing, judging = halves(rows)
        folded, made, whole = (tmp_path / name for name in ("folded.onnx", "made.onnx", "whole.onnx"))
        onnx_int8._fold(bundle, folded)
        source = folded if is_folded else bundle.path / "model.onnx"
        onnx_int8._quantise(source, made, choosing, [], **settings)
        told = describe(bundle)
        write_described(made, whole, told | without_promises(told["calibration"], bundle.temperature, choosing))
        model = onnx_int8.open_exported(whole)
        return check_export(bundle, model, judging, name="it", is_quantised=True)

    return judge


def test_whole_numbers_made_as_they_should_be_are_kept(int8) -> None:
    told = int8()
    assert told["agreement"] == 1
    assert told["quantised"]["confident_agreement"] == 1


def test_one_range_for_the_weights_of_all_channels_is_refused(int8) -> None:
    with pytest.raises(ExportRefused, match="it loses answers"):
        int8(per_channel=False)


def test_whole_numbers_of_a_network_that_was_not_folded_are_refused(int8) -> None:
    with pytest.raises(ExportRefused, match="it loses answers"):
        int8(is_folded=False)


def rounded_to_bfloat16(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def dynamic_range(weights: np.ndarray) -> np.ndarray:
    """Weights in 8 bits by one range, computed with in float, as LiteRT's dynamic range does."""
    step = np.abs(weights).max() / 127
    return (np.round(weights / step) * step).astype(np.float32)


def other_filter(images: np.ndarray, file_filter: Image.Resampling) -> np.ndarray:
    large = [Image.fromarray(image).resize((21, 21), Image.Resampling.NEAREST) for image in images]
    return np.stack([np.asarray(image.resize((8, 8), file_filter)) for image in large])


Answers = Callable[[np.ndarray], np.ndarray]
FLOATS: dict[str, Callable[[Answers], Answers]] = {
    "bfloat16": lambda answers: lambda images: rounded_to_bfloat16(answers(images)),
    "red and blue swapped": lambda answers: lambda images: answers(images[..., ::-1]),
    "scaling forgotten": lambda answers: lambda images: answers(images // 255),
    "another resize filter": lambda answers: lambda images: answers(other_filter(images, Image.Resampling.BICUBIC)),
    "classes in another order": lambda answers: lambda images: answers(images)[:, [1, 0, 2]],
    "dynamic range": lambda answers: lambda images: dynamic_range(answers(images)),
}


@pytest.mark.parametrize("fault", FLOATS)
def test_a_float_network_that_answers_otherwise_is_refused(fault: str, bundle: Bundle, rows: ComparedRows) -> None:
    session = session_of(bundle)
    sound = ExportedModel(describe(bundle), session.logits)
    assert check_export(bundle, sound, rows, name="it")["largest_difference"] == 0
    model = dataclasses.replace(sound, logits=FLOATS[fault](session.logits))
    with pytest.raises(ExportRefused, match="it does not answer as its bundle: it differs by"):
        check_export(bundle, model, rows, name="it")


def test_a_runtime_that_chose_a_shorter_number_is_refused_though_these_images_do_not_show_it(
    bundle: Bundle, rows: ComparedRows
) -> None:
    model = ExportedModel(describe(bundle), session_of(bundle).logits, precision="bfloat16")
    with pytest.raises(ExportRefused, match="it is run in bfloat16 by its runtime, which chose that itself"):
        check_export(bundle, model, rows, name="it")


@pytest.mark.parametrize(("key", "value"), [("labels", ["dog", "cat", "owl"]), ("input", {"resize": "stretch"})])
def test_a_file_that_says_something_else_than_its_bundle_is_refused(
    key: str, value: object, bundle: Bundle, rows: ComparedRows
) -> None:
    told = describe(bundle)
    told[key] = value if isinstance(value, list) else {**told[key], **value}
    with pytest.raises(ExportRefused, match=f"says something else than its bundle of: {key}"):
        check_export(bundle, ExportedModel(told, session_of(bundle).logits), rows, name="it")


@pytest.fixture
def colours(make_bundle) -> tuple[Bundle, ComparedRows]:
    """Images of one colour each, of which some lie between classes by chance, where last digits are seen."""
    path = make_bundle()
    model = onnx.load(path / "model.onnx")
    weights = np.random.default_rng(2).normal(size=(3, 3)).astype(np.float32) / 5
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    onnx.save(model, path / "model.onnx")
    write_manifest(path, kind="embedded")
    bundle = sightline.reopen(path)
    images = np.empty((256, 8, 8, 3), np.uint8)
    images[:] = np.random.default_rng(0).integers(0, 256, (256, 1, 1, 3))
    return bundle, as_rows(images, session_of(bundle).logits(images).argmax(axis=1))


def test_weights_of_half_as_many_bits_are_refused(colours) -> None:
    bundle, rows = colours
    (tensor,) = onnx.load(bundle.path / "model.onnx").graph.initializer
    weights = numpy_helper.to_array(tensor)
    for kind, is_refused in ((np.float32, False), (np.float16, True)):
        held = weights.astype(kind).astype(np.float32)
        model = ExportedModel(describe(bundle), lambda images, held=held: images.mean((1, 2), np.float32) @ held)
        with pytest.raises(ExportRefused, match="it differs by") if is_refused else contextlib.nullcontext():
            check_export(bundle, model, rows, name="it")


def test_a_network_that_openvino_saves_in_float16_as_it_does_by_itself_is_refused(colours, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from sightline.deployment.runtimes import openvino

    bundle, rows = colours
    runtime = openvino._runtime()
    openvino.convert(bundle, tmp_path / "whole.xml")
    check_export(bundle, openvino.open_exported(tmp_path / "whole.xml"), rows, name="it")
    runtime.save_model(runtime.Core().read_model(bundle.path / "model.onnx"), tmp_path / "half.xml")
    (tmp_path / "half.json").write_bytes((tmp_path / "whole.json").read_bytes())
    with pytest.raises(ExportRefused, match="it differs by"):
        check_export(bundle, openvino.open_exported(tmp_path / "half.xml"), rows, name="it")


def test_openvino_in_bfloat16_is_refused_where_the_processor_has_it(colours, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from sightline.deployment.runtimes import openvino

    bundle, rows = colours
    openvino.convert(bundle, tmp_path / "model.xml")
    model = openvino.open_exported(tmp_path / "model.xml", settings={"INFERENCE_PRECISION_HINT": "bf16"})
    if model.precision == "float32":
        pytest.skip("this processor has no bfloat16, and OpenVINO takes float32")
    with pytest.raises(ExportRefused, match="it is run in bfloat16"):
        check_export(bundle, model, rows, name="it")


def test_a_novelty_that_differs_is_refused(make_bundle, photos: Path) -> None:
    path = make_bundle(outputs=("logits", "disagreement"))
    graph = onnx.load(path / "model.onnx")
    for entry in (graph.graph.output[1], graph.graph.node[3]):
        if hasattr(entry, "op_type"):
            entry.output[0] = "novelty"
        else:
            entry.name = "novelty"
    onnx.save(graph, path / "model.onnx")
    write_manifest(path, kind="embedded")
    bundle = sightline.reopen(path)
    session = session_of(bundle)
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    rows = as_rows(images, session.logits(images).argmax(axis=1))
    for scale, is_refused in ((1.0001, False), (1.01, True)):
        model = ExportedModel(
            describe(bundle),
            session.logits,
            novelty=lambda images, scale=scale: session.collect(images, ["novelty"])["novelty"] * scale,
        )
        with pytest.raises(ExportRefused, match="novelty differs by") if is_refused else contextlib.nullcontext():
            check_export(bundle, model, rows, name="it")
