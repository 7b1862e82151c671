"""TIFF files with one pattern, or a stack of patterns page by page, read without keeping the file open."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import Quantity
from cyclestrain.errors import InputError, first_line
from cyclestrain.io.loaded import Loaded, is_numeric
from cyclestrain.io.sources import Key, Plain, select, span
from cyclestrain.io.units import reciprocal_step

__all__ = ["has_tiff_signature", "load_tiff"]

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 2**22
"""Largest number of pages of a file: more is a chain that leads in circles."""
LARGEST_EXPANSION = 1000
"""Largest number of bytes of patterns per stored byte; a file that promises more is no measurement."""


def has_tiff_signature(head: bytes) -> bool:
    """Whether a file that starts with `head` is a (Big)TIFF."""
    return head[:4] in SIGNATURES


@contextmanager
def _quiet_file(path: Path) -> Iterator[Any]:
    """Open `path` without the log messages of tifffile, which come on top of what is raised here."""
    import tifffile

    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class _Pages:
    """A stack of patterns, one page each, decoded when read; shape ``(n, qy, qx)``."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def _pattern(self, file: Any, index: int) -> NDArray[Any]:
        try:
            pattern: NDArray[Any] = file.series[0].pages[index].asarray()
        except IndexError as error:  # of tifffile on damaged tags: no fault of the caller's index
            raise ValueError(f"page {index} cannot be decoded ({first_line(error)})") from error
        if pattern.shape != self.shape[1:]:
            raise ValueError(f"page {index} is not a pattern of {self.shape[1]}x{self.shape[2]} pixels")
        return pattern

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        wanted, *detector = selection.slices
        out = np.empty([span(part) for part in selection.slices], self.dtype)
        with _quiet_file(self.path) as file:
            for row, index in enumerate(range(wanted.start, wanted.stop, wanted.step)):
                out[row] = self._pattern(file, index)[tuple(detector)]
        return selection.drop(out)


def _step(file: Any) -> Quantity | None:
    """Detector pixel as ImageJ stores it; the resolution that other programs store is meant for printing."""
    unit = (file.imagej_metadata or {}).get("unit")
    tag = file.pages[0].tags.get("XResolution")
    if unit is None or tag is None:
        return None
    pixels, units = tag.value
    return reciprocal_step((units / pixels if pixels else None, unit))


def load_tiff(path: Path) -> Loaded:
    """Open the first series of a TIFF file as patterns.

    Raises
    ------
    InputError
        If the file is damaged or truncated, or holds no grey-scale patterns.
    """
    try:
        with _quiet_file(path) as file:
            return _series(file, path)
    except InputError:
        raise
    except Exception as error:  # tifffile raises whatever a damaged tag leads to
        raise InputError(f"{path} is a damaged TIFF file ({first_line(error)}); copy or write it again") from error


def _series(file: Any, path: Path) -> Loaded:
    series = file.series[0]
    shape, dtype = tuple(int(size) for size in series.shape), series.dtype
    if dtype is None or not is_numeric(dtype) or "S" in series.axes:
        raise InputError(f"{path} is a colour image or holds no numbers; patterns are grey-scale counts")
    there = path.stat().st_size
    needed = math.prod(shape) * dtype.itemsize
    if len(series) > MOST_PAGES or needed > LARGEST_EXPANSION * there:
        raise InputError(
            f"{path} promises {needed} bytes of patterns in {there} bytes; it seems damaged, copy it again"
        )
    stored = np.dtype(dtype).newbyteorder(file.byteorder)
    if series.dataoffset is not None:
        if series.dataoffset + needed > there:
            raise InputError(f"{path} is truncated: it promises {needed} bytes of patterns, {there} are there")
        return Loaded(Plain(path.absolute(), series.dataoffset, stored, shape, "C"), reciprocal_step=_step(file))
    stack = (len(series), *shape[-2:])
    if math.prod(stack) != math.prod(shape):
        raise InputError(
            f"{path} holds an image of shape {shape} in {len(series)} pages, which is no stack of patterns"
        )
    scan = (shape[0], shape[1]) if len(shape) == 4 else None
    return Loaded(_Pages(path.absolute(), stack, np.dtype(dtype)), scan, reciprocal_step=_step(file))
