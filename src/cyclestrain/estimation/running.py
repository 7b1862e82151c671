"""Where blocks are worked on: in this process, one after the other, or wherever something like `Here` sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from cyclestrain.data import Block, BoolArray, IntArray, InTurn, Scan, Spread

__all__ = ["HERE", "Here", "Part", "Runner", "Work"]

Work: TypeAlias = Callable[[Scan, Block, tuple[Any, ...], Any], Any]
"""What is done to a block: a pure function of the scan (to read what lies around it), the block, what all blocks share,
and what belongs to this one. It can be pickled, as a function of a module is, and so can all that it is given."""
Part: TypeAlias = Callable[[IntArray], Any]
"""What belongs to a block, made of its flat positions."""


class Runner(Spread, Protocol):
    """Something that does a piece of work for every block of a scan, or for every part of a field."""

    @property
    def holds(self) -> bool:
        """Whether patterns are read in this process, so that a small scan is best held in memory."""

    def run(
        self, work: Work, scan: Scan, shared: tuple[Any, ...], part: Part, done: BoolArray | None = None
    ) -> Iterator[Any]:
        """What the work gives for every block, in any order.

        Parameters
        ----------
        work
            What is done to a block.
        scan
            The scan, in blocks of any size.
        shared
            What all blocks need.
        part
            Makes what one block needs besides.
        done
            Mask of flat positions, shape ``(n,)``; blocks whose positions are all done are left out.
        """


@dataclass(frozen=True)
class Here(InTurn):
    """Blocks of a scan, the next one read while one is worked on, and parts of a field: one after the other, here."""

    holds: bool = True

    def run(
        self, work: Work, scan: Scan, shared: tuple[Any, ...], part: Part, done: BoolArray | None = None
    ) -> Iterator[Any]:
        """See `Runner.run`; in order."""
        for block in scan.blocks(done=done):
            yield work(scan, block, shared, part(block.positions))


HERE = Here()
