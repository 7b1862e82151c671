"""A few evenly spread patterns of a scan, from which it is described and recognised."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import IntArray, Scan

__all__ = ["fingerprint", "sample_patterns", "sample_positions"]

MOST_PATTERNS = 64
"""Largest number of patterns by default."""
MOST_BYTES = 256 * 2**20
"""Largest size of all these patterns, bytes."""


def sample_positions(scan: Scan, most: int = MOST_PATTERNS) -> IntArray:
    """Flat positions, evenly spread over the scan, first and last included, shape ``(n,)``.

    Parameters
    ----------
    scan
        The scan.
    most
        Largest number of positions; large patterns give fewer.
    """
    most = max(1, min(most, MOST_BYTES // max(1, scan.pattern_bytes)))
    return np.unique(np.linspace(0, scan.n_positions - 1, min(most, scan.n_positions)).round().astype(np.int64))


def sample_patterns(scan: Scan, most: int = MOST_PATTERNS) -> NDArray[Any]:
    """Read the patterns at `sample_positions`, shape ``(n, qy, qx)``.

    Parameters
    ----------
    scan
        The scan.
    most
        Largest number of patterns; large ones give fewer.
    """
    columns = scan.scan_shape[1]
    positions = sample_positions(scan, most)
    return np.stack([np.asarray(scan.source[int(p) // columns, int(p) % columns]) for p in positions])


def fingerprint(scan: Scan) -> str:
    """SHA-256 of shape, type and at most 64 evenly spread patterns, the same wherever and however a scan is stored."""
    digest = hashlib.sha256(f"{scan.shape} {np.dtype(scan.source.dtype).name}".encode())
    columns = scan.scan_shape[1]
    for position in sample_positions(scan):
        pattern = np.asarray(scan.source[int(position) // columns, int(position) % columns])
        digest.update(np.ascontiguousarray(pattern, pattern.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
