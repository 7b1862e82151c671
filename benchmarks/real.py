"""The semi-real benchmark: recorded patterns, moved by known deformations, mapped by cyclestrain, py4DSTEM and quantem.

    python benchmarks/real.py                                  # everything, about an hour on two cores
    python benchmarks/real.py --sets step-disks second-merlin  # these; the rows of the others stay in real.csv
    python benchmarks/real.py --quick                          # 16 x 16 positions, the higher dose, into ./real-quick

The recorded patterns are third-party data, in the folder that CYCLESTRAIN_REAL_DATA names (`../shared/data/real` beside
the repository); how a pattern becomes a scan of known truth is in `semireal.py`, the specimens are in `specimens.py`,
what is measured in `real_errors.py`.
The peers are told lattice, rotation, beam centre and disk radius; a position of a second structure is taken from a run
that is told that structure. Writes `real.md` and `real.csv` into the output folder after every scan.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from measuring import markdown
from real_errors import Found, Row, errors, measures, read, save
from real_page import EVERYWHERE, FINAL, PEER_NAMES, RAW, text
from semireal import apart, folder, record, recorded_lattice, take_apart
from specimens import LAYOUTS, PURE, Crystal, Specimen, parts, turn

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import compare as peers

import cyclestrain as cs


@dataclass(frozen=True)
class Set:
    """One specimen seen with one recorded pattern.

    Attributes
    ----------
    name
        For the command line and the tables.
    layout
        Key of `specimens.LAYOUTS`.
    pattern, second
        Keys of `semireal.RECORDED`: the matrix, and the second structure where there is one.
    counts
        Electrons per pattern, the lower and the higher dose.
    tilt
        How much the logarithm of a reflection's intensity varies between crystals and along the scan.
    film
        Part of the counts from an amorphous film, at the first and at the last column.
    ellipse
        Ratio of the axes of the detector's distortion, its long axis at 30 degrees.
    turned
        Whether disks turn with their crystal, their reflections put onto their lattice (see `real_page.ABOUT`).
    """

    name: str
    layout: str
    pattern: str
    counts: tuple[float, ...]
    second: str = ""
    tilt: float = 0.2
    film: tuple[float, float] = (0.0, 0.0)
    ellipse: float = 1.0
    turned: bool = False


SETS = (
    Set("bend-spots", "bend", "spots", (1e5, 1e6)),
    Set("bend-disks", "bend", "disks", (1e4, 1e5)),
    Set("bend-many", "bend", "many", (3e4, 3e5)),
    Set("bend-uneven", "bend", "uneven", (1e4, 1e5)),
    Set("bend-merlin", "bend", "merlin", (1e4, 1e5)),
    Set("film-uneven", "bend", "uneven", (1e4, 1e5), film=(0.1, 0.6)),
    Set("film-merlin", "bend", "merlin", (1e4, 1e5), film=(0.1, 0.6)),
    Set("grains-spots", "grains", "spots", (1e5, 1e6), turned=True),
    Set("grains-uneven", "grains", "uneven", (1e4, 1e5), turned=True),
    Set("grains-merlin", "grains", "merlin", (1e4, 1e5), turned=True),
    Set("overlap-disks", "overlap", "disks", (1e4, 1e5), turned=True),
    Set("overlap-merlin", "overlap", "merlin", (1e4, 1e5), turned=True),
    Set("second-uneven", "precipitates", "uneven", (1e4, 1e5), second="disks"),
    Set("second-merlin", "precipitates", "merlin", (1e4, 1e5), second="spots"),
    Set("mosaic-disks", "mosaic", "disks", (1e4, 1e5)),
    Set("mosaic-merlin", "mosaic", "merlin", (1e4, 1e5)),
    Set("step-disks", "step", "disks", (1e4, 1e5)),
    Set("step-uneven", "step", "uneven", (1e4, 1e5)),
    Set("ellipse-uneven", "grains", "uneven", (1e4, 1e5), ellipse=1.02, turned=True),
    Set("ellipse-merlin", "grains", "merlin", (1e4, 1e5), ellipse=1.02, turned=True),
)
OTHERS = "scan_32"
"""The set of a scan that others simulated, taken as it is."""
OTHERS_COUNTS = 300.0
OTHERS_RADIUS = 2.2
"""Of its spots, pixels: twice the standard deviation of their Gaussian."""
ELLIPSE_ANGLE = 30.0


@dataclass(frozen=True)
class Case:
    """A set at one dose and seed.

    Attributes
    ----------
    set, counts, side, seed
        Which.
    specimen
        The truth.
    draws
        Scans with independent noise, ``(ry, rx, qy, qx)`` each; the first one is what the peers get.
    lattices
        Of every structure: reflections ``(y, x)`` in pixels, unrotated.
    beam, radius
        Direct beam ``(y, x)`` and radius of the disks, pixels.
    """

    set: str
    counts: float
    side: int
    seed: int
    specimen: Specimen
    draws: list[np.ndarray]
    lattices: list[np.ndarray]
    beam: np.ndarray
    radius: float


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [s.name for s in SETS] + [OTHERS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="16 x 16 positions, the higher dose")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--scan", type=int, default=None, help="positions along each side, by default 20")
    parser.add_argument("--peers", nargs="*", choices=list(PEER_NAMES), default=list(PEER_NAMES))
    parser.add_argument("--output", type=Path, default=None, help="by default docs/benchmark")
    given = parser.parse_args()
    given.scan = given.scan or (16 if given.quick else 20)
    docs = Path(__file__).parents[1] / "docs" / "benchmark"
    given.output = given.output or (Path("real-quick") if given.quick else docs)
    return given


def main() -> None:
    """Measure every set, dose and seed; rows of earlier runs stay until their method is run on their set again."""
    given = parse_arguments()
    folder()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = read(given.output / "real.csv")
    for seed in given.seeds:
        for make in cases(given, seed):
            case = make()
            print(case.set, f"{case.counts:g}", case.seed, file=sys.stderr, flush=True)
            new = list(measured(case, given.peers))
            again = {row.method for row in new}
            rows = [row for row in rows if row.condition != new[0].condition or row.method not in again] + new
            write(rows, given.output)
    print((given.output / "real.md").read_text())


def cases(given: argparse.Namespace, seed: int) -> Iterator[Callable[[], Case]]:
    """Makers of every scan that is asked for."""
    for one in SETS:
        if one.name in given.sets:
            for counts in one.counts[-1:] if given.quick else one.counts:
                yield lambda one=one, counts=counts: semireal_case(one, counts, given.scan, seed)
    if OTHERS in given.sets:
        yield lambda: others_case(seed, whole=True)
        yield lambda: others_case(seed, whole=False)


def semireal_case(one: Set, counts: float, side: int, seed: int) -> Case:
    """Two draws of a set."""
    specimen = specimen_of(one, side, seed)
    draws = record(specimen, counts, [np.random.default_rng([seed, k]) for k in (1, 2)])
    main_pattern = apart(one.pattern)
    seconds = [apart(name, main_pattern.radius) for name in specimen.patterns[1:]]
    lattices = [recorded_lattice(taken) for taken in (main_pattern, *seconds)]
    beam, radius = main_pattern.beam, main_pattern.radius
    return Case(one.name, counts, side, seed, specimen, draws, lattices, beam, radius)


def specimen_of(one: Set, side: int, seed: int) -> Specimen:
    """Specimen of a set with its film, tilt and ellipse."""
    second = (one.second,) if one.second else ()
    made = LAYOUTS[one.layout](one.pattern, side, np.random.default_rng(seed), *second)
    stretch = np.diag([one.ellipse**-0.5, one.ellipse**0.5])  # y, x
    turned = turn(np.deg2rad(ELLIPSE_ANGLE))
    return replace(
        made,
        crystals=tuple(replace(crystal, tilt=one.tilt) for crystal in made.crystals),
        film=np.broadcast_to(np.linspace(*one.film, side), (side, side)),
        distortion=turned @ stretch @ turned.T,
        turned=one.turned,
    )


def others_case(seed: int, *, whole: bool) -> Case:
    """The scan of others: as it is, or its counts dealt at random into two independent halves."""
    with np.load(folder() / f"{OTHERS}.npz") as file:
        data, phase, grain, purity = (file[name] for name in ("data", "phase_id", "grain_id", "purity"))
        theta = np.deg2rad(file["theta"].astype(float))
    inside = purity > PURE
    reference, lattices, beams = np.zeros(phase.shape, bool), [], []
    crystals = []
    for k in np.unique(phase):
        largest = inside & (grain == np.bincount(grain[inside & (phase == k)]).argmax())
        taken = take_apart(data[largest].mean(0), OTHERS_RADIUS)
        reference |= largest
        lattices.append(recorded_lattice(taken) @ turn(theta[largest].mean()))  # turned back
        beams.append(taken.beam)
        crystals.append(Crystal(int(k), turn(theta), np.where(phase == k, purity, 0.0)))
    specimen = Specimen(
        (OTHERS,) * len(lattices), tuple(crystals), (~inside).astype(int), ("inside", "boundary"), reference,
        np.zeros(phase.shape), dilates=True,
    )  # fmt: skip
    half = np.random.default_rng(seed).binomial(data, 0.5).astype(data.dtype)
    draws, counts = ([data], OTHERS_COUNTS) if whole else ([half, data - half], OTHERS_COUNTS / 2)
    return Case(
        OTHERS, counts, len(phase), seed, specimen, draws, lattices, np.mean(beams, 0), OTHERS_RADIUS,
    )  # fmt: skip


def measured(case: Case, wanted: list[str]) -> Iterator[Row]:
    """Rows of every method and region."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        np.save(place / "reference.npy", case.specimen.reference)
        for k, draw in enumerate(case.draws):
            with h5py.File(place / f"{k}.h5", "w") as file:
                file["data"] = draw
        yield from our_rows(case, place)
        for peer in wanted:
            yield from peer_rows(case, peer, place)


