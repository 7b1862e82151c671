"""The second profile of a background whose shape varies from pattern to pattern, as an amorphous film makes it.

What rings around the beam show in every pattern is one profile times its level, and, where a film varies, a second one
times another number. Deviations of single reflections would take that up only in part: they are expected to be zero and
independent, while a film is alike in all reflections at the same distance, and what they leave moves all disks outwards
or inwards together.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import make_smoothing_spline

from cyclestrain.data import FloatArray

__all__ = ["film_of"]

ROUNDS = 20
"""Alternations of levels and profiles."""
LEAST_PATTERNS, LEAST_RINGS = 30, 8
"""Patterns and rings that a film is learned from at least."""
CLEAR = 10.0
"""Fall of chi-square of a pattern, in the mean, from which its film matters beside its noise."""
WORTH_A_LOOK = 0.5
"""Part of that which a first guess has to promise."""
LEAST_EXPLAINED = 0.5
"""Part of what chi-square has beyond noise that a film has to explain: a second profile is the best one of anything."""
EDGE, MOST_IN_EDGE = 4, 0.65
"""Neighbouring rings, and part of its gain that may come from them: what is nowhere else is an edge that moves."""
USUAL = 0.95
"""Part of the patterns, those it gains least in, that a film is judged by: the others may hold something else."""
LEAST_INFORMATION = 1e-4
"""Information on a ring, in units of that on all, below which its profile is that of the rings beside it."""


def film_of(rings: FloatArray, compared: FloatArray, background: FloatArray, scale: float) -> FloatArray:
    """Second profile of the background, as `cyclestrain.pattern.Entry.film`; empty where patterns show none.

    Parameters
    ----------
    rings
        Information on the level of the background of each pattern in each ring, and that times the level, for counting
        noise, see `cyclestrain.learning.window_sums.add_windows`, shape ``(n, 2, ring)``.
    compared
        Profiles that these levels are in units of, of each pattern or of all, shape ``(n, radius)``.
    background
        First profile, counts per pixel at 0, 1, 2, ... pixels, shape ``(radius,)``.
    scale
        Variance over mean of pixels that are taken for independent.
    """
    total = rings[:, 0].sum(0)
    seen = np.flatnonzero(total > LEAST_INFORMATION * total.sum())
    known = (rings[:, 0, seen] > 0).sum(1) > 1  # a single ring tells no two profiles apart
    if known.sum() < LEAST_PATTERNS or len(seen) < LEAST_RINGS:
        return np.zeros(0)
    middle = seen + 0.5
    unit = np.stack([np.interp(middle, np.arange(len(each)), each) for each in compared / background])
    unit = np.broadcast_to(unit, (len(rings), len(seen)))[known]
    information, score = rings[known, 0][:, seen] / (scale * unit**2), rings[known, 1][:, seen] / (scale * unit)
    gain, start = _first_guess(information, score)
    if gain < WORTH_A_LOOK * CLEAR * len(score):
        return np.zeros(0)
    one = _one_profile(information, score)
    two, amount, profile = _two_profiles(information, score, start)
    if not _is_film(*(_misfit(information, score, each) for each in (one, two))):
        return np.zeros(0)
    smooth = make_smoothing_spline(middle, np.std(amount) * profile, information.sum(0))
    return np.asarray(background * smooth(np.clip(np.arange(len(background)), middle[0], middle[-1])))


def _is_film(one: FloatArray, two: FloatArray) -> bool:
    """Whether a second profile is a film, by chi-square of every ring with one profile and with two, ``(n, ring)``."""
    gain = one - two
    usual = np.argsort(gain.sum(1))[: int(np.ceil(USUAL * len(gain)))]
    of_rings, beyond = gain[usual].sum(0), one[usual].sum() - one[usual].size
    total = of_rings.sum()
    of_edge = np.convolve(of_rings, np.ones(EDGE)).max()
    return bool(total > max(CLEAR * len(usual), LEAST_EXPLAINED * beyond) and of_edge < MOST_IN_EDGE * total)


def _misfit(information: FloatArray, score: FloatArray, level: FloatArray) -> FloatArray:
    """Chi-square of the levels of all rings, shape ``(n, ring)``."""
    measured = np.divide(score, information, out=np.zeros_like(score), where=information > 0)
    return np.asarray(information * (measured - level) ** 2)


def _one_profile(information: FloatArray, score: FloatArray) -> FloatArray:
    """Best levels that are one profile times a number for each pattern, shape ``(n, ring)``."""
    profile = np.ones(information.shape[1])
    for _ in range(ROUNDS):
        level = (score @ profile) / (information @ profile**2)
        profile = (level @ score) / (level**2 @ information)
    return np.outer(level, profile)


def _first_guess(information: FloatArray, score: FloatArray) -> tuple[float, FloatArray]:
    """About how much chi-square falls by a second profile, and what that is like."""
    level = score.sum(1) / information.sum(1)
    rest = (score - information * level[:, None]) / np.sqrt(np.where(information > 0, information, np.inf))
    gains, profiles = np.linalg.eigh(rest.T @ rest)
    return float(gains[-1]), profiles[:, -1] / np.sqrt(information.sum(0) / information.sum())


def _two_profiles(
    information: FloatArray, score: FloatArray, profile: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Best levels that are one number of each pattern plus another one times a profile; these numbers' ratio; it."""
    share = information.sum(0) / information.sum()
    for _ in range(ROUNDS):
        level, more = _levels(information, score, profile)
        profile = (more @ (score - information * level[:, None])) / (more**2 @ information)
        profile -= share @ profile  # what all have is in the first profile, whose level then is above zero
        profile /= np.sqrt(share @ profile**2)
    level, more = _levels(information, score, profile)
    return level[:, None] + np.outer(more, profile), more / level, profile


def _levels(information: FloatArray, score: FloatArray, profile: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Level of each pattern, and how much it has of a profile, by least squares."""
    aa, ab, bb = information.sum(1), information @ profile, information @ profile**2
    ay, by = score.sum(1), score @ profile
    determinant = np.maximum(aa * bb - ab**2, 1e-9 * aa * bb)
    return (bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant
