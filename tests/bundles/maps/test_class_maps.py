from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.maps.activations import ActivationMaps, activation_maps
from sightline.bundles.maps.class_maps import ClassMaps, MapsMaker, maps_maker, where_most_lies
from sightline.bundles.maps.grid import Grid, even_grid
from sightline.bundles.maps.occlusion import OcclusionMaps
from sightline.bundles.prediction import predict_with
from sightline.bundles.sessions import session_of
from sightline.errors import InvalidBundle, InvalidValue, UnknownName
from sightline.metrics.conformal import label_scores


def maps_of(bundle: sightline.Bundle, images: Any, maker: MapsMaker) -> tuple[sightline.Predictions, ClassMaps]:
    answers = predict_with(bundle, images, {"maps": maker})
    found = answers.details["maps"]
    assert isinstance(found, ClassMaps)
    return answers, found


@pytest.fixture(params=["lenet5", "mlp", "imagenet"])
def case(request: pytest.FixtureRequest, small_arrays: dict[str, Any]) -> tuple[sightline.Bundle, NDArray[np.uint8]]:
    if request.param == "imagenet":
        return load_bundle("imagenet"), np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    run = request.getfixturevalue({"lenet5": "tiny_run", "mlp": "tiny_mlp"}[request.param])
    return run.bundle, small_arrays["x_test"][:20]


def test_a_map_and_its_constant_are_the_logit_above_the_mean(case: tuple[sightline.Bundle, NDArray[np.uint8]]) -> None:
    bundle, images = case
    answers, found = maps_of(bundle, images, maps_maker(bundle, method="activations"))
    above = answers.logits.max(axis=1) - answers.logits.mean(axis=1)
    assert np.abs(found.maps.sum(axis=(1, 2)) + found.constants - above).max() <= 1e-4
    assert (found.labels == answers.logits.argmax(axis=1)).all()
    cells = {(28, 28): (5, 5), (224, 224): (7, 7)}[images.shape[1:3]]
    assert found.maps.shape[1:] == ((28, 28) if bundle.path.parent.name == "mlp" else cells)


def test_each_logit_is_the_sum_of_its_own_map_and_constant_and_all_above_the_mean_are_nothing(
    tiny_run: sightline.Run, small_arrays: dict[str, Any]
) -> None:
    way, images = activation_maps(tiny_run.bundle), small_arrays["x_test"][:20, ..., None]
    assert way is not None
    logits, total = session_of(tiny_run.bundle).logits(images), np.zeros((20, 5, 5))
    for label in range(10):
        values, constants = way.parts(images, np.eye(10)[np.full(20, label)])
        assert np.abs(values.sum(axis=(1, 2)) + constants - logits[:, label]).max() <= 1e-4
        total += way.parts(images, np.eye(10)[np.full(20, label)] - 0.1)[0]
    assert np.abs(total).max() < 1e-4


def test_an_image_alone_has_the_map_that_it_has_among_others(
    tiny_run: sightline.Run, small_arrays: dict[str, Any]
) -> None:
    maker = maps_maker(tiny_run.bundle)
    together = maps_of(tiny_run.bundle, small_arrays["x_test"][:9], maker)[1]
    alone = maps_of(tiny_run.bundle, small_arrays["x_test"][4:5], maker)[1]
    assert np.abs(together.maps[4] - alone.maps[0]).max() < 1e-5


def test_occlusion_tells_how_far_the_log_odds_fall_where_a_place_is_covered(
    tiny_run: sightline.Run, small_arrays: dict[str, Any]
) -> None:
    image = small_arrays["x_test"][0]
    maker = maps_maker(tiny_run.bundle, class_name="3", method="occlusion")
    assert isinstance(maker.way, OcclusionMaps)
    _, found = maps_of(tiny_run.bundle, image[None], maker)
    covered = image.copy()
    # Two pixels a cell, and one cell more to each side: the third cell down, the fifth across.
    covered[2:8, 6:12] = np.median(image)
    odds = -label_scores(session_of(tiny_run.bundle).logits(np.stack([image, covered])[..., None]))[:, 3]
    assert found.maps[0, 2, 4] == pytest.approx(odds[0] - odds[1], abs=1e-4)
    assert found.constants[0] == pytest.approx(odds[0], abs=1e-4)
    assert found.maps.shape == (1, 14, 14)


