"""`adopt`: a network that others made becomes a bundle, kept only if it answers as it did where it came from."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.bundles.bundle import load_bundle, write_description, write_manifest
from sightline.bundles.maps.nodes import read_nodes
from sightline.bundles.parity import LARGEST_DIFFERENCE, made_images, parity_section, write_parity
from sightline.bundles.sessions import Session
from sightline.deployment.adoption.foreign import (
    ForeignNetwork,
    are_probabilities,
    check_answers,
    checked_answers,
    log_of,
)
from sightline.deployment.adoption.judging import (
    LEARNED_FROM,
    GivenRows,
    compared_images,
    given_rows,
    judge,
    told_figures,
    uncalibrated,
)
from sightline.deployment.adoption.labels import read_labels
from sightline.deployment.adoption.onnx_files import open_onnx
from sightline.deployment.adoption.preparation import Preparation, prepare, read_description
from sightline.deployment.adoption.wrapping import SMALLEST, Ends, ends_of, last_operator, wrap
from sightline.errors import ExportRefused, InvalidBundle, InvalidValue
from sightline.records import Bundle
from sightline.system.files import check_free, sha256_of, staged_folder, write_atomically, write_json
from sightline.system.paths import places_of, short_file_name
from sightline.system.text import markdown, printable

_KERAS = (".keras", ".h5", ".hdf5")
_ELSEWHERE = {
    (".pt", ".pth", ".ckpt", ".bin", ".safetensors"): "a file of PyTorch, which may hold code. Export it where it "
    "was made: torch.onnx.export(model.eval(), (images,), 'model.onnx', external_data=False, "
    "dynamic_shapes=({0: 'batch'},))",
    (".pkl", ".pickle", ".joblib", ".npz", ".npy"): "a file of Python objects or arrays, not a network. Export the "
    "network to ONNX where it was made",
    (".tflite", ".lite"): "a file of LiteRT. Adopt the network that it was made of, or export that to ONNX (Teachable "
    "Machine: choose Keras, not LiteRT)",
    (
        ".pb",
        ".savedmodel",
    ): "a SavedModel of TensorFlow, which may hold code. Export it to ONNX: python -m tf2onnx.convert "
    "--saved-model FOLDER --output model.onnx (Teachable Machine: choose Keras, not SavedModel)",
    (".zip",): "an archive. Unpack it, look for keras_model.h5 or an .onnx file in it",
    (".json", ".mlmodel", ".mlpackage", ".xml", ".engine", ".trt"): "a network in a format that is not adopted. Export "
    "it to ONNX where it was made (Teachable Machine: choose Keras under TensorFlow)",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Adopted:
    """A bundle that was made of a network of others; printed, it is what `sightline adopt` says.

    Attributes:
        bundle: opened.
        figures: what it was made of, how it is fed, what both were compared on and how that came out.
    """

    bundle: Bundle
    figures: Mapping[str, Any]

    def __str__(self) -> str:
        told = self.figures
        lines = [
            f"{'network':<11}{told['kind']}, {len(self.bundle.class_names)} classes, run by {told['runtime']}",
            f"{'fed':<11}{told['fed']}",
            f"{'answers':<11}{told['answers']}",
            f"{'compared':<11}on {told['compared_on']}: largest difference of a probability "
            f"{told['largest_difference']:.2g} ({LARGEST_DIFFERENCE:g} is allowed)",
        ]
        if told["measured"] is None:
            lines.append(
                f"{'careful':<11}how good it is, and whether it is fed as it learned, is not known: name labelled "
                "images (--images SOURCE)"
            )
        else:
            lines.append(f"{'accuracy':<11}{told_figures(told['measured'])}")
            lines.append(f"{'careful':<11}{LEARNED_FROM}")
        lines.append(f"{'cannot':<11}{'; '.join(told['cannot'])}")
        lines.append(f"{'bundle':<11}{printable(str(self.bundle.path))}")
        return "\n".join(lines)

    __repr__ = __str__


def adopt(
    file: str | Path,
    labels: str | Path | Sequence[str],
    *,
    description: str | Path | Mapping[str, Any] | None = None,
    images: Any = None,
    out: str | Path | None = None,
) -> Adopted:
    """Make a bundle of a network that others made, and keep it only if it answers as that does.

    The file is looked at by its bytes before anything opens it, and nothing in it is run but operators and layers that
    are known. Its own runtime answers images that were prepared as the description says, in NumPy; the bundle answers
    the same images from their bytes, and a probability that differs by more than 0.0001 refuses it. Whether the
    description is right, no file says: labelled images do.

    Args:
        file: an ONNX graph (`.onnx`), a network of Keras (`.keras`, or `.h5` of Keras 2 or 3), or the `keras_model.h5`
            of Teachable Machine. Files of Keras need Keras; the bundle does not.
        labels: the class names in the order of the answers, or a file of them: a name a line, `0 name` a line, JSON or
            CSV.
        description: what the file does not say, as a mapping or a JSON file: `scaling` ("0..1", "-1..1", "0..255",
            "imagenet") or `mean` and `std`, `resize` ("fill", "stretch", "fit"), and where it is not usual, `size`,
            `colors` ("rgb", "bgr", "grey"), `layout` ("channels_last", "channels_first"), `output` ("probabilities",
            "logits"). Of Teachable Machine all of it is known.
        images: labelled images, whatever `sightline.load` takes, of classes that the network knows: compared on them,
            calibrated and measured by them, each on a third of its own. It may have learned from them, which is said.
        out: the folder of the bundle; must be missing or empty. Left out: the name of the file with `-bundle` behind
            it, in the current folder.

    Returns:
        The Adopted: the bundle, and how it came out.

    Raises:
        InvalidValue: the file is unsafe or none that can be adopted; labels or description do not fit it.
        ExportRefused: the bundle answers otherwise than the file.
        InvalidSource, UnreadableImage: `images` cannot be opened, or none of them read.
        OutputExists, CannotWrite: `out` is not free, or cannot be written.
        MissingPackage: Keras is needed and not installed.

    Example:
        >>> import sightline, tempfile
        >>> from pathlib import Path
        >>> from onnx import helper, save
        >>> folder = Path(tempfile.mkdtemp())
        >>> sides = {"x": ["batch", 3, 8, 8], "y": ["batch", 3]}  # the mean of each colour
        >>> given, told = (helper.make_tensor_value_info(name, 1, shape) for name, shape in sides.items())
        >>> steps = [("GlobalAveragePool", ["x"], ["mean"]), ("Flatten", ["mean"], ["y"])]
        >>> nodes = [helper.make_node(*step) for step in steps]
        >>> opsets = [helper.make_opsetid("", 17)]
        >>> graph = helper.make_graph(nodes, "colours", [given], [told])
        >>> save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "colours.onnx")
        >>> described = {"scaling": "0..1", "resize": "stretch"}
        >>> names = ["red", "green", "blue"]
        >>> adopted = sightline.adopt(folder / "colours.onnx", names, description=described, out=folder / "bundle")
        >>> adopted.figures["fed"], adopted.figures["largest_difference"] < 1e-4
        ('8x8 RGB, channels first, bytes to 0..1, resized by stretch', True)
    """
    class_names, told, path = read_labels(labels), read_description(description), Path(file)
    named = labels if isinstance(labels, str | Path) else None
    place = Path(out) if out is not None else Path(short_file_name(path.stem, "-bundle"))
    check_free(place, keep=[path, *([] if named is None else [named]), *places_of(images)])
    with _opened(path) as network:
        preparation = prepare(told, network.shape, printable(str(path)), known=network.known)
        rows = None if images is None else given_rows(images, preparation.spec, class_names)
        with staged_folder(place) as staged:
            figures = _assemble(network, preparation, rows, class_names, staged)
    return Adopted(load_bundle(place, is_own=True), figures)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ForeignNetwork]:
    suffix = path.suffix.lower()
    for suffixes, what in _ELSEWHERE.items():
        if suffix in suffixes:
            raise InvalidValue(f"{path}: {what}, and adopt that.")
    if path.is_dir():
        raise InvalidValue(
            f"{path}: a folder. Name a file: .onnx, .keras, or .h5. A SavedModel is exported to ONNX first: python -m "
            "tf2onnx.convert --saved-model FOLDER --output model.onnx"
        )
    if not path.is_file():
        raise InvalidValue(f"{path}: no such file. Name an ONNX graph or a network of Keras.")
    if suffix == ".onnx":
        yield open_onnx(path)
    elif suffix in _KERAS:
        from sightline.deployment.adoption.keras_files import open_keras

        with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
            yield open_keras(path, Path(folder))
    else:
        raise InvalidValue(f"{path}: ends in none of .onnx, .keras, .h5. Name an ONNX graph or a network of Keras.")


def _assemble(
    network: ForeignNetwork,
    preparation: Preparation,
    rows: GivenRows | None,
    class_names: tuple[str, ...],
    staged: Path,
) -> dict[str, Any]:
    """Write a bundle that was compared; what is told of it."""
    images, words = compared_images(rows, preparation.spec)
    answers = checked_answers(network, preparation, images, len(class_names))
    is_probability = are_probabilities(network, answers, preparation.output)
    nodes = read_nodes(network.graph)
    if preparation.output is None and last_operator(nodes, network.answer) == "Sigmoid":
        raise InvalidValue(
            f"{network.path}: ends in a sigmoid, which says yes or no to each class by itself, and of what is adopted "
            "one class is right. Save it with a softmax; or if these are to be taken for logits, say --output logits."
        )
    ends = ends_of(nodes, network.given, network.answer, is_probability=is_probability)
    wrap(network.graph, staged / "model.onnx", preparation, ends, len(class_names))
    session = _own_session(network, staged, class_names)
    expected = log_of(answers, SMALLEST) if is_probability else answers
    difference = check_answers(network, session, images, expected)
    told: dict[str, Any] = {
        "file": network.path.name,
        "sha256": sha256_of(network.path),
        "kind": network.kind,
        "runtime": network.runtime,
        "fed": preparation.words,
        "answers": _answers_in_words(ends, is_probability=is_probability),
        "compared_on": words,
        "largest_difference": difference,
        "num_unreadable": 0 if rows is None else rows.num_unreadable,
        "measured": None,
        "cannot": _cannot(ends, rows),
    }
    if rows is None:
        calibration, text = uncalibrated()
    else:
        calibration, text, told["measured"] = judge(rows, session, staged, class_names, {"adopted": told})
    write_description(staged, spec=preparation.spec, class_names=class_names, calibration=calibration)
    write_json(staged / "metrics.json", {"source": {}, "adopted": told, "largest_probability_difference": difference})
    made = made_images(preparation.spec)
    write_parity(staged, session, made, are_made=True)
    write_atomically(staged / "card.md", _card(told, class_names) + text + parity_section(len(made), are_made=True))
    write_manifest(staged, kind="adopted")
    return told


def _own_session(network: ForeignNetwork, staged: Path, class_names: tuple[str, ...]) -> Session:
    try:
        return Session(staged / "model.onnx", num_classes=len(class_names))
    except InvalidBundle as error:
        raise ExportRefused(f"{network.path}: {_without_place(error, staged)} It was not adopted.") from error


def _without_place(error: Exception, staged: Path) -> str:
    return str(error).replace(f"{staged / 'model.onnx'}: ", "as a bundle, ")


def _answers_in_words(ends: Ends, *, is_probability: bool) -> str:
    if not is_probability:
        return "logits, as they are"
    if ends.logits:
        return "probabilities; the bundle gives the logits before their softmax"
    return f"probabilities; the bundle gives their logarithms, of at least {SMALLEST:.3g}"


def _cannot(ends: Ends, rows: GivenRows | None) -> list[str]:
    """What other bundles can, and why this one cannot."""
    found = ["train further, combine or extend (it is only run)", "tell what is novel, or the nearest training images"]
    if ends.features is None:
        found.append("find similar images (its last layer cannot be told)")
    if rows is None:
        found.append(
            "promise anything, or check whether images are like those that it was measured on (none were named)"
        )
    return found


def _card(told: Mapping[str, Any], class_names: tuple[str, ...]) -> str:
    figures = "No labelled images were named: nothing is known about how good it is."
    if told["measured"] is not None:
        figures = f"Accuracy {told_figures(told['measured'])}. Careful: {LEARNED_FROM}."
    parts = (
        f"---\nlibrary_name: sightline\npipeline_tag: image-classification\n---\n\n# {markdown(told['file'])}, adopted",
        f"Adopted on {datetime.now(UTC):%Y-%m-%d}: {told['kind']}, SHA-256 {told['sha256']}. Others made it.",
        "## What it is for",
        f"It tells {len(class_names)} classes apart: {', '.join(map(markdown, class_names))}. It is fed "
        f"{told['fed']}, as its user described it. It gives {told['answers']}.",
        "## Figures",
        figures,
        f"Compared with the file, run by {told['runtime']}, on {markdown(told['compared_on'])}: the largest difference "
        f"of a probability is {told['largest_difference']:.2g}.",
        "## Data and licences",
        "What it learned from, and the licences of data and weights, are not known here.",
        "## Limits",
        "\n".join(f"- It cannot {line}." for line in told["cannot"]),
    )
    return "\n\n".join(parts) + "\n"
