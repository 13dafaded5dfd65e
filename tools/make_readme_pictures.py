"""Make the pictures of the README and the tutorials again, from one real training.

    python tools/make_readme_pictures.py            records `sightline train mnist`, a minute or two
    python tools/make_readme_pictures.py --trial    the same with one epoch, into a scratch folder; the documents stay

The program runs on a terminal of its own (a pseudo-terminal of 120 columns), and
what it writes there is drawn character by character: once while it trains, once
when it has finished. Curves and mistakes are the files of that same run. The text
of the last screen goes into the documents between two marks, with the machine and
the versions it was recorded on. Linux and macOS.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
COLUMNS, ROWS = 120, 24
FONT_SIZE = 30
PALETTE = ("#1e2127", "#e06c75", "#98c379", "#d8b56d", "#61afef", "#c678dd", "#56b6c2", "#d7dae0")
BACKGROUND, FOREGROUND = "#1e2127", "#d7dae0"
ENGLISH = (
    "Recorded on {cores} CPU cores with {versions}: one run, seed 0. [More measurements]({link}) and their spread."
)
CHINESE = "录制环境：{cores} 个 CPU 核，{versions}；一次运行，种子 0。[更多测量]({link})及其波动范围。"  # noqa: RUF001  # Chinese has its own punctuation
DOCUMENTS = {
    "README.md": (ENGLISH, "docs/performance.md"),
    "docs/tutorial.md": (ENGLISH, "performance.md"),
    "docs/tutorial.zh.md": (CHINESE, "performance.md"),
}
BEGIN, END = "<!-- recorded: begin -->\n", "<!-- recorded: end -->"
ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")

Cell = tuple[str, str]
Lines = tuple[tuple[Cell, ...], ...]


@dataclass
class Screen:
    """As much of a terminal as the program uses: colours, line feeds, erased lines, a cursor that goes up."""

    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    color: str = FOREGROUND

    def write(self, text: str) -> None:
        """Take what a program wrote, escape sequences whole."""
        place = 0
        while place < len(text):
            escape = ESCAPE.match(text, place)
            if escape:
                self._obey(escape.group(1), escape.group(2))
                place = escape.end()
            else:
                self._put(text[place])
                place += 1

    def lines_now(self) -> Lines:
        """A copy of what is to be seen, empty lines at the end left out."""
        seen = [tuple(line) for line in self.lines]
        while seen and not "".join(character for character, _ in seen[-1]).strip():
            seen.pop()
        return tuple(seen)

    def _put(self, character: str) -> None:
        if character == "\n":
            self.row += 1
        elif character == "\r":
            self.column = 0
        elif character >= " ":
            if self.column == COLUMNS:
                self.row, self.column = self.row + 1, 0
            self._reach()
            self.lines[self.row][self.column] = (character, self.color)
            self.column += 1
        self._reach()

    def _reach(self) -> None:
        while len(self.lines) <= self.row:
            self.lines.append([])
        line = self.lines[self.row]
        line.extend([(" ", FOREGROUND)] * (self.column + 1 - len(line)))

    def _obey(self, argument: str, command: str) -> None:
        if command == "A":
            self.row = max(self.row - int(argument or 1), 0)
        elif command == "K":
            self.lines[self.row] = []
            self._reach()
        elif command == "m":
            self.color = _color([int(part) for part in argument.split(";") if part], self.color)
        elif not argument.startswith("?"):
            raise SystemExit(f"the terminal sequence {argument + command!r} is not known here; teach it to Screen.")


def _color(codes: list[int], color: str) -> str:
    if codes[:2] == [38, 2] or (len(codes) > 2 and codes[-5:-3] == [38, 2]):
        return "#{:02x}{:02x}{:02x}".format(*codes[-3:])
    if codes[-3:-1] == [38, 5]:
        return _palette_256(codes[-1])
    for code in codes or [0]:
        if code in (0, 39):
            color = FOREGROUND
        elif 30 <= code <= 37:
            color = PALETTE[code - 30]
        elif 90 <= code <= 97:
            color = PALETTE[code - 90]
    return color


def _palette_256(number: int) -> str:
    if number < 16:
        return PALETTE[number % 8]
    if number >= 232:
        return "#{0:02x}{0:02x}{0:02x}".format(8 + 10 * (number - 232))
    levels = (0, 95, 135, 175, 215, 255)
    number -= 16
    return f"#{levels[number // 36]:02x}{levels[number // 6 % 6]:02x}{levels[number % 6]:02x}"


def record(arguments: list[str], folder: Path) -> list[Lines]:
    """Run `sightline ...` on a pseudo-terminal and return every state of its screen, the last one final."""
    screen = Screen()
    screen.write(f"\x1b[32m$\x1b[0m sightline {' '.join(arguments)}\r\n")
    command = [sys.executable, "-m", "sightline.cli.main", *arguments]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT / "src"), "COLUMNS": str(COLUMNS)}
        os.execv(command[0], command)  # noqa: S606  # the child becomes the program itself
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    states = []
    while received := _read(terminal):
        screen.write(received)
        states.append(screen.lines_now())
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0:
        raise SystemExit(f"sightline failed:\n{as_text(states[-1])}")
    return states


def _read(terminal: int) -> str:
    """What comes next, to the end of a character and of an escape sequence; empty at the end."""
    received = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux reports the end of a pseudo-terminal as an error
            part = b""
        received += part
        text = received.decode("utf-8", errors="replace")
        if not part or (not text.endswith("\ufffd") and not re.search(r"\x1b(\[[?0-9;]*)?$", text)):
            return text


def as_text(lines: Lines) -> str:
    """The screen without colours."""
    return "\n".join("".join(character for character, _ in line).rstrip() for line in lines)


def picture(lines: Lines) -> Image.Image:
    """The screen as a picture, at twice the usual size for sharp displays."""
    import matplotlib  # its copy of DejaVu Sans Mono is the same on every machine

    font_path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")
    font = ImageFont.truetype(str(font_path), FONT_SIZE)
    width, height, margin = round(font.getlength("M")), round(FONT_SIZE * 1.4), FONT_SIZE
    image = Image.new("RGB", (COLUMNS * width + 2 * margin, len(lines) * height + 2 * margin), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        for column, (character, color) in enumerate(line):
            draw.text((margin + column * width, margin + row * height), character, fill=color, font=font)
    return image


def midway(states: list[Lines]) -> Lines:
    """The screen when three fifths of the training was done."""
    training = [state for state in states if "images/s" in as_text(state)]
    return training[len(training) * 3 // 5]


def machine() -> dict[str, str]:
    """The number of CPU cores and the versions it was recorded with."""
    command = [sys.executable, "-m", "sightline.cli.main", "doctor", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    answer = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    found = json.loads(answer.stdout)["found"]
    python = found["python"].split()[0]
    versions = f"CPython {python}, Keras {found['keras']}, TensorFlow {found['tensorflow']}"
    return {"cores": found["threads"].split()[0], "versions": versions}


def update_documents(text: str) -> None:
    """Put the last screen between the marks of each document."""
    recorded_with = machine()
    for name, (sentence, link) in DOCUMENTS.items():
        # The README shows the picture of that screen.
        screen = "" if name == "README.md" else f"```text\n{text}\n```\n\n"
        block = f"{screen}{sentence.format(link=link, **recorded_with)}\n"
        path = ROOT / name
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        path.write_text(f"{before}{BEGIN}{block}{END}{after}", encoding="utf-8")


def main() -> None:
    """Record, draw, copy, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trial", action="store_true", help="one epoch, pictures into a scratch folder")
    trial = parser.parse_args().trial
    images = Path(tempfile.mkdtemp(prefix="pictures-")) if trial else IMAGES
    with tempfile.TemporaryDirectory() as scratch:
        states = record(["train", "mnist", *(["--epochs", "1"] if trial else [])], Path(scratch))
        (run,) = Path(scratch, "runs").iterdir()
        record(["show", "mnist", "--count", "10", "--out", "mnist.png"], Path(scratch))
        record(["show", "mnist", "--count", "4", "--augmented", "--out", "augmented.png"], Path(scratch))
        made = [run / "curves.png", run / "mistakes.png", Path(scratch, "mnist.png"), Path(scratch, "augmented.png")]
        for path in made:
            shutil.copyfile(path, images / path.name)
    picture(midway(states)).save(images / "terminal-training.png", optimize=True)
    picture(states[-1]).save(images / "terminal-finished.png", optimize=True)
    if not trial:
        update_documents(as_text(states[-1]))
    print(f"{as_text(midway(states))}\n\n{as_text(states[-1])}\n\npictures in {images}")


if __name__ == "__main__":
    main()
