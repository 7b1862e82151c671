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
from cyclestrain.learning.spline_images import (
    BEYOND,
    Equations,
    drawn,
    equations_of,
    likeliest,
    likeliest_stiffness,
    solve,
)
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import DiskImages, Entry, Probe
from cyclestrain.pattern.reflection import N_PLAIN

__all__ = ["disk_images", "hold_disks", "move_with_disks"]

STEP = 4
"""Nodes per pixel: an image has no detail finer than half a pixel."""
STILL = 1.5
"""Distance of disks from where they mostly are, pixels, within which what is still may pass for their images."""
MOST_PATTERNS, MOST_DISKS = 100, 12
"""Patterns, and brightest disks, on which it is asked whether images move with the disks."""
LIKELIER = 5.0
"""Logarithm of the odds from which images move."""
SURELY, LEAST_HELD = 3.0, 0.15
"""Standard errors, and share of a movement, that images surely take away from it.

Fits without images are not free of errors: recorded disks that images held nowhere gave .03 to .09 with 3 to 5 standard
errors, bands that images took for the disks' own .16 to .29.
"""
SOFT, DARK = 0.1, 0.02
"""Height relative to the maximum from which a disk is a soft spot where the edge of a sharp one ends, and below which a
spot has ended."""
TINY = 1e-30
"""Kept from zero: a sum that is divided by."""
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
    known = len(entry.disks) > 0
    stiffness = entry.disks.stiffness if known else likeliest_stiffness(equations.only(_brightest(entry)))[0]
    for g in range(n):
        width[g], coefficients = _deviation(equations, g, stiffness, entry.disks.width[g] if known else None)
        if coefficients is not None:
            values[g] = drawn(coefficients, place, probe.half)
    light = np.maximum(1.0 + values.sum((1, 2)) / step**2, LEAST_LIGHT)
    values = (form + values) / light[:, None, None] - form
    return DiskImages(values, step, width, stiffness), light


