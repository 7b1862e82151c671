"""Patterns of a simulated scan, made when they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.noise import add_shot_noise, count_dtype, row_generator

__all__ = ["ExpectedPatterns", "SimulatedPatterns"]


class ExpectedPatterns(Protocol):
    """Source of the expected counts at every position, see `cyclestrain.simulation.patterns.PatternModel`."""

    @property
    def acquisition(self) -> Acquisition:
        """Options with which the scan is recorded."""

    def expected_row(self, row: int) -> NDArray[np.float32]:
        """Expected counts of one scan row, shape ``(rx, qy, qx)``."""

    def largest_count(self) -> float:
        """Upper bound of the expected counts in a pixel."""


class SimulatedPatterns:
    """Array-like of shape ``(ry, rx, qy, qx)`` that simulates the scan rows that are read.

    Reading the same rows again gives the same counts, whatever the order, the block size or the number of threads. Rows
    are made on all cores; the last one is kept, so that reading a row in parts makes it once.

    Parameters
    ----------
    model
        Source of the expected counts.
    threads
        Number of threads; by default one per core, at most 8.
    """

    def __init__(self, model: ExpectedPatterns, threads: int | None = None) -> None:
        self._model = model
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._last: tuple[int, NDArray[Any]] | None = None
        noise_free = model.acquisition.is_noise_free
        self._dtype = np.dtype(np.float32) if noise_free else count_dtype(model.largest_count())

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape ``(ry, rx, qy, qx)``."""
        return (*self._model.acquisition.scan, *self._model.acquisition.detector)

    @property
    def ndim(self) -> int:
        """Number of dimensions, four."""
        return 4

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the counts: uint16 (uint32 if needed) with shot noise, float32 without."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Size of the whole scan in bytes."""
        return int(np.prod(self.shape)) * self._dtype.itemsize

    def row(self, row: int) -> NDArray[Any]:
        """Patterns of one scan row, shape ``(rx, qy, qx)``."""
        last = self._last
        if last is not None and last[0] == row:
            return last[1]
        patterns = self._make_row(row)
        self._last = (row, patterns)
        return patterns

    def rows(self, rows: Iterable[int]) -> NDArray[Any]:
        """Patterns of several scan rows, shape ``(n, rx, qy, qx)``."""
        wanted = list(rows)
        result = np.empty((len(wanted), *self.shape[1:]), self._dtype)

        def fill(item: tuple[int, int]) -> None:
            index, row = item
            result[index] = self._make_row(row)

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(fill, enumerate(wanted)))
        return result

    def _make_row(self, row: int) -> NDArray[Any]:
        expected = self._model.expected_row(row)
        acquisition = self._model.acquisition
        if acquisition.is_noise_free:
            return expected
        return add_shot_noise(expected, row_generator(acquisition.seed, row), self._dtype)

    def __getitem__(self, key: Any, /) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        n_rows = self.shape[0]
        if isinstance(first, int | np.integer):
            if not -n_rows <= first < n_rows:
                raise IndexError(f"scan row {first} of {n_rows}")
            return self.row(int(first) % n_rows)[tuple(rest)]
        if isinstance(first, slice):
            return self.rows(range(n_rows)[first])[(slice(None), *rest)]
        return self.rows(range(n_rows))[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        patterns = self.rows(range(self.shape[0]))
        return patterns if dtype is None else patterns.astype(dtype)
