"""Fits of an entry to the patterns of a lesson: from the coarse rotation, and from where each is to start."""

from __future__ import annotations

from cyclestrain.learning.lesson import Lesson
from cyclestrain.pattern import Entry, PatternFit, Start, WindowStack, approach, predicted_positions, refine

__all__ = ["approached", "fitted"]

CONTRAST_STEPS = 12
"""Steps of a fit with contrast inside the disks: brightness changes by large factors, and each step a part of it."""


def approached(lesson: Lesson, entry: Entry) -> Start:
    """Fit of an entry to every pattern of a lesson, from the coarse rotation to within a fraction of a pixel.

    Parameters
    ----------
    lesson
        Patterns with their rotation to the entry.
    entry
        Dictionary entry to fit.
    """
    return approach(
        lesson.patterns,
        lesson.good,
        entry,
        lesson.start,
        centre_sigma=lesson.centre_sigma,
        members=lesson.members,
        thorough=True,
    )


def fitted(lesson: Lesson, entry: Entry, start: Start, noise_scale: float) -> tuple[WindowStack, PatternFit]:
    """Windows of a lesson, and the fit of an entry to them from where each is to start."""
    stack = lesson.windows(predicted_positions(start, entry.reflections), entry.probe.half + 2)
    return stack, refine(
        stack, entry, start, centre=lesson.centre, centre_sigma=lesson.centre_sigma, noise_scale=noise_scale,
        iterations=CONTRAST_STEPS if entry.has_contrast else 3,
    )  # fmt: skip
