"""The residual codec and the packet around it."""

from __future__ import annotations

import lzma
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from medlocker.blending import Logo, Mark, Placement, blend_values, lock, pixel_sha256, prepare_mark
from medlocker.errors import AlteredImageError, CorruptPacketError, UnlockError, WrongKeyError
from medlocker.packing import pack_symbols, unpack_symbols
from medlocker.recovery import PacketContext, check_packet, derive_image_key, make_packet, restore
from medlocker.residual import decode_residual, encode_residual

SECRET = bytes(range(32))
RELEASE = "0" * 32


def _smooth_patch(height: int = 56, width: int = 56) -> np.ndarray:
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:height, :width]
    red = 120 + 40 * np.sin(rows / 17) + 20 * np.cos(columns / 11)
    noise = rng.normal(0, 1.5, (height, width))
    return np.clip(np.stack([red + noise, 0.6 * red + noise, 0.3 * red + noise], axis=2), 0, 255).astype(np.int64)


def _mark(height: int = 56, width: int = 56, cap: int = 255) -> Mark:
    colour = np.full((height, width, 3), 200, dtype=np.int64)
    return Mark(colour, np.full((height, width), cap, dtype=np.uint8), 255)


def _decoded(original: np.ndarray, mark: Mark, alpha: int) -> np.ndarray:
    marked = blend_values(original, mark.colour, mark.opacity(alpha)[..., None])
    return decode_residual(encode_residual(original, mark, alpha), marked, mark, alpha)


def test_every_opacity_comes_back_exactly() -> None:
    original, mark = _smooth_patch(13, 9), _mark(13, 9)
    for alpha in range(256):
        assert (_decoded(original, mark, alpha) == original).all(), alpha


def test_nothing_is_stored_where_the_marked_value_decides() -> None:
    # α = 0 leaves the pixels as they are; a transparent logo pixel does so at any α.
    assert len(encode_residual(_smooth_patch(), _mark(), 0)) == 2
    assert len(encode_residual(_smooth_patch(), _mark(cap=0), 255)) == 2


@pytest.mark.parametrize(("alpha", "bits"), [(100, 0.78), (150, 1.28), (200, 2.15), (255, 3.0)])
def test_a_smooth_patch_takes_fewer_bits_than_its_ambiguity(alpha: int, bits: float) -> None:
    # α leaves 256 − α distinct values, so at α = 100 200 of 256 originals share theirs with one other: 0.78 bits.
    payload = encode_residual(_smooth_patch(), _mark(), alpha)
    assert 8 * len(payload) / _smooth_patch().size < bits


def test_slopes_help_where_channels_move_together() -> None:
    together = _smooth_patch()
    rng = np.random.default_rng(2)
    apart = together.copy()
    apart[..., 0] = rng.permuted(apart[..., 0], axis=0)
    assert len(encode_residual(together, _mark(), 255)) < len(encode_residual(apart, _mark(), 255))


def test_a_value_that_no_lock_makes_is_refused() -> None:
    original, mark = _smooth_patch(), _mark()
    payload = encode_residual(original, mark, 200)
    impossible = np.zeros_like(original)
    with pytest.raises(AlteredImageError):
        decode_residual(payload, impossible, mark, 200)


def test_packed_symbols_of_every_alphabet_come_back() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.choice([1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 255, 256, 257, 65536], (40, 50)).astype(np.int32)
    symbols = (rng.random(sizes.shape) * sizes).astype(np.int32)
    assert (unpack_symbols(pack_symbols(symbols, sizes), sizes) == symbols).all()


def _stream(codec: int, data: bytes) -> bytes:
    return bytes([codec]) + struct.pack(">I", len(data)) + data


def _deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(raw) + packer.flush()


