"""Lazy views of stored arrays: every pattern stays on disk until it is sliced.

All of them slice with integers and slices only (``source[3]``, ``source[2:4, 0]``, ``source[..., 5]``), which is what
`cyclestrain.data.Scan` needs, and return NumPy arrays.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import EllipsisType
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import PatternSource
from cyclestrain.errors import InputError, ReadError, first_line

__all__ = [
    "AxisView",
    "Concatenated",
    "DaskSource",
    "Flattened",
    "Key",
    "Plain",
    "Restacked",
    "Selection",
    "Stored",
    "restack",
    "select",
    "span",
    "view_axes",
]

REASONABLE_BYTES = 2**30
"""Size of a read, bytes, up to which lack of memory means that the file is damaged."""

Index: TypeAlias = int | slice | EllipsisType
Key: TypeAlias = Index | tuple[Index, ...]


@dataclass(frozen=True)
class Selection:
    """A key in normal form: a slice with positive step per axis, and the axes that an integer removes."""

    slices: tuple[slice, ...]
    dropped: tuple[int, ...]

    def drop(self, array: NDArray[Any]) -> NDArray[Any]:
        """`array`, read with `slices`, without the axes that the key's integers removed."""
        return np.squeeze(array, axis=self.dropped) if self.dropped else array


def select(key: Key, shape: tuple[int, ...]) -> Selection:
    """Normal form of a key.

    Parameters
    ----------
    key
        Integers, slices and at most one ellipsis.
    shape
        Shape of the array that is sliced.

    Raises
    ------
    IndexError
        If the key does not fit the shape, or a slice runs backwards.
    """
    parts: list[Any] = list(key) if isinstance(key, tuple) else [key]
    if sum(part is Ellipsis for part in parts) > 1 or sum(part is not Ellipsis for part in parts) > len(shape):
        raise IndexError(f"too many indices for an array of shape {shape}")
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    slices, dropped = [], []
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step < 1:
                raise IndexError("a lazy scan cannot be sliced backwards")
            slices.append(slice(start, max(start, stop), step))
            continue
        position = operator.index(part)
        if not -size <= position < size:
            raise IndexError(f"index {position} is outside axis {axis} of size {size}")
        slices.append(slice(position % size, position % size + 1, 1))
        dropped.append(axis)
    return Selection(tuple(slices), tuple(dropped))


def span(part: slice) -> int:
    """Number of indices in a slice in normal form."""
    return len(range(part.start, part.stop, part.step))


@dataclass(frozen=True)
class Stored:
    """Third-party storage at whose border failures become `InputError` and values native numbers.

    Attributes
    ----------
    base
        A data set of h5py or Zarr, a `Plain` file, a `DaskSource`, or a view on one of them.
    path
        File to name in messages.
    dtype
        Type the values are converted to: native byte order, at least 32-bit floats, no booleans.
    """

    base: PatternSource
    path: str
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.base.shape)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)  # what is wrong from here on is wrong with the file
        try:
            values = np.asarray(self.base[key])
            if values.size != math.prod(map(span, selection.slices)):
                raise EOFError(f"only {values.shape} values are there")
        except InputError:
            raise
        except MemoryError as error:
            if math.prod(map(span, selection.slices)) * self.dtype.itemsize > REASONABLE_BYTES:
                raise
            raise InputError(
                f"{self.path} declares more than it can hold ({first_line(error)}), it seems damaged; copy it again"
            ) from error
        except Exception as error:  # whatever HDF5, a codec or a vendor's reader raises on damaged data
            raise ReadError(
                f"{self.path}: patterns could not be read, the file seems damaged, incomplete or no longer reachable "
                f"({first_line(error)}); copy it again, with the files it belongs with"
            ) from error
        # torch warns about read-only arrays, which some readers hand out
        return np.array(values, self.dtype, copy=True if not values.flags.writeable else None)


