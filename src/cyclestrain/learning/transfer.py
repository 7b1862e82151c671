"""Transfer of templates and dictionary from another scan, with what depends on the recording measured anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.calibration import Sample
from cyclestrain.data import Calibration, Scan
from cyclestrain.errors import InputError
from cyclestrain.learning.entry import retuned_entry
from cyclestrain.learning.knowledge import Knowledge, Material
from cyclestrain.learning.lessons import ClassLesson, choose
from cyclestrain.learning.recognition import MAX_MISMATCH, is_scarce, shows_crystal
from cyclestrain.pattern import Entry

__all__ = ["MAX_RATIO", "transfer"]

MAX_RATIO = 1.4
"""Largest ratio of the disk radii of a model and a scan: a larger one is another camera length or binning."""


def transfer(
    material: Material, scan: Scan, sample: Sample, calibration: Calibration, *, seed: int, improve: bool = False
) -> Knowledge:
    """Transfer dictionary and templates of a material to a scan, on which what depends on the recording is measured.

    That is the whitening of the templates, and for each entry its dose, background, noise and deviations.

    Parameters
    ----------
    material
        What was learned on another scan.
    scan, sample, calibration
        The new scan.
    seed
        Seed of the choice of patterns.
    improve
        Whether reflections, intensities and the probe are learned further from there.

    Raises
    ------
    InputError
        If the detector does not fit, no crystal of the material is found, or its disks overlap.
    """
    _check_detector(material, scan, calibration)
    if any(entry.overlaps for entry in material.dictionary.entries):
        raise InputError(
            f"the disks of the model overlap, and such a crystal is not carried over to {scan.name}: leave out the "
            "model to learn from this scan"
        )
    chosen = choose(sample, calibration, material.templates.grid, np.random.default_rng(seed))
    level = chosen.polar.mean((0, 2), dtype=np.float64)
    dose = float(np.median(level / np.maximum(material.templates.level, 1e-12)))
    templates = material.templates.whitened(level)
    lessons = chosen.lessons(templates)
    entries: list[Entry] = []
    scales: list[float] = []
    for k, entry in enumerate(material.dictionary.entries):
        bright = replace(
            entry,
            intensity=dose * entry.intensity,
            background=dose * entry.background,
            film=dose * entry.film,
            grain=calibration.grain,
        )
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


def _find_again(entry: Entry, sources: list[ClassLesson], *, improve: bool) -> tuple[Entry, float] | None:
    """A known entry and the noise as the patterns of its class show them; None where they show another crystal."""
    if len(sources[0].thetas) < 2:
        return None
    lesson = next((each.lesson for each in sources[:-1] if not is_scarce(entry, each.lesson)), sources[-1].lesson)
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
