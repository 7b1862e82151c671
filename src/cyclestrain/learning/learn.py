"""Learning of templates and dictionary from a scan, without any starting guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cyclestrain.calibration import Sample
from cyclestrain.data import INDEPENDENT, Calibration, Scan
from cyclestrain.errors import InputError
from cyclestrain.learning.beam_image import SURROUND, beam_extent, patterned_beam
from cyclestrain.learning.entry import clear_of_second, learn_entry, with_images
from cyclestrain.learning.fitting import approached, fitted
from cyclestrain.learning.knowledge import Knowledge
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.lessons import ClassLesson, choose
from cyclestrain.learning.overlapping_disks import learn_overlapping
from cyclestrain.learning.plausibility import MISFIT_OF_ODD, Plausibility, Unlearned
from cyclestrain.learning.recognition import explains_nearly_all, is_new_crystal, is_scarce
from cyclestrain.learning.trust import typical_scatter
from cyclestrain.orientation import PolarGrid, learn_templates
from cyclestrain.pattern import Entry, Probe
from cyclestrain.settings import LearnSettings

__all__ = ["MAX_CLASSES", "learn"]

MAX_CLASSES = 6
"""Largest number of classes where the user sets none."""
SMALL = 0.8
"""Ratio of the radius of the disks to the extent of the direct beam from which that may be patterned."""
SAME_NOISE = 1.1
"""Ratio of two noise scales within which they are the same."""
CROWDED = 0.66
"""Diameter of the disks, in units of the lattice's spacing, from which the disks between its nodes may overlap."""
QUIETER = 0.7
"""Scatter of the disks about their lattice, over what noise that goes together explains, below which it does not."""
FEW_PATTERNS = 256
"""Patterns on which that is looked at."""
FEW = 12
"""Patterns of a class below which nothing new is learned from them if a known entry explains them."""
CLEARLY_LESS = 0.99
"""Ratio of two noise scales below which what has the smaller one explains more; chance leaves far less than this."""
NO_MORE = 1.001
"""The same, up to which what has the larger one explains as much: what chance does to the noise of a million pixels."""


def learn(
    scan: Scan,
    sample: Sample,
    calibration: Calibration,
    settings: LearnSettings,
    say: Callable[[str], object] = lambda _: None,
    probe: Probe | None = None,
) -> Knowledge:
    """Learn coarse templates and the dictionary from a sample of a scan.

    Disks are round until the patterns show otherwise. Where no crystal of round disks is found, or one that explains
    its patterns badly, and the direct beam is patterned, its image is what is looked for.

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
    probe
        Image of the probe where it was recorded.

    Raises
    ------
    InputError
        If no averaged pattern shows a crystal.
    """
    found = _learned(sample, calibration, settings, say, probe)
    if probe is None and not _is_clear(found, calibration):
        other = _learned_from_beam(sample, calibration, settings, say, found)
        found = other or found
    if isinstance(found, Knowledge):
        return _told(found)
    raise InputError(_no_crystal(scan, calibration, found))


def _told(found: Knowledge) -> Knowledge:
    """What was learned, with a word on a probe that is not round, contrast that stays or moves disks, film and blur."""
    calibration, entries, new = found.calibration, found.dictionary.entries, []
    images = [entry.probe for entry in entries if entry.probe.is_image]
    if images and not any(choice.startswith("probe:") for choice in calibration.choices):
        new.append(f"probe: not round, learned as an image that reaches {images[0].radius:.1f} px from its centre")
    new += _in_entries(
        "contrast in the disks: the same in most patterns, learned as an image of each reflection",
        [len(entry.disks) > 0 for entry in entries],
    )
    new += _in_entries(
        "background: its shape varies, as under a film of uneven thickness, learned as two profiles",
        [entry.has_film for entry in entries],
    )
    new += _in_entries(
        "second crystal: it lies above or below the first over most of the scan and moves on its own; the map is that "
        "of the brighter one, from reflections that no disk of the other overlaps",
        [entry.second.size > 0 for entry in entries],
    )
    if (blur := max(entry.blur for entry in entries)) > 0:
        new.append(
            f"disks: softer in some patterns than in others, as by defocus that drifts or plasmons, by a blur whose "
            f"variance scatters by {blur:.2g} px\N{SUPERSCRIPT TWO}; found in every pattern"
        )
    if (shift := max(entry.priors.common_shift for entry in entries)) > 0:
        new.append(
            f"contrast in the disks: moves those at one distance from the beam outwards or inwards together, by "
            f"{shift:.2g} px, which looks like dilation; sigma holds it"
        )
    return replace(found, calibration=replace(calibration, choices=(*calibration.choices, *new))) if new else found


