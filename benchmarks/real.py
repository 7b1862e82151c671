"""The semi-real benchmark: recorded patterns, moved by known deformations, mapped by cyclestrain, py4DSTEM and quantem.

    python benchmarks/real.py                                  # everything, about an hour on two cores
    python benchmarks/real.py --sets step-disks second-merlin  # these; the rows of the others stay in real.csv
    python benchmarks/real.py --quick                          # 16 x 16 positions, the higher dose, into ./real-quick

The recorded patterns are third-party data, in the folder that CYCLESTRAIN_REAL_DATA names (`../shared/data/real` beside
the repository); how a pattern becomes a scan of known truth is in `semireal.py`, the specimens are in `specimens.py`.
The peers are told lattice, rotation, beam centre and disk radius; a position of a second structure is taken from a run
that is told that structure. Writes `real.md` and `real.csv` into the output folder after every scan.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from measuring import markdown
from scipy.optimize import linear_sum_assignment
from semireal import apart, folder, record, recorded_lattice, take_apart
from specimens import COMPONENTS, LAYOUTS, PURE, Crystal, Specimen, parts, turn

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
        Whether disks turn with their crystal, their reflections put onto their lattice (see `ABOUT`).
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
SURELY_WRONG = 6.0
"""Stated sigmas beyond which a valid value is wrong."""
EVEN = 0.1
"""Where the two largest shares differ by less, which crystal is the dominant one, and so the rotation, has no truth."""
EVERYWHERE = "everywhere"
RAW, FINAL = "raw", "final"
PEER_NAMES = {"py4dstem": "py4DSTEM", "quantem": "quantem"}
METHODS = (RAW, FINAL, *PEER_NAMES.values())


ABOUT = """\
# Recorded patterns at known strain

`python benchmarks/real.py`: scans of {sides} positions, seeds: {seeds}. A recorded pattern is taken apart into its
reflections and a smooth rest; at every position each reflection, its measured shape unchanged, is put where
``g' = F^-T g`` of that position has it, and Poisson counts are drawn (`benchmarks/semireal.py`). *raw* is each pattern
alone, *final* the result of `cyclestrain map` with untouched settings but for the reference region, a corner of the
scan. The peers, in their fast modes, are told lattice, rotation, beam centre and disk radius, but no ellipse. Strain
and rotation (rad) are in units of 1e-3; electrons are per pattern. Every scan is drawn twice with independent noise;
errors are those of both draws, of the first alone for the peers. On a position with several crystals *final* is
compared with the mean of their strains weighted by their shares, every other method with the dominant crystal; rotation
with the dominant crystal, where its share leads by at least 0.1.

Where grains are turned by any angle (*turned*), what a disk holds turns with its crystal, about the centre of the disk,
and the reflections are put onto the lattice of the recorded pattern. Unturned contrast would move the apparent place of
a disk, and grains that lose reflections at the detector's edge would have another mean lattice, since recorded ones are
up to a pixel off it: both would fault the truth by up to 1e-3.
"""
ABOUT_VALID = """\
Per cent. *Wrong*: of the valid positions, those with an error of any component above 6 stated sigmas. *Entries*: number
of dictionary entries in each draw, of how many structures. *Class right*: of the valid positions. Seconds of a run, all
included.
"""
ABOUT_Z = """\
## Error over stated sigma, from two draws

Standard deviation over positions of ``(e1 - e2) / sqrt(s1^2 + s2^2)``, `e` the errors of the two draws and `s` their
stated sigmas: 1 if sigma is right. What the truth lacks, because the reflections of a recorded pattern do not sit
exactly on a lattice, is the same in both draws and drops out; so does every error that does not come from noise."""
ABOUT_PULL = """\
## Error over stated sigma, against the truth

Standard deviation of ``e / s``: as above, with bias that varies over the scan and the faults of the truth in it."""
ABOUT_COMMON = """\
## Error that both draws share, 1e-3

Root of the mean over positions of ``e1 e2``: bias and imperfect truth, without noise."""
ABOUT_PARTS = """\
Valid and wrong in per cent, errors in 1e-3.
"""


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


@dataclass(frozen=True)
class Row:
    """One method in one part of one scan; strain as a fraction, rotation in radians, NaN where a measure has no value.

    Attributes
    ----------
    set, counts, side, seed, method, region
        Which.
    valid
        Share of the positions that are valid, mean over the draws.
    mae_*
        Mean absolute error of the valid positions, the draws pooled.
    z_*
        Standard deviation of ``(e1 - e2) / sqrt(s1^2 + s2^2)`` over positions valid in both draws, where `e` are the
        errors and `s` the stated sigmas: what the truth lacks is the same in both and drops out.
    pull_*
        Standard deviation of ``e / s`` of both draws together: as `z_*`, but with all errors in it.
    common_*
        Root of the mean of ``e1 e2``, zero where that is negative: the error that both draws share.
    wrong
        Share of the valid positions with an error of any component above 6 sigma, the draws pooled.
    right_class
        Share of the valid positions in the right structure, structures named by the best assignment.
    found
        Number of dictionary entries in each draw, and how many structures there are.
    seconds
        Of one run, everything included.
    failure
        What a run said that gave no result.
    """

    set: str
    counts: float
    side: int
    seed: int
    method: str
    region: str
    valid: float = np.nan
    mae_exx: float = np.nan
    mae_eyy: float = np.nan
    mae_exy: float = np.nan
    mae_rotation: float = np.nan
    z_exx: float = np.nan
    z_eyy: float = np.nan
    z_exy: float = np.nan
    z_rotation: float = np.nan
    pull_exx: float = np.nan
    pull_eyy: float = np.nan
    pull_exy: float = np.nan
    pull_rotation: float = np.nan
    common_exx: float = np.nan
    common_eyy: float = np.nan
    common_exy: float = np.nan
    common_rotation: float = np.nan
    wrong: float = np.nan
    right_class: float = np.nan
    found: str = ""
    seconds: float = np.nan
    failure: str = ""

    @property
    def condition(self) -> tuple[str, float, int]:
        """Set, dose and seed: what one measurement replaces."""
        return self.set, self.counts, self.seed


@dataclass(frozen=True)
class Found:
    """Errors of one method on one draw.

    Attributes
    ----------
    error, sigma
        By component, NaN where not valid or without truth, shape ``(ry, rx)``.
    valid
        Where there is a value that is meant to be used.
    label
        Class found.
    entries
        Number of dictionary entries.
    """

    error: dict[str, np.ndarray]
    sigma: dict[str, np.ndarray]
    valid: np.ndarray
    label: np.ndarray
    entries: int


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
    """Measure every set, dose and seed; rows of earlier runs stay until they are measured again."""
    given = parse_arguments()
    folder()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = read(given.output / "real.csv")
    for seed in given.seeds:
        for make in cases(given, seed):
            case = make()
            print(case.set, f"{case.counts:g}", case.seed, file=sys.stderr, flush=True)
            new = list(measured(case, given.peers))
            rows = [row for row in rows if row.condition != new[0].condition] + new
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


def errors(specimen: Specimen, maps: xr.Dataset, suffix: str, *, blend: bool) -> Found:
    """Errors of an estimate; with `blend` against the mean strain of all crystals, else that of the dominant one."""
    values = {name: maps[name + suffix].values for name in COMPONENTS}
    valid = maps["valid"].values.astype(bool) & np.isfinite(values["exx"])
    label = np.where(valid, maps["class"].values, -1).astype(int)
    order = np.atleast_1d(maps.attrs.get("symmetry", [1] * len(specimen.patterns)))
    truth = relative_truth(specimen, values["rotation"], np.where(valid, order[label], 1), blend=blend)
    if specimen.dilates:
        lost = (values["exx"] + values["eyy"] - truth["exx"] - truth["eyy"]) / 2
        truth |= {name: truth[name] + lost for name in ("exx", "eyy")}
    error = {name: np.where(valid, values[name] - truth[name], np.nan) for name in COMPONENTS}
    error["rotation"] = wrapped(error["rotation"])
    unknown = np.full(valid.shape, np.nan)
    sigma = {name: np.where(valid, maps.get(f"{name}{suffix}_sigma", unknown), np.nan) for name in COMPONENTS}
    return Found(error, sigma, valid, label, len(order))


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Angle between minus pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def relative_truth(
    specimen: Specimen, rotation: np.ndarray, order: np.ndarray, *, blend: bool
) -> dict[str, np.ndarray]:
    """Truth relative to the reference region, modulo the `order`-fold symmetry: the variant nearest to `rotation`."""
    shares, dominant = specimen.shares, specimen.shares.argmax(0)
    each = [variant(specimen, crystal, rotation, order) for crystal in specimen.crystals]
    weight = shares / shares.sum(0) if blend else dominant == np.arange(len(each))[:, None, None]
    truth = {name: (weight * np.stack([one[name] for one in each])).sum(0) for name in COMPONENTS[:3]}
    turned = np.take_along_axis(np.stack([one["rotation"] for one in each]), dominant[None], 0)[0]
    ranked = np.sort(np.concatenate([shares, np.zeros((1, *dominant.shape))]), 0)
    return truth | {"rotation": np.where(ranked[-1] - ranked[-2] < EVEN, np.nan, turned)}


def variant(specimen: Specimen, crystal: Crystal, rotation: np.ndarray, order: np.ndarray) -> dict[str, np.ndarray]:
    """One crystal relative to the reference of its structure, turned by symmetry to be nearest to `rotation`."""
    region = specimen.reference & (specimen.structure == crystal.structure)
    reference = np.linalg.inv(specimen.gradient[region].mean(0))
    candidates = []
    for step in range(int(order.max())):
        same = crystal.gradient @ turn(2 * np.pi * np.minimum(step, order - 1) / order) @ reference
        candidates.append(np.stack(list(parts(same).values())))
    stacked = np.stack(candidates)
    nearest = np.abs(wrapped(stacked[:, COMPONENTS.index("rotation")] - rotation))
    best = np.where(np.isfinite(nearest), nearest, np.inf).argmin(0)
    return dict(zip(COMPONENTS, np.take_along_axis(stacked, best[None, None], 0)[0], strict=True))


def rows_of(case: Case, method: str, found: list[Found], seconds: float, said: list[str]) -> Iterator[Row]:
    """A row for the whole scan and one for each of its regions; where there is no result, one that says why."""
    failure = "; ".join(dict.fromkeys(said))
    regions = {EVERYWHERE: np.ones(case.specimen.region.shape, bool)}
    if len(case.specimen.regions) > 1 and found:
        regions |= {name: case.specimen.region == k for k, name in enumerate(case.specimen.regions)}
    for region, mask in regions.items():
        row = Row(case.set, case.counts, case.side, case.seed, method, region, seconds=seconds, failure=failure)
        yield replace(row, **measures(case, found, mask)) if found else replace(row, valid=0.0)


def measures(case: Case, found: list[Found], mask: np.ndarray) -> dict[str, float | str]:
    """Fields of a row that are measured."""
    made: dict[str, float | str] = {"valid": float(np.mean([one.valid[mask] for one in found]))}
    for name in COMPONENTS:
        error = np.stack([one.error[name][mask] for one in found])
        sigma = np.stack([one.sigma[name][mask] for one in found])
        made[f"mae_{name}"] = mean(np.abs(error))
        made[f"pull_{name}"] = spread(error / sigma)
        if len(found) == 2:
            made[f"z_{name}"] = spread((error[0] - error[1]) / np.hypot(*sigma))
            made[f"common_{name}"] = np.sqrt(max(mean(error[0] * error[1]), 0.0))
    ratio = [np.stack([np.abs(one.error[n] / one.sigma[n])[mask & one.valid] for n in COMPONENTS]) for one in found]
    worst = np.concatenate([np.where(np.isfinite(r), r, 0.0).max(0) for r in ratio])
    has_sigma = np.isfinite(found[0].sigma["exx"]).any()
    made["wrong"] = mean((worst > SURELY_WRONG).astype(float)) if has_sigma else np.nan
    made["right_class"] = mean(np.concatenate([right_class(case, one)[mask & one.valid] for one in found]))
    entries = ", ".join(str(one.entries) for one in found)
    made["found"] = f"{entries} of {len(case.specimen.patterns)}"
    return made


def mean(values: np.ndarray) -> float:
    """Mean of the values there are, NaN where there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


