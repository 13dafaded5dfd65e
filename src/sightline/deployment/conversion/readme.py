"""The README beside an export: what it is, and a program that uses it without Sightline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sightline.data.decoding.transforms import PADDING, PILLOW_MODES
from sightline.data.inputs.pixels import decoding_size
from sightline.deployment.conversion.formats import Format
from sightline.records import Bundle, InputSpec
from sightline.system.text import markdown

_IMPORTS = "import json\nimport os\nimport sys\n\nimport numpy as np\nfrom PIL import Image, ImageOps\n\n"
_READ = """\
picture = Image.open(sys.argv[1])
picture.draft("{mode}", ({across}, {down}))  # has a large JPEG decoded smaller
picture = ImageOps.exif_transpose(picture).convert("{mode}")
"""
# As `resize_image` does it, rule by rule; a test compares the bytes.
_RESIZE = {
    "fit": """\
scale = min({height} / picture.height, {width} / picture.width)
size = (min({width}, max(1, round(picture.width * scale))), min({height}, max(1, round(picture.height * scale))))
canvas = Image.new("{mode}", ({width}, {height}), {padding})
canvas.paste(picture.resize(size, Image.Resampling.BILINEAR), (({width} - size[0]) // 2, ({height} - size[1]) // 2))
""",
    "fill": """\
scale = min(picture.width / {width}, picture.height / {height})
across, down = min(picture.width, {width} * scale) / 2, min(picture.height, {height} * scale) / 2
x, y = picture.width / 2, picture.height / 2
box = (max(0, x - across), max(0, y - down), min(picture.width, x + across), min(picture.height, y + down))
canvas = picture.resize(({width}, {height}), Image.Resampling.BILINEAR, box=box)
""",
    "stretch": "canvas = picture.resize(({width}, {height}), Image.Resampling.BILINEAR)\n",
}
_ANSWER = """\
scores = np.exp((logits - logits.max()) / temperature)
print(names[scores.argmax()], scores.max() / scores.sum())
"""
_TEXT = """\
# {title}

{file} is {summary}. Compared with its bundle on {words}, no probability differed by more than {difference:.2g};
{report} has the figures. It takes uint8 images (batch, {height}, {width}, {channels}), 0 to 255; scaling is inside.
The program below needs no Sightline: `pip install {install} numpy pillow`, then `python name.py photo.jpg`.

```python
{program}```

It prepares 8-bit pictures byte by byte as Sightline does, but for what is transparent, which Sightline lays over white,
pictures of more than 16 megapixels that are no JPEG, {turned}and damaged files. 16-bit grey comes out
wrong: convert it first.
"""


def program(form: Format, bundle: Bundle, *, file: str) -> str:
    """Python that prints label and confidence of the image that is named, with the runtime, NumPy and Pillow alone."""
    spec = bundle.input
    module = form.module()
    example = module.EXAMPLE.replace('"FILE"', json.dumps(file))
    return f"{_IMPORTS}{module.IMPORTS}\n{prepared(spec)}{example}{_ANSWER}"


def prepared(spec: InputSpec) -> str:
    """The lines that make `images` of the file that is named, at network size."""
    mode, grey = PILLOW_MODES[spec.color_mode], PADDING[spec.background]
    padding = grey if mode == "L" else (grey,) * 3
    lines = _READ + _RESIZE[spec.resize]
    down, across = decoding_size(spec)
    text = lines.format(height=spec.height, width=spec.width, down=down, across=across, mode=mode, padding=padding)
    return text + f"images = np.asarray(canvas, np.uint8).reshape(1, {spec.height}, {spec.width}, {spec.channels})\n"


def readme(form: Format, bundle: Bundle, figures: Mapping[str, Any], *, file: str, report: str) -> str:
    """The text of `README.md`."""
    source = bundle.metrics.get("source", {}).get("name") or "A bundle"
    down, across = decoding_size(bundle.input)
    return _TEXT.format(
        title=f"{markdown(str(source))} as {markdown(file)}",
        file=markdown(file),
        summary=form.summary,
        words=markdown(figures["compared_on"]["in_words"]),
        difference=figures["largest_difference"],
        report=markdown(report),
        height=bundle.input.height,
        width=bundle.input.width,
        channels=bundle.input.channels,
        install=form.install,
        turned="" if down == across else "large JPEGs that their EXIF turns, ",
        program=program(form, bundle, file=file),
    )
