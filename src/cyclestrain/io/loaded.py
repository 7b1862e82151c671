"""The container that every reader returns to `cyclestrain.io.read`, and the choice among the arrays of one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cyclestrain.data import PatternSource, Quantity
from cyclestrain.errors import InputError

__all__ = ["Candidate", "Loaded", "check_unpacked", "choose", "is_numeric", "missing_parts"]

RIVAL_SHARE = 0.25
"""Size relative to the largest array from which a second array makes the choice ambiguous."""

SMALLEST_DETECTOR = 16
"""Smallest detector side that can hold a diffraction pattern, pixels."""


LARGEST_UNPACKED = 2**30
"""Largest compressed array, or part of one, that is unpacked into memory, bytes: a small file may declare any size."""


@dataclass(frozen=True)
class Loaded:
    """An array found in a file, not yet checked.

    Attributes
    ----------
    source
        Lazy array of shape ``(qy, qx)``, ``(n, qy, qx)`` or ``(ry, rx, qy, qx)``.
    scan_shape
        ``(ry, rx)`` where the file states it apart from the array's own shape.
    real_step, reciprocal_step, scan_rotation, metadata
        As in `cyclestrain.data.Scan`.
    """

    source: PatternSource
    scan_shape: tuple[int, int] | None = None
    real_step: Quantity | None = None
    reciprocal_step: Quantity | None = None
    scan_rotation: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """An array that could be the scan: its name in the file, shape and type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def n_dimensions(self) -> int:
        """Number of dimensions, without axes of size 1 beyond the fourth dimension."""
        return len(self.shape) if len(self.shape) <= 4 else max(4, sum(size != 1 for size in self.shape))

    def __str__(self) -> str:
        return f"{self.name} {self.shape}"


def check_unpacked(n_bytes: int, name: str) -> None:
    """Refuse to unpack what may not fit into memory, before anything is allocated.

    Parameters
    ----------
    n_bytes
        Size that the file declares.
    name
        Of the part, for the message.

    Raises
    ------
    InputError
        If it is larger than `LARGEST_UNPACKED`.
    """
    if n_bytes > LARGEST_UNPACKED:
        raise InputError(
            f"{name} would take {n_bytes / 2**30:.1f} GiB of memory to unpack; "
            "save the scan as .npy or as HDF5 in small chunks, which are read in parts"
        )


def missing_parts(there: int, expected: int) -> dict[str, str]:
    """Entry for the metadata of a scan that says how many of its parts were never written; empty where none is missing.

    Parameters
    ----------
    there, expected
        Number of parts in the file, and that it declares.

    Examples
    --------
    >>> missing_parts(3, 4)
    {'missing': '1 of 4 parts of the file were never written and read as zero'}
    """
    if there >= expected:
        return {}
    return {"missing": f"{expected - there} of {expected} parts of the file were never written and read as zero"}


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether values of `dtype` are plain real numbers (or bits)."""
    return dtype.kind in "uifb"


def _named(candidates: Sequence[Candidate], path: str, dataset: str) -> Candidate:
    wanted = dataset.strip("/")
    found = [candidate for candidate in candidates if candidate.name.strip("/") == wanted]
    if not found:  # a group that holds exactly one array means that array
        found = [candidate for candidate in candidates if candidate.name.strip("/").startswith(wanted + "/")]
    if len(found) != 1:
        there = ", ".join(str(candidate) for candidate in candidates[:8]) or "none"
        raise InputError(f"{path} has no single data set {dataset!r}; the data sets in it: {there}")
    return found[0]


def choose(candidates: Sequence[Candidate], path: str, dataset: str | None) -> Candidate:
    """Choose the array to read as the scan.

    Without a name it is the largest numeric array with the most fitting number of dimensions (4, then 3, then 2).

    Parameters
    ----------
    candidates
        Arrays of the file.
    path
        File, for messages.
    dataset
        Name of the array, or of a group that holds only it; None to choose by shape.

    Raises
    ------
    InputError
        If no array has that name, none can be a scan, or several of similar size can.
    """
    if dataset is not None:
        return _named(candidates, path, dataset)
    numeric = [candidate for candidate in candidates if is_numeric(candidate.dtype) and 0 not in candidate.shape]
    for n_dimensions in (4, 3, 2):
        pool = [candidate for candidate in numeric if candidate.n_dimensions == n_dimensions]
        pool = [candidate for candidate in pool if min(_detector(candidate)) >= SMALLEST_DETECTOR] or pool
        pool.sort(key=lambda candidate: math.prod(candidate.shape), reverse=True)
        if not pool:
            continue
        rivals = [c for c in pool if math.prod(c.shape) >= RIVAL_SHARE * math.prod(pool[0].shape)]
        if len(rivals) > 1:
            names = ", ".join(str(candidate) for candidate in rivals[:8])
            raise InputError(f"{path} holds several arrays that could be the scan: {names}; name one with --dataset")
        return pool[0]
    there = ", ".join(f"{candidate} of {candidate.dtype}" for candidate in candidates[:8]) or "no array at all"
    raise InputError(f"{path} holds no numeric array of 2 to 4 dimensions but {there}; check that it is a 4D-STEM file")


def _detector(candidate: Candidate) -> tuple[int, ...]:
    large = [size for size in candidate.shape if size != 1] if len(candidate.shape) > 4 else list(candidate.shape)
    return tuple(large[-2:]) or (0,)
