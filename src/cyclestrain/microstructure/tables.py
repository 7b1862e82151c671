"""Tables of frozen rows as CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cyclestrain.files import check_writable, write_csv

__all__ = ["write_table"]


def write_table(rows: Sequence[Any], kind: type, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write rows as CSV, one column for each of their fields; a table without rows has its header.

    Parameters
    ----------
    rows
        Instances of a dataclass.
    kind
        That class.
    path
        File to write; it appears complete or not at all.
    force
        Whether an existing file is replaced.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    target = Path(path)
    check_writable(target, force)
    names = [field.name for field in fields(kind)]
    write_csv(target, [names, *([_cell(getattr(row, name)) for name in names] for row in rows)], force)


def _cell(value: Any) -> str:
    """A value as text: numbers with six digits, nothing for what is not known, several values with spaces between."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, tuple):
        return " ".join(_cell(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
