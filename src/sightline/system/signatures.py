"""Signatures by Ed25519: keys in files, and whether what was signed is what is here. `cryptography` does the work."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import InvalidValue, OutputExists, require
from sightline.system.files import write_atomically
from sightline.system.stored import read_plain

PUBLIC_SUFFIX = ".pub"
_ALGORITHM = "Ed25519"
# A key in PEM has 120 bytes; some programs write remarks before it.
_MOST_KEY_BYTES = 2**16
_MAKE_ONE = "Make a pair of keys: sightline sign --new-key FILE."


@dataclass(frozen=True)
class TrustedKey:
    """A public key, and the file that it came from."""

    path: Path
    raw: bytes


def new_key(path: Path) -> Path:
    """Make a pair of keys: the private one in a file that its owner alone may read, the public one beside it.

    Returns:
        The file of the public key, which is called as the other with `.pub` behind it.

    Raises:
        OutputExists: one of them is there already; a key that was replaced would be lost.
        CannotWrite, MissingPackage: it cannot be written, or made.
    """
    kinds, forms = _ed25519(), _serialization()
    public = path.with_name(path.name + PUBLIC_SUFFIX)
    for place in (path, public):
        if place.exists() or place.is_symlink():
            raise OutputExists(f"{place} exists, and a key is never replaced. Name another file.")
    key = kinds.Ed25519PrivateKey.generate()
    write_atomically(
        path,
        key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()),
        permissions=0o600,
    )
    write_atomically(public, key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))
    return public


def signature_of(content: bytes, key_file: Path) -> dict[str, str]:
    """What is kept of a signature: its algorithm, the public key, and the signature itself, in base64.

    Raises:
        InvalidValue: the file holds no private key of Ed25519 without a password, or others may read it.
        MissingPackage: `cryptography` is not installed.
    """
    key = _private_key(key_file)
    return {
        "algorithm": _ALGORITHM,
        "key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(key.sign(content)).decode(),
    }


def read_trusted_key(path: Path) -> TrustedKey:
    """The public key of a file, in PEM as `new_key` and openssl write it.

    Raises:
        InvalidValue: it holds none of Ed25519.
        MissingPackage: `cryptography` is not installed.
    """
    kinds, forms = _ed25519(), _serialization()
    content = _content(path)
    try:
        key = forms.load_pem_public_key(content)
    except Exception as error:
        what = "a private key, which nobody but its owner should have" if b"PRIVATE KEY" in content else "no public key"
        raise InvalidValue(f"{path}: {what}. Name the public one, which ends in {PUBLIC_SUFFIX}.") from error
    if not isinstance(key, kinds.Ed25519PublicKey):
        raise InvalidValue(f"{path}: a key of another kind than {_ALGORITHM}. {_MAKE_ONE}")
    return TrustedKey(path, key.public_bytes_raw())


def why_not_signed(content: bytes, told: Any, trusted: TrustedKey) -> str | None:
    """Why a signature, as it was read back, does not show that the owner of a key signed this; None where it does."""
    kinds = _ed25519()
    given = told if isinstance(told, dict) else {}
    try:
        raw, signature = (base64.b64decode(given[name], validate=True) for name in ("key", "signature"))
    except (KeyError, TypeError, ValueError):
        return "its signature is damaged"
    if given.get("algorithm") != _ALGORITHM:
        return "its signature is of another kind, or damaged"
    # What the file names as its key is only compared: whoever signed anew would have put in their own.
    if raw != trusted.raw:
        return f"it was signed with another key than that of {trusted.path}"
    try:
        kinds.Ed25519PublicKey.from_public_bytes(trusted.raw).verify(signature, content)
    except Exception:  # noqa: BLE001  # whatever the reason, it does not hold
        return "what was signed has been changed since"
    return None


def _private_key(path: Path) -> Any:
    kinds, forms = _ed25519(), _serialization()
    content = _content(path)
    if os.name != "nt" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidValue(f"{path}: others may read or change this key. Run: chmod 600 {path}")
    try:
        key = forms.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise InvalidValue(f"{path}: this key has a password, which is not asked for here. {_MAKE_ONE}") from error
    except Exception as error:
        what = "a public key; a private one signs" if b"PUBLIC KEY" in content else "no private key"
        raise InvalidValue(f"{path}: {what}. {_MAKE_ONE}") from error
    if not isinstance(key, kinds.Ed25519PrivateKey):
        raise InvalidValue(f"{path}: a key of another kind than {_ALGORITHM}. {_MAKE_ONE}")
    return key


def _content(path: Path) -> bytes:
    try:
        return read_plain(path, most_bytes=_MOST_KEY_BYTES)
    except OSError as error:
        raise InvalidValue(f"{path}: the key cannot be read ({error.strerror}). {_MAKE_ONE}") from error


def _ed25519() -> Any:
    return _part("asymmetric.ed25519")


def _serialization() -> Any:
    return _part("serialization")


def _part(name: str) -> Any:
    return require(f"cryptography.hazmat.primitives.{name}", purpose="signing", install="sightline[signing]")
