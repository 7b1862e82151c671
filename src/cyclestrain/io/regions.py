"""Parts of a scan: regions of positions and of the detector, and binned pixels, cut and summed at each read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import PatternSource, Quantity, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import loaded
from cyclestrain.io.sources import Key, select, span

__all__ = ["Binned", "Cropped", "Parts", "Reoriented", "crop", "is_region", "parse_region"]

_REGION = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*,\s*(\d*)\s*:\s*(\d*)\s*")


def is_region(text: str) -> bool:
    """Whether a text has the form of a region, ``y0:y1,x0:x1``."""
    return _REGION.fullmatch(text) is not None


def parse_region(text: str, shape: tuple[int, int], option: str) -> tuple[slice, slice]:
    """Rows and columns of a region ``y0:y1,x0:x1``, upper ends excluded.

    Parameters
    ----------
    text
        The region; a missing number is the border.
    shape
        Numbers of rows and columns that the region has to lie inside.
    option
        Name of the option, for messages.

    Raises
    ------
    InputError
        If the text is no region, or the region is empty or reaches beyond the shape.

    Examples
    --------
    >>> parse_region("2:5,:7", (8, 9), "--scan-roi")
    (slice(2, 5, 1), slice(0, 7, 1))
    """
    match = _REGION.fullmatch(text)
    if match is None:
        raise InputError(f"{option} is a region y0:y1,x0:x1 (rows, columns; upper ends excluded), not {text!r}")
    # a number of many digits is no region, and converting it could take long
    numbers = [int(part[:9]) if part else None for part in match.groups()]
    slices = []
    for start, stop, size in zip(numbers[::2], numbers[1::2], shape, strict=True):
        begin, end = start or 0, size if stop is None else stop
        if not begin < end <= size:
            raise InputError(f"{option} {text} does not lie inside {shape[0]} rows and {shape[1]} columns; correct it")
        slices.append(slice(begin, end, 1))
    return slices[0], slices[1]


@dataclass(frozen=True)
class Cropped:
    """A rectangular part of an array.

    Attributes
    ----------
    base
        The array.
    window
        One slice of step 1 per axis.
    """

    base: PatternSource
    window: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part."""
        return tuple(span(part) for part in self.window)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.base.dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        moved = tuple(
            slice(part.start + window.start, part.stop + window.start, part.step)
            for part, window in zip(selection.slices, self.window, strict=True)
        )
        return selection.drop(np.asarray(self.base[moved]))


def crop(base: PatternSource, window: tuple[slice, ...]) -> PatternSource:
    """Part of an array; a NumPy array stays a NumPy view.

    Parameters
    ----------
    base
        The array.
    window
        One slice of step 1 per axis.
    """
    if tuple(span(part) for part in window) == tuple(base.shape):
        return base
    return base[window] if isinstance(base, np.ndarray) else Cropped(base, window)


