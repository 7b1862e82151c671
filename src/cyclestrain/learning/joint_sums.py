"""Normal equations of what all patterns share where disks overlap: intensities, form of the probe and background.

A pixel holds the light of several disks, so that what is learned from it is learned together: the columns of one
pattern are its disks, the probe's derivatives summed over all disks, and splines of the radial background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.pattern import Entry, Probe, Start, pixelated_disk, predicted_positions

__all__ = ["DIMMEST", "Form", "Sums", "radial_splines", "stepped", "sum_patterns"]

STEPS = (0.02, 0.05, 0.05)
"""Steps of radius (pixels), logarithm of the edge and bowl by which derivatives are taken."""
SPACED = 3.0, 0.15
"""Distance of the knots of the background: at least so many pixels, and this part of the distance from the beam."""
RADII = 4
"""Values of the splines per pixel."""
LARGEST = np.array([0.4, 0.6, 0.15])
"""Largest step of the form: radius (pixels), logarithm of the edge, bowl."""
RIDGE = 1e-7
"""Added to the normal equations relative to their diagonal."""
DIMMEST = 1e-6
"""Least intensity of a reflection relative to the brightest."""


@dataclass(frozen=True)
class Form:
    """A round aperture: radius and standard deviation of the edge before pixels blur it (pixels), and a bowl.

    The bowl is by how much the rim is brighter than the middle, relative to the mean.
    """

    radius: float
    edge: float
    bowl: float = 0.0

    def moved(self, step: FloatArray) -> Form:
        """The form with a step of radius, logarithm of the edge and bowl.

        Parameters
        ----------
        step
            Shape ``(3,)``.
        """
        edge = float(np.clip(self.edge * np.exp(step[1]), 0.12, 3.0))
        return Form(float(self.radius + step[0]), edge, float(np.clip(self.bowl + step[2], -0.5, 0.5)))

    def probe(self, oversampling: int) -> Probe:
        """The probe, with windows that hold all of it.

        Parameters
        ----------
        oversampling
            Nodes per detector pixel.
        """
        half = int(np.ceil(self.radius + max(3.0, 3.0 * self.edge)))
        return self._drawn(oversampling, half)

    def derivatives(self, probe: Probe) -> FloatArray:
        """Derivatives of the probe's values by radius, logarithm of the edge and bowl, ``(3, node, node)``.

        Parameters
        ----------
        probe
            The probe of this form.
        """
        out = []
        for k, step in enumerate(STEPS):
            by = np.zeros(3)
            by[k] = step
            up, down = (self.moved(s * by)._drawn(probe.oversampling, probe.half).values for s in (0.5, -0.5))
            out.append((up - down) / step)
        return np.stack(out)

    def _drawn(self, oversampling: int, half: int) -> Probe:
        m = (half + 2) * oversampling
        y, x = np.mgrid[-m : m + 1, -m : m + 1] / (self.radius * oversampling)
        values = pixelated_disk(self.radius, self.edge, oversampling, m)
        values = values * (1.0 + self.bowl * (np.minimum(y * y + x * x, 1.0) - 0.5))
        return Probe(values * (oversampling**2 / values.sum()), oversampling, half)


@dataclass(frozen=True)
class Sums:
    """Normal equations over many patterns, and what single disks deviate by.

    Attributes
    ----------
    normal, rhs
        Information and score of intensities (counts), derivatives of the form and splines of the background.
    value, variance
        Deviation of every disk's intensity in every pattern, relative to the entry, without a prior, and its variance,
        shape ``(n, reflection)``.
    """

    normal: FloatArray
    rhs: FloatArray
    value: FloatArray
    variance: FloatArray


def radial_splines(inner: float, outer: float) -> FloatArray:
    """Cubic splines of the distance from the beam, at ``0, 1, 2, ... / RADII`` pixels, shape ``(spline, radius)``.

    Parameters
    ----------
    inner, outer
        Between which distances they vary, pixels; beyond, each keeps its value.
    """
    knots = [inner]
    while knots[-1] < outer:
        knots.append(knots[-1] + max(SPACED[0], SPACED[1] * knots[-1]))
    places = np.clip(np.arange(int(outer + 2) * RADII) / RADII, inner, outer)
    ends = np.r_[[knots[0]] * 3, knots, [knots[-1]] * 3]
    return np.ascontiguousarray(BSpline.design_matrix(places, ends, 3).toarray().T)


def sum_patterns(
    images: NDArray[Any],
    good: BoolArray,
    entry: Entry,
    start: Start,
    own: FloatArray,
    *,
    shapes: FloatArray,
    splines: FloatArray,
    noise_scale: float,
) -> Sums:
    """Sum over patterns.

    Parameters
    ----------
    images
        Counts of each pattern (of a sum of several: their sum), shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    entry, start
        The entry, and where it was fitted to these patterns.
    own
        Deviations of the intensity of every disk, counts, shape ``(n, reflection)``.
    shapes
        Derivatives of the probe's values, shape ``(shape, node, node)``.
    splines
        Those of `radial_splines`.
    noise_scale
        Variance over mean of a pixel.
    """
    tables = np.concatenate([entry.probe.squares[:, :, :1], _squares(shapes, entry.probe)], 2)
    places = predicted_positions(start, entry.reflections)
    n_disks, width = len(entry.reflections), len(entry.reflections) + len(shapes) + len(splines)
    normal, rhs = np.zeros((width, width)), np.zeros(width)
    value = np.full((len(images), n_disks), np.nan)
    variance = value.copy()
    for n, image in enumerate(images):
        gain, level = float(start.gain[n]), float(start.level[n])
        bright = gain * entry.intensity + own[n]
        y, x, radii = _compared(good, entry, start.centre[n])
        index = np.full(good.shape, -1)
        index[y, x] = np.arange(len(y))
        columns = np.zeros((len(y), width), np.float32)
        _fill(tables, places[n], bright, gain, index, columns)
        at = np.minimum((radii * RADII).astype(int), splines.shape[1] - 1)
        columns[:, n_disks + len(shapes) :] = level * splines[:, at].T
        below = level * np.interp(radii, np.arange(len(entry.background)), entry.background)
        mean = below + columns[:, :n_disks] @ (bright / gain).astype(np.float32)
        weight = (1.0 / (noise_scale * np.maximum(mean, entry.variance_floor))).astype(np.float32)
        weighted = columns * weight[:, None]
        rest = (image[y, x] - mean).astype(np.float32)
        one, score = (weighted.T @ columns).astype(float), (weighted.T @ rest).astype(float)
        normal += one
        rhs += score
        value[n], variance[n] = _deviations(one, score, weighted.T @ below, (weight * below) @ below, n_disks)
        value[n] += own[n] / gain
    return Sums(normal, rhs, value / entry.intensity, variance / entry.intensity**2)


def stepped(entry: Entry, form: Form, sums: Sums, *, fixed: bool) -> tuple[Entry, Form]:
    """Entry and form after a step of what patterns share.

    Parameters
    ----------
    entry, form
        As they were summed.
    sums
        Sums over patterns.
    fixed
        Whether the form stays.
    """
    n, n_forms = len(entry.intensity), len(LARGEST)
    free = np.ones(len(sums.rhs), bool)
    free[n : n + n_forms] = not fixed
    information = np.diag(sums.normal)
    seen = information > 1e-6 * np.median(information[:n])
    scale = np.where(seen, 1.0 / np.sqrt(np.maximum(information, 1e-300)), 0.0)
    matrix = sums.normal * scale[:, None] * scale + RIDGE * np.eye(len(scale))
    step = np.zeros(len(scale))
    step[free] = np.linalg.solve(matrix[np.ix_(free, free)], (scale * sums.rhs)[free])
    step *= scale
    intensity = np.where(seen[:n], entry.intensity + step[:n], 0.0)
    splines = radial_splines(*(entry.annulus or (0.0, 0.0)))
    radii = np.minimum(np.arange(len(entry.background)) * RADII, splines.shape[1] - 1)
    background = entry.background + (step[n + n_forms :] @ splines)[radii]
    floor = 1e-3 * float(np.median(np.abs(background))) + 1e-9
    if not fixed:
        form = form.moved(np.clip(step[n : n + n_forms], -LARGEST, LARGEST))
    return replace(
        entry,
        intensity=np.maximum(intensity, DIMMEST * float(intensity.max())),
        background=np.maximum(background, floor),
        probe=form.probe(entry.probe.oversampling),
    ), form


def _squares(shapes: FloatArray, probe: Probe) -> NDArray[np.float32]:
    """Tables of images with the nodes of a probe, as `Probe.squares`."""
    return np.concatenate([Probe(each, probe.oversampling, probe.half).squares[:, :, :1] for each in shapes], 2)


def _compared(good: BoolArray, entry: Entry, centre: FloatArray) -> tuple[Any, Any, FloatArray]:
    """Rows and columns of the pixels of a pattern that are compared, and their distances from the beam."""
    inner, outer = entry.annulus or (0.0, np.inf)
    grid = np.indices(good.shape)
    y, x = grid[0], grid[1]
    radii = np.hypot(y - centre[0], x - centre[1])
    used = good & (radii > inner) & (radii < outer)
    return y[used], x[used], radii[used]


def _deviations(
    normal: FloatArray, score: FloatArray, with_level: FloatArray, level: float, n: int
) -> tuple[FloatArray, FloatArray]:
    """Change of the intensity of every disk in one pattern, with a free level of the background, and its variance."""
    matrix = np.empty((n + 1, n + 1))
    matrix[:n, :n], matrix[:n, n], matrix[n, :n], matrix[n, n] = normal[:n, :n], with_level[:n], with_level[:n], level
    seen = np.r_[np.diag(normal)[:n] > 1e-3 * np.median(np.diag(normal)[:n]), True]
    diagonal = np.diag(matrix)
    # A pattern without any background, or of which nothing is compared, says nothing of its level.
    matrix += np.diag(1e-6 * diagonal + 1e-12 * max(diagonal.sum(), 1.0))
    inverse = np.linalg.inv(matrix[np.ix_(seen, seen)])
    value, variance = np.full(n + 1, np.nan), np.full(n + 1, np.nan)
    value[seen] = inverse @ np.r_[score[:n], 0.0][seen]
    variance[seen] = np.diag(inverse)
    return value[:n], variance[:n]


@nb.njit(cache=True, error_model="numpy")
def _fill(
    tables: Any, places: Any, bright: Any, gain: float, index: Any, columns: Any
) -> None:  # pragma: no cover - compiled
    """Disks of one pattern, each in a column, and the derivatives of the form behind them."""
    n_disks, n_tables, phases = places.shape[0], tables.shape[2], tables.shape[0]
    size = round(np.sqrt(tables.shape[3]))
    for g in range(n_disks):
        oy, ox = round(places[g, 0]), round(places[g, 1])
        ty, tx = (places[g, 0] - oy + 0.5) * (phases - 1), (places[g, 1] - ox + 0.5) * (phases - 1)
        iy, ix = min(int(ty), phases - 2), min(int(tx), phases - 2)
        wy, wx = ty - iy, tx - ix
        top, left = oy - size // 2, ox - size // 2
        for i in range(max(0, -top), min(size, index.shape[0] - top)):
            for j in range(max(0, -left), min(size, index.shape[1] - left)):
                at, k = index[top + i, left + j], i * size + j
                if at < 0:
                    continue
                for m in range(n_tables):
                    low = (1 - wx) * tables[iy, ix, m, k] + wx * tables[iy, ix + 1, m, k]
                    high = (1 - wx) * tables[iy + 1, ix, m, k] + wx * tables[iy + 1, ix + 1, m, k]
                    one = (1 - wy) * low + wy * high
                    if m == 0:
                        columns[at, g] = gain * one
                    else:
                        columns[at, n_disks + m - 1] += bright[g] * one