@dataclass(frozen=True)
class Plain:
    """An array stored without structure in a file, which is opened anew for each read.

    It is read, not mapped: where the drive fails or the file was cut meanwhile, a read raises an error, while touching
    a page of a mapping ends the process.

    Attributes
    ----------
    path, offset
        The file, and the position of its first value, bytes.
    dtype, shape, order
        Type, shape and ``C`` or ``F`` order of the values.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    def __getitem__(self, key: Key) -> NDArray[Any]:
        if self.order == "F":  # the values of one pattern lie all over the file: only a mapping reads them in time
            return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")[key])
        selection = select(key, self.shape)
        slices = selection.slices
        out = np.empty([span(part) for part in slices], self.dtype)
        if out.size:
            axis = _axis_of_runs(slices, self.shape)
            part, whole = slices[axis], tuple(slice(0, size, 1) for size in self.shape[axis + 1 :])
            with self.path.open("rb", buffering=0) as stream:
                for target, index in zip(np.ndindex(out.shape[:axis]), _indices(slices[:axis]), strict=True):
                    if part.step == 1 and slices[axis + 1 :] == whole:
                        self._read(stream, (*index, part.start), out[target])
                        continue
                    run = np.empty((part.stop - part.start, *self.shape[axis + 1 :]), self.dtype)
                    self._read(stream, (*index, part.start), run)
                    out[target] = run[(slice(None, None, part.step), *slices[axis + 1 :])]
        return selection.drop(out)

    def _read(self, stream: IO[bytes], first: tuple[int, ...], run: NDArray[Any]) -> None:
        """Fill `run`, contiguous, with the values that start at the index `first` of the leading axes."""
        n_before = int(np.ravel_multi_index(first, self.shape[: len(first)])) * math.prod(self.shape[len(first) :])
        stream.seek(self.offset + n_before * self.dtype.itemsize)
        left = run.reshape(-1).view(np.uint8).data
        while left.nbytes:
            n = stream.readinto(left)  # type: ignore[attr-defined]
            if not n:
                raise EOFError(f"the file ends {left.nbytes} bytes too early")
            left = left[n:]


def _axis_of_runs(slices: tuple[slice, ...], shape: tuple[int, ...]) -> int:
    """First axis of which a range can be read in one go, with all further axes whole.

    The last axis counts as whole: leaving out what lies between the columns of a detector region takes longer than
    reading it.
    """
    pattern = max(0, len(shape) - 2)
    axis = pattern
    while axis and slices[axis] == slice(0, shape[axis], 1):
        axis -= 1
    return axis + 1 if axis < pattern and slices[axis].step > 1 else axis  # what is stepped over is not read


def _indices(slices: tuple[slice, ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(part.start, part.stop, part.step) for part in slices))


@dataclass(frozen=True)
class DaskSource:
    """A dask array computed slice by slice in the calling thread, so that it can neither hang nor over-read."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    def __getitem__(self, key: Key) -> NDArray[Any]:
        return np.asarray(self.array[key].compute(scheduler="synchronous"))


