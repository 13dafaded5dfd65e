"""What the files of a page say, read as text: its policy, its words, its addresses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from sightline.bundles.bundle import load_bundle
from sightline.deployment.web.pages import ENGINE, PAGE, read_description, write_page
from sightline.deployment.web.whole import write_whole
from sightline.errors import InvalidBundle

PLACE = resources.files("sightline.deployment.web")
INDEX = PLACE.joinpath("page", "index.html").read_text(encoding="utf-8")
SCRIPTS = {name: PLACE.joinpath("page", name).read_text(encoding="utf-8") for name in PAGE if name.endswith(".js")}
TEXTS = {
    **{name: PLACE.joinpath("page", name).read_text(encoding="utf-8") for name in PAGE},
    **{name: PLACE.joinpath("engine", name).read_text(encoding="utf-8") for name in ENGINE},
}


def words_of(language: str) -> set[str]:
    _, _, rest = TEXTS["words.js"].partition(f"\n  {language}: {{\n")
    block, _, _ = rest.partition("\n  },\n")
    return set(re.findall(r'^    "?([\w-]+)"?:', block, re.MULTILINE))


def test_every_word_that_is_shown_is_there_in_both_languages() -> None:
    english = words_of("en")
    assert len(english) > 50
    assert english == words_of("zh")
    shown = set(re.findall(r'data-(?:word|label)="([\w-]+)"', INDEX))
    for text in SCRIPTS.values():
        shown |= set(re.findall(r'\bword\("([\w-]+)"', text))
    assert not shown - english


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text in scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline += data.strip()


def test_nothing_stands_in_the_page_that_its_policy_would_refuse() -> None:
    parser = Tags()
    parser.feed(INDEX)
    policy = next(a["content"] for _, a in parser.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert "connect-src" not in policy
    assert not parser.inline
    assert not [tag for tag, names in parser.tags if any(n == "style" or n.startswith("on") for n in names)]


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_of_a_page_names_an_address(name: str) -> None:
    found = re.findall(
        r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"'`)]*", re.sub(r"^\s*//.*", "", TEXTS[name], flags=re.MULTILINE)
    )
    assert not [one for one in found if one != "http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".js")])
def test_names_of_strangers_are_never_taken_for_a_page(name: str) -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", TEXTS[name])


def test_the_same_bundle_makes_the_same_page_and_all_of_it_is_kept(make_bundle, runs_on: Path, tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle())
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_page(bundle, tmp_path / name)
        pages.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.*")})
    assert pages[0] == pages[1]
    kept = json.loads(pages[0]["files.js"].decode().partition(" = ")[2].rstrip(";\n"))["names"]
    assert set(kept) == set(pages[0]) - {"sw.js"} | {"./"}
    asked = set(re.findall(r'(?:src|href)="([^"#]+)"', INDEX)) | {"runtime.js", "network.js", "manifest.webmanifest"}
    assert asked <= set(pages[0])
    assert len(pages[0]["runtime.js"]) < 5.2e6
    assert b"MIT License" in pages[0]["licences/onnxruntime-LICENSE.txt"]
    assert read_description(tmp_path / "one")["labels"] == ["cat", "dog", "owl"]


def test_one_file_holds_all_and_names_each_script_by_its_hash(make_bundle, runs_on: Path, tmp_path: Path) -> None:
    place = tmp_path / "one.html"
    write_whole(load_bundle(make_bundle()), place)
    text = place.read_text(encoding="utf-8")
    assert read_description(place)["labels"] == ["cat", "dog", "owl"]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 9
    assert not re.search(r"""<(?:script|img)[^>]* src=|<link|http-equiv="refresh""", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert all(f"'sha256-{one}'" in policy for one in hashes)
    assert "'self'" not in policy
    assert "Permission is hereby granted" in text
    place.write_text(text[: len(text) // 2], encoding="utf-8")
    assert read_description(place)["labels"], "what is cut off behind it says what it was"
    place.write_text(text[:5000], encoding="utf-8")
    with pytest.raises(InvalidBundle, match=r"one\.html: cannot be read"):
        read_description(place)


def test_what_is_cut_off_says_so(make_bundle, runs_on: Path, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    write_page(load_bundle(make_bundle()), tmp_path / "page")
    place = tmp_path / "page" / "bundle.js"
    place.write_bytes(place.read_bytes()[:-100])
    with pytest.raises(InvalidBundle, match=r"bundle\.js: cannot be read"):
        read_description(tmp_path / "page")