def _in_entries(words: str, there: list[bool]) -> list[str]:
    """What is to be said of the entries in which something was found, nothing where it is in none."""
    if not any(there):
        return []
    return [words if all(there) else f"{words} of {sum(there)} of {len(there)} entries"]


def _is_clear(found: Knowledge | list[Unlearned], calibration: Calibration) -> bool:
    """Whether crystals of round disks, as large as the direct beam, were found that explain their patterns."""
    if not isinstance(found, Knowledge) or found.doubts:
        return False
    probes = [entry.probe for entry in found.dictionary.entries]
    extent = beam_extent(calibration)
    small = extent is not None and max(each.radius for each in probes) < SMALL * extent - 1.0
    return not _is_odd(found) and not small and not any(each.is_image for each in probes)


def _learned_from_beam(
    sample: Sample,
    calibration: Calibration,
    settings: LearnSettings,
    say: Callable[[str], object],
    before: Knowledge | list[Unlearned],
) -> Knowledge | None:
    """What is learned with the image of the direct beam; None where that is no better than `before`."""
    image = patterned_beam(sample.patterns, calibration.centre[sample.rows, sample.columns], calibration)
    if image is None:
        return None
    say("the direct beam is patterned: look for its image")
    ring = calibration.ring if settings.ring is not None else (2.0 * image.radius + 2.0, calibration.ring[1])
    choice = f"probe: not round, within {image.radius:.1f} px of its centre, as the direct beam shows it"
    choices = (*calibration.choices, choice)
    wider = replace(calibration, disk_radius=image.radius, ring=ring, choices=choices)
    found = _learned(sample, wider, settings, say, image)
    if not isinstance(found, Knowledge):
        return None
    return found if _is_better(found, before) else None


def _is_better(found: Knowledge, before: Knowledge | list[Unlearned]) -> bool:
    """Whether an image is to be preferred to what was learned without it.

    An image of anything around the beam fits nearly as well as disks that explain their patterns, so it has to be
    clearly better than those; where they do not, it may be as good. If it needs no contrast it is the image of an
    aperture, and none that was learned from disks, with contrast or places that are off, is to be preferred to it.
    """
    if not isinstance(before, Knowledge):
        return True
    noise, noise_before = found.dictionary.noise_scale, before.dictionary.noise_scale
    if before.doubts or _is_odd(before):
        return noise <= noise_before * SAME_NOISE
    if _holds_neighbours(found):
        return noise < noise_before * CLEARLY_LESS
    if _is_even(found) and not _is_even(before):
        return noise < noise_before * NO_MORE
    if all(entry.probe.is_image for entry in before.dictionary.entries):
        return _is_even(found) and noise < noise_before
    return noise < noise_before * CLEARLY_LESS


def _is_even(found: Knowledge) -> bool:
    """Whether an image describes all disks, without contrast or places of their own."""
    return all(entry.priors.is_even for entry in found.dictionary.entries)


def _holds_neighbours(found: Knowledge) -> bool:
    """Whether the image of the beam reaches the disks of an entry beside it, so that it holds their tips."""
    judged = [Plausibility.of(entry, found.calibration) for entry in found.dictionary.entries]
    return any(each.gap < SURROUND for each in judged)


def _is_odd(found: Knowledge) -> bool:
    """Whether patterns scatter about what was learned by more than their noise."""
    return found.dictionary.noise_scale > MISFIT_OF_ODD * found.pixel_noise


def _learned(
    sample: Sample,
    calibration: Calibration,
    settings: LearnSettings,
    say: Callable[[str], object],
    probe: Probe | None,
) -> Knowledge | list[Unlearned]:
    """What is learned, or why no class showed a crystal."""
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
        sources = lessons.of(k)
        if any(learned.explains_few(sources[0], other) for other, learned in known.items()):
            continue
        learned = _learn_class(sources, calibration, rng, chosen.noise, probe)
        if isinstance(learned, Unlearned):
            refused.append(learned)
        elif learned.is_new(known):
            known[k] = learned.with_images(rng)
    known = {k: learned.clear_of_second(rng) for k, learned in known.items()}
    say(f"{len(known)} found")
    if not known:
        return refused
    if calibration.grain != INDEPENDENT:
        quiet = min(each.scatter() for each in known.values())
        if quiet < QUIETER:
            say("pixels are brighter together since crystals move: learn again")
            return _learned(sample, calibration.with_grain(calibration.grain.less(quiet)), settings, say, probe)
    entries, scales = [each.entry for each in known.values()], [each.noise_scale for each in known.values()]
    return chosen.knowledge(templates.only(list(known)), entries, scales)


