"""Learning of templates and dictionary from a scan, without any starting guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cyclestrain.calibration import Sample
from cyclestrain.data import Calibration, Scan
from cyclestrain.errors import InputError
from cyclestrain.learning.entry import learn_entry
from cyclestrain.learning.knowledge import Knowledge
from cyclestrain.learning.lessons import ClassLesson, choose
from cyclestrain.learning.plausibility import Unlearned
from cyclestrain.learning.recognition import is_new_crystal, is_scarce
from cyclestrain.orientation import PolarGrid, learn_templates
from cyclestrain.pattern import Entry
from cyclestrain.settings import LearnSettings

__all__ = ["MAX_CLASSES", "learn"]

MAX_CLASSES = 6
"""Largest number of classes where the user sets none."""


def learn(
    scan: Scan,
    sample: Sample,
    calibration: Calibration,
    settings: LearnSettings,
    say: Callable[[str], object] = lambda _: None,
) -> Knowledge:
    """Learn coarse templates and the dictionary from a sample of a scan.

    Parameters
    ----------
    scan
        The scan, for its name in messages.
    sample, calibration
        Sample of the scan and its calibration.
    settings
        Seed and largest number of classes.
    say
        Called with a few words at every step.

    Raises
    ------
    InputError
        If no averaged pattern shows a crystal.
    """
    rng = np.random.default_rng(settings.seed)
    grid = PolarGrid.fitting(calibration)
    say("look for crystals")
    chosen = choose(sample, calibration, grid, rng)
    rows, columns = sample.rows[chosen.index], sample.columns[chosen.index]
    templates = learn_templates(chosen.polar, rows, columns, grid, rng, settings.classes or MAX_CLASSES)
    lessons = chosen.lessons(templates)
    known: dict[int, _Learned] = {}
    refused: list[Unlearned] = []
    order = np.argsort(-np.bincount(lessons.label[lessons.label >= 0], minlength=len(templates.spectra))).tolist()
    for step, k in enumerate(order, 1):
        say(f"crystal {step} of {len(order)}{' (code compiles at the very first run)' if step == 1 else ''}")
        learned = _learn_class(lessons.of(k), calibration, rng, chosen.noise)
        if isinstance(learned, Unlearned):
            refused.append(learned)
        elif learned.is_new(known):
            known[k] = learned
    say(f"{len(known)} found")
    if not known:
        raise InputError(_no_crystal(scan, calibration, refused))
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


def _learn_class(
    sources: list[ClassLesson], calibration: Calibration, rng: np.random.Generator, noise: float
) -> _Learned | Unlearned:
    """Learn an entry from single patterns, or from sums over neighbours where single ones show too little."""
    learned: _Learned | Unlearned = Unlearned.NO_LATTICE
    if len(sources[0].thetas) < 2:
        return learned
    for source in sources:
        found = learn_entry(source.lesson, calibration, rng, noise=noise)
        if not isinstance(found, Unlearned):
            learned = _Learned(*found, source)
            if not is_scarce(found[0], source.lesson):
                break
        elif isinstance(learned, Unlearned):
            learned = found
    return learned


def _no_crystal(scan: Scan, calibration: Calibration, refused: list[Unlearned]) -> str:
    """The sentence for a scan without an entry: what its averaged patterns show instead of a crystal."""
    why = next((each for each in (Unlearned.NO_DISK, Unlearned.NO_CRYSTAL) if each in refused), Unlearned.NO_LATTICE)
    where = (
        f"between {calibration.ring[0]:.0f} and {calibration.ring[1]:.0f} px from the beam centre "
        f"({calibration.centre[..., 0].mean():.1f}, {calibration.centre[..., 1].mean():.1f})"
    )
    if why is Unlearned.NO_DISK:
        return (
            f"the crystal in {scan.name} cannot be measured: {why.value}; the program needs the image of a round "
            "aperture at every reflection, smaller than their distance"
        )
    return f"no crystal was found in {scan.name}: {why.value} {where}; if there is one, set --centre or --ring"
