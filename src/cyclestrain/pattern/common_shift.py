"""Shifts of all disks together, outwards or inwards from the beam, and what they do to the affine of a pattern."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.pattern.light import shift_design, softened

__all__ = ["outwards", "radial_shifts", "with_common_shift"]


def outwards(affine: FloatArray, reflections: FloatArray) -> FloatArray:
    """Directions from the beam to every reflection, shape ``(n, reflection, 2)``.

    Parameters
    ----------
    affine
        Affine from the entry to each pattern, shape ``(n, 2, 2)``.
    reflections
        Positions in the entry, pixels, shape ``(reflection, 2)``.
    """
    place = np.einsum("nij,gj->ngi", affine, reflections)
    return np.asarray(place / np.maximum(np.linalg.norm(place, axis=-1, keepdims=True), 1e-9))


def radial_shifts(
    affine: FloatArray, reflections: FloatArray, score: FloatArray, information: FloatArray, wander: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Residual shift of every reflection outwards from the beam, and its precision, shape ``(n, reflection)``.

    Parameters
    ----------
    affine, reflections
        As for `outwards`.
    score, information
        Of residual shifts, shapes ``(n, reflection, 2)`` and ``(n, reflection, 2, 2)``.
    wander
        Standard deviation of each reflection's position beyond its noise, pixels, shape ``(reflection,)``.
    """
    direction = outwards(affine, reflections)
    noise = np.linalg.inv(information + 1e-12 * np.eye(2))
    shift = np.einsum("ngi,ngij,ngj->ng", direction, noise, score)
    variance = np.einsum("ngi,ngij,ngj->ng", direction, noise, direction) + wander**2
    seen = np.asarray(information.any((-2, -1)))
    return np.where(seen, shift, 0.0), np.where(seen, 1.0 / variance, 0.0)


def with_common_shift(
    affine: FloatArray,
    reflections: FloatArray,
    information: FloatArray,
    wander: FloatArray,
    covariance: FloatArray,
    coherent: FloatArray,
    common_shift: float,
) -> FloatArray:
    """The variance of scores that disks have in common, raised to that of a common shift, shape ``(n, 8, 8)``.

    Contrast that is alike in all disks gives some of it already; only what is missing along the direction of a common
    shift is added.

    Parameters
    ----------
    affine, reflections, information, wander
        As for `radial_shifts`.
    covariance
        Of the parameters of every fit, shape ``(n, 8, 8)``; NaN where a fit failed.
    coherent
        What is known already, see `cyclestrain.pattern.PatternFit.coherent`.
    common_shift
        Standard deviation of the shift, pixels.
    """
    pull = np.einsum("ngij,ngj->ngi", softened(information, wander), outwards(affine, reflections))
    scores = np.einsum("gia,ngi->na", shift_design(reflections), pull)  # of a shift by one pixel
    response = np.einsum("nab,nb->na", np.nan_to_num(covariance), scores)
    size = np.einsum("na,na->n", response, scores)
    known = np.einsum("na,nab,nb->n", response, coherent, response) / np.maximum(size, 1e-30) ** 2
    missing = np.maximum(common_shift**2 - np.maximum(known, 0.0), 0.0)
    return coherent + missing[:, None, None] * scores[:, :, None] * scores[:, None, :]
