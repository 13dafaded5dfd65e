"""Sources at addresses, against a real server of the S3 protocol that runs in this process."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.sources.remote import objects, stores
from sightline.data.sources.remote.opening import images_at
from sightline.deployment.bulk.images import bulk_images
from sightline.errors import DownloadFailed, InvalidSource, InvalidValue, MissingPackage, UnreadableImage

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")

KEY, SECRET = "AKIATESTTESTTESTTEST", "secret/that+is/never/printed"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    running = moto_server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def bucket(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An empty bucket, and credentials for it in the environment."""
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    stores._store_of.cache_clear()
    objects._AHEAD.blocks.clear()
    made = boto3.resource("s3").create_bucket(Bucket="bkt")
    yield made
    made.objects.all().delete()
    made.delete()
    stores._store_of.cache_clear()


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40 + level, 40), 5 * level).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


PICTURES = {f"{number % 2}/{number:02d}.png": png(number) for number in range(8)}


def put(bucket: Any, files: dict[str, bytes], *, below: str = "photos") -> str:
    for name, content in files.items():
        bucket.put_object(Key=f"{below}/{name}", Body=content)
    return f"s3://bkt/{below}"


def tar_of(numbers: range) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in numbers:
            content = PICTURES[f"{number % 2}/{number:02d}.png"]
            for name, data in ((f"{number:02d}.png", content), (f"{number:02d}.cls", str(number % 2).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def parquet_of(numbers: range) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    cells = [{"bytes": PICTURES[f"{n % 2}/{n:02d}.png"], "path": f"{n:02d}.png"} for n in numbers]
    table = pyarrow.table({"image": pyarrow.array(cells, image), "label": [str(n % 2) for n in numbers]})
    stream = io.BytesIO()
    parquet.write_table(table, stream, row_group_size=2)
    return stream.getvalue()


def table_of(base: str = "") -> bytes:
    return "".join(["path,label\n", *(f"{base}{name},{name[0]}\n" for name in PICTURES)]).encode()


def contents(data: sightline.Dataset) -> dict[str, tuple[str, bytes]]:
    """Image by the end of its name, with its class."""
    return {
        re.split("[/.]", str(name))[-2]: (data.named()[row], data.images.read(row))
        for row, name in enumerate(data.row_ids)
    }


EXPECTED = {name[2:4]: (name[0], content) for name, content in PICTURES.items()}


def test_a_folder_of_images_is_a_source(bucket: Any) -> None:
    address = put(bucket, {**PICTURES, "notes.txt": b"a text", ".hidden/1.png": b"x", "0/deeper/": b""})
    data = sightline.load(address)
    assert (data.name, data.class_names, contents(data)) == ("photos", ("0", "1"), EXPECTED)
    assert [name for name, _ in data.left_out] == ["notes.txt"]
    assert sightline.load(f"{address}/").fingerprint == data.fingerprint
    assert sightline.load(Path(address)).fingerprint == data.fingerprint, "a Path makes one slash of two"
    assert len(set(data.images.identities(np.arange(8)))) == 8
    bucket.put_object(Key="photos/0/00.png", Body=PICTURES["1/01.png"])
    assert sightline.load(address).fingerprint != data.fingerprint


@pytest.mark.parametrize("base", ["", "s3://bkt/photos/", "./"])
def test_a_table_is_a_source(bucket: Any, base: str) -> None:
    address = put(bucket, {**PICTURES, "labels.csv": table_of(base) + b"gone.png,1\n"})
    data = sightline.load(f"{address}/labels.csv")
    assert contents(data) == EXPECTED
    assert data.left_out[0][0] == "gone.png"
    piece = bulk_images([f"{address}/labels.csv"]).pieces[0]
    assert len(piece) == 9
    assert piece.stamp(8) is None
    with pytest.raises(UnreadableImage, match="no such object"):
        piece.store.read(8)


@pytest.mark.parametrize("typed", ["", "/train-{0..1}.tar", "/train-0.tar"])
def test_tar_shards_are_a_source(bucket: Any, typed: str) -> None:
    address = put(bucket, {"train-0.tar": tar_of(range(4)), "train-1.tar": tar_of(range(4, 8))})
    data = sightline.load(address + typed)
    there = EXPECTED if "-0.tar" not in typed else {name: EXPECTED[name] for name in ("00", "01", "02", "03")}
    assert contents(data) == there
    assert contents(sightline.load(address + typed)) == there, "from its index"


@pytest.mark.parametrize("typed", ["", "/data/train-{0..1}.parquet"])
def test_parquet_is_a_source(bucket: Any, typed: str) -> None:
    files = {"data/train-0.parquet": parquet_of(range(4)), "data/train-1.parquet": parquet_of(range(4, 8))}
    address = put(bucket, {**files, "README.md": b"a card"})
    assert contents(sightline.load(address + typed)) == EXPECTED
    assert contents(sightline.load(f"{address}/data/train-0.parquet")) == {
        name: EXPECTED[name] for name in ("00", "01", "02", "03")
    }


def test_images_of_shards_are_fetched_in_blocks_where_they_are_read_in_order(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    fetch: Callable = stores.fetch
    monkeypatch.setattr(
        objects, "fetch", lambda entry, begin, end: (fetched.append(end - begin), fetch(entry, begin, end))[1]
    )
    data = sightline.load(put(bucket, {"train-0.tar": tar_of(range(8))}))
    fetched.clear()
    assert contents(data) == EXPECTED
    assert len(fetched) == 1
    monkeypatch.setattr(objects, "_BLOCK_BYTES", 4096)
    objects._AHEAD.blocks.clear()
    fetched.clear()
    assert data.images.read(7) == PICTURES["1/07.png"]
    assert sum(fetched) < 20_000, "one alone costs no block"
    assert contents(data) == EXPECTED


def test_the_answers_are_those_of_a_folder_byte_for_byte(
    bucket: Any, command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {
        "folder": PICTURES,
        "shards": {"a-0.tar": tar_of(range(4)), "a-1.tar": tar_of(range(4, 8))},
        "parquet": {"a-0.parquet": parquet_of(range(4)), "a-1.parquet": parquet_of(range(4, 8))},
        "table": {**PICTURES, "t.csv": table_of()},
    }
    answers = {}
    for kind, files in kinds.items():
        put(bucket, files, below=kind)
        for name, content in files.items():
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / name).write_bytes(content)
        for base in ("", "s3://bkt/"):
            typed = f"{base}{kind}{'/t.csv' if kind == 'table' else ''}"
            told = command("predict", "imagenet", typed, "--csv", "answers.csv", "--overwrite", "--quiet")
            assert told.code == 0, told.err
            lines = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()[1:]
            found = {re.split("[/.]", line.split(",")[0])[-2]: line.partition(",")[2] for line in lines}
            answers[typed] = dict(sorted(found.items()))
    assert len(answers) == 8
    assert all(found == answers["folder"] for found in answers.values())
    assert list(answers["folder"]) == sorted(EXPECTED)


def test_an_object_that_changes_is_cut_off_or_goes_is_an_error_of_its_row(bucket: Any) -> None:
    data = sightline.load(put(bucket, PICTURES))
    same_size = bytearray(PICTURES["0/00.png"])
    same_size[60] ^= 1
    bucket.put_object(Key="photos/0/00.png", Body=bytes(same_size))
    bucket.put_object(Key="photos/0/02.png", Body=PICTURES["0/02.png"][:50])
    bucket.Object("photos/0/04.png").delete()
    rows = {str(name)[2:4]: row for row, name in enumerate(data.row_ids)}
    for name, words in (("00", "00.png has changed since"), ("02", "has changed"), ("04", "04.png is gone")):
        with pytest.raises(UnreadableImage, match=words):
            data.images.read(rows[name])
    assert data.images.read(rows["06"]) == PICTURES["0/06.png"]


def test_a_shard_that_is_written_again_is_read_no_longer(bucket: Any) -> None:
    data = sightline.load(put(bucket, {"train-0.tar": tar_of(range(8))}))
    put(bucket, {"train-0.tar": tar_of(range(7, -1, -1))})
    with pytest.raises(UnreadableImage, match=r"train-0\.tar has changed"):
        data.images.read(3)
    assert contents(sightline.load("s3://bkt/photos")) == EXPECTED, "indexed again"


def test_a_cut_off_shard_gives_what_it_has(bucket: Any) -> None:
    whole = tar_of(range(8))
    data = sightline.load(put(bucket, {"a.tar": whole[: len(whole) // 2]}))
    assert 2 <= len(data) < 8
    assert any("cannot be read to the end" in remark for remark in data.remarks)


def test_a_store_that_gives_less_than_it_says_is_asked_again_and_then_told(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sightline.load(put(bucket, PICTURES))
    get, calls = stores._get, []
    monkeypatch.setattr(stores, "_get", lambda *told: (calls.append(1), get(*told)[:9])[1])
    with pytest.raises(UnreadableImage, match=r"gave 9 of [\d,]+ bytes of 00\.png"):
        data.images.read(0)
    assert len(calls) == 3


def test_an_outage_stops_a_prediction_which_goes_on_later(
    bucket: Any, command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, PICTURES)
    told = command("predict", "imagenet", "s3://bkt/photos", "--csv", "whole.csv", "--quiet")
    assert told.code == 0, told.err
    get, calls = stores._get, []

    def fails(*told: Any) -> bytes:
        calls.append(1)
        if len(calls) > 4:
            raise ConnectionError(f"http://host/?X-Amz-Signature={SECRET}")
        return get(*told)

    monkeypatch.setattr(stores, "_get", fails)
    stopped = command("predict", "imagenet", "s3://bkt/photos", "--csv", "a.csv", "--quiet")
    assert stopped.code == 2
    assert "does not answer as it should (ConnectionError)" in stopped.err
    assert "give the same command again" in stopped.err
    assert SECRET not in stopped.err
    monkeypatch.setattr(stores, "_get", get)
    assert command("predict", "imagenet", "s3://bkt/photos", "--csv", "a.csv", "--quiet").code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_server_that_is_gone_is_told_in_words(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    stores._store_of.cache_clear()
    with pytest.raises(DownloadFailed, match=r"s3://bkt/photos: the store does not answer.*network and the endpoint"):
        sightline.load("s3://bkt/photos")


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("ExpiredToken", 400, "the credentials have expired. Renew them"),
        ("InvalidAccessKeyId", 403, "does not accept the credentials"),
        ("SignatureDoesNotMatch", 403, "does not accept the credentials"),
        ("SlowDown", 503, "does not answer as it should"),
    ],
)
def test_credentials_and_overload_stop_the_command_and_are_never_printed(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, code: str, status: int, words: str
) -> None:
    data = sightline.load(put(bucket, PICTURES))
    from botocore.exceptions import ClientError

    def fails(*_: Any) -> bytes:
        answer = {"Error": {"Code": code, "Message": SECRET}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise OSError(SECRET) from ClientError(answer, "GetObject")

    monkeypatch.setattr(stores, "_get", fails)
    with pytest.raises(DownloadFailed, match=words) as raised:
        data.images.read(0)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_what_is_forbidden_is_an_error_of_its_row_or_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sightline.load(put(bucket, PICTURES))
    from botocore.exceptions import ClientError

    denied = ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")

    def fails(*_: Any, **__: Any) -> Any:
        raise PermissionError(SECRET) from denied

    monkeypatch.setattr(stores, "_get", fails)
    with pytest.raises(UnreadableImage, match=r"reading 00\.png is not permitted \(403\)"):
        data.images.read(0)
    monkeypatch.setattr(stores._store_of("s3"), "walk", fails, raising=False)
    with pytest.raises(InvalidSource, match=r"looking into it is not permitted \(403\)"):
        sightline.load("s3://bkt/photos")


def test_missing_credentials_say_where_to_put_them(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    stores._store_of.cache_clear()
    with pytest.raises(DownloadFailed, match=r"no credentials were found\. Set AWS_PROFILE"):
        sightline.load("s3://bkt/photos")
    with pytest.raises(InvalidValue, match="holds a key") as raised:
        sightline.load("s3://AKIA:secret@bkt/photos")
    assert "secret" not in str(raised.value).partition("Set ")[0]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("s3://bkt/nothing", "there is no such object"),
        ("s3://bkt//photos", "is called otherwise, such as s3://bkt/photos/"),
        ("S3://no-such-bucket/x", "no such object"),
        ("s3://bkt/photos/pack.zip", "is read from the disk alone"),
        ("s3://bkt/photos/0/00.png", "is one image: `sightline predict` takes it"),
        ("s3://bkt/photos/t-{0..2}.tar", "of 3 files that it stands for, 3 are not there"),
        ("s3://bkt/photos/broken.parquet", "not a readable Parquet file"),
        ("s3://bkt/photos/empty.csv", "no column 'path'"),
    ],
)
def test_what_is_no_source_is_refused_in_words(bucket: Any, typed: str, words: str) -> None:
    put(bucket, {**PICTURES, "pack.zip": b"PK", "broken.parquet": b"PAR1", "empty.csv": b"a,b\n"})
    with pytest.raises(InvalidSource, match=words):
        sightline.load(typed)


def test_single_images_and_folders_are_predicted_and_sorting_says_that_it_takes_files(
    bucket: Any, command: Callable
) -> None:
    address = put(bucket, {**PICTURES, "0/x.txt": b"no"})
    assert len(images_at(f"{address}/0/00.png")) == 1
    assert len(images_at(address)) == 8
    told = command("predict", "imagenet", f"{address}/0/00.png", f"{address}/1", "--json")
    assert (told.code, told.out.count("\n")) == (0, 5)
    told = command("sort", "imagenet", address, "--into", "sorted", "--min-confidence", "0.5")
    assert (told.code, "files of this machine are sorted alone" in told.err) == (2, True)
    for words in (["similar", "imagenet", address, "--in", "."], ["explain", "imagenet", address]):
        told = command(*words)
        assert (told.code, "nothing is downloaded" in told.err) == (2, True)


def test_a_client_that_is_not_installed_is_named_with_its_extra() -> None:
    stores._store_of.cache_clear()
    with pytest.raises(MissingPackage, match=r"pip install 'sightline\[az\]'"):
        sightline.load("az://container/photos")


def test_pixels_are_read_once_and_known_again(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.data.inputs.pixels import read_pixels
    from sightline.records import InputSpec

    address = put(bucket, PICTURES)
    first = read_pixels(sightline.load(address), InputSpec(16, 16, "rgb"))
    assert not first.errors
    monkeypatch.setattr(stores, "_get", lambda *_: pytest.fail("it was read before"))
    again = read_pixels(sightline.load(address), InputSpec(16, 16, "rgb"))
    assert np.array_equal(first[:], again[:])
