from __future__ import annotations

import csv
import io
import json
import os
import re

import pytest

from sightline.system.text import csv_line, exact_percent, json_line, markdown, printable

HOSTILE = [
    "a\nb",
    "a\rb",
    "\x1b]0;pwn\x07\x1b[31m",
    "caf\udce9",
    "\ud800",
    "\u202e.jpg",
    "a\0b",
    "\x85\x9b31m",
    "\u2028",
    "\ufeff",
]
ORDINARY = [
    "größe/猫.png",
    "ノート　パソコン",
    "10\u202f000.png",
    "\u0645\u06cc\u200c\u0631\u0648\u0645",
    "👩\u200d🚀",
    "\u05d0\u200f.png",
    "a b",
    "\ue000",
]


def cell_of(text):
    [[cell]] = csv.reader(io.StringIO(csv_line([text]), newline=""))
    return cell


def name_of(cell):
    """How a reader of a table finds the file: said in the documentation in these words."""
    if re.match(r"''*[-=+@]", cell):
        cell = cell[1:]
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), cell.encode())
    return os.fsdecode(raw)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_acts_on_a_terminal_or_has_no_utf8_is_written_out(name):
    for shown in (printable(name), json_line(name), csv_line([name])):
        assert shown.isprintable()
        shown.encode("utf-8")
    assert json.loads(json_line({"path": name})) == {"path": name}


@pytest.mark.parametrize("name", ORDINARY)
def test_the_letters_of_every_language_stay_as_they_are(name):
    assert printable(name) == name
    assert json_line(name) == f'"{name}"'
    assert cell_of(name) == name


def test_a_row_stays_on_its_line_whatever_the_file_is_called():
    assert printable("new\nline\x1b[31m.png") == "new\\nline\\x1b[31m.png"


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
@pytest.mark.parametrize(
    "name", [*HOSTILE[:4], *HOSTILE[5:], *ORDINARY, r"caf\xe9.png", r"a\x5cxe9", r"\\server\x", "=1+1", "'=1", "-"]
)
def test_a_name_is_found_again_from_its_cell(name):
    assert name_of(cell_of(name)) == name


def test_two_names_never_share_a_cell():
    names = ["caf\udce9", r"caf\xe9", r"caf\x5cxe9", "=a", "'=a", "''=a"]
    assert len({cell_of(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\uff1d1+1", '=HYPERLINK("a","b")']
)
def test_no_spreadsheet_computes_a_cell(text):
    assert cell_of(text)[0] in "'\\"


@pytest.mark.parametrize("number", [-0.5, 1e-07, "-1", "+3.5e-2", "0"])
def test_numbers_stay_numbers(number):
    assert float(cell_of(number)) == float(number)


def test_a_row_of_a_table_is_read_as_it_was_written():
    row = ['say "hi"', "a,b", " outer ", "", "plain"]
    assert next(csv.reader([csv_line(row)])) == row
    assert csv_line(["a", None, 0.25]) == "a,,0.25"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a|b", "a\\|b"),
        ("[x](http://y)", "\\[x\\](http://y)"),
        ("<script>", "&lt;script>"),
        ("&lt;", "&amp;lt;"),
        ("**bold** _it_", "\\*\\*bold\\*\\* \\_it\\_"),
        ("golden_retriever", "golden_retriever"),
        ("a\nb", "a\\\\nb"),
        ("`code` \\", "\\`code\\` \\\\"),
    ],
)
def test_a_name_in_markdown_is_no_markup(name, written):
    assert markdown(name) == written


def test_a_share_that_is_almost_all_is_not_said_to_be_100_percent() -> None:
    assert [exact_percent(share) for share in (0.95, 0.005, 0.9999999, 1e-9, 0.3, 1)] == [
        "95 %",
        "0.5 %",
        "99.99999 %",
        "0.0000001 %",
        "30 %",
        "100 %",
    ]
