r"""Thickness, tilt and displacement of every position from its intensities, by a library.

Intensities `I_g` with standard deviations :math:`\sigma_g` are compared with :math:`m_g = s L_g(p)`, where `L` is the
library at the parameters `p` and the scale `s` is free at every position, since dose, absorption and an amorphous layer
change it. No library is exact: the variance is

.. math:: v_g = \sigma_g^2 + f^2 m_g M, \qquad M = \sum m_g^2 / \sum m_g,

where the second term is that of an error of the beams' amplitudes and `f` is found from the scan, the same for all
positions. The deviance :math:`\sum (I_g - m_g)^2 / v_g + \log v_g` is first computed at all nodes of the library; its
lowest local minima are then followed to their bottom, and the lowest of these is the estimate. The others are told, and
its covariance is that of all parameters that the intensities allow (`cyclestrain.specimen.posterior`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from cyclestrain.data import FloatArray
from cyclestrain.specimen.library import Library
from cyclestrain.specimen.posterior import Minima, scatter_around

__all__ = ["Found", "Measured", "find_minima", "fit_library", "library_misfit"]

MINIMA = 16
"""Minima that are followed to the bottom at each position."""
BLOCK = 512
"""Positions that are fitted together."""
FAR = 4.0
"""Standard deviations beyond which a parameter is far from the best one."""
DEEP, BANDS = 24, 16
"""Starts at each position: the deepest local minima among the nodes, and the lowest node of equal parts of the range of
thickness, since a narrow minimum between the nodes is none among them."""
SCOUTING, STEPS = 4, 11
"""Steps from all starts, and from the lowest `MINIMA` of what these lead to."""
TOGETHER = 24
"""Positions whose deviance is computed at all nodes at a time."""
FIRST_MISFIT = 0.05
"""Error of the library, relative, that is assumed before it is measured."""
TOWARDS = 0.8
"""Part of the way to the end of the library that a step may go."""
EDGE = 0.1
"""Distance from the end of the library, in its steps, within which a minimum is taken to lie beyond."""
SAME = 0.5
"""Distance, in steps of the library along any axis, within which two minima are one."""
LARGEST_MISFIT = 1.0


class Measured(NamedTuple):
    """Intensities and their standard deviations, counts, shape ``(n, g)``; NaN where one was not measured."""

    value: FloatArray
    sigma: FloatArray

    @property
    def weight(self) -> FloatArray:
        """1 where there is an intensity, else 0."""
        return (np.isfinite(self.value) & (self.sigma > 0)).astype(float)

    @property
    def variance(self) -> FloatArray:
        """Squared standard deviation; 1 where there is no intensity."""
        return np.where(self.weight > 0, np.nan_to_num(self.sigma, nan=1.0), 1.0) ** 2

    def part(self, positions: NDArray[np.intp]) -> Measured:
        """The same of some positions."""
        return Measured(self.value[positions], self.sigma[positions])

    def repeated(self, times: int) -> Measured:
        """Every position a number of times, one after the other."""
        return Measured(np.repeat(self.value, times, axis=0), np.repeat(self.sigma, times, axis=0))

    def only(self, reflections: NDArray[np.bool_]) -> Measured:
        """The same of some reflections."""
        return Measured(self.value[:, reflections], self.sigma[:, reflections])


@dataclass(frozen=True)
class Found:
    """Minima of every position, the lowest first.

    Attributes
    ----------
    parameters
        Shape ``(n, minima, parameter)``, in the units of the library.
    deviance
        Shape ``(n, minima)``; infinite where a position has fewer.
    covariance
        Of the parameters about the lowest minimum, with all others that the intensities allow, shape
        ``(n, parameter, parameter)``.
    chi_square
        Of the lowest one per degree of freedom, with the error of the library in it, shape ``(n,)``.
    inside
        Whether the lowest one lies within the library, shape ``(n,)``.
    tail
        Probability that a parameter is further than `FAR` standard deviations from the lowest one, shape ``(n,)``.
    opposite
        Probability that the last parameter has the other sign, shape ``(n,)``.
    """

    parameters: FloatArray
    deviance: FloatArray
    covariance: FloatArray
    chi_square: FloatArray
    inside: NDArray[np.bool_]
    tail: FloatArray
    opposite: FloatArray


class _State(NamedTuple):
    """A fit at some parameters: expected intensities, their slopes, variance and deviance, and their scale."""

    mean: FloatArray
    slope: FloatArray
    variance: FloatArray
    deviance: FloatArray
    scale: FloatArray


def library_misfit(data: Measured, libraries: Sequence[Library]) -> float:
    """Relative error `f` of a library that makes its deviations from a scan as large as they are expected to be.

    Parameters
    ----------
    data, libraries
        Intensities of some positions and the library of the same reflections, for each way the crystal may lie there.
    """
    there, value, misfit = data.weight, np.nan_to_num(data.value), FIRST_MISFIT
    free = max(1.0 - (len(libraries[0].grid) + 1) / max(float(there.sum(1).mean()), 1.0), 0.1)
    for _ in range(3):
        states = [_evaluate(data, one, find_minima(data, one, misfit)[0][:, 0], misfit) for one in libraries]
        lowest = np.argmin([state.deviance for state in states], axis=0)
        mean = np.stack([state.mean for state in states])[lowest, np.arange(len(value))]
        square = (value - mean) ** 2 / free
        before, misfit = misfit, _most_likely_misfit(there, square, data.variance, _unit_misfit(mean))
        if abs(misfit - before) < 0.05 * before:
            break
    return misfit


def _most_likely_misfit(there: FloatArray, square: FloatArray, noise: FloatArray, unit: FloatArray) -> float:
    """Error of the library under which squared deviations are most likely; outliers count no more than 5 sigma."""

    def deviance(f: float) -> float:
        variance = noise + f * f * unit
        return float((there * np.minimum(square / variance, 25.0) + there * np.log(variance)).sum())

    return float(optimize.minimize_scalar(deviance, bounds=(0, LARGEST_MISFIT), method="bounded").x)


def fit_library(data: Measured, library: Library, misfit: float) -> Found:
    """Fit all positions.

    Parameters
    ----------
    data, library
        Intensities and the library of the same reflections, in the same order.
    misfit
        Relative error of the library, see `library_misfit`.
    """
    n = len(data.value)
    parts = [_fit(data.part(np.arange(k, min(k + BLOCK, n))), library, misfit) for k in range(0, n, BLOCK)]
    names = [field.name for field in fields(Found)]
    return Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _fit(data: Measured, library: Library, misfit: float) -> Found:
    points, deviance = find_minima(data, library, misfit)
    (lower, upper), units = library.bounds, library.steps
    best = _evaluate(data, library, points[:, 0], misfit)
    there = data.weight
    chi = (there * (np.nan_to_num(data.value) - best.mean) ** 2 / best.variance).sum(1)
    chi = chi / np.maximum(there.sum(1) - len(units) - 1, 1.0)
    worse = np.maximum(chi, 1.0)[:, None]  # what is not explained makes everything less certain
    curved = _curvature(data, library, points, misfit)

    def sampled(places: FloatArray) -> FloatArray:
        n, k, p = places.shape
        state = _evaluate(data.repeated(k), library, (places * units).reshape(n * k, p), misfit)
        return state.deviance.reshape(n, k) / worse

    minima = Minima(points / units, curved * worse[..., None, None], deviance / worse)
    scatter = scatter_around(minima, (lower / units, upper / units), sampled, FAR)
    unknown = library.unknown(points[:, 0]) * best.scale[:, None, None]
    shared = _shared_error(data, best, library, misfit, curved[:, 0], unknown)
    covariance = (scatter.covariance + shared) * units[:, None] * units
    inside = np.all((points[:, 0] > lower + EDGE * units) & (points[:, 0] < upper - EDGE * units), axis=1)
    return Found(points, deviance, covariance, chi, inside, scatter.tail, scatter.opposite)


def find_minima(data: Measured, library: Library, misfit: float) -> tuple[FloatArray, FloatArray]:
    """Minima of the deviance of every position, the lowest first: `Found.parameters` and `Found.deviance`.

    Parameters
    ----------
    data, library, misfit
        As for `fit_library`.
    """
    points = _starts(data, library, misfit)
    for steps in (SCOUTING, STEPS):
        n, starts, dims = points.shape
        points, state = _descend(data.repeated(starts), library, points.reshape(-1, dims), misfit, steps)
        deviance = state.deviance.reshape(n, starts)
        points, deviance = _distinct(points.reshape(n, starts, dims), deviance, library.steps)
        points, deviance = points[:, :MINIMA], deviance[:, :MINIMA]
    return points, deviance


def _distinct(points: FloatArray, deviance: FloatArray, steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The lowest first; those that two starts lead to are once at their place, and infinite at the end."""
    points, deviance = _lowest_first(points, deviance)
    for k in range(1, points.shape[1]):
        apart = np.abs(points[:, k, None] - points[:, :k]) / steps
        deviance[np.any(np.all(apart < SAME, axis=-1), axis=1), k] = np.inf
    return _lowest_first(points, deviance)


