"""Where blocks are worked on: in this process, a few at a time, or wherever something like `Here` sends them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from cyclestrain.data import Block, BoolArray, IntArray, InTurn, Scan, Spread
from cyclestrain.machine import take_threads, thread_count

__all__ = ["HERE", "Here", "Part", "Runner", "Work"]

Work: TypeAlias = Callable[[Scan, Block, tuple[Any, ...], Any], Any]
"""What is done to a block: a pure function of the scan (to read what lies around it), the block, what all blocks share,
and what belongs to this one. It can be pickled, as a function of a module is, and so can all that it is given."""
Part: TypeAlias = Callable[[IntArray], Any]
"""What belongs to a block, made of its flat positions."""
AT_ONCE = 4
"""Most blocks that are worked on at a time. Each takes its own memory; while one is in Python, the others compute."""


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
    """Blocks of a scan, a few at a time beside the reading of the next one, and parts of a field, one after the other.

    Blocks share the threads, so that with as many blocks as threads each is worked on by one: loops that are cut into
    pieces for all threads leave these idle between one loop and the next.
    """

    holds: bool = True

    def run(
        self, work: Work, scan: Scan, shared: tuple[Any, ...], part: Part, done: BoolArray | None = None
    ) -> Iterator[Any]:
        """See `Runner.run`; in order."""
        at_once = min(AT_ONCE, thread_count())
        threads = -(-thread_count() // at_once)

        def one(block: Block, given: Any) -> Any:
            take_threads(threads)
            return work(scan, block, shared, given)

        under_way: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(at_once) as pool:
            for block in scan.blocks(done=done):
                if len(under_way) == at_once:
                    yield under_way.popleft().result()
                under_way.append(pool.submit(copy_context().run, one, block, part(block.positions)))
            while under_way:
                yield under_way.popleft().result()


HERE = Here()
