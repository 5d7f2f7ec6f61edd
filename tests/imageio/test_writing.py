"""Marked images keep pixels and metadata, open in other readers, and are never half written."""

import errno
import io
import os
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from medlocker.blending import Pixels
from medlocker.errors import ReleaseError, SettingsError
from medlocker.imageio import (
    Density,
    Metadata,
    StoredImage,
    decode_image,
    embed_packet,
    encode_image,
    has_room_for_packet,
    release_name,
    write_atomic,
)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = (".png", ".tif")


@st.composite
def stored_pixels(draw: st.DrawFn) -> Pixels:
    """Images of every supported type and kind, some smooth and some noise."""
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    shape = size + draw(st.sampled_from([(), (3,), (4,)]))
    if draw(st.booleans()):
        return draw(hnp.arrays(dtype, shape))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def opaque(pixels: Pixels) -> Pixels:
    """OpenCV premultiplies 8-bit RGBA of any TIFF file, so that only opaque pixels can be compared."""
    return np.dstack([pixels[..., :3], np.full(pixels.shape[:2], 255, np.uint8)])


def exif_block(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "Maker"
    exif[34665] = {36867: "2020:01:02 03:04:05", 33434: 0.25}
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(pixels=stored_pixels())
def test_pixels_survive_exactly_and_bytes_repeat(suffix: str, pixels: Pixels) -> None:
    encoded = encode_image(StoredImage(pixels), suffix)
    decoded = decode_image(encoded, "a").pixels
    assert decoded.dtype == pixels.dtype and np.array_equal(decoded, pixels)
    assert encode_image(StoredImage(pixels.copy()), suffix) == encoded


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(pixels=stored_pixels())
def test_opencv_reads_the_same_pixels(suffix: str, pixels: Pixels) -> None:
    encoded = encode_image(StoredImage(pixels, Metadata(icc=ICC, exif=exif_block(1))), suffix)
    encoded = embed_packet(encoded, b"packet") if has_room_for_packet(suffix) else encoded
    if suffix == ".tif" and pixels.dtype == np.uint8 and pixels.shape[2:] == (4,):
        pixels = opaque(pixels)
        encoded = encode_image(StoredImage(pixels), suffix)
    read = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    assert read.dtype == pixels.dtype and np.array_equal(read, expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(pixels=stored_pixels().filter(lambda pixels: pixels.dtype == np.uint8 or pixels.ndim == 2))
def test_pillow_reads_the_same_pixels(suffix: str, pixels: Pixels) -> None:
    encoded = encode_image(StoredImage(pixels, Metadata(icc=ICC, exif=exif_block(1))), suffix)
    encoded = embed_packet(encoded, b"packet") if has_room_for_packet(suffix) else encoded
    image = Image.open(io.BytesIO(encoded))
    assert np.array_equal(np.asarray(image), pixels)
    assert image.info["icc_profile"] == ICC


def test_many_strips_survive() -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (700, 300, 3), dtype=np.uint16)
    assert np.array_equal(decode_image(encode_image(StoredImage(pixels), ".tif"), "a.tif").pixels, pixels)


def test_a_view_is_encoded_as_it_looks() -> None:
    pixels = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)[::2, ::-1]
    for suffix in SUFFIXES:
        assert np.array_equal(decode_image(encode_image(StoredImage(pixels), suffix), "a").pixels, pixels)


def test_all_metadata_survive_in_png() -> None:
    metadata = Metadata(
        icc=ICC,
        exif=exif_block(),
        xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        text=(("Author", "Émile"), ("Title", "眼底"), ("Author", "twice")),
        density=Density(11811, 11810, 1),
        colour=(("gAMA", b"\0\0\xb1\x8f"), ("cHRM", bytes(range(32))), ("sRGB", b"\0")),
    )
    encoded = encode_image(StoredImage(np.zeros((3, 4, 3), np.uint8), metadata), ".png")
    assert decode_image(embed_packet(encoded, b"packet"), "a.png").metadata == metadata


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".png"), ("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".png")])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_icc_exif_and_density_survive_from_each_source(kind: str, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif.load(exif_block(orientation))
    source = io.BytesIO()
    Image.new("RGB", (6, 4), "orange").save(source, kind, exif=exif, icc_profile=ICC, dpi=(300, 300))
    original = decode_image(source.getvalue(), "source")
    copy = decode_image(encode_image(original, suffix), "copy")
    assert np.array_equal(copy.pixels, original.pixels)
    assert copy.metadata.icc == original.metadata.icc == ICC
    assert copy.metadata.density == original.metadata.density
    assert kind == "WEBP" or copy.metadata.density == (11811, 11811, 1)
    kept = Image.open(io.BytesIO(encode_image(original, suffix))).getexif()
    assert kept[274] == orientation and kept[271] == "Maker"
    assert kept.get_ifd(34665)[36867] == "2020:01:02 03:04:05"
    assert kept.get_ifd(34665)[33434] == pytest.approx(0.25)


@pytest.mark.parametrize("unit", [2, 3])
def test_tiff_metadata_are_the_same_after_a_second_round(unit: int) -> None:
    source = io.BytesIO()
    tags = {270: "fundus", 282: 118.11, 283: 118.11, 296: unit, 305: "scanner", 306: "2020:01:02 03:04:05"}
    Image.new("L", (6, 4)).save(source, "TIFF", tiffinfo=tags, icc_profile=ICC)
    original = decode_image(source.getvalue(), "a.tif")
    once = decode_image(encode_image(original, ".tif"), "a.tif")
    twice = decode_image(encode_image(once, ".tif"), "a.tif")
    assert original.metadata == once.metadata == twice.metadata
    assert Image.open(io.BytesIO(encode_image(once, ".tif"))).tag_v2[270] == "fundus"


def test_xmp_survives_in_tiff() -> None:
    image = StoredImage(np.zeros((3, 4), np.uint16), Metadata(xmp=b"<x:xmpmeta/>", density=Density(10000, 5000, 1)))
    assert decode_image(encode_image(image, ".tif"), "a.tif").metadata.xmp == b"<x:xmpmeta/>"
    assert decode_image(encode_image(image, ".tif"), "a.tif").metadata.density == (10000, 5000, 1)


@pytest.mark.parametrize(
    ("original", "released"),
    [
        ("a/10_left.jpeg", "a/10_left.png"),
        ("b.c.jpg", "b.c.png"),
        ("a.png", "a.png"),
        ("A.PNG", "A.PNG"),
        ("a.bmp", "a.png"),
        ("a.webp", "a.png"),
        ("a.ppm", "a.png"),
        ("a.tif", "a.tif"),
        ("a.TIFF", "a.TIFF"),
    ],
)
def test_release_names(original: str, released: str) -> None:
    assert release_name(PurePosixPath(original)) == PurePosixPath(released)


def test_only_png_has_room_for_a_packet() -> None:
    assert has_room_for_packet(".png") and has_room_for_packet(".PNG")
    assert not has_room_for_packet(".tif") and not has_room_for_packet(".tiff")


def test_lossy_suffixes_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"'\.jpg'"):
        encode_image(StoredImage(np.zeros((2, 2), np.uint8)), ".jpg")


@pytest.mark.parametrize("shape", [(4,), (4, 4, 1), (4, 4, 2), (4, 4, 5), (2, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match="shape"):
        encode_image(StoredImage(np.zeros(shape, np.uint8)), ".png")


def test_write_atomic_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.png"
    write_atomic(path, b"first")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReleaseError, match=r"a\.png: cannot be written\. No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ReleaseError, match=r"a\.png: cannot be written"):
        write_atomic(tmp_path / "file" / "a.png", b"data")
