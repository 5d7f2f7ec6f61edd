"""Names and values in the form that MLflow stores, shows and compares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

SETTING_PREFIX = "cfg/"
"""`mlflow run` logs the raw parameters under their bare names before the program starts, and MLflow refuses a second
value for a name: resolved settings therefore have a prefix of their own."""
SETTING_LIMIT = 500
"""Longest logged setting in characters; MLflow would cut silently at 6,000."""
TAG_LIMIT = 5000
"""Longest logged tag in characters; MLflow would cut silently at 8,000."""
FINGERPRINT_TAG = "medlocker.fingerprint"
"""Tag of logged models and registered versions: SHA-256 of the weights, the same for PyTorch and ONNX."""
ORIGIN_TAG = "medlocker.offline_run_id"
"""Tag of a run that was merged from an offline folder: the id it had there."""

_NOT_IN_A_NAME = re.compile(r"[^\w\-. /]", re.ASCII)


def component(name: str) -> str:
    """One level of a metric or artifact name: anything but letters, digits, `-`, `_` and `.` becomes `_`.

    Args:
        name: e.g. a network's name, which may be a path or an MLflow URI.

    Returns:
        A name without slashes; `_` for an empty one.
    """
    plain = _NOT_IN_A_NAME.sub("_", name).replace("/", "_").replace(" ", "_")
    return plain.strip(".") or "_"


def stored_name(name: str) -> str:
    """A metric, tag or picture name every MLflow store accepts; slashes stay and form groups."""
    return "/".join(component(part) for part in name.split("/") if part) or "_"


def stored_names(values: Iterable[str]) -> dict[str, str]:
    """Names mapped to their stored form.

    Raises:
        ValueError: two names have the same stored form.
    """
    result = {name: stored_name(name) for name in values}
    if len(set(result.values())) < len(result):
        twice = sorted(name for name in result if list(result.values()).count(result[name]) > 1)
        raise ValueError(f"the names {', '.join(twice)} cannot be told apart once special characters are replaced")
    return result


def cut(text: str, limit: int) -> str:
    """Text within a limit; a longer one says that it was cut, how long it was, and carries a digest of the whole.

    Args:
        text: any text.
        limit: characters, at least 100.

    Returns:
        At most `limit` characters.
    """
    if len(text) <= limit:
        return text
    note = f"… [cut: {len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}]"
    return text[: limit - len(note)] + note


def setting_text(value: object) -> str:
    """A setting as text: `true`/`false`, empty for None, comma-separated sequences, `key=value` pairs for mappings."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={setting_text(item)}" for key, item in value.items())
    if isinstance(value, Iterable):
        return ",".join(setting_text(item) for item in value)
    return str(value)
