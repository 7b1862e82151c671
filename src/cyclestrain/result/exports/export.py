"""Export of a result to a file of another program, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cyclestrain.errors import OutputError
from cyclestrain.files import check_writable, write_folder, write_whole
from cyclestrain.result.exports.channels import Channels, channels_of
from cyclestrain.result.exports.flat_files import write_csv, write_mat, write_tiff
from cyclestrain.result.exports.hyperspy_signal import write_hspy, write_zspy
from cyclestrain.result.exports.notes import NOTES
from cyclestrain.result.exports.py4dstem_slice import write_py4dstem

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORMATS", "export_maps", "format_of"]

Writer: TypeAlias = Callable[[Channels, Path, tuple[str, ...]], None]

FORMATS: dict[str, Writer] = {
    "hspy": write_hspy,
    "zspy": write_zspy,
    "py4dstem": write_py4dstem,
    "tiff": write_tiff,
    "csv": write_csv,
    "mat": write_mat,
}
"""Writers by name of the format."""
_EXTENSIONS = {
    ".hspy": "hspy",
    ".zspy": "zspy",
    ".h5": "py4dstem",
    ".emd": "py4dstem",
    ".py4dstem": "py4dstem",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".csv": "csv",
    ".mat": "mat",
}


def format_of(path: str | os.PathLike[str]) -> str:
    """Name of the format that the extension of a path stands for.

    Raises
    ------
    OutputError
        If the extension belongs to no format.

    Examples
    --------
    >>> format_of("strain.emd")
    'py4dstem'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _EXTENSIONS:
        raise OutputError(
            f"no format goes with the extension {suffix or '(none)'}; use {', '.join(_EXTENSIONS)} "
            f"or name one with --format: {', '.join(FORMATS)}"
        )
    return _EXTENSIONS[suffix]


def export_maps(
    maps: xr.Dataset,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    estimate: str = "",
    force: bool = False,
) -> None:
    """Write the maps of a result for another program.

    Parameters
    ----------
    maps
        A result, dimensions ``(ry, rx)``.
    path
        File to write, for ``zspy`` a folder.
    format
        One of `FORMATS`; by default the one that the extension stands for.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the result lacks a map of that estimate.
    OutputError
        If the format is unknown, the file exists and not `force`, or it cannot be written.
    """
    kind = format or format_of(path)
    if kind not in FORMATS:
        raise OutputError(f"results are exported as {', '.join(FORMATS)}, not as {kind!r}")
    target, channels = Path(path), channels_of(maps, estimate)
    check_writable(target, force, folder=kind == "zspy")
    with (write_folder if kind == "zspy" else write_whole)(target, force) as temporary:
        FORMATS[kind](channels, temporary, NOTES[kind])
