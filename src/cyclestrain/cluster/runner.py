"""`Cluster`: the blocks of one scan as tasks, sent a few ahead of the workers, gathered as they are done."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclestrain.calibration import Levelled
from cyclestrain.cluster.worker import Piece, Source, Task, complaint, do, do_piece, own_version, unpacked
from cyclestrain.data import IN_TURN, BoolArray, IntArray, Scan
from cyclestrain.errors import ClusterError, CyclestrainError, first_line
from cyclestrain.io import Contents
from cyclestrain.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Cluster"]

Key = TypeVar("Key")
Part = TypeVar("Part")

AHEAD = 3
"""Tasks that each worker has or is sent: one is worked on, one is read, one is on its way."""
BLOCKS_EACH = 6
"""Least number of blocks for each worker where a scan is small, so that none is waited for long."""
SIDE = 256
"""Positions along the side of the tiles of a field: with the halo of smoothing they hold twice as many."""
LOSSES = 3
"""How often a block is sent again whose task was lost with what it needs."""


@dataclass(frozen=True)
class Cluster:
    """Does a piece of work for every block of a scan on the workers of a cluster; a `cyclestrain.estimation.Runner`.

    Attributes
    ----------
    client
        Connection to the scheduler.
    source
        How workers open the scan.
    contents
        Receives the hashes of the patterns that workers read.
    holds
        False: patterns are not read in this process.
    """

    client: Client
    source: Source
    contents: Contents
    holds: bool = False
    _sent: dict[int, tuple[Any, Future]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def side(self) -> int:
        """Positions along the side of the tiles in which fields are worked on."""
        return SIDE

    def check(self) -> int:
        """Make sure that every worker has this version and reads the scan; returns the number of workers.

        Raises
        ------
        ClusterError
            If one cannot, with its address.
        """
        try:
            asked = "the scheduler"
            version = self.client.run_on_scheduler(own_version)
            asked = "a worker"
            found = self.client.run(complaint, self.source, __version__)
        except Exception as error:  # whatever an installation of another version, or none, leads to
            raise ClusterError(
                f"{asked} cannot run cyclestrain {__version__} ({first_line(error)}); install it there, "
                "as on all workers"
            ) from error
        if version != __version__:
            raise ClusterError(
                f"cyclestrain {version} runs on the scheduler, {__version__} here; install the same everywhere"
            )
        for problem in found.values():
            if problem:
                raise ClusterError(problem)
        return len(found)

    def run(
        self,
        work: Callable[..., Any],
        scan: Scan,
        shared: tuple[Any, ...],
        part: Callable[[IntArray], Any],
        done: BoolArray | None = None,
    ) -> Iterator[Any]:
        """What the work gives for every block, as they are done; see `cyclestrain.estimation.Runner`.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or a block cannot be done by any worker.
        InputError
            What a worker says of the scan.
        """
        pedestal = scan.source.pedestal if isinstance(scan.source, Levelled) else 0.0
        spans = scan.spans(self._block_bytes(scan), done)

        def send(span: tuple[int, int]) -> Future:
            task = Task(self.source, pedestal, span, work, part(np.arange(*span)))
            return self._submitted(do, task, shared)

        for (first, stop), (outcome, hashes) in self._done(send, spans):
            self.contents.note(np.arange(first, stop), hashes)
            yield outcome

    def over(
        self, parts: Sequence[Part], work: Callable[[Any], Any], given: Callable[[Part], Any]
    ) -> Iterator[tuple[Part, Any]]:
        """Every part of a field with what the work gives for it, as they are done; see `cyclestrain.data.Spread`.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or a part cannot be done by any worker.
        """
        if len(parts) == 1:  # of a small scan, which is done before it is sent
            yield from IN_TURN.over(parts, work, given)
            return

        def send(number: int) -> Future:
            return self._submitted(do_piece, Piece(work, given(parts[number])))

        for number, outcome in self._done(send, list(range(len(parts)))):
            yield parts[number], outcome

    def hashes(self, scan: Scan, done: BoolArray) -> NDArray[np.uint64]:
        """Hashes of the patterns as they are now, 0 in blocks that are all done, shape ``(n_positions,)``.

        Parameters
        ----------
        scan
            The scan.
        done
            Mask of flat positions that need not be read.
        """
        now = np.zeros(scan.n_positions, np.uint64)
        spans = scan.spans(self._block_bytes(scan), done)

        def send(span: tuple[int, int]) -> Future:
            return self._submitted(do, Task(self.source, 0.0, span, _look, None))

        for span, (_, hashes) in self._done(send, spans):
            now[slice(*span)] = hashes
        return now

    def _block_bytes(self, scan: Scan) -> int:
        share = scan.n_positions * scan.pattern_bytes // (BLOCKS_EACH * self._n_workers())
        return max(1, min(scan.block_bytes, share))

    def _n_workers(self) -> int:
        return max(1, len(self.client.nthreads()))

    def _done(self, send: Callable[[Key], Future], keys: list[Key]) -> Iterator[tuple[Key, Any]]:
        """Keys with the result of what is sent for each, as they are done; a few of each worker are on their way."""
        from distributed import as_completed

        waiting, losses = keys[::-1], dict.fromkeys(keys, 0)
        running: dict[Any, Key] = {}
        coming = as_completed(loop=self.client.loop, raise_errors=False)

        def send_up_to(most: int) -> None:
            while waiting and len(running) < most:
                key = waiting.pop()
                future = send(key)
                running[future.key] = key
                coming.add(future)

        try:
            send_up_to(AHEAD * self._n_workers())
            for future in coming:
                key = running.pop(future.key)
                if future.status == "cancelled":  # lost with what it needs, or with the scheduler
                    self._forget(losses[key])
                    losses[key] += 1
                    waiting.append(key)
                else:
                    yield key, self._result(future)
                future.release()
                send_up_to(AHEAD * self._n_workers())
        finally:
            if running and self.client.status == "running":
                self.client.cancel(list(running), force=True)

    def _submitted(self, function: Callable[..., Any], task: Any, shared: tuple[Any, ...] = ()) -> Future:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of size: all of it is for one task
                return self.client.submit(function, task, *map(self._shared, shared), pure=False, key=None)
        except CyclestrainError:
            raise
        except Exception as error:
            raise self._gone(error) from error

    def _shared(self, value: Any) -> Any:
        """What all blocks need, sent once: itself a task, so that it is made again where a worker dies with it."""
        if value is None:
            return None
        if id(value) not in self._sent:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of size: it is sent once
                future = self.client.submit(unpacked, pickle.dumps(value), pure=False)
            self._sent[id(value)] = (value, future)
        return self._sent[id(value)][1]

    def _forget(self, losses: int) -> None:
        """Send what is shared again, unless that did not help before or nobody is there."""
        if self.client.status != "running":
            raise self._gone(None)
        if losses >= LOSSES:
            raise ClusterError(
                "the same block was lost several times; look at the workers, then give the command again"
            )
        self._sent.clear()

    def _result(self, future: Future) -> Any:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterError(
                "a block ended several workers one after the other, most likely for lack of memory; give workers more, "
                "or a lower --memory, which makes blocks smaller"
            ) from error
        except (CyclestrainError, KeyboardInterrupt):
            raise
        except (OSError, TimeoutError) as error:
            raise self._gone(error) from error

    def _gone(self, error: BaseException | None) -> ClusterError:
        reason = f" ({first_line(error)})" if error else ""
        return ClusterError(f"the scheduler no longer answers{reason}; start it, then give the same command again")


def _look(scan: Scan, *_: Any) -> None:
    """Reading records the hashes."""
