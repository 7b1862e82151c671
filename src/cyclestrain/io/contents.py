"""What the patterns of a scan were when they were read, so that a scan that changes is never mixed with itself.

Every pattern is hashed as it is read (xxh3, about a tenth of the time that reading takes). A pattern that is read again
and differs ends the run; a run that was interrupted goes on only where the patterns behind its state are still the
same, all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from cyclestrain.data import IntArray, PatternSource, Scan
from cyclestrain.errors import InputError
from cyclestrain.io.sources import Key, select, span

__all__ = ["Contents", "Watched", "contents_of", "file_state", "watched"]

Hashes: TypeAlias = NDArray[np.uint64]


def _hashes(patterns: NDArray[Any]) -> Hashes:
    """Hash of each pattern, never 0, shape ``(n,)``; patterns have shape ``(n, qy, qx)``."""
    stored = np.ascontiguousarray(patterns, patterns.dtype.newbyteorder("<"))
    return np.array([xxhash.xxh3_64_intdigest(pattern.data) or 1 for pattern in stored], np.uint64)


@dataclass(frozen=True)
class Contents:
    """Hashes of the patterns that were read so far.

    Attributes
    ----------
    name
        Name of the scan, for messages.
    seen
        Hash of each pattern, 0 where it was not read, shape ``(n_positions,)``.
    """

    name: str
    seen: Hashes

    def record(self, positions: IntArray, patterns: NDArray[Any]) -> None:
        """Hash patterns that were just read.

        Parameters
        ----------
        positions
            Flat scan positions, shape ``(n,)``.
        patterns
            Shape ``(n, qy, qx)``.

        Raises
        ------
        InputError
            If one of them was read before and was another one.
        """
        self.note(positions, _hashes(patterns))

    def note(self, positions: IntArray, now: Hashes) -> None:
        """Keep hashes of patterns, wherever these were read.

        Parameters
        ----------
        positions
            Flat scan positions, shape ``(n,)``.
        now
            Their hashes, shape ``(n,)``.

        Raises
        ------
        InputError
            If one was read before and was another one.
        """
        before = self.seen[positions]
        changed = (before != 0) & (before != now)
        if changed.any():
            raise InputError(
                f"{self.name} changed while it was worked on (scan position {int(positions[changed][0])} was another "
                "pattern before); wait until nothing writes to it, and start again"
            )
        self.seen[positions] = now

    @property
    def digest(self) -> str:
        """Hash of all patterns, as text; empty unless all were read."""
        if not self.seen.all():
            return ""
        return xxhash.xxh3_128_hexdigest(self.seen.astype("<u8").tobytes())


@dataclass(frozen=True)
class Watched:
    """Stored patterns that are hashed as they are read.

    Attributes
    ----------
    base
        The patterns, shape ``(ry, rx, qy, qx)``.
    contents
        Receives the hashes.
    """

    base: PatternSource
    contents: Contents

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.base.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value."""
        return np.dtype(self.base.dtype)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        values, shape = np.asarray(self.base[key]), self.shape
        slices = select(key, shape).slices
        if slices[2:] == (slice(0, shape[2], 1), slice(0, shape[3], 1)):
            rows, columns = (np.arange(part.start, part.stop, part.step) for part in slices[:2])
            positions = (rows[:, None] * shape[1] + columns).ravel()
            self.contents.record(positions, values.reshape(-1, span(slices[2]), span(slices[3])))
        return values


def watched(scan: Scan) -> Scan:
    """The scan with its patterns hashed as they are read; those in memory are hashed now.

    Parameters
    ----------
    scan
        The scan.
    """
    contents = Contents(scan.name, np.zeros(scan.n_positions, np.uint64))
    if isinstance(scan.source, np.ndarray):
        return scan
    return replace(scan, source=Watched(scan.source, contents))


def contents_of(scan: Scan) -> Contents:
    """Hashes of what was read so far of a scan that is `watched`; of one in memory, of all of it.

    Parameters
    ----------
    scan
        The scan.
    """
    if isinstance(scan.source, Watched):
        return scan.source.contents
    contents = Contents(scan.name, np.zeros(scan.n_positions, np.uint64))
    for block in scan.blocks():
        contents.record(block.positions, block.patterns)
    return contents


def file_state(path: str) -> str:
    """Place, size and time of change of a file, or of all files of a folder, as one hash; empty where there is no file.

    Parameters
    ----------
    path
        File or folder.
    """
    if not path:
        return ""
    place = Path(path).absolute()
    digest = hashlib.sha256(os.fsencode(place))
    try:
        for name, state in _states(place):
            digest.update(os.fsencode(name) + f" {state.st_size} {state.st_mtime_ns}\n".encode())
    except OSError as error:
        raise InputError(f"{path} cannot be looked at ({error.strerror or error}); check the drive") from error
    return digest.hexdigest()


def _states(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    if not place.is_dir():
        yield "", place.stat()
        return
    for folder, below, files in os.walk(place):
        below.sort()
        for name in sorted(files):
            file = Path(folder, name)
            yield str(file.relative_to(place)), file.stat()
