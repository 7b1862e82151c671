"""What `map` costs at all and for each further pattern; printed by `python benchmarks/large.py --costs`.

The fixed cost and the cost of a pattern are those of the line through two scans of unlike size. Whether it stays one is
seen on scans that repeat the smaller one (an HDF5 virtual data set). Times are those of whole processes; processor time
is that of all threads together and tells more than wall time where other work runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
from large import Run, finished, machine, program, watched
from measuring import markdown

SIDE, WIDER = 64, 128
"""Positions along each side of both scans. The wider one has patterns of its own: in one that repeats the other, the
same noise would be learned four times."""
CASES = ((256, 0.25), (256, 0.5), (256, 0.8), (128, 0.5), (512, 0.5))
"""Side of the detector, pixels, and share of the background."""


def simulated(work: Path, detector: int, background: float, side: int = SIDE) -> Path:
    """The scan of one case, simulated unless it is there."""
    path = work / f"cost-{detector}-{background:g}-{side}.h5"
    if not path.exists():
        size = ("--scan", side, side, "--detector", detector, detector, "--background", background, "--seed", 301)
        finished(watched(program("simulate", "polycrystal", *map(str, size), "-o", path), path.with_suffix(".log")))
    return path


def repeated(scan: Path, times: int) -> Path:
    """A scan whose rows and columns are those of `scan` so many times."""
    if times == 1:
        return scan
    path = scan.with_name(f"{scan.stem}-x{times}.h5")
    with h5py.File(scan) as source, h5py.File(path, "w") as file:
        data = source["data"]
        rows, columns = data.shape[:2]
        layout = h5py.VirtualLayout((times * rows, times * columns, *data.shape[2:]), data.dtype)
        part = h5py.VirtualSource(scan.name, "data", data.shape)
        for row in range(0, times * rows, rows):
            for column in range(0, times * columns, columns):
                layout[row : row + rows, column : column + columns] = part
        file.create_virtual_dataset("data", layout)
    return path


def mapped(scan: Path, *options: str | Path) -> Run:
    """One run of `map`."""
    output = scan.with_suffix(".nc")
    output.unlink(missing_ok=True)
    return finished(watched(program("map", scan, "-o", output, *options), scan.with_suffix(".log")))


def line(small: Run, large: Run, n_small: int, n_large: int) -> tuple[float, ...]:
    """Fixed seconds and microseconds per pattern, of wall and of processor time."""
    out = []
    for one, other in ((small.seconds, large.seconds), (small.processor_seconds, large.processor_seconds)):
        slope = (other - one) / (n_large - n_small)
        out += [one - slope * n_small, 1e6 * slope]
    return tuple(out)


def marginal(work: Path, cases: Sequence[tuple[int, float]]) -> Iterator[list[str]]:
    """Rows of the table of costs."""
    for detector, background in cases:
        scan, wide = (simulated(work, detector, background, side) for side in (SIDE, WIDER))
        mapped(scan)  # the first run of a kind may compile
        small, large = mapped(scan), mapped(wide)
        fixed, each, fixed_processor, each_processor = line(small, large, SIDE**2, WIDER**2)
        yield [
            f"{detector}x{detector}", f"{background:.0%}", f"{small.seconds:.1f} s", f"{fixed:.1f} s",
            f"{fixed_processor:.1f} s", f"{each:.0f} us", f"{each_processor:.0f} us",
            f"{large.peak_bytes / 1e9:.2f} GB",
        ]  # fmt: skip


def with_model(work: Path) -> list[str]:
    """The row of a scan that is mapped with the model of another."""
    scan, model = simulated(work, 256, 0.5), work / "cost.safetensors"
    if not model.exists():
        finished(watched(program("fit", scan, "-o", model, "--epochs", "1"), work / "fit.log"))
    run = mapped(scan, "--model", model)
    return ["`--model`", f"{SIDE**2:,}", f"{run.seconds:.1f} s", f"{run.processor_seconds:.1f} s",
            f"{run.peak_bytes / 1e9:.2f} GB"]  # fmt: skip


def growing(work: Path, times: Sequence[int]) -> Iterator[list[str]]:
    """Rows of a scan that is repeated more and more often."""
    for each in times:
        run = mapped(repeated(simulated(work, 256, 0.5), each))
        yield [
            f"{each}x{each}", f"{(each * SIDE) ** 2:,}", f"{run.seconds:.1f} s", f"{run.processor_seconds:.1f} s",
            f"{run.peak_bytes / 1e9:.2f} GB",
        ]  # fmt: skip


def report(work: Path, *, cases: Sequence[tuple[int, float]] = CASES, times: Sequence[int] = (1, 2, 4, 8)) -> None:
    """Print the tables."""
    print(f"## What a map costs\n\nMachine: {machine()}.\n")
    head = ["detector", "background", f"{SIDE}x{SIDE}", "fixed", "fixed, processor", "per pattern",
            "per pattern, processor", "peak memory"]  # fmt: skip
    print(markdown(head, list(marginal(work, cases))))
    print("\nLinear in the number of positions, in constant memory:\n")
    rows = [with_model(work), *growing(work, times)]
    print(markdown(["scan", "positions", "wall time", "processor time", "peak memory"], rows), flush=True)