def spread(values: np.ndarray) -> float:
    """Standard deviation of the values there are, NaN where there are fewer than two."""
    values = values[np.isfinite(values)]
    return float(values.std()) if values.size > 1 else np.nan


def right_class(case: Case, found: Found) -> np.ndarray:
    """Whether a position is in the class that best stands for its structure, 1 or 0."""
    structure = case.specimen.structure
    table = np.zeros((len(case.specimen.patterns), found.entries))
    np.add.at(table, (structure[found.valid], found.label[found.valid]), 1)
    row, column = linear_sum_assignment(-table)
    named = np.full(len(case.specimen.patterns), -2)
    named[row] = column
    return (named[structure] == found.label).astype(float)


def read(path: Path) -> list[Row]:
    """Rows of earlier runs, none where there is no file."""
    if not path.exists():
        return []
    types = {f.name: {"str": str, "int": int}.get(str(f.type), float) for f in fields(Row)}
    with path.open(newline="") as file:
        return [Row(**{name: types[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def write(rows: list[Row], output: Path) -> None:
    """Every row into `real.csv`, means over seeds into `real.md`."""
    order = [s.name for s in SETS] + [OTHERS]
    rows = sorted(rows, key=lambda row: (order.index(row.set), row.counts, row.side, row.seed))
    with (output / "real.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (output / "real.md").write_text(text(rows))


def text(rows: list[Row]) -> str:
    """The page: a table for every quantity."""
    whole = [row for row in rows if row.region == EVERYWHERE]
    sides = ", ".join(f"{side} x {side}" for side in sorted({row.side for row in rows}))
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows}))
    parts_of_page = [ABOUT.format(sides=sides, seeds=seeds), "## The sets", sets_table()]
    parts_of_page += ["## Validity, classes, time", ABOUT_VALID, validity_table(whole)]
    for name in COMPONENTS:
        columns = [(method, lambda row, name=name: getattr(row, f"mae_{name}"), method) for method in METHODS]
        parts_of_page += [f"## Mean absolute error of {name}, valid positions, 1e-3", table(whole, columns, 1e3)]
    for field, title in (("z", ABOUT_Z), ("pull", ABOUT_PULL), ("common", ABOUT_COMMON)):
        columns = [
            (f"{method} {name}", lambda row, key=f"{field}_{name}": getattr(row, key), method)
            for method in (RAW, FINAL)
            for name in COMPONENTS
        ]
        parts_of_page += [title, table(whole, columns, 1e3 if field == "common" else 1.0)]
    parts_of_page += ["## Parts of the scans", ABOUT_PARTS, region_table(rows)]
    parts_of_page += ["## Failures", failure_table(whole)]
    return "\n\n".join(parts_of_page) + "\n"


Column = tuple[str, Callable[[Row], float], str]
"""Heading, measure and method of a column."""


def table(rows: list[Row], columns: list[Column], scale: float) -> str:
    """Means over seeds, a line for every set and dose."""
    lines = []
    for key in dict.fromkeys((row.set, row.counts) for row in rows):
        same = [row for row in rows if (row.set, row.counts) == key]
        cells = [number(scale * mean_of(same, measure, method)) for _, measure, method in columns]
        lines.append([key[0], f"{key[1]:g}", *cells])
    return markdown(["set", "electrons", *(title for title, _, _ in columns)], lines)


def mean_of(rows: list[Row], measure: Callable[[Row], float], method: str) -> float:
    """Mean of a measure of one method over seeds."""
    return mean(np.array([measure(row) for row in rows if row.method == method], float))


def number(value: float) -> str:
    """Three digits, a dash where there is nothing."""
    return f"{value:.3g}" if np.isfinite(value) else "-"


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


def validity_table(rows: list[Row]) -> str:
    """Valid shares of all methods, wrong values, classes and seconds of ours."""
    lines = []
    for key in dict.fromkeys((row.set, row.counts) for row in rows):
        same = [row for row in rows if (row.set, row.counts) == key]
        cells = [number(100 * mean_of(same, lambda row: row.valid, method)) for method in (FINAL, *PEER_NAMES.values())]
        cells += [number(100 * mean_of(same, lambda row: row.wrong, method)) for method in (RAW, FINAL)]
        final = [row for row in same if row.method == FINAL]
        cells.append("; ".join(dict.fromkeys(row.found for row in final if row.found)))
        cells.append(number(100 * mean_of(same, lambda row: row.right_class, FINAL)))
        cells += [number(mean_of(same, lambda row: row.seconds, method)) for method in (FINAL, *PEER_NAMES.values())]
        lines.append([key[0], f"{key[1]:g}", *cells])
    header = ["set", "electrons", "valid", "py4DSTEM", "quantem", "raw wrong", "final wrong", "entries", "class right"]
    return markdown([*header, "seconds", "py4DSTEM s", "quantem s"], lines)


def region_table(rows: list[Row]) -> str:
    """A line for every part of every scan that has parts."""
    lines = []
    inner = [row for row in rows if row.region != EVERYWHERE]
    for key in dict.fromkeys((row.set, row.counts, row.region) for row in inner):
        same = [row for row in inner if (row.set, row.counts, row.region) == key]
        cells = [number(100 * mean_of(same, lambda row: row.valid, FINAL))]
        cells.append(number(100 * mean_of(same, lambda row: row.wrong, FINAL)))
        for name in ("exx", "rotation"):
            key_of = f"mae_{name}"
            cells += [number(1e3 * mean_of(same, lambda row, k=key_of: getattr(row, k), m)) for m in METHODS]
        lines.append([key[0], f"{key[1]:g}", key[2], *cells])
    header = ["set", "electrons", "part", "valid", "final wrong"]
    return markdown([*header, *(f"{name} {method}" for name in ("exx", "rotation") for method in METHODS)], lines)


def failure_table(rows: list[Row]) -> str:
    """What runs that gave no result said."""
    failed = [row for row in rows if row.failure and row.method != RAW]
    lines = [
        [row.set, f"{row.counts:g}", str(row.seed), "cyclestrain" if row.method == FINAL else row.method, row.failure]
        for row in failed
    ]
    return markdown(["set", "electrons", "seed", "method", "what it said"], lines) if lines else "None."


if __name__ == "__main__":
    main()
