r"""Small-angle boundaries as walls of dislocations: their spacing against the misorientation across them.

A wall of equal dislocations with Burgers vectors `b`, a distance `D` apart, turns the lattice by
:math:`\theta = b_\perp / D` (Frank), with the part of `b` normal to the wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from cyclestrain.affine import left_polar
from cyclestrain.data import FloatArray
from cyclestrain.microstructure.cores import Core
from cyclestrain.microstructure.lattice_field import LatticeField

__all__ = ["Wall", "find_walls"]

LEAST = 3
"""Cores from which a row of them is a wall."""
NEXT = 16.0
"""Largest distance between neighbours in a wall, positions."""
STRAIGHT = 1.5
"""Root mean square distance of the cores from their line, positions, up to which they are a wall."""
NEAREST, FURTHEST = 0.5, 1.1
"""Distances from the wall, in spacings, between which its turn is measured.

Nearer, the field of the single dislocations is seen (4 % of the turn at half a spacing); further, that the wall ends.
"""


@dataclass(frozen=True)
class Wall:
    """A row of equal dislocations.

    Attributes
    ----------
    cores
        Their numbers, from 1, in the order of the table of cores, along the wall.
    ry, rx
        Its middle, positions.
    direction_deg
        Direction of the wall from +x to +y, 0 to 180 degrees.
    spacing, spacing_spread
        Mean distance of neighbours, and its standard deviation, in the unit of the Burgers vectors.
    frank_deg
        Misorientation across it by Frank's formula, which is that of a long wall.
    measured_deg, measured_sigma_deg
        Rotation of the lattice from one side to the other and its standard deviation, positive from +x to +y across
        the direction that is a quarter turn from that of the wall; NaN where too little lies beside it.
    """

    cores: tuple[int, ...]
    ry: float
    rx: float
    direction_deg: float
    spacing: float
    spacing_spread: float
    frank_deg: float
    measured_deg: float
    measured_sigma_deg: float


def find_walls(cores: Sequence[Core], field: LatticeField, unit: float = 1.0) -> tuple[Wall, ...]:
    """Rows of equal dislocations.

    Parameters
    ----------
    cores
        Dislocations of a scan.
    field
        Its local lattice.
    unit
        Size of a position in the unit of the Burgers vectors.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for number, core in enumerate(cores):
        kinds.setdefault((core.first, core.second), []).append(number)
    walls = []
    for numbers in kinds.values():
        places = np.array([[cores[n].ry, cores[n].rx] for n in numbers])
        for group in _near_each_other(places):
            wall = _wall([numbers[n] for n in group], places[group], cores, field, unit)
            walls += [] if wall is None else [wall]
    return tuple(walls)


def _near_each_other(places: FloatArray) -> list[list[int]]:
    """Groups of places each of which has another one of the group near."""
    from scipy.sparse.csgraph import connected_components

    near = KDTree(places).sparse_distance_matrix(KDTree(places), NEXT)
    labels = connected_components(near, directed=False)[1]
    return [np.flatnonzero(labels == k).tolist() for k in range(labels.max() + 1)]


def _wall(
    numbers: list[int], places: FloatArray, cores: Sequence[Core], field: LatticeField, unit: float
) -> Wall | None:
    """The wall that some equal dislocations form, None where they do not lie on a line."""
    if len(numbers) < LEAST:
        return None
    middle = places.mean(0)
    along = np.linalg.svd(places - middle)[2][0]
    along = along * (1.0 if along[0] > 0 or (along[0] == 0 and along[1] > 0) else -1.0)
    across = np.array([along[1], -along[0]])
    t, off = (places - middle) @ along, (places - middle) @ across
    if np.sqrt(np.mean(off**2)) > STRAIGHT:
        return None
    order = np.argsort(t)
    gaps = np.diff(t[order])
    burgers = np.array([cores[numbers[0]].by, cores[numbers[0]].bx])
    spacing = float(gaps.mean())
    measured = _turn(field, middle, along, across, float(np.ptp(t)) / 2, spacing)
    return Wall(
        tuple(numbers[n] + 1 for n in order), float(middle[0]), float(middle[1]),
        float(np.degrees(np.arctan2(along[0], along[1])) % 180), spacing * unit, float(gaps.std()) * unit,
        float(np.degrees(abs(burgers @ across) / (spacing * unit))), *measured,
    )  # fmt: skip


def _turn(
    field: LatticeField, middle: FloatArray, along: FloatArray, across: FloatArray, half: float, spacing: float
) -> tuple[float, float]:
    """Rotation of the lattice from one side of a wall to the other, and its standard deviation, degrees."""
    place = np.moveaxis(np.indices(field.area.shape), 0, -1) - middle
    t, off = place @ along, place @ across
    area = int(field.area[tuple(np.rint(middle).astype(int).clip(0, np.array(field.area.shape) - 1))])
    beside = (np.abs(t) <= half / 2) & (field.area == area) & (field.area >= 0) & ~field.filled
    sides = [beside & (side * off > NEAREST * spacing) & (side * off < FURTHEST * spacing) for side in (-1, 1)]
    if min(side.sum() for side in sides) < 8:
        return np.nan, np.nan
    lattice = np.linalg.inv(field.mean(area))
    angles = []
    for side in sides:
        angles.append(left_polar(lattice @ field.vectors[side])[1])  # turned against the mean
    sigma = np.sqrt(sum(angle.var() / len(angle) for angle in angles))
    return float(np.degrees(angles[1].mean() - angles[0].mean())), float(np.degrees(sigma))
