"""A key in the paper's own form: {I: [L, x, y]} with L the opacity of every pixel of the mark."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medlocker.blending import prepare_mark
from medlocker.errors import SettingsError
from medlocker.keys.documents import KeyDocument, KeyImage, decode_logo
from medlocker.secret_files import write_secret

FORMS = (".json", ".npz")


def opacity_list(key: KeyDocument, image: KeyImage) -> npt.NDArray[np.uint8]:
    """The paper's L = {α_1 … α_m} of one image.

    Source: Section on keys of the paper; Eq. 1 with α_p = min(α, A(p)).

    Returns:
        (N', M') uint8, row by row of the mark.
    """
    mark = prepare_mark(
        decode_logo(key), image.shape, np.dtype(image.dtype), logo_scale=image.logo_scale, rule=key.rule
    )
    return mark.opacity(image.alpha).astype(np.uint8)


def write_paper_form(path: Path, key: KeyDocument) -> None:
    """Write a key's parameters in the clear.

    The file is readable by its owner alone. With the parameters a mark can be undone by Eq. 9, which is inexact; the
    recovery packets' keys are not part of it.

    Args:
        path: `.json` ({id: [L, x, y]}, L as rows), or `.npz` (arrays `<id>/L`, `<id>/xy`).
        key: opened.

    Raises:
        SettingsError: the file exists, or has another suffix.
        IdentityError: it cannot be written.
    """
    if path.suffix not in FORMS:
        raise SettingsError(f"--out {path}: not {' or '.join(FORMS)}")
    if path.exists():
        raise SettingsError(f"--out {path}: already exists", fix="choose a new file")
    if path.suffix == ".json":
        form = {image.id: [opacity_list(key, image).tolist(), image.x, image.y] for image in key.images}
        write_secret(path, json.dumps(form, ensure_ascii=False, separators=(",", ":")).encode())
        return
    arrays = {f"{image.id}/L": opacity_list(key, image) for image in key.images}
    arrays |= {f"{image.id}/xy": np.array([image.x, image.y]) for image in key.images}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_secret(path, buffer.getvalue())
