"""Whoever comes while the server is full is told so in one write, and not heard before the second is over."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from sightline.deployment.server.app import build_app
from sightline.deployment.server.gate import connection as connections, passage
from sightline.deployment.server.gate.admission import SECONDS_UNTIL_AGAIN
from sightline.deployment.server.limits import ServerOptions


@contextlib.contextmanager
def full(server: Any) -> Iterator[None]:
    """A server that has all that it lets in."""
    admission = server.app.state.door.admission
    kept, admission.num_requests = admission.num_requests, admission.most
    try:
        yield
    finally:
        admission.num_requests = kept


@contextlib.contextmanager
def connected(server: Any) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as client:
        client.connect()
        yield client


def ask(client: http.client.HTTPConnection, body: bytes, **headers: str) -> http.client.HTTPResponse:
    client.request("POST", "/v1/predict?top=2", body, {"Content-Type": "image/png", **headers})
    return client.getresponse()


def sent(server: Any, content: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(content)
    return client


def encrypted(server: Any, certificate: tuple[Path, Path]) -> ssl.SSLSocket:
    """A connection over TLS."""
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return trusting.wrap_socket(plain, server_hostname="localhost")


def received(client: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    told = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            told += part
    return told


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n%s\r\n"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What goes the whole way, a number each."""
    started: list[int] = []
    usual = connections.HttpToolsProtocol._start_asgi_task
    monkeypatch.setattr(
        connections.HttpToolsProtocol,
        "_start_asgi_task",
        lambda self, *given: (started.append(1), usual(self, *given))[1],
    )
    return started


def test_a_refusal_is_the_same_as_the_gates(make_bundle, start_server: Any, begun: list[int]) -> None:
    server = start_server(make_bundle())
    content = server.png("cat")
    before = len(begun)
    with full(server):
        at_once = server.post("/v1/predict", content, "image/png")
        assert len(begun) == before
        whole = server.post("/v1/predict", content, "image/png", Expect="nothing of that kind")
        assert len(begun) == before + 1
    assert at_once.status == whole.status == 503
    assert at_once.json == whole.json
    assert at_once.json["error"].startswith("the server has all the work")
    assert at_once.headers["retry-after"] == "1"
    assert {**at_once.headers, "date": ""} == {**whole.headers, "date": ""}
    assert server.post("/v1/predict", content, "image/png").status == 200
    page = server.get("/metrics").body.decode()
    assert 'sightline_requests_total{route="/v1/predict",status="503"} 2.0' in page


def test_whoever_was_refused_is_not_heard_before_the_second_is_over(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    content = server.png("cat")
    with connected(server) as client:
        with full(server):
            refused = ask(client, content)
            began = time.perf_counter()
            assert (refused.status, len(refused.read()) > 0) == (503, True)
        answer = ask(client, content)
        waited = time.perf_counter() - began
        assert (answer.status, json.loads(answer.read())["images"][0]["label"]) == (200, "cat")
        assert waited > 0.8 * SECONDS_UNTIL_AGAIN
        answer = ask(client, content)
        assert answer.status == 200
        answer.read()


def test_others_are_told_what_they_would_be_told_otherwise(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), keys=("open sesame",), hosts=("localhost", "127.0.0.1"))
    content = server.png("cat")
    with full(server):
        assert server.post("/v1/predict", content).status == 401
        assert server.post("/v1/predict", content, Host="elsewhere").status == 421
        found = server.post("/v1/predict", content, Authorization="Bearer open sesame")
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        assert server.get("/v2/health/live").status == 200
        # Who was refused for another reason is heard at once.
        with connected(server) as client:
            began = time.perf_counter()
            for _ in range(3):
                answer = ask(client, content)
                assert answer.status == 401
                answer.read()
            assert time.perf_counter() - began < SECONDS_UNTIL_AGAIN


def test_a_sender_who_asks_too_often_is_told_so(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"requests_per_minute": 2})
    with full(server):
        statuses = [server.post("/v1/predict", b"x").status for _ in range(4)]
    assert statuses == [503, 503, 429, 429]


def test_pages_of_other_sites_read_why(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), origins=("https://example.org",))
    with full(server):
        found = server.post("/v1/predict", server.png("cat"), Origin="https://example.org")
    assert (found.status, found.headers["access-control-allow-origin"]) == (503, "https://example.org")


