"""Processes that race for one run folder: `python racing.py FOLDER N SEED` enters it until all have entered N times.

Every owner makes a mark beside the folder, which would be there already if there were two of them, and finds the state
that the owner before left: nothing, where that one finished.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from cyclestrain.errors import OutputError
from cyclestrain.storage import RunFolder, run_folder


def enter(run: RunFolder, folder: Path, rng: random.Random) -> int:
    """Do what an owner does; returns the number of entries so far."""
    mark, truth = folder / "mark", folder / "truth"
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        print("TWO OWNERS", flush=True)
        os._exit(3)
    expected, entries = (int(part) for part in truth.read_text().split())
    if (run.load("knowledge", ()) or 0) != expected:
        print("LOST STATE", flush=True)
        os._exit(4)
    finishes = rng.random() < 0.4
    if not finishes:
        run.save("knowledge", expected + 1)
    mark.write_text(f"{0 if finishes else expected + 1} {entries + 1}")
    mark.replace(truth)
    if not finishes:
        raise KeyboardInterrupt
    return entries + 1


def main(folder: Path, n: int, seed: int) -> None:
    rng = random.Random(seed)
    while int((folder / "truth").read_text().split()[1]) < n:
        try:
            with run_folder(folder / "strain.nc", "key") as run:
                enter(run, folder, rng)
        except KeyboardInterrupt:
            continue
        except OutputError as error:
            if "another process is writing" not in str(error):
                print(f"ERROR {error}", flush=True)
                os._exit(5)
            time.sleep(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
