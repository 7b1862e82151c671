"""Tests whether patterns show a crystal, and whether it is another one than those that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.learning.fitting import approached
from cyclestrain.learning.lesson import Lesson
from cyclestrain.pattern import Entry, PatternFit, predicted_positions, refine
from cyclestrain.strain import is_same_lattice

__all__ = [
    "MAX_MISMATCH",
    "SCARCE_SIGNIFICANCE",
    "SURE",
    "explains_nearly_all",
    "is_new_crystal",
    "is_scarce",
    "shows_crystal",
    "significance",
]

SURE = 5.0
"""Significance above which a pattern shows a crystal."""
SCARCE_SIGNIFICANCE = 12.0
"""Median significance below which single patterns show too little: the dictionary is then learned from sums."""
MORE_REFLECTIONS = 1.5
"""Ratio of the numbers of reflections from which an entry of the same bright lattice is a superstructure."""
AS_WELL, NEARLY_ALL = 1.15, 0.75
"""Misfit, over the noise of an entry, up to which it explains a pattern, and the share of patterns that are nearly all.
"""
MAX_MISMATCH = 0.08
"""Largest strain of a crystal relative to a known one of the same kind, which is what the network can express."""


def significance(entry: Entry, lesson: Lesson) -> FloatArray:
    """Significance of an entry in each pattern: the fitted gain in units of its standard deviation, shape ``(n,)``.

    Parameters
    ----------
    entry
        Dictionary entry to fit.
    lesson
        Patterns with their rotation to the entry.
    """
    return np.nan_to_num(_fitted(entry, lesson).significance)


def is_new_crystal(entry: Entry, others: list[tuple[Entry, FloatArray]], lesson: Lesson, most: int = 128) -> bool:
    """Whether an entry explains its patterns clearly better than every known entry, and is another lattice than each.

    A known entry that has to be strained by more than `MAX_MISMATCH` explains nothing: two lattices share many
    distances, and a bright pattern of one, fitted by the other, may be more significant than by its own.

    Parameters
    ----------
    entry
        The new entry.
    others
        Known entries, each with the rotation of every pattern of the lesson to it.
    lesson
        Patterns that the new entry was learned from.
    most
        Largest number of patterns to try.
    """
    some = np.linspace(0, len(lesson.theta) - 1, min(most, len(lesson.theta))).astype(int)
    own = significance(entry, lesson.only(some))
    for other, theta in others:
        fit = _fitted(other, replace(lesson, theta=theta).only(some))
        known = np.where(_mismatch(fit) < MAX_MISMATCH, np.nan_to_num(fit.significance), 0.0)
        sure = np.maximum(own, known) > SURE  # the others may show no crystal at all
        better = sure.any() and np.median(own[sure]) >= 1.2 * np.median(known[sure])
        richer = len(entry.indices) > MORE_REFLECTIONS * len(other.indices)
        if not better or (is_same_lattice(entry.basis, other.basis) and not richer):
            return False
    return True


def explains_nearly_all(entry: Entry, noise_scale: float, lesson: Lesson) -> bool:
    """Whether an entry explains nearly all patterns as well as those it was learned from, with little strain.

    Parameters
    ----------
    entry, noise_scale
        Known entry, and the variance over mean of a pixel about it.
    lesson
        Patterns with their rotation to the entry.
    """
    fit = _fitted(entry, lesson)
    clear = (np.nan_to_num(fit.significance) > SURE) & (_mismatch(fit) < MAX_MISMATCH)
    return bool((clear & (fit.misfit < AS_WELL * noise_scale)).mean() >= NEARLY_ALL)


def shows_crystal(lesson: Lesson, entries: Sequence[Entry]) -> bool:
    """Whether enough patterns surely show a crystal, with little strain, in every one of several forms of its entry.

    Where there is another crystal, a fit finds overlaps of reflections, at large strains or with intensities that
    change when they are measured.

    Parameters
    ----------
    lesson
        Patterns with their rotation to the entry.
    entries
        Forms of the entry, for example as transferred and as retuned.
    """
    fits = [_fitted(entry, lesson) for entry in entries]
    sure = np.array([np.nan_to_num(fit.significance) > SURE for fit in fits])
    found = (sure & (np.array([_mismatch(fit) for fit in fits]) < MAX_MISMATCH)).all(0).sum()
    return bool(found >= max(2, 0.01 * len(lesson.theta)) and found >= 0.3 * sure.any(0).sum())


def _mismatch(fit: PatternFit) -> FloatArray:
    """Largest strain of each pattern relative to its entry, shape ``(n,)``."""
    return np.asarray(np.abs(np.linalg.svd(np.nan_to_num(fit.start.affine), compute_uv=False) - 1).max(-1))


def _fitted(entry: Entry, lesson: Lesson) -> PatternFit:
    start = approached(lesson, entry)
    cut = lesson.whole if entry.overlaps else lesson.windows
    windows = cut(predicted_positions(start, entry.reflections), entry.probe.half + 1)
    return refine(windows, entry, start, centre=lesson.centre, centre_sigma=lesson.centre_sigma, iterations=2)


def is_scarce(entry: Entry, lesson: Lesson, most: int = 256) -> bool:
    """Whether the patterns that show an entry do so too faintly to be learned from one by one.

    Parameters
    ----------
    entry
        Dictionary entry to fit.
    lesson
        Patterns with their rotation to the entry.
    most
        Largest number of patterns to try.
    """
    some = np.linspace(0, len(lesson.theta) - 1, min(most, len(lesson.theta))).astype(int)
    found = significance(entry, lesson.only(some))
    return not (found > SURE).any() or float(np.median(found[found > SURE])) < SCARCE_SIGNIFICANCE
