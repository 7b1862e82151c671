"""Does tuning the network matter? Default against tuned settings on three unlike scans.

    python benchmarks/tuning.py                          # 32x32 positions, 12 trials each
    python benchmarks/tuning.py --scan 16 --trials 2     # a quick look

`deviance` is that of the held-out patterns per pixel; strain is that of `cyclestrain map --until network`, mean
absolute error of exx, eyy and exy, 1e-3.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from measuring import markdown, simulated_file

import cyclestrain as cs
from cyclestrain.evaluation import compare

SCANS = {
    "polycrystal, 60 %": {"phantom": "polycrystal", "background": 0.6},
    "two phases, 40 %": {"phantom": "two_phase", "background": 0.4},
    "ripple, 25 %": {"phantom": "ripple", "background": 0.25},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=int, default=32, help="positions along each side")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options) in enumerate(SCANS.items()):
            given = {**options, "scan": (arguments.scan, arguments.scan), "seed": arguments.seed}
            simulated = simulated_file(Path(folder), f"scan{number}", given)
            for trials in (None, arguments.trials):
                file = Path(folder) / f"model{number}_{trials}.safetensors"
                model = cs.fit(simulated.scan, file, trials=trials)
                maps = cs.map(simulated.scan, model=file, until="network", reference=str(simulated.reference))
                found = compare(maps, simulated.truth)
                strain = 1e3 * np.mean([getattr(found, each).mae for each in ("exx", "eyy", "exy")])
                said = model.tuned.summary if model.tuned else "default"
                rows.append([name, said, f"{model.log.kept.held_out:.4f}", f"{strain:.3f}"])
                print(*rows[-1], sep="  ", flush=True)
    print(markdown(["scan", "settings", "deviance", "strain MAE"], rows))


if __name__ == "__main__":
    main()
