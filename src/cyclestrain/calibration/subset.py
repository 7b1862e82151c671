"""A part of a scan held in memory, from which calibration and dictionary are learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, IntArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import ValueRange, check_patterns, check_range

__all__ = ["HELD_BYTES", "SAMPLE_BYTES", "TILE", "Sample", "draw_sample", "held", "read_sample"]

SAMPLE_BYTES = 200 * 10**6
"""Largest sample, bytes: a fifth of the least memory a run may have, since learning takes twice as much again.

It does not grow with the memory allowed: what is learned, and with it every number, would depend on that.
"""
HELD_BYTES = 600 * 2**20
"""Largest scan that is held in memory as a whole, bytes; never more than a fifth of the memory allowed."""
TILE = 8
"""Side of the square tiles of positions that samples consist of, so that neighbours can be averaged."""


@dataclass(frozen=True)
class Sample:
    """Part of a scan held in memory, from which calibration and dictionary are learned.

    Attributes
    ----------
    patterns
        Patterns, shape ``(n, qy, qx)``, in the type of the file.
    rows, columns
        Scan position of each pattern, shape ``(n,)``.
    complete
        True if these are all positions of the scan, in order.
    """

    patterns: NDArray[Any]
    rows: IntArray
    columns: IntArray
    complete: bool

    def only(self, wanted: BoolArray) -> Sample:
        """The part of it at the positions that are wanted, shape ``(ry, rx)``.

        Raises
        ------
        InputError
            If that is less than two positions.
        """
        keep = wanted[self.rows, self.columns]
        if keep.all():
            return self
        if keep.sum() < 2:
            raise InputError(f"--sample leaves {int(keep.sum())} positions to learn from; select more")
        return Sample(self.patterns[keep], self.rows[keep], self.columns[keep], False)


def draw_sample(scan: Scan, max_positions: int = 4096) -> Sample:
    """Read tiles spread evenly over the scan, or all of it where it is small enough.

    Parameters
    ----------
    scan
        The scan.
    max_positions
        Largest number of positions; large patterns give fewer.

    Raises
    ------
    InputError
        If the scan is a single position, or its values cannot be diffraction counts.
    """
    if scan.n_positions < 2:
        raise InputError(
            f"{scan.name} holds a single pattern (scan 1 x 1): strain is relative, so a map needs at least two "
            "positions; if this is a stack of patterns, give its shape with --scan"
        )
    sample, values = read_sample(scan, max_positions)
    check_range(values, scan.name)
    return sample


def held(scan: Scan, sample: Sample) -> Scan:
    """The scan, in memory as a whole where it is small: what is found is the same, but it is not read twice.

    Parameters
    ----------
    scan
        The scan.
    sample
        What was read of it: if that is all, it is held already.

    Raises
    ------
    InputError
        If it can no longer be read.
    """
    if sample.complete:
        return replace(scan, source=sample.patterns.reshape(*scan.scan_shape, *scan.detector_shape))
    size = scan.n_positions * scan.pattern_bytes
    if size > min(HELD_BYTES, scan.memory_bytes // 5):
        return scan
    return replace(scan, source=np.asarray(scan.source[:]))


def read_sample(scan: Scan, max_positions: int) -> tuple[Sample, ValueRange]:
    """Read tiles spread evenly over the scan, or all of it where it is small enough, with the range of their values.

    Parameters
    ----------
    scan
        The scan.
    max_positions
        Largest number of positions; large patterns give fewer.

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    n_columns = scan.scan_shape[1]
    n = max(2, min(max_positions, SAMPLE_BYTES // scan.pattern_bytes))
    if scan.n_positions <= n:
        patterns = np.asarray(scan.source[:]).reshape(-1, *scan.detector_shape)
        rows, columns = np.divmod(np.arange(scan.n_positions), n_columns)
        return Sample(patterns, rows, columns, True), check_patterns(patterns)
    n_rows, in_tile = scan.scan_shape[0], min(TILE, scan.scan_shape[0]) * min(TILE, n_columns)
    corners = _tile_corners(scan.scan_shape, max(1, n // in_tile))
    tiles = [np.mgrid[y : min(y + TILE, n_rows), x : min(x + TILE, n_columns)].reshape(2, -1) for y, x in corners]
    rows, columns = np.concatenate(tiles, axis=1)
    patterns = np.empty((len(rows), *scan.detector_shape), scan.source.dtype)
    parts = np.split(patterns, np.cumsum([tile.shape[1] for tile in tiles[:-1]]))
    seen = ValueRange(np.inf, -np.inf)
    for (row, column), part in zip(corners, parts, strict=True):
        part[:] = np.asarray(scan.source[row : row + TILE, column : column + TILE]).reshape(part.shape)
        seen |= check_patterns(part, row * n_columns + column)
    return Sample(patterns, rows, columns, False), seen


def _tile_corners(shape: tuple[int, int], n_tiles: int) -> list[tuple[int, int]]:
    """Corners of about `n_tiles` tiles on an even grid that do not overlap."""
    rows, columns = max(1, shape[0] // TILE), max(1, shape[1] // TILE)
    share = np.sqrt(min(1.0, n_tiles / (rows * columns)))
    n_y = max(1, min(int(rows * share), n_tiles))
    n_x = max(1, min(columns, n_tiles // n_y))
    ys = np.linspace(0, max(0, shape[0] - TILE), n_y).astype(int)
    xs = np.linspace(0, max(0, shape[1] - TILE), n_x).astype(int)
    return [(int(y), int(x)) for y in ys for x in xs]
