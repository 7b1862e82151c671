"""The library that belongs to a scan: laid on its reflections, with the aperture and the vibration of this scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.specimen.bloch import REACH, lost
from cyclestrain.specimen.fitting import Measured, find_minima, library_misfit
from cyclestrain.specimen.library import Axes, Library
from cyclestrain.specimen.matching import SHAPE, Match, find_matches
from cyclestrain.specimen.structure import Zone, wavelength

__all__ = ["NotThisCrystalError", "Placement", "ScanLibrary", "lay_library"]

FIRST_VIBRATION, CLOSE = 0.5, 0.1
"""Debye-Waller factor, square angstrom, at which that of a scan is first looked for, and the distance of those that
libraries are computed for: intensities bend over more."""
UNSURE = 0.03
"""Standard deviation of a factor that was found, square angstrom: by as much do the falling scattering factors of two
authors (Kirkland, Lobato and Van Dyck) differ at the most, in iron, nickel, niobium, molybdenum."""
ROUGH_MISFIT, LEAST_MISFIT = 0.02, 0.002
"""Error of the library while the factor is looked for, and the least one with which it is found."""
LEAST_VIBRATION, MOST_VIBRATION = 0.2, 2.0
"""Range in which it is looked for."""
SAMPLE = 96
"""Positions that are looked at to decide what is the same for all."""
SAME_TILT = 1e-4
"""Radians within which two ways to lay a crystal say the same."""
SAME_AXIS = 0.2
"""Sine of the angle within which two polar axes are one."""
SURE = 20.0
"""Deviance, summed over a sample of positions, by which one way must be better than another."""


class NotThisCrystalError(InputError):
    """The reflections of an entry are not those of the crystal."""


@dataclass(frozen=True)
class Placement:
    """One way in which the crystal lies on the detector at some positions of a scan.

    Attributes
    ----------
    match
        How it lies.
    library
        The library of the reflections that are used.
    """

    match: Match
    library: Library

    @property
    def arrow(self) -> FloatArray | None:
        """Direction ``(y, x)`` of a positive displacement, in axes of the detector; None for none."""
        direction = self.library.polar_direction
        return None if direction is None else np.asarray(self.match.turn @ direction)


@dataclass(frozen=True)
class ScanLibrary:
    """A library whose reflections are those of an entry.

    Attributes
    ----------
    placements
        How the crystal may lie; more than one only for a polar crystal whose lattice does not tell the polar axis.
    used
        Which reflections of the entry are in the crystal, shape ``(g,)``.
    vibration
        Debye-Waller factor `B` that was given or found, square angstrom.
    misfit
        Relative error of the library that was found.
    aperture
        Half angle of the beam, radians.
    rival
        Another way to lay the crystal that is as good and says something else; None where there is none.
    lost
        Share of the beam in higher Laue zones, at the thicknesses of the library (`cyclestrain.specimen.bloch.lost`).
    """

    placements: tuple[Placement, ...]
    used: BoolArray
    vibration: float
    misfit: float
    aperture: float
    rival: Match | None
    lost: FloatArray

    def lost_at(self, thickness: FloatArray) -> FloatArray:
        """Share of the beam that the library does not know of, at some thicknesses, nm."""
        return np.interp(thickness, self.placements[0].library.grid[0], self.lost)


def lay_library(
    data: Measured, entry: FloatArray, zone: Zone, axes: Axes, radius: float, *,
    vibration: float | None = None, pixel: float | None = None, advance: Callable[[int], object] = lambda n: None,
) -> ScanLibrary:  # fmt: skip
    """Find how a crystal lies on the detector and compute its library.

    Parameters
    ----------
    data
        Intensities of the reflections of an entry.
    entry
        Reciprocal vectors of these, pixels, shape ``(g, 2)``.
    zone
        Crystal and zone axis.
    axes
        What the library runs over.
    radius
        Radius of the disks, pixels.
    vibration
        Debye-Waller factor, square angstrom; None to find it.
    pixel
        Size of a pixel, 1/nm, where it is known.
    advance
        Called with the number of plane waves computed.

    Raises
    ------
    NotThisCrystalError
        If the entry is not this crystal.
    """
    _, vectors = zone.beams(0.9 * REACH)
    vectors = 10.0 * vectors[1:]
    matches = find_matches(vectors, entry, pixel, 2 * SHAPE if axes.is_polar else SHAPE)
    if not matches:
        raise NotThisCrystalError(f"the reflections of the scan are not those of {zone.cell.name}; check --known")
    scale = float(np.median([one.scale for one in matches]))
    aperture = round(0.1 * radius / scale * wavelength(zone.voltage), 5)  # scans of one session share a library
    reach = float(np.hypot(*entry.T).max()) / scale * 1.1

    def computed(value: float) -> Library:
        return Library.computed(dataclasses.replace(zone, vibration=value), axes, aperture, reach, advance)

    first = computed(FIRST_VIBRATION if vibration is None else vibration)
    sample = _sample(data)
    chosen, rival = _ways_to_lie(sample, first, matches)
    used = np.all([match.reflections >= 0 for match in chosen], axis=0)
    sample = sample.only(used)

    def placed(value: float) -> list[Library]:
        whole = computed(value)  # kept in the cache
        return [whole.only(match.reflections[used]) for match in chosen]

    found, libraries = (vibration, placed(vibration)) if vibration is not None else _vibration(sample, placed)
    placements = tuple(Placement(match, library) for match, library in zip(chosen, libraries, strict=True))
    high = lost(dataclasses.replace(zone, vibration=found), 10.0 * axes.thicknesses)
    return ScanLibrary(placements, used, found, library_misfit(sample, libraries), aperture, rival, high)


def _sample(data: Measured) -> Measured:
    """Some positions with intensities."""
    there = np.flatnonzero(data.weight.sum(1) >= 6)
    chosen = np.sort(np.random.default_rng(0).permutation(there)[:SAMPLE])
    if not len(chosen):
        raise InputError("no position has the intensities of six reflections; map the scan again with --intensities")
    return data.part(chosen)


def _ways_to_lie(sample: Measured, library: Library, matches: list[Match]) -> tuple[list[Match], Match | None]:
    """The best match for every direction of the polar axis, and a rival of the best that says something else."""
    few = sample.part(np.arange(min(24, len(sample.value))))
    tried: list[tuple[FloatArray, Match, FloatArray]] = []
    for match in matches:
        inside = (match.reflections >= 0) & (match.reflections < len(library.hkl))
        match = dataclasses.replace(match, reflections=np.where(inside, match.reflections, -1))
        points, deviance = find_minima(few.only(inside), library.only(match.reflections[inside]), 0.05)
        tried.append((deviance[:, 0], match, _said(match, points)))
    lowest, best, mine = min(tried, key=lambda one: float(one[0].sum()))
    chosen, rival = [best], None
    tried.sort(key=lambda one: float(np.minimum(one[0], lowest).sum()))  # what other axes explain of some positions
    for deviance, match, said in tried:
        if all(_apart(match, other, library) for other in chosen):
            chosen.append(match)
        elif match is not best and not _apart(match, best, library) and rival is None:
            close = deviance.sum() < lowest.sum() + SURE
            rival = match if close and np.median(np.abs(said - mine).max(1)) > SAME_TILT else None
    return chosen, rival


def _apart(one: Match, other: Match, library: Library) -> bool:
    """Whether the polar axis lies along another direction; it never does in a crystal that has none."""
    if library.polar_direction is None:
        return False
    (ay, ax), (by, bx) = one.turn @ library.polar_direction, other.turn @ library.polar_direction
    return bool(abs(ax * by - ay * bx) > SAME_AXIS)


def _said(match: Match, points: FloatArray) -> FloatArray:
    """Tilt on the detector of every position, shape ``(n, 2)``."""
    return np.asarray(points[:, 0, 1:3] @ match.turn.T)


def _vibration(sample: Measured, placed: Callable[[float], list[Library]]) -> tuple[float, list[Library]]:
    """The Debye-Waller factor that explains a sample best, and the library of every placement for it.

    Placed is what makes these libraries. From the first factor a walk leads to it in steps of `CLOSE`.
    """
    made: dict[float, list[Library]] = {}
    middle, been = FIRST_VIBRATION, set[float]()
    some = sample.part(np.arange(0, len(sample.value), 3))
    while True:
        been.add(middle)
        values = [round(middle + step * CLOSE, 6) for step in (-1, 0, 1)]
        made = {value: made[value] if value in made else placed(value) for value in values}
        found = _between(some, made, ROUGH_MISFIT)
        middle = float(np.clip(round(found / CLOSE) * CLOSE, LEAST_VIBRATION, MOST_VIBRATION).round(6))
        if middle in been:
            break
    found = _between(sample, made, max(library_misfit(some, _blended(made, found)), LEAST_MISFIT))
    return found, _unsure(made, found)


def _between(sample: Measured, made: dict[float, list[Library]], misfit: float) -> float:
    """The factor that explains a sample best, between and a step beyond those that libraries were made for."""

    def deviance(value: float) -> float:
        each = [find_minima(sample, library, misfit)[1][:, 0] for library in _blended(made, value)]
        return float(np.min(each, axis=0).sum())

    best = optimize.minimize_scalar(
        deviance, bounds=(min(made) - 0.9 * CLOSE, max(made) + CLOSE), method="bounded",
        options={"xatol": 0.005, "maxiter": 10},
    )  # fmt: skip
    return float(best.x)


def _blended(made: dict[float, list[Library]], value: float) -> list[Library]:
    """Libraries of a factor between those that libraries were made for, by the parabola through these."""
    nodes = np.array(list(made))
    weights = [float(np.prod([(value - b) / (a - b) for b in nodes if b != a])) for a in nodes]
    return [first.blended(others, weights) for first, *others in zip(*made.values(), strict=True)]


def _unsure(made: dict[float, list[Library]], value: float) -> list[Library]:
    """Libraries of a factor that was found, which know what another one would change."""
    middle, less, more = (_blended(made, value + step * UNSURE) for step in (0, -1, 1))
    return [
        dataclasses.replace(one, by_vibration=0.5 * (high.intensity - low.intensity))
        for one, low, high in zip(middle, less, more, strict=True)
    ]
