"""Strain, rotation and phase maps from extremely noisy 4D-STEM scans.

The one call::

    import cyclestrain as cs

    maps = cs.map("scan.h5", "strain.nc")
    cs.show(maps, "strain.png")

Every name below is imported at its first use, so that ``import cyclestrain`` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclestrain.api import (
        benchmark,
        defects,
        demo,
        explore,
        export,
        fit,
        grains,
        info,
        intensities,
        live,
        load,
        map,
        map_many,
        probe,
        report,
        show,
        simulate,
        tilt,
        tilt_series,
        warm_up,
    )
    from cyclestrain.data import Quantity, Scan
    from cyclestrain.errors import CyclestrainError, InputError, OutputError
    from cyclestrain.io import read
    from cyclestrain.progress import RichProgress
    from cyclestrain.result import next_positions
    from cyclestrain.settings import FitSettings, LiveSettings, MapSettings, ReadSettings, ShowSettings

# Before torch is loaded: its idle threads would otherwise spin, and starve numba's (measured: five times slower).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__all__ = [
    "CyclestrainError",
    "FitSettings",
    "InputError",
    "LiveSettings",
    "MapSettings",
    "OutputError",
    "Quantity",
    "ReadSettings",
    "RichProgress",
    "Scan",
    "ShowSettings",
    "benchmark",
    "defects",
    "demo",
    "explore",
    "export",
    "fit",
    "grains",
    "info",
    "intensities",
    "live",
    "load",
    "map",
    "map_many",
    "next_positions",
    "probe",
    "read",
    "report",
    "show",
    "simulate",
    "tilt",
    "tilt_series",
    "warm_up",
]

_HOME = {
    "CyclestrainError": "errors",
    "FitSettings": "settings",
    "InputError": "errors",
    "LiveSettings": "settings",
    "MapSettings": "settings",
    "OutputError": "errors",
    "Quantity": "data",
    "ReadSettings": "settings",
    "RichProgress": "progress",
    "Scan": "data",
    "ShowSettings": "settings",
    "benchmark": "api",
    "defects": "api",
    "demo": "api",
    "explore": "api",
    "export": "api",
    "fit": "api",
    "grains": "api",
    "tilt": "api",
    "tilt_series": "api",
    "warm_up": "api",
    "info": "api",
    "intensities": "api",
    "load": "api",
    "map": "api",
    "map_many": "api",
    "probe": "api",
    "live": "api",
    "next_positions": "result",
    "read": "io",
    "report": "api",
    "show": "api",
    "simulate": "api",
    "__version__": "version",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
