"""Ctrl-C: raised where it can be, noted where it would be lost, found again where a library swallowed it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.system.interruption import (
    Stopped,
    heeding_interrupts,
    is_interrupted,
    noting_interrupts,
    raise_if_interrupted,
)


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    # Whoever runs the tests in the background has the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


class Swallows:
    """Whose end prints and drops what is raised in it, as Python does in every `__del__`."""

    def __del__(self) -> None:
        press()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("looks", [True, False])
def test_ctrl_c_that_was_swallowed_is_raised_at_the_next_look_and_at_the_end(looks: bool) -> None:
    seen = []

    def work() -> None:
        Swallows()
        seen.append("swallowed")
        if looks:
            raise_if_interrupted()
        seen.append("not looked")

    with pytest.raises(KeyboardInterrupt):
        heeding_interrupts()(work)()
    assert seen == ["swallowed", "not looked"][: 1 if looks else 2]


def test_ctrl_c_that_became_another_error_is_one_again() -> None:
    def work() -> None:
        try:
            press()
        except KeyboardInterrupt:
            raise ValueError("in user code:") from None

    with pytest.raises(KeyboardInterrupt) as raised:
        heeding_interrupts()(work)()
    assert isinstance(raised.value.__cause__, ValueError)


def test_other_errors_stay_what_they_are_and_a_block_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="a bug"), heeding_interrupts():
        raise ValueError("a bug")
    with pytest.raises(KeyboardInterrupt), heeding_interrupts():
        press()
    raise_if_interrupted()
    with heeding_interrupts(), noting_interrupts():
        raise_if_interrupted()


@pytest.mark.parametrize(("presses", "expected"), [(1, ["first", "end"]), (2, ["first"])])
def test_where_it_is_noted_the_first_waits_for_a_look_and_the_second_does_not(
    presses: int, expected: list[str], capfd
) -> None:
    seen = []

    def work() -> None:
        press()
        seen.append("first")
        if presses == 2:
            press()
        seen.append("end")

    with pytest.raises(KeyboardInterrupt):
        noting_interrupts()(work)()
    assert seen == expected
    assert capfd.readouterr().err.count("Ctrl-C once more stops at once") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_that_end_a_program_stop_as_ctrl_c_does_and_are_told_apart(name: str) -> None:
    number = getattr(signal, name, None)
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        pytest.skip(f"{name} is not there, or ignored, as nohup does it")
    seen = []

    def work() -> None:
        signal.raise_signal(number)
        seen.append("noted")
        assert is_interrupted()
        raise_if_interrupted()
        seen.append("not stopped")

    with pytest.raises(Stopped) as raised:
        heeding_interrupts()(noting_interrupts()(work))()
    assert raised.value.signal == number
    assert isinstance(raised.value, KeyboardInterrupt), "whoever clears up at Ctrl-C clears up"
    assert seen == ["noted"]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_handler_of_somebody_else_and_other_threads_are_let_alone() -> None:
    told = []
    signal.signal(signal.SIGINT, lambda *_: told.append("theirs"))
    with heeding_interrupts(), noting_interrupts():
        press()
    assert told == ["theirs"]
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def work() -> None:
        with heeding_interrupts(), noting_interrupts():
            told.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == ["theirs", "worked"]


PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sightline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_training_with_130_and_one_line(small_npz: Path, tmp_path: Path) -> None:
    words = ["train", str(small_npz), "--epochs", "99999", "--model", "lenet5", "--out", "run"]
    command = [sys.executable, "-c", PROGRAM, *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as started:
        until, history = time.monotonic() + 240, tmp_path / "run" / "history.jsonl"
        while not history.exists() and time.monotonic() < until:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        try:
            _, told = started.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            started.kill()
            raise
    assert started.returncode == 130, told
    assert told.endswith("sightline train: interrupted, and kept as it is. To go on: sightline resume run\n")
    assert "Traceback" not in told
    assert "Exception ignored" not in told
