"""A decorator that compiles a loop and keeps its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` to machine code that releases the interpreter lock, cached on disk."""
    return cast("Callable[P, R]", numba.njit(nogil=True, cache=True)(function))
