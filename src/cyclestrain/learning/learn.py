"""Learning of templates and dictionary from a scan, without any starting guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclestrain.calibration import Sample
from cyclestrain.data import Calibration, Scan
from cyclestrain.errors import InputError
from cyclestrain.learning.entry import learn_entry
from cyclestrain.learning.knowledge import Knowledge
from cyclestrain.learning.lessons import ClassLesson, choose
from cyclestrain.learning.recognition import is_new_crystal, is_scarce
from cyclestrain.orientation import PolarGrid, learn_templates
from cyclestrain.pattern import Entry
from cyclestrain.settings import LearnSettings

__all__ = ["MAX_CLASSES", "learn"]

MAX_CLASSES = 6
"""Largest number of classes where the user sets none."""


def learn(scan: Scan, sample: Sample, calibration: Calibration, settings: LearnSettings) -> Knowledge:
    """Learn coarse templates and the dictionary from a sample of a scan.

    Parameters
    ----------
    scan
        The scan, for its name in messages.
    sample, calibration
        Sample of the scan and its calibration.
    settings
        Seed and largest number of classes.

    Raises
    ------
    InputError
        If no averaged pattern shows a lattice.
    """
    rng = np.random.default_rng(settings.seed)
    grid = PolarGrid.fitting(calibration)
    chosen = choose(sample, calibration, grid, rng)
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


@dataclass(frozen=True)
class _Learned:
    """An entry, variance over mean of a pixel, and what both were learned from."""

    entry: Entry
    noise_scale: float
    source: ClassLesson

    def is_new(self, known: dict[int, _Learned]) -> bool:
        """Whether it is another crystal than those of some classes."""
        others = [(learned.entry, self.source.thetas[:, k]) for k, learned in known.items()]
        return is_new_crystal(self.entry, others, self.source.lesson)


def _learn_class(sources: list[ClassLesson], calibration: Calibration, rng: np.random.Generator) -> _Learned | None:
    """Learn an entry from single patterns, or from sums over neighbours where single ones show too little."""
    learned = None
    if len(sources[0].thetas) < 2:
        return None
    for source in sources:
        found = learn_entry(source.lesson, calibration, rng)
        learned = _Learned(*found, source) if found else learned
        if found and not is_scarce(found[0], source.lesson):
            break
    return learned
