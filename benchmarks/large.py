"""A scan much larger than memory should be needed for: wall time and peak memory, kills, compressed files, read-ahead.

    python benchmarks/large.py --kills 3 > docs/benchmark/large.md     # 8.6 GB: a quarter of an hour, 12 GB of disk
    python benchmarks/large.py --chunked >> docs/benchmark/large.md    # compressed files, read-ahead
    python benchmarks/large.py --costs >> docs/benchmark/large.md      # fixed cost, cost per pattern: 4 GB of disk
    python benchmarks/large.py --sparse                                # scans stored as events: 4 GB of disk

The scan is simulated if it is not there, or named with --file. `cyclestrain map` is started as a person types it, in a
process of its own, with default settings. Peak memory is that of the process and all its children, looked up every
20 ms, or the system's own record of the largest one where that is more. A killed run gets SIGKILL at moments drawn at
random from the time the whole run took; then the same command is given again.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from measuring import markdown

from cyclestrain.machine import available_memory

SIMULATE = (
    "simulate",
    "polycrystal",
    "--scan",
    "256",
    "256",
    "--background",
    "0.5",
    "--grain-size",
    "250",
    "--seed",
    "301",
)
LOOK_EVERY = 0.02  # seconds
LIMIT = 3e9
CHUNK = (1, 8)
"""Patterns in a chunk of the compressed file: half a megabyte, as detectors' writers choose it."""
SLOW = 200e6
"""Bytes per second of the drive that is imitated."""
PROGRAM = """
import sys, time
from cyclestrain import cli, data
from cyclestrain.io import read, sources
job, wait, ahead, *arguments = sys.argv[1:]
get = sources.Stored.__getitem__
def slow(self, key):
    start = time.perf_counter()
    values = get(self, key)
    time.sleep(max(0.0, values.nbytes / float(wait) - (time.perf_counter() - start)))
    return values
if wait != "0":
    sources.Stored.__getitem__ = slow
if ahead == "0":
    data._ahead = lambda read, spans: (read(*span) for span in spans)
if job == "read":
    print(sum(len(block.positions) for block in read(arguments[0]).blocks()))
else:
    sys.exit(cli.main(arguments))
"""
"""Reads a scan once, or maps it; from a slow drive, or with every block read only when it is its turn."""
IN_MEMORY = (
    "import sys, numpy as np, cyclestrain as cs; from cyclestrain.io import read;"
    "scan = read(sys.argv[1]); array = np.empty(scan.shape, scan.source.dtype);\n"
    "for row in range(scan.shape[0]): array[row] = scan.source[row]\n"
    "import time; start = time.perf_counter(); cs.map(array, sys.argv[2], force=True);"
    "print(time.perf_counter() - start)"
)


@dataclass(frozen=True)
class Run:
    """What a process came to.

    Attributes
    ----------
    seconds
        Wall time.
    peak_bytes
        Most memory of the process and its children together, as far as it was looked at, or of the largest one.
    code
        Exit code, negative where a signal ended it.
    said
        Standard output and error.
    processor_seconds
        Processor time of all threads of the process.
    """

    seconds: float
    peak_bytes: float
    code: int
    said: str
    processor_seconds: float


def _tree(pid: int) -> Iterator[int]:
    """`pid` and all its descendants."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return
    for child in children.split():
        yield from _tree(int(child))


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def watched(command: Sequence[str], log: Path, stop_after: float = float("inf")) -> Run:
    """Run a command, look at its memory, and kill it `stop_after` seconds from its start."""
    start, peak = time.perf_counter(), 0
    with log.open("w+") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, sum(map(_resident, _tree(process.pid))))
            if time.perf_counter() - start > stop_after:
                os.kill(process.pid, signal.SIGKILL)  # `Popen.kill` would take the exit status away
            time.sleep(LOOK_EVERY)
        stream.seek(0)
        said = stream.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, spent = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Run(seconds, max(peak, 1024 * usage.ru_maxrss), process.returncode, said, spent)


def finished(run: Run) -> Run:
    """`run`, which has to have ended well."""
    if run.code != 0:
        sys.exit(f"exit code {run.code}:\n{run.said}")
    return run


def program(*arguments: str | Path) -> list[str]:
    """Command line of the installed program."""
    return [sys.executable, "-m", "cyclestrain.cli", *map(str, arguments)]


def killed(scan: Path, output: Path, seconds: float, n: int, seed: int) -> tuple[list[Run], Run]:
    """Map `scan` to `output` in spite of `n` kills within the time a run takes; the killed runs and the last one."""
    rng = random.Random(seed)
    moments = sorted(rng.uniform(0, seconds) for _ in range(n))
    runs = []
    for before, moment in zip([0.0, *moments], moments, strict=False):
        run = watched(program("map", scan, "-o", output), output.with_suffix(".log"), moment - before)
        if run.code != -9 or output.exists():
            sys.exit(f"the run ended before it was killed: exit code {run.code}\n{run.said}")
        runs.append(run)
        reached = len(list(output.parent.glob(f".{output.name}.run/block*.npz")))
        print(f"killed after {run.seconds:.1f} s, {reached} finished blocks on disk", file=sys.stderr)
    return runs, finished(watched(program("map", scan, "-o", output), output.with_suffix(".log")))


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a result file, of all groups, by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Names of the arrays that are not the same bit by bit."""
    first, second = arrays(one), arrays(other)
    both = first.keys() & second.keys()
    unequal = [name for name in both if np.asarray(first[name]).tobytes() != np.asarray(second[name]).tobytes()]
    return sorted({*unequal, *(first.keys() ^ second.keys())})


