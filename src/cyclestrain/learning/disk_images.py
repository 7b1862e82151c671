"""The mean of every disk over the patterns of a crystal, beyond the aperture that all disks share.

Dynamical diffraction fills the disks of a thick crystal with fringes. As far as they are the same in every pattern they
are no noise but marks that tell where the disk is: the image of each reflection is learned as that of a patterned probe
is, in the frame of the crystal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.learning.spline_images import BEYOND, Equations, drawn, equations_of, evidence_of, likeliest, solve
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import DiskImages, Entry, Probe
from cyclestrain.pattern.reflection import N_PLAIN

__all__ = ["disk_images", "move_with_disks"]

STEP = 4
"""Nodes per pixel: an image has no detail finer than half a pixel."""
MOST_PATTERNS, MOST_DISKS = 100, 12
"""Patterns, and brightest disks, on which it is asked whether images move with the disks."""
STILL = 1.5
"""Distance from where a disk mostly is, pixels, within which what is still on the detector may pass for its image."""
SURELY = 5.0
"""Logarithm of the odds from which images move."""
LEAST_LIGHT = 0.1
"""Least light of a disk in units of the intensity expected: what is far less is no measurement."""


def disk_images(fits: Fits, entry: Entry, noise_scale: float) -> tuple[DiskImages, FloatArray]:
    """Images of all reflections, and the light of each disk in units of the intensity that was expected.

    Parameters
    ----------
    fits
        Windows of many patterns and what was fitted to them.
    entry
        The entry that was fitted: images keep the widths they have.
    noise_scale
        Variance over mean of a pixel.

    Returns
    -------
    images
        Contrast without light of its own: they sum to zero.
    light
        Factor of the intensity of each reflection that goes with them, shape ``(reflection,)``.
    """
    probe, n = entry.probe, len(entry.intensity)
    equations = _equations(fits, entry, noise_scale)
    thin = max(1, probe.oversampling // STEP)
    form = probe.values[::thin, ::thin]
    step, m = probe.oversampling // thin, len(form) // 2
    place = np.arange(-m, m + 1) / step
    width, values = np.zeros(n), np.zeros((n, len(place), len(place)))
    for g in range(n):
        width[g], coefficients = _deviation(equations, g, entry.disks.width[g] if len(entry.disks) else None)
        if coefficients is not None:
            values[g] = drawn(coefficients, place, probe.half)
    light = np.maximum(1.0 + values.sum((1, 2)) / step**2, LEAST_LIGHT)
    values = (form + values) / light[:, None, None] - form
    return DiskImages(values, step, width), light


def move_with_disks(fits: Fits, entry: Entry, noise_scale: float) -> bool:
    """Whether images explain the windows better where they move with the disks than where they stay on the detector.

    What is still, as bands of a crystal that is nowhere turned or a sensitivity of pixels that is not quite known, is
    there under every disk as well. Taken for its image, it holds the disk, and strain is smaller than it is.

    Parameters
    ----------
    fits, entry, noise_scale
        As for `disk_images`.
    """
    fits = _some(fits, np.sort(np.argsort(-entry.intensity)[:MOST_DISKS]))
    usual = np.median(fits.positions, 0)
    near = (np.abs(fits.positions - usual) < STILL).all(-1)
    if near.mean() < 0.5:  # crystals are turned: what is still is elsewhere in their disks
        return True
    moving = fits._replace(trust=fits.trust * near)
    still = moving._replace(
        counts=_with_disks_at(moving, entry.probe, usual),
        positions=np.broadcast_to(usual, fits.positions.shape).copy(),
        turn=np.tile([1.0, 0.0], (len(fits.turn), 1)),
    )
    of_moving, of_still = (evidence_of(_equations(each, entry, noise_scale)) for each in (moving, still))
    return of_moving > of_still + SURELY


def _equations(fits: Fits, entry: Entry, noise_scale: float) -> Equations:
    """Of an image of every disk; contrast of single patterns is about their mean, which is looked for."""
    local, n, probe = fits.local.copy(), fits.trust.shape[1], entry.probe
    local[..., N_PLAIN:] = 0.0
    return equations_of(
        fits._replace(local=local), np.arange(n), n, probe, entry.background, entry.variance_floor, noise_scale
    ).within(probe.radius + BEYOND)  # fmt: skip


def _some(fits: Fits, disks: IntArray) -> Fits:
    """Every so many patterns, and some of the disks."""
    fits = fits.every(max(1, len(fits.counts) // MOST_PATTERNS))
    names = ("counts", "origin", "positions", "brightness", "local", "trust")
    return fits._replace(**{name: np.ascontiguousarray(getattr(fits, name)[:, disks]) for name in names})


def _with_disks_at(fits: Fits, probe: Probe, places: FloatArray) -> NDArray[np.float32]:
    """Windows in which each disk is taken away from where it is and put to another place, ``(reflection, 2)``."""
    out, half = fits.counts.copy(), fits.counts.shape[-1] // 2
    offset, middle = np.arange(-half, half + 1), len(probe.values) // 2
    for n, origin in enumerate(fits.origin):
        for g in range(len(places)):
            disks = []
            for place in (places[g], fits.positions[n, g]):
                at = [(origin[g, k] + offset - place[k]) * probe.oversampling + middle for k in (0, 1)]
                disks.append(map_coordinates(probe.values, np.meshgrid(*at, indexing="ij"), order=1))
            out[n, g] += (fits.brightness[n, g] * (disks[0] - disks[1])).astype(np.float32)
    return out


def _deviation(equations: Equations, g: int, width: float | None) -> tuple[float, FloatArray | None]:
    """Width of the splines of image `g`, the likeliest where it has none, and their coefficients; None for none."""
    normal, rhs, prior = equations.normal[g], equations.rhs[g], equations.prior
    if width is None:
        return likeliest(normal, rhs, prior) or (0.0, None)
    return width, solve(normal, rhs, prior / width**2)[0] if width > 0 else None
