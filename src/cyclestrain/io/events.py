"""Patterns stored as events, the pixels that were hit, which become dense only where they are read.

What it costs to read a block grows with its events and with clearing its memory, not with what is on the disk of other
positions or pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import IntArray, PatternSource
from cyclestrain.errors import InputError
from cyclestrain.io.loaded import LARGEST_UNPACKED, is_numeric
from cyclestrain.io.sources import Key, select, span

__all__ = ["CsrRows", "EventPatterns", "Events", "Rows", "csr_patterns", "from_coordinates"]

BATCH = 256
"""Patterns whose events are looked at together."""
MOST_EVENTS = 2**26
"""Largest believable number of events of these patterns; beyond it the numbers of events are damaged."""


@dataclass(frozen=True)
class Events:
    """Events of some patterns, one pattern after the other.

    Attributes
    ----------
    lengths
        Number of events of each pattern, shape ``(n,)``.
    pixels
        Flat detector pixel (row-major) of each event, in any order within a pattern, shape ``(sum(lengths),)``. A pixel
        that is named several times gets the sum.
    values
        Counts of each event, of the same shape; None where each is one electron.
    """

    lengths: IntArray
    pixels: NDArray[Any]
    values: NDArray[Any] | None = None


class Rows(Protocol):
    """Where events are stored, position by position."""

    @property
    def n_rows(self) -> int:
        """Number of patterns."""

    @property
    def base(self) -> PatternSource:
        """What holds the events, on disk or in memory."""

    def read(self, first: int, stop: int) -> Events:
        """Events of the patterns from `first` to `stop` (excluded)."""


@dataclass(frozen=True)
class EventPatterns:
    """A stack of patterns ``(n, qy, qx)`` that are stored as events.

    Attributes
    ----------
    rows
        The events.
    dtype
        Type of the counts.
    name
        For messages.
    n_pixels
        Number of detector pixels, where that is all that is known of the detector.
    detector
        Numbers of its rows and columns, where they are known.
    """

    rows: Rows
    dtype: np.dtype[Any]
    name: str
    n_pixels: int
    detector: tuple[int, int] | None = None

    @property
    def base(self) -> PatternSource:
        """What holds the events."""
        return self.rows.base

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(n, qy, qx)``."""
        return (self.rows.n_rows, *(self.detector or (1, self.n_pixels)))

    def arranged(self, shape: Sequence[int] | None) -> EventPatterns:
        """The same with the detector that a user states.

        Parameters
        ----------
        shape
            ``(qy, qx)``, ``(n, qy, qx)`` or ``(ry, rx, qy, qx)``; None for what the file says.

        Raises
        ------
        InputError
            If the file does not say it either, or it does not fit the number of pixels.
        """
        if shape is not None and not 2 <= len(shape) <= 4:
            raise InputError(f"--shape is qy qx, n qy qx or ry rx qy qx, not {tuple(shape)}")
        detector = self.detector if shape is None else (int(shape[-2]), int(shape[-1]))
        if detector is None:
            side = math.isqrt(self.n_pixels)
            example = f"{side} {side}" if side * side == self.n_pixels else "256 512"
            raise InputError(
                f"{self.name} holds {self.rows.n_rows} patterns of {self.n_pixels} pixels and does not say how many "
                f"rows and columns these are; give both, for example --shape {example}"
            )
        if math.prod(detector) != self.n_pixels or min(detector) < 1:
            raise InputError(
                f"{self.name} has patterns of {self.n_pixels} pixels, which do not make a detector of "
                f"{detector[0]}x{detector[1]}; correct --shape"
            )
        if shape is not None and len(shape) > 2 and math.prod(shape[:-2]) != self.rows.n_rows:
            stated = "x".join(str(size) for size in shape[:-2])
            raise InputError(f"{self.name} holds {self.rows.n_rows} patterns, not {stated}; correct --shape")
        if self.n_pixels * self.dtype.itemsize > LARGEST_UNPACKED:  # a small file may declare any size
            raise InputError(
                f"{self.name} has patterns of {self.n_pixels} pixels; no detector has so many, it is damaged"
            )
        return replace(self, detector=detector)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        wanted, *window = selection.slices
        out = np.zeros([span(part) for part in selection.slices], self.dtype)
        done = 0
        for first, stop in _batches(wanted):
            events = self._window(self._checked(self.rows.read(first, stop), first), window)
            n = len(events.lengths)
            self._add(out[done : done + n].reshape(n, -1), events)
            done += n
        return selection.drop(out)

    def _checked(self, events: Events, first: int) -> Events:
        """The events, all of them on the detector and of values that the type holds."""
        pixels, values = events.pixels, events.values
        if pixels.size and (pixels.min() < 0 or pixels.max() >= self.n_pixels):
            at = int(np.argmax((pixels < 0) | (pixels >= self.n_pixels)))
            position = first + int(np.searchsorted(np.cumsum(events.lengths), at, "right"))
            raise InputError(
                f"{self.name} names pixel {int(pixels[at])} in pattern {position}, of a detector of {self.n_pixels} "
                "pixels (counted from 0); correct the shape of the detector, or copy the file again if it is damaged"
            )
        if values is not None and self.dtype.kind != "f" and values.size:
            self._check_range(int(values.min()), int(values.max()))
        return events

    def _check_range(self, lowest: int, highest: int) -> None:
        limits = np.iinfo(self.dtype)
        if lowest < limits.min or highest > limits.max:
            raise InputError(
                f"{self.name} holds {highest if highest > limits.max else lowest} counts in one pixel, more than "
                f"{self.dtype} holds; sum events of the same pixel and store the counts in a wider type"
            )

    def _window(self, events: Events, window: Sequence[slice]) -> Events:
        """The events within a part of the detector, their pixels numbered in that part."""
        (n_y, n_x), (rows, columns) = self.shape[1:], window
        if (rows, columns) == (slice(0, n_y, 1), slice(0, n_x, 1)):
            return events
        y, x = np.divmod(events.pixels.astype(np.int64), n_x)
        inside = (y >= rows.start) & (y < rows.stop) & ((y - rows.start) % rows.step == 0)
        inside &= (x >= columns.start) & (x < columns.stop) & ((x - columns.start) % columns.step == 0)
        pixels = (y[inside] - rows.start) // rows.step * span(columns) + (x[inside] - columns.start) // columns.step
        before = np.concatenate([[0], np.cumsum(inside)])[np.concatenate([[0], np.cumsum(events.lengths)])]
        return Events(np.diff(before), pixels, None if events.values is None else events.values[inside])

    def _add(self, patterns: NDArray[Any], events: Events) -> None:
        """Add events to empty patterns, shape ``(n, pixels)``, contiguous."""
        if not events.pixels.size:
            return
        n, size = patterns.shape
        places = np.repeat(np.arange(n) * size, events.lengths) + events.pixels.astype(np.int64, copy=False)
        values = np.ones(1, self.dtype) if events.values is None else events.values.astype(self.dtype)
        if (np.diff(places) > 0).all():  # no pixel twice
            patterns.reshape(-1)[places] = values
            return
        if self.dtype.kind != "f":
            self._check_sums(events, places, values)
        np.add.at(patterns.reshape(-1), places, values)

    def _check_sums(self, events: Events, places: IntArray, values: NDArray[Any]) -> None:
        """Make sure that the type holds the sum of all events of a pixel."""
        largest = max(abs(int(values.min())), abs(int(values.max())))
        if int(events.lengths.max()) * largest <= np.iinfo(self.dtype).max:
            return
        _, which = np.unique(places, return_inverse=True)
        sums = np.bincount(which, None if events.values is None else values.astype(np.float64))
        self._check_range(int(sums.min()), int(sums.max()))


