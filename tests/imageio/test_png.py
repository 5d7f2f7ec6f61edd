"""PNG chunks: packets and metadata go in and out, damage is named."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medlocker.errors import ImageReadError, SettingsError, UnsupportedImageError
from medlocker.imageio import StoredImage, decode_image, embed_packet, encode_image, extract_packet
from medlocker.imageio import png as png_module

PIXELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
PLAIN = encode_image(StoredImage(PIXELS), ".png")


def spliced(*extra: bytes) -> bytes:
    """A PNG with raw chunks put in after its header."""
    return PLAIN[:33] + b"".join(extra) + PLAIN[33:]


@given(st.binary(max_size=300))
def test_packet_round_trip_leaves_the_pixels_alone(packet: bytes) -> None:
    marked = embed_packet(PLAIN, packet)
    assert extract_packet(marked) == packet
    assert np.array_equal(decode_image(marked, "a.png").pixels, PIXELS)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(marked))), PIXELS)
    assert len(marked) == len(PLAIN) + 12 + len(packet)
    assert marked.endswith(PLAIN[-12:])


def test_a_file_without_packet_has_none() -> None:
    assert extract_packet(PLAIN) is None


def test_a_second_packet_is_refused() -> None:
    marked = embed_packet(PLAIN, b"one")
    with pytest.raises(SettingsError, match="carries a recovery packet already"):
        embed_packet(marked, b"two")
    with pytest.raises(ImageReadError, match="carries 2 recovery packets"):
        extract_packet(marked[:33] + png_module.chunk(b"mlRP", b"two") + marked[33:])


def test_every_flipped_packet_byte_is_noticed() -> None:
    packet = b"a recovery packet"
    marked = embed_packet(PLAIN, packet)
    start = marked.index(packet)
    for position in range(start, start + len(packet) + 4):
        altered = bytearray(marked)
        altered[position] ^= 0x10
        with pytest.raises(ImageReadError, match="checksum of the recovery packet"):
            extract_packet(bytes(altered))
        assert np.array_equal(decode_image(bytes(altered), "a.png").pixels, PIXELS)


def test_packets_have_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    marked = embed_packet(PLAIN, bytes(11))
    monkeypatch.setattr(png_module, "MAX_PACKET_BYTES", 10)
    with pytest.raises(SettingsError, match="a recovery packet of 11 bytes"):
        embed_packet(PLAIN, bytes(11))
    with pytest.raises(ImageReadError, match="recovery packet is too large"):
        extract_packet(marked)


def test_packets_belong_to_whole_png_files() -> None:
    with pytest.raises(ImageReadError, match="not a PNG file"):
        extract_packet(b"\xff\xd8\xff")
    with pytest.raises(ImageReadError, match="truncated"):
        extract_packet(PLAIN[:-1])


def test_a_text_bomb_is_refused_without_being_inflated() -> None:
    inflated = zlib.compress(bytes(40 * 2**20), 9)
    assert len(inflated) < 2**16
    for name, head in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\x01\0\0\0"), (b"iCCP", b"k\0\0")):
        with pytest.raises(UnsupportedImageError, match=r"bomb\.png: more than 16 MiB of metadata"):
            decode_image(spliced(png_module.chunk(name, head + inflated)), "bomb.png")


def test_many_small_texts_meet_the_same_limit() -> None:
    text = png_module.chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**22), 9))
    with pytest.raises(UnsupportedImageError, match="16 MiB"):
        decode_image(spliced(*[text] * 5), "a.png")


def test_damaged_compressed_text_is_named() -> None:
    with pytest.raises(ImageReadError, match=r"a\.png: compressed metadata are damaged"):
        decode_image(spliced(png_module.chunk(b"zTXt", b"k\0\0not zlib")), "a.png")


def test_texts_of_each_kind_are_read() -> None:
    chunks = (
        png_module.chunk(b"tEXt", "Author\0Émile".encode("latin-1")),
        png_module.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"packed")),
        png_module.chunk(b"iTXt", "Title\0\0\0en\0Titre\0眼底".encode()),
        png_module.chunk(b"iTXt", b"Source\0\x01\0\0\0" + zlib.compress("ﬁ".encode())),
        png_module.chunk(b"tEXt", b"\0no keyword"),
    )
    texts = decode_image(spliced(*chunks), "a.png").metadata.text
    assert texts == (("Author", "Émile"), ("Comment", "packed"), ("Title", "眼底"), ("Source", "ﬁ"))


def test_every_flipped_byte_of_the_pixels_is_noticed() -> None:
    start, end = PLAIN.index(b"IDAT"), PLAIN.index(b"IEND") - 4
    for position in (*range(16, 33), *range(start, end)):
        altered = bytearray(PLAIN)
        altered[position] ^= 1
        with pytest.raises(ImageReadError):
            decode_image(bytes(altered), "a.png")


@pytest.mark.parametrize("depth", [8, 16])
def test_pixel_data_that_end_early_are_noticed(depth: int) -> None:
    pixels = np.arange(3000, dtype=f"u{depth // 8}").reshape(40, 25, 3)
    whole = png_module.read_chunks(encode_image(StoredImage(pixels), ".png"), "a.png")
    halved = [(part.name, part.data[: len(part.data) // 2] if part.name == b"IDAT" else part.data) for part in whole]
    short = png_module.SIGNATURE + b"".join(png_module.chunk(*part) for part in halved)
    with pytest.raises(ImageReadError, match=r"short\.png: the file is truncated"):
        decode_image(short, "short.png")


def test_an_animated_png_is_refused() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedImageError, match=r"a\.png: an animated image"):
        decode_image(buffer.getvalue(), "a.png")


def test_a_header_that_claims_too_many_pixels_is_refused() -> None:
    header = png_module.chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    with pytest.raises(UnsupportedImageError, match=r"big\.png: 30000 x 30000 px.*178 million px"):
        decode_image(PLAIN[:8] + header + PLAIN[33:], "big.png")


def handmade(depth: int, colour_type: int, row: bytes, width: int, *extra: bytes) -> bytes:
    """A PNG of one row, written byte by byte."""
    header = png_module.chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0))
    body = png_module.chunk(b"IDAT", zlib.compress(b"\0" + row)) + png_module.chunk(b"IEND", b"")
    return png_module.SIGNATURE + header + b"".join(extra) + body


def test_16_bit_grey_with_alpha_becomes_rgba() -> None:
    pixels = decode_image(handmade(16, 4, struct.pack(">4H", 1, 2, 60000, 65535), 2), "a.png").pixels
    assert pixels.dtype == np.uint16
    assert pixels.tolist() == [[[1, 1, 1, 2], [60000, 60000, 60000, 65535]]]


def test_colour_key_transparency_becomes_alpha() -> None:
    key = png_module.chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    pixels = decode_image(handmade(8, 2, bytes([1, 2, 3, 1, 2, 4]), 2, key), "a.png").pixels
    assert pixels.tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]]


def test_colour_key_of_narrow_grey_is_scaled_with_the_pixels() -> None:
    key = png_module.chunk(b"tRNS", struct.pack(">H", 2))
    pixels = decode_image(handmade(2, 0, bytes([0b00011011]), 4, key), "a.png").pixels
    assert pixels[0, :, 0].tolist() == [0, 85, 170, 255]
    assert pixels[0, :, 3].tolist() == [255, 255, 0, 255]
