"""Editions: which placements may be used, and that a drawn edition traces back."""

from __future__ import annotations

import numpy as np
import pytest

from medlocker.blending import Placement, load_logo, prepare_mark
from medlocker.errors import AlteredImageError, SettingsError
from medlocker.keys import Alternative, VaultDocument, VaultImage, encode_logo
from medlocker.tracing import (
    Evidence,
    accuse,
    draw_edition,
    edition_alphabet,
    edition_placements,
    mark_for_edition,
    read_symbols,
    tracing_code,
)

LOGO = load_logo()
SECRET = bytes(range(16))
SHAPE = (64, 64, 3)


def alternative(x: int, *, y: int = 0, confidence: float = 0.1, fooled: bool = True) -> Alternative:
    return Alternative(alpha=150, x=x, y=y, confidence=confidence, fooled=fooled)


def image(*alternatives: Alternative, name: str = "a") -> VaultImage:
    return VaultImage(
        id=name,
        file=f"{name}.png",
        shape=SHAPE,
        dtype="uint8",
        logo_scale=4.0,
        alpha=120,
        x=1,
        y=2,
        original_sha256="0" * 64,
        marked_sha256="1" * 64,
        alternatives=alternatives,
    )


def vault_of(count: int) -> VaultDocument:
    grid = [alternative(x, y=y) for x in (0, 16, 32, 48) for y in (0, 40)]
    return VaultDocument(
        release_id="ab" * 16,
        created_at="2026-01-02T03:04:05Z",
        secret=bytes(32),
        logo=encode_logo(LOGO),
        logo_sha256=LOGO.sha256,
        rule="alpha_channel",
        images=tuple(image(*grid, name=f"i{n}") for n in range(count)),
    )


def columns(item: VaultImage) -> list[int]:
    return [p.x for p in edition_alphabet(item, LOGO.size)]


def test_only_placements_that_fool_are_used_where_there_are_any():
    assert columns(image(alternative(0), alternative(20, fooled=False), alternative(40, confidence=0.4))) == [0, 40]


def test_where_none_fools_those_near_the_best_serve():
    none = [alternative(20 * n, confidence=c, fooled=False) for n, c in enumerate((0.500, 0.515, 0.60))]
    assert columns(image(*none)) == [0, 20]


def test_an_image_without_alternatives_keeps_its_released_placement():
    assert edition_alphabet(image(), LOGO.size) == (Placement(120, 1, 2),)


def test_near_duplicates_are_left_out():
    # The mark is 16 px wide: three quarters of a quarter is too near, a quarter is not.
    assert columns(image(alternative(0), alternative(3), alternative(4))) == [0, 4]


def test_an_edition_is_drawn_again_alike_and_differs_between_recipients():
    vault = vault_of(30)
    first, second = draw_edition(vault, 0, SECRET), draw_edition(vault, 1, SECRET)
    assert first == draw_edition(vault, 0, SECRET)
    assert sum(first[i] != second[i] for i in first) > 15
    assert set(first) == {i.id for i in vault.images}
    placements = edition_placements(vault, first)
    assert all(placements[i.id] == edition_alphabet(i, LOGO.size)[first[i.id]] for i in vault.images)


def test_the_pixels_of_an_edition_lead_back_to_its_recipient():
    rng = np.random.default_rng(0)
    vault = vault_of(12)
    placements = edition_placements(vault, draw_edition(vault, 7, SECRET))
    evidence, mark = [], prepare_mark(LOGO, SHAPE, np.uint8)
    for item in vault.images:
        original = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        marked = mark_for_edition(original, LOGO, item, placements[item.id], vault.rule)
        shares = read_symbols(marked, original, mark, edition_alphabet(item, LOGO.size)).shares
        evidence.append(Evidence(item.id, shares))
    accused = [a for a in accuse(tracing_code(vault, SECRET), evidence, range(20)) if a.accused]
    assert [a.recipient for a in accused] == [7]


def test_a_foreign_symbol_and_a_foreign_original_are_refused():
    vault = vault_of(1)
    with pytest.raises(SettingsError, match="no placement 8"):
        edition_placements(vault, {"i0": 8})
    with pytest.raises(AlteredImageError, match="i0"):
        mark_for_edition(np.zeros((5, 5), np.uint8), LOGO, vault.images[0], Placement(1, 0, 0), vault.rule)
