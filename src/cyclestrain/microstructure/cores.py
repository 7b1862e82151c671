"""Cores of dislocations: where small circuits do not close, and what circuits of several sizes around them enclose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.microstructure.burgers import judge
from cyclestrain.microstructure.circuits import Circuits, chi_square, circuits, noise_excess
from cyclestrain.microstructure.lattice_field import LatticeField

__all__ = ["Core", "find_cores"]

SIDES = (3, 5, 7, 9, 11)
"""Sides of the circuits around a core; the smallest ones find it."""
LEAST_CONFIDENCE = 0.9
"""Probability of its lattice vector from which a core is told."""
APART = 2.5
"""Distance along rows and columns within which circuits see the same core; nearer ones are not told apart."""
AROUND = 2
"""Half width, in plaquettes, of the square from whose density a core is placed."""
BEYOND = 1.0
"""Least distance from a circuit to another core, positions."""
DISAGREE = 4.0
"""Chi-square per degree of freedom above which circuits of different sizes do not tell the same; sigma is widened."""


@dataclass(frozen=True)
class Core:
    """A dislocation.

    Attributes
    ----------
    ry, rx
        Where its line meets the scan, positions.
    by, bx
        Burgers vector along y and x of the scan, positions, or nm where the step is known: the lattice vector it is,
        or what was measured where the scale is unknown. In the sense of a circuit from +x to +y that closes in the
        perfect crystal: the displacement gained along it.
    sigma
        Standard deviation of each component of the measured Burgers vector, in the same unit.
    confidence
        Probability of this Burgers vector (of any dislocation where the scale is unknown).
    first, second
        Burgers vector in lattice vectors dual to the basis of the entry; 0 0 where the scale is unknown.
    measured_by, measured_bx
        Burgers vector as it was measured.
    circuits
        Number of circuits it was measured with.
    """

    ry: float
    rx: float
    by: float
    bx: float
    sigma: float
    confidence: float
    first: int
    second: int
    measured_by: float
    measured_bx: float
    circuits: int


@dataclass(frozen=True)
class _Candidate:
    """Where a core may be: its place, and the middle of the circuits around it."""

    place: FloatArray
    middle: tuple[int, int]


def find_cores(field: LatticeField, unit: float = 1.0) -> tuple[Core, ...]:
    """Find the dislocations of a scan.

    Parameters
    ----------
    field
        Local lattice of every position.
    unit
        Size of a position in the unit of the Burgers vectors.

    Returns
    -------
    cores
        Those that are told with a probability of 90 %, the surest first.
    """
    if min(field.area.shape) <= SIDES[0] + 1:
        return ()
    smallest = circuits(field, 1)
    excess = noise_excess(smallest)
    rings = [_widened(circuits(field, side), excess) for side in SIDES if side < min(field.area.shape)]
    candidates = _candidates(field, smallest, rings)
    cores = [_judged(field, rings, one, candidates, unit) for one in candidates]
    told = [core for core in cores if core is not None and core.confidence >= LEAST_CONFIDENCE]
    return tuple(sorted(told, key=lambda core: (-core.confidence, core.sigma)))


def _widened(found: Circuits, excess: FloatArray) -> Circuits:
    return Circuits(found.side, found.planes, found.covariance * excess[..., None, None])


def _candidates(field: LatticeField, smallest: Circuits, rings: list[Circuits]) -> list[_Candidate]:
    """Places around which the smallest ring of circuits does not close, the clearest first."""
    ring = _together(rings[0], rings[min(1, len(rings) - 1)])
    chi2, known = chi_square(ring)
    nothing = np.ones(chi2.shape)
    for area in np.unique(field.area[field.area >= 0]):
        mine = known & (field.area[:-1, :-1] == area)
        if mine.any():
            verdict = judge(ring.planes[mine], ring.covariance[mine], field.mean(area), field.is_scaled)
            nothing[mine] = verdict.nothing
    open_ = known & (nothing < 0.5)
    strength = np.where(open_, chi2, -1.0)
    rows, columns = np.indices(strength.shape)
    found: list[_Candidate] = []
    while strength.max() > 0:
        i, j = np.unravel_index(strength.argmax(), strength.shape)
        place = _place(smallest, ring, int(i), int(j))
        near = np.maximum(np.abs(rows + 0.5 - place[0]), np.abs(columns + 0.5 - place[1])) <= APART
        near[i, j] = True
        strength[near] = -1.0
        if any(np.abs(place - one.place).max() <= APART for one in found):
            continue
        i, j = np.rint(place - 0.5).astype(int).clip(0, np.array(strength.shape) - 1)
        if known[i, j]:
            lattice = _lattice(field, i, j)
            verdict = judge(ring.planes[None, i, j], ring.covariance[None, i, j], lattice, field.is_scaled)
            if verdict.confidence[0] > 0.5:  # circuits that pass close to a core tell a part of it, and are dropped
                found.append(_Candidate(place, (int(i), int(j))))
    return found


def _together(one: Circuits, two: Circuits) -> Circuits:
    """Mean of circuits of two sizes around each middle, by their information; the first where the second is unknown."""
    both: BoolArray = np.asarray(np.isfinite(two.planes).all(-1) & (two.side != one.side))
    inverse = [np.linalg.inv(each.covariance) for each in (one, two)]
    inverse[1] = np.where(both[..., None, None], inverse[1], 0.0)
    spread = np.linalg.inv(inverse[0] + inverse[1])
    sums = [
        part @ planes[..., None] for part, planes in zip(inverse, (one.planes, np.nan_to_num(two.planes)), strict=True)
    ]
    return Circuits(one.side, (spread @ (sums[0] + sums[1]))[..., 0], spread)


def _lattice(field: LatticeField, i: int, j: int) -> FloatArray:
    return field.mean(int(field.area[i, j]))


def _place(smallest: Circuits, ring: Circuits, i: int, j: int) -> FloatArray:
    """Centre of the density around a circuit, positions ``(y, x)``: of its part along what the circuit encloses."""
    rows = slice(max(0, i - AROUND), i + AROUND + 1)
    columns = slice(max(0, j - AROUND), j + AROUND + 1)
    along = np.linalg.solve(ring.covariance[i, j], ring.planes[i, j])
    density = np.nan_to_num(smallest.planes[rows, columns] @ along)
    inside = np.maximum(density, 0.0)
    y, x = np.mgrid[rows, columns][:, : density.shape[0], : density.shape[1]] + 0.5
    noise = np.sqrt(np.einsum("a,...ab,b->...", along, smallest.covariance[rows, columns], along))
    weight = np.where(inside >= np.maximum(0.15 * inside.max(), np.minimum(2.0 * noise, inside.max())), inside, 0.0)
    return np.array([(weight * y).sum(), (weight * x).sum()]) / max(weight.sum(), 1e-300)


def _judged(
    field: LatticeField, rings: list[Circuits], one: _Candidate, others: list[_Candidate], unit: float
) -> Core | None:
    """What circuits of several sizes around a candidate enclose; None where none is free of others."""
    i, j = one.middle
    nearest = min(
        (float(np.abs(other.place - one.place).max()) for other in others if other is not one), default=np.inf
    )
    used = [
        ring
        for ring in rings
        if np.isfinite(ring.planes[i, j]).all() and (ring.side == SIDES[0] or ring.side / 2 + BEYOND < nearest)
    ]
    if not used:
        return None
    planes, covariance = _combined([ring.planes[i, j] for ring in used], [ring.covariance[i, j] for ring in used])
    lattice = _lattice(field, i, j)
    verdict = judge(planes[None], covariance[None], lattice, field.is_scaled)
    real = -unit * np.linalg.inv(lattice)  # around a core fewer planes are crossed than the displacement gains
    measured, spread = real @ planes, real @ covariance @ real.T
    indices: IntArray = -verdict.indices[0]
    burgers = unit * np.linalg.solve(lattice, indices.astype(float)) if field.is_scaled else measured
    if field.is_scaled and not indices.any():
        return None
    return Core(
        float(one.place[0]), float(one.place[1]), float(burgers[0]), float(burgers[1]),
        float(np.sqrt(np.trace(spread) / 2)), float(verdict.confidence[0]), int(indices[0]), int(indices[1]),
        float(measured[0]), float(measured[1]), len(used),
    )  # fmt: skip


def _combined(planes: list[FloatArray], covariance: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Mean of independent circuits weighted by their information, wider where they disagree."""
    inverse = np.linalg.inv(np.stack(covariance))
    spread = np.linalg.inv(inverse.sum(0))
    mean = spread @ np.einsum("nij,nj->i", inverse, np.stack(planes))
    apart = np.stack(planes) - mean
    freedom = 2 * (len(planes) - 1)
    chi2 = float(np.einsum("ni,nij,nj->", apart, inverse, apart)) / max(freedom, 1)
    return mean, spread * (chi2 if chi2 > DISAGREE else 1.0)