def test_connections_that_are_to_be_closed_are_closed(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    with full(server):
        for head in (HEAD % (3, b"Connection: close\r\n"), (HEAD % (3, b"")).replace(b"HTTP/1.1", b"HTTP/1.0")):
            with sent(server, head + b"abc") as client:
                assert received(client).startswith(b"HTTP/1.1 503 ")


def test_a_body_that_never_comes_is_not_waited_for(
    make_bundle, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_SECONDS_UNREAD", 0.2)
    server = start_server(make_bundle())
    with full(server), sent(server, HEAD % (1000, b"") + b"a part of it") as client:
        told = received(client)
    assert told.count(b"HTTP/1.1 503 ") == 1


def test_a_body_that_comes_in_parts_belongs_to_no_other_request(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    content = server.png("cat")
    with full(server), sent(server, HEAD % (len(content), b"") + content[:10]) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        server.app.state.door.admission.num_requests = 0
        client.sendall(content[10:] + HEAD % (len(content), b"Connection: close\r\n") + content)
        told = received(client)
        assert told.startswith(b"HTTP/1.1 200 ")
        assert b'"cat"' in told


def test_several_that_are_sent_in_one_go_are_each_told(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle())
    with full(server), sent(server, (HEAD % (3, b"") + b"abc") * 3) as client:
        told = b""
        while told.count(b"HTTP/1.1 503 ") < 3:
            told += client.recv(65536)
    assert told.count(b'{"error": ') == 3


def test_what_came_in_one_turn_of_the_loop_is_counted(make_bundle, start_server: Any, begun: list[int]) -> None:
    """Those before it are on their way to the gate, where none of them is counted yet."""
    server = start_server(make_bundle(), limits={"max_in_flight": 4})
    content, before = server.png("cat"), len(begun)

    async def flood() -> list[bytes]:
        async def one() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(HEAD % (len(content), b"") + content)
            line = await reader.readline()
            writer.close()
            return line.split()[1]

        return await asyncio.gather(*(one() for _ in range(200)))

    statuses = asyncio.run(flood())
    assert set(statuses) <= {b"200", b"503"}
    assert statuses.count(b"200") >= 4
    assert statuses.count(b"503") > 0
    # A few may be refused at the gate, where others were let in that came before them.
    assert len(begun) - before < statuses.count(b"200") + 20


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections of a server, as they come."""
    all_made: list[Any] = []
    usual = connections.Connection.connection_made
    monkeypatch.setattr(
        connections.Connection, "connection_made", lambda self, *given: (all_made.append(self), usual(self, *given))[1]
    )
    return all_made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of localhost, by itself, and its key."""
    pytest.importorskip("cryptography", reason="certificates are made by pip install 'sightline[signing]'")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    lasting = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = lasting.add_extension(names, critical=False).sign(key, hashes.SHA256())
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "chain.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "chain.pem", folder / "key.pem"


def until(condition: Any) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_whoever_is_refused_takes_nobodys_place(make_bundle, start_server: Any) -> None:
    """Of a large body that nobody wants the rest is awaited for two seconds: that is no work."""
    server = start_server(make_bundle(), limits={"max_in_flight": 2}, keys=("open sesame",))
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            refused = stack.enter_context(sent(server, HEAD % (10_000_000, b"")))
            assert refused.recv(65536).startswith(b"HTTP/1.1 401 ")
        content = server.png("cat")
        assert server.post("/v1/predict", content, "image/png", Authorization="Bearer open sesame").status == 200


def test_large_bodies_that_are_not_wanted_take_no_place(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), limits={"max_in_flight": 2})
    with contextlib.ExitStack() as stack:
        with full(server):
            for _ in range(4):
                refused = stack.enter_context(sent(server, HEAD % (1_000_000, b"")))
                assert refused.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert server.post("/v1/predict", server.png("cat"), "image/png").status == 200


def test_refusals_are_not_kept_for_who_does_not_read_them(make_bundle, start_server: Any, made: list[Any]) -> None:
    server = start_server(make_bundle(), keys=("open sesame",))
    num_asked = 10_000
    with full(server), sent(server, b"") as client:
        until(lambda: made[-1].client == client.getsockname())
        kept = made[-1]
        # Else the system itself keeps many of them.
        kept.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        client.sendall((HEAD % (3, b"") + b"abc") * num_asked)
        until(lambda: kept.flow.read_paused or kept.server_state.total_requests >= num_asked)
        assert kept.transport.get_write_buffer_size() < 2**18
        # They wait until it does.
        client.settimeout(20)
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_a_path_is_read_as_it_is_otherwise(make_bundle, start_server: Any) -> None:
    server = start_server(make_bundle(), keys=("open sesame",))
    with full(server):
        assert server.post("/v2/health%2Flive?a=b", b"x").status == 503
        assert server.post(f"http://127.0.0.1:{server.port}/v2/health/live", b"x").status == 503
        assert server.post("/v1%2Fpredict", b"x").status == 401
    page = server.get("/metrics", Authorization="Bearer open sesame").body.decode()
    assert 'sightline_requests_total{route="/v2/health/live",status="503"} 2.0' in page
    assert 'sightline_requests_total{route="/v1/predict",status="401"} 1.0' in page


def test_what_comes_right_behind_a_refusal_is_waited_for(
    make_bundle, start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is idle is closed after a while; this one is not."""
    usual = connections.Connection.connection_made

    def impatient(self: Any, transport: Any) -> None:
        self.timeout_keep_alive = 0.05
        usual(self, transport)

    server = start_server(make_bundle())
    monkeypatch.setattr(connections.Connection, "connection_made", impatient)
    monkeypatch.setattr(connections, "SECONDS_UNTIL_AGAIN", 0.5)
    content, door = server.png("cat"), server.app.state.door
    turn_away = door.turn_away

    def freed(scope: Any, **options: Any) -> Any:
        answer = turn_away(scope, **options)
        door.admission.num_requests = 0
        return answer

    monkeypatch.setattr(door, "turn_away", freed)
    door.admission.num_requests = door.admission.most
    close = b"Connection: close\r\n"
    with sent(server, HEAD % (3, b"") + b"abc" + HEAD % (len(content), close) + content[:9]) as client:
        told = client.recv(65536)
        client.sendall(content[9:])
        told += received(client)
    assert (told.count(b"HTTP/1.1 503 "), told.count(b"HTTP/1.1 200 ")) == (1, 1)


def test_who_was_refused_is_read_no_faster_than_is_worked_on(
    make_bundle, start_server: Any, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SECONDS_UNTIL_AGAIN", 0.2)
    server = start_server(make_bundle())
    with full(server), sent(server, HEAD % (3, b"") + b"abc") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        kept = made[-1]
        # As it is where more requests come than are worked on, or more of a body.
        kept.loop.call_soon_threadsafe(kept.flow.pause_reading)
        time.sleep(0.5)
        assert not kept.transport.is_reading()
        kept.loop.call_soon_threadsafe(kept.flow.resume_reading)
        until(kept.transport.is_reading)


def test_a_server_stops_while_who_was_refused_over_tls_is_not_read_from(
    make_bundle, start_server: Any, made: list[Any], certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SECONDS_UNTIL_AGAIN", 60.0)
    server = start_server(make_bundle(), tls=certificate)
    with full(server):
        with encrypted(server, certificate) as client:
            client.sendall(HEAD % (3, b"") + b"abc")
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        # Whether it left is not seen before it is read from again.
        time.sleep(0.2)
        assert made[-1] in made[-1].connections
    server.stop()
    until(lambda: not made[-1].connections)


def test_a_server_stops_while_others_keep_connections_over_tls(
    make_bundle, start_server: Any, made: list[Any], certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_SECONDS_UNREAD", 0.2)
    server = start_server(make_bundle(), tls=certificate)
    clients = (encrypted(server, certificate) for _ in range(3))
    with next(clients) as client, next(clients) as refused, next(clients) as closed:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        with full(server):
            closed.sendall(HEAD % (1000, b"") + b"a part of it")
            assert closed.recv(65536).startswith(b"HTTP/1.1 503 ")
            until(lambda: any(one.transport.is_closing() for one in made))
            refused.sendall(HEAD % (1000, b"") + b"a part of it")
            assert refused.recv(65536).startswith(b"HTTP/1.1 503 ")
        server.stop()
    assert not made[-1].connections


class Wire:
    """Stands where a socket would be, and keeps what is written."""

    def __init__(self) -> None:
        self.told, self.is_open, self.is_read = b"", True, True

    def get_extra_info(self, _: str) -> None:
        return None

    def write(self, content: bytes) -> None:
        self.told += content

    def close(self) -> None:
        self.is_open = False

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


async def told_over(kind: type[Any], app: Any, parts: list[bytes]) -> bytes:
    """What a connection of a kind answers to what comes in parts."""
    config = uvicorn.Config(app, http=kind, log_config=None, access_log=False, lifespan="off", ws="none")
    state, wire = ServerState(), Wire()
    connection = kind(config=config, server_state=state, app_state={})
    connection.connection_made(wire)
    for part in parts:
        if wire.is_open:
            connection.data_received(part)
        while state.tasks or not (wire.is_read or wire.is_closing()):
            await asyncio.sleep(0)
    connection.connection_lost(ConnectionResetError())
    return wire.told


GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
ONE = HEAD % (3, b"") + b"abc"
OPEN = HEAD.replace(b"Content-Length: %d\r\n", b"")


@pytest.mark.parametrize(
    "content",
    [
        ONE + GET % b"" + ONE + ONE + GET % b"Connection: close\r\n" + ONE,
        # One hidden in the body of another is no request.
        HEAD % (len(GET % b""), b"") + GET % b"" + ONE,
        HEAD % (3, b"Content-Length: 60\r\n") + b"abc" + GET % b"",
        HEAD % (3, b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n" + GET % b"",
        OPEN % b"Transfer-Encoding: chunked\r\n" + b"3;a=b\r\nabc\r\n0\r\nX-Behind: it\r\n\r\n" + GET % b"" + ONE,
        OPEN % b"Transfer-Encoding: xchunked\r\n" + b"0\r\n\r\n" + GET % b"",
        HEAD % (3, b" Content-Length: 0\r\n") + b"abc" + GET % b"",
        (HEAD % (3, b"")).replace(b": 3", b": +3") + b"abc" + GET % b"",
        (HEAD % (3, b"")).replace(b": 3", b": 0003") + b"abc" + GET % b"",
        OPEN % b"" + GET % b"" + ONE,
        ONE + HEAD % (3, b"Expect: 100-continue\r\n") + b"abc" + ONE,
        ONE + HEAD % (3, b"Origin: https://example.org\r\n") + b"abc" + GET % b"" + ONE,
        ONE + HEAD % (3, b"Connection: upgrade\r\nUpgrade: h2c\r\n") + b"abc" + GET % b"",
        ONE.replace(b"HTTP/1.1", b"HTTP/1.0") + GET % b"",
        HEAD % (3, b"Connection: close\r\n") + b"abc" + ONE,
        GET.replace(b"GET", b"OPTIONS") % b"" + GET.replace(b"GET", b"HEAD") % b"" + ONE + GET % b"",
        ONE.replace(b"/v1/predict", b"/v1/pred%69ct?top=2#part") + ONE.replace(b"/v1", b"http://localhost/v1"),
        ONE.replace(b"/v1/predict", b"//:x") + ONE,
        ONE.replace(b"/v1/predict", b"/v1/pr\xc3\xa9dict") + ONE,
        ONE.replace(b"POST", b"PUT") + ONE.replace(b"localhost", b"elsewhere") + GET % b"",
        HEAD % (100_000, b"") + b"abc",
        HEAD % (50_000_000, b"") + b"abc",
    ],
)
def test_wherever_it_is_cut_it_is_answered_as_by_usual_connections(
    write_bundle: Any, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SECONDS_UNTIL_AGAIN", 0.0)
    monkeypatch.setattr(passage, "_MOST_SECONDS_UNREAD", 0.0)
    app = build_app({"net": write_bundle(tmp_path / "bundle")}, options=ServerOptions(hosts=("localhost",)))
    door = app.state.door
    door.admission.num_requests = door.admission.most
    kind = connections.connections_at(door)

    async def compared() -> None:
        cuts = [[content[:place], content[place:]] for place in range(len(content))]
        for parts in [*cuts, [bytes([one]) for one in content]]:
            usual = await told_over(connections.HttpToolsProtocol, app, parts)
            assert usual.startswith(b"HTTP/1.1 ")
            assert await told_over(kind, app, parts) == usual, parts

    asyncio.run(compared())
