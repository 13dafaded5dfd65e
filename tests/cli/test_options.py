from __future__ import annotations

import pytest

import sightline
from sightline.cli.options import DISTIL_SHORTHANDS, SHORTHANDS, settings_of
from sightline.cli.parser import build_parser


@pytest.mark.parametrize(("command", "options"), [("train", tuple(SHORTHANDS)), ("distil", DISTIL_SHORTHANDS)])
def test_what_keeps_data_out_of_the_bundle_sets_its_key_beside_other_settings(command: str, options) -> None:
    parser = build_parser()
    typed = [command, "mnist", "--no-identity", "--set", "seed=1", "--no-parity-images", "--epochs", "3"]
    asked = sightline.recipe("fast", settings_of(parser.parse_args(typed), options))
    assert (asked.data.identity, asked.data.parity_images, asked.seed, asked.training.epochs) == (False, False, 1, 3)
    plain = sightline.recipe("fast", settings_of(parser.parse_args([command, "mnist"]), options))
    assert plain == sightline.recipe("fast")
