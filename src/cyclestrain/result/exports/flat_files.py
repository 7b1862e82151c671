"""Export as tables and stacks: CSV, TIFF for ImageJ, MATLAB."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.result.exports.channels import Channel, Channels

__all__ = ["write_csv", "write_mat", "write_tiff"]

MATLAB_NAME = 31
"""Longest name of a struct's field that every version of MATLAB reads."""


def _about(channels: Channels, notes: tuple[str, ...]) -> list[str]:
    attributes = [f"{key}: {' '.join(str(value).split())}" for key, value in channels.attributes.items()]
    return [*notes, *(f"{c.name} ({c.unit}): {c.description}" for c in channels.maps), *attributes]


def write_tiff(channels: Channels, path: Path, notes: tuple[str, ...]) -> None:
    """Write a stack of 32-bit images that ImageJ opens with labels and pixel size.

    Parameters
    ----------
    channels
        Maps to export.
    path
        File to write.
    notes
        Sentences that are written into the file's description.
    """
    import tifffile

    labels = [f"{c.name}" if c.unit == "1" else f"{c.name} ({c.unit})" for c in channels.maps]
    metadata: dict[str, Any] = {"axes": "ZYX", "Labels": labels, "Info": "\n".join(_about(channels, notes))}
    resolution = None
    if channels.step is not None:
        metadata["unit"] = channels.step.unit
        resolution = (1 / channels.step.value, 1 / channels.step.value)
    tifffile.imwrite(
        path,
        channels.stack(np.float32),
        imagej=True,
        photometric="minisblack",
        resolution=resolution,
        metadata=metadata,
    )


def _column(channel: Channel) -> str:
    return channel.name if channel.unit == "1" else f"{channel.name}_{channel.unit}"


def write_csv(channels: Channels, path: Path, notes: tuple[str, ...]) -> None:
    """Write one line per position, after the notes and descriptions in lines that start with ``#``.

    Parameters
    ----------
    channels
        Maps to export.
    path
        File to write.
    notes
        Sentences that are written into the first lines.
    """
    rows, columns = (index.ravel() for index in np.indices(channels.shape))
    scale, unit = (channels.step.value, f"_{channels.step.unit}") if channels.step else (1.0, "")
    header = ["row", "column", f"y{unit}", f"x{unit}", *(_column(channel) for channel in channels.maps)]
    table = np.column_stack(
        [rows, columns, rows * scale, columns * scale, channels.stack(np.float64).reshape(-1, rows.size).T]
    )
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"# {line}\n" for line in _about(channels, notes))
        stream.write(",".join(header) + "\n")
        np.savetxt(stream, table, fmt=["%d", "%d", *["%.9g"] * (table.shape[1] - 2)], delimiter=",")


def write_mat(channels: Channels, path: Path, notes: tuple[str, ...]) -> None:
    """Write a MATLAB file (version 5, which Octave and SciPy read as well) with one struct, ``strain``.

    Parameters
    ----------
    channels
        Maps to export.
    path
        File to write.
    notes
        Sentences that are written into ``strain.notes``.
    """
    from scipy.io import savemat

    attributes = {re.sub(r"\W", "_", key)[:MATLAB_NAME]: value for key, value in channels.attributes.items()}
    strain: dict[str, Any] = {channel.name: channel.values for channel in channels.maps}
    strain["units"] = {channel.name: channel.unit for channel in channels.maps}
    strain["step"] = channels.step.value if channels.step else 1.0
    strain["step_unit"] = channels.step.unit if channels.step else "positions"
    strain["notes"] = "\n".join(notes)
    strain["attributes"] = attributes
    savemat(str(path), {"strain": strain}, appendmat=False, long_field_names=True, do_compression=True)
