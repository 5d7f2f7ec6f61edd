"""A fingerprinting code: which of an image's placements each recipient gets, drawn from a secret.

Every image is a position of the code and every placement that may be used there a symbol; alphabets differ between
images. Symbols of different recipients and images are independent draws (HMAC-SHA256 under keys derived with HKDF), so
that whoever holds some copies learns nothing of the others, and a copy says nothing about innocent recipients: all that
`medlocker.tracing.accusing` proves rests on that.

Source: Tardos 2003 and Škorić, Katzenbeisser and Celik 2008 (q-ary codes with secret biases).
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medlocker.errors import SettingsError
from medlocker.sealing import derive_key

BIAS_UNITS = 1 << 16
"""Biases are whole multiples of 1/65536, so that a draw is integer arithmetic and the same on every machine."""

UNIFORM_FROM = 5
"""Alphabets of this size and larger are drawn uniformly; smaller ones with secret biases.

With as many symbols as that, coalitions of up to four are caught whatever they do, given enough images; with fewer,
three that publish the symbol fewest of them hold hide among the innocent, unless biases are secret and uneven."""

CUTOFF = 1 / 16
"""No symbol is rarer than this share of 1/q."""


@dataclass(frozen=True)
class TracingCode:
    """The code of one release.

    Attributes:
        secret: at least 16 bytes; kept out of `repr`.
        release_id: of the release that editions are made from.
        sizes: image id → number of placements an edition may use; an image with 1 carries nothing.
    """

    secret: bytes = field(repr=False)
    release_id: str
    sizes: Mapping[str, int]

    def units(self, image_id: str) -> tuple[int, ...]:
        """Biases of one image in units of 1/65536; they sum to 65536.

        Raises:
            SettingsError: the image is not of this release.
        """
        return _units(self._key("bias"), image_id, self._size(image_id))

    def biases(self, image_id: str) -> npt.NDArray[np.float64]:
        """Probability of each symbol of one image, (q,)."""
        return np.array(self.units(image_id)) / BIAS_UNITS

    def symbols(self, recipient_index: int, image_ids: Sequence[str]) -> tuple[int, ...]:
        """The recipient's symbol on each of these images.

        Args:
            recipient_index: at least 0, unique to the recipient within the release.
            image_ids: of the release.

        Raises:
            SettingsError: an image is not of this release, or the index is negative.
        """
        return self.words([recipient_index], image_ids)[0]

    def words(self, recipients: Sequence[int], image_ids: Sequence[str]) -> list[tuple[int, ...]]:
        """`symbols` of several recipients."""
        if any(r < 0 for r in recipients):
            raise SettingsError(f"recipient index {min(recipients)}", why="it must be at least 0")
        bias_key = self._key("bias")
        places = [(i, _units(bias_key, i, self._size(i))) for i in image_ids]
        keys = [self._key("recipient", str(r)) for r in recipients]
        return [tuple(_symbol(key, i, units) for i, units in places) for key in keys]

    def _size(self, image_id: str) -> int:
        if (size := self.sizes.get(image_id)) is None:
            raise SettingsError(f"{image_id}: not an image of release {self.release_id}")
        return size

    def _key(self, *purpose: str) -> bytes:
        return derive_key(self.secret, "tracing", self.release_id, *purpose, length=32)


def _uniform(key: bytes, image_id: str, number: int = 0) -> int:
    """A 64-bit word, uniform for whoever lacks the key."""
    return int.from_bytes(hmac.digest(key, number.to_bytes(4, "big") + image_id.encode(), "sha256")[:8], "big")


def _symbol(key: bytes, image_id: str, units: tuple[int, ...]) -> int:
    drawn = _uniform(key, image_id) * BIAS_UNITS >> 64
    symbol = 0
    while drawn >= units[symbol]:
        drawn -= units[symbol]
        symbol += 1
    return symbol


def _units(key: bytes, image_id: str, size: int) -> tuple[int, ...]:
    """Uniform, or Dirichlet(1) with a cutoff: normalised exponential variates."""
    if size >= UNIFORM_FROM or size == 1:
        weights = [1.0] * size
    else:
        weights = [-math.log((_uniform(key, image_id, n) + 1) / (1 << 64)) for n in range(size)]
    floor = CUTOFF / size
    shares = [floor + (1 - CUTOFF) * weight / sum(weights) for weight in weights]
    units = [int(share * BIAS_UNITS) for share in shares]
    units[0] += BIAS_UNITS - sum(units)
    return tuple(units)
