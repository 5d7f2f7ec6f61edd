"""Editions: for each recipient a marked copy of its own, drawn from the placements that the search kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medlocker.blending import AlphaRule, Logo, Pixels, Placement, lock, prepare_mark, scaled_size
from medlocker.errors import AlteredImageError, SettingsError
from medlocker.keys import VaultDocument, VaultImage, decode_logo
from medlocker.tracing.codes import TracingCode

CONFIDENCE_MARGIN = 0.02
"""Where no placement fools the sources, those within this confidence of the best one serve equally well."""


def edition_alphabet(
    image: VaultImage, logo_size: tuple[int, int], margin: float = CONFIDENCE_MARGIN
) -> tuple[Placement, ...]:
    """The placements an edition may use on one image, in the vault's order; the index is the code's symbol.

    These are the kept placements that fool the sources; where none does, those whose confidence is within `margin` of
    the best; where the vault kept none, the released one alone. Footprints that are nearer than a quarter of the mark
    to an earlier one are left out, since a damaged copy could not tell them apart.

    Args:
        image: from the vault.
        logo_size: (M, N) of the unscaled logo, px.
        margin: confidence, 0–1.

    Returns:
        At least one placement.
    """
    kept = [a for a in image.alternatives if a.fooled]
    if not kept and image.alternatives:
        limit = min(a.confidence for a in image.alternatives) + margin
        kept = [a for a in image.alternatives if a.confidence <= limit]
    placements = [Placement(a.alpha, a.x, a.y) for a in kept] or [image.placement]
    return _apart(placements, scaled_size((image.shape[1], image.shape[0]), logo_size, image.logo_scale))


def _apart(placements: Sequence[Placement], mark_size: tuple[int, int]) -> tuple[Placement, ...]:
    least = (max(1, mark_size[0] // 4), max(1, mark_size[1] // 4))
    kept: list[Placement] = []
    for placement in placements:
        if all(abs(placement.x - k.x) >= least[0] or abs(placement.y - k.y) >= least[1] for k in kept):
            kept.append(placement)
    return tuple(kept)


def edition_alphabets(vault: VaultDocument, margin: float = CONFIDENCE_MARGIN) -> dict[str, tuple[Placement, ...]]:
    """`edition_alphabet` of every image, by image id."""
    size = decode_logo(vault).size
    return {image.id: edition_alphabet(image, size, margin) for image in vault.images}


def tracing_code(vault: VaultDocument, secret: bytes, margin: float = CONFIDENCE_MARGIN) -> TracingCode:
    """The code of a release.

    Args:
        vault: of the release.
        secret: at least 16 bytes, kept by the owner; the same when editions are made and when a leak is traced.
        margin: as in `edition_alphabet`; likewise the same.
    """
    alphabets = edition_alphabets(vault, margin)
    return TracingCode(secret, vault.release_id, {i: len(placements) for i, placements in alphabets.items()})


def draw_edition(
    vault: VaultDocument, recipient_index: int, secret: bytes, margin: float = CONFIDENCE_MARGIN
) -> dict[str, int]:
    """A recipient's edition: for each image the index of its placement in `edition_alphabet`.

    Args:
        vault: of the release.
        recipient_index: at least 0; never given to two recipients.
        secret: as for `tracing_code`.
        margin: as for `tracing_code`.

    Returns:
        Image id → symbol; the same whenever it is drawn.

    Raises:
        SettingsError: the index is negative or the secret too short.
    """
    code = tracing_code(vault, secret, margin)
    ids = list(code.sizes)
    return dict(zip(ids, code.symbols(recipient_index, ids), strict=True))


def edition_placements(
    vault: VaultDocument, drawn: Mapping[str, int], margin: float = CONFIDENCE_MARGIN
) -> dict[str, Placement]:
    """α, x, y of each image of an edition.

    Raises:
        SettingsError: a symbol is not in its image's alphabet.
    """
    alphabets, result = edition_alphabets(vault, margin), {}
    for image_id, symbol in drawn.items():
        if not 0 <= symbol < len(alphabets.get(image_id, ())):
            raise SettingsError(
                f"{image_id}: no placement {symbol} in the vault", fix="use the vault the edition is of"
            )
        result[image_id] = alphabets[image_id][symbol]
    return result


def mark_for_edition(original: Pixels, logo: Logo, image: VaultImage, placement: Placement, rule: AlphaRule) -> Pixels:
    """Blend an edition's mark into one image.

    Args:
        original: as it was before marking.
        logo: of the vault.
        image: from the vault.
        placement: from `edition_placements`.
        rule: of the vault.

    Returns:
        The marked image.

    Raises:
        AlteredImageError: `original` has not the shape or type the vault names.
    """
    if original.shape != image.shape or original.dtype.name != image.dtype:
        raise AlteredImageError(
            f"{image.id}: {original.dtype.name} pixels of shape {original.shape}, not as in the vault"
        )
    mark = prepare_mark(logo, image.shape, original.dtype, logo_scale=image.logo_scale, rule=rule)
    return lock(original, mark, placement)
