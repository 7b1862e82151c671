"""Fields in tiles: parts of a scan, each with a halo of what it depends on, so that each can be worked on by itself.

A local function of a field gives the same bits in tiles of any size, here or on any machine, if the halo is as wide as
the function reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data.arrays import IntArray

__all__ = ["IN_TURN", "InTurn", "Spread", "Tile", "tiles_of"]

Part = TypeVar("Part")


@dataclass(frozen=True)
class Tile:
    """A part of a scan.

    Attributes
    ----------
    scan
        Shape of the scan, ``(ry, rx)``.
    rows, columns
        Rows and columns of the tile with its halo, which ends where the scan does.
    inner
        The tile without its halo: rows and columns counted from those of the halo.
    """

    scan: tuple[int, int]
    rows: slice
    columns: slice
    inner: tuple[slice, slice]

    @classmethod
    def whole(cls, scan: tuple[int, int]) -> Tile:
        """All of a scan."""
        rows, columns = (slice(0, size) for size in scan)
        return cls(scan, rows, columns, (rows, columns))

    @property
    def shape(self) -> tuple[int, int]:
        """With the halo."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def cut(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in the tile with its halo, flat, shape ``(m, ...)``, of those of the scan, shape ``(n, ...)``."""
        grid = values.reshape(*self.scan, *values.shape[1:])
        return grid[self.rows, self.columns].reshape(-1, *values.shape[1:])

    def without_halo(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in the tile, of those with its halo, both flat."""
        grid = values.reshape(*self.shape, *values.shape[1:])
        return grid[self.inner].reshape(-1, *values.shape[1:])

    def in_scan(self, at: IntArray) -> IntArray:
        """Flat indices in the scan of positions given by those in the tile with its halo."""
        y, x = np.divmod(at, self.shape[1])
        return np.asarray((y + self.rows.start) * self.scan[1] + x + self.columns.start)

    def put(self, part: NDArray[Any], values: NDArray[Any]) -> None:
        """Put the values of the tile without its halo into those of the scan, both flat."""
        grid, (rows, columns) = values.reshape(*self.scan, *values.shape[1:]), self.inner
        top, left = self.rows.start, self.columns.start
        inside = grid[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
        inside[...] = part.reshape(inside.shape)


def tiles_of(shape: tuple[int, int], side: int, halo: int) -> list[Tile]:
    """Tiles that cover a scan, row by row.

    Parameters
    ----------
    shape
        Shape of the scan, ``(ry, rx)``.
    side
        Positions along the side of a tile without its halo, at most.
    halo
        Width of the halo, positions.
    """

    def spans(size: int) -> list[tuple[slice, slice]]:
        out = []
        ends = np.linspace(0, size, -(-size // side) + 1).astype(int).tolist()
        for start, stop in pairwise(ends):
            first, last = max(0, start - halo), min(size, stop + halo)
            out.append((slice(first, last), slice(start - first, stop - first)))
        return out

    rows, columns = (spans(size) for size in shape)
    return [Tile(shape, y, x, (v, u)) for y, v in rows for x, u in columns]


class Spread(Protocol):
    """Something that does a piece of work for every part of a field."""

    @property
    def side(self) -> int:
        """Positions along the side of a tile."""

    def over(
        self, parts: Sequence[Part], work: Callable[[Any], Any], given: Callable[[Part], Any]
    ) -> Iterator[tuple[Part, Any]]:
        """Every part with what the work gives for it, in any order.

        Parameters
        ----------
        parts
            Tiles, or what else a field is made of.
        work
            A function of a module, of what a part is given alone; it can be pickled, as can what it takes and gives.
        given
            Makes what a part is given.
        """


@dataclass(frozen=True)
class InTurn:
    """Parts of a field one after the other, in this process.

    Attributes
    ----------
    side
        Positions along the side of a tile: large ones lose little to their halos, and bound the memory.
    """

    side: int = 1024

    def over(
        self, parts: Sequence[Part], work: Callable[[Any], Any], given: Callable[[Part], Any]
    ) -> Iterator[tuple[Part, Any]]:
        """See `Spread.over`; in order."""
        for part in parts:
            yield part, work(given(part))


IN_TURN = InTurn()
