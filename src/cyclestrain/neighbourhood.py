"""Positions with all their neighbours, wherever a scan was cut into blocks: results do not depend on the cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import Block, BoolArray, IntArray, Scan

__all__ = ["Correlated", "surrounded"]


@dataclass(frozen=True)
class Correlated:
    """A block with the correlation of its patterns with every template, shape ``(n, class, angle)``."""

    block: Block
    correlation: NDArray[np.float32]

    def only(self, keep: BoolArray) -> Correlated:
        """Some of its positions."""
        return Correlated(Block(self.block.positions[keep], self.block.patterns[keep]), self.correlation[keep])

    @classmethod
    def joined(cls, parts: list[Correlated]) -> Correlated:
        """All positions of some blocks, in order."""
        parts = sorted(parts, key=lambda part: int(part.block.positions[0]))
        block = Block(
            np.concatenate([part.block.positions for part in parts]),
            np.concatenate([part.block.patterns for part in parts]),
        )
        return cls(block, np.concatenate([part.correlation for part in parts]))


def surrounded(
    own: Correlated, wanted: IntArray, scan: Scan, look: Callable[[Block], Correlated], reach: int
) -> Iterator[tuple[Correlated, IntArray]]:
    """Blocks that hold some positions with all their neighbours, and which of the positions.

    Those within the block come with the block itself, those at its borders with what has to be read around it.

    Parameters
    ----------
    own
        A block as `Scan.blocks` reads it: whole rows, or a part of one.
    wanted
        Positions in it, flat and in order.
    scan
        Where to read what lies around.
    look
        Correlates what was read.
    reach
        Neighbours are in a square of ``2 reach + 1``.
    """
    n_rows, n_columns = scan.scan_shape
    at, rows = own.block.positions, wanted // n_columns
    top, bottom = int(at[0]) // n_columns, int(at[-1]) // n_columns
    whole_rows = len(at) == (bottom - top + 1) * n_columns
    inside = whole_rows & ((rows >= top + reach) | (top == 0)) & ((rows <= bottom - reach) | (bottom == n_rows - 1))
    if inside.any():
        yield own, wanted[inside]
    for row in np.unique(rows[~inside]).tolist():
        near = own.only(np.abs(at // n_columns - row) <= reach)
        around = [look(scan.part(*place)) for place in _around(scan.scan_shape, row, at, whole_rows, reach)]
        yield Correlated.joined([near, *around]), wanted[(rows == row) & ~inside]


def _around(
    shape: tuple[int, int], row: int, at: IntArray, whole_rows: bool, reach: int
) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the neighbours of the positions `at` in one `row` that are not `at` themselves."""
    n_rows, n_columns = shape
    first, last = (0, n_columns - 1) if whole_rows else (int(at[0]) % n_columns, int(at[-1]) % n_columns)
    for other in range(max(0, row - reach), min(n_rows, row + reach + 1)):
        if other != row and not at[0] <= other * n_columns + first <= at[-1]:
            yield slice(other, other + 1), slice(max(0, first - reach), last + reach + 1)
    for left, right in ((max(0, first - reach), first), (last + 1, min(n_columns, last + reach + 1))):
        if left < right:
            yield slice(row, row + 1), slice(left, right)