@dataclass(frozen=True)
class _Learned:
    """An entry, variance over mean of a pixel, and what both were learned from."""

    entry: Entry
    noise_scale: float
    source: ClassLesson

    def scatter(self) -> float:
        """Variance of the disks about the lattices of their patterns over what noise explains; infinity: not known."""
        if self.entry.overlaps:  # such disks have no places of their own
            return np.inf
        lesson = self.source.lesson
        lesson = lesson.only(np.arange(0, len(lesson.theta), max(1, len(lesson.theta) // FEW_PATTERNS)))
        fit = fitted(lesson, self.entry, approached(lesson, self.entry), self.noise_scale)[1]
        return float(np.nan_to_num(typical_scatter(fit, self.entry), nan=np.inf))

    def explains(self, noise: float) -> bool:
        """Whether patterns scatter about the entry by about the noise of a pixel, or that is not known."""
        return not self.noise_scale > MISFIT_OF_ODD * noise

    def explains_few(self, source: ClassLesson, k: int) -> bool:
        """Whether a few patterns that are taken for another class are explained as they are, by the class `k`."""
        lesson = replace(source.lesson, theta=source.thetas[:, k])
        return 0 < len(lesson.theta) < FEW and explains_nearly_all(self.entry, self.noise_scale, lesson)

    def clear_of_second(self, rng: np.random.Generator) -> _Learned:
        """From reflections that a second crystal, above or below in all patterns, does not touch."""
        entry, noise_scale = clear_of_second(self.entry, self.noise_scale, self.source.lesson, rng)
        return replace(self, entry=entry, noise_scale=noise_scale)

    def with_images(self, rng: np.random.Generator) -> _Learned:
        """With images of the disks, where their contrast is always the same."""
        entry, noise_scale = with_images(self.entry, self.noise_scale, self.source.lesson, rng)
        return replace(self, entry=entry, noise_scale=noise_scale)

    def is_new(self, known: dict[int, _Learned]) -> bool:
        """Whether it is another crystal than those of some classes."""
        others = [(learned.entry, self.source.thetas[:, k]) for k, learned in known.items()]
        return is_new_crystal(self.entry, others, self.source.lesson)


def _learn_class(
    sources: list[ClassLesson],
    calibration: Calibration,
    rng: np.random.Generator,
    noise: float,
    probe: Probe | None,
) -> _Learned | Unlearned:
    """Learn an entry from single patterns, or from sums over neighbours where single ones show too little.

    Sums that blur a bent crystal may show another lattice, which must not replace one that explains single patterns.
    """
    learned: _Learned | Unlearned = Unlearned.NO_LATTICE
    if len(sources[0].thetas) < 2:
        return learned
    for source in sources:
        found = learn_entry(source.lesson, calibration, rng, noise=noise, probe=probe)
        if probe is None and source is sources[0]:  # in sums, beams that interfere would pass for light that adds up
            found = _or_overlapping(found, source.lesson, calibration, noise)
        if not isinstance(found, Unlearned):
            new = _Learned(*found, source)
            if isinstance(learned, Unlearned) or new.explains(noise) or not learned.explains(noise):
                learned = new
            if not is_scarce(found[0], source.lesson):
                break
        elif isinstance(learned, Unlearned):
            learned = found
    return learned


def _or_overlapping(
    found: tuple[Entry, float] | Unlearned, lesson: Lesson, calibration: Calibration, noise: float
) -> tuple[Entry, float] | Unlearned:
    """What was learned, or the entry of overlapping disks that explains more.

    It is looked for where disks nearly touch, since a lattice of every second disk may have been found, and where
    nothing else was. Where disks do not overlap on the lattice that is known, it has to explain clearly more.
    """
    limit = np.inf
    if not isinstance(found, Unlearned):
        known = Plausibility.of(found[0], calibration)
        if known.crowding < CROWDED:
            return found
        limit = found[1] * (SAME_NOISE if known.disks_overlap else CLEARLY_LESS)
    other = learn_overlapping(lesson, calibration, noise)
    if isinstance(other, Unlearned) or not other[1] < limit:
        return found
    return other


def _no_crystal(scan: Scan, calibration: Calibration, refused: list[Unlearned]) -> str:
    """The sentence for a scan without an entry: what its averaged patterns show instead of a crystal."""
    why = next((each for each in (Unlearned.NO_DISK, Unlearned.NO_CRYSTAL) if each in refused), Unlearned.NO_LATTICE)
    where = (
        f"between {calibration.ring[0]:.0f} and {calibration.ring[1]:.0f} px from the beam centre "
        f"({calibration.centre[..., 0].mean():.1f}, {calibration.centre[..., 1].mean():.1f})"
    )
    if why is Unlearned.NO_DISK:
        return (
            f"the crystal in {scan.name} cannot be measured: {why.value}; disks have to be smaller than their "
            "distance, and a vacuum image of a patterned probe (--probe) helps"
        )
    return f"no crystal was found in {scan.name}: {why.value} {where}; if there is one, set --centre or --ring"