SIZES = np.full(100, 200, dtype=np.int32)
BOMB = bytes(1 << 24)
LZMA_FILTERS = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        _stream(0, bytes(99)),
        _stream(0, bytes(101)),
        _stream(0, bytes(100)) + b"x",
        _stream(0, bytes([200]) * 100),
        _stream(1, b"\xff\xff"),
        _stream(2, b"\xff\xff"),
        _stream(3, bytes(100)),
        _stream(0, bytes(100))[:-1],
        _stream(1, _deflated(BOMB)),
        _stream(2, lzma.compress(BOMB, format=lzma.FORMAT_RAW, filters=LZMA_FILTERS)),
    ],
    ids=[
        "empty",
        "head",
        "short",
        "long",
        "trailing",
        "alphabet",
        "deflate",
        "lzma",
        "codec",
        "cut",
        "deflate-bomb",
        "lzma-bomb",
    ],
)
def test_malformed_streams_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptPacketError):
        unpack_symbols(data, SIZES)


def test_a_bomb_is_not_inflated() -> None:
    bomb = _stream(1, _deflated(BOMB))
    tracemalloc.start()
    with pytest.raises(CorruptPacketError):
        unpack_symbols(bomb, SIZES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(BOMB) // 16


class _Locked:
    """A small locked image and its packet."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        self.original = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        logo = Logo(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8))
        self.mark = prepare_mark(logo, self.original.shape, np.uint8)
        self.placement = Placement(180, 3, 5)
        self.marked = lock(self.original, self.mark, self.placement)
        self.context = PacketContext(RELEASE, "a/1", pixel_sha256(self.marked))
        self.key = derive_image_key(SECRET, RELEASE, "a/1")
        self.packet = self.made()

    def made(self) -> bytes:
        return make_packet(self.original, self.marked, self.mark, self.placement, self.key, self.context)

    def restored(self, **changes: object) -> np.ndarray:
        given = {name: getattr(self, name) for name in ("marked", "mark", "placement", "packet", "key", "context")}
        return restore(**(given | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def locked() -> _Locked:
    return _Locked()


def test_restore_inverts_lock_and_packets_repeat(locked: _Locked) -> None:
    assert (locked.restored() == locked.original).all()
    assert locked.made() == locked.packet


def test_every_flipped_byte_of_a_packet_is_detected(locked: _Locked) -> None:
    for position in range(len(locked.packet)):
        altered = bytearray(locked.packet)
        altered[position] ^= 1 << (position % 8)
        with pytest.raises(UnlockError):
            locked.restored(packet=bytes(altered))


def test_every_truncation_of_a_packet_is_detected(locked: _Locked) -> None:
    for length in range(len(locked.packet)):
        with pytest.raises(CorruptPacketError):
            locked.restored(packet=locked.packet[:length])


def test_each_cause_has_its_own_error(locked: _Locked) -> None:
    other_key = derive_image_key(SECRET, RELEASE, "a/2")
    with pytest.raises(WrongKeyError, match="another key"):
        locked.restored(key=other_key)
    with pytest.raises(CorruptPacketError, match="another image"):
        locked.restored(context=locked.context._replace(image_id="a/2"))
    with pytest.raises(CorruptPacketError, match="another release"):
        locked.restored(context=locked.context._replace(release_id="1" * 32))
    with pytest.raises(CorruptPacketError, match="altered"):
        locked.restored(context=locked.context._replace(marked_sha256="0" * 64))
    with pytest.raises(UnlockError, match="scaled logo differs"):
        locked.restored(placement=locked.placement._replace(x=4))


def test_a_packet_can_be_checked_without_a_key(locked: _Locked) -> None:
    check_packet(locked.packet, locked.context)
    with pytest.raises(CorruptPacketError, match="version 2"):
        check_packet(b"MLRP\x02" + locked.packet[5:], locked.context)


def test_a_packet_for_an_image_that_was_not_locked_so_is_refused(locked: _Locked) -> None:
    elsewhere = locked.marked.copy()
    elsewhere[0, 0] ^= 1
    with pytest.raises(UnlockError, match="does not follow"):
        make_packet(locked.original, elsewhere, locked.mark, locked.placement, locked.key, locked.context)


def test_packets_do_not_show_the_placement(locked: _Locked) -> None:
    alone = make_packet(locked.original, locked.marked, locked.mark, locked.placement, locked.key, locked.context)
    assert struct.pack("<3i", *locked.placement) not in alone
    assert locked.key not in alone
