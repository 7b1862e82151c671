"""What has to be known before patterns are fitted: learned from nothing, or taken over from a model of the material."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cyclestrain.beam import locate_beam
from cyclestrain.coarse import (
    PolarGrid,
    Templates,
    align,
    class_confidence,
    correlation_noise,
    correlations,
    learn_templates,
    local_means,
    neighbour_members,
    shows_nothing,
    to_polar,
)
from cyclestrain.data import Calibration, FloatArray, IntArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.fitting import SUMS, Knowledge, centre_prior
from cyclestrain.learn import (
    MAX_MISMATCH,
    SURE,
    Lesson,
    is_new_crystal,
    learn_entry,
    retuned_entry,
    shows_crystal,
    significance,
)
from cyclestrain.model.dictionary import Dictionary, Entry
from cyclestrain.modelfile import Material
from cyclestrain.sampling import Sample
from cyclestrain.settings import LearnSettings

__all__ = ["describe", "learn", "transfer"]

MAX_TEMPLATE_PATTERNS = 1024
MAX_CLASSES = 6
MAX_RATIO = 1.4
"""Between the disk radii of a model and of a scan: larger ones are another camera length or binning."""
CLEAR = 0.95
"""Confidence from which a pattern tells its class itself."""
SCARCE_SIGNIFICANCE = 12.0
"""Below this patterns show too little: the dictionary is learned from sums over neighbours."""


@dataclass(frozen=True)
class _Lesson:
    """What a class is learned from, and the rotation to every class, radians, shape ``(n, class)``."""

    lesson: Lesson
    thetas: FloatArray

    def of(self, label: IntArray, k: int) -> _Lesson:
        """Those of one class."""
        members = np.flatnonzero(label == k)
        lesson = replace(self.lesson.only(members), theta=self.thetas[members, k])
        return _Lesson(lesson, self.thetas[members])


@dataclass(frozen=True)
class _Lessons:
    """Sampled patterns with their coarse rotations: each alone, and sums over more and more neighbours.

    `label` is the class of each, shape ``(n,)``: that of its neighbours where it does not tell itself, -1 where these
    show none either.
    """

    sums: tuple[_Lesson, ...]
    label: IntArray

    def of(self, k: int) -> list[_Lesson]:
        """Lessons of one class."""
        return [lesson.of(self.label, k) for lesson in self.sums]


@dataclass(frozen=True)
class _Learned:
    """An entry, variance over mean of a pixel, and what both were learned from."""

    entry: Entry
    noise_scale: float
    source: _Lesson

    def is_new(self, known: dict[int, _Learned]) -> bool:
        """Whether it is another crystal than those of some classes."""
        others = [(learned.entry, self.source.thetas[:, k]) for k, learned in known.items()]
        return is_new_crystal(self.entry, others, self.source.lesson)


@dataclass(frozen=True)
class _Chosen:
    """A sample with its beam centres, and the patterns that are looked at: `index` into it and polar transform."""

    sample: Sample
    index: IntArray
    centre: FloatArray
    polar: NDArray[np.float32]
    calibration: Calibration

    def lessons(self, templates: Templates) -> _Lessons:
        """Coarse rotation and class of each."""
        sample, index, calibration = self.sample, self.index, self.calibration
        rows, columns, centre = sample.rows, sample.columns, self.centre[index]
        correlation = correlations(self.polar, templates)
        own = align(correlation)
        means = local_means(correlation, rows[index], columns[index], 2)
        pooled = align(means)
        alone = Lesson(sample.patterns, index[:, None], calibration.good, centre, centre_prior(calibration), own.theta)
        together = [
            replace(alone, members=neighbour_members(rows, columns, index, reach, self.centre)) for reach in SUMS
        ]
        clear = class_confidence(correlation, correlation_noise(correlation)) > CLEAR
        label = np.where(clear, own.label, pooled.label)
        label[shows_nothing(correlation, means)] = -1
        return _Lessons((_Lesson(alone, own.thetas), *(_Lesson(sums, pooled.thetas) for sums in together)), label)

    def knowledge(self, templates: Templates, entries: list[Entry], scales: list[float]) -> Knowledge:
        """Put together what was learned; `scales` are variance over mean as each entry found it."""
        noise = correlation_noise(correlations(self.polar, templates))
        return Knowledge(self.calibration, templates, Dictionary(tuple(entries), float(np.median(scales))), noise)


def _choose(sample: Sample, calibration: Calibration, grid: PolarGrid, rng: np.random.Generator) -> _Chosen:
    n = len(sample.rows)
    index = np.sort(rng.choice(n, min(n, MAX_TEMPLATE_PATTERNS), replace=False))
    centre = locate_beam(sample.patterns, calibration, calibration.centre[sample.rows, sample.columns])
    polar = to_polar(sample.patterns[index], calibration.good, centre[index], grid)
    return _Chosen(sample, index, centre, polar, calibration)


def learn(scan: Scan, sample: Sample, calibration: Calibration, settings: LearnSettings) -> Knowledge:
    """Learn coarse templates and the dictionary from a sample of the scan."""
    rng = np.random.default_rng(settings.seed)
    grid = PolarGrid.fitting(calibration)
    chosen = _choose(sample, calibration, grid, rng)
    rows, columns = sample.rows[chosen.index], sample.columns[chosen.index]
    templates = learn_templates(chosen.polar, rows, columns, grid, rng, settings.classes or MAX_CLASSES)
    lessons = chosen.lessons(templates)
    known: dict[int, _Learned] = {}
    for k in np.argsort(-np.bincount(lessons.label[lessons.label >= 0], minlength=len(templates.spectra))).tolist():
        learned = _learn_class(lessons.of(k), calibration, rng)
        if learned is not None and learned.is_new(known):
            known[k] = learned
    if not known:
        raise InputError(
            f"no crystal was found in {scan.name}: the averaged pattern shows no lattice of reflections between "
            f"{calibration.ring[0]:.0f} and {calibration.ring[1]:.0f} px from the beam centre "
            f"({calibration.centre[..., 0].mean():.1f}, {calibration.centre[..., 1].mean():.1f}); "
            "if there is one, set --centre or --ring"
        )
    entries, scales = [each.entry for each in known.values()], [each.noise_scale for each in known.values()]
    return chosen.knowledge(templates.only(list(known)), entries, scales)


def _learn_class(sources: list[_Lesson], calibration: Calibration, rng: np.random.Generator) -> _Learned | None:
    """Learn an entry from single patterns, or from sums over neighbours where single ones show too little."""
    learned = None
    if len(sources[0].thetas) < 2:
        return None
    for source in sources:
        found = learn_entry(source.lesson, calibration, rng)
        learned = _Learned(*found, source) if found else learned
        if found and not _is_scarce(found[0], source.lesson):
            break
    return learned


def _is_scarce(entry: Entry, lesson: Lesson) -> bool:
    """Whether patterns that show the entry do so too faintly to learn from."""
    found = significance(entry, lesson)
    return not (found > SURE).any() or float(np.median(found[found > SURE])) < SCARCE_SIGNIFICANCE


def transfer(
    material: Material, scan: Scan, sample: Sample, calibration: Calibration, *, seed: int, improve: bool = False
) -> Knowledge:
    """Take over dictionary and templates; what depends on the recording is measured on the new scan.

    That is the whitening of the templates, and for each entry its dose, background, noise and what varies in it.

    Parameters
    ----------
    material
        What was learned on another scan.
    scan, sample, calibration
        The new scan.
    seed
        Of the choice of patterns.
    improve
        Whether reflections, intensities and the probe are learned on from there.

    Raises
    ------
    InputError
        If the detector does not fit, or no crystal of the material is found.
    """
    _check_detector(material, scan, calibration)
    chosen = _choose(sample, calibration, material.templates.grid, np.random.default_rng(seed))
    level = chosen.polar.mean((0, 2), dtype=np.float64)
    dose = float(np.median(level / np.maximum(material.templates.level, 1e-12)))
    templates = material.templates.whitened(level)
    lessons = chosen.lessons(templates)
    entries: list[Entry] = []
    scales: list[float] = []
    for k, entry in enumerate(material.dictionary.entries):
        bright = replace(entry, intensity=dose * entry.intensity, background=dose * entry.background)
        found = _find_again(bright, lessons.of(k), improve=improve)
        entries.append(found[0] if found else bright)
        scales += [found[1]] if found else []
    if not scales:
        raise InputError(
            f"no crystal of the model is found in {scan.name}: no pattern shows one within a strain of "
            f"{100 * MAX_MISMATCH:.0f} %; is it the same material, camera length and binning? Leave out the model to "
            "learn from this scan"
        )
    return chosen.knowledge(templates, entries, scales)


def _find_again(entry: Entry, sources: list[_Lesson], *, improve: bool) -> tuple[Entry, float] | None:
    """A known entry and the noise as the patterns of its class show them; None where they show another crystal."""
    if len(sources[0].thetas) < 2:
        return None
    lesson = next((each.lesson for each in sources[:-1] if not _is_scarce(entry, each.lesson)), sources[-1].lesson)
    retuned = retuned_entry(entry, lesson, improve=improve)
    return retuned if shows_crystal(lesson, (entry, retuned[0])) else None


def _check_detector(material: Material, scan: Scan, calibration: Calibration) -> None:
    """Refuse a detector on which the model cannot be seen: one sentence with what differs."""
    disk, wanted = calibration.disk_radius, material.disk_radius
    if not 1 / MAX_RATIO < disk / wanted < MAX_RATIO:
        raise InputError(
            f"the model does not fit {scan.name}: the direct beam has a radius of {disk:.1f} px there and of "
            f"{wanted:.1f} px in the model; camera length, aperture and binning (--bin) must be the same"
        )
    centre, last = calibration.centre.reshape(-1, 2).mean(0), np.array(scan.detector_shape) - 1
    edge = float(min(*centre, *(last - centre)))
    reach = max(float(np.median(np.hypot(*entry.reflections.T))) for entry in material.dictionary.entries)
    if edge < reach:
        raise InputError(
            f"the model does not fit {scan.name}: half of its reflections are more than {reach:.0f} px from the beam, "
            f"where this detector ends ({edge:.0f} px); read more of it (--detector-roi) or learn from this scan"
        )


def describe(dictionary: Dictionary) -> list[str]:
    """A line for each entry, and one for the noise."""
    out = []
    for k, entry in enumerate(dictionary.entries):
        a, b = np.hypot(*entry.basis)
        out.append(
            f"entry {k}: {len(entry.indices)} reflections, lattice {a:.2f} x {b:.2f} px, "
            f"symmetry {entry.symmetry}-fold, disk radius {entry.probe.radius:.2f} px"
        )
    out.append(f"noise: variance = {dictionary.noise_scale:.3g} x mean")
    return out
