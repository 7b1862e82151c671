"""The measured symmetry of an entry: the labellings of its lattice that patterns cannot tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from cyclestrain.affine import left_polar
from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.learning.lattice import Lattice
from cyclestrain.learning.reflections import disks_shown
from cyclestrain.pattern import Entry

__all__ = ["lattice_operators", "with_symmetry"]


def with_symmetry(entry: Entry, coverage: FloatArray) -> Entry:
    """An entry with the operators of its lattice.

    Parameters
    ----------
    entry
        Learned entry.
    coverage
        Number of patterns behind each pixel of its average.
    """
    lattice = Lattice(entry.basis, entry.indices, entry.reflections, entry.intensity)
    shown = partial(disks_shown, coverage, radius=entry.probe.radius)
    return replace(entry, operators=lattice_operators(lattice, shown))


def _everywhere(positions: FloatArray) -> BoolArray:
    return np.ones(len(positions), bool)


def lattice_operators(
    lattice: Lattice,
    shown: Callable[[FloatArray], BoolArray] = _everywhere,
    tolerance: float = 0.035,
    agreement: float = 0.6,
) -> FloatArray:
    """Affine maps of the lattice onto itself that are nearly rotations and keep the intensities.

    What patterns do not show (bad pixels, a beam stop, the edge of the detector) is no reason against a symmetry: a fit
    cannot tell either in which of two labellings it is hidden.

    Parameters
    ----------
    lattice
        Reflections with their intensities.
    shown
        Whether patterns show the disks at some positions, shape ``(n, 2)``; by default they show all.
    tolerance
        Largest strain of an operator, since the average is itself a little strained.
    agreement
        Least cosine between the square roots of the intensities before and after.

    Returns
    -------
    operators
        Shape ``(order, 2, 2)``, identity first, in order of their rotation angle.
    """
    # Square roots keep one bright reflection from deciding.
    on_lattice = np.isfinite(lattice.indices).all(1)
    if not on_lattice.any():
        return np.eye(2)[None]
    indices = lattice.indices[on_lattice].astype(int).tolist()
    brightness = {tuple(hk): np.sqrt(max(i, 0.0)) for hk, i in zip(indices, lattice.intensity[on_lattice], strict=True)}
    one, found = np.array(list(brightness.values())), dict[int, FloatArray]()
    for elements in product((-1, 0, 1), repeat=4):
        integer = np.array(elements).reshape(2, 2)
        if elements[0] * elements[3] - elements[1] * elements[2] != 1:
            continue
        operator = lattice.basis @ integer @ np.linalg.inv(lattice.basis)
        stretch, theta = left_polar(operator)
        if np.abs(stretch - np.eye(2)).max() > tolerance:
            continue
        turned = [tuple((integer @ np.array(hk)).tolist()) for hk in brightness]
        other = np.array([brightness.get(hk, 0.0) for hk in turned])
        seen = (other > 0) | shown(np.array(turned) @ lattice.basis.T)
        if (one * other).sum() >= agreement * (one * one)[seen].sum():
            found[round(float(np.degrees(theta)) % 360)] = operator
    order = max((n for n in (1, 2, 3, 4, 6) if _angles(n) <= set(_snap(found))), default=1)
    by_angle = _snap(found)
    return np.stack([by_angle[a] for a in sorted(_angles(order))])


def _angles(order: int) -> set[int]:
    return {360 * k // order for k in range(order)}


def _snap(operators: dict[int, FloatArray]) -> dict[int, FloatArray]:
    """Rotation angles rounded to the crystallographic ones they stand for."""
    allowed = sorted({a for n in (1, 2, 3, 4, 6) for a in _angles(n)})
    return {min(allowed, key=lambda a: abs((angle - a + 180) % 360 - 180)): m for angle, m in operators.items()}
