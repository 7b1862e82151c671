"""Whether the loops that fit patterns are compiled, and where: each is compiled at its first use, and kept on disk."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from cyclestrain.pattern.likelihood import fit_patterns

__all__ = ["COMPILING", "cache_folder", "is_compiled"]

COMPILING = (
    "compiling loops for this machine, about a minute, once after each installation; `cyclestrain warm-up` does it "
    "beforehand"
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
