"""The patterns of a sample sorted by class into lessons: each pattern alone, and summed with its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cyclestrain.calibration import Sample, locate_beam
from cyclestrain.data import Calibration, FloatArray, IntArray, local_means, neighbour_members
from cyclestrain.data.neighbours import SUMS
from cyclestrain.learning.knowledge import Knowledge, centre_prior
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.plausibility import counting_noise
from cyclestrain.orientation import (
    PolarGrid,
    Templates,
    align,
    class_confidence,
    correlation_noise,
    correlations,
    shows_nothing,
    to_polar,
)
from cyclestrain.pattern import Dictionary, Entry

__all__ = ["CLEAR", "MAX_TEMPLATE_PATTERNS", "Chosen", "ClassLesson", "Lessons", "choose"]

MAX_TEMPLATE_PATTERNS = 1024
"""Largest number of patterns that templates and dictionary are learned from."""
CLEAR = 0.95
"""Confidence from which a pattern has its own class and not that of its neighbours."""


@dataclass(frozen=True)
class ClassLesson:
    """Patterns from which a class is learned, and their rotation to every class, radians, shape ``(n, class)``."""

    lesson: Lesson
    thetas: FloatArray

    def of(self, label: IntArray, k: int) -> ClassLesson:
        """The part of one class, with the rotations to it.

        Parameters
        ----------
        label
            Class of every pattern of the lesson, shape ``(n,)``.
        k
            The class.
        """
        members = np.flatnonzero(label == k)
        lesson = replace(self.lesson.only(members), theta=self.thetas[members, k])
        return ClassLesson(lesson, self.thetas[members])


@dataclass(frozen=True)
class Lessons:
    """Sampled patterns with their coarse rotations: each alone, and sums over more and more neighbours.

    `label` is the class of each, shape ``(n,)``: that of its neighbours where its own is not clear, -1 where neither
    shows a crystal.
    """

    sums: tuple[ClassLesson, ...]
    label: IntArray

    def of(self, k: int) -> list[ClassLesson]:
        """Lessons of one class: single patterns first, then growing sums."""
        return [lesson.of(self.label, k) for lesson in self.sums]


@dataclass(frozen=True)
class Chosen:
    """A sample with its beam centres, and the patterns to learn from: `index` in the sample and polar transform."""

    sample: Sample
    index: IntArray
    centre: FloatArray
    polar: NDArray[np.float32]
    calibration: Calibration

    @cached_property
    def noise(self) -> float:
        """Variance over mean of a pixel, see `counting_noise`."""
        calibration = self.calibration
        y, x = np.indices(calibration.good.shape)
        middle = calibration.centre.reshape(-1, 2).mean(0)
        distance = np.hypot(y - middle[0], x - middle[1])
        inside = (distance > calibration.ring[0]) & (distance < calibration.ring[1])
        return counting_noise(self.sample, calibration.good & inside)

    def lessons(self, templates: Templates) -> Lessons:
        """Lessons with the coarse rotation and class of each pattern."""
        sample, index, calibration = self.sample, self.index, self.calibration
        rows, columns, centre = sample.rows, sample.columns, self.centre[index]
        correlation = correlations(self.polar, templates)
        own = align(correlation)
        means = local_means(correlation, rows[index], columns[index], 2)
        pooled = align(means)
        alone = Lesson(
            sample.patterns, index[:, None], calibration.good, centre, centre_prior(calibration), own.theta,
            calibration.ceiling,
        )  # fmt: skip
        together = [
            replace(alone, members=neighbour_members(rows, columns, index, reach, self.centre)) for reach in SUMS
        ]
        clear = class_confidence(correlation, correlation_noise(correlation)) > CLEAR
        label = np.where(clear, own.label, pooled.label)
        label[shows_nothing(correlation, means)] = -1
        return Lessons(
            (ClassLesson(alone, own.thetas), *(ClassLesson(sums, pooled.thetas) for sums in together)), label
        )

    def knowledge(self, templates: Templates, entries: list[Entry], scales: list[float]) -> Knowledge:
        """Knowledge from what was learned.

        Parameters
        ----------
        templates, entries
            Template and dictionary entry of each class.
        scales
            Variance over mean of a pixel in the fits of each entry; their median becomes the noise scale.
        """
        noise = correlation_noise(correlations(self.polar, templates))
        dictionary = Dictionary(tuple(entries), float(np.median(scales)))
        return Knowledge(self.calibration, templates, dictionary, noise, self.noise)


def choose(sample: Sample, calibration: Calibration, grid: PolarGrid, rng: np.random.Generator) -> Chosen:
    """Pick the patterns that templates and dictionary are learned from, and bring them into polar coordinates.

    Parameters
    ----------
    sample, calibration
        Sample of a scan and its calibration.
    grid
        Polar grid.
    rng
        Random generator that picks the patterns where there are more than `MAX_TEMPLATE_PATTERNS`.
    """
    n = len(sample.rows)
    index = np.sort(rng.choice(n, min(n, MAX_TEMPLATE_PATTERNS), replace=False))
    centre = locate_beam(sample.patterns, calibration, calibration.centre[sample.rows, sample.columns])
    polar = to_polar(sample.patterns[index], calibration.good, centre[index], grid)
    return Chosen(sample, index, centre, polar, calibration)