def _lowest_first(points: FloatArray, deviance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Minima of every position in the order of their deviance."""
    order = np.argsort(deviance, axis=1, kind="stable")
    return np.take_along_axis(points, order[..., None], 1), np.take_along_axis(deviance, order, 1)


def _unit_misfit(mean: FloatArray) -> FloatArray:
    """Variance of the library's error at a relative error of 1."""
    mean = np.maximum(mean, 0.0)
    return mean * ((mean**2).sum(-1) / np.maximum(mean.sum(-1), 1e-30))[..., None]


def _evaluate(data: Measured, library: Library, points: FloatArray, misfit: float) -> _State:
    value, slope = library.at(points)
    there, counts, noise = data.weight, np.nan_to_num(data.value), data.variance
    variance = noise + misfit**2 * np.maximum(counts, 0.0).max(1, keepdims=True) * np.maximum(counts, 0.0)
    for _ in range(3):  # scale and variance depend on each other
        weight = there / variance
        scale = (weight * counts * value).sum(1) / np.maximum((weight * value**2).sum(1), 1e-300)
        scale = np.maximum(scale, 1e-12)
        mean = scale[:, None] * value
        variance = noise + misfit**2 * _unit_misfit(mean * there)
    deviance = (there * ((counts - mean) ** 2 / variance + np.log(variance))).sum(1)
    return _State(mean, scale[:, None, None] * slope, variance, deviance, scale)


def _starts(data: Measured, library: Library, misfit: float) -> FloatArray:
    """The lowest nodes of a library, `DEEP` and `BANDS`, shape ``(n, start, parameter)``."""
    shape = library.intensity.shape[:-1]
    nodes = np.ascontiguousarray(library.intensity.reshape(-1, library.intensity.shape[-1]), np.float32)
    square = nodes**2
    there, counts = data.weight, np.nan_to_num(data.value)
    bright = np.maximum(counts, 0.0)
    some = max(misfit, 0.02) ** 2  # weights follow the counts here: those of faint reflections must not be blown up
    top = (bright**2).sum(1, keepdims=True) / np.maximum(bright.sum(1, keepdims=True), 1e-30)
    weight = there / (data.variance + some * (bright + 0.05 * top) * top)
    out = np.empty((len(counts), DEEP + BANDS, len(shape)))
    for start in range(0, len(counts), TOGETHER):
        part = slice(start, start + TOGETHER)
        cross = (weight[part] * counts[part]).astype(np.float32) @ nodes.T
        chi = -(np.maximum(cross, 0.0) ** 2) / np.maximum(weight[part].astype(np.float32) @ square.T, 1e-30)
        for row, one in zip(out[part], chi.reshape(-1, *shape), strict=True):
            row[:] = _lowest(one, library)
    return out


def _lowest(chi: NDArray[np.float32], library: Library) -> FloatArray:
    """Parameters of the lowest nodes of one position, the first one repeated where there are fewer."""
    low = np.flatnonzero(chi == ndimage.minimum_filter(chi, 3))
    low = low[np.argsort(chi.ravel()[low], kind="stable")][:DEEP]
    each = chi.reshape(len(chi), -1).argmin(1) + np.arange(len(chi)) * (chi.size // len(chi))
    bands = [part[chi.ravel()[part].argmin()] for part in np.array_split(each, min(BANDS, len(each)))]
    low = np.concatenate([low, bands])
    low = np.concatenate([low, np.repeat(low[:1], DEEP + BANDS - len(low))])
    places = np.unravel_index(low, chi.shape)
    return np.stack([nodes[place] for nodes, place in zip(library.grid, places, strict=True)], 1)


def _descend(
    data: Measured, library: Library, points: FloatArray, misfit: float, steps: int
) -> tuple[FloatArray, _State]:
    """Follow the deviance to its minimum (Levenberg and Marquardt), all positions at once."""
    (lower, upper), units = library.bounds, library.steps
    damping = np.full(len(points), 1e-2)
    points = np.clip(points, lower + 0.25 * units, upper - 0.25 * units)
    state = _evaluate(data, library, points, misfit)
    for _ in range(steps):
        gradient, normal = _equations(data, state, units)
        diagonal = np.einsum("nii->ni", normal)
        damped = normal + damping[:, None, None] * diagonal[:, None] * np.eye(normal.shape[1])
        step = np.linalg.solve(damped + 1e-12 * np.eye(normal.shape[1]), gradient[..., None])[..., 0]
        # splines are flat at the last nodes: a fit that sets foot there would stay
        tried = np.clip(points + step * units, points + TOWARDS * (lower - points), points + TOWARDS * (upper - points))
        new = _evaluate(data, library, tried, misfit)
        better = new.deviance < state.deviance
        points = np.where(better[:, None], tried, points)
        state = _State(*(
            np.where(better.reshape(-1, *(1,) * (one.ndim - 1)), other, one)
            for one, other in zip(state, new, strict=True)
        ))  # fmt: skip
        damping = np.where(better, damping * 0.3, damping * 5.0)
    return points, state


def _scale_free(data: Measured, state: _State, units: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights ``(n, g)``, and slopes per step of the library with the scale eliminated, ``(n, p, g)``."""
    weight, slope = data.weight / state.variance, state.slope * units[:, None]
    own = np.maximum((weight * state.mean**2).sum(1), 1e-300)
    cross = np.einsum("ng,npg->np", weight * state.mean, slope) / own[:, None]
    return weight, slope - cross[..., None] * state.mean[:, None]


def _equations(data: Measured, state: _State, units: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Normal equations of the parameters per step of the library: gradient ``(n, p)`` and matrix ``(n, p, p)``."""
    weight, slope = _scale_free(data, state, units)
    gradient = np.einsum("ng,npg->np", weight * (np.nan_to_num(data.value) - state.mean), slope)
    return gradient, np.einsum("npg,ng,nqg->npq", slope, weight, slope, optimize=True)


def _curvature(data: Measured, library: Library, points: FloatArray, misfit: float) -> FloatArray:
    """Inverse curvature at all minima in square steps of the library, that of its whole range where there is none."""
    n, minima, dims = points.shape
    repeated = data.repeated(minima)
    state = _evaluate(repeated, library, points.reshape(-1, dims), misfit)
    _, normal = _equations(repeated, state, library.steps)
    lower, upper = library.bounds
    extent = 12 * (library.steps / (upper - lower)) ** 2  # one over the variance of what is anywhere in the library
    return np.asarray(np.linalg.inv(normal + np.diag(extent)).reshape(n, minima, dims, dims))


def _shared_error(
    data: Measured, best: _State, library: Library, misfit: float, covariance: FloatArray, unknown: FloatArray
) -> FloatArray:
    """Covariance that the errors of a library add because reflections share them, in square steps of the library.

    Those of one length have the same scattering factor. That widens thickness much and tilt little. What is not known
    of the crystal changes all of them, in counts, shape ``(n, k, g)``: surfaces make a displacement larger or smaller,
    vibration a thickness.
    """
    weight, slope = _scale_free(data, best, library.steps)
    slope = slope * weight[:, None]
    alone = slope * (misfit * np.sqrt(_unit_misfit(best.mean * data.weight)))[:, None]
    _, ring = np.unique(np.hypot(*library.vectors.T).round(2), return_inverse=True)
    shared = np.concatenate([alone @ np.eye(ring.max() + 1)[ring], slope @ unknown.swapaxes(1, 2)], -1)
    return np.asarray(covariance @ (shared @ shared.swapaxes(1, 2)) @ covariance)
