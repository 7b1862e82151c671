"""The probe as an image: what the windows of many fitted patterns show of it beyond its radial form.

Bullseye, cross, ring and astigmatic apertures are not round. The image is shrunk towards the radial form, or a probe
that was recorded, as far as its evidence asks for, and believed only where one half of the reflections predicts it for
the other half: contrast inside the disks differs from reflection to reflection, the aperture is the same in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from cyclestrain.data import FloatArray
from cyclestrain.learning.spline_images import BEYOND, drawn, equations_of, gain, likeliest, solve
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import Probe

__all__ = ["ProbeImage", "centred", "image_of", "is_common"]

CLEAR = 50.0
"""Least fall of chi-square in one half of the reflections by the image of the other half."""
LIKELY = 0.3
"""Part of the fall that is clear, in proportion to the pixels, from which it is worth looking at all of them."""
COMMON = 0.5
"""Least part of what its own image explains in a half that the image of the other half explains as well."""
LARGE = 2e-3
"""Least energy of an image relative to that of the probe: a smaller one costs next to no precision."""


@dataclass(frozen=True)
class ProbeImage:
    """Deviation of the probe from a known form, as coefficients of splines, with what it is judged by.

    Attributes
    ----------
    probe
        The form with the deviation added.
    gains
        Fall of chi-square in each half of the reflections by the image of the other half, and by its own, ``(2, 2)``.
    energy
        Sum of the squared deviation relative to that of the probe.
    """

    probe: Probe
    gains: FloatArray
    energy: float


def is_common(image: ProbeImage, part: float = 1.0) -> bool:
    """Whether an image is that of the aperture: clear, not small, and shared by both halves of the reflections.

    Parameters
    ----------
    image
        The image.
    part
        Share of the pixels that tell something new which it was made of. Of less than all, an image passes unless it
        falls short by far.
    """
    if part < 1.0:
        return bool((image.gains[:, 0] > LIKELY * CLEAR * part).all())
    other, own = image.gains.T
    return bool((other > CLEAR).all() and (other > COMMON * own).all() and image.energy > LARGE)


def image_of(fits: Fits, floor: float, form: Probe, reflections: FloatArray, noise_scale: float) -> ProbeImage:
    """Image of the probe that windows show, relative to a form that it is expected to have.

    Parameters
    ----------
    fits
        Windows of many patterns and what was fitted to them.
    floor
        Least variance of a pixel, counts.
    form
        Expected form: round, or as it was recorded.
    reflections
        Positions of the reflections in the entry; those across the beam from each other stay in the same half.
    noise_scale
        Variance over mean of a pixel.
    """
    upright = fits._replace(turn=np.tile([1.0, 0.0], (len(fits.counts), 1)))  # an aperture does not turn with a crystal
    normal, rhs, priors = equations_of(upright, _halves(reflections), 2, form, floor, noise_scale, form.radius + BEYOND)
    prior = priors[0]
    both = likeliest(normal.sum(0), rhs.sum(0), prior)
    gains = np.zeros((2, 2))
    coefficients: FloatArray = np.zeros(rhs.shape[1:])
    if both is not None:
        width, coefficients = both
        apart = [solve(normal[k], rhs[k], prior / width**2)[0] for k in range(2)]
        gains = np.array([[gain(normal[k], rhs[k], apart[j]) for j in (1 - k, k)] for k in range(2)])
    m = form.values.shape[0] // 2
    deviation = drawn(coefficients, np.arange(-m, m + 1) / form.oversampling, form.half)
    values = form.values + deviation
    total = values.sum()
    probe = replace(form, values=values * (form.oversampling**2 / total), is_image=True)
    return ProbeImage(probe, gains, float((deviation**2).sum() / (form.values**2).sum()))


def centred(probe: Probe) -> Probe:
    """The probe without what is alike all around it, which is background, and with its centroid in the middle.

    That place is then one with the beam centre.
    """
    m = probe.values.shape[0] // 2
    offset = np.arange(-m, m + 1)
    away = np.hypot(offset[:, None], offset) / probe.oversampling
    inside, around = away <= probe.radius + BEYOND, (away > probe.radius + BEYOND) & (away <= probe.half)
    values = np.where(away <= probe.half + 1.0, probe.values, 0.0)
    if around.any():
        values = np.where(away <= probe.half + 1.0, values - np.median(values[around]), 0.0)
    near = np.where(inside, values, 0.0)
    move = np.array([near.sum(1) @ offset, near.sum(0) @ offset]) / near.sum()
    values = shift(values, -move, order=1, mode="nearest")
    return replace(probe, values=values * (probe.oversampling**2 / values.sum()))


def _halves(reflections: FloatArray) -> NDArray[np.int64]:
    """Half (0 or 1) of every reflection; those across the beam from each other have the same."""
    sign = np.where(reflections[:, 0] + 1e-3 * reflections[:, 1] < 0, -1.0, 1.0)[:, None]
    angle = np.arctan2(*(reflections * sign).T)
    length = np.hypot(*reflections.T)
    keys = np.rint(np.stack([length, 10 * angle], 1) / 1.5).astype(int)
    return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1].ravel() % 2, np.int64)
