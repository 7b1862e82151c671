"""`report`: a result as one page that anyone can open."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cyclestrain.api.arguments import PathLike, scan_of, stored_run
from cyclestrain.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.data import PatternSource, Scan

__all__ = ["report"]


def report(
    result: PathLike,
    output: PathLike | None = None,
    *,
    scan: PathLike | PatternSource | Scan | None = None,
    force: bool = False,
) -> Path:
    """Write a result as one self-contained HTML page: maps, uncertainty, doubts, patterns with fits, every choice.

    Parameters
    ----------
    result
        Result file.
    output
        Page to write, by default the result with the extension ``.html``. It holds its figures and loads nothing from
        elsewhere; a browser prints it as PDF.
    scan
        The scan that was mapped, for single patterns with their fits. By default the file that the result names, where
        it can be read; otherwise the page says that it was not at hand.
    force
        Whether an existing page is replaced.

    Returns
    -------
    page
        The file written.

    Raises
    ------
    InputError
        If the result cannot be read, or `scan` is given and is not the one that was mapped.
    OutputError
        If the page cannot be written.

    Examples
    --------
    The page lies beside the result::

        cs.report("strain.nc")  # strain.html
    """
    from cyclestrain.files import check_writable, write_whole
    from cyclestrain.reporting import report_page
    from cyclestrain.result import load_group, load_result

    if not isinstance(result, str | os.PathLike):
        raise InputError("a report is made from a result file, which holds the dictionary too; give its name")
    target = Path(output) if output is not None else Path(result).with_suffix(".html")
    check_writable(target, force)
    maps, dictionary = load_result(result), None
    with suppress(InputError):
        dictionary = load_group(result, "dictionary")
    opened = _named_scan(result, maps) if scan is None else scan_of(maps, scan)
    page = report_page(maps, dictionary, opened, f"cyclestrain map --config {os.fspath(result)}")
    with write_whole(target, force) as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def _named_scan(result: PathLike, maps: xr.Dataset) -> Scan | None:
    """The scan that a result names, if it is still there and still the same."""
    from cyclestrain.io import fingerprint, read

    if "affine" not in maps:
        return None
    with suppress(InputError):
        run = stored_run(result, maps)
        if run.scan is not None:
            opened = read(run.scan, run.reading)
            return opened if fingerprint(opened) == run.fingerprint else None
    return None
