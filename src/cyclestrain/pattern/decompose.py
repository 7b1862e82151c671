r"""A pattern as the sum of known crystals: how much of each is under the probe.

The expected counts of a pattern that holds the crystals `m`, each with its dictionary entry and affine, are

.. math:: \lambda(p) = \beta B(|p - c|) + \sum_m b_m \gamma_m \sum_g I_{mg} P_m(p - c - A_m g), \quad b_m \ge 0,

with the gain :math:`\gamma_m` that the crystal has where it is alone. Only the few amplitudes :math:`b_m` and the level
:math:`\beta` are unknown, so that one pattern tells them well. They are found by reweighted least squares on the pixels
of all windows together, each counted once however many disks overlap there. Then every subset of the crystals is
tried; each crystal costs some chi-square, which stands for how likely it was beforehand. The covariance of the
amplitudes contains how far the other subsets are from the best one, by their odds.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.pattern.cholesky import cholesky_solve
from cyclestrain.pattern.dictionary import Dictionary

__all__ = ["Candidates", "Decomposition", "Palette", "decompose"]

BLOCK = 64
"""Patterns that share their scratch space."""
RIM = 1.5
"""Pixels around a disk that are looked at: brightness needs less of them than the place of the edge."""
ITERATIONS = 3
"""Rounds of reweighting."""
DOUBT = 0.1
"""A pattern holds several crystals if it holds but one with a smaller probability than this."""
BAD, UNSEEN = -2, -1
"""Entries of the index of pixels: not to be used, not on the list yet."""
RIDGE, TINY = 1e-6, 1e-12
"""Added to normal equations, relative and absolute: what the data do not see stays at rest."""


class Palette(NamedTuple):
    """All entries of a dictionary in arrays padded to the same size, as the compiled loop reads them."""

    reflections: FloatArray  # (entry, reflection, 2)
    intensity: FloatArray  # (entry, reflection)
    number: IntArray  # reflections of each entry
    tables: NDArray[np.float32]  # probes, (entry, phase, phase, size * size)
    left: IntArray  # first pixel of each row of a (round) window
    profile: NDArray[np.float32]  # backgrounds, (entry, radius)
    floor: float  # least variance of a pixel
    scale: float  # variance over mean

    @classmethod
    def of(cls, dictionary: Dictionary) -> Palette:
        """Palette of a dictionary."""
        entries = dictionary.entries
        half = max(int(np.ceil(e.probe.radius + RIM)) for e in entries)
        probes = [e.probe.blurred(0.0, half) for e in entries]
        tables = np.stack([p.tables[0].reshape(*p.tables.shape[1:3], -1) for p in probes])
        number = np.array([len(e.intensity) for e in entries])
        reflections, intensity = np.zeros((len(entries), number.max(), 2)), np.zeros((len(entries), number.max()))
        length = max(len(e.background) for e in entries)
        profile = np.stack([np.pad(e.background, (0, length - len(e.background)), mode="edge") for e in entries])
        for k, e in enumerate(entries):
            reflections[k, : number[k]], intensity[k, : number[k]] = e.reflections, e.intensity
        left, floor = probes[0].support.argmax(1), min(e.variance_floor for e in entries)
        return cls(reflections, intensity, number, tables, left, profile, floor, float(dictionary.noise_scale))


@dataclass(frozen=True)
class Candidates:
    """Crystals that each of `n` patterns may hold.

    Attributes
    ----------
    label
        Dictionary entry, -1 for none, shape ``(n, k)``. The first is the pattern's own fit.
    affine
        Shape ``(n, k, 2, 2)``.
    gain
        Brightness of each where it is alone, shape ``(n, k)``.
    like
        Candidate that the own fit is a copy of, -1 for none, shape ``(n,)``. Such a fit is an answer only by itself.
    centre
        Beam centre of each pattern, pixels, shape ``(n, 2)``.
    """

    label: IntArray
    affine: FloatArray
    gain: FloatArray
    like: IntArray
    centre: FloatArray


@dataclass(frozen=True)
class Decomposition:
    """What patterns are made of.

    Attributes
    ----------
    amplitude
        Of each candidate over its gain where it is alone, zero for those that are not in the pattern, ``(n, k)``.
    covariance
        Of the amplitudes, with the doubt which crystals there are, shape ``(n, k, k)``.
    """

    amplitude: FloatArray
    covariance: FloatArray


def decompose(
    patterns: NDArray[Any],
    chosen: IntArray,
    good: BoolArray,
    palette: Palette,
    candidates: Candidates,
    cost: FloatArray,
) -> Decomposition:
    """Find which of the candidates each pattern holds, and how much of each.

    Parameters
    ----------
    patterns
        Shape ``(any, qy, qx)``.
    chosen
        Which of the patterns, shape ``(n,)``.
    good
        Detector pixels that can be trusted.
    palette
        The dictionary.
    candidates
        Crystals to choose from.
    cost
        By how much each has to lower chi-square, shape ``(k,)``.
    """
    n, k = candidates.label.shape
    equations = _Equations(np.zeros((n, k + 1, k + 1)), np.zeros((n, k + 1)), np.zeros(n), np.zeros(n, np.int64))
    arguments = (
        patterns, chosen, good, palette, candidates.label, np.ascontiguousarray(candidates.affine), candidates.gain,
        candidates.centre, *equations,
    )  # fmt: skip
    with ThreadPoolExecutor(nb.get_num_threads()) as pool:
        starts = range(0, n, BLOCK)
        list(pool.map(lambda start: _normal_equations(*arguments, start, min(start + BLOCK, n)), starts))
    return _choose(equations, candidates, cost)


class _Equations(NamedTuple):
    """Weighted least squares of many patterns, background first."""

    normal: FloatArray  # (n, 1 + k, 1 + k)
    rhs: FloatArray  # (n, 1 + k)
    total: FloatArray  # weighted squares of the counts, (n,)
    pixels: IntArray  # (n,)


def _choose(equations: _Equations, candidates: Candidates, cost: FloatArray) -> Decomposition:
    """Best subset of the crystals, and how far all subsets, by their odds, are from it."""
    n, k = candidates.label.shape
    rows, copies = np.arange(n), np.flatnonzero(candidates.like >= 0)
    subsets = np.array(list(itertools.product([False, True], repeat=k)))[1:]
    single = subsets.sum(1) == 1
    allowed = ((candidates.label >= 0)[:, None] | ~subsets).all(2)
    allowed[copies] &= single | ~subsets[:, 0]
    price, values, spread = _explain(equations, allowed & (equations.pixels > 0)[:, None], subsets)
    # The own fit by itself says that the crystal it is a copy of is there alone.
    own, like = int(np.flatnonzero(single & subsets[:, 0])[0]), candidates.like[copies]
    values[copies, own, like], spread[copies, own, like, like] = values[copies, own, 0], spread[copies, own, 0, 0]
    values[copies, own, 0] = spread[copies, own, 0, 0] = 0.0
    price += subsets @ cost
    price[~np.isfinite(price).any(1)] = 0.0  # nothing to see: no crystal in any subset
    odds = np.exp(-0.5 * (price - price.min(1, keepdims=True)))
    odds /= odds.sum(1, keepdims=True)
    alone = (odds * single).sum(1) > DOUBT
    best = np.where(alone, np.where(single, price, np.inf).argmin(1), price.argmin(1))
    amplitude = values[rows, best]
    off = values - amplitude[:, None]
    covariance = np.einsum("ns,nskl->nkl", odds, spread) + np.einsum("ns,nsk,nsl->nkl", odds, off, off)
    return Decomposition(amplitude, covariance)


def _explain(
    equations: _Equations, allowed: BoolArray, subsets: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Chi-square of every subset of the crystals, their amplitudes, and the covariance of these.

    Shapes ``(n, subset)``, ``(n, subset, k)`` and ``(n, subset, k, k)``. Chi-square is in units of what the best subset
    leaves per pixel, where that is more than counting gives.
    """
    k = subsets.shape[1]
    price, values = np.full(allowed.shape, np.inf), np.zeros((*allowed.shape, k))
    spread = np.zeros((*allowed.shape, k, k))
    for s, subset in enumerate(subsets):
        here, some = np.flatnonzero(allowed[:, s]), np.flatnonzero(subset)
        columns, at = np.append(0, 1 + some), np.array([s])
        normal, rhs = equations.normal[np.ix_(here, columns, columns)], equations.rhs[np.ix_(here, columns)]
        inverse = np.linalg.inv(normal + (RIDGE * normal + TINY) * np.eye(len(columns)))
        level = np.einsum("nij,nj->ni", inverse, rhs)
        price[here, s] = equations.total[here] - np.einsum("ni,ni->n", level, rhs)
        values[np.ix_(here, at, some)] = level[:, None, 1:]
        spread[np.ix_(here, at, some, some)] = inverse[:, None, 1:, 1:]
    least = np.where(allowed.any(1), price.min(1), 0.0)
    misfit = np.maximum(1.0, least / np.maximum(equations.pixels - k - 1, 1))[:, None]
    spread *= misfit[..., None, None]
    values, spread, cut = _positive(values, spread)
    return price / misfit + cut, values, spread


