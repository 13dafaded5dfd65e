"""A network at work on many images: in portions, on all processors, in order."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.bundles import sessions as module
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.sessions import Session, open_session, session_of
from sightline.errors import InvalidBundle
from sightline.records import Bundle, InputSpec
from sightline.system import workers

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def session():
    return open_session(load_bundle("imagenet"))


@pytest.fixture(params=[1, 2, 3])
def portions_of_two(request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTION_BYTES", 2 * IMAGES[0].nbytes)
    monkeypatch.setattr(workers.os, "cpu_count", lambda: request.param)


@pytest.mark.usefixtures("portions_of_two")
def test_portions_come_in_order_and_hold_what_the_whole_gives(session) -> None:
    starts, parts = zip(*session.portions(IMAGES, ["logits", "features"]), strict=True)
    assert starts == (0, 2, 4, 6)
    for index, whole in enumerate(session.outputs(IMAGES, ["logits", "features"])):
        assert np.allclose(np.concatenate([part[index] for part in parts]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("portions_of_two")
def test_images_can_be_changed_on_their_way(session) -> None:
    changed = session.portions(IMAGES, ["logits"], change=lambda first, part: np.roll(part, first, axis=1))
    for first, (logits,) in changed:
        (expected,) = session.outputs(np.roll(IMAGES[first : first + 2], first, axis=1), ["logits"])
        assert np.allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("portions_of_two")
def test_an_error_in_a_portion_reaches_the_caller(session) -> None:
    def fail_late(first, part):
        if first == 4:
            raise ZeroDivisionError
        return part

    with pytest.raises(ZeroDivisionError):
        list(session.portions(IMAGES, ["logits"], change=fail_late))


@pytest.mark.usefixtures("portions_of_two")
def test_who_stops_early_leaves_no_thread_behind(session) -> None:
    before = threading.active_count()
    portions = session.portions(np.concatenate([IMAGES] * 4), ["logits"])
    next(portions)
    portions.close()
    assert threading.active_count() == before


def test_no_images_give_no_rows(session) -> None:
    assert session.logits(IMAGES[:0]).shape == (0, 1000)
    assert list(session.portions(IMAGES[:0], ["logits"])) == []


PREDICT_IN_A_CHILD_AND_HERE = """
import os, subprocess, sys, time
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
import numpy, sightline
sightline.predict("imagenet", numpy.zeros((1, 224, 224, 3), numpy.uint8), progress=False)
time.sleep(1)
"""


def clean(home: Path, **chosen: str) -> dict[str, str]:
    """The environment of somebody who has just moved in."""
    settled = {"ORT_DISABLE_TELEMETRY", "CI", "SIGHTLINE_CACHE", "XDG_CACHE_HOME", "PYTHONPYCACHEPREFIX"}
    return {name: value for name, value in os.environ.items() if name not in settled} | {"HOME": str(home)} | chosen


def test_predicting_leaves_nothing_at_home_and_asks_nobody(tmp_path: Path) -> None:
    home, trace, script = tmp_path / "home", tmp_path / "trace", tmp_path / "predict.py"
    home.mkdir()
    script.write_text(PREDICT_IN_A_CHILD_AND_HERE)
    strace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", trace]
    may_trace = subprocess.run([*strace, "true"], check=False).returncode == 0 if shutil.which("strace") else False
    subprocess.run([*(strace if may_trace else []), sys.executable, script], check=True, env=clean(home), timeout=120)
    assert list(home.rglob("*")) == []
    if not may_trace:
        pytest.skip("strace is not here, or may not trace: what is sent was not looked at")
    assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []


@pytest.mark.parametrize("chosen", ["0", ""])
def test_who_wants_telemetry_is_heeded(chosen: str, tmp_path: Path) -> None:
    program = "import os, sightline; print(repr(os.environ['ORT_DISABLE_TELEMETRY']))"
    environment = clean(tmp_path, ORT_DISABLE_TELEMETRY=chosen)
    said = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == repr(chosen)


def save(path: Path, nodes: list[Any], *, images: list[Any], logits: list[Any], dtype: int = TensorProto.UINT8) -> Path:
    inputs = [helper.make_tensor_value_info("images", dtype, images)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())
    return path


def mean_of_channels(*, axes: tuple[int, ...] = (1, 2)) -> list[Any]:
    return [
        helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["wide"], ["logits"], axes=list(axes), keepdims=0),
    ]


def bundle_of(network: Path, *, spec: InputSpec, num_classes: int, outputs: dict[str, Any] | None = None) -> Bundle:
    names = tuple(map(str, range(num_classes)))
    return Bundle(network.parent, names, spec, 1.0, 0, {}, {"outputs": outputs or {}})


RGB = InputSpec(8, 8, "rgb")


def test_a_graph_that_fits_its_description_is_opened(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", mean_of_channels(), images=["N", 8, 8, 3], logits=["N", 3])
    promised = {"logits": {"dtype": "float32", "shape": ["batch", 3], "meaning": ""}}
    session = open_session(bundle_of(path, spec=RGB, num_classes=3, outputs=promised))
    assert session.logits(np.full((2, 8, 8, 3), 7, np.uint8)).tolist() == [[7, 7, 7]] * 2


@pytest.mark.parametrize(
    ("spec", "num_classes", "output", "match"),
    [
        (InputSpec(9, 8, "rgb"), 3, {}, r"input\.json says uint8 'images' of shape \(9, 8, 3\)"),
        (InputSpec(8, 8, "grey"), 3, {}, r"input\.json says"),
        (RGB, 4, {}, "as 'logits'; float32 of shape"),
        (RGB, 3, {"features": {"dtype": "float32", "shape": ["batch", 2], "meaning": ""}}, "gives nothing"),
    ],
)
def test_a_graph_that_does_not_fit_its_description_is_refused(
    spec: InputSpec, num_classes: int, output: dict[str, Any], match: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "model.onnx", mean_of_channels(), images=["N", 8, 8, 3], logits=["N", 3])
    with pytest.raises(InvalidBundle, match=match):
        open_session(bundle_of(path, spec=spec, num_classes=num_classes, outputs=output))


def test_a_graph_with_another_input_is_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "model.onnx", mean_of_channels(), images=["N", 8, 8, 3], logits=["N", 3], dtype=TensorProto.FLOAT
    )
    with pytest.raises(InvalidBundle, match=r"takes \[\('images', 'tensor\(float\)'\)\]"):
        open_session(bundle_of(path, spec=RGB, num_classes=3))


@pytest.mark.parametrize(
    ("axes", "logits", "match"),
    [((0, 1), ["M", "K"], "gives"), ((1, 3), ["N", "K"], "as 'logits'"), ((0, 1, 2), ["K"], "as 'logits'")],
)
def test_rows_that_are_too_few_or_of_another_width_are_refused(
    axes: tuple[int, ...], logits: list[Any], match: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "model.onnx", mean_of_channels(axes=axes), images=["N", 8, 8, 3], logits=logits)
    with pytest.raises(InvalidBundle, match=match):
        open_session(bundle_of(path, spec=RGB, num_classes=3)).logits(np.zeros((5, 8, 8, 3), np.uint8))


def test_a_name_that_is_no_text_is_refused_without_a_word_on_stdout(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "model.onnx", [helper.make_node("Relu", ["nowhere"], ["logits"])], images=[1], logits=[1])
    path.write_bytes(path.read_bytes().replace(b"nowhere", b"now\xf3ere"))
    with pytest.raises(InvalidBundle, match="cannot load it"):
        Session(path, num_classes=3)
    assert capfd.readouterr() == ("", "")


def test_what_the_graph_cannot_compute_is_an_invalid_bundle(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([7, -1]), "shape")
    nodes = [
        *mean_of_channels()[:1],
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Reshape", ["wide", "shape"], ["logits"]),
    ]
    path = save(tmp_path / "model.onnx", nodes, images=["N", 8, 8, 3], logits=["N", "K"])
    with pytest.raises(InvalidBundle, match="ONNX Runtime cannot run it"):
        open_session(bundle_of(path, spec=RGB, num_classes=3)).logits(np.zeros((5, 8, 8, 3), np.uint8))


def test_a_graph_that_asks_for_more_memory_than_there_is_is_refused(tmp_path: Path, python: Any) -> None:
    size = numpy_helper.from_array(np.array([100_000_000, 1, 3]), "size")
    nodes = [
        *mean_of_channels()[:1],
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Constant", [], ["size"], value=size),
        helper.make_node("Expand", ["mean", "size"], ["vast"]),
        helper.make_node("ReduceMean", ["vast"], ["logits"], axes=[0], keepdims=0),
    ]
    path = save(tmp_path / "model.onnx", nodes, images=["N", 8, 8, 3], logits=["N", 3])
    program = """
