"""The nouns of the package: frozen containers that every layer shares.

Arrays are ``(ry, rx, qy, qx)``: scan row, scan column, detector row, detector column.
Vectors and matrices are in ``(y, x)`` order as well, see `cyclestrain.affine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclestrain.errors import InputError

__all__ = [
    "AffineField",
    "Block",
    "BoolArray",
    "Calibration",
    "FloatArray",
    "IntArray",
    "PatternSource",
    "Quantity",
    "Scan",
]

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer[Any]]


class PatternSource(Protocol):
    """What a scan needs from its storage: NumPy, h5py, Zarr and dask arrays all provide it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value."""

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Quantity:
    """A calibrated step: ``value`` per pixel in ``unit`` (for example 0.5 ``nm``)."""

    value: float
    unit: str


@dataclass(frozen=True)
class Block:
    """Consecutive positions read in one go.

    Attributes
    ----------
    positions
        Flat (row-major) indices into the scan, shape ``(n,)``.
    patterns
        Their diffraction patterns, shape ``(n, qy, qx)``, in the type of the file.
    """

    positions: IntArray
    patterns: NDArray[Any]


@dataclass(frozen=True)
class Scan:
    """A 4D-STEM scan, read lazily.

    Attributes
    ----------
    source
        Anything that slices like an array, shape ``(ry, rx, qy, qx)``.
    name
        What to call the scan in titles and messages.
    path
        The file it came from, or ``""`` for an array in memory.
    real_step
        Distance between neighbouring probe positions, if known.
    reciprocal_step
        Size of a detector pixel in reciprocal space, if known.
    scan_rotation
        Angle of the scan axes in detector axes, radians, positive from +x (column) to +y (row).
    metadata
        Everything else the file said, plain strings and numbers.
    memory_bytes
        How much memory work on the scan may take; blocks are a small part of it.
    """

    source: PatternSource
    name: str = "scan"
    path: str = ""
    real_step: Quantity | None = None
    reciprocal_step: Quantity | None = None
    scan_rotation: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    memory_bytes: int = 2**30
    _reading: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.source.shape) != 4:
            raise InputError(
                f"a scan has four dimensions (ry, rx, qy, qx), {self.name} has {len(self.source.shape)}: "
                f"{tuple(self.source.shape)}; give the scan shape with --scan or pick another data set with --dataset"
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape ``(ry, rx, qy, qx)``."""
        ry, rx, qy, qx = self.source.shape
        return ry, rx, qy, qx

    @property
    def scan_shape(self) -> tuple[int, int]:
        """Number of probe positions ``(ry, rx)``."""
        return self.shape[:2]

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Detector size ``(qy, qx)`` in pixels."""
        return self.shape[2:]

    @property
    def n_positions(self) -> int:
        """Number of probe positions."""
        return self.shape[0] * self.shape[1]

    @property
    def pattern_bytes(self) -> int:
        """Size of one stored pattern in bytes."""
        return int(np.prod(self.detector_shape)) * self.source.dtype.itemsize

    def blocks(self, max_bytes: int | None = None, done: BoolArray | None = None) -> Iterator[Block]:
        """Read the whole scan in order, in blocks of at most `max_bytes` (but at least one pattern).

        By default that is a sixteenth of `memory_bytes`, since what is computed from a block takes several times its
        size and the next one is read meanwhile, and at most 128 MiB, beyond which reading is not faster.
        Blocks whose positions are all `done` (flat, shape ``(n,)``) are not read.
        Blocks are whole scan rows where a row fits, else parts of one row, so that every read is contiguous.
        """
        if max_bytes is None:
            max_bytes = min(128 * 2**20, self.memory_bytes // 16)
        spans = [span for span in self._spans(max_bytes) if done is None or not done[slice(*span)].all()]
        if isinstance(self.source, np.ndarray):
            return (self._read(*span) for span in spans)
        return _ahead(self._read, spans)

    def _spans(self, max_bytes: int) -> list[tuple[int, int]]:
        """First and last flat position (excluded) of the blocks."""
        n, n_columns = max(1, max_bytes // self.pattern_bytes), self.scan_shape[1]
        if n >= n_columns:
            step = n // n_columns * n_columns
            return [(first, min(first + step, self.n_positions)) for first in range(0, self.n_positions, step)]
        parts = [(first, min(first + n, n_columns)) for first in range(0, n_columns, n)]
        rows = range(0, self.n_positions, n_columns)
        return [(row + first, row + stop) for row in rows for first, stop in parts]

    def _read(self, first: int, stop: int) -> Block:
        n_columns = self.scan_shape[1]
        row, column = divmod(first, n_columns)
        whole = column == 0 and stop % n_columns == 0
        key = slice(row, stop // n_columns) if whole else (row, slice(column, column + stop - first))
        with self._reading:  # storage need not bear two readers at once
            patterns = np.asarray(self.source[key])
        return Block(np.arange(first, stop), patterns.reshape(-1, *self.detector_shape))

    def part(self, rows: slice, columns: slice) -> Block:
        """Read the positions of a rectangle, row by row."""
        positions = np.arange(self.n_positions).reshape(self.scan_shape)[rows, columns].ravel()
        with self._reading:
            patterns = np.asarray(self.source[rows, columns])
        return Block(positions, patterns.reshape(-1, *self.detector_shape))

    def row_band(self, start: int, stop: int) -> NDArray[Any]:
        """Patterns of scan rows ``start:stop``, shape ``(stop - start, rx, qy, qx)``, in the type of the file."""
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


@dataclass(frozen=True)
class Calibration:
    """What was measured of the detector and the beam before any crystal is looked for.

    Attributes
    ----------
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)`` of every position, detector pixels, shape ``(ry, rx, 2)``.
    centre_sigma
        How far the true centre may be from `centre`, pixels.
    disk_radius
        Radius of the direct beam's disk, pixels.
    ring
        Inner and outer radius of the part of the detector that is used, pixels.
    mean_pattern
        Average of the sampled patterns, shape ``(qy, qx)``, bad pixels filled.
    choices
        Every automatic choice as a sentence, for the log and the result file.
    pedestal
        Level of the file's numbers from which counts are counted.
    beam_jump
        Distance from `centre`, pixels, from which the centroid of a pattern's own direct disk is believed instead.
    """

    good: BoolArray
    centre: FloatArray
    centre_sigma: float
    disk_radius: float
    ring: tuple[float, float]
    mean_pattern: FloatArray
    choices: tuple[str, ...] = ()
    pedestal: float = 0.0
    beam_jump: float = float("inf")


@dataclass(frozen=True)
class AffineField:
    """The affine transform from its dictionary entry to every pattern of a scan.

    Attributes
    ----------
    affine
        ``A`` with ``g' = A g``, shape ``(ry, rx, 2, 2)``.
    covariance
        Of ``(A_yy, A_yx, A_xy, A_xx)``, shape ``(ry, rx, 4, 4)``.
    label
        Dictionary entry of every position, -1 for none, shape ``(ry, rx)``.
    valid
        Positions whose affine can be trusted, shape ``(ry, rx)``.
    operators
        For each entry the affine maps of its lattice onto itself that are (nearly) rotations, identity first,
        each of shape ``(order, 2, 2)``.
    shared
        Share of the covariance that neighbours have in common, so that no mean over them lowers it, shape
        ``(ry, rx)``: contrast inside the disks, which follows thickness and tilt. None for none.
    """

    affine: FloatArray
    covariance: FloatArray
    label: IntArray
    valid: BoolArray
    operators: tuple[FloatArray, ...]
    shared: FloatArray | None = None

    @property
    def operator_table(self) -> OperatorTable:
        """Operators of all entries in one array, for loops that are compiled."""
        order = np.array([len(group) for group in self.operators])
        table = np.tile(np.eye(2), (len(order), int(order.max(initial=1)), 1, 1))
        for k, group in enumerate(self.operators):
            table[k, : len(group)] = group
        return OperatorTable(table, order)


@dataclass(frozen=True)
class OperatorTable:
    """Operators of an `AffineField`, shape ``(entry, most, 2, 2)``, and how many each entry has, shape ``(entry,)``."""

    operators: FloatArray
    order: IntArray