def move_with_disks(fits: Fits, errors: FloatArray, entry: Entry, noise_scale: float) -> bool:
    """Whether images explain the windows better where they move with the disks than where they stay on the detector.

    What is still, as bands of a crystal that is nowhere turned or a sensitivity of pixels that is not quite known, is
    there under every disk as well. Taken for its image, it holds the disk, and strain is smaller than it is. Images
    that move are blurred by what the places of the disks are off; for a fair comparison, so are those that stay.

    Parameters
    ----------
    fits, entry, noise_scale
        As for `disk_images`.
    errors
        Covariance of the places of the disks, pixels, shape ``(n, reflection, 2, 2)``.
    """
    brightest = _brightest(entry)
    step = max(1, len(fits.counts) // MOST_PATTERNS)
    fits, errors = _only_disks(fits.every(step), brightest), errors[::step, brightest]
    usual = np.median(fits.positions, 0)
    near = (np.abs(fits.positions - usual) < STILL).all(-1)
    if near.mean() < 0.5:  # crystals are turned: what is still is elsewhere in their disks
        return True
    moving = fits._replace(trust=fits.trust * near)
    places = usual + _drawn_errors(errors)
    still = moving._replace(
        counts=_with_disks_at(moving, entry.probe, places),
        positions=places,
        turn=np.tile([1.0, 0.0], (len(fits.turn), 1)),
    )
    of_moving, of_still = (likeliest_stiffness(_equations(each, entry, noise_scale))[1] for each in (moving, still))
    return of_moving > of_still + LIKELIER


def hold_disks(free: FloatArray, held: FloatArray, reflections: FloatArray, repeats: float) -> bool:
    """Whether crystals are strained or turned less as fits with images show them than as fits without do.

    Images may be of what moves and of what is still at once. Fits with images are the sharper ones; the slope of the
    others against them is about one unless what is still holds the disks.

    Parameters
    ----------
    free, held
        Affine of each pattern as fits without images and with them find it, shape ``(n, 2, 2)``.
    reflections
        Those of the entry, relative to the beam centre, pixels, shape ``(reflection, 2)``.
    repeats
        In how many of the patterns each count is.
    """
    moved = np.einsum("nij,gj->ngi", held - np.median(held, 0), reflections)
    way = np.sqrt((moved**2).sum(-1).mean(1))
    near = way < STILL
    if near.mean() < 0.5:  # crystals are turned: what is still is elsewhere in their disks
        return False
    x, y = (each - each.mean(0) for each in (affine[near].reshape(-1, 4) for affine in (held, free)))
    square = np.maximum((x**2).sum(0), TINY)
    slope = (x * y).sum(0) / square
    error = np.sqrt(repeats * ((x * (y - slope * x)) ** 2).sum(0)) / square
    return bool((slope - 1.0 > np.maximum(SURELY * error, LEAST_HELD)).any())


def _equations(fits: Fits, entry: Entry, noise_scale: float) -> Equations:
    """Of an image of every disk; contrast of single patterns is about their mean, which is looked for."""
    local, n, probe = fits.local.copy(), fits.trust.shape[1], entry.probe
    local[..., N_PLAIN:] = 0.0
    reach = _reach(probe)
    return equations_of(
        fits._replace(local=local), np.arange(n), n, probe, entry.variance_floor, noise_scale, reach
    ).within(reach)


def _reach(probe: Probe) -> float:
    """Distance from the middle, pixels, within which a disk has light: soft spots fade far behind their radius.

    An image that ended before has an edge there, which says more about the place of a spot than there is to know. The
    images of disks end with their edge: behind it lies what does not move with them.
    """
    light, edge = probe.profile / probe.profile.max(), probe.radius + BEYOND
    bright = np.flatnonzero(light > DARK)[-1] + 1
    soft = light[min(int(edge * probe.oversampling), len(light) - 1)] > SOFT
    return max(edge, float(bright) / probe.oversampling) if soft else edge


def _brightest(entry: Entry) -> IntArray:
    """Reflections that tell most of what all images are like, ascending."""
    return np.sort(np.argsort(-entry.intensity)[:MOST_DISKS])


def _only_disks(fits: Fits, disks: IntArray) -> Fits:
    names = ("counts", "origin", "positions", "brightness", "local", "trust")
    return fits._replace(**{name: np.ascontiguousarray(getattr(fits, name)[:, disks]) for name in names})


def _drawn_errors(covariance: FloatArray) -> FloatArray:
    """Errors of some covariances, always the same, shape ``(n, reflection, 2)``."""
    size, axes = np.linalg.eigh(0.5 * (covariance + covariance.swapaxes(-1, -2)))
    root = axes * np.sqrt(np.clip(size, 0.0, STILL**2))[..., None, :]
    return np.asarray(np.einsum("ngij,ngj->ngi", root, np.random.default_rng(0).normal(size=size.shape)))


def _with_disks_at(fits: Fits, probe: Probe, places: FloatArray) -> NDArray[np.float32]:
    """Windows in which each disk is taken away from where it is and put to another place, ``(n, reflection, 2)``."""
    out, half = fits.counts.copy(), fits.counts.shape[-1] // 2
    offset, middle = np.arange(-half, half + 1), len(probe.values) // 2
    for n, g in np.ndindex(*places.shape[:2]):
        disks = []
        for place in (places[n, g], fits.positions[n, g]):
            at = [(fits.origin[n, g, k] + offset - place[k]) * probe.oversampling + middle for k in (0, 1)]
            disks.append(map_coordinates(probe.values, np.meshgrid(*at, indexing="ij"), order=1))
        out[n, g] += (fits.brightness[n, g] * (disks[0] - disks[1])).astype(np.float32)
    return out


def _deviation(equations: Equations, g: int, stiffness: float, width: float | None) -> tuple[float, FloatArray | None]:
    """Width of the splines of image `g`, the likeliest where it has none, and their coefficients; None for none."""
    normal, rhs, prior = equations.normal[g], equations.rhs[g], equations.prior_of(stiffness)
    if width is None:
        return likeliest(normal, rhs, prior) or (0.0, None)
    return width, solve(normal, rhs, prior / width**2)[0] if width > 0 else None
