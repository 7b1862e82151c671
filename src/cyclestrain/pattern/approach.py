"""From a coarse rotation to a start within a fraction of a pixel of the fit.

Two ways lead there. With a blurred, flat disk the likelihood has few maxima, but of a disk that is bright on one side
only it is the bright side that is found, up to two pixels off, and for all reflections alike where thickness and tilt
are alike. With the sharp disk and its contrast, reflection by reflection from the inside out, the edges are found,
but a strained lattice may be lost on the way. Where there is contrast both are followed to the likelihood.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, IntArray
from cyclestrain.pattern.dictionary import Entry
from cyclestrain.pattern.refine import START_ONLY, Start, predicted_positions, refine
from cyclestrain.pattern.windows import in_place

__all__ = ["approach", "approach_by_shells"]

SETTLED = (0.2, 0.05)
"""Largest move of a reflection at which each part of an approach ends, pixels.

Each step reduces what is left to a fifth, and what follows starts nearer to its own maximum than the two are apart.
"""
THOROUGH = (0.003, 0.003)
"""The same where an entry is learned: what it comes to may hang on little."""
SOFTENED = 0.17
"""Blur of disks that overlap, in units of their radius: with more the pattern has no contrast left."""
WITHIN = 1.8
"""Length, in units of the shortest reflection, up to which reflections are fitted first in any case."""
ENOUGH, SHELL = 2 / 3, 1.05
"""Share of the light in every direction by which a rough place is found; ratio of lengths that are of one shell."""
SHELLS = (1.2, 2.1, np.inf)
"""Lengths, in units of the shortest reflection, up to which reflections are fitted, one after the other."""


def approach(
    patterns: NDArray[Any],
    good: BoolArray,
    entry: Entry,
    start: Start,
    *,
    centre_sigma: float,
    relative_error: float = 0.03,
    members: IntArray | None = None,
    thorough: bool = False,
) -> Start:
    """Bring a coarse start (a rotation, no strain) to within a fraction of a pixel of the fit.

    The probe is blurred so that its edge reaches further, and the inner reflections, which move least, are fitted
    first: as many as lie within reach, and, unless `thorough`, no more than it takes.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    entry
        Dictionary entry to fit.
    start
        Coarse start; its centre is the prior as well.
    centre_sigma
        Standard deviation of the beam centre, pixels.
    relative_error
        Largest distance of a reflection from its predicted place, relative to its length.
    members
        Which patterns are summed for each fit, see `cyclestrain.pattern.windows.gather`.
    thorough
        Whether to climb to the maximum itself with all reflections within reach, as learning does.
    """
    length = np.hypot(*entry.reflections.T)
    blur = SOFTENED * entry.probe.radius if entry.overlaps else max(1.0, 0.4 * entry.probe.radius)
    entry = entry.farther_from_beam(2.0 * blur)
    reach = max(WITHIN * length.min(), (entry.probe.radius + blur) / relative_error)
    inner = entry.overlaps | (length <= (reach if thorough else min(reach, _enough(entry))))
    centre = start.centre
    wide = int(np.ceil(blur))  # the disks of a better start lie in the middle of their windows
    parts = ((inner, blur, wide, 4), (np.ones(len(length), bool), 0.6 * blur, 0, 3))
    for (chosen, sigma, wider, steps), settled in zip(parts, THOROUGH if thorough else SETTLED, strict=True):
        part = entry.only(chosen).without_contrast
        probe = entry.probe.blurred(sigma, entry.probe.half + wider)
        windows = in_place(patterns, predicted_positions(start, part.reflections), probe.half + 4, good, members)
        fit = refine(
            windows, part, start, centre=centre, centre_sigma=centre_sigma, iterations=steps, probe=probe,
            max_shift=2.0, robust=False, tolerance=settled,
        )  # fmt: skip
        start = fit.start
    return start


def _enough(entry: Entry) -> float:
    """Length up to which reflections tell enough of every direction for a rough fit, at least that of `WITHIN`.

    More would be four times the pixels for a start that what follows improves in any case.
    """
    length = np.hypot(*entry.reflections.T)
    order = np.argsort(length)
    along = entry.reflections[order] / length[order, None]
    light = np.cumsum(entry.intensity[order, None, None] * along[:, :, None] * along[:, None, :], 0)
    share = np.linalg.eigvals(np.linalg.pinv(light[-1]) @ light).real.min(-1)
    reached = np.flatnonzero(share >= ENOUGH)
    return max(WITHIN * float(length.min()), SHELL * float(length[order][reached[0]]) if len(reached) else np.inf)


def approach_by_shells(
    patterns: NDArray[Any],
    good: BoolArray,
    entry: Entry,
    start: Start,
    *,
    centre_sigma: float,
    noise_scale: float,
    members: IntArray | None = None,
) -> Start:
    """Bring a coarse start to the fit with the sharp probe and its contrast, the inner reflections first.

    Parameters
    ----------
    patterns, good, entry, start, centre_sigma, members
        As for `approach`.
    noise_scale
        Variance over mean of a pixel.
    """
    length, centre = np.hypot(*entry.reflections.T), start.centre
    for reach in SHELLS:
        part = entry.only(length <= reach * length.min())
        windows = in_place(patterns, predicted_positions(start, part.reflections), part.probe.half + 4, good, members)
        fit = refine(
            windows, part, start, centre=centre, centre_sigma=centre_sigma, iterations=4, noise_scale=noise_scale,
            tolerance=START_ONLY,
        )  # fmt: skip
        start = fit.start
    return start
