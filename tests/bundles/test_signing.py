"""Signed bundles: whatever opens one opens what was signed, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cryptography", reason="signing needs pip install 'sightline[signing]'")

import sightline
from sightline.bundles.bundle import SIGNATURE, write_manifest
from sightline.errors import InvalidBundle, InvalidValue
from sightline.system.signatures import new_key


@pytest.fixture
def signed(run_copy: Path, tmp_path: Path) -> Path:
    """A run whose bundle is signed with the key `mine`, beside it."""
    new_key(tmp_path / "mine")
    sightline.sign(run_copy, tmp_path / "mine")
    return run_copy


def add(bundle: Path) -> None:
    (bundle / "added.txt").write_text("a", encoding="ascii")


def remove(bundle: Path) -> None:
    (bundle / "card.md").unlink()


def alter(bundle: Path) -> None:
    with (bundle / "labels.json").open("a", encoding="ascii") as stream:
        stream.write(" ")


def reseal(bundle: Path) -> None:
    alter(bundle)
    write_manifest(bundle)


def remove_a_capability(bundle: Path) -> None:
    (bundle / "sets.npz").unlink()
    write_manifest(bundle)


def lay_out_anew(bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text(encoding="utf-8"))), encoding="utf-8")


def damage(bundle: Path) -> None:
    (bundle / SIGNATURE).write_text('{"key": 1}', encoding="ascii")


def enlarge(bundle: Path) -> None:
    (bundle / SIGNATURE).write_text(f'{{"key": "{"a" * 100_000}"}}', encoding="ascii")


def unsign(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()


def test_a_signed_bundle_is_opened_by_whoever_trusts_its_key_and_by_whoever_does_not_ask(
    signed: Path, tmp_path: Path
) -> None:
    image = np.zeros((28, 28), np.uint8)
    said = sightline.predict(signed, image, progress=False).predicted
    with sightline.trusting(tmp_path / "mine.pub"):
        assert sightline.predict(signed, image, progress=False).predicted == said
        assert sightline.reopen(signed).bundle.class_names
        assert sightline.reopen("imagenet").class_names


@pytest.mark.parametrize(
    ("change", "words"),
    {
        add: "added.txt: not one of the files",
        remove: "card.md is missing",
        alter: "labels.json is not the file that was saved",
        reseal: "what was signed has been changed since",
        remove_a_capability: "what was signed has been changed since",
        lay_out_anew: "what was signed has been changed since",
        damage: "its signature is damaged",
        enlarge: "more than 4,096 bytes",
        unsign: r"not signed, and only what is signed with the key of .*mine\.pub is opened",
    }.items(),
)
def test_a_file_that_was_added_removed_or_altered_since_is_refused(
    change: Callable[[Path], None], words: str, signed: Path, tmp_path: Path
) -> None:
    before = sightline.reopen(signed / "bundle")
    change(signed / "bundle")
    with sightline.trusting(tmp_path / "mine.pub"):
        for opened in (signed, signed / "bundle"):
            with pytest.raises(InvalidBundle, match=words):
                sightline.predict(opened, np.zeros((28, 28), np.uint8), progress=False)
        if change not in (remove, alter):  # of an opened one, the network alone is read again, and by its hash
            with pytest.raises(InvalidBundle, match=f"{words}|changed while it was read"):
                sightline.predict(before, np.zeros((28, 28), np.uint8), progress=False)
        found = {check.name: check.outcome for check in sightline.verify(signed / "bundle").checks}
    assert found.get("contents") == "not checked"
    assert "fails" in (found["files"], found["signature"])


def test_another_key_is_refused_and_what_is_no_public_key_before_anything_is_opened(
    signed: Path, tmp_path: Path
) -> None:
    other = new_key(tmp_path / "other")
    with sightline.trusting(other), pytest.raises(InvalidBundle, match="signed with another key than that of"):
        sightline.reopen(signed)
    with pytest.raises(InvalidValue, match="a private key"), sightline.trusting(tmp_path / "mine"):
        pytest.fail("a private key was taken for a public one")
    with sightline.trusting(tmp_path / "mine.pub"):
        sightline.reopen(signed)


def test_only_a_whole_bundle_with_nothing_else_in_it_is_signed(run_copy: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "mine")
    for change, words in ((add, "not one of the files"), (alter, "not the file that was saved")):
        change(run_copy / "bundle")
        with pytest.raises(InvalidBundle, match=words):
            sightline.sign(run_copy, tmp_path / "mine")
        (run_copy / "bundle" / "added.txt").unlink(missing_ok=True)
    assert not (run_copy / "bundle" / SIGNATURE).exists()
    with pytest.raises(InvalidBundle, match="not yours to sign"):
        sightline.sign("imagenet", tmp_path / "mine")


def test_the_commands_make_keys_sign_and_open_only_what_is_signed(run_copy: Path, tmp_path: Path, command) -> None:
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "a.png")
    again = shutil.copytree(run_copy, tmp_path / "again")
    made = command("sign", run_copy, "--new-key", "mine")
    assert made.code == 0, made.err
    key = (tmp_path / "mine").read_text(encoding="ascii").splitlines()[1]
    assert key not in made.out + made.err
    assert "private key: mine. Keep it to yourself" in made.out
    assert command("predict", run_copy, "a.png", "--trusted", "mine.pub").code == 0
    other = command("sign", "--new-key", "other", "--json")
    assert json.loads(other.out) == {"private_key": "other", "public_key": "other.pub"}
    for words in (
        ("predict", run_copy, "a.png"),
        ("evaluate", run_copy),
        ("check", run_copy, "a.png"),
        ("similar", run_copy, "a.png", "--in", tmp_path),
        ("export", run_copy, "onnx"),
        ("combine", run_copy, again),
        ("distil", run_copy),
    ):
        answer = command(*words, "--trusted", "other.pub", "--quiet")
        assert answer.code == 2, words
        assert "signed with another key than that of other.pub" in answer.err, words
    found = command("verify", run_copy / "bundle", "--trusted", "other.pub", "--quiet")
    assert found.code == 1
    assert "fails       signature: " in found.out
    assert command("sign", run_copy, "--key", "other").code == 0
    assert command("predict", run_copy, "a.png", "--trusted", "other.pub").code == 0


@pytest.mark.parametrize("words", [(), ("RUN",), ("--key", "mine"), ("RUN", "--key", "mine", "--new-key", "other")])
def test_sign_says_what_it_needs(words: tuple[str, ...], command) -> None:
    answer = command("sign", *words)
    assert answer.code == 2
    assert "name a bundle with --key FILE to sign it, or --new-key FILE to make a pair of keys" in answer.err


@pytest.mark.slow
def test_runs_of_a_signed_bundle_are_made_though_nobody_has_signed_them_yet(
    signed: Path, tmp_path: Path, small_npz: Path
) -> None:
    again = Path(shutil.copytree(signed, tmp_path / "again"))
    with sightline.trusting(tmp_path / "mine.pub"):
        both = sightline.combine([signed, again], votes=[1, 1], source=small_npz, out=tmp_path / "both", mode="quiet")
        assert both.bundle.class_names
        with pytest.raises(InvalidBundle, match="not signed"):
            sightline.reopen(tmp_path / "both")
