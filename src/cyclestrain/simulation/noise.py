"""Shot noise, and the integer type that holds the counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_shot_noise", "count_dtype", "row_generator", "sample_generator"]

_SAMPLE, _NOISE = 0, 1


def sample_generator(seed: int) -> np.random.Generator:
    """Random generator of the sample (grains, strains), independent of the noise."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SAMPLE,)))


def row_generator(seed: int, row: int) -> np.random.Generator:
    """Random generator of the noise of one scan row, so that no row depends on the order in which rows are made.

    Parameters
    ----------
    seed
        Seed of the scan.
    row
        Number of the scan row.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_NOISE, row)))


def count_dtype(largest: float) -> np.dtype[Any]:
    """Smallest of uint16 and uint32 that holds Poisson counts whose mean is at most `largest`."""
    return np.dtype(np.uint16 if largest + 10 * np.sqrt(largest) + 10 < np.iinfo(np.uint16).max else np.uint32)


def add_shot_noise(
    expected: NDArray[np.float32], rng: np.random.Generator, dtype: np.dtype[Any]
) -> NDArray[np.unsignedinteger[Any]]:
    """Poisson counts, drawn pattern by pattern.

    Parameters
    ----------
    expected
        Expected counts, shape ``(n, qy, qx)``.
    rng
        Random generator.
    dtype
        Integer type of the counts.
    """
    counts = np.empty(expected.shape, dtype)
    for pattern, mean in zip(counts, expected, strict=True):
        pattern[...] = rng.poisson(mean)
    return counts
