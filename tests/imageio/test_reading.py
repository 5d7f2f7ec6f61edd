"""Files are read to the values they store; what cannot be is refused by name."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from medlocker.errors import EmptyImageError, ImageReadError, MissingImageError, UnsupportedImageError
from medlocker.imageio import decode_image, read_image

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_formats_give_back_their_pixels(kind: str, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    assert np.array_equal(decode_image(saved(image, kind), "a").pixels, np.asarray(image))


def test_webp_is_read_with_alpha() -> None:
    rgba = np.dstack([RGB, np.full((9, 7), 200, np.uint8)])
    assert np.array_equal(decode_image(saved(Image.fromarray(rgba), "WEBP", lossless=True), "a.webp").pixels, rgba)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_kept_and_not_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    image = decode_image(saved(Image.fromarray(RGB), kind, exif=exif), "a")
    assert image.pixels.shape == (9, 7, 3)
    if kind != "JPEG":
        assert np.array_equal(image.pixels, RGB)
    kept = Image.Exif()
    assert image.metadata.exif is not None
    kept.load(image.metadata.exif)
    assert kept[274] == orientation


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_in_either_byte_order(order: str) -> None:
    values = np.arange(63, dtype=np.uint16).reshape(9, 7) * 1000
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (7, 9), values.astype(f"{order}u2").tobytes())
    pixels = decode_image(saved(image, "TIFF"), "a.tif").pixels
    assert pixels.dtype == np.uint16 and np.array_equal(pixels, values)


def test_jpeg_decodes_as_pillow_does() -> None:
    encoded = saved(Image.fromarray(RGB), "JPEG", quality=80)
    assert np.array_equal(decode_image(encoded, "a.jpg").pixels, np.asarray(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.fromarray(RGB).quantize(16), {}, "RGB"),
        (Image.fromarray(RGB).quantize(16), {"transparency": 3}, "RGBA"),
        (Image.fromarray(RGB).convert("LA"), {}, "RGBA"),
        (Image.fromarray(RGB).convert("1"), {}, "L"),
    ],
    ids=["palette", "palette-transparent", "grey-alpha", "one-bit"],
)
def test_narrow_kinds_are_widened_without_loss(image: Image.Image, options: dict[str, int], expected: str) -> None:
    encoded = saved(image, "PNG", **options)
    assert np.array_equal(
        decode_image(encoded, "a.png").pixels, np.asarray(Image.open(io.BytesIO(encoded)).convert(expected))
    )


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingImageError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(EmptyImageError, match=r"a\.png: the file is empty"):
        read_image(tmp_path / "a.png")


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files(kind: str, share: float) -> None:
    encoded = saved(Image.fromarray(np.tile(RGB, (8, 8, 1))), kind)
    with pytest.raises(ImageReadError, match=r"^cut: ") as caught:
        decode_image(encoded[: int(len(encoded) * share)], "cut")
    assert not isinstance(caught.value, UnsupportedImageError)


@pytest.mark.parametrize("cut", [1, 2, 3, 10])
def test_a_jpeg_without_its_last_bytes(cut: int) -> None:
    with pytest.raises(ImageReadError, match="truncated"):
        decode_image(saved(Image.fromarray(RGB), "JPEG")[:-cut], "a.jpg")


def test_truncated_16_bit_tiff() -> None:
    encoded = bytes(cv2.imencode(".tif", np.tile(RGB, (8, 8, 1)).astype(np.uint16))[1])
    for share in (0.2, 0.5, 0.9):
        with pytest.raises(ImageReadError, match=r"^cut: "):
            decode_image(encoded[: int(len(encoded) * share)], "cut")


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (saved(Image.new("CMYK", (4, 4)), "JPEG"), "pixels of kind CMYK"),
        (saved(Image.new("CMYK", (4, 4)), "TIFF"), "pixels of kind CMYK"),
        (saved(Image.new("F", (4, 4)), "TIFF"), "not unsigned integers"),
        (saved(Image.new("I", (4, 4)), "TIFF"), "not unsigned integers"),
        (saved(Image.new("L", (4, 4)), "TIFF", save_all=True, append_images=[Image.new("L", (4, 4))]), "2 pages"),
        (saved(Image.new("RGB", (4, 4)), "WEBP", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]),
         "more than one frame"),
        (saved(Image.new("RGB", (4, 4)), "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]),
         "more than one frame"),
        (saved(Image.new("L", (4, 4)), "GIF"), "not an image this program reads"),
        (b"P6 1 1 65535\n" + bytes(6), "PNM file of other than 8 bits"),
        (b"P5 2 1 65535\n" + bytes(4), "pixels of kind I"),
        (b"a text file", "not an image this program reads"),
    ],
    ids=["cmyk-jpeg", "cmyk-tiff", "float", "int32", "pages", "webp-frames", "mpo", "gif", "ppm16", "pgm16", "text"],
)  # fmt: skip
def test_intact_files_of_an_unsupported_kind(encoded: bytes, message: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"^a: .*{message}"):
        decode_image(encoded, "a")


def test_premultiplied_alpha_is_refused() -> None:
    unassociated = saved(Image.new("RGBA", (4, 4)), "TIFF")
    entry = struct.pack("<HHI", 338, 3, 1)
    encoded = unassociated.replace(entry + b"\2", entry + b"\1")
    assert encoded != unassociated
    with pytest.raises(UnsupportedImageError, match="premultiplied alpha"):
        decode_image(encoded, "a.tif")


def test_too_many_pixels_are_refused_in_every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medlocker.imageio.reading.MAX_PIXELS", 62)
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"):
        with pytest.raises(UnsupportedImageError, match="7 x 9 px"):
            decode_image(saved(Image.fromarray(RGB), kind), "a")


def test_a_webp_canvas_beyond_the_decoder_is_refused() -> None:
    encoded = bytearray(saved(Image.new("RGBA", (8, 8)), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"))
    start = encoded.index(b"VP8X") + 12
    encoded[start : start + 6] = (16000).to_bytes(3, "little") * 2
    with pytest.raises(UnsupportedImageError, match="too many pixels"):
        decode_image(bytes(encoded), "a.webp")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"])
def test_random_damage_is_read_or_refused_by_name(kind: str) -> None:
    whole, generator = saved(Image.fromarray(RGB), kind), np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(whole)
        # Large claimed sizes cost time to refuse, and have a test of their own: the first bytes stay.
        damaged[generator.integers(len(damaged) // 2, len(damaged))] = generator.integers(256)
        try:
            decode_image(bytes(damaged), "a")
        except ImageReadError as error:
            assert error.what.startswith("a: ")
