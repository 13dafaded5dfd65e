"""README.md of a published bundle: the card of the hub, in YAML that no name can break, and the bundle's own words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sightline.bundles.card import LICENCES
from sightline.errors import InvalidValue, closest
from sightline.metrics.figures import FIGURES, figure_in, told_in
from sightline.records import Bundle
from sightline.system.text import counted, exact_percent, json_line, printable
from sightline.tasks.table import has_several_labels

MARK = "<!-- written by sightline publish -->"
# As the hub calls them; "other" where none was named, and the card says what is known.
# fmt: off
LICENSES = (
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m",
    "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc",
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0",
    "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "ms-pl", "mpl-2.0", "odc-by", "odbl", "osl-3.0", "postgresql",
    "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr", "unknown", "other",
)
# fmt: on
# What the hub calls the data sets that go by a name here.
_ON_HUB = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)
_PLACEHOLDER = "OWNER/NAME"
# What makes confidences of logits where an image may have several labels.
_OF_LABELS = "sigmoid, each by itself, and from which logit on a label is said (`label_thresholds`)"
_USE = """\
## How to use it

With Sightline's base installation, which answers without Keras (`[hub]` brings what fetches it from here):

```console
$ pip install 'sightline[hub]'
$ sightline predict {address} picture.jpg
```

or of this folder, however it came to you, with `pip install sightline` alone:

```python
import sightline

predictions = sightline.predict(".", ["picture.jpg"])  # "." is where this README lies
print(predictions.predicted, predictions.confidences)
```

Without Sightline: `bundle/model.onnx` takes `images`, uint8 `(batch, {height}, {width}, {channels})` with values 0 to
255, and gives `logits`; `bundle/input.json` says how an image is brought to that size, `bundle/labels.json` the class
names in order, and `bundle/calibration.json` by what logits are divided before their {function}. `bundle/manifest.json`
holds the SHA-256 of every file, by which `sightline verify` tells whether it is whole.

"""


def check_licence(licence: str | None) -> None:
    """Refuse a licence that the hub has no name for."""
    if licence is not None and licence not in LICENSES:
        raise InvalidValue(
            f"no licence is called {licence!r} on the hub. {closest(str(licence), LICENSES)} Or leave it out: the card "
            "then says 'other', and what is known of data and weights."
        )


def readme(
    bundle: Bundle, card: str, *, hub: str | None, licence: str | None, datasets: Iterable[str], remarks: Iterable[str]
) -> str:
    """The text of README.md.

    Args:
        bundle: as it is published.
        card: its `card.md`.
        hub: OWNER/NAME, or None where it is not known yet.
        licence: one of `LICENSES`, or None.
        datasets: names of data sets on the hub.
        remarks: what is otherwise in it than in the bundle that it was made of.
    """
    body = _FRONT_MATTER.sub("", card)
    height, width, channels = bundle.input.shape
    use = _USE.format(
        address=f"hf://{hub or _PLACEHOLDER}",
        height=height,
        width=width,
        channels=channels,
        function=_OF_LABELS if has_several_labels(bundle.task) else "softmax",
    )
    first, figures, rest = body.partition("\n## Figures\n")
    body = f"{first}\n{use}## Figures\n{rest}" if figures else f"{body.rstrip()}\n\n{use}"
    told = "".join(f"- {remark}\n" for remark in remarks)
    if told:
        body = f"{body.rstrip()}\n\n## What was changed to publish it\n\n{told}"
    return f"---\n{_lines(_metadata(bundle, body, licence, [*datasets]))}\n---\n\n{MARK}\n\n{body.lstrip()}"


def _metadata(bundle: Bundle, body: str, licence: str | None, datasets: list[str]) -> dict[str, Any]:
    source = bundle.metrics.get("source") or {}
    name = printable(str(source.get("name") or "")) or "not stated"
    known = _ON_HUB.get(str(source.get("typed")))
    datasets = datasets or ([known] if known else [])
    title = body.lstrip().partition("\n")[0].removeprefix("# ").strip()
    told: dict[str, Any] = {
        "library_name": "sightline",
        "pipeline_tag": "image-classification",
        "license": licence or "other",
    }
    if licence is None:
        told |= {
            "license_name": "not-stated",
            "license_link": f"#{LICENCES.removeprefix('## ').lower().replace(' ', '-')}",
        }
    told["tags"] = ["image-classification", "onnx", "sightline", "calibrated"]
    if datasets:
        told["datasets"] = datasets
    if metrics := list(_metrics(bundle.metrics.get("test") or {})):
        of_what = {"type": datasets[0] if len(datasets) == 1 else name, "name": name, "split": "test"}
        task = {"type": "image-classification", "name": "Image Classification"}
        told["metrics"] = [metric["type"] for metric in metrics]
        told["model-index"] = [
            {"name": title or name, "results": [{"task": task, "dataset": of_what, "metrics": metrics}]}
        ]
    return told


def _metrics(test: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The figures that a card tells, each with its interval in its name: the hub has no other place for one."""
    for name in told_in("card", FIGURES):
        metric, figure = FIGURES[name], figure_in(test, name)
        if metric.needs or figure is None or not math.isfinite(figure.value):
            continue
        # micro F1 is of several labels alone: where it stands, so are all figures.
        is_of_labels = figure_in(test, "micro_f1") is not None
        words = (is_of_labels and metric.words_of_labels) or metric.full_words or metric.words
        if figure.interval is not None:
            lower, upper = map(figure.written, figure.interval)
            level = exact_percent(test.get("interval_level", 0.95))
            words = f"{words}, {level} interval {lower} to {upper} ({metric.interval_method})"
        yield {"type": name, "name": f"{words}, on {_images(test)}", "value": figure.value}


def _images(test: Mapping[str, Any]) -> str:
    images, groups = counted(int(test["num_images"]), "test image"), test.get("num_groups")
    return images if groups is None else f"{images} of {counted(int(groups), 'group')}"


def _lines(told: Mapping[str, Any]) -> str:
    """YAML, of which JSON is a part, so that no name does anything in it; letters that YAML refuses are left out."""
    return "\n".join(
        "".join(letter for letter in f"{key}: {json_line(value)}" if letter.isprintable())
        for key, value in told.items()
    )
