"""restore ∘ lock is the identity, bit for bit, whatever the image, the logo, α and the rule."""

from __future__ import annotations

from typing import Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medlocker.blending import Logo, Pixels, Placement, lock, pixel_sha256, prepare_mark
from medlocker.recovery import PacketContext, derive_image_key, make_packet, restore

SECRET, RELEASE, IMAGE = bytes(32), "0" * 32, "image"


@st.composite
def images(draw: st.DrawFn) -> Pixels:
    """Noise, flat and smooth images of each kind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape: tuple[int, ...] = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    shape += draw(st.sampled_from([(), (3,), (4,)]))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    peak = np.iinfo(dtype).max
    spread = draw(st.sampled_from([0, 3, peak]))
    centre = draw(st.sampled_from([0, peak // 2, peak]))
    return np.clip(centre + rng.integers(-spread, spread + 1, shape), 0, peak).astype(dtype)


@st.composite
def logos(draw: st.DrawFn) -> Logo:
    """Noise, with opacities that may be all 0 or all 255."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rgba = rng.integers(0, 256, (draw(st.integers(1, 12)), draw(st.integers(1, 12)), 4), dtype=np.uint8)
    opacity = draw(st.sampled_from([None, 0, 255]))
    if opacity is not None:
        rgba[..., 3] = opacity
    return Logo(rgba)


@settings(max_examples=250, deadline=None)
@given(
    original=images(),
    logo=logos(),
    alpha=st.integers(0, 255) | st.just(255),
    rule=st.sampled_from(["alpha_channel", "luma_cap"]),
    scale=st.sampled_from([1.0, 1.5, 4.0]),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_restore_inverts_lock(
    original: Pixels,
    logo: Logo,
    alpha: int,
    rule: Literal["alpha_channel", "luma_cap"],
    scale: float,
    where: tuple[float, float],
) -> None:
    mark = prepare_mark(logo, original.shape, original.dtype, logo_scale=scale, rule=rule)
    width, height = mark.size
    room = original.shape[1] - width, original.shape[0] - height
    placement = Placement(alpha, round(where[0] * room[0]), round(where[1] * room[1]))
    marked = lock(original, mark, placement)
    key, context = derive_image_key(SECRET, RELEASE, IMAGE), PacketContext(RELEASE, IMAGE, pixel_sha256(marked))
    packet = make_packet(original, marked, mark, placement, key, context)
    restored = restore(marked, mark, placement, packet, key, context)
    assert restored.dtype == original.dtype
    assert (restored == original).all()
