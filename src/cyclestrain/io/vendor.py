"""Formats of microscopes and cameras, read with RosettaSciIO."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.data import PatternSource
from cyclestrain.errors import InputError, first_line
from cyclestrain.io.loaded import Candidate, Loaded, choose
from cyclestrain.io.preflight import check_declared_size
from cyclestrain.io.sources import DaskSource, Stored, view_axes
from cyclestrain.io.units import real_step, reciprocal_step

__all__ = ["knows", "load_vendor"]

LARGEST_EAGER = 2**30
"""Largest file, bytes, that is read whole where its reader cannot read in parts."""

# The netCDF reader evaluates text of the file as Python code; the others hold photographs, curves and spectra, or are
# read here without RosettaSciIO.
_NOT_USED = frozenset(
    {
        "TIFF",
        "netCDF",
        "Image",
        "numpy",
        "Impulse",
        "Protochips",
        "MSA",
        "JobinYvon",
        "Delmic",
        "Tofwerk",
        "USID",
        "Arina",
    }
)

_WHOLE = frozenset({"Topspin", "Hamamatsu", "DigitalSurf"})
"""Readers that read everything, also where a lazy read is asked for."""

_INVENTING = frozenset({"MRC", "TVIPS"})
"""Readers that state a step of 1 nm, or 1/nm, where the file has none."""


def _plugins(path: Path, only: str | None) -> list[Mapping[str, Any]]:
    import rsciio

    suffix = path.suffix.lower().lstrip(".")
    found = []
    for plugin in rsciio.IO_PLUGINS:
        extensions = {str(extension).lower() for extension in plugin["file_extensions"]}
        if plugin["name"] not in _NOT_USED and (plugin["name"] == only or (only is None and suffix in extensions)):
            found.append(plugin)
    return found


def knows(path: Path) -> bool:
    """Whether some reader of RosettaSciIO takes files with the extension of `path`."""
    return bool(_plugins(path, None))


@contextmanager
def _quiet(notes: list[str]) -> Iterator[None]:
    """Keep the warnings of a third-party reader as notes instead of showing them."""
    logger = logging.getLogger("rsciio")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        notes.extend(first_line(item.message) for item in caught if isinstance(item.message, UserWarning))
    finally:
        logger.setLevel(level)


def _read(plugin: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    if plugin["name"] in _WHOLE and path.stat().st_size > LARGEST_EAGER:
        raise OSError(f"its reader needs memory for all of it, which is refused beyond {LARGEST_EAGER / 2**30:g} GiB")
    reader = import_module(plugin["api"]).file_reader
    try:
        return list(reader(str(path), lazy=True))
    except NotImplementedError:
        if path.stat().st_size > LARGEST_EAGER:
            raise
        return list(reader(str(path), lazy=False))


def _read_any(path: Path, only: str | None, notes: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Name and signals of the first reader that understands the file; else the complaint of the most fitting one."""
    failures: list[Exception] = []
    for plugin in _plugins(path, only):
        with _quiet(notes):
            try:
                signals = [signal for signal in _read(plugin, path) if hasattr(signal.get("data"), "shape")]
            except Exception as error:  # a vendor's reader on a broken file raises anything
                traceback.clear_frames(error.__traceback__)  # closes the files it left open
                failures.append(error)
                continue
        if signals:
            return plugin["name"], signals
    _ask_for_packages(path, failures)
    told = [error for error in failures if not isinstance(error, ImportError | NotImplementedError)] or failures
    reason = first_line(told[0]) if told else "nothing in it is an array"
    raise InputError(
        f"{path} could not be read as {path.suffix or 'a vendor format'} ({reason}); "
        "check that it is complete and that the files it belongs with lie beside it"
    ) from (told[0] if told else None)


