from __future__ import annotations

import io
import os
import sys
import threading

import pytest

from sightline.system.progress import Bar, Reporter, clock, reporter, reporting


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")]
)
def test_seconds_are_shown_as_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_bar_counts_and_tells_its_state_in_a_line() -> None:
    bar = Bar("epoch 1", total=1200, unit="images", stream=None)
    bar.advance(200)
    bar.advance(400, description="epoch 2", notes="loss 0.5")
    assert bar.done == 600
    assert bar.line().startswith("epoch 2: 600 of 1,200 images, ")
    assert bar.line().endswith("remaining loss 0.5")


def test_half_way_the_remaining_time_is_the_time_that_passed() -> None:
    bar = Bar("work", total=100, unit="images", stream=None)
    bar.advance(50)
    # Both are read from the running clock, one after the other.
    assert bar.remaining_seconds() == pytest.approx(50 / bar.rate(), rel=0.9)


def test_everything_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting("plain") as current, current.bar("work", total=2) as bar:
        current.say("a remark")
        bar.advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "a remark\n"


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting("quiet") as current, current.bar("work", total=2) as bar:
        current.say("a remark")
        bar.advance(2)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_mode_holds_for_its_block_alone() -> None:
    outside = reporter().mode
    with reporting("quiet"):
        with reporting(None):
            assert reporter().mode == "quiet"
        with reporting("plain"):
            assert reporter().mode == "plain"
        assert reporter().mode == "quiet"
    assert reporter().mode == outside


def test_a_mode_ends_with_an_error_too() -> None:
    outside = reporter().mode
    with pytest.raises(KeyError), reporting("quiet"):
        raise KeyError
    assert reporter().mode == outside


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_bars_inside_bars_are_drawn_without_harm() -> None:
    import pty
    import subprocess

    program = """
from sightline.system.progress import reporter
assert reporter().mode == "terminal"
with reporter().bar("outer", total=10) as bar:
    for _ in range(10):
        with reporter().bar("inner", total=1) as inner:
            inner.advance(1)
        bar.advance(1, notes="loss 0.5\\nbest 0.25")
    reporter().say("a remark")
with reporter().bar("again", total=1) as bar:
    bar.advance(1)
print("done")
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(theirs)
    seen = bytearray()

    def drain() -> None:
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # how Linux says that the other side has closed
                return
            if not part:
                return
            seen.extend(part)

    reader = threading.Thread(target=drain)
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join(timeout=60)
    os.close(ours)
    shown = seen.decode()
    assert (process.returncode, out) == (0, b"done\n"), shown
    assert "outer" in shown
    assert "10/10" in shown
    assert "loss 0.5" in shown
    assert "best 0.25" in shown
    assert "a remark" in shown
    assert "inner" not in shown


def test_a_message_reaches_a_stream_that_lacks_its_letters_and_none_that_is_closed(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, encoding="cp1252", errors="strict"))
    Reporter("plain").say("кот \x1b[31m é\nsecond")
    assert raw.getvalue().decode("cp1252").splitlines() == ["\\u043a\\u043e\\u0442 \\x1b[31m é", "second"]
    monkeypatch.setattr("sys.stderr", None)
    Reporter("plain").say("nobody reads this")