def test_an_unreadable_image_has_an_error_and_no_map(tiny_run: sightline.Run, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture")
    for method in ("activations", "occlusion"):
        answers, found = maps_of(tiny_run.bundle, [tmp_path / "broken.png"], maps_maker(tiny_run.bundle, method=method))
        assert answers.errors[0]
        assert np.isnan(found.maps).all()
        assert (found.labels[0], found.places[0]) == (-1, "nowhere")


def test_what_cannot_be_asked_is_refused(tiny_run: sightline.Run) -> None:
    with pytest.raises(UnknownName, match="knows no class 'cat'"):
        maps_maker(tiny_run.bundle, class_name="cat")
    for wrong in (3, True, b"3"):
        with pytest.raises(UnknownName, match="knows no class"):
            maps_maker(tiny_run.bundle, class_name=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="method must be one of auto, activations, occlusion; got 'grad'"):
        maps_maker(tiny_run.bundle, method="grad")  # type: ignore[arg-type]


Change = Callable[[Any], None]


@pytest.fixture
def altered(tiny_run: sightline.Run, tmp_path: Path) -> Callable[[Change], sightline.Bundle]:
    """Makes a bundle of the tiny run's whose graph was changed, sealed anew."""
    numbers = iter(range(100))

    def alter(change: Change) -> sightline.Bundle:
        folder = tmp_path / f"bundle-{next(numbers)}"
        shutil.copytree(tiny_run.bundle.path, folder)
        model = onnx.load(str(folder / "model.onnx"))
        change(model.graph)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        (folder / "manifest.json").unlink()
        write_manifest(folder)
        return load_bundle(folder)

    return alter


def test_a_network_that_bends_all_over_is_looked_at_by_occlusion(
    altered: Callable[[Change], sightline.Bundle], small_arrays: dict[str, Any]
) -> None:
    def bend(graph: Any) -> None:
        for node in graph.node:
            node.op_type = "Tanh" if node.op_type == "Relu" else node.op_type

    bundle = altered(bend)
    maker = maps_maker(bundle)
    assert maker.promise["method"] == "occlusion"
    assert "by occlusion" in maker.in_words
    assert np.isfinite(maps_of(bundle, small_arrays["x_test"][:1], maker)[1].maps).all()
    with pytest.raises(InvalidBundle, match="ends in no way that can be taken apart"):
        maps_maker(bundle, method="activations")


def test_maps_that_do_not_add_up_are_not_used(tiny_run: sightline.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ActivationMaps.parts
    monkeypatch.setattr(
        ActivationMaps, "parts", lambda self, *given: (honest(self, *given)[0], honest(self, *given)[1] + 0.01)
    )
    assert activation_maps(tiny_run.bundle) is None


def weights_from_the_end(graph: Any) -> list[Any]:
    """Weights of two and more sides, those of the last layer first."""
    held = {weight.name: weight for weight in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    name, found = "logits", []
    while name in maker:
        found += [held[one] for one in maker[name].input if one in held and len(held[one].dims) > 1]
        name = next((one for one in maker[name].input if one not in held), "")
    return found


def shuffle(graph: Any, *, layers: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for weight in weights_from_the_end(graph)[:layers]:
        values = numpy_helper.to_array(weight)
        changed = draw.permutation(values.reshape(-1)).reshape(values.shape)
        weight.CopyFrom(numpy_helper.from_array(changed, weight.name))


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """The mean over images."""
    ranks = [part.reshape(len(part), -1).argsort(axis=1).argsort(axis=1) for part in (first, second)]
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)]))


def edges(images: NDArray[np.uint8], grid: Grid) -> NDArray[np.float64]:
    """A map that knows no network: how much grey changes, by the cells of another."""
    wide = images.astype(np.float64)
    change = np.hypot(np.diff(wide, axis=1, append=0), np.diff(wide, axis=2, append=0))
    cells = [change[:, int(row) - 2 : int(row) + 2] for row in grid.rows.middles]
    return np.stack(
        [
            np.stack([part[:, :, int(at) - 2 : int(at) + 2].mean(axis=(1, 2)) for at in grid.columns.middles], 1)
            for part in cells
        ],
        1,
    )


def test_maps_of_shuffled_weights_are_other_maps_and_the_test_catches_one_that_knows_no_weights(
    tiny_run: sightline.Run, altered: Callable[[Change], sightline.Bundle], small_arrays: dict[str, Any]
) -> None:
    images = small_arrays["x_test"][:60, ..., None]
    answered = session_of(tiny_run.bundle).logits(images).argmax(axis=1)

    def looked_at(bundle: sightline.Bundle) -> tuple[NDArray[Any], NDArray[Any]]:
        way = activation_maps(bundle)
        assert way is not None
        return way.parts(images, np.eye(10)[answered] - 0.1)[0], edges(images[..., 0], way.grid)

    learned, edges_learned = looked_at(tiny_run.bundle)
    # The last layer, then all; benchmarks/maps.py measures those between. A single draw may be like it by chance.
    for layers in (1, 5):
        found = []
        for seed in range(2):
            maps, edge_maps = looked_at(altered(lambda graph: shuffle(graph, layers=layers, seed=seed)))  # noqa: B023
            found.append(rank_correlation(learned, maps))
            assert rank_correlation(edges_learned, edge_maps) > 0.2
        assert abs(np.mean(found)) <= 0.2, found


def test_a_map_is_had_without_keras(tiny_run: sightline.Run, python: Callable[..., Any]) -> None:
    done = python(
        "import sys\n"
        "sys.modules['keras'] = sys.modules['tensorflow'] = sys.modules['onnx'] = None\n"
        "import numpy, sightline\n"
        "from sightline.bundles.maps.class_maps import maps_maker\n"
        "from sightline.bundles.prediction import predict_with\n"
        "bundle = sightline.reopen(sys.argv[1])\n"
        "maker = maps_maker(bundle, method='activations')\n"
        "answers = predict_with(bundle, numpy.zeros((1, 28, 28), 'uint8'), {'maps': maker})\n"
        "found = answers.details['maps']\n"
        "print(abs(found.maps.sum() + found.constants[0] - answers.logits.max() + answers.logits.mean()) < 1e-4)",
        tiny_run.bundle.path,
    )
    assert (done.code, done.out) == (0, "True\n"), done.err


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [
        (slice(0, 4), slice(0, 4), "upper left"),
        (slice(5, 8), slice(4, 8), "lower right"),
        (slice(3, 5), slice(3, 5), "middle"),
        (slice(0, 8), slice(0, 3), "left half"),
        (slice(4, 8), slice(0, 8), "lower half"),
        (slice(0, 8), slice(0, 8), "all over the image"),
        (slice(0, 0), slice(0, 0), "nowhere"),
    ],
)
def test_where_most_lies_is_told_in_words(rows: slice, columns: slice, place: str) -> None:
    one = np.full((8, 8), -1, np.float32)
    one[rows, columns] = 3
    assert where_most_lies(even_grid((64, 64), (8, 8)), one)[0] == place
