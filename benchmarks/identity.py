"""Whether a change of the code changed any number: results of unlike scans, kept and compared bit by bit.

    python benchmarks/identity.py record    # before the change
    python benchmarks/identity.py check     # after it, on the same machine

`record` maps every scan and keeps all arrays of the results in `build/identity` (`--folder` for another place);
`check` maps them again and names every array of which a bit differs. Compiled loops may differ in the last digit
between processors, so a record holds for the machine it was made on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Before torch is loaded: its sums else depend on where in memory arrays happen to lie, and on other work.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE"}

import h5py
import numpy as np

import cyclestrain as cs

SMALL: dict[str, Any] = {"scan": (24, 24), "detector": (128, 128), "radius": 3.0}
Arrays = Mapping[str, np.ndarray]


def mapped(folder: Path, phantom: str, simulated: Mapping[str, Any], **options: Any) -> Path:
    """Result file of a simulated scan."""
    scan, result = folder / "scan.h5", folder / "strain.nc"
    cs.simulate(phantom, scan, **{**SMALL, **simulated})
    cs.map(scan, result, **options)
    return result


def clear(folder: Path) -> Path:
    return mapped(folder, "polycrystal", {"background": 0.25, "grain_size": 150.0, "seed": 21})


def faint(folder: Path) -> Path:
    return mapped(folder, "polycrystal", {"background": 0.8, "grain_size": 150.0, "seed": 22})


def two_phases_and_vacuum(folder: Path) -> Path:
    return mapped(folder, "two_phase", {"background": 0.6, "grain_size": 100.0, "seed": 23})


def bent(folder: Path) -> Path:
    return mapped(folder, "ripple", {"background": 0.5, "bend_deg": 75.0, "lattice": "square", "seed": 24})


def odd_detector(folder: Path) -> Path:
    """A camera with gain, offset and read noise, dead lines, a gap over the beam, a wandering beam and an ellipse."""
    made = cs.simulate(
        "polycrystal", background=0.3, grain_size=28.0, drift=5.0, ellipse=(1.02, 30.0), seed=25, **SMALL
    )
    rng = np.random.default_rng(25)
    counts = np.asarray(made.scan.source)
    camera = np.rint(counts * 7.0 + 100.0 + rng.normal(0.0, 3.0, counts.shape)).astype(np.int16)
    camera[..., 60:66, :] = 100
    camera[..., :, 31] = 0
    np.save(folder / "scan.npy", camera)
    cs.map(folder / "scan.npy", folder / "strain.nc", memory=1)
    return folder / "strain.nc"


def network(folder: Path) -> Path:
    return mapped(folder, "polycrystal", {"background": 0.25, "scan": (16, 16), "seed": 26}, until="network")


def model(folder: Path) -> Path:
    cs.simulate("polycrystal", folder / "first.h5", **{**SMALL, "background": 0.25, "scan": (16, 16), "seed": 27})
    cs.fit(folder / "first.h5", folder / "model.safetensors", epochs=1)
    simulated = {"background": 0.6, "counts": 5e4, "seed": 28}
    return mapped(folder, "polycrystal", simulated, model=folder / "model.safetensors")


CASES: dict[str, Callable[[Path], Path]] = {
    case.__name__: case for case in (clear, faint, two_phases_and_vacuum, bent, odd_detector, network, model)
}


def arrays_of(result: Path) -> dict[str, np.ndarray]:
    """Every data set of an HDF5 file, also those in groups, by path."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()])

    with h5py.File(result) as file:
        file.visititems(keep)
    return found


def run(name: str) -> dict[str, np.ndarray]:
    """All arrays of the result of one case."""
    with tempfile.TemporaryDirectory() as folder:
        return arrays_of(CASES[name](Path(folder)))


def differing(before: Arrays, after: Arrays) -> list[str]:
    """Names of the arrays that are not the same bit by bit, and of those that are missing or new."""
    both = before.keys() & after.keys()
    changed = [
        name
        for name in both
        if before[name].dtype != after[name].dtype or before[name].tobytes() != after[name].tobytes()
    ]
    return sorted([*changed, *(f"{name} (missing)" for name in before.keys() - after.keys()),
                   *(f"{name} (new)" for name in after.keys() - before.keys())])  # fmt: skip


def check(name: str, folder: Path) -> bool:
    """Map a case again and say what changed."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        print(f"{name}: not recorded; run `record` with the code before the change")
        return False
    with np.load(path) as stored:
        before = {key.replace("|", "/"): stored[key] for key in stored.files}
    after = run(name)
    changed = differing(before, after)
    verdict = f"differ: {', '.join(changed)}" if changed else "all the same"
    print(f"{name}: {len(after)} arrays, {verdict}", flush=True)
    return not changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "check"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--folder", type=Path, default=Path("build/identity"))
    options = parser.parse_args()
    if options.action == "check":
        same = [check(name, options.folder) for name in options.cases]
        return 0 if all(same) else 1
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.cases:
        arrays = run(name)
        np.savez(options.folder / f"{name}.npz", **{key.replace("/", "|"): value for key, value in arrays.items()})
        print(f"{name}: {len(arrays)} arrays kept", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
