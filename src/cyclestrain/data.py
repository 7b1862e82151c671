"""The nouns of the package: frozen containers that every layer shares.

Arrays are ``(ry, rx, qy, qx)``: scan row, scan column, detector row, detector column.
Vectors and matrices are in ``(y, x)`` order as well, see `cyclestrain.affine`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
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

    def blocks(self, max_bytes: int | None = None, done: Container[int] = ()) -> Iterator[Block]:
        """Read the whole scan in order, in blocks of at most `max_bytes` (but at least one pattern).

        By default that is an eighth of `memory_bytes`, since what is computed from a block takes several times its
        size, and at most 128 MiB, beyond which reading is not faster.
        Blocks whose first position is in `done` are not read.
        Blocks are whole scan rows where a row fits, else parts of one row, so that every read is contiguous.
        """
        n_rows, n_columns = self.scan_shape
        if max_bytes is None:
            max_bytes = min(128 * 2**20, self.memory_bytes // 8)
        n = max(1, max_bytes // self.pattern_bytes)
        if n >= n_columns:
            step = n // n_columns
            for start in range(0, n_rows, step):
                stop = min(start + step, n_rows)
                if start * n_columns in done:
                    continue
                patterns = np.asarray(self.source[start:stop])
                yield Block(np.arange(start * n_columns, stop * n_columns), patterns.reshape(-1, *self.detector_shape))
        else:
            for row in range(n_rows):
                for start in range(0, n_columns, n):
                    stop = min(start + n, n_columns)
                    if row * n_columns + start in done:
                        continue
                    patterns = np.asarray(self.source[row, start:stop])
                    yield Block(row * n_columns + np.arange(start, stop), patterns)

    def row_band(self, start: int, stop: int) -> NDArray[Any]:
        """Patterns of scan rows ``start:stop``, shape ``(stop - start, rx, qy, qx)``, in the type of the file."""
        return np.asarray(self.source[start:stop])


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
    """

    affine: FloatArray
    covariance: FloatArray
    label: IntArray
    valid: BoolArray
    operators: tuple[FloatArray, ...]

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
