"""Pages in a real browser, where there is one: `apt-get install chromium`; for axe `npm install axe-core`, too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import sightline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).resolve().parents[3] / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="apt-get install chromium")
DARK = "--blink-settings=preferredColorScheme=0"


def _shown(page: str, folder: Path, *options: str) -> str:
    """What a browser makes of a page, as HTML, once its scripts have run."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [*options, "--virtual-time-budget=20000", "--dump-dom", path.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", timeout=120).stdout


def _with_script(page: str, script: str) -> str:
    """A copy of a page that runs another script, too."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    return page.replace("</body>", f"<script>{script}</script></body>")


@pytest.fixture(scope="module")
def page(tiny_run: sightline.Run) -> str:
    return (tiny_run.path / "report.html").read_text(encoding="utf-8")


def test_the_threshold_says_what_it_would_give(page: str, tiny_run: sightline.Run, tmp_path: Path) -> None:
    moved = "slider.value = slider.max; slider.dispatchEvent(new Event('input'));"
    told = re.findall(r'<output id="threshold-words"[^>]*>([^<]*)', _shown(page, tmp_path))
    assert tiny_run.evaluation is not None
    assert told == [
        f"Where every answer counts: 200 of 200 images are answered (100 %), {tiny_run.evaluation.num_errors} of them "
        f"wrongly ({100 * (1 - tiny_run.evaluation.accuracy):.3g} %)."
    ]
    (told,) = re.findall(r'<output id="threshold-words"[^>]*>([^<]*)', _shown(_with_script(page, moved), tmp_path))
    assert "left to a person" in told


def test_a_telephone_has_nothing_to_scroll_sideways(page: str, tmp_path: Path) -> None:
    measure = "document.title = [document.documentElement.scrollWidth, innerWidth].join(' of ');"
    shown = _shown(_with_script(page, measure), tmp_path, "--window-size=500,844")
    (width, room) = re.findall(r"<title>(\d+) of (\d+)", shown)[0]
    assert int(width) <= int(room)


def test_a_sorted_table_and_a_turned_matrix_hold_the_same_numbers(page: str, tmp_path: Path) -> None:
    click = "for (const button of document.querySelectorAll('th button, #sort-matrix')) button.click();"
    cells = [
        sorted(re.findall(r"<t[dh][^>]*>(?:<a[^>]*>)?([\d,.]+)", shown))
        for shown in (_shown(page, tmp_path), _shown(_with_script(page, click), tmp_path))
    ]
    assert cells[0] == cells[1]


@pytest.mark.parametrize("options", [(), (DARK,)])
def test_axe_finds_nothing(page: str, options: tuple[str, ...], tmp_path: Path) -> None:
    if not AXE.exists():
        pytest.skip("npm install axe-core")
    look = "addEventListener('load', () => axe.run().then(found => document.title = found.violations.map(v => v.id)));"
    shown = _shown(_with_script(page, AXE.read_text(encoding="utf-8") + look), tmp_path, *options)
    assert re.findall(r"<title>([^<]*)</title>", shown)[0] == ""
