"""The README beside an export: what it is, and a program that uses it without Sightline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.data.decoding.transforms import PADDING, PILLOW_MODES
from sightline.data.inputs.pixels import decoding_size
from sightline.deployment.conversion.description import description_beside
from sightline.deployment.conversion.formats import Format
from sightline.records import Bundle, InputSpec
from sightline.system.text import markdown
from sightline.tasks.table import has_several_labels

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
scores = np.exp((logits - logits.max()) / calibration["temperature"])
print(names[scores.argmax()], scores.max() / scores.sum())
"""
_ANSWERS = """\
shares = 0.5 * (1 + np.tanh(logits / calibration["temperature"] / 2))  # the sigmoid, which does not overflow
for label in np.argsort(-shares):
    if logits[label] >= calibration["label_thresholds"][label]:
        print(names[label], shares[label])
"""
_TEXT = """\
# {title}

{file} is {summary}. {compared}
{takes}
The program below needs no Sightline: `pip install {install} numpy pillow`, then `python name.py photo.jpg`.

```python
{program}```

It prepares 8-bit pictures byte by byte as Sightline does, but for what is transparent, which Sightline lays over white,
LAB, which it does not open, pictures of more than 16 megapixels that are no JPEG, {turned}and damaged files.
16-bit grey comes out wrong: convert it first.

{promises}
"""
# A module of a format may say otherwise.
_TAKES = "It takes uint8 images (batch, {height}, {width}, {channels}), 0 to 255; scaling is inside."
_EQUAL = (
    "Compared with its bundle on {words}, no probability differed by more than {difference:.2g};\n"
    "{report} has the figures."
)
_QUANTISED = (
    "Its probabilities are not those of its bundle. Compared with it on {words}: {could_hide}; "
    "{report} has the figures."
)
_UNCHECKED = "**It was not compared with its bundle**: {why}. Trust it only after you have compared them yourself."
_PROMISES = """\
What its bundle promises is under `promises` {where}. With `odds = logit - log(sum(exp(others)))` of a class, at no
temperature: a class is in the set of a coverage where its odds are at least the number under `sets`, and the first one
always; an answer is unsure for an error where its odds are below the number under `unsure`; {novel}\
"""
_NOVEL = (
    "an image is novel for a share of\nfalse alarms where the output `novelty` is above the number under `novel` by "
    "more than a thousandth."
)
_NO_NOVEL = "whether an image is novel, this file\ndoes not tell: take the format `onnx`."
_THRESHOLDS = """\
An image may have several labels, or none: each is said from its own number under `label_thresholds` of `calibration`
{where} on, in logits as they come. \
"""
_SETS_OF_LABELS = (
    "What its bundle promises is under `promises` there: of a coverage, a label\nis in the set where its logit is at "
    "least its number under `sets`; where there is none, every label is."
)
_NO_SETS_OF_LABELS = (
    "Sets are a promise of the network in floating point, and do\nnot hold for this one: for these take the format "
    "`onnx`."
)
_NO_PROMISES = (
    "Sets, unsure answers and novelty are promises of the network in floating point, and do not hold for this one: for "
    "these take the format `onnx`."
)


def program(form: Format, bundle: Bundle, *, file: str) -> str:
    """Python that prints label and confidence of the image that is named, of several labels a line of each."""
    spec = bundle.input
    module = form.module()
    example = module.EXAMPLE.replace('"FILE"', _literal(file))
    example = example.replace('"DESCRIPTION"', _literal(_description(form, file)))
    answer = _ANSWERS if has_several_labels(bundle.task) else _ANSWER
    return f"{_IMPORTS}{module.IMPORTS}\n{prepared(spec)}{example}{answer}"


def _literal(name: str) -> str:
    # JSON has two escapes for one character outside of the first 65,536, which Python takes for two.
    return json.dumps(name, ensure_ascii=False) if name.isprintable() else ascii(name)


def _description(form: Format, file: str) -> str:
    # Of a folder, what stands behind a point is part of its name; there is none yet to be looked at.
    return f"{file}.json" if form.is_folder else description_beside(Path(file)).name


def prepared(spec: InputSpec) -> str:
    """The lines that make `images` of the file that is named, at network size."""
    mode, grey = PILLOW_MODES[spec.color_mode], PADDING[spec.background]
    padding = grey if mode == "L" else (grey,) * 3
    lines = _READ + _RESIZE[spec.resize]
    down, across = decoding_size(spec)
    text = lines.format(height=spec.height, width=spec.width, down=down, across=across, mode=mode, padding=padding)
    return text + f"images = np.asarray(canvas, np.uint8).reshape(1, {spec.height}, {spec.width}, {spec.channels})\n"


def readme(form: Format, bundle: Bundle, figures: Mapping[str, Any], *, file: str, report: str) -> str:
    """The text of `README.md`; of a format that Python does not run, what its module says after its own first lines."""
    if (own := getattr(form.module(), "own_readme", None)) is not None:
        return str(own(bundle, _compared(form, figures, report), file=file, report=report))
    source = bundle.metrics.get("source", {}).get("name") or "A bundle"
    down, across = decoding_size(bundle.input)
    return _TEXT.format(
        title=f"{markdown(str(source))} as {markdown(file)}",
        file=markdown(file),
        summary=form.summary,
        compared=_compared(form, figures, report),
        takes=getattr(form.module(), "TAKES", _TAKES).format(
            height=bundle.input.height, width=bundle.input.width, channels=bundle.input.channels
        ),
        install=form.install,
        turned="" if down == across else "large JPEGs that their EXIF turns, ",
        program=program(form, bundle, file=file),
        promises=_promises(form, bundle, file),
    )


def _compared(form: Format, figures: Mapping[str, Any], report: str) -> str:
    if figures["unchecked"] is not None:
        return _UNCHECKED.format(why=markdown(figures["unchecked"]))
    told = {"words": markdown(figures["compared_on"]["in_words"]), "report": markdown(report)}
    if form.is_quantised:
        return _QUANTISED.format(**told, could_hide=figures["quantised"]["could_hide"])
    return _EQUAL.format(**told, difference=figures["largest_difference"])


def _promises(form: Format, bundle: Bundle, file: str) -> str:
    beside = ".json" in form.beside
    where = f"in {markdown(_description(form, file))}" if beside else "in its metadata"
    if has_several_labels(bundle.task):
        return _THRESHOLDS.format(where=where) + (_NO_SETS_OF_LABELS if form.is_quantised else _SETS_OF_LABELS)
    if form.is_quantised:
        return _NO_PROMISES
    return _PROMISES.format(where=where, novel=_NOVEL if form.has_novelty else _NO_NOVEL)
