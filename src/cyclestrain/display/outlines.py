"""Outlines of regions along the edges of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_segments"]


def edge_segments(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixel edges between true and false as straight segments from ``(x, y)`` to ``(x, y)``, shape ``(n, 2, 2)``."""
    padded = np.pad(mask, 1)
    horizontal = _straight_runs(padded[1:, :] != padded[:-1, :])
    vertical = _straight_runs((padded[:, 1:] != padded[:, :-1]).T)[..., ::-1]
    return np.concatenate([horizontal, vertical])


def _straight_runs(edges: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Segments ``(along, across)`` of neighbouring edges: row `i` of `edges` lies before pixel row `i`, padding 1."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (level, start), (_, stop) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return np.stack([np.stack([start - 1.5, level - 0.5], -1), np.stack([stop - 1.5, level - 0.5], -1)], 1)
