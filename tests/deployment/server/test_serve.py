"""The command: it says where it listens, goes on through a reload, and ends in peace."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.bundles.bundle import load_bundle, write_manifest
from sightline.bundles.trust.neighbours import read_neighbours, write_thumbnails
from sightline.deployment.serve import listening
from sightline.deployment.server.limits import ServerLimits
from sightline.deployment.server.openapi import describe_api
from sightline.deployment.server.served import ServedModel, named_bundles, usual_name
from sightline.errors import InvalidValue

Started = tuple[subprocess.Popen[str], int]


@pytest.fixture
def serve_command() -> Iterator[Callable[..., Started]]:
    with contextlib.ExitStack() as stack:

        def start(*words: object) -> Started:
            typed = [sys.executable, "-m", "sightline", "serve", *map(str, words), "--port", "0"]
            process = stack.enter_context(subprocess.Popen(typed, stderr=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"https?://127\.0\.0\.1:(\d+)\.", line)
            assert found, line + process.stderr.read()
            # Nobody else reads what it writes, and a full pipe would hold it.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1])

        yield start


@pytest.mark.slow
def test_where_it_listens_is_told_as_json_and_for_programs(make_bundle) -> None:
    words = [sys.executable, "-m", "sightline", "serve", f"net={make_bundle()}", "--port", "0", "--json", "--quiet"]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["models"] == ["net"]
        with contextlib.closing(http.client.HTTPConnection(told["address"].removeprefix("http://"))) as connection:
            connection.request("GET", "/v2/health/live")
            assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def ask(port: int, content: bytes, connection: http.client.HTTPConnection | None = None) -> tuple[int, dict]:
    with contextlib.ExitStack() as stack:
        if connection is None:
            connection = stack.enter_context(
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
            )
        connection.request("POST", "/v1/predict", content, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.slow
def test_it_ends_in_peace_at_sigterm_and_loses_no_request(make_bundle, serve_command, png) -> None:
    process, port = serve_command(make_bundle())
    content = png("cat")
    outcomes, is_over = [], threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            try:
                outcomes.append(ask(port, content)[0])
            except ConnectionRefusedError:
                return  # it listens no more
            except (http.client.HTTPException, OSError) as error:
                outcomes.append(repr(error))
                return

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 50:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    is_over.set()
    for thread in threads:
        thread.join()
    # A connection that was in the queue of the system and never let in is reset: no request of it was read.
    lost = [one for one in outcomes if one != 200 and "reset" not in str(one).lower()]
    assert not lost


@contextlib.contextmanager
def asking(server: Any, content: bytes) -> Iterator[list[int]]:
    """Three clients ask on and on meanwhile; the status of each answer."""
    statuses: list[int] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            statuses.append(server.post("/v1/predict", content).status)

    threads = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield statuses
    is_over.set()
    for thread in threads:
        thread.join()


def until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends, "it never came about"
        time.sleep(0.02)


def test_a_new_bundle_answers_as_soon_as_it_lies_there_and_a_broken_one_never(
    make_bundle, start_server: Any, tmp_path: Path
) -> None:
    here, other, broken = (
        make_bundle("here"),
        make_bundle("other", outputs=("logits", "disagreement")),
        make_bundle("x"),
    )
    (broken / "labels.json").write_text("[]")
    server = start_server(here, reload_seconds=0.05)
    content = server.png("owl")

    def answering() -> str:
        return str(server.post("/v1/predict", content).json["bundle"])

    first = answering()
    with asking(server, content) as statuses:
        for number, new in enumerate((other, broken)):
            shutil.move(here, tmp_path / f"old-{number}")
            shutil.move(new, here)
            if new is other:
                until(lambda: answering() != first)
                second = answering()
        until(lambda: any(told["error"] for told in server.events("reload")))
        time.sleep(0.2)
        assert answering() == second
    assert set(statuses) == {200}
    assert any(told["error"] is None for told in server.events("reload"))
    # While it was moved there was none for a moment, which may have been seen; the broken one is told of once.
    assert sum("labels.json" in (told["error"] or "") for told in server.events("reload")) == 1


def test_several_models_by_their_names(make_bundle, start_server: Any) -> None:
    server = start_server({"one": make_bundle("a"), "two": make_bundle("b", outputs=("logits", "disagreement"))})
    content = server.png("dog")
    assert server.post("/v1/predict", content).json["model"] == "one"
    found = server.post("/v1/predict?model=two", content).json
    assert found["model"] == "two"
    assert "disagreement" in found["images"][0]
    assert [model["name"] for model in server.get("/v1/models").json["models"]] == ["one", "two"]


def test_training_images_that_travel_along_are_shown(tiny_run: sightline.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_run.path / "bundle", tmp_path / "bundle"))
    bundle = sightline.reopen(tiny_run.path).bundle
    names = read_neighbours(bundle).names
    images = np.arange(len(names) * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(-1, 28, 28, 1)
    write_thumbnails(folder, images)
    write_manifest(folder)
    model = ServedModel("net", load_bundle(folder))
    assert list(model.thumbnails) == names.tolist()
    with Image.open(io.BytesIO(base64.b64decode(model.thumbnails[names[-1]]))) as picture:
        assert picture.format == "WEBP"
    assert ServedModel("net", load_bundle(tiny_run.path)).thumbnails == {}


def test_what_can_be_asked_is_described_for_programs_and_people(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    api = server.get("/openapi.json").json
    assert api == describe_api(ServerLimits(), ["net"])
    page = server.get("/docs").body.decode()
    for path, entry in api["paths"].items():
        assert path in page
        for method in {"get", "post"} & set(entry):
            concrete = path.replace("{name}", "net").replace("{version}", server.model().version[:12])
            status = server.ask(method.upper(), concrete).status
            assert str(status) in entry[method]["responses"], (method, path, status)
    wrong = server.ask("DELETE", "/v1/predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")


def test_the_page_may_run_its_own_files_alone(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    page = server.get("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert server.ask("GET", "/", headers={"If-None-Match": page.headers["etag"]}).status == 304
    assert server.get("/page/index.html").body == page.body
    assert server.get("/page/..%2fapp.py").status == server.get("/page/none.js").status == 404


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere"),
        (["a/b=imagenet"], "a model's name is"),
        (["one=imagenet", "one=imagenet"], "two models are called 'one'"),
        (["imagenet", "--port", "70000"], "0 to 65535"),
        (["imagenet", "--host", "nowhere.invalid"], "host must be"),
        (["imagenet", "--max-images", "0"], "max_images"),
        (["imagenet", "--deadline", "nan"], "deadline_seconds"),
        (["imagenet", "--reload", "-1"], "reload_seconds"),
        (["imagenet", "--reload", "nan"], "reload_seconds"),
        (["imagenet", "--keys", "nowhere.txt"], "--keys nowhere.txt"),
        (["imagenet", "--tls", "nowhere.pem", "nokey.pem"], "tls must be"),
    ],
)
def test_what_cannot_be_served_is_refused(command, words: list[str], told: str) -> None:
    answer = command("serve", *(words if "--port" in words else [*words, "--port", "0"]))
    assert (answer.code, told in answer.err) == (2, True), answer.err


def test_keys_are_lines_of_a_file_and_not_short(command, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("short\n")
    assert "at least 16" in command("serve", "imagenet", "--keys", "keys").err
    (tmp_path / "keys").write_text("\n\n")
    assert "holds no key" in command("serve", "imagenet", "--keys", "keys").err


def test_a_port_that_is_taken_is_said_before_anything_is_opened(command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = command("serve", "imagenet", "--port", port)
    assert (answer.code, f"127.0.0.1:{port} cannot be listened on" in answer.err) == (2, True)


def test_names_are_those_of_the_folders(tmp_path: Path) -> None:
    assert named_bundles(["runs/mnist-fast-001", "b=runs/x/bundle"]) == {
        "mnist-fast-001": "runs/mnist-fast-001",
        "b": "runs/x/bundle",
    }
    assert usual_name("runs/my photos/bundle") == "my-photos"
    assert usual_name("/") == "model"
    with pytest.raises(InvalidValue):
        named_bundles(["=imagenet"])


def test_it_is_said_what_has_to_be_installed(python) -> None:
    answer = python(
        "import sys; sys.modules['uvicorn'] = None\n"
        "from sightline.cli.main import main; sys.exit(main(['serve', 'imagenet']))"
    )
    assert (answer.code, "pip install 'sightline[serve]'" in answer.err) == (2, True)


def test_it_waits_for_no_keras(python) -> None:
    answer = python(
        "import sys, sightline.deployment.server.app\n"
        "print({'keras', 'tensorflow', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    assert answer.out == "set()\n"


def test_the_library_serves_what_was_opened(make_bundle, png) -> None:
    bundle = sightline.predict(make_bundle(), png("cat"), progress=False)
    assert bundle.predicted == ("cat",)
    with pytest.raises(InvalidValue, match="no bundle was named"):
        sightline.serve({})


def test_an_answer_waits_for_no_word_of_who_asked() -> None:
    """It is written in two parts, and the system would hold the second back until the first one is confirmed."""
    with contextlib.closing(listening("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_connection(listener.getsockname()))
        connection = stack.enter_context(listener.accept()[0])
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