def our_rows(case: Case, place: Path) -> Iterator[Row]:
    """Rows of `cs.map` with untouched settings; what it said where it gave no result."""
    maps: list[xr.Dataset] = []
    said: list[str] = []
    start = time.perf_counter()
    for k in range(len(case.draws)):
        try:
            maps.append(cs.map(place / f"{k}.h5", reference=str(place / "reference.npy"), seed=case.seed))
        except Exception as error:  # a crash is a result of the benchmark
            said.append(sentence(error))
    seconds = (time.perf_counter() - start) / len(case.draws)
    for method, suffix in ((RAW, "_raw"), (FINAL, "")):
        found = [errors(case.specimen, one, suffix, blend=method == FINAL) for one in maps]
        yield from rows_of(case, method, found, seconds, said)


def peer_rows(case: Case, peer: str, place: Path) -> Iterator[Row]:
    """Rows of a peer in its fast mode on the first draw, one run for every structure."""
    start = time.perf_counter()
    try:
        runs = [peer_maps(case, peer, place, k) for k in range(len(case.lattices))]
    except Exception as error:
        yield from rows_of(case, PEER_NAMES[peer], [], time.perf_counter() - start, [sentence(error)])
        return
    seconds = time.perf_counter() - start
    structure, maps = xr.DataArray(case.specimen.structure, dims=("ry", "rx")), runs[0]
    for k, run in enumerate(runs[1:], 1):
        maps = run.where(structure == k, maps)
    maps["class"] = structure
    found = errors(case.specimen, maps, "", blend=False)
    yield from rows_of(case, PEER_NAMES[peer], [found], seconds, [])


def peer_maps(case: Case, peer: str, place: Path, structure: int) -> xr.Dataset:
    """Maps of a peer that is told one structure, relative to the reference of that structure."""
    specimen = case.specimen
    centre = np.broadcast_to(case.beam, (*specimen.structure.shape, 2))
    told = peers.Told(case.lattices[structure], parts(specimen.gradient)["rotation"], centre, case.radius)
    told.save(place / "told.npz")
    reference = specimen.reference & (specimen.structure == structure)
    mode = next(iter(peers.MODES[peer]))
    return peers.run_peer(peer, mode, place / "0.h5", place / "told.npz", reference).maps


def sentence(error: Exception) -> str:
    """What an exception said, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def rows_of(case: Case, method: str, found: list[Found], seconds: float, said: list[str]) -> Iterator[Row]:
    """A row for the whole scan and one for each of its regions; where there is no result, one that says why."""
    failure = "; ".join(dict.fromkeys(said))
    regions = {EVERYWHERE: np.ones(case.specimen.region.shape, bool)}
    if len(case.specimen.regions) > 1 and found:
        regions |= {name: case.specimen.region == k for k, name in enumerate(case.specimen.regions)}
    for region, mask in regions.items():
        row = Row(case.set, case.counts, case.side, case.seed, method, region, seconds=seconds, failure=failure)
        yield replace(row, **measures(case.specimen, found, mask)) if found else replace(row, valid=0.0)


def write(rows: list[Row], output: Path) -> None:
    """Every row into `real.csv`, means over seeds into `real.md`."""
    order = [s.name for s in SETS] + [OTHERS]
    rows = sorted(rows, key=lambda row: (order.index(row.set), row.counts, row.seed))
    save(rows, output / "real.csv")
    (output / "real.md").write_text(text(rows, sets_table()))


def sets_table() -> str:
    """What every set is."""
    lines = []
    for one in SETS:
        first_line = (LAYOUTS[one.layout].__doc__ or "").splitlines()[0]
        extra = f" Film: {one.film[0]:.0%} to {one.film[1]:.0%} of the counts." if any(one.film) else ""
        extra += f" Ellipse {one.ellipse:g}." if one.ellipse != 1 else ""
        extra += " Turned." if one.turned else ""
        pattern = " + ".join(filter(None, (one.pattern, one.second)))
        lines.append([one.name, pattern, first_line + extra])
    lines.append([OTHERS, "none", "A scan simulated by others, as it is (300), and dealt into two halves (150)."])
    return markdown(["set", "recorded pattern", "specimen"], lines)


if __name__ == "__main__":
    main()
