"""Raw binary files without a header, of which the user gives shape, type, offset and order."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cyclestrain.errors import InputError
from cyclestrain.io.loaded import Loaded, is_numeric
from cyclestrain.io.sources import Plain

__all__ = ["RawLayout", "load_raw", "number_type"]

_TYPE = re.compile(r"[<>=|]?[a-z]+\d*", re.IGNORECASE)


def number_type(text: str) -> np.dtype[Any] | None:
    """Type of numbers in NumPy's spelling; None where it is none.

    Examples
    --------
    >>> number_type(">u2"), number_type("object")
    (dtype('>u2'), None)
    """
    try:  # a pattern first: NumPy's parser also takes structures, which no raw file of patterns holds
        found = np.dtype(text) if _TYPE.fullmatch(text) else None
    except TypeError:
        return None
    return found if found is not None and is_numeric(found) else None


@dataclass(frozen=True)
class RawLayout:
    """Layout of the values in a raw binary file.

    Attributes
    ----------
    shape
        ``(qy, qx)``, ``(n, qy, qx)`` or ``(ry, rx, qy, qx)``; with ``(qy, qx)`` the file may hold any number of
        patterns, one after the other.
    dtype
        Type in NumPy's spelling: ``uint16``, ``<f4``, ``>u2`` (big-endian).
    offset
        Bytes before the first value.
    order
        ``C`` where the last axis varies fastest, ``F`` where the first does.

    Raises
    ------
    InputError
        If shape, offset or order are impossible.
    """

    shape: tuple[int, ...]
    dtype: str
    offset: int = 0
    order: Literal["C", "F"] = "C"

    def __post_init__(self) -> None:
        if not 2 <= len(self.shape) <= 4 or min(self.shape) < 1:
            raise InputError(f"--shape is qy qx, n qy qx or ry rx qy qx, all at least 1, not {self.shape}")
        if self.offset < 0:
            raise InputError(f"--offset counts bytes before the first value, it cannot be {self.offset}")
        if self.order not in ("C", "F"):
            raise InputError(f"--order is C or F, not {self.order!r}")

    @property
    def value_type(self) -> np.dtype[Any]:
        """NumPy type of the values.

        Raises
        ------
        InputError
            If `dtype` is no type of numbers.
        """
        found = number_type(self.dtype)
        if found is None:
            raise InputError(f"--dtype {self.dtype!r} is no type of numbers; use for example uint16, float32 or >u2")
        return found


def load_raw(path: Path, layout: RawLayout) -> Loaded:
    """Open a raw binary file lazily.

    Parameters
    ----------
    path
        File, whose size has to fit the layout; less than a pattern more is taken for a footer.
    layout
        Shape, type, offset and order of the values.

    Raises
    ------
    InputError
        If the type is none of numbers, or the size of the file does not fit.
    """
    dtype, shape = layout.value_type, layout.shape
    pattern = math.prod(shape[-2:]) * dtype.itemsize
    there = path.stat().st_size - layout.offset
    if len(shape) == 2 and there >= 2 * pattern:
        shape = (there // pattern, *shape)
    needed = math.prod(shape) * dtype.itemsize
    if not needed <= there < needed + pattern:  # less than one pattern left over is a footer
        raise InputError(
            f"{path} holds {max(there, 0)} bytes after the offset of {layout.offset}, but shape "
            f"{' '.join(map(str, shape))} of {dtype} needs {needed}; correct --shape, --dtype or --offset"
        )
    return Loaded(Plain(path.absolute(), layout.offset, dtype, shape, layout.order))