def _ask_for_packages(path: Path, failures: list[Exception]) -> None:
    """Say that a Python package is missing, where that is all that is wrong."""
    if failures and all(isinstance(error, ImportError) for error in failures):
        reason = first_line(failures[0])
        line = "pip install 'cyclestrain[formats]'" if "skimage" in reason else "install that into this environment"
        raise InputError(f"{path} needs another Python package ({reason}); {line}") from failures[0]


def _title(index: int, signal: Mapping[str, Any]) -> str:
    general = signal.get("metadata", {}).get("General", {})
    return str(general.get("title") or general.get("original_filename") or "signal") + f"#{index}"


def _n_signal_axes(signal: Mapping[str, Any]) -> int:
    return sum(not axis.get("navigate", False) for axis in signal["axes"])


def _order(signal: Mapping[str, Any]) -> tuple[int, ...]:
    """Axes with the scan first and the detector last; axes of size 1 beyond four dimensions are dropped."""
    axes, shape = signal["axes"], signal["data"].shape
    kept = list(range(len(shape)))
    extra = [index for index in kept if shape[index] == 1]
    while len(kept) > 4 and extra:
        kept.remove(extra.pop())
    detector = [index for index in kept if not axes[index].get("navigate", False)]
    if len(detector) != 2:
        return tuple(kept)
    return tuple([index for index in kept if index not in detector] + detector)


def _scale(axis: Mapping[str, Any], reader: str) -> Any:
    """Step of an axis, None where it is what the reader puts there when the file has none."""
    return None if reader in _INVENTING and axis.get("scale") == 1 else axis.get("scale")


def _probe(source: PatternSource, path: Path) -> None:
    """Read the corners of the array: lazy readers notice missing and truncated files only then."""
    if 0 in source.shape:
        return
    border = Stored(source, str(path), np.dtype(source.dtype))
    for position in (0, -1):
        border[(position,) * (len(source.shape) - 1)]


def _metadata(signal: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    general = signal.get("metadata", {}).get("General", {})
    microscope = signal.get("metadata", {}).get("Acquisition_instrument", {}).get("TEM", {})
    plain = {
        key: " ".join(value.split()) if isinstance(value, str) else value
        for source in (general, microscope)
        for key, value in source.items()
        if isinstance(value, str | int | float) and value != ""
    }
    return plain | ({"reader_notes": "; ".join(dict.fromkeys(notes))} if notes else {})


def load_vendor(path: Path, dataset: str | None, only: str | None = None) -> Loaded:
    """Open the scan in a vendor's file, with the steps of its axes.

    Parameters
    ----------
    path
        The file.
    dataset
        Title of the signal, where the file holds several; None to choose by shape.
    only
        Name of the one reader to use, whatever the extension.

    Raises
    ------
    InputError
        If no reader understands the file, a Python package is missing, or the file holds no patterns.
    """
    notes: list[str] = []
    check_declared_size(path)
    reader, signals = _read_any(path, only, notes)
    images = [signal for signal in signals if _n_signal_axes(signal) != 1 or len(signal["data"].shape) == 4]
    if not images:
        raise InputError(f"{path} holds spectra, not diffraction patterns; give the file that holds the patterns")
    named = {_title(index, signal): signal for index, signal in enumerate(images)}
    candidates = [
        Candidate(name, tuple(int(size) for size in signal["data"].shape), np.dtype(signal["data"].dtype))
        for name, signal in named.items()
    ]
    signal = named[choose(candidates, str(path), dataset).name]
    data, order = signal["data"], _order(signal)
    base = data if isinstance(data, np.ndarray) else DaskSource(data)
    _probe(base, path)
    source = view_axes(base, order)
    axes = [signal["axes"][index] for index in order]
    pairs = [(_scale(axis, reader), axis.get("units")) for axis in axes]
    return Loaded(
        source,
        None,
        real_step(*reversed(pairs[:-2])),
        reciprocal_step(*reversed(pairs[-2:])),
        0.0,
        _metadata(signal, notes),
    )
