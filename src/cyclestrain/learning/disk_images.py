"""The mean of every disk over the patterns of a crystal, beyond the aperture that all disks share.

Dynamical diffraction fills the disks of a thick crystal with fringes. As far as they are the same in every pattern they
are no noise but marks that tell where the disk is: the image of each reflection is learned as that of a patterned probe
is, in the frame of the crystal.
"""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.learning.spline_images import BEYOND, Equations, drawn, equations_of, likeliest, solve
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import DiskImages, Entry
from cyclestrain.pattern.reflection import N_PLAIN

__all__ = ["disk_images"]

STEP = 4
"""Nodes per pixel: an image has no detail finer than half a pixel."""
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
    local = fits.local.copy()
    local[..., N_PLAIN:] = 0.0  # contrast of single patterns is about their mean, which is looked for
    probe, n = entry.probe, len(entry.intensity)
    equations = equations_of(
        fits._replace(local=local), np.arange(n), n, probe, entry.background, entry.variance_floor, noise_scale
    ).within(probe.radius + BEYOND)  # fmt: skip
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


def _deviation(equations: Equations, g: int, width: float | None) -> tuple[float, FloatArray | None]:
    """Width of the splines of image `g`, the likeliest where it has none, and their coefficients; None for none."""
    normal, rhs, prior = equations.normal[g], equations.rhs[g], equations.prior
    if width is None:
        return likeliest(normal, rhs, prior) or (0.0, None)
    return width, solve(normal, rhs, prior / width**2)[0] if width > 0 else None
