"""Whether all disks are softer in some patterns than in others, as defocus or plasmons make them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.learning.trust import trusted
from cyclestrain.pattern import Entry, PatternFit, WindowStack, blur_levels, blurs_in

__all__ = ["of_mean_blur", "with_blur"]

LEAST_PATTERNS, FIRST_PATTERNS = 30, 256
"""Patterns that it is told from at least, and most of a first look."""
TRIAL = np.array([-0.3, 0.0, 0.3])
"""Variances of the blur that are looked for at first, pixels squared."""
CLEAR = 10.0
"""Fall of chi-square of a pattern, in the mean, from which a blur of its own matters beside its noise."""
LEAST_COMMON = 0.5
"""Part of what blurs of single disks explain that the common one has to: contrast differs from disk to disk."""
TINY = 1e-30
"""Information that is none."""


def with_blur(improved: Entry, stack: WindowStack, entry: Entry, fit: PatternFit, noise_scale: float) -> Entry:
    """An entry with the blur that patterns show about the one before.

    Parameters
    ----------
    improved
        What was learned from the same fits otherwise. If a blur is new, it loses its contrast, made up for disks that
        are softer or sharper.
    stack
        Windows of the patterns.
    entry, fit
        The entry and its fits to them.
    noise_scale
        Variance over mean of a pixel.
    """
    blur = _blur_of(stack, entry, fit, noise_scale)
    priors = improved.priors.without_contrast if blur > 0 and not entry.blur > 0 else improved.priors
    return replace(improved, blur=blur, priors=priors)


def _blur_of(stack: WindowStack, entry: Entry, fit: PatternFit, noise_scale: float) -> float:
    """Standard deviation of the blur, see `Entry.blur`; zero where patterns show none."""
    if entry.overlaps:
        return 0.0
    trust = trusted(fit)
    if entry.blur > 0:
        return _spread(stack, entry, fit, trust, noise_scale, blur_levels(entry.blur))
    some = slice(None, None, max(1, len(trust) // FIRST_PATTERNS))
    few = WindowStack(stack.counts[some], stack.origin[some])
    first = _spread(few, entry, fit.only(some), trust[some], noise_scale, TRIAL)
    return first and _spread(stack, entry, fit, trust, noise_scale, blur_levels(first))


def of_mean_blur(entry: Entry, fit: PatternFit, trust: FloatArray) -> FloatArray:
    """Weights without patterns that are much softer or sharper than the probe: an image would be that of none.

    Parameters
    ----------
    entry, fit
        As for `with_blur`.
    trust
        Weight of each reflection in each pattern, zero for those that are not used, shape ``(n, reflection)``.
    """
    usual = np.abs(fit.blur) <= 0.5 * entry.blur
    return np.where(usual[:, None], trust, 0.0) if (trust[usual] > 0).any(1).sum() >= LEAST_PATTERNS else trust


def _spread(
    stack: WindowStack, entry: Entry, fit: PatternFit, trust: FloatArray, noise_scale: float, levels: FloatArray
) -> float:
    """The same from some of the patterns, looked for at some variances."""
    known = trust > 0
    common, single, scatter = _explained(*blurs_in(stack.windows, entry, fit.start, noise_scale, levels), known)
    if common < max(CLEAR, LEAST_COMMON * single):
        return 0.0
    bowl, _, _ = _explained(*blurs_in(stack.windows, entry, fit.start, noise_scale, levels, bowl=True), known)
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
