"""The same page as one file, which can be sent to somebody and opened on a telephone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from sightline.deployment.web.pages import page_files
from sightline.records import Bundle

_SCRIPT = re.compile(r'<script src="([\w.-]+)"></script>\n')
_STYLE = '<link rel="stylesheet" href="style.css">'
# Each script and style is named by its hash in the policy of the page, so that none can be added.
_POLICY = re.compile(r'(http-equiv="Content-Security-Policy" content=")[^"]*')
_LAST = ("runtime.js", "network.js")


def write_whole(bundle: Bundle, place: Path) -> None:
    """Write a page that classifies by a bundle as one file."""
    place.write_text(whole_page(page_files(bundle, is_whole=True)), encoding="utf-8", newline="\n")


def whole_page(files: Mapping[str, bytes]) -> str:
    """The page with its scripts and its style inside, the large ones last, so that it is seen at once."""
    index = files["index.html"].decode()
    names = [*_SCRIPT.findall(index), *_LAST]
    scripts = {name: f"\n{files[name].decode()}" for name in names}
    style = f"\n{files['style.css'].decode()}"
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_source, scripts.values()))} blob: 'wasm-unsafe-eval'; "
        f"worker-src blob:; style-src {_source(style)}; img-src blob:; form-action 'none'; base-uri 'none'"
    )
    head, _, tail = _SCRIPT.sub("", index).partition("</body>")
    head = _POLICY.sub(lambda found: f"{found[1]}{policy}", head).replace(_STYLE, f"<style>{style}</style>")
    head = head.replace('<link rel="icon" href="icon.svg" type="image/svg+xml">\n', "")
    inside = "".join(f"<script>{text}</script>\n" for text in scripts.values())
    return f"{head}{inside}</body>{tail}"


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
