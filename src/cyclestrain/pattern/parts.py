"""How the parts of compiled loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba as nb
from numba.core.options import DefaultOptions

__all__ = ["part"]

P = ParamSpec("P")
R = TypeVar("R")

_UNCOUNTED: dict[str, Any] = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
"""Numba's option not to count references to arrays. Without it results are the same, up to three times later."""


def part(*, fastmath: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function that only compiled loops call, as a part of each of them.

    It is copied into the loop (docs/dev/estimation.md says why), and leaves it to the loop to count references to
    arrays: done in every part, for every array it is given, that takes longer than what the part computes. A part
    therefore makes no arrays, which numba refuses, and returns none. Division by zero gives infinity.

    Parameters
    ----------
    fastmath
        Let sums be reordered, so that they are vectorised.
    """
    compiled = nb.njit(forceinline=True, error_model="numpy", fastmath=fastmath, **_UNCOUNTED)
    return cast("Callable[[Callable[P, R]], Callable[P, R]]", compiled)
