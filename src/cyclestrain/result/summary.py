"""A result in one row of a table, and the table of many of them as a CSV file that grows row by row."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyclestrain.data import Doubt
from cyclestrain.errors import OutputError, printable
from cyclestrain.files import write_csv

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Summary", "add_to_table", "as_table", "read_table", "summarise"]

COMPONENTS = ("exx", "eyy", "exy", "rotation")
NAMED_DOUBTS = 3
"""Most reasons for doubt that a row names."""


@dataclass(frozen=True)
class Summary:
    """What became of one scan of many: a row of their table.

    Medians are over valid positions, NaN where there is none.

    Attributes
    ----------
    file, result
        The scan, and the file name of its result in the folder; empty where there is none.
    state
        ``mapped`` now, ``skipped`` because its result was there, or ``failed``.
    positions
        Number of positions of the scan.
    valid_percent
        Share of them that is valid.
    exx_percent, eyy_percent, exy_percent, rotation_deg
        Medians of strain and rotation.
    exx_sigma_percent, eyy_sigma_percent, exy_sigma_percent, rotation_sigma_deg
        Medians of their uncertainty.
    classes
        Number of dictionary entries that some valid position has.
    doubt_percent, doubts
        Share of the valid positions with any doubt, and the most frequent reasons with theirs.
    seconds
        What mapping it took; NaN where that is not known.
    message
        Why it failed or was skipped, in one sentence.
    """

    file: str
    result: str = ""
    state: Literal["mapped", "skipped", "failed"] = "failed"
    positions: int = 0
    valid_percent: float = math.nan
    exx_percent: float = math.nan
    eyy_percent: float = math.nan
    exy_percent: float = math.nan
    rotation_deg: float = math.nan
    exx_sigma_percent: float = math.nan
    eyy_sigma_percent: float = math.nan
    exy_sigma_percent: float = math.nan
    rotation_sigma_deg: float = math.nan
    classes: int = 0
    doubt_percent: float = math.nan
    doubts: str = ""
    seconds: float = math.nan
    message: str = ""

    @property
    def row(self) -> dict[str, str]:
        """The fields as text, numbers with no more digits than mean something."""
        return {field.name: _text(getattr(self, field.name)) for field in fields(self)}


COLUMNS = tuple(field.name for field in fields(Summary))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return printable(str(value))


def summarise(maps: xr.Dataset) -> dict[str, Any]:
    """What a result says in a few numbers, as fields of `Summary`.

    Parameters
    ----------
    maps
        A result.
    """
    valid = maps["valid"].values.astype(bool)
    out: dict[str, Any] = {"positions": int(valid.size), "valid_percent": 100 * float(valid.mean())}
    for name in COMPONENTS:
        unit, scale = ("deg", math.degrees(1)) if name == "rotation" else ("percent", 100.0)
        for quantity in (name, f"{name}_sigma"):
            values = maps[quantity].values[valid]
            known = values[np.isfinite(values)]
            out[f"{quantity}_{unit}"] = scale * float(np.median(known)) if known.size else math.nan
    doubt = maps["doubt"].values.astype(int)[valid]
    shares = {flag: float(np.mean((doubt & int(flag)) > 0)) if doubt.size else 0.0 for flag in Doubt}
    often = sorted((flag for flag in Doubt if shares[flag]), key=lambda flag: -shares[flag])[:NAMED_DOUBTS]
    return out | {
        "classes": len(np.unique(maps["class"].values[valid])),
        "doubt_percent": 100 * float(np.mean(doubt > 0)) if doubt.size else math.nan,
        "doubts": "; ".join(f"{flag.label} {100 * shares[flag]:.2g} %" for flag in often),
    }


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a table that `add_to_table` wrote, none where there is no such file.

    Raises
    ------
    OutputError
        If the file is something else.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if not {"file", "result", "state"} <= set(reader.fieldnames or ()):
                raise OutputError(
                    f"{path} is no table that cyclestrain wrote, and is not replaced; move it, or choose another folder"
                )
            return [{name: row.get(name) or "" for name in COLUMNS} for row in reader]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutputError(f"{path} cannot be read ({error}); move it, or choose another folder") from error


def add_to_table(path: Path, summaries: Iterable[Summary]) -> None:
    """Write rows into a table; rows of other scans stay as they are.

    Parameters
    ----------
    path
        A CSV file, which appears complete or not at all.
    summaries
        The rows; each replaces that of the same result, and that of the same scan where it had none.

    Raises
    ------
    OutputError
        If it cannot be written, or is no such table.
    """
    new = [summary.row for summary in summaries]
    files, results = {row["file"] for row in new}, {row["result"] for row in new}
    kept = [row for row in read_table(path) if _stays(row, files, results, path.parent)]
    write_csv(path, [COLUMNS, *([row[name] for name in COLUMNS] for row in [*kept, *new])], force=True)


def _stays(row: dict[str, str], files: set[str], results: set[str], folder: Path) -> bool:
    """Whether a row is of another result, which is still there, or of a failure of another scan."""
    if not row["result"]:
        return row["file"] not in files
    return row["result"] not in results and (folder / Path(row["result"]).name).exists()


def as_table(summaries: Sequence[Summary]) -> str:
    """Rows as text for people."""
    head = ("scan", "valid", "exx (%)", "sigma", "rotation (deg)", "sigma", "classes", "doubt", "time", "")
    rows = [head, *map(_words, summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    left = {0, len(head) - 1}
    lines = [
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _words(summary: Summary) -> tuple[str, ...]:
    name = printable(summary.file)
    if summary.state == "failed":
        return (name, *[""] * 8, "failed")
    strain = _rounded(summary.exx_percent, summary.exx_sigma_percent)
    rotation = _rounded(summary.rotation_deg, summary.rotation_sigma_deg)
    return (
        name,
        f"{summary.valid_percent:.0f} %",
        *(*strain, *rotation, str(summary.classes)),
        "" if math.isnan(summary.doubt_percent) else f"{summary.doubt_percent:.0f} %",
        "" if math.isnan(summary.seconds) else f"{summary.seconds:.0f} s",
        "there already" if summary.state == "skipped" else "",
    )


def _rounded(value: float, sigma: float) -> tuple[str, str]:
    """A number with the digits that its uncertainty leaves, and that with two; empty where they are not known."""
    if not (math.isfinite(value) and math.isfinite(sigma) and sigma > 0):
        return ("", "")
    digits = max(0, 1 - math.floor(math.log10(sigma)))
    return f"{value:.{digits}f}", f"{sigma:.{digits}f}"
