"""Whether all disks are softer in some patterns than in others, as defocus or plasmons make them."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.pattern import Entry, PatternFit, WindowStack, blurs_in

__all__ = ["blur_spread", "of_mean_blur"]

LEAST_PATTERNS, FIRST_PATTERNS = 30, 256
"""Patterns that it is told from at least, and most of a first look."""
TRIAL = 0.3
"""Standard deviation of the variance of the blur that is looked for at first, pixels squared."""
CLEAR = 10.0
"""Fall of chi-square of a pattern, in the mean, from which a blur of its own matters beside its noise."""
LEAST_COMMON = 0.5
"""Part of what blurs of single disks explain that the common one has to: contrast differs from disk to disk."""
TINY = 1e-30
"""Information that is none."""


def blur_spread(stack: WindowStack, entry: Entry, fit: PatternFit, trust: FloatArray, noise_scale: float) -> float:
    """Standard deviation of the blur from pattern to pattern, see `Entry.blur`; zero where patterns show none.

    Parameters
    ----------
    stack
        Windows of the patterns.
    entry, fit
        The entry and its fits to them.
    trust
        Weight of each reflection in each pattern, zero for those that are not used, shape ``(n, reflection)``.
    noise_scale
        Variance over mean of a pixel.
    """
    if entry.overlaps:
        return 0.0
    if not entry.blur > 0:
        some = slice(None, None, max(1, len(trust) // FIRST_PATTERNS))
        first = _spread(
            WindowStack(stack.counts[some], stack.origin[some]), entry, fit.only(some), trust[some], noise_scale, TRIAL
        )
        return first and _spread(stack, entry, fit, trust, noise_scale, first)
    return _spread(stack, entry, fit, trust, noise_scale, entry.blur)


def of_mean_blur(entry: Entry, fit: PatternFit, trust: FloatArray) -> FloatArray:
    """Weights without patterns that are much softer or sharper than the probe: an image would be that of none.

    Parameters
    ----------
    entry, fit, trust
        As for `blur_spread`.
    """
    usual = np.abs(fit.blur) <= 0.5 * entry.blur
    return np.where(usual[:, None], trust, 0.0) if (trust[usual] > 0).any(1).sum() >= LEAST_PATTERNS else trust


def _spread(
    stack: WindowStack, entry: Entry, fit: PatternFit, trust: FloatArray, noise_scale: float, looked_for: float
) -> float:
    """The same from some of the patterns, looked for at about the right size."""
    known = trust > 0
    common, single, scatter = _explained(*blurs_in(stack.windows, entry, fit.start, noise_scale, looked_for), known)
    if common < max(CLEAR, LEAST_COMMON * single):
        return 0.0
    bowl, _, _ = _explained(*blurs_in(stack.windows, entry, fit.start, noise_scale, looked_for, bowl=True), known)
    return scatter if common > bowl else 0.0


def _explained(value: FloatArray, information: FloatArray, known: BoolArray) -> tuple[float, float, float]:
    """How much chi-square falls, in the mean pattern, by what all its disks have in common, and by what each has alone.

    And the standard deviation of what they have in common, beyond its noise. What a disk has in all patterns is none of
    theirs.
    """
    information = np.where(known, information, 0.0)
    seen = information.any(1)
    if seen.sum() < LEAST_PATTERNS:
        return 0.0, 0.0, 0.0
    value, information = value[seen], information[seen]
    whole = information.sum(1)
    value = value - (value * information).sum(0) / np.maximum(information.sum(0), TINY)
    common = (value * information).sum(1) / whole
    single = (value**2 * information).sum(1) - (information > 0).sum(1)
    scatter = np.sqrt(max(np.mean(common**2 - 1.0 / whole), 0.0))
    return float(np.mean(common**2 * whole - 1.0)), float(single.mean()), float(scatter)
