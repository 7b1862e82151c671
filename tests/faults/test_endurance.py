"""Many maps in one process: memory and open files do not grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

import cyclestrain as cs
from cyclestrain.simulation import uniform

MAPS, SETTLED = 200, 40
GROWTH = 50e6
"""Growth from the 40th to the last map that counts as none, bytes: a tenth of what one map takes."""


@pytest.mark.slow
def test_two_hundred_maps_do_not_grow(tmp_path: Path) -> None:
    made = uniform(scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2, seed=2)
    np.save(tmp_path / "scan.npy", np.asarray(made.scan.source))
    process, memory, files = psutil.Process(), [], []
    for _ in range(MAPS):
        cs.map(tmp_path / "scan.npy", tmp_path / "strain.nc", force=True)
        memory.append(process.memory_info().rss)
        files.append(process.num_handles() if hasattr(process, "num_handles") else process.num_fds())
    assert max(memory[SETTLED:]) < memory[SETTLED] + GROWTH
    assert len(set(files[SETTLED:])) == 1
