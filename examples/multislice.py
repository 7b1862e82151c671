"""Two scans of dynamical diffraction whose strain is known, at three levels of background, in minutes.

    pip install 'cyclestrain[multislice]'
    python examples/multislice.py multislice-scans            # 24 x 24 positions each
    python examples/multislice.py multislice-scans --scan 8   # a quick look

Writes `silicon.h5` and `heterostructure.h5` (the patterns as computed, made once), and `silicon_0.25.h5`, ... with
background and shot noise, which `cyclestrain map` reads and whose `/truth` `cyclestrain benchmark` compares with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from cyclestrain.io import read
from cyclestrain.simulation import SimulatedScan, load_truth, record, save
from cyclestrain.simulation.multislice import heterostructure, silicon

SPECIMENS: dict[str, Callable[..., SimulatedScan]] = {"silicon": silicon, "heterostructure": heterostructure}
BACKGROUNDS = (0.0, 0.25, 0.6)


def computed(folder: Path, name: str, scan: int) -> SimulatedScan:
    """Patterns of a specimen without background and noise, made if the folder does not hold them."""
    path = folder / f"{name}.h5"
    if not path.exists():
        save(SPECIMENS[name](scan=(scan, scan)), path)
    truth = load_truth(path)
    if truth["exx"].shape != (scan, scan):
        raise SystemExit(f"{path} holds {truth['exx'].shape} positions, not {scan} x {scan}: name another folder")
    return SimulatedScan(read(path), truth)


def recorded(folder: Path, name: str, background: float, scan: int, seed: int = 1) -> Path:
    """File of a specimen under a background, made if the folder does not hold it."""
    path = folder / f"{name}_{background:g}.h5"
    if not path.exists():
        save(record(computed(folder, name, scan), background=background, seed=seed), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scan", type=int, default=24, help="positions along each side")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in SPECIMENS:
        for background in BACKGROUNDS:
            print(recorded(given.folder, name, background, given.scan))


if __name__ == "__main__":
    main()