@dataclass(frozen=True)
class AxisView:
    """Axes of `base` in another order.

    Attributes
    ----------
    base
        The stored array.
    axes
        For each axis of the view its axis in `base`, or None for a new axis of size 1. Axes of `base` that are not
        named must have size 1.
    """

    base: PatternSource
    axes: tuple[int | None, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the view."""
        return tuple(1 if axis is None else int(self.base.shape[axis]) for axis in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.base.dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        base_key = [slice(0, 1)] * len(self.base.shape)
        for axis, part in zip(self.axes, selection.slices, strict=True):
            if axis is not None:
                base_key[axis] = part
        values = np.asarray(self.base[tuple(base_key)])
        named = [axis for axis in self.axes if axis is not None]
        rest = [axis for axis in range(values.ndim) if axis not in named]
        values = values.transpose(named + rest)
        sizes = tuple(span(part) for part in selection.slices)  # a new axis may have been sliced to nothing
        return selection.drop(np.ascontiguousarray(values).reshape(sizes))


def view_axes(base: PatternSource, axes: tuple[int | None, ...]) -> PatternSource:
    """View of an array with its axes in another order; a NumPy array stays a NumPy view.

    Parameters
    ----------
    base
        The array.
    axes
        For each axis of the view its axis in `base`, or None for a new one, see `AxisView`.
    """
    if axes == tuple(range(len(base.shape))):
        return base
    if isinstance(base, np.ndarray):
        named = [axis for axis in axes if axis is not None]
        rest = [axis for axis in range(base.ndim) if axis not in named]
        squeezed = base.transpose(named + rest).reshape([base.shape[axis] for axis in named])
        return np.expand_dims(squeezed, tuple(index for index, axis in enumerate(axes) if axis is None))
    return AxisView(base, axes)


@dataclass(frozen=True)
class Concatenated:
    """Stacks of patterns ``(n_i, qy, qx)`` in several data sets, read as one stack."""

    parts: tuple[PatternSource, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(n, qy, qx)``."""
        return (sum(int(part.shape[0]) for part in self.parts), *(int(size) for size in self.parts[0].shape[1:]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.parts[0].dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        wanted, rest = selection.slices[0], selection.slices[1:]
        pieces, first = [np.empty((0, *(span(part) for part in rest)), self.dtype)], 0
        for part in self.parts:
            size = int(part.shape[0])
            # first wanted position inside this part that stays in step with the previous ones
            start = max(wanted.start, wanted.start + -(-(first - wanted.start) // wanted.step) * wanted.step)
            stop = min(wanted.stop, first + size)
            if start < stop:
                pieces.append(np.asarray(part[(slice(start - first, stop - first, wanted.step), *rest)]))
            first += size
        return selection.drop(pieces[1] if len(pieces) == 2 else np.concatenate(pieces))


@dataclass(frozen=True)
class Flattened:
    """A scan ``(ry, rx, qy, qx)`` read as the stack ``(ry * rx, qy, qx)``."""

    base: PatternSource

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(n, qy, qx)``."""
        return (int(self.base.shape[0]) * int(self.base.shape[1]), *(int(size) for size in self.base.shape[2:]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.base.dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        wanted, rest = selection.slices[0], selection.slices[1:]
        columns = int(self.base.shape[1])
        first, last = wanted.start // columns, -(-wanted.stop // columns)
        band = np.asarray(self.base[(slice(first, last), slice(None), *rest)])
        flat = band.reshape(-1, *band.shape[2:])
        offset = first * columns
        return selection.drop(flat[wanted.start - offset : wanted.stop - offset : wanted.step])


@dataclass(frozen=True)
class Restacked:
    """A stack ``(n, qy, qx)`` read as the scan ``(ry, rx, qy, qx)``, row by row.

    Attributes
    ----------
    base
        The stack.
    scan_shape
        ``(ry, rx)`` with ``ry * rx == n``.
    """

    base: PatternSource
    scan_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(ry, rx, qy, qx)``."""
        return (*self.scan_shape, *(int(size) for size in self.base.shape[1:]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.base.dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        rows, columns, *detector = selection.slices
        width = self.scan_shape[1]
        if rows.step == 1 and columns == slice(0, width, 1):  # whole rows: one contiguous read
            values = np.asarray(self.base[(slice(rows.start * width, rows.stop * width), *detector)])
            values = values.reshape(-1, width, *values.shape[1:])
        else:
            bands = [
                np.asarray(self.base[(slice(first + columns.start, first + columns.stop, columns.step), *detector)])
                for first in range(rows.start * width, rows.stop * width, rows.step * width)
            ]
            sizes = [span(part) for part in selection.slices[1:]]
            values = np.stack(bands) if bands else np.empty((0, *sizes), self.dtype)
        return selection.drop(values)


def restack(base: PatternSource, scan_shape: tuple[int, int]) -> PatternSource:
    """View of a stack or a scan as a scan of another shape, row by row; a NumPy array stays a NumPy view.

    Parameters
    ----------
    base
        Stack ``(n, qy, qx)`` or scan ``(ry, rx, qy, qx)``.
    scan_shape
        Number of positions ``(ry, rx)``.

    Raises
    ------
    ValueError
        If the array does not hold that many patterns.
    """
    shape = tuple(int(size) for size in base.shape)
    if math.prod(shape[:-2]) != math.prod(scan_shape):
        raise ValueError(f"{shape} does not hold {scan_shape} patterns")
    if shape[:-2] == scan_shape:
        return base
    if isinstance(base, np.ndarray):
        return base.reshape(*scan_shape, *shape[-2:])
    return Restacked(base if len(shape) == 3 else Flattened(base), scan_shape)
