"""The files of the page, looked at without a browser: what they load, what they say, and what they never do."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest

from sightline.deployment.server.page_files import page_files

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "src/sightline/deployment/server/page"
MODULES = sorted(name for name in page_files() if name.endswith(".js"))


def text_of(name: str) -> str:
    return page_files()[name].content.decode("utf-8")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._within = ""


@pytest.fixture(scope="module")
def html() -> Tags:
    tags = Tags()
    tags.feed(text_of("index.html"))
    return tags


def test_every_file_of_the_page_is_served_with_its_type_and_a_mark_of_its_content() -> None:
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert set(page_files()) == there
    assert page_files()["app.js"].media_type == "text/javascript; charset=utf-8"
    assert page_files()["words/zh.json"].media_type == "application/json"
    assert len({file.etag for file in page_files().values()}) == len(there)


def test_every_file_of_the_page_travels_in_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["sightline.deployment.server"]
    # A star of setuptools stands for no stroke.
    parts = [PurePosixPath(pattern) for pattern in patterns]
    for name in page_files():
        path = PurePosixPath("page") / name
        assert any(path.match(str(part)) and len(path.parts) == len(part.parts) for part in parts), name


def test_nothing_stands_inline_that_the_policy_forbids(html: Tags) -> None:
    assert html.inline == []
    for tag, attributes in html.tags:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
    for name in MODULES:
        assert not re.search(
            r"""["']style["']\s*[:,]|\.cssText|innerHTML|outerHTML|insertAdjacentHTML""", text_of(name)
        )
        assert not re.search(r"document\.write|\beval\(|new Function|DOMParser|javascript:", text_of(name))


def test_no_address_leads_outside() -> None:
    for name in page_files():
        found = re.findall(r"\b(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text_of(name))
        assert [address for address in found if address != "http://www.w3.org/2000/svg"] == [], name


def test_every_address_of_the_html_is_served(html: Tags) -> None:
    for tag, attributes in html.tags:
        address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if address:
            assert address.removeprefix("page/") in page_files(), address
            assert address.startswith("page/")


def test_modules_import_what_is_served_and_all_of_them_are_fetched_at_once(html: Tags) -> None:
    for name in MODULES:
        for address in re.findall(r'from "([^"]+)"', text_of(name)):
            assert posixpath.normpath(posixpath.join(posixpath.dirname(name), address)) in MODULES, (name, address)
    fetched = [attributes["href"] for tag, attributes in html.tags if attributes.get("rel") == "modulepreload" and tag]
    assert sorted(fetched) == [f"page/{name}" for name in MODULES if name != "app.js"]


def test_every_id_that_a_script_looks_for_is_there(html: Tags) -> None:
    ids = [attributes["id"] for _, attributes in html.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {name for module in MODULES for name in re.findall(r'(?:byId|tell)\("([^"]+)"', text_of(module))}
    assert wanted <= set(ids)


def words_of(language: str) -> dict[str, str | dict[str, str]]:
    return json.loads(text_of(f"words/{language}.json"))


def keys_in_use() -> set[str]:
    in_html = re.findall(r'data-word(?:-label)?="([^"]+)"', text_of("index.html"))
    return set(in_html) | {key for name in MODULES for key in re.findall(r'"([a-z_]+\.[a-z_.]+)"', text_of(name))}


def test_both_languages_have_the_same_words() -> None:
    english, chinese = words_of("en"), words_of("zh")
    assert list(english) == list(chinese)
    for key, words in english.items():
        forms = [words] if isinstance(words, str) else list(words.values())
        assert isinstance(words, str) or set(words) == {"one", "other"}, key
        told = chinese[key]
        assert isinstance(told, str), f"{key}: Chinese has one form"
        for form in forms:
            assert set(re.findall(r"\{\w+\}", form)) == set(re.findall(r"\{\w+\}", told)), key
        assert re.search(r"[\u4e00-\u9fff]", told) or not re.search("[A-Za-z]", re.sub(r"\{\w+\}", "", forms[0])), key


def keys_put_together() -> list[re.Pattern[str]]:
    """As in say(`mark.${kind}.means`): what stands in the middle is a word."""
    template = r"`((?:[a-z_]+|\$\{[\w.]+\})(?:\.(?:[a-z_]+|\$\{[\w.]+\}))+)`"
    found = {key for name in MODULES for key in re.findall(template, text_of(name)) if "$" in key}
    return [re.compile(re.sub(r"\\\$\\\{.+?\\\}", "[a-z_]+", re.escape(key))) for key in found]


def test_every_key_that_is_used_has_words_and_every_word_is_used() -> None:
    used = {key for key in keys_in_use() if not key.endswith((".js", ".json")) or key == "save.json"}
    assert used - set(words_of("en")) == set()
    built = keys_put_together()
    assert {key for key in words_of("en") if key not in used and not any(one.fullmatch(key) for one in built)} == set()
    assert [one.pattern for one in built if not any(map(one.fullmatch, words_of("en")))] == []


def test_the_html_says_in_english_what_the_words_say() -> None:
    # Before the first script runs, that is what is read.
    english = words_of("en")
    for key, text in re.findall(r'data-word="([^"]+)"[^>]*>([^<]+)<', text_of("index.html")):
        assert text == english[key], key
    for key, text in re.findall(r'data-word-label="([^"]+)" aria-label="([^"]+)"', text_of("index.html")):
        assert text == english[key], key


def test_every_control_of_the_html_has_a_name(html: Tags) -> None:
    text = text_of("index.html")
    for tag, attributes in html.tags:
        if tag in ("input", "select") and "hidden" not in attributes:
            name = attributes["id"]
            is_within = re.search(rf'<label[^>]*>(?:(?!</label>).)*id="{name}"', text, re.DOTALL)
            assert f'for="{name}"' in text or "aria-label" in attributes or is_within, name


def test_every_module_is_valid_javascript() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node reads the modules and is not installed")
    command = [node, "--check", "--input-type=module"]
    done = [
        subprocess.run(command, check=False, input=text_of(name), capture_output=True, encoding="utf-8")
        for name in MODULES
    ]
    assert [one.stderr for one in done if one.returncode] == []
