"""EXIF blocks lose their thumbnail and nothing else."""

import io

import pytest
from PIL import Image

from medlocker.errors import UnsupportedImageError
from medlocker.imageio.metadata import MAX_METADATA_BYTES, check_size, clean_exif, clean_xmp


def exif_block(**tags: object) -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    exif[271] = "Camera maker"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def with_thumbnail(block: bytes, thumbnail: bytes) -> bytes:
    """Append a second directory that points to a JPEG thumbnail, as cameras do."""
    order = "little" if block[:2] == b"II" else "big"
    first = int.from_bytes(block[4:8], order)
    link = first + 2 + 12 * int.from_bytes(block[first : first + 2], order)
    second = len(block)
    start = second + 2 + 2 * 12 + 4

    def entry(tag: int, value: int) -> bytes:
        return tag.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order) + value.to_bytes(4, order)

    directory = (2).to_bytes(2, order) + entry(0x0201, start) + entry(0x0202, len(thumbnail)) + bytes(4)
    return block[:link] + second.to_bytes(4, order) + block[link + 4 :] + directory + thumbnail


def test_exif_without_thumbnail_is_kept_byte_for_byte() -> None:
    block = exif_block()
    assert clean_exif(block) == block
    assert clean_exif(b"Exif\0\0" + block) == block


def test_thumbnail_is_wiped_and_the_tags_stay() -> None:
    thumbnail = b"\xff\xd8the unmarked photograph\xff\xd9"
    block = with_thumbnail(exif_block(), thumbnail)
    assert thumbnail in block
    cleaned = clean_exif(block)
    assert cleaned is not None and len(cleaned) == len(block)
    assert b"unmarked" not in cleaned
    exif = Image.Exif()
    exif.load(cleaned)
    assert exif[274] == 6 and exif[271] == "Camera maker"
    assert not exif.get_ifd(0x0201)


@pytest.mark.parametrize("block", [None, b"", b"junk", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"])
def test_malformed_exif_is_not_carried_over(block: bytes | None) -> None:
    assert clean_exif(block) is None


def test_xmp_with_a_thumbnail_is_not_carried_over() -> None:
    assert clean_xmp(b"<x:xmpmeta/>") == b"<x:xmpmeta/>"
    assert clean_xmp(b"<xmpGImg:image>...") is None


def test_metadata_have_a_size_limit() -> None:
    check_size(MAX_METADATA_BYTES, "a.png")
    with pytest.raises(UnsupportedImageError, match=r"a\.png: more than 16 MiB of metadata"):
        check_size(MAX_METADATA_BYTES + 1, "a.png")


def test_density_comes_from_jpeg() -> None:
    from medlocker.imageio import decode_image

    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "JPEG", dpi=(254, 127))
    assert decode_image(buffer.getvalue(), "a.jpg").metadata.density == (10000, 5000, 1)
