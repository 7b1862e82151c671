"""Whether the loops that fit patterns are compiled, and where: each is compiled at its first use, and kept on disk."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import numba as nb

from cyclestrain.pattern.likelihood import fit_patterns

__all__ = ["COMPILING", "cache_folder", "is_compiled", "wake_compiler"]

COMPILING = (
    "compiling loops for this machine, one to three minutes, once after each installation; `cyclestrain warm-up` does "
    "it beforehand"
)


def cache_folder() -> Path | None:
    """Folder of the compiled loops that fit patterns; None where numba keeps none."""
    found = getattr(getattr(fit_patterns, "stats", None), "cache_path", None)
    return Path(found) if found else None


def is_compiled() -> bool:
    """Whether the loop that fits patterns has been compiled since it was installed."""
    folder = cache_folder()
    if folder is None or not hasattr(fit_patterns, "py_func"):
        return True
    installed = Path(inspect.getfile(fit_patterns.py_func)).stat().st_mtime
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(each.stat().st_mtime >= installed for each in folder.glob(f"*.fit_patterns-*.{version}.nbi"))


def wake_compiler() -> None:
    """Load what numba loads before the first compiled loop of a process runs, which takes half a second."""
    _do_nothing()


@nb.njit(cache=True)
def _do_nothing() -> None:  # pragma: no cover - compiled
    pass
