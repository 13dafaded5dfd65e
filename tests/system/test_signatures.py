"""Keys in files, and signatures that hold for nothing else than what was signed."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="signing needs pip install 'sightline[signing]'")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from sightline.errors import InvalidValue, OutputExists
from sightline.system.signatures import new_key, read_trusted_key, signature_of, why_not_signed


def test_the_private_key_is_its_owners_alone_and_the_public_one_tells_nothing_of_it(tmp_path: Path) -> None:
    public = new_key(tmp_path / "mine.pem")
    private = tmp_path / "mine.pem"
    assert public == tmp_path / "mine.pem.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "PRIVATE KEY" in private.read_text(encoding="ascii")
    assert "PRIVATE" not in public.read_text(encoding="ascii")


@pytest.mark.parametrize("taken", ["mine.pem", "mine.pem.pub"])
def test_a_key_is_never_replaced(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).write_text("something", encoding="ascii")
    with pytest.raises(OutputExists, match="a key is never replaced"):
        new_key(tmp_path / "mine.pem")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_a_signature_holds_for_what_was_signed_and_the_key_it_was_signed_with(tmp_path: Path) -> None:
    trusted = read_trusted_key(new_key(tmp_path / "mine"))
    told = signature_of(b"content", tmp_path / "mine")
    assert why_not_signed(b"content", told, trusted) is None
    assert why_not_signed(b"content.", told, trusted) == "what was signed has been changed since"
    other = read_trusted_key(new_key(tmp_path / "other"))
    assert "signed with another key than that of" in str(why_not_signed(b"content", told, other))


def test_whoever_writes_a_trusted_key_beside_their_own_signature_is_found_out(tmp_path: Path) -> None:
    trusted = read_trusted_key(new_key(tmp_path / "mine"))
    new_key(tmp_path / "other")
    forged = {**signature_of(b"content", tmp_path / "other"), "key": base64.b64encode(trusted.raw).decode()}
    assert why_not_signed(b"content", forged, trusted) == "what was signed has been changed since"


@pytest.mark.parametrize(
    "change",
    [
        {"key": None},
        {"key": "é"},
        {"signature": "AAAA"},
        {"signature": ["AAAA"]},
        {"algorithm": "none"},
        {"algorithm": None},
        {"signature": ""},
        {"key": ""},
    ],
)
def test_a_signature_with_any_other_part_does_not_hold(change: dict[str, object], tmp_path: Path) -> None:
    trusted = read_trusted_key(new_key(tmp_path / "mine"))
    assert why_not_signed(b"content", {**signature_of(b"content", tmp_path / "mine"), **change}, trusted)
    assert why_not_signed(b"content", [], trusted) == "its signature is damaged"


def test_what_is_no_key_for_signing_is_refused_in_words_that_do_not_hold_it(tmp_path: Path) -> None:
    public = new_key(tmp_path / "mine")
    locked, curve, text = tmp_path / "locked", tmp_path / "curve", tmp_path / "text"
    key = ed25519.Ed25519PrivateKey.generate()
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    other = ec.generate_private_key(ec.SECP256R1())
    curve.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    text.write_text("hunter2 " * 9, encoding="ascii")
    for place in (locked, curve, text, public):
        place.chmod(0o600)
    for place, words in {
        locked: "has a password",
        curve: "of another kind than Ed25519",
        text: "no private key",
        public: "a public key; a private one signs",
        tmp_path / "nowhere": "cannot be read",
        tmp_path: "cannot be read",
    }.items():
        with pytest.raises(InvalidValue, match=words) as refusal:
            signature_of(b"content", place)
        assert "hunter2" not in str(refusal.value)
    with pytest.raises(InvalidValue, match="a private key, which nobody but its owner"):
        read_trusted_key(tmp_path / "mine")
    with pytest.raises(InvalidValue, match="no public key"):
        read_trusted_key(text)


@pytest.mark.skipif(not hasattr(Path, "owner"), reason="Windows has no such permissions")
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    new_key(tmp_path / "mine")
    (tmp_path / "mine").chmod(0o640)
    with pytest.raises(InvalidValue, match=r"others may read or change this key\. Run: chmod 600"):
        signature_of(b"content", tmp_path / "mine")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_keys_of_openssl_sign_and_it_verifies_signatures_of_ours(tmp_path: Path) -> None:
    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    private, public, content = tmp_path / "mine", tmp_path / "mine.pub", tmp_path / "content"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    private.chmod(0o600)
    told = signature_of(b"content", private)
    assert why_not_signed(b"content", told, read_trusted_key(public)) is None
    content.write_bytes(b"content")
    (tmp_path / "signature").write_bytes(base64.b64decode(told["signature"]))
    openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", content),
        *("-sigfile", tmp_path / "signature"),
    )
