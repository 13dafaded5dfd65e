"""What answers are to carry beside their class: settled once for a bundle that is asked again and again."""

from __future__ import annotations

import gc
import weakref

import sightline
from sightline.bundles.bundle import load_bundle
from sightline.bundles.trust.details import Asked, detail_makers


def test_what_is_asked_again_is_made_once_and_goes_with_its_bundle(tiny_run: sightline.Run) -> None:
    bundle = load_bundle(tiny_run.bundle.path)
    asked = Asked(coverage=0.9, max_error=0.3, certainty=0.8)
    makers = detail_makers(bundle, asked)
    assert list(makers) == ["sets", "abstention"]
    assert detail_makers(bundle, Asked(coverage=0.9, max_error=0.3, certainty=0.8)) is makers
    assert detail_makers(load_bundle(tiny_run.bundle.path), asked) is not makers
    other = detail_makers(bundle, Asked(coverage=0.8))
    assert other["sets"].promise["coverage"] == 0.8
    assert detail_makers(bundle, asked)["sets"].promise["coverage"] == 0.9
    seen = weakref.ref(bundle)
    del bundle
    gc.collect()
    assert seen() is None
