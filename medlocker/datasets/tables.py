"""Read CSV files of labels, and recognise their columns."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medlocker.errors import DatasetError

ID_NAMES = frozenset(
    {"file", "filename", "file name", "image", "image name", "image id", "image path", "id", "id code", "path", "img"}
)
LABEL_NAMES = frozenset({"grade", "label", "level", "diagnosis", "class", "retinopathy grade", "dr grade", "target"})


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        path: the file.
        columns: header names in order, trimmed.
        rows: column → trimmed value.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    @property
    def shown_columns(self) -> str:
        """The columns for a message."""
        return "it has the columns " + ", ".join(self.columns)


def read_table(path: Path) -> Table:
    """Read a CSV file with a header; the delimiter (comma, semicolon or tab) is the most frequent in the header.

    Columns without a name, as IDRiD's files have them, are left out, and so are empty rows.

    Args:
        path: the file, UTF-8.

    Raises:
        DatasetError: missing, unreadable, not text, empty, or a column name that occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DatasetError(f"{path}: the CSV file cannot be read", why=why) from error
    first_line = text.partition("\n")[0]
    if not first_line.strip():
        raise DatasetError(f"{path}: the CSV file has no header", fix="give it a first line with column names")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first_line.count), strict=True)
    try:
        header, *body = [[value.strip() for value in row] for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}: not a valid CSV file", why=str(error)) from error
    return _table(path, header, body)


def _table(path: Path, header: list[str], body: list[list[str]]) -> Table:
    named = [(index, name) for index, name in enumerate(header) if name]
    twice = [name for name, count in Counter(name for _, name in named).items() if count > 1]
    if twice:
        raise DatasetError(f"{path}: the column {twice[0]} occurs twice", fix="rename one of them")
    rows = tuple({name: row[index] if index < len(row) else "" for index, name in named} for row in body if any(row))
    return Table(path, tuple(name for _, name in named), rows)


def require_column(table: Table, name: str) -> str:
    """The column of this name.

    Raises:
        DatasetError: there is none; the message lists those there are.
    """
    if name not in table.columns:
        raise DatasetError(f"{table.path}: no column {name}", why=table.shown_columns)
    return name


def recognise_column(table: Table, names: frozenset[str], wanted: str, option: str) -> str | None:
    """The one column whose name is among the common ones.

    Args:
        table: the CSV file.
        names: common names, lower case, words separated by spaces.
        wanted: what the column holds, for messages.
        option: the option that names it, for messages.

    Returns:
        Its name, or None where no column matches.

    Raises:
        DatasetError: more than one matches.
    """
    found = [name for name in table.columns if name.lower().replace("_", " ").replace("-", " ") in names]
    if len(found) > 1:
        raise DatasetError(
            f"{table.path}: {' and '.join(found)} may both hold the {wanted}",
            why=table.shown_columns,
            fix=f"name one with {option}",
        )
    return found[0] if found else None


def file_column(table: Table, chosen: str | None) -> str:
    """The column with file names: the chosen one, else by its name.

    Raises:
        DatasetError: none or more than one.
    """
    if chosen is not None:
        return require_column(table, chosen)
    found = recognise_column(table, ID_NAMES, "file names", "--id-column")
    if found is None:
        raise DatasetError(
            f"{table.path}: no column with file names", why=table.shown_columns, fix="name one with --id-column"
        )
    return found


def label_column(table: Table, chosen: str | None) -> str | None:
    """The column with labels: the chosen one, else by its name; None where there is none.

    Raises:
        DatasetError: the chosen one is missing, or more than one matches.
    """
    if chosen is not None:
        return require_column(table, chosen)
    return recognise_column(table, LABEL_NAMES, "labels", "--label-column")


def missing_label_column(table: Table) -> DatasetError:
    """The error for a CSV file that should have labels and has none."""
    return DatasetError(
        f"{table.path}: no column with labels", why=table.shown_columns, fix="name one with --label-column"
    )


def path_columns(table: Table, taken: Sequence[str], suffixes: frozenset[str]) -> tuple[str, ...]:
    """Columns whose every value is empty or names an image file, and that are not taken: lesion masks."""

    def holds_paths(column: str) -> bool:
        values = [row[column] for row in table.rows if row[column]]
        return bool(values) and all(Path(value).suffix.lower() in suffixes for value in values)

    return tuple(column for column in table.columns if column not in taken and holds_paths(column))