def _batches(wanted: slice) -> Iterator[tuple[int, int]]:
    """First and last pattern (excluded) of what is read in one go."""
    if wanted.step > 1:
        yield from ((position, position + 1) for position in range(wanted.start, wanted.stop, wanted.step))
        return
    for first in range(wanted.start, wanted.stop, BATCH):
        yield first, min(first + BATCH, wanted.stop)


@dataclass(frozen=True)
class CsrRows:
    """Events of a matrix of compressed sparse rows: one row per position, one column per detector pixel.

    Attributes
    ----------
    starts
        First event of each row, and the number of all events, shape ``(n_rows + 1,)``.
    base
        Column of each event, read in parts.
    values
        Value of each event, likewise.
    """

    starts: IntArray
    base: PatternSource
    values: PatternSource

    @property
    def n_rows(self) -> int:
        """Number of patterns."""
        return len(self.starts) - 1

    def read(self, first: int, stop: int) -> Events:
        """Events of the patterns from `first` to `stop` (excluded)."""
        part = slice(int(self.starts[first]), int(self.starts[stop]))
        return Events(
            np.diff(self.starts[first : stop + 1]), np.asarray(self.base[part]), np.asarray(self.values[part])
        )


def csr_patterns(
    starts: NDArray[Any], columns: PatternSource, values: PatternSource, n_pixels: int, name: str
) -> EventPatterns:
    """Patterns in a matrix of compressed sparse rows, checked as far as that takes no look at the single events.

    Parameters
    ----------
    starts, columns, values
        As in `CsrRows`; ``indptr``, ``indices`` and ``data`` of SciPy.
    n_pixels
        Number of columns of the matrix.
    name
        For messages.

    Returns
    -------
    patterns
        Whole numbers of more than 16 bits are handed out in 16 bits where all of them fit, which is what detectors
        count and what the fit is fastest with.

    Raises
    ------
    InputError
        If the three do not belong together or are no numbers.
    """
    (n_columns,), (n_values,) = columns.shape, values.shape
    types = np.dtype(starts.dtype), np.dtype(columns.dtype), np.dtype(values.dtype)
    if types[0].kind not in "iu" or types[1].kind not in "iu" or not is_numeric(types[2]):
        raise InputError(
            f"{name} holds values of {types[2]} at columns of {types[1]} in rows of {types[0]}; a sparse scan has real "
            "numbers at whole ones"
        )
    if n_columns != n_values:
        raise InputError(f"{name} names {n_columns} pixels and {n_values} values, one is missing; copy it again")
    if len(starts) < 2:
        raise InputError(f"{name} is empty: it has no rows; check how it was written")
    rows = starts.astype(np.int64)
    lengths = np.diff(rows)
    if rows[0] != 0 or lengths.min() < 0 or rows[-1] != n_columns:
        raise InputError(
            f"{name} is damaged or incomplete: its rows of events should run from 0 to {n_columns} without going back, "
            f"they run from {rows[0]} to {rows[-1]}{' and go back' if lengths.min() < 0 else ''}; copy it again"
        )
    if lengths.max() > MOST_EVENTS:
        raise InputError(f"{name} has a pattern of {lengths.max()} events, which no detector records; it seems damaged")
    return EventPatterns(CsrRows(rows, columns, values), _type_of(values), name, n_pixels)