def part_of(scan: Path, target: Path, side: int, **options: object) -> Path:
    """The first `side` x `side` positions of `scan` in a file of their own."""
    if not target.exists():
        with h5py.File(scan) as source, h5py.File(target, "w") as file:
            data = source["data"]
            copy = file.create_dataset("data", (side, side, *data.shape[2:]), data.dtype, **options)
            for row in range(0, side, CHUNK[0]):
                copy[row : row + CHUNK[0]] = data[row : row + CHUNK[0], :side]
    return target


def stage_table(said: str) -> str:
    """Times of the stages, as the program told them."""
    rows = [line.rsplit(": ", 1) for line in said.splitlines() if line.endswith(" s") and not line.startswith(" ")]
    return markdown(["stage", "time"], rows)


def machine() -> str:
    cpu = next((line.split(": ")[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = available_memory() / 1e9
    return f"{os.cpu_count()} cores ({cpu or platform.processor()}), {memory:.0f} GB of memory, {platform.system()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def compile_all(scan: Path, work: Path) -> None:
    """Map a corner of the scan, which compiles the loops: the first run on a machine takes half a minute longer."""
    target = work / "corner.nc"
    target.unlink(missing_ok=True)
    finished(watched(program("map", scan, "-o", target, "--scan-roi", "0:40,0:40"), work / "corner.log"))


def whole_run(scan: Path, work: Path) -> tuple[Path, float]:
    """Map the whole scan, with the memory of the default and with the least; its result and wall time."""
    output, modest = work / "strain.nc", work / "modest.nc"
    for old in (output, modest):
        old.unlink(missing_ok=True)
    run = finished(watched(program("map", scan, "-o", output), work / "strain.log"))
    least = finished(watched(program("map", scan, "-o", modest, "--memory", "1"), work / "modest.log"))
    with h5py.File(scan) as file:
        shape, dtype = file["data"].shape, file["data"].dtype
    n, made = shape[0] * shape[1], " ".join(SIMULATE)
    print(f"## {n:,} patterns of {shape[2]}x{shape[3]} {dtype}, {scan.stat().st_size / 1e9:.2f} GB\n")
    print(f"```console\n$ cyclestrain {made} -o big.h5\n$ cyclestrain map big.h5 -o strain.nc\n```\n")
    print(f"Machine: {machine()}. {run.said.splitlines()[-1].removeprefix(f'wrote {output}: ')}.\n")
    rows = [
        [
            name, f"{each.seconds:.0f} s", f"{each.processor_seconds:.0f} s", f"{n / each.seconds:.0f}",
            f"{each.peak_bytes / 1e9:.2f} GB",
        ]
        for name, each in (("as above", run), ("`--memory 1`", least))
    ]  # fmt: skip
    print(markdown(["command", "wall time", "processor time", "patterns/s", "peak memory"], rows))
    print(f"\nThe limit is {LIMIT / 1e9:g} GB. Stages of the first run:\n\n{stage_table(run.said)}\n", flush=True)
    return output, run.seconds


def report_kills(scan: Path, whole: Path, seconds: float, n: int, seed: int) -> None:
    """Map the scan again with `n` kills and compare with the result of the uninterrupted run."""
    output = whole.with_name("killed.nc")
    output.unlink(missing_ok=True)
    stopped, last = killed(scan, output, seconds, n, seed)
    unequal = differences(whole, output)
    lasted = ", ".join(f"{each.seconds:.0f} s" for each in stopped)
    peak = max(each.peak_bytes for each in [*stopped, last]) / 1e9
    print(f"## Killed {n} times\n")
    print(f"The same command, killed (SIGKILL) {lasted} after it was started and started again each time, ended after")
    print(f"another {last.seconds:.0f} s (peak memory {peak:.2f} GB). Compared with the uninterrupted run, ", end="")
    same = f"all {len(arrays(whole))} arrays of the result are the same bit for bit"
    print(f"{', '.join(unequal)} DIFFER.\n" if unequal else f"{same}.\n", flush=True)


def timed(name: str, n: int, log: Path, *command: str | Path) -> Run:
    """The shortest of `n` runs of Python with these arguments."""
    runs = [finished(watched([sys.executable, *map(str, command)], log)) for _ in range(n)]
    best = min(runs, key=lambda run: run.seconds)
    print(f"{name}: {best.seconds:.1f} s of {n}, {best.peak_bytes / 1e9:.2f} GB", file=sys.stderr)
    return best


def passes(run: Run) -> float:
    """Seconds of the two stages in which `map` reads the whole scan."""
    times = dict(line.rsplit(": ", 1) for line in run.said.splitlines() if line.endswith(" s") and ": " in line)
    return sum(float(times[name].removesuffix(" s")) for name in ("fit patterns", "refit from neighbours"))


def chunked(scan: Path, work: Path, side: int) -> None:
    """A part of the scan, compressed and not, on a slow drive: reading alone, and with and without read-ahead."""
    n, rows = side * side, []
    plain = part_of(scan, work / f"plain{side}.h5", side)
    with h5py.File(scan) as file:
        options = {"chunks": (*CHUNK, *file["data"].shape[2:]), **hdf5plugin.Bitshuffle(cname="lz4")}
    packed = part_of(scan, work / f"packed{side}.h5", side, **options)
    output, log = work / "part.nc", work / "part.log"
    memory = timed("computing alone", 1, log, "-c", IN_MEMORY, plain, work / "memory.nc")
    for name, file, wait, times in (
        ("contiguous", plain, 0, 2),
        ("bitshuffle/LZ4", packed, 0, 2),
        (f"contiguous, {SLOW / 1e6:.0f} MB/s", plain, SLOW, 2),
    ):
        start = ("-c", PROGRAM)
        mapping = ("map", file, "-o", output, "--force")
        read = timed(f"{name}, reading", times, log, *start, "read", str(wait), "1", file)
        alone = timed(f"{name}, one after the other", times, log, *start, "map", str(wait), "0", *mapping)
        ahead = timed(f"{name}, map", times, log, *start, "map", str(wait), "1", *mapping)
        size, times_of = (
            f"{file.stat().st_size / 1e9:.2f} GB",
            (read.seconds, passes(alone), passes(ahead), ahead.seconds),
        )
        rows.append([name, size, *(f"{seconds:.1f} s" for seconds in times_of), f"{n / ahead.seconds:.0f}"])
    print(f"""## Compressed, chunked, slow: {side}x{side} positions of that scan

Chunks of {CHUNK[0]}x{CHUNK[1]} patterns; the shortest of two runs each; the first two files are in the system's cache,
the slow drive is imitated by waiting. `map` reads everything twice: *both passes* is the time of these two stages, in
which each block is read while the one before is worked on; *one after the other* is without that. Reading and `map` are
processes from start to end; mapping an array that is in memory takes {float(memory.said):.1f} s.
""")
    print(
        markdown(
            ["file", "size", "reading once", "both passes, one after the other", "both passes", "map", "patterns/s"],
            rows,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="scan to map, patterns at /data; by default one is simulated")
    parser.add_argument("--work", type=Path, default=Path("build/large"), help="folder for what is written")
    parser.add_argument("--kills", type=int, default=0, help="kill a second run so many times and compare")
    parser.add_argument("--seed", type=int, default=7, help="of the moments of the kills")
    parser.add_argument("--chunked", action="store_true", help="measure compressed files and read-ahead instead")
    parser.add_argument("--costs", action="store_true", help="measure the fixed cost and that of a pattern instead")
    parser.add_argument("--sparse", action="store_true", help="measure scans stored as events instead")
    parser.add_argument("--side", type=int, default=96, help="positions along each side of the compressed file")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.costs:
        import large_costs

        large_costs.report(options.work)
        return
    if options.sparse:
        import large_sparse

        large_sparse.report(options.work)
        return
    scan = options.file or options.work / "big.h5"
    if not scan.exists():
        subprocess.run(program(*SIMULATE, "-o", scan), check=True)
    compile_all(scan, options.work)
    if options.chunked:
        chunked(scan, options.work, options.side)
        return
    print(HEAD)
    output, seconds = whole_run(scan, options.work)
    if options.kills:
        report_kills(scan, output, seconds, options.kills, options.seed)


HEAD = """# A large scan

Written by `python benchmarks/large.py --kills 3 > docs/benchmark/large.md` and `python benchmarks/large.py --chunked >>
docs/benchmark/large.md`. A corner of the scan is mapped before, which compiles the loops: the first run on a machine
takes longer.
"""

if __name__ == "__main__":
    main()
