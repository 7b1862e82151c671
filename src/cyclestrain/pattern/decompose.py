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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.loops import on_threads
from cyclestrain.pattern.normal_equations import RIDGE, TINY, Crystals, Equations, Palette, normal_equations

__all__ = ["Candidates", "Decomposition", "decompose"]

DOUBT = 0.1
"""A pattern holds several crystals if it holds but one with a smaller probability than this."""

KNOWN = 0.8
"""Uncertainty, over that of the own fit, below which a crystal is surely known where a near one is told beside it."""
BETWEEN, CLOSE, DIFFERENT = 0.7, 0.3, 4.0
"""Part of the mean distance of overlapping disks from their mean by which a fit may miss it, the second where one is
not surely known, and standard deviations that count as none with the first.

Half is at most the distance of the larger one of two from their mean.
"""


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
    departure
        Of each candidate from the own fit, in the nearest labelling; the square root of its sum of squares is the root
        mean square distance of the disks in pixels, NaN for another entry, shape ``(n, k, 2, 2)``.
    radius
        Of the disks, pixels, shape ``(n,)``.
    uncertainty
        Standard deviation of each candidate, as `departure`, without what neighbours share, pixels, shape ``(n, k)``.
    least
        Share below which a crystal is not told beside others, shape ``(n,)``.
    """

    label: IntArray
    affine: FloatArray
    gain: FloatArray
    like: IntArray
    centre: FloatArray
    departure: FloatArray
    radius: FloatArray
    uncertainty: FloatArray
    least: FloatArray


@dataclass(frozen=True)
class Decomposition:
    """What patterns are made of.

    Attributes
    ----------
    amplitude
        Of each candidate over its gain where it is alone, zero for those that are not in the pattern, ``(n, k)``.
    covariance
        Of the amplitudes, with the doubt which crystals there are, shape ``(n, k, k)``.
    misfit
        Chi-square per pixel that the best of all explanations leaves, at least 1, shape ``(n,)``.
    """

    amplitude: FloatArray
    covariance: FloatArray
    misfit: FloatArray


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
    equations = Equations(np.zeros((n, k + 1, k + 1)), np.zeros((n, k + 1)), np.zeros(n), np.zeros(n, np.int64))
    affine = np.ascontiguousarray(candidates.affine)
    crystals = Crystals(candidates.label, affine, candidates.gain, candidates.centre)
    on_threads(normal_equations, n, patterns, chosen, good, palette, crystals, equations)
    return _choose(equations, candidates, cost)


def _choose(equations: Equations, candidates: Candidates, cost: FloatArray) -> Decomposition:
    """Best subset of the crystals, and how far all subsets, by their odds, are from it."""
    n, k = candidates.label.shape
    rows, copies = np.arange(n), np.flatnonzero(candidates.like >= 0)
    subsets = np.array(list(itertools.product([False, True], repeat=k)))[1:]
    single = subsets.sum(1) == 1
    allowed = ((candidates.label >= 0)[:, None] | ~subsets).all(2)
    allowed[copies] &= single | ~subsets[:, 0]
    price, values, spread, misfit = _explain(equations, allowed & (equations.pixels > 0)[:, None], subsets)
    told = _is_told(values, subsets, candidates)
    # The own fit by itself says that the crystal it is a copy of is there alone.
    own, like = int(np.flatnonzero(single & subsets[:, 0])[0]), candidates.like[copies]
    values[copies, own, like], spread[copies, own, like, like] = values[copies, own, 0], spread[copies, own, 0, 0]
    values[copies, own, 0] = spread[copies, own, 0, 0] = 0.0
    price = np.where(told, price + subsets @ cost, np.inf)
    price[~np.isfinite(price).any(1)] = 0.0  # nothing to see: no crystal in any subset
    odds = np.exp(-0.5 * (price - price.min(1, keepdims=True)))
    odds /= odds.sum(1, keepdims=True)
    alone = (odds * single).sum(1) > DOUBT
    best = np.where(alone, np.where(single, price, np.inf).argmin(1), price.argmin(1))
    amplitude = values[rows, best]
    off = values - amplitude[:, None]
    covariance = np.einsum("ns,nskl->nkl", odds, spread) + np.einsum("ns,nsk,nsl->nkl", odds, off, off)
    return Decomposition(amplitude, covariance, misfit)


def _is_told(values: FloatArray, subsets: BoolArray, candidates: Candidates) -> BoolArray:
    """Subsets that a single fit does not say as well, shape ``(n, subset)``.

    Where no crystal is farther from the own fit than a disk radius, disks are seen as one and brightness that varies
    from disk to disk is easily taken for two. Then several crystals are told only if the own fit is about their mean:
    it may be drawn to the larger one if each is known better than the pattern tells, else it has to be close.
    """
    weight = values * candidates.gain[:, None]
    weight /= np.maximum(weight.sum(2, keepdims=True), TINY)
    there = np.nan_to_num(candidates.departure)
    mean = np.einsum("nsk,nkij->nsij", weight, there)
    around = (weight * np.sqrt(((there[:, None] - mean[:, :, None]) ** 2).sum((3, 4)))).sum(2)
    off = np.sqrt((mean**2).sum((2, 3)))
    missed = off > np.maximum(BETWEEN * around, DIFFERENT * candidates.uncertainty[:, :1])
    vague = candidates.uncertainty > KNOWN * candidates.uncertainty[:, :1]
    vague[:, 0] = False
    guessed = (subsets & vague[:, None]).any(2) & (subsets.sum(1) > 1) & (off > CLOSE * around)
    distance = np.sqrt((candidates.departure**2).sum((2, 3)))[:, None]
    as_one = np.where(subsets, distance, 0.0).max(2) < candidates.radius[:, None]  # not where NaN: another entry
    share = values / np.maximum(values.sum(2, keepdims=True), TINY)
    small = (subsets & (share < candidates.least[:, None, None])).any(2)
    return np.asarray(~(as_one & (missed | guessed) | small))


def _explain(
    equations: Equations, allowed: BoolArray, subsets: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Chi-square of every subset of the crystals, their amplitudes, the covariance of these, and what the best leaves.

    Shapes ``(n, subset)``, ``(n, subset, k)``, ``(n, subset, k, k)`` and ``(n,)``. Chi-square is in units of what the
    best subset leaves per pixel, where that is more than counting gives.
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
    misfit = np.maximum(1.0, least / np.maximum(equations.pixels - k - 1, 1))
    spread *= misfit[:, None, None, None]
    values, spread, cut = _positive(values, spread)
    return price / misfit[:, None] + cut, values, spread, misfit


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
