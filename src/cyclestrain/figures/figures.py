"""All figures of a result or a model, and the writing of figures to files.

Every figure is a `matplotlib.figure.Figure` of 180 mm, two columns of a journal; pyplot is never used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import xarray as xr
from matplotlib import rc_context
from matplotlib.figure import Figure

from cyclestrain.errors import OutputError
from cyclestrain.figures.accuracy_maps import accuracy_figure
from cyclestrain.figures.dictionary_view import dictionary_figure
from cyclestrain.figures.strain_maps import strain_figure
from cyclestrain.figures.training_curves import training_figure
from cyclestrain.figures.uncertainty_maps import uncertainty_figure
from cyclestrain.files import write_whole
from cyclestrain.settings import ShowSettings

__all__ = [
    "FORMATS",
    "accuracy_figure",
    "dictionary_figure",
    "result_figures",
    "save_figure",
    "save_figures",
    "strain_figure",
    "training_figure",
    "uncertainty_figure",
    "write_figures",
]

FORMATS = ("png", "svg", "pdf")
"""Formats in which figures are written."""
PNG_DPI = 200
"""Dots per inch of PNG files."""
# Two runs on the same result write the same bytes: no dates in the files.
METADATA: dict[str, dict[str, str | None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def result_figures(
    ds: xr.Dataset,
    dictionary: xr.Dataset | None = None,
    truth: xr.Dataset | None = None,
    training: xr.Dataset | None = None,
    look: ShowSettings | None = None,
) -> Iterator[tuple[str, Figure]]:
    """Draw every figure for which a result has data, one at a time, as pairs of name and figure.

    Parameters
    ----------
    ds
        A result.
    dictionary, training
        Its groups of these names; None leaves the figure out.
    truth
        Truth relative to the same reference; None leaves the figure out.
    look
        How the maps are drawn.
    """
    yield "strain", strain_figure(ds, look=look)
    if "exx_raw" in ds and not ds["exx_raw"].drop_attrs().equals(ds["exx"].drop_attrs()):
        yield "strain_raw", strain_figure(ds, "raw", look=look)
    yield "uncertainty", uncertainty_figure(ds)
    if dictionary is not None:
        yield "dictionary", dictionary_figure(dictionary)
    if training is not None:
        yield "training", training_figure(training)
    if truth is not None:
        yield "accuracy", accuracy_figure(ds, truth)


def _checked_formats(formats: Sequence[str]) -> tuple[str, ...]:
    names = tuple(
        dict.fromkeys(name.lower().lstrip(".") for name in ([formats] if isinstance(formats, str) else formats))
    )
    for name in names:
        if name not in FORMATS:
            raise OutputError(f"figures are written as {', '.join(FORMATS)}, not as {name!r}")
    return names


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = PNG_DPI) -> None:
    """Write one figure; the file appears complete or not at all.

    Parameters
    ----------
    figure
        Figure to write.
    path
        File to write, whose extension is one of `FORMATS`.
    dpi
        Dots per inch of a png.

    Raises
    ------
    OutputError
        If the format is unknown or the file cannot be written.
    """
    target = Path(path)
    (kind,) = _checked_formats([target.suffix])
    with write_whole(target, force=True) as temporary, rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=METADATA[kind])  # text stays text, as journals ask


def save_figures(
    ds: xr.Dataset,
    dictionary: xr.Dataset | None,
    prefix_or_folder: str | os.PathLike[str],
    formats: Sequence[str] = ("png",),
    truth: xr.Dataset | None = None,
    training: xr.Dataset | None = None,
) -> tuple[Path, ...]:
    """Write all figures of a result.

    Parameters
    ----------
    ds
        A result.
    dictionary
        Its group ``dictionary``; None leaves that figure out.
    prefix_or_folder, formats
        As for `write_figures`.
    truth
        Truth of a simulated scan relative to the same reference; adds ``accuracy``.
    training
        Its group ``training``; None leaves that figure out.

    Raises
    ------
    OutputError
        If a format is unknown or a file cannot be written.
    """
    return write_figures(result_figures(ds, dictionary, truth, training), prefix_or_folder, formats)


def write_figures(
    figures: Iterable[tuple[str, Figure]],
    prefix_or_folder: str | os.PathLike[str],
    formats: Sequence[str] = ("png",),
) -> tuple[Path, ...]:
    """Write figures to files that are called by their names.

    Parameters
    ----------
    figures
        Pairs of name and figure.
    prefix_or_folder
        A folder (one that exists, or ends with a slash): files are ``strain.png``, ``uncertainty.png``, ...; otherwise
        the beginning of the file names: ``out/scan`` gives ``out/scan_strain.png``, ... Missing folders are made.
    formats
        Any of ``png`` (200 dots per inch), ``svg`` and ``pdf``.

    Returns
    -------
    paths
        The files written.

    Raises
    ------
    OutputError
        If a format is unknown or a file cannot be written.
    """
    kinds = _checked_formats(formats)
    target = Path(prefix_or_folder)
    is_folder = target.is_dir() or os.fspath(prefix_or_folder).endswith(("/", os.sep))
    folder, beginning = (target, "") if is_folder else (target.parent, f"{target.name}_")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} for figures: {error.strerror or error}") from error
    paths = []
    for name, figure in figures:
        for kind in kinds:
            path = folder / f"{beginning}{name}.{kind}"
            save_figure(figure, path)
            paths.append(path)
    return tuple(paths)