def _type_of(values: PatternSource) -> np.dtype[Any]:
    """Type in which the values are handed out."""
    stored = np.dtype(values.dtype)
    if stored.kind not in "iu" or stored.itemsize <= 2:
        return np.dtype(np.uint8) if stored.kind == "b" else stored.newbyteorder("=")
    part = 2**22
    for first in range(0, values.shape[0], part):
        some = np.asarray(values[first : first + part])
        if some.min() < 0 or some.max() > np.iinfo(np.uint16).max:
            return stored.newbyteorder("=")
    return np.dtype(np.uint16)


def from_coordinates(
    coordinates: Sequence[NDArray[Any]], values: NDArray[Any], shape: Sequence[int], name: str
) -> EventPatterns:
    """Patterns of an array of which coordinates and values are listed.

    Parameters
    ----------
    coordinates
        Index of each value along each axis, in any order.
    values
        The values.
    shape
        Shape of the array: ``(ry, rx, qy, qx)``, ``(n, qy, qx)`` or ``(n, pixels)``.
    name
        For messages.

    Raises
    ------
    InputError
        If the array has another number of dimensions.
    """
    if len(shape) not in (2, 3, 4):
        raise InputError(f"{name} has {len(shape)} dimensions {tuple(shape)}, a scan has four (ry, rx, qy, qx)")
    n_scan = max(1, len(shape) - 2)
    n_pixels, n_rows = math.prod(shape[n_scan:]), math.prod(shape[:n_scan])
    flat = np.ravel_multi_index(tuple(coordinates), tuple(shape))
    order = np.argsort(flat, kind="stable") if (np.diff(flat) < 0).any() else slice(None)
    rows, columns = np.divmod(flat[order], n_pixels)
    starts = np.searchsorted(rows, np.arange(n_rows + 1))
    patterns = csr_patterns(
        starts, columns.astype(np.int32 if n_pixels < 2**31 else np.int64), values[order], n_pixels, name
    )
    return patterns if len(shape) == 2 else replace(patterns, detector=(int(shape[-2]), int(shape[-1])))
