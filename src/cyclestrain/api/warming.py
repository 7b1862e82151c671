"""`warm_up`: compile all loops before the first scan comes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cyclestrain.api.mapping import map
from cyclestrain.progress import Progress, SilentProgress, shown

__all__ = ["WarmUp", "warm_up"]

TYPES = ("uint16", "uint8", "float32")
"""Types of counts that loops are compiled for; others are compiled when a scan of that type comes."""


@dataclass(frozen=True)
class WarmUp:
    """What `warm_up` did.

    Attributes
    ----------
    folder
        Where compiled loops are kept; None where numba finds no folder that it may write to.
    seconds
        How long it took.
    """

    folder: Path | None
    seconds: float

    def __str__(self) -> str:
        if self.folder is None:
            return "there is no folder to keep compiled loops in: every process compiles them anew; set NUMBA_CACHE_DIR"
        return f"compiled in {self.seconds:.0f} s, kept beside the modules, those that fit patterns in {self.folder}"


def warm_up(*, progress: Progress | bool | None = None) -> WarmUp:
    """Compile everything that a map needs, so that the first one after an installation takes no longer than others.

    Small simulated scans of all common types of counts are mapped. What is compiled already is not compiled again.

    Parameters
    ----------
    progress
        Where to report to; True and False turn a bar on and off, which an interactive session shows by default.

    Returns
    -------
    done
        Where compiled loops are kept, and how long it took.
    """
    from cyclestrain.estimation import cache_folder
    from cyclestrain.simulation import PHANTOMS

    start = time.perf_counter()
    simulated = PHANTOMS["polycrystal"](scan=(12, 12), detector=(96, 96), radius=3.0, grain_size=25.0, seed=1)
    with shown(progress).stage("compile", len(TYPES)) as task:
        for name in TYPES:
            map(simulated.scan.source[:].astype(name), intensities=True, progress=SilentProgress())
            task.advance()
    return WarmUp(cache_folder(), time.perf_counter() - start)
