"""Small layers that unpack to huge, deep or numerous files are refused with bounded resources."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from mclass_tf.local.containers import unpack as unpacking
from mclass_tf.local.containers.driver import PullError
from mclass_tf.local.containers.image import read
from mclass_tf.local.containers.unpack import DEEPEST, remove, unpack
from tests.local.images import Blobs, Entry, layer

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
MIB = 1024 * 1024


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "blobs")
    made.folder.mkdir()
    return made


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "root"
    made.mkdir()
    yield made
    remove(made)


def header(name: str, *, kind: bytes, size: int) -> bytes:
    """Return the header block of an entry, without validation."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def packed(pieces: Iterable[bytes]) -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)
    return made.getvalue()


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 512)


def pax(records: str) -> bytes:
    """Return an extended header that says this, and the block after which its file follows."""
    lines = "".join(_record(line) for line in records.splitlines()).encode()
    return header("pax", kind=tarfile.XHDTYPE, size=len(lines)) + padded(lines)


def _record(line: str) -> str:
    length = len(line) + 3
    while len(f"{length} {line}\n") != length:
        length += 1
    return f"{length} {line}\n"


def a_long_header(kind: bytes) -> Iterator[bytes]:
    yield header("long", kind=kind, size=256 * MIB)
    for _ in range(256):
        yield b"x" * MIB


def many_headers() -> Iterator[bytes]:
    records = _record(f"comment={'x' * 16_000}").encode()
    for _ in range(100):
        yield header("pax", kind=tarfile.XHDTYPE, size=len(records))
        yield padded(records)
        yield header("file", kind=tarfile.REGTYPE, size=0)


def digits() -> Iterator[bytes]:
    """A header that Python searches for its charset in quadratic time."""
    yield header("pax", kind=tarfile.XHDTYPE, size=MIB)
    yield b"1" * MIB


def nested_headers() -> Iterator[bytes]:
    """Nested headers, which tarfile parses recursively."""
    for _ in range(5000):
        yield header("long", kind=tarfile.GNUTYPE_LONGNAME, size=1)
        yield padded(b"x")


def global_headers() -> Iterator[bytes]:
    record = _record(f"comment={'x' * 20_000}").encode()
    yield header("pax", kind=tarfile.XGLTYPE, size=len(record))
    yield padded(record)


