"""Grains of a result: size, strain, orientation and neighbours of each, and how neighbours are turned to each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cyclestrain.affine import wrap_angle
from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.microstructure.coincidence import coincidence, shared_row
from cyclestrain.microstructure.tables import write_table
from cyclestrain.result import Transforms, stored_pixel
from cyclestrain.strain import KnownLattice, grain_labels, rank_known

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Boundary", "Grain", "Grains", "find_grains"]

LEAST = 4
"""Positions from which an area is a grain; smaller ones are blends at boundaries, or single faults."""
BETWEEN = 2.5
"""Distance in positions up to which what is no grain lies between two grains, which are neighbours across it."""
SURE = 0.9
"""Probability from which a phase is named."""


@dataclass(frozen=True)
class Grain:
    """One grain.

    Attributes
    ----------
    grain
        Its number in `Grains.number`, from 1, the largest first.
    entry, phase, phase_probability
        Dictionary entry, and the candidate structure it is with its probability; empty where no candidate is sure.
    positions, area, diameter
        Size in positions, and in the units of the scan (nm^2 and nm where the step is known): the area, and the
        diameter of the circle of that area.
    ry, rx
        Centre, positions.
    exx, eyy, exy, exx_sigma, eyy_sigma, exy_sigma
        Mean strain, and the typical standard uncertainty of a position of it: that of the mean is no larger.
    exx_spread, eyy_spread, exy_spread
        Half of the 16 to 84 % range of the strain within the grain, noise included.
    orientation_deg, orientation_sigma_deg, orientation_spread_deg
        Mean rotation relative to the reference of the class, modulo the symmetry of the pattern; its uncertainty, and
        half of the 16 to 84 % range.
    at_edge
        Whether it reaches the edge of the scan, so that its size is a lower bound.
    neighbours
        Numbers of the grains beside it.
    """

    grain: int
    entry: int
    phase: str
    phase_probability: float
    positions: int
    area: float
    diameter: float
    ry: float
    rx: float
    exx: float
    eyy: float
    exy: float
    exx_sigma: float
    eyy_sigma: float
    exy_sigma: float
    exx_spread: float
    eyy_spread: float
    exy_spread: float
    orientation_deg: float
    orientation_sigma_deg: float
    orientation_spread_deg: float
    at_edge: bool
    neighbours: tuple[int, ...]


@dataclass(frozen=True)
class Boundary:
    """What lies between two neighbouring grains.

    Attributes
    ----------
    first, second
        Numbers of the grains.
    length
        Positions along it, times the step where that is known.
    misorientation_deg, misorientation_sigma_deg
        Rotation about the beam from one to the other, the smallest one modulo the symmetry of the pattern. Grains that
        are tilted against each other as well are turned by more; NaN between classes.
    coincidence_sigma, coincidence_deg, deviation_deg
        Sigma of the coincidence lattice it is near (Brandon's criterion), its exact angle, and the deviation; 0 and NaN
        where there is none or the crystal is not known.
    shared_row
        Shortest reciprocal row that both grains have in common, by its indices in both; empty where there is none.
    """

    first: int
    second: int
    length: float
    misorientation_deg: float
    misorientation_sigma_deg: float
    coincidence_sigma: int
    coincidence_deg: float
    deviation_deg: float
    shared_row: str


@dataclass(frozen=True)
class Grains:
    """Grains of a scan; ``pandas.DataFrame(found.grains)`` is a table of them.

    Attributes
    ----------
    number
        Number of the grain of every position, 0 for none, shape ``(ry, rx)``.
    grains, boundaries
        The grains, largest first, and what lies between neighbours.
    phases
        For every class the probability of each candidate structure, empty where there are none.
    """

    number: IntArray
    grains: tuple[Grain, ...]
    boundaries: tuple[Boundary, ...]
    phases: tuple[dict[str, float], ...] = ()

    def to_csv(self, path: str | os.PathLike[str], force: bool = False) -> tuple[Path, Path]:
        """Write the grains as a table, and the boundaries as another one beside it, ``NAME_boundaries.csv``.

        Parameters
        ----------
        path
            File to write.
        force
            Whether existing files are replaced.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        target = Path(path)
        beside = target.with_name(f"{target.stem}_boundaries{target.suffix or '.csv'}")
        write_table(self.grains, Grain, target, force)
        write_table(self.boundaries, Boundary, beside, force)
        return target, beside

    def __str__(self) -> str:
        lines = [f"{len(self.grains)} grains, {len(self.boundaries)} boundaries"]
        for k, phases in enumerate(self.phases):
            lines.append(f"class {k}: " + ", ".join(f"{name} {100 * p:.3g} %" for name, p in list(phases.items())[:3]))
        special: dict[int, int] = {}
        for one in self.boundaries:
            if one.coincidence_sigma:
                special[one.coincidence_sigma] = special.get(one.coincidence_sigma, 0) + 1
        lines += [f"Sigma {value}: {count} boundaries" for value, count in sorted(special.items())]
        return "\n".join(lines)


def find_grains(maps: xr.Dataset, lattices: Sequence[KnownLattice] = ()) -> Grains:
    """Find the grains of a result.

    Parameters
    ----------
    maps
        A whole result.
    lattices
        Candidate structures along their zone axis.

    Raises
    ------
    InputError
        If the result does not hold its transforms.
    """
    transforms = Transforms.stored(maps)
    best = transforms.on_a_true_detector(transforms.best)
    number = _numbered(np.where(best.usable, grain_labels(best, maps["rotation"].values.astype(float)), -1))
    symmetry = np.array([len(operators) for operators in best.operators])
    phases: list[dict[str, float]] = []
    if lattices:
        phases = rank_known(best, transforms.bases, lattices, stored_pixel(maps))
    beside = _beside(number)
    step = float(maps.attrs.get("real_step", 1.0))
    grains = [_grain(maps, number, n, symmetry, phases, step) for n in range(1, int(number.max(initial=0)) + 1)]
    named = {one.name: one for one in lattices}
    boundaries = []
    for (a, b), length in sorted(beside.items()):
        first, second = grains[a - 1], grains[b - 1]
        axis = named[first.phase].axis if first.phase in named else 0
        boundaries.append(_boundary(first, second, length * step, symmetry, transforms.bases, axis))
    around = {n: tuple(sorted({a + b - n for a, b in beside if n in (a, b)})) for n in range(1, len(grains) + 1)}
    told = tuple(replace(one, neighbours=around[one.grain]) for one in grains)
    return Grains(number, told, tuple(boundaries), tuple(phases))


def _numbered(area: IntArray) -> IntArray:
    """Areas renumbered by size from 1, 0 for those that are too small."""
    labels, sizes = np.unique(area[area >= 0], return_counts=True)
    large = labels[sizes >= LEAST][np.argsort(-sizes[sizes >= LEAST], kind="stable")]
    out = np.zeros(area.shape, int)
    for n, label in enumerate(large, 1):
        out[area == label] = n
    return out


def _beside(number: IntArray) -> dict[tuple[int, int], int]:
    """Neighbouring grains, and how many pairs of positions meet."""
    if not number.any():
        return {}
    away, nearest = ndimage.distance_transform_edt(number == 0, return_indices=True)
    whole = np.where(away <= BETWEEN, number[tuple(nearest)], 0)
    found: dict[tuple[int, int], int] = {}
    for one, two in ((whole[:-1], whole[1:]), (whole[:, :-1], whole[:, 1:])):
        meet = (one != two) & (one > 0) & (two > 0)
        for a, b in zip(one[meet].tolist(), two[meet].tolist(), strict=True):
            pair = (min(a, b), max(a, b))
            found[pair] = found.get(pair, 0) + 1
    return found


def _grain(
    maps: xr.Dataset, number: IntArray, n: int, symmetry: IntArray, phases: Sequence[dict[str, float]], step: float
) -> Grain:
    """The row of one grain, its neighbours still unknown."""
    here = number == n
    label = int(np.bincount(maps["class"].values[here].astype(int)).argmax())
    rows, columns = np.nonzero(here)
    told = here & np.isfinite(maps["exx"].values)
    values = {name: _mean(maps, name, told) for name in ("exx", "eyy", "exy")}
    mean, sigma, spread = _mean(maps, "rotation", told)
    turn = float(wrap_angle(mean, 2 * np.pi / symmetry[label]))
    name, probability = next(iter(phases[label].items())) if phases else ("", np.nan)
    sure = bool(phases) and probability >= SURE
    edge = {0, number.shape[0] - 1} & set(rows.tolist()) or {0, number.shape[1] - 1} & set(columns.tolist())
    area = float(here.sum()) * step**2
    ends = enumerate(("", "_sigma", "_spread"))
    strains = {f"{name}{end}": value[i] for i, end in ends for name, value in values.items()}
    return Grain(
        grain=n, entry=label, phase=name if sure else "", phase_probability=probability, positions=int(here.sum()),
        area=area, diameter=float(2 * np.sqrt(area / np.pi)), ry=float(rows.mean()), rx=float(columns.mean()),
        **strains,
        orientation_deg=float(np.degrees(turn)), orientation_sigma_deg=float(np.degrees(sigma)),
        orientation_spread_deg=float(np.degrees(spread)), at_edge=bool(edge), neighbours=(),
    )  # fmt: skip


def _mean(maps: xr.Dataset, name: str, here: BoolArray) -> tuple[float, float, float]:
    """Mean, typical uncertainty and spread of a map over some positions; rotation is followed within a grain."""
    if not here.any():
        return np.nan, np.nan, np.nan
    values = maps[name].values[here].astype(float)
    low, high = np.quantile(values, [0.16, 0.84])
    return float(values.mean()), float(np.nanmedian(maps[f"{name}_sigma"].values[here])), float(high - low) / 2


def _boundary(first: Grain, second: Grain, length: float, symmetry: IntArray, bases: FloatArray, axis: int) -> Boundary:
    """The row of one boundary."""
    if first.entry != second.entry or not np.isfinite(first.orientation_deg + second.orientation_deg):
        return Boundary(first.grain, second.grain, length, np.nan, np.nan, 0, np.nan, np.nan, "")
    period = 2 * np.pi / int(symmetry[first.entry])
    angle = float(wrap_angle(np.radians(second.orientation_deg - first.orientation_deg), period))
    sigma = float(np.radians(np.hypot(first.orientation_sigma_deg, second.orientation_sigma_deg)))
    near = coincidence(angle, axis, period)
    row = shared_row(angle, bases[first.entry], sigma)
    return Boundary(
        first.grain, second.grain, length, float(np.degrees(abs(angle))), float(np.degrees(sigma)),
        near.sigma if near else 0, float(np.degrees(near.angle)) if near else np.nan,
        float(np.degrees(near.deviation)) if near else np.nan,
        "" if row is None else "{} {} = {} {}".format(*row[0], *row[1]),
    )  # fmt: skip
