"""What a run survives, counted: kills, full and broken drives, races, flipped bits, hostile files, memory.

    python benchmarks/faults.py kills --n 200      maps killed at random moments, each followed by the same command
    python benchmarks/faults.py changes            a fault at every change of a map on the drive, each kind
    python benchmarks/faults.py races --n 10000    entries into a run folder by two, three and four processes
    python benchmarks/faults.py flips --n 10000    flipped bits of the state, and a fifth as many of a model
    python benchmarks/faults.py mutants --n 20000  structured mutations of each format (--only npy, model... for one)
    python benchmarks/faults.py memory             peak of `map --memory 1` by how a file is stored
    python benchmarks/faults.py hashing            cost of hashing patterns as they are read

Needs Linux and a C compiler; the programs are those of tests/faults.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT / "tests")  # in place of this folder, whose faults.py would hide the folder of that name

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402


def kills(n: int) -> None:
    """Kill a map at random moments `n` times; compare every result with that of an undisturbed run."""
    from cyclestrain.simulation import uniform

    with tempfile.TemporaryDirectory() as home_name:
        home = Path(home_name)
        made = uniform(scan=(16, 16), detector=(96, 96), radius=3.0, background=0.2, drift=1.0, seed=2)
        np.save(home / "scan.npy", np.asarray(made.scan.source))
        program = (
            "import sys; from cyclestrain import cli, data; from cyclestrain.calibration import subset;"
            "subset.SAMPLE_BYTES = 50 * 96 * 96 * 2; spans = data.Scan._spans;"
            "data.Scan._spans = lambda self, n: spans(self, 16 * self.pattern_bytes); sys.exit(cli.main(sys.argv[1:]))"
        )
        line = [sys.executable, "-W", "ignore", "-c", program, "map", "scan.npy", "-o", "strain.nc"]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(line, cwd=home, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        begin = time.perf_counter()
        assert start().wait() == 0
        lasts = time.perf_counter() - begin
        right = xr.load_dataset(home / "strain.nc", engine="h5netcdf")
        rng, killed, differing, left_over, runs = np.random.default_rng(0), 0, 0, 0, 0
        (home / "strain.nc").unlink()
        while killed < n:
            process = start()
            try:
                process.wait(rng.uniform(0.2, 1.0) * lasts)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            if not (home / "strain.nc").exists() and rng.random() < 0.5:
                continue  # killed again before it may finish
            if not (home / "strain.nc").exists() or len(list(home.iterdir())) > 2:
                (home / "strain.nc").unlink(missing_ok=True)
                assert start().wait() == 0
            runs += 1
            differing += not xr.load_dataset(home / "strain.nc", engine="h5netcdf").equals(right)
            left_over += len(list(home.iterdir())) != 2
            (home / "strain.nc").unlink()
        print(f"kills: {killed} in {runs} runs to the end, {differing} differing results, {left_over} with leftovers")


def changes() -> None:
    """A fault at every change of a map on the drive."""
    from faults.drive import failing_drive
    from faults.test_drive import map_killed_at

    for kind in ("kill", "full", "broken"):
        with (
            tempfile.TemporaryDirectory() as shim,
            tempfile.TemporaryDirectory() as home,
            failing_drive(Path(shim)) as runner,
        ):
            done = map_killed_at(runner, Path(home), kind, slice(None))
            print(f"changes: {done} of a map with fault {kind!r}, 0 differing results, 0 leftovers", flush=True)


def races(n: int) -> None:
    """Entries into one run folder by processes that race."""
    from faults.test_races import race

    for processes in (2, 3, 4):
        with tempfile.TemporaryDirectory() as home:
            print(
                f"races: {race(Path(home), processes, n)} entries of {processes} processes, 0 with two owners",
                flush=True,
            )


def flips(n: int) -> None:
    """Flipped bits of the state of a map and of a model: the slow tests, with another number."""
    environment = {**os.environ, "FAULT_FLIPS": str(n)}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", str(ROOT / "tests/faults/test_flips.py")]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    print(f"flips: {n} of the state, {n // 5} of a model: {done.stdout.strip().splitlines()[-1]}")


def mutants(n: int, only: str | None, seed: int) -> None:
    """Structured mutations of every format, and of a model."""
    from faults.models import save_small_model
    from faults.mutants import FORMATS, safetensors
    from faults.test_mutants import MEMORY, MODEL_MEMORY, campaign

    for name in [*FORMATS, "model"] if only is None else [only]:
        if name == "model":
            with tempfile.TemporaryDirectory() as home:
                make = safetensors(save_small_model(Path(home, "m.safetensors")).read_bytes())
        else:
            make = FORMATS[name]
        begin = time.perf_counter()
        counts = campaign(make, n, seed, memory=MODEL_MEMORY if name == "model" else MEMORY)
        print(f"mutants: {name}: {dict(counts)} in {time.perf_counter() - begin:.0f} s, none hung or died", flush=True)


STORED = {
    "contiguous": {},
    "compressed, a chunk per row": {"chunks": (1, 128, 128, 128), "compression": "gzip", "compression_opts": 1},
    "a chunk per pattern": {"chunks": (1, 1, 128, 128)},
    "a chunk per detector pixel": {"chunks": (128, 128, 1, 1)},
}


def memory() -> None:
    """Peak of the memory of `map --memory 1` for one scan stored in several ways."""
    from cyclestrain.simulation import uniform

    print("| stored | size | peak memory of `--memory 1` |\n|---|---|---|")
    made = uniform(scan=(128, 128), detector=(128, 128), radius=3.0, background=0.2, seed=2)
    patterns = np.asarray(made.scan.source)
    program = (
        "import resource, sys; from cyclestrain import cli; code = cli.main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024); sys.exit(code)"
    )
    for name, options in STORED.items():
        with tempfile.TemporaryDirectory() as home:
            path = Path(home, "scan.h5")
            with h5py.File(path, "w") as file:
                file.create_dataset("data", data=patterns, **options)
            line = [sys.executable, "-c", program, "map", str(path), "-o", str(Path(home, "a.nc")), "--memory", "1"]
            done = subprocess.run(line, capture_output=True, text=True, check=True)
            peak = int(done.stdout.split()[-1]) / 1e9
            print(f"| {name} | {path.stat().st_size / 1e9:.2f} GB | {peak:.2f} GB |", flush=True)


def hashing() -> None:
    """Time to read and to hash a pattern of 256x256 pixels."""
    from cyclestrain.io import read, watched

    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "scan.npy")
        np.save(path, np.random.default_rng(0).poisson(1.0, (32, 32, 256, 256)).astype(np.uint16))
        times = {}
        for name, scan in (("read", read(path)), ("read and hashed", watched(read(path)))):
            best = np.inf
            for _ in range(5):
                begin = time.perf_counter()
                for row in range(32):
                    scan.source[row]
                best = min(best, time.perf_counter() - begin)
            times[name] = best / 1024 * 1e6
        print("hashing: " + ", ".join(f"{name} {value:.1f} us a pattern" for name, value in times.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "changes", "races", "flips", "mutants", "memory", "hashing"])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--only", choices=["npy", "npz", "zarr", "hdf5", "matlab", "model"])
    parser.add_argument("--seed", type=int, default=2, help="of the mutations")
    given = parser.parse_args()
    if importlib.util.find_spec("hypothesis") is None:
        parser.error("install the tools of development first: pip install -e .[dev]")
    counted = {"kills": kills, "races": races, "flips": flips}
    if given.what in counted:
        counted[given.what](given.n)
    elif given.what == "mutants":
        mutants(given.n, given.only, given.seed)
    else:
        {"changes": changes, "memory": memory, "hashing": hashing}[given.what]()


if __name__ == "__main__":
    main()
