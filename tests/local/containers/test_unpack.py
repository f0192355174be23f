"""Layers are unpacked as by a container runtime, and nothing in them escapes from the image."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from mclass_tf.local.containers.driver import PullError
from mclass_tf.local.containers.image import Layer, read
from mclass_tf.local.containers.unpack import inside, remove, unpack
from tests.local.images import Blobs, Entry, layer

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "blobs")
    made.folder.mkdir()
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "image" / "root"
    made.mkdir(parents=True)
    (tmp_path / "image" / "outside").write_text("outside")
    return made


def put(blobs: Blobs, root: Path, *layers: bytes, media_type: str = "") -> None:
    digest = blobs.make(*layers, media_type=media_type) if media_type else blobs.make(*layers)
    unpack(read(blobs, digest), images=blobs, root=root)


def link(name: str, target: str) -> Entry:
    return Entry(name=name, link=target, type=tarfile.SYMTYPE)


def folder(name: str) -> Entry:
    return Entry(name=name, type=tarfile.DIRTYPE, mode=0o755)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_a_later_layer_lies_over_an_earlier_one(blobs: Blobs, root: Path) -> None:
    first = layer(Entry(name="a", content=b"old"), Entry(name="b/c", content=b"old", mode=0o755))
    second = gzip.compress(layer(Entry(name="./a", content=b"new")))

    put(blobs, root, first)
    other = root.with_name("other")
    other.mkdir()
    put(blobs, other, gzip.compress(first), second, media_type=GZIP)

    assert (root / "a").read_bytes() == b"old"
    assert (other / "a").read_bytes() == b"new"
    assert os.access(other / "b" / "c", os.X_OK)


def test_whiteouts_take_away_what_lower_layers_have_and_nothing_of_their_own(
    blobs: Blobs, root: Path
) -> None:
    lower = layer(
        *(Entry(name=name) for name in ("gone", "kept", "opaque/lower", "opaque/in/lower", "tree/x"))
    )
    upper = layer(
        Entry(name="own"),
        Entry(name=".wh.gone"),
        Entry(name=".wh.own"),
        Entry(name=".wh.tree"),
        Entry(name=".wh.never-there"),
        Entry(name="opaque/in/upper"),
        Entry(name="opaque/.wh..wh..opq"),
    )

    put(blobs, root, lower, upper)

    assert files(root) == {"kept", "own", "opaque/in/upper"}


def test_links_lead_where_they_lead_in_a_container(blobs: Blobs, root: Path) -> None:
    put(
        blobs,
        root,
        layer(
            Entry(name="usr/lib/a", content=b"a"),
            link("lib", "usr/lib"),
            Entry(name="lib/b", content=b"b"),
            link("srv/app/absolute", "/usr/lib/a"),
            Entry(name="hard", link="/lib/a", type=tarfile.LNKTYPE),
        ),
    )

    assert (root / "usr/lib/b").read_bytes() == b"b"
    assert (root / "srv/app/absolute").read_bytes() == b"a"
    assert (root / "hard").read_bytes() == b"a"


@pytest.mark.parametrize(
    "target", ["/outside", "../outside", "../../outside", "/../outside", "a/../../outside", "/"]
)
def test_a_link_out_of_the_image_leads_nowhere_else(blobs: Blobs, root: Path, target: str) -> None:
    put(
        blobs,
        root,
        layer(folder("a"), link("deep/link", target)),
        layer(Entry(name="deep/link/outside", content=b"x") if target == "/" else Entry(name="x")),
    )

    resolved = (root / "deep" / "link").resolve()
    assert resolved == root or root in resolved.parents
    assert inside(root, "deep/link/../../../etc") == root / "etc"
    assert (root.parent / "outside").read_text() == "outside"


@pytest.mark.parametrize(
    "entries",
    [
        (Entry(name="../outside", content=b"x"),),
        (Entry(name="a/../../outside", content=b"x"),),
        (Entry(name="..", type=tarfile.DIRTYPE),),
        (Entry(name="../.wh.outside"),),
        (Entry(name="hard", link="../outside", type=tarfile.LNKTYPE),),
        (link("a", "b"), link("b", "a"), Entry(name="a/c")),
    ],
)
def test_an_entry_outside_of_the_image_is_refused(
    blobs: Blobs, root: Path, entries: tuple[Entry, ...]
) -> None:
    with pytest.raises(PullError, match="failed to register layer sha256:"):
        put(blobs, root, layer(*entries))

    assert (root.parent / "outside").read_text() == "outside"


@pytest.mark.parametrize("name", ["/outside", ".wh...", ".wh..", "a/.wh.../b"])
def test_strange_names_stay_inside(blobs: Blobs, root: Path, name: str) -> None:
    put(blobs, root, layer(Entry(name="a/b")), layer(Entry(name=name, content=b"x")))

    assert (root.parent / "outside").read_text() == "outside"
    assert (root / "a" / "b").exists()


def test_a_file_is_not_written_through_a_link(blobs: Blobs, root: Path) -> None:
    put(
        blobs,
        root,
        layer(Entry(name="real", content=b"old"), link("link", "real"), Entry(name="link", content=b"new")),
    )

    assert (root / "real").read_bytes() == b"old"
    assert (root / "link").read_bytes() == b"new"


def test_a_file_takes_the_place_of_a_folder_and_the_other_way_round(blobs: Blobs, root: Path) -> None:
    put(
        blobs,
        root,
        layer(Entry(name="a/x"), Entry(name="b")),
        layer(Entry(name="a", content=b"file"), folder("b"), Entry(name="b/y")),
    )

    assert files(root) == {"a", "b/y"}


def test_nothing_in_it_can_be_written_to_nor_runs_as_somebody_else(blobs: Blobs, root: Path) -> None:
    put(blobs, root, layer(Entry(name="a/b", mode=0o6777), Entry(name="secret", mode=0o600)))

    assert (root / "a" / "b").stat().st_mode & 0o7777 == 0o555
    assert (root / "a").stat().st_mode & 0o777 == 0o555
    assert (root / "secret").stat().st_mode & 0o777 == 0o400
    remove(root)
    assert not root.exists()


def test_devices_and_pipes_are_left_out(blobs: Blobs, root: Path) -> None:
    put(
        blobs,
        root,
        layer(Entry(name="dev/null", type=tarfile.CHRTYPE), Entry(name="p", type=tarfile.FIFOTYPE)),
    )

    assert files(root) == set()


def test_other_bytes_than_the_digest_says_are_refused(blobs: Blobs, root: Path) -> None:
    good = layer(Entry(name="a", content=b"good"))
    image = read(blobs, blobs.make(good))
    blobs.blob(image.layers[0].digest).write_bytes(good.replace(b"good", b"evil"))

    with pytest.raises(PullError, match="its digest is sha256:"):
        unpack(image, images=blobs, root=root)


def test_a_manifest_or_configuration_of_other_bytes_is_refused(blobs: Blobs) -> None:
    digest = blobs.make()
    config = blobs.blob(read(blobs, digest).config)
    config.write_bytes(config.read_bytes() + b" ")
    with pytest.raises(PullError, match="are not those of this digest"):
        read(blobs, digest)

    blobs.blob(digest).write_bytes(b"{}")
    with pytest.raises(PullError, match="are not those of this digest"):
        read(blobs, digest)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (gzip.compress(layer(Entry(name="a", content=b"x" * 5000)))[:-20], GZIP),
        (b"no gzip", GZIP),
        (layer(Entry(name="a", content=b"x" * 5000))[:2000], ""),
    ],
    ids=["cut off gzip", "no gzip", "cut off tar"],
)
def test_a_damaged_layer_is_refused(blobs: Blobs, root: Path, data: bytes, media_type: str) -> None:
    with pytest.raises(PullError, match="failed to register layer sha256:"):
        put(blobs, root, data, media_type=media_type)


def test_zstd_is_refused_with_what_to_do(blobs: Blobs, root: Path) -> None:
    with pytest.raises(PullError, match=r"compressed by zstd.*compressed by gzip"):
        put(blobs, root, b"", media_type=ZSTD)


def test_an_image_larger_than_the_disk_of_a_task_is_refused(blobs: Blobs, root: Path) -> None:
    image = read(
        blobs, blobs.make(layer(Entry(name="a", content=b"xx")), layer(Entry(name="a", content=b"x")))
    )

    with pytest.raises(PullError, match="no space left on device"):
        unpack(image, images=blobs, root=root, largest=2)


def test_what_a_manifest_calls_a_digest_never_becomes_a_path(blobs: Blobs) -> None:
    with pytest.raises(PullError, match="is not a SHA-256 digest"):
        read(blobs, "sha256:../../etc/passwd")

    assert read(blobs, blobs.make(b"x")).layers == (
        Layer(media_type="application/vnd.oci.image.layer.v1.tar", digest=blobs.add(b"x"), size=1),
    )
