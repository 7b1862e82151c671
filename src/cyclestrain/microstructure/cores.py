"""Cores of dislocations: where small circuits do not close, and what all circuits around them enclose."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.microstructure.burgers import judge
from cyclestrain.microstructure.circuits import Circuits, chi_square, circuits, noise_excess
from cyclestrain.microstructure.core_fit import CoreFit, fit_core, without
from cyclestrain.microstructure.lattice_field import LatticeField

__all__ = ["Core", "find_cores"]

SIDES = (3, 5)
"""Sides of the circuits that find a core."""
LEAST_CONFIDENCE = 0.9
"""Probability of its lattice vector from which a core is told."""
APART = 2.5
"""Distance along rows and columns within which circuits see the same core; nearer ones are not told apart."""
AROUND = 2
"""Half width, in smallest circuits, of the square from whose density a core is first placed."""
ROUNDS = 3
"""Times that cores are looked for in what those that were found leave, and that all are fitted beside each other."""


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
        Number of smallest circuits, around four positions, it was measured with.
    place_sigma
        Standard deviation of `ry` and of `rx`, positions.
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
    place_sigma: float


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
    field = _widened(field)
    fits: list[CoreFit] = []
    for _ in range(ROUNDS):
        taken = [one.place for one in fits]
        new = [place for place in _candidates(without(field, fits), field) if not _near(place, taken)]
        before, fits = len(fits), _fitted(field, fits, new)
        if len(fits) == before:
            break
    told = [_core(one, field, unit) for one in fits]
    return tuple(sorted(told, key=lambda core: (-core.confidence, core.sigma)))


def _widened(field: LatticeField) -> LatticeField:
    """The same with the scatter that is beyond the stated noise in its covariance."""
    excess = noise_excess(circuits(field, 1))
    each = np.pad(excess, ((0, 1), (0, 1)), mode="edge")
    return dataclasses.replace(field, covariance=field.covariance * each[..., None, None])


def _near(place: FloatArray, others: Sequence[FloatArray]) -> bool:
    return any(np.abs(place - other).max() <= APART for other in others)


def _fitted(field: LatticeField, fits: Sequence[CoreFit], new: Sequence[FloatArray]) -> list[CoreFit]:
    """Fit cores at new places beside those that were found; only those that are told are kept."""
    told = [*fits]
    for place in new:
        one = fit_core(without(field, told), place, _lattice(field, place))
        if _is_told(one, field) and not _near(one.place, [other.place for other in told]):
            told.append(one)
    for k, one in enumerate(told):
        rest = without(field, [*told[:k], *told[k + 1 :]])
        told[k] = fit_core(rest, one.place, _lattice(field, one.place))
    return [one for one in told if _is_told(one, field)]


def _is_told(one: CoreFit, field: LatticeField) -> bool:
    return bool(one.verdict.confidence[0] >= LEAST_CONFIDENCE and (one.verdict.indices.any() or not field.is_scaled))


def _lattice(field: LatticeField, place: FloatArray) -> FloatArray:
    return field.mean(int(field.area[tuple(np.rint(place).astype(int).clip(0, np.array(field.area.shape) - 1))]))


def _core(one: CoreFit, field: LatticeField, unit: float) -> Core:
    lattice = _lattice(field, one.place)
    real = -unit * np.linalg.inv(lattice)  # around a core fewer planes are crossed than the displacement gains
    measured, spread = real @ one.planes, real @ one.covariance @ real.T
    indices = -one.verdict.indices[0]
    burgers = unit * np.linalg.solve(lattice, indices.astype(float)) if field.is_scaled else measured
    return Core(
        float(one.place[0]), float(one.place[1]), float(burgers[0]), float(burgers[1]),
        float(np.sqrt(np.trace(spread) / 2)), float(one.verdict.confidence[0]), int(indices[0]), int(indices[1]),
        float(measured[0]), float(measured[1]), one.circuits, one.place_sigma,
    )  # fmt: skip


def _candidates(left: LatticeField, field: LatticeField) -> list[FloatArray]:
    """Places ``(y, x)`` around which the smallest ring of circuits does not close, the clearest first.

    Circuits are through what is left of the lattice, which is compared with the whole one.
    """
    smallest = circuits(left, 1)
    ring = _together(*(circuits(left, side) for side in SIDES))
    chi2, known = chi_square(ring)
    confidence = np.zeros(chi2.shape)
    for area in np.unique(field.area[field.area >= 0]):
        mine = known & (field.area[:-1, :-1] == area)
        if mine.any():
            found = judge(ring.planes[mine], ring.covariance[mine], field.mean(area), field.is_scaled)
            confidence[mine] = found.confidence
    strength = np.where(confidence > 0.5, chi2, -1.0)
    rows, columns = np.indices(strength.shape)
    places: list[FloatArray] = []
    while strength.max() > 0:
        i, j = np.unravel_index(strength.argmax(), strength.shape)
        place = _place(smallest, ring, int(i), int(j))
        near = np.maximum(np.abs(rows + 0.5 - place[0]), np.abs(columns + 0.5 - place[1])) <= APART
        near[i, j] = True
        strength[near] = -1.0
        if not _near(place, places):
            places.append(place)
    return places


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
