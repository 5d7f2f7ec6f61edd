"""Raster files in and out: stored pixels, the metadata worth keeping, recovery packets inside PNG."""

from medlocker.imageio.metadata import Density, Metadata
from medlocker.imageio.png import embed_packet, extract_packet
from medlocker.imageio.reading import IMAGE_SUFFIXES, MAX_PIXELS, StoredImage, decode_image, read_image
from medlocker.imageio.writing import (
    encode_image,
    has_room_for_packet,
    new_writer,
    release_name,
    sweep_partials,
    write_atomic,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Density",
    "Metadata",
    "StoredImage",
    "decode_image",
    "embed_packet",
    "encode_image",
    "extract_packet",
    "has_room_for_packet",
    "new_writer",
    "read_image",
    "release_name",
    "sweep_partials",
    "write_atomic",
]
