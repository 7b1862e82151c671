"""A folder of files with one pattern or a stack of equal length each, read as one stack in numerical order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import PatternSource
from cyclestrain.errors import InputError
from cyclestrain.io.loaded import Loaded
from cyclestrain.io.sources import Key, select, span

__all__ = ["load_frames", "numerical_order"]


def numerical_order(name: str) -> list[tuple[int, str]]:
    """Key that sorts ``frame_2`` before ``frame_10``.

    Examples
    --------
    >>> sorted(["f10", "f2", "f1"], key=numerical_order)
    ['f1', 'f2', 'f10']
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _stack(source: PatternSource) -> tuple[int, ...]:
    """Shape ``(n, qy, qx)`` of the patterns in one file."""
    *scan, qy, qx = (int(size) for size in source.shape)
    return int(np.prod(scan, dtype=np.int64)), qy, qx


@dataclass(frozen=True)
class _Frames:
    """Files that are opened one by one, when one of their patterns is read, and closed again.

    Attributes
    ----------
    paths
        The files.
    open
        Function that opens one.
    part
        Shape ``(n, qy, qx)`` of each.
    dtype
        Type of the values.
    """

    paths: tuple[Path, ...]
    open: Callable[[Path], Loaded]
    part: tuple[int, int, int]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(n, qy, qx)``."""
        return (len(self.paths) * self.part[0], *self.part[1:])

    def _read(self, path: Path) -> NDArray[Any]:
        source = self.open(path).source
        if _stack(source) != self.part or np.dtype(source.dtype) != self.dtype:
            raise InputError(
                f"{path} holds {source.shape} values of {source.dtype}, the other files {self.part} of {self.dtype}; "
                "a scan is made of equal files, move others away"
            )
        return np.asarray(source[...]).reshape(self.part)

    def __getitem__(self, key: Key) -> NDArray[Any]:
        selection = select(key, self.shape)
        wanted, *detector = selection.slices
        out = np.empty([span(part) for part in selection.slices], self.dtype)
        held, patterns = -1, out
        for row, position in enumerate(range(wanted.start, wanted.stop, wanted.step)):
            file, frame = divmod(position, self.part[0])
            if file != held:
                held, patterns = file, self._read(self.paths[file])
            out[row] = patterns[frame][tuple(detector)]
        return selection.drop(out)


def load_frames(folder: Path, open_file: Callable[[Path], Loaded], reads: Callable[[Path], bool]) -> Loaded:
    """Open the files of a folder as one stack of patterns.

    Parameters
    ----------
    folder
        Folder; its files of the most frequent extension that `reads` accepts are taken, sorted by the numbers in their
        names.
    open_file
        Function that opens one file.
    reads
        Function that says whether a file is of a kind that can be read.

    Raises
    ------
    InputError
        If the folder holds no such file, or the first one does not hold patterns.
    """
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and reads(path)]
    if not files:
        raise InputError(f"{folder} is a folder without a single file of patterns; name a file or another folder")
    suffix = Counter(path.suffix.lower() for path in files).most_common(1)[0][0]
    paths = sorted((path for path in files if path.suffix.lower() == suffix), key=lambda p: numerical_order(p.name))
    first = open_file(paths[0])
    frames = _Frames(tuple(paths), open_file, _part(first.source, paths[0]), np.dtype(first.source.dtype))
    metadata = {"files": f"{len(paths)} files, {paths[0].name} to {paths[-1].name}"}
    return replace(first, source=frames, scan_shape=None, metadata=dict(first.metadata) | metadata)


def _part(source: PatternSource, path: Path) -> tuple[int, int, int]:
    if len(source.shape) not in (2, 3, 4):
        raise InputError(f"{path} holds an array of shape {tuple(source.shape)}, not patterns; name a file")
    n, qy, qx = _stack(source)
    return n, qy, qx