def _positive(values: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Amplitudes cut off below zero: their means, covariances, and chi-square of what is left.

    Each is cut by itself, with mean and variance of the one-dimensional distribution; correlations are kept.
    """
    sigma = np.sqrt(np.einsum("...ii->...i", spread))
    x = np.clip(values / np.where(sigma > 0, sigma, 1.0), -6.0, 6.0)
    left = ndtr(x)
    ratio = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi) / left
    near = (x < 6.0) & (sigma > 0)
    narrower = np.where(near, np.sqrt(np.maximum(1.0 - x * ratio - ratio**2, 1e-3)), 1.0)
    spread = spread * narrower[..., :, None] * narrower[..., None, :]
    return np.where(near, sigma * (x + ratio), values), spread, -2.0 * (np.log(left) * near).sum(-1)


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _draw(
    palette: Any, entry: int, gain: float, affine: Any, centre: Any, index: Any, pixels: Any, used: int, values: Any,
    column: Any,
) -> int:  # fmt: skip  # pragma: no cover
    """Draw one crystal into its column over the list of pixels, which grows by those it is the first to touch."""
    n_y, n_x = index.shape
    size, phases = palette.left.shape[0], palette.tables.shape[1]
    half, one, tables = size // 2, np.float32(1.0), palette.tables[entry]
    for g in range(palette.number[entry]):
        gy, gx = palette.reflections[entry, g, 0], palette.reflections[entry, g, 1]
        py, px = centre[0] + affine[0, 0] * gy + affine[0, 1] * gx, centre[1] + affine[1, 0] * gy + affine[1, 1] * gx
        oy, ox = int(np.rint(py)), int(np.rint(px))
        ty, tx = (py - oy + 0.5) * (phases - 1), (px - ox + 0.5) * (phases - 1)
        iy, ix = min(int(ty), phases - 2), min(int(tx), phases - 2)
        wy, wx = np.float32(ty - iy), np.float32(tx - ix)
        bright = np.float32(gain * palette.intensity[entry, g])
        w00, w01 = bright * (one - wy) * (one - wx), bright * (one - wy) * wx
        w10, w11 = bright * wy * (one - wx), bright * wy * wx
        t00, t01, t10, t11 = tables[iy, ix], tables[iy, ix + 1], tables[iy + 1, ix], tables[iy + 1, ix + 1]
        for k in range(size * size):
            values[k] = w00 * t00[k] + w01 * t01[k] + w10 * t10[k] + w11 * t11[k]
        for i in range(max(0, half - oy), min(size, n_y + half - oy)):
            y, x, k = oy - half + i, ox - half, i * size
            for j in range(max(palette.left[i], half - ox), min(size - palette.left[i], n_x + half - ox)):
                at = index[y, x + j]
                if at == BAD:
                    continue
                if at == UNSEEN:
                    index[y, x + j] = at = used
                    pixels[at, 0], pixels[at, 1] = y, x + j
                    used += 1
                column[at] += values[k + j]
    return used


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _weigh(
    columns: Any, counts: Any, used: int, level: Any, floor: float, scale: float, weighted: Any, normal: Any, rhs: Any
) -> float:  # pragma: no cover
    """Weighted normal equations of the columns at the present `level` of each; returns the weighted sum of squares."""
    n_columns = len(level)
    weight, total = weighted[n_columns], np.float32(0.0)
    least, precision = np.float32(floor), np.float32(1.0 / scale)
    for u in range(used):
        weight[u] = 0.0
    for a in range(n_columns):
        amount, column = np.float32(level[a]), columns[a]
        for u in range(used):
            weight[u] += amount * column[u]
    for u in range(used):
        weight[u] = precision / max(weight[u], least)
        total += weight[u] * counts[u] * counts[u]
    for a in range(n_columns):
        column, product, sum_ = columns[a], weighted[a], np.float32(0.0)
        for u in range(used):
            product[u] = weight[u] * column[u]
            sum_ += product[u] * counts[u]
        rhs[a] = sum_
        for b in range(a + 1):
            other, sum_ = columns[b], np.float32(0.0)
            for u in range(used):
                sum_ += product[u] * other[u]
            normal[a, b] = normal[b, a] = sum_
    return float(total)


@nb.njit(forceinline=True)
def _settle(normal: Any, rhs: Any, chosen: int, matrix: Any, inverse: Any, level: Any) -> None:  # pragma: no cover
    """Least squares of the `chosen` columns (bits) without those that would be negative, whose level is zero."""
    n = len(level)
    for _ in range(n):
        for a in range(n):
            level[a] = 0.0
            for b in range(n):
                one = 1.0 if a == b else 0.0
                matrix[a, b] = normal[a, b] if (chosen >> a) & (chosen >> b) & 1 else one
                inverse[a, b] = one
            matrix[a, a] = matrix[a, a] * (1.0 + RIDGE) + TINY
        cholesky_solve(matrix, inverse, n, n)
        worst = 0
        for a in range(n):
            for b in range(n):
                if (chosen >> a) & (chosen >> b) & 1:
                    level[a] += inverse[a, b] * rhs[b]
            if a > 0 and level[a] < min(level[worst], 0.0):
                worst = a
        if worst == 0:
            return
        chosen &= ~(1 << worst)


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _background(
    profile: Any, centre: Any, pattern: Any, index: Any, pixels: Any, used: int, column: Any, counts: Any
) -> None:  # pragma: no cover
    """Radial background and counts of the listed pixels; takes them off the `index`."""
    last = profile.shape[0] - 1.001
    for u in range(used):
        y, x = pixels[u, 0], pixels[u, 1]
        radius = min(np.sqrt((y - centre[0]) ** 2 + (x - centre[1]) ** 2), last)
        inner = int(radius)
        column[u] = profile[inner] + (radius - inner) * (profile[inner + 1] - profile[inner])
        counts[u] = pattern[y, x]
        index[y, x] = UNSEEN


@nb.njit(cache=True, nogil=True)
def _normal_equations(
    patterns: Any, chosen: Any, good: Any, palette: Any, label: Any, affine: Any, gain: Any, centre: Any, normal: Any,
    rhs: Any, total: Any, used: Any, start: int, stop: int,
) -> None:  # fmt: skip  # pragma: no cover
    """Normal equations of the background and every crystal, at the weights of the best non-negative fit of them all."""
    k = label.shape[1]
    most = k * palette.reflections.shape[1] * palette.tables.shape[3]
    index = np.empty(good.shape, np.int32)
    for y in range(good.shape[0]):
        for x in range(good.shape[1]):
            index[y, x] = UNSEEN if good[y, x] else BAD
    pixels, counts = np.empty((most, 2), np.int32), np.empty(most, np.float32)
    columns, weighted = np.zeros((k + 1, most), np.float32), np.empty((k + 2, most), np.float32)
    matrix, inverse, level = np.empty((k + 1, k + 1)), np.empty((k + 1, k + 1)), np.empty(k + 1)
    for i in range(start, stop):
        n, present, entry = 0, 1, -1
        for a in range(k):
            if label[i, a] >= 0:
                n = _draw(
                    palette, label[i, a], gain[i, a], affine[i, a], centre[i], index, pixels, n, weighted[0],
                    columns[a + 1],
                )  # fmt: skip
                present |= 2 << a
                entry = label[i, a] if entry < 0 else entry
        used[i] = n
        if n == 0:
            continue
        _background(palette.profile[entry], centre[i], patterns[chosen[i]], index, pixels, n, columns[0], counts)
        for a in range(k + 1):
            level[a] = 1.0 / max(k, 1) if a > 0 else 1.0
        for _ in range(ITERATIONS):
            total[i] = _weigh(columns, counts, n, level, palette.floor, palette.scale, weighted, normal[i], rhs[i])
            _settle(normal[i], rhs[i], present, matrix, inverse, level)
        for a in range(k + 1):
            for u in range(n):
                columns[a, u] = 0.0