import sys, numpy as np
from pathlib import Path
from sightline.bundles import sessions
from sightline.errors import InvalidBundle
sessions.free_bytes = lambda: 2**30
session = sessions.Session(Path(sys.argv[1]), num_classes=3)
try:
    session.logits(np.zeros((1, 8, 8, 3), np.uint8))
except InvalidBundle as error:
    print(error)
"""
    answer = python(program, path)
    assert (answer.code, answer.err) == (0, "")
    assert "ONNX Runtime cannot run it" in answer.out
    assert "Available memory of" in answer.out


def endless(path: Path) -> Path:
    """A graph that counts without end; `open_session` would refuse it for its loop."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"]), helper.make_node("Add", ["sum", "sum"], ["next"])],
        "body",
        [
            value("count", TensorProto.INT64, []),
            value("on", TensorProto.BOOL, []),
            value("sum", TensorProto.FLOAT, None),
        ],
        [value("still_on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, None)],
    )
    true = numpy_helper.from_array(np.array(True), "on")
    nodes = [
        *mean_of_channels()[:1],
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Constant", [], ["on"], value=true),
        helper.make_node("Loop", ["", "on", "mean"], ["logits"], body=body),
    ]
    return save(path, nodes, images=["N", 8, 8, 3], logits=["N", 3])


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize("num_images", [1, 20_000])
def test_ctrl_c_ends_a_graph_that_runs_without_end(num_images: int, tmp_path: Path) -> None:
    program = f"""
import sys, numpy as np
from pathlib import Path
from sightline.bundles.sessions import Session
session = Session(Path(sys.argv[1]), num_classes=3)
print("begun", flush=True)
try:
    session.logits(np.zeros(({num_images}, 8, 8, 3), np.uint8))
except KeyboardInterrupt:
    sys.exit(130)
"""
    command = [sys.executable, "-c", program, str(endless(tmp_path / "model.onnx"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


@pytest.fixture
def bundle() -> Bundle:
    return load_bundle("imagenet")


def test_a_record_in_use_keeps_its_network_and_one_that_is_gone_does_not() -> None:
    bundle = load_bundle("imagenet")
    first = weakref.ref(session_of(bundle))
    assert session_of(bundle) is first()
    assert session_of(load_bundle(bundle.path)) is first(), "it is known by path and hash, not by record"
    del bundle
    gc.collect()
    assert first() is None


def test_a_bundle_saved_anew_in_the_same_place_has_another_network(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    before = load_bundle(tmp_path / "b")
    kept = session_of(before)
    graph = tmp_path / "b" / "model.onnx"
    model = onnx.load(graph)
    model.doc_string = "another"
    onnx.save(model, graph)
    assert session_of(before) is kept, "what was opened stays what it was"
    assert session_of(dataclasses.replace(before, manifest={})) is not kept
    write_manifest(tmp_path / "b", kind="embedded")
    assert session_of(load_bundle(tmp_path / "b")) is not kept


def test_what_was_altered_since_it_was_opened_is_not_kept(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b")
    opened = load_bundle(tmp_path / "b")
    model = onnx.load(tmp_path / "b" / "model.onnx")
    model.doc_string = "another"
    onnx.save(model, tmp_path / "b" / "model.onnx")
    assert session_of(opened) is not session_of(opened)


def test_few_networks_are_kept_and_those_used_last(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    records = []
    for name in "abc":
        shutil.copytree(bundle.path, tmp_path / name)
        records.append(load_bundle(tmp_path / name))
    first, second = (session_of(record) for record in records[:2])
    assert session_of(records[0]) is first
    session_of(records[2])
    assert session_of(records[0]) is first
    assert session_of(records[1]) is not second


def test_a_network_stays_until_the_last_record_of_it_ends(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "own")
    first, second = load_bundle(tmp_path / "own"), load_bundle(tmp_path / "own")
    kept = weakref.ref(session_of(first))
    assert session_of(second) is kept()
    del first
    gc.collect()
    assert session_of(second) is kept(), "the other record is in use"
    del second
    gc.collect()
    assert kept() is None


def test_a_record_is_pickled_without_its_network(bundle: Bundle) -> None:
    content = pickle.dumps(bundle)
    kept = session_of(bundle)
    assert pickle.dumps(bundle) == content
    again = pickle.loads(content)
    assert again.manifest == bundle.manifest
    assert session_of(again) is kept, "in the same process it is the same file"


def test_threads_share_one_network_and_get_their_own_answers(bundle: Bundle) -> None:
    opened = []

    def answer(row: int) -> np.ndarray:
        session = session_of(bundle)
        opened.append(session)
        return session.logits(IMAGES[row : row + 1])[0]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(answer, [*range(7)] * 3))
    assert len(set(map(id, opened))) == 1
    expected = open_session(bundle).logits(IMAGES)
    assert np.allclose(answers, np.concatenate([expected] * 3), rtol=1e-4, atol=1e-4)


FORKED = """
import os, signal, sys
import numpy as np
from sightline.bundles.bundle import load_bundle
from sightline.bundles.sessions import session_of
images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
bundle = load_bundle("imagenet")
kept = session_of(bundle)
expected = kept.logits(images)
child = os.fork()
if not child:
    signal.alarm(60)
    own = session_of(bundle)
    answered = np.allclose(own.logits(images), expected, rtol=1e-4, atol=1e-4)
    os._exit(0 if own is not kept and answered else 1)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) or session_of(bundle) is not kept)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_loads_its_own_and_leaves_its_parents() -> None:
    finished = subprocess.run([sys.executable, "-c", FORKED], check=False, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