@dataclass(frozen=True)
class Binned:
    """Patterns with `factor` x `factor` detector pixels summed into one; incomplete ones at the far edge are left out.

    Sums of whole numbers are whole numbers of a type that holds them, so that counts stay counts.
    """

    base: PatternSource
    factor: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(ry, rx, qy // factor, qx // factor)``."""
        ry, rx, qy, qx = (int(size) for size in self.base.shape)
        return ry, rx, qy // self.factor, qx // self.factor

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the sums: wide enough for whole numbers to stay exact."""
        own = np.dtype(self.base.dtype)
        if own.kind == "f":
            return np.dtype(np.float64 if own.itemsize > 4 else np.float32)
        small = own.itemsize < 4
        return np.dtype((np.int32 if small else np.int64) if own.kind == "i" else (np.uint32 if small else np.uint64))

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection, f = select(key, self.shape), self.factor
        *scan, rows, columns = selection.slices
        wide = tuple(slice(part.start * f, part.stop * f, 1) for part in (rows, columns))
        values = np.asarray(self.base[(*scan, *wide)])
        total = values[..., ::f, ::f].astype(self.dtype)
        for offset in range(1, f * f):  # strided additions: several times faster than a sum over short axes
            np.add(total, values[..., offset // f :: f, offset % f :: f], out=total, casting="unsafe")
        return selection.drop(total[..., :: rows.step, :: columns.step])


@dataclass(frozen=True)
class Reoriented:
    """Patterns whose detector rows and columns are exchanged, and then reversed.

    Attributes
    ----------
    base
        The scan, shape ``(ry, rx, qy, qx)``.
    flip
        Axes of the outcome that run backwards: ``y``, ``x``, ``yx`` or none of them.
    transpose
        Whether rows become columns.
    """

    base: PatternSource
    flip: str = ""
    transpose: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(ry, rx, qy, qx)``."""
        ry, rx, qy, qx = (int(size) for size in self.base.shape)
        return (ry, rx, qx, qy) if self.transpose else (ry, rx, qy, qx)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.base.dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        *scan, rows, columns = selection.slices
        values = np.asarray(self.base[(*scan, slice(None), slice(None))])
        if self.transpose:
            values = values.swapaxes(-1, -2)
        for name, axis in (("y", -2), ("x", -1)):
            if name in self.flip:
                values = np.flip(values, axis)
        return selection.drop(np.ascontiguousarray(values[..., rows, columns]))


@dataclass(frozen=True)
class Parts:
    """The part of a recording that is the scan.

    Attributes
    ----------
    flyback
        Positions at the end of each scan row that were recorded while the beam flew back.
    scan_roi, detector_roi
        Regions ``y0:y1,x0:x1`` of positions (flyback left out) and of detector pixels.
    bin
        Detector pixels of the region that are summed into one, along each axis.
    flip, transpose
        How the detector is turned after that, see `Reoriented`.

    Raises
    ------
    InputError
        If `flyback` is negative or `bin` is less than 1.
    """

    flyback: int = 0
    scan_roi: str | None = None
    detector_roi: str | None = None
    bin: int = 1
    flip: Literal["y", "x", "yx"] | None = None
    transpose: bool = False

    def __post_init__(self) -> None:
        if self.flyback < 0:
            raise InputError(f"--flyback counts positions at the end of each row, it cannot be {self.flyback}")
        if self.bin < 1:
            raise InputError(f"--bin is a number of pixels, at least 1, not {self.bin}")

    def of(self, scan: Scan) -> Scan:
        """The scan cut, binned and turned lazily; its detector step grows with the bins.

        Raises
        ------
        InputError
            If a region does not lie inside the scan, or nothing or too small a detector is left.
        """
        n_rows, n_columns = scan.scan_shape
        if self.flyback >= n_columns:
            raise InputError(f"--flyback {self.flyback} leaves nothing of scan rows of {n_columns} positions")
        shape = (n_rows, n_columns - self.flyback)
        rows, columns = parse_region(self.scan_roi or ":,:", shape, "--scan-roi")
        detector = parse_region(self.detector_roi or ":,:", scan.detector_shape, "--detector-roi")
        source = crop(scan.source, (rows, columns, *detector))
        step = scan.reciprocal_step
        if self.bin > 1:
            source = Binned(source, self.bin)
            if step is not None:
                sigma = None if step.sigma is None else step.sigma * self.bin
                step = Quantity(step.value * self.bin, step.unit, sigma)
        if min(source.shape[2:]) < loaded.SMALLEST_DETECTOR:
            raise InputError(
                f"{scan.name} has {source.shape[2]}x{source.shape[3]} pixels left after --detector-roi and --bin, "
                f"at least {loaded.SMALLEST_DETECTOR}x{loaded.SMALLEST_DETECTOR} are needed"
            )
        said = {
            name: value for name, value in vars(self).items() if value not in (None, 0) and (name, value) != ("bin", 1)
        }
        ratio = 1.0 / scan.pixel_ratio if self.transpose else scan.pixel_ratio
        if self.flip or self.transpose:
            source = Reoriented(source, self.flip or "", self.transpose)
        origin = (scan.origin[0] + rows.start, scan.origin[1] + columns.start)
        return replace(
            scan, source=source, reciprocal_step=step, pixel_ratio=ratio, origin=origin,
            metadata={**scan.metadata, **said},
        )  # fmt: skip