def a_sparse_map() -> Iterator[bytes]:
    """A map of holes that is longer than any file."""
    yield pax("GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.name=x\nGNU.sparse.realsize=1")
    yield header("sparse", kind=tarfile.REGTYPE, size=256 * MIB)
    yield b"99999999\n"
    for _ in range(128):
        yield b"1\n" * (MIB // 2)


def old_sparse() -> Iterator[bytes]:
    block = bytearray(header("sparse", kind=tarfile.GNUTYPE_SPARSE, size=1))
    yield bytes(block)
    yield b"\1" * MIB


def a_sparse_file() -> Iterator[bytes]:
    yield pax("GNU.sparse.map=0,1\nGNU.sparse.size=1000000000000\nGNU.sparse.name=x")
    yield header("sparse", kind=tarfile.REGTYPE, size=1)
    yield padded(b"x")


def a_negative_size() -> Iterator[bytes]:
    yield pax("size=-1024")
    yield header("x", kind=tarfile.REGTYPE, size=0)


BOMBS = {
    "an extended header": a_long_header(tarfile.XHDTYPE),
    "a global header": a_long_header(tarfile.XGLTYPE),
    "a long name": a_long_header(tarfile.GNUTYPE_LONGNAME),
    "a long link": a_long_header(tarfile.GNUTYPE_LONGLINK),
    "Solaris' header": a_long_header(tarfile.SOLARIS_XHDTYPE),
    "many headers": many_headers(),
    "digits": digits(),
    "nested headers": nested_headers(),
    "global headers": global_headers(),
    "a sparse map": a_sparse_map(),
    "an old sparse header": old_sparse(),
    "a sparse file": a_sparse_file(),
    "a negative size": a_negative_size(),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_small_blob_that_becomes_large_in_memory_is_refused(
    blobs: Blobs, root: Path, bomb: Iterator[bytes]
) -> None:
    digest = blobs.make(packed(bomb), media_type=GZIP)
    image = read(blobs, digest)

    tracemalloc.start()
    try:
        with pytest.raises(PullError, match="failed to register layer sha256:"):
            unpack(image, images=blobs, root=root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 32 * MIB


def test_a_file_larger_than_the_disk_of_a_task_is_refused_before_it_is_written(
    blobs: Blobs, root: Path
) -> None:
    data = packed([header("large", kind=tarfile.REGTYPE, size=8 * MIB), b"x" * 8 * MIB])

    with pytest.raises(PullError, match="no space left on device"):
        unpack(read(blobs, blobs.make(data, media_type=GZIP)), images=blobs, root=root, largest=4 * MIB)

    assert list(root.iterdir()) == []


def test_an_image_has_a_bounded_number_of_files(
    blobs: Blobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 10)
    data = layer(*(Entry(name=f"{number}") for number in range(11)))

    with pytest.raises(PullError, match="more than 10 files"):
        unpack(read(blobs, blobs.make(data)), images=blobs, root=root)


@pytest.mark.parametrize("is_linked", [False, True])
def test_folders_stand_in_each_other_to_a_bounded_depth(blobs: Blobs, root: Path, *, is_linked: bool) -> None:
    """Also through links, because removal of the folders is recursive."""
    half = "/".join("d" * (DEEPEST // 2 + 1))
    link = Entry(name="link", link=half, type=tarfile.SYMTYPE)
    entries = (Entry(name=f"{half}/x"), link, Entry(name=f"link/{half}/x"))
    data = layer(*(entries if is_linked else (Entry(name=f"{half}/{half}/x"),)))

    with pytest.raises(PullError, match="folders deep"):
        unpack(read(blobs, blobs.make(data)), images=blobs, root=root)


def test_the_time_for_a_file_does_not_grow_with_the_folders_above_it(blobs: Blobs, tmp_path: Path) -> None:
    """50,000 empty files once took half a minute, mostly to resolve their folders."""
    spent = []
    for depth in (1, DEEPEST - 1):
        folder = "/".join(["d"] * depth)
        image = read(blobs, blobs.make(layer(*(Entry(name=f"{folder}/{number}") for number in range(500)))))
        root = tmp_path / f"{depth}"
        root.mkdir()
        started = time.process_time()
        unpack(image, images=blobs, root=root)
        spent.append(time.process_time() - started)
        remove(root)

    assert spent[1] < 4 * spent[0] + 0.5


def test_a_folder_that_is_emptied_again_and_again_is_emptied_once(blobs: Blobs, tmp_path: Path) -> None:
    """Otherwise each whiteout would scan all files."""
    lower = layer(Entry(name="folder/lower"))
    files = [Entry(name=f"folder/{number}") for number in range(500)]
    spent = []
    for times in (1, 500):
        upper = layer(*files, *[Entry(name="folder/.wh..wh..opq")] * times)
        image = read(blobs, blobs.make(lower, upper))
        root = tmp_path / f"{times}"
        root.mkdir()
        started = time.process_time()
        unpack(image, images=blobs, root=root)
        spent.append(time.process_time() - started)
        assert len(list((root / "folder").iterdir())) == 500
        remove(root)

    assert spent[1] < 4 * spent[0] + 0.3


def test_a_link_that_takes_the_place_of_a_folder_is_followed_from_then_on(blobs: Blobs, root: Path) -> None:
    """Resolved folders are cached until something changes them."""
    first = layer(Entry(name="a/one"), Entry(name="b/one"))
    second = layer(
        Entry(name="a/two"),
        Entry(name="a", link="b", type=tarfile.SYMTYPE),
        Entry(name="a/three"),
        Entry(name=".wh.b"),
        Entry(name="b/four"),
    )

    unpack(read(blobs, blobs.make(first, second)), images=blobs, root=root)

    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} >= {"b/four"}
    assert (root / "a").is_symlink()


def test_an_image_has_as_many_layers_as_a_container_runtime_mounts(blobs: Blobs) -> None:
    digest = blobs.make(*[layer(Entry(name="x"))] * 128)

    with pytest.raises(PullError, match="127 layers"):
        read(blobs, digest)
