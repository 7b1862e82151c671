"""A 4D-STEM scan, read lazily in blocks of patterns.

Arrays are ``(ry, rx, qy, qx)``: scan row, scan column, detector row, detector column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from cyclestrain.data.arrays import BoolArray, IntArray
from cyclestrain.data.cards import as_html, as_text
from cyclestrain.errors import InputError

__all__ = ["Block", "PatternSource", "Quantity", "Scan"]


class PatternSource(Protocol):
    """What a scan needs of its storage; NumPy, h5py, Zarr and dask arrays all provide it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value."""

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Quantity:
    """A calibrated step: ``value`` per pixel in ``unit`` (for example 0.5 ``nm``), its `sigma` if known."""

    value: float
    unit: str
    sigma: float | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Block:
    """Patterns of some positions, read in one go.

    Attributes
    ----------
    positions
        Flat (row-major) indices into the scan, ascending, shape ``(n,)``.
    patterns
        Diffraction patterns, shape ``(n, qy, qx)``, in the type of the file, contiguous.
    """

    positions: IntArray
    patterns: NDArray[Any]

    @classmethod
    def joined(cls, parts: Sequence[Block]) -> Block:
        """Block of all positions of some blocks (at least one), in ascending order."""
        positions = np.concatenate([part.positions for part in parts])
        order = np.argsort(positions)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        joined = np.empty((len(positions), *parts[0].patterns.shape[1:]), parts[0].patterns.dtype)
        ends = np.cumsum([len(part.positions) for part in parts])
        for part, where in zip(parts, np.split(place, ends[:-1]), strict=True):
            joined[where] = part.patterns  # copied once
        return cls(positions[order], joined)

    def only(self, which: BoolArray) -> Block:
        """Some of the positions, chosen by a mask of shape ``(n,)``."""
        return Block(self.positions[which], self.patterns[which])

    def near(self, wanted: IntArray, reach: int, n_columns: int) -> BoolArray:
        """Mask of the positions within `reach` rows and columns of some of them.

        Parameters
        ----------
        wanted
            Flat positions in the block.
        reach
            Half width of the square of neighbours.
        n_columns
            Columns of the scan.
        """
        first = self.positions[0] // n_columns
        rows, columns = self.positions // n_columns - first, self.positions % n_columns
        there = np.zeros((rows[-1] + 1, n_columns), bool)
        there[wanted // n_columns - first, wanted % n_columns] = True
        return np.asarray(maximum_filter(there, 2 * reach + 1, mode="constant")[rows, columns])


@dataclass(frozen=True, repr=False)
class Scan:
    """A 4D-STEM scan, read lazily.

    Attributes
    ----------
    source
        Any array-like that slices, shape ``(ry, rx, qy, qx)``.
    name
        Name of the scan in titles and messages.
    path
        The file it came from, or ``""`` for an array in memory.
    real_step
        Distance between neighbouring probe positions, if known.
    reciprocal_step
        Size of a detector pixel in reciprocal space, if known; of rectangular ones the geometric mean of both sides.
    scan_rotation
        Angle of the scan axes in detector axes, radians, positive from +x (column) to +y (row).
    metadata
        Further metadata of the file, plain strings and numbers.
    memory_bytes
        Memory that work on the scan may take; blocks are a small part of it.
    pixel_ratio
        Height of a detector pixel over its width.
    origin
        Row and column of the first position in the scan that this one was cut from.

    Raises
    ------
    InputError
        If the source does not have four dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from cyclestrain.data import Quantity, Scan
    >>> scan = Scan(np.zeros((4, 6, 32, 32), np.uint16), name="demo", real_step=Quantity(2.0, "nm"))
    >>> scan.scan_shape, scan.detector_shape, scan.n_positions
    ((4, 6), (32, 32), 24)
    >>> [block.patterns.shape for block in scan.blocks(max_bytes=2 * 6 * scan.pattern_bytes)]
    [(12, 32, 32), (12, 32, 32)]
    """

    source: PatternSource
    name: str = "scan"
    path: str = ""
    real_step: Quantity | None = None
    reciprocal_step: Quantity | None = None
    scan_rotation: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int = 2**30
    pixel_ratio: float = 1.0
    origin: tuple[int, int] = (0, 0)
    _reading: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.source.shape) != 4:
            raise InputError(
                f"a scan has four dimensions (ry, rx, qy, qx), {self.name} has {len(self.source.shape)}: "
                f"{tuple(self.source.shape)}; give the scan shape with --scan or pick another data set with --dataset"
            )

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: all but the lock, of which that has its own."""
        return {name: value for name, value in vars(self).items() if name != "_reading"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _reading=Lock())

    @property
    def _rows(self) -> list[tuple[str, str]]:
        """What is worth knowing at a glance, without reading a pattern."""
        (ry, rx), (qy, qx) = self.scan_shape, self.detector_shape
        step, pixel = self.real_step, self.reciprocal_step
        apart = f", {step.value:g} {step.unit} apart" if step else ""
        rows = [
            ("scan", f"{ry} x {rx} positions (rows x columns){apart}"),
            ("detector", f"{qy} x {qx} pixels" + (f" of {pixel.value:g} {pixel.unit}" if pixel else "")),
            ("values", f"{np.dtype(self.source.dtype)}, {self.n_positions * self.pattern_bytes / 1e6:,.4g} MB"),
        ]
        return rows + ([("file", self.path)] if self.path else [])

    def __repr__(self) -> str:
        return as_text(f"Scan {self.name!r}", self._rows)

    def _repr_html_(self) -> str:
        return as_html(f"Scan {self.name}", self._rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape ``(ry, rx, qy, qx)``."""
        ry, rx, qy, qx = self.source.shape
        return ry, rx, qy, qx

    @property
    def scan_shape(self) -> tuple[int, int]:
        """Numbers of probe positions along each axis, ``(ry, rx)``."""
        return self.shape[:2]

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Detector size ``(qy, qx)`` in pixels."""
        return self.shape[2:]

    @property
    def n_positions(self) -> int:
        """Total number of probe positions."""
        return self.shape[0] * self.shape[1]

    @property
    def pattern_bytes(self) -> int:
        """Size of one stored pattern in bytes."""
        return int(np.prod(self.detector_shape)) * self.source.dtype.itemsize

    @property
    def block_bytes(self) -> int:
        """Size of a block, bytes.

        A sixteenth of `memory_bytes`, since what is computed from a block takes several times its size, and at most 64
        MiB: reading is not faster beyond, and the system takes longer to find memory for larger arrays.
        """
        return min(64 * 2**20, self.memory_bytes // 16)

    def blocks(self, max_bytes: int | None = None, done: BoolArray | None = None) -> Iterator[Block]:
        """Read the whole scan in order, in blocks of positions.

        Blocks are whole scan rows where a row fits, else parts of one row, so that every read is contiguous. Unless the
        source is a NumPy array, the next block is read while one is worked on.

        Parameters
        ----------
        max_bytes
            Largest size of a block, but at least one pattern; by default `block_bytes`.
        done
            Mask of flat positions, shape ``(n,)``; blocks whose positions are all done are not read.
        """
        spans = self.spans(self.block_bytes if max_bytes is None else max_bytes, done)
        if isinstance(self.source, np.ndarray):
            return (self.block(*span) for span in spans)
        return _ahead(self.block, spans)

    def spans(self, max_bytes: int, done: BoolArray | None = None) -> list[tuple[int, int]]:
        """First and last flat position (excluded) of the blocks without rows that are done, see `blocks`."""
        if done is None:
            return self._spans(max_bytes)
        wanted = [span for span in self._spans(max_bytes) if not done[slice(*span)].all()]
        return [self._cut(first + np.flatnonzero(~done[first:stop])) for first, stop in wanted]

    def _cut(self, wanted: IntArray) -> tuple[int, int]:
        """The rows of a span that hold the positions wanted, or the part of one row where it holds all of them."""
        n_columns, (start, last) = self.scan_shape[1], (int(wanted[0]), int(wanted[-1]))
        if start // n_columns == last // n_columns:
            return start, last + 1
        return start - start % n_columns, last - last % n_columns + n_columns

    def _spans(self, max_bytes: int) -> list[tuple[int, int]]:
        """First and last flat position (excluded) of the blocks."""
        n, n_columns = max(1, max_bytes // self.pattern_bytes), self.scan_shape[1]
        if n >= n_columns:
            step = n // n_columns * n_columns
            return [(first, min(first + step, self.n_positions)) for first in range(0, self.n_positions, step)]
        parts = [(first, min(first + n, n_columns)) for first in range(0, n_columns, n)]
        rows = range(0, self.n_positions, n_columns)
        return [(row + first, row + stop) for row in rows for first, stop in parts]

    def block(self, first: int, stop: int) -> Block:
        """Read a block.

        Parameters
        ----------
        first, stop
            One of the `spans`.
        """
        n_columns = self.scan_shape[1]
        row, column = divmod(first, n_columns)
        whole = column == 0 and stop % n_columns == 0
        key = slice(row, stop // n_columns) if whole else (row, slice(column, column + stop - first))
        with self._reading:  # storage need not bear two readers at once
            patterns = np.asarray(self.source[key])
        return Block(np.arange(first, stop), np.ascontiguousarray(patterns.reshape(-1, *self.detector_shape)))

    def part(self, rows: slice, columns: slice) -> Block:
        """Read the positions of a rectangle, row by row.

        Parameters
        ----------
        rows, columns
            Ranges of scan rows and columns.
        """
        positions = np.arange(self.n_positions).reshape(self.scan_shape)[rows, columns].ravel()
        with self._reading:
            patterns = np.asarray(self.source[rows, columns])
        return Block(positions, np.ascontiguousarray(patterns.reshape(-1, *self.detector_shape)))

    def around(self, block: Block, wanted: IntArray, reach: int) -> Block | None:
        """Read the positions outside a block, within `reach` rows and columns of it, that some of its positions need.

        Parameters
        ----------
        block
            Block as `blocks` gives it: whole rows, or a part of one.
        wanted
            Flat positions in the block whose neighbours are needed.
        reach
            Half width of the square of neighbours.

        Returns
        -------
        halo
            The positions around, ascending; None where all neighbours are in the block or outside the scan.
        """
        n_rows, n_columns = self.scan_shape
        (top, left), (bottom, right) = (divmod(int(block.positions[at]), n_columns) for at in (0, -1))
        rows, columns = wanted // n_columns, wanted % n_columns
        first, last = max(0, int(columns.min()) - reach), min(n_columns, int(columns.max()) + 1 + reach)
        above, below = max(0, top - reach), min(n_rows, bottom + 1 + reach)
        places = [
            (slice(above, top if (rows < top + reach).any() else above), slice(first, last)),
            (slice(top, bottom + 1), slice(first, min(left, last))),
            (slice(top, bottom + 1), slice(max(right + 1, first), last)),
            (slice(bottom + 1, below if (rows > bottom - reach).any() else bottom + 1), slice(first, last)),
        ]
        parts = [self.part(*place) for place in places if all(side.start < side.stop for side in place)]
        return Block.joined(parts) if parts else None

    def row_band(self, start: int, stop: int) -> NDArray[Any]:
        """Patterns of whole scan rows, shape ``(stop - start, rx, qy, qx)``, in the type of the file.

        Parameters
        ----------
        start, stop
            First scan row, and the one after the last.
        """
        return np.asarray(self.source[start:stop])


def _ahead(read: Callable[[int, int], Block], spans: Sequence[tuple[int, int]]) -> Iterator[Block]:
    """Read blocks one after the other, each while the one before is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Block] | None = None
        for span in spans:
            coming = pool.submit(read, *span)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
