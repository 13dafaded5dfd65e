"""The page over the server itself: each takes from the other what it should."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def test_a_picture_goes_to_the_server_and_comes_back_as_an_answer(
    open_page: Any, start_server: Any, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    running = start_server({"pets": make_bundle("pets"), "more pets": make_bundle("more")})
    page = open_page(address=f"http://127.0.0.1:{running.port}/")
    paths = []
    for number, name in enumerate(["cat", "dog", "owl", "owl"]):
        paths.append(tmp_path / f"{name} {number}.png")
        paths[-1].write_bytes(running.png(name, noise=number))
    paths.append(tmp_path / "no picture.png")
    paths[-1].write_bytes(b"GIF89a and nothing more")
    page.set_input_files("#files", paths)
    page.wait_for_selector("tbody tr:nth-child(5) .chip.error")
    end = time.monotonic() + 10
    while "to go" in page.locator("#tally").inner_text():
        assert time.monotonic() < end
        page.wait_for_timeout(20)
    assert page.locator("tbody .cell-label").all_inner_texts() == ["cat", "dog", "owl", "owl", "Could not be read"]
    asked = running.ask("POST", "/v1/predict?model=pets", paths[0].read_bytes(), {"Content-Type": "image/png"}).json
    share = page.locator("tbody .share").first.inner_text().removesuffix("\u00a0%")
    assert np.isclose(float(share.removeprefix("> ")), 100 * asked["images"][0]["confidence"], atol=0.1)
    page.select_option("#model", "more pets")
    page.wait_for_selector("#detail-source:has-text('more pets')")


def test_a_key_of_the_server_lets_the_page_in(
    open_page: Any, start_server: Any, make_bundle: Callable[..., Path], chromium: Any
) -> None:
    running = start_server({"pets": make_bundle("pets")}, keys=("a-key-of-twenty-letters",))
    page = chromium.new_context(locale="en").new_page()
    page.goto(f"http://127.0.0.1:{running.port}/")
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "a-key-of-twenty-letters")
    page.keyboard.press("Enter")
    page.wait_for_selector("#about", state="visible")
    assert "pets" in page.locator("h1").inner_text()
    page.context.close()
