"""The one place where object stores are spoken to, through fsspec: what they hold, ranges of it, and their failures.

Credentials are the business of each store's own client: environment, profile or file. None is ever printed, and what
a client says in its errors is not either, since an address that was signed stands in some of them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sightline.errors import DownloadFailed, InvalidSource, InvalidValue, UnreadableImage, require
from sightline.system.text import printable

# Scheme, the package that speaks to the store, the extra that brings it, and where its client finds credentials.
_CLIENTS: Final = {
    "s3": (
        "s3fs",
        "s3",
        "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; FSSPEC_S3_ANON=true for public data",
    ),
    "gs": ("gcsfs", "gs", "GOOGLE_APPLICATION_CREDENTIALS; FSSPEC_GS_TOKEN=anon for public data"),
    "az": ("adlfs", "az", "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and a key"),
    "hf": ("huggingface_hub", "hub", "HF_TOKEN, or: hf auth login"),
}
_ADDRESS = re.compile(rf"({'|'.join(_CLIENTS)}):/{{1,2}}([^/].*)", re.IGNORECASE | re.DOTALL)
_WITH_PASSWORD = re.compile(r"[a-z0-9]+://[^/@]*:[^/@]*@")
_TRIES: Final = 3

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "TokenRetrievalError",
            "UnauthorizedSSOTokenError", "RefreshError", "SSOTokenLoadError"}  # fmt: skip
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure", "InvalidClientTokenId",
            "ClientAuthenticationError", "InvalidSecurity", "RequestTimeTooSkewed", "401", "Unauthorized"}  # fmt: skip
_NONE = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError",
         "NoAuthTokenError", "LocalTokenNotFoundError", "ProfileNotFound"}  # fmt: skip
_FORBIDDEN = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "InvalidObjectState", "PermissionError",
              "GatedRepoError"}  # fmt: skip
_GONE = {"NoSuchKey", "NoSuchBucket", "404", "NoSuchVersion", "FileNotFoundError", "ResourceNotFoundError",
         "RepositoryNotFoundError", "EntryNotFoundError"}  # fmt: skip
_CHANGED = {"PreconditionFailed", "412", "InvalidRange", "416", "ConditionNotMet"}


@dataclass(frozen=True)
class RemoteEntry:
    """One object: its address, size, and what is another string once it was written again; "" where nothing tells."""

    address: str
    num_bytes: int
    etag: str


def address_of(source: Any) -> str:
    """The address of an object store that a source is, as it is written; "" where it is none."""
    found = _ADDRESS.fullmatch(str(source)) if type(source) is str or hasattr(source, "__fspath__") else None
    # A Path makes one slash of two.
    return f"{found[1].lower()}://{found[2]}" if found else ""


def stamp_of(etag: str) -> int:
    """The same as a number; 0 where nothing tells."""
    if not etag:
        return 0
    return int.from_bytes(hashlib.blake2b(etag.encode(), digest_size=7).digest(), "big") or 1


def info_of(address: str) -> RemoteEntry | None:
    """One object as it is now; None where there is none, or a folder."""
    store, path = _connected(address)
    try:
        found = store.info(path)
    except Exception as error:  # noqa: BLE001  # each client has errors of its own; `_said` tells them apart
        if _said(error) & _GONE:
            return None
        _refuse(address, error)
    return _entry(address, found) if found.get("type") == "file" else None


def list_below(address: str) -> Iterator[RemoteEntry]:
    """All objects whose names begin with those of a folder, folder by folder."""
    store, path = _connected(address)
    scheme = address.partition("://")[0]
    try:
        for _, _, files in store.walk(path.rstrip("/"), detail=True, on_error="raise"):
            for found in files.values():
                name = str(found["name"])
                if not name.endswith("/"):
                    yield _entry(f"{scheme}://{name.lstrip('/')}", found)
    except Exception as error:  # noqa: BLE001  # as above
        if not _said(error) & _GONE:
            _refuse(address, error)


def fetch(entry: RemoteEntry, begin: int, end: int) -> bytes:
    """A range of an object, whole; UnreadableImage where the object fails, DownloadFailed where all would."""
    end = min(end, entry.num_bytes)
    if end <= begin:
        return b""
    store, path = _connected(entry.address)
    data = b""
    for _ in range(_TRIES):
        try:
            data = _get(store, path, begin, end, entry.etag)
        except Exception as error:  # noqa: BLE001  # as above
            _refuse_read(entry, error)
        if len(data) == end - begin:
            return data
    raise UnreadableImage(
        f"the store gave {len(data):,} of {end - begin:,} bytes of {_name(entry.address)}: it was cut off, or changes."
    )


def _get(store: Any, path: str, begin: int, end: int, etag: str) -> bytes:
    if etag and hasattr(store, "_call_s3"):
        asyn = require("fsspec.asyn", purpose="reading s3://", install="sightline[s3]")
        content: bytes = asyn.sync(store.loop, _get_as_it_was, store, path, (begin, end, etag))
        return content
    return bytes(store.cat_file(path, start=begin, end=end))


async def _get_as_it_was(store: Any, path: str, wanted: tuple[int, int, str]) -> bytes:
    """From S3, which refuses where the object was written again; `cat_file` has no word for that."""
    bucket, key, _ = store.split_path(path)
    begin, end, etag = wanted
    told = {"Bucket": bucket, "Key": key, "Range": f"bytes={begin}-{end - 1}", "IfMatch": etag}
    answer = await store._call_s3("get_object", **told)
    async with answer["Body"] as body:
        return bytes(await body.read())


def _entry(address: str, found: dict[str, Any]) -> RemoteEntry:
    told = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "LastModified", "mtime", "last_modified", "updated")
    etag = next((str(found[name]) for name in told if found.get(name)), "")
    return RemoteEntry(address, int(found.get("size") or 0), etag)


@functools.lru_cache(maxsize=16)
def _store_of(scheme: str) -> Any:
    package, extra, _ = _CLIENTS[scheme]
    install = f"sightline[{extra}]"
    fsspec = require("fsspec", purpose=f"reading {scheme}://", install=install)
    require(package, purpose=f"reading {scheme}://", install=install)
    # Listings are asked for once, and a million of them would be kept.
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)


def _connected(address: str) -> tuple[Any, str]:
    if _WITH_PASSWORD.match(address):
        raise InvalidValue(
            f"an address of {address.partition('://')[0]}:// holds a key. Take it out, and set "
            f"{_CLIENTS[address.partition('://')[0]][2]}."
        )
    try:
        store = _store_of(address.partition("://")[0])
        return store, str(store._strip_protocol(address))
    except (ImportError, InvalidValue):
        raise
    except Exception as error:  # noqa: BLE001  # as above
        _refuse(address, error)


def _said(error: BaseException) -> set[str]:
    """Names and codes of an error and of what it came of."""
    said: set[str] = set()
    link: BaseException | None = error
    while link is not None and len(said) < 100:
        said |= {kind.__name__ for kind in type(link).__mro__}
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            said.add(str(response.get("Error", {}).get("Code", "")))
            said.add(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")))
        said |= {str(getattr(link, name, "")) for name in ("status", "code", "status_code")}
        link = link.__cause__ or link.__context__
    return said


def _why_nobody(address: str, said: set[str]) -> str:
    """What is wrong where no object can be read; "" where it is this one alone."""
    scheme = address.partition("://")[0]
    where = _CLIENTS[scheme][2]
    if said & _EXPIRED:
        return f"the credentials have expired. Renew them ({where}), and give the same command again."
    if said & _NONE:
        return f"no credentials were found. Set {where}."
    if said & _REFUSED:
        return f"the store does not accept the credentials. Look at {where}."
    if said & (_FORBIDDEN | _GONE | _CHANGED):
        return ""
    return "the store does not answer as it should"


def _outage(address: str, error: BaseException, why: str) -> str:
    if why.endswith("."):
        return f"{printable(address)}: {why}"
    # Its name alone: what it says may hold an address that was signed.
    code = next((code for code in _said(error) if re.fullmatch(r"[45]\d\d", code)), "")
    kind = f"{type(error).__name__}{f', {code}' if code else ''}"
    return (
        f"{printable(address)}: {why} ({kind}). Look at the network and the endpoint, and give the same command again: "
        "what is done is kept."
    )


def _refuse(address: str, error: BaseException) -> NoReturn:
    """Refuse a source that cannot be looked into."""
    said = _said(error)
    if why := _why_nobody(address, said):
        raise DownloadFailed(_outage(address, error, why)) from None
    if said & _FORBIDDEN:
        raise InvalidSource(
            f"{printable(address)}: looking into it is not permitted (403). Ask for the rights to list and to read it, "
            f"or look at {_CLIENTS[address.partition('://')[0]][2]}."
        ) from None
    raise InvalidSource(f"{printable(address)}: there is no such object, folder or bucket.") from None


def _refuse_read(entry: RemoteEntry, error: BaseException) -> NoReturn:
    said = _said(error)
    if why := _why_nobody(entry.address, said):
        raise DownloadFailed(_outage(entry.address, error, why)) from None
    name = _name(entry.address)
    if said & _FORBIDDEN:
        raise UnreadableImage(f"reading {name} is not permitted (403).") from None
    if said & _CHANGED:
        raise UnreadableImage(f"{name} has changed since the source was opened. Open the source again.") from None
    raise UnreadableImage(f"{name} is gone since the source was opened.") from None


def _name(address: str) -> str:
    return printable(address.rpartition("/")[2])
