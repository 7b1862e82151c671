"""What stopped a run, in one sentence."""

from __future__ import annotations

import math

from cyclestrain.errors import CyclestrainError, printable
from cyclestrain.machine import available_memory

__all__ = ["in_words"]


def in_words(error: Exception) -> str:
    """One sentence for a person whose run ended with an error.

    Parameters
    ----------
    error
        The error.
    """
    if isinstance(error, CyclestrainError):
        return str(error)
    if isinstance(error, MemoryError) and _asked(error) <= (available_memory() or math.inf):
        return "not enough memory; close other programs or use a machine with more"
    return f"unexpected {type(error).__name__}: {printable(str(error))}; please report it with what --debug prints"


def _asked(error: MemoryError) -> int:
    """Bytes of the array that could not be made, 0 where the error does not say.

    The memory that a run takes is bounded: an array larger than the machine is a fault of the program, and closing
    other programs makes no room for it.
    """
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    return 0 if shape is None or dtype is None else math.prod(shape) * int(dtype.itemsize)
