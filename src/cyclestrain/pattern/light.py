"""What the brightness of single reflections says of a fit: how much it really knows, and whether it was checked."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.pattern.dictionary import Entry
from cyclestrain.pattern.elimination import N_PARAMETERS
from cyclestrain.pattern.likelihood import Outcome

__all__ = ["AS_EXPECTED", "is_checked", "responses", "shift_design", "softened"]

SURELY_UNLIKE = 4.0
"""Standard deviations by which the brightness of a pattern's disks must scatter more than noise to count as unlike."""
LEAST = 0.02
"""Least part of what it reckons with that a fit is taken to know: noise leaves no disk surely without any counts."""
SHOWN = 3.0
"""Standard deviations from which a single reflection is seen."""
ENOUGH = 3
"""Reflections, Friedel pairs counted once, that are one more than fix an affine whose centre is known."""
PARTNER = 0.1
"""How far from the place across the beam, in units of its own distance, the other reflection of a Friedel pair lies."""
AS_EXPECTED = np.eye(4, 6)
"""Response where every disk has the brightness that was supposed."""


def shift_design(reflections: FloatArray) -> FloatArray:
    """Derivative of every reflection's position with respect to a pattern's parameters, shape ``(reflection, 2, 8)``.

    Parameters
    ----------
    reflections
        Positions in the entry relative to its centre, pixels, shape ``(reflection, 2)``.
    """
    design = np.zeros((len(reflections), 2, N_PARAMETERS))
    design[:, 0, 0:2] = design[:, 1, 2:4] = reflections
    design[:, 0, 4] = design[:, 1, 5] = 1.0
    return design


def softened(information: FloatArray, wander: FloatArray) -> FloatArray:
    """Information on the place of every reflection that wanders beside its noise, shape ``(n, reflection, 2, 2)``.

    Parameters
    ----------
    information
        Without the wandering, of the same shape.
    wander
        Standard deviation of each reflection's position, pixels, shape ``(reflection,)``.
    """
    return np.asarray(np.linalg.solve(np.eye(2) + information * (wander**2)[:, None, None], information))


def responses(entry: Entry, outcome: Outcome) -> FloatArray:
    """What becomes of an error of affine and centre where disks do not have the brightness that was supposed.

    A disk with the part `r` of the counts it should have pulls `r` times as much as the fit reckons with, which knows
    its place by where these counts would have to be. With the information `J` of its place, the design `D` and the
    information `H` of all disks, noise that the fit takes for an error ``e`` thus becomes ``(H - sum (1 - r) D^T J
    D)^-1 H e`` (the covariance of a misspecified model, White, Econometrica 50, 1 (1982)). A reflection that is missing
    fixes nothing, and a pattern of another zone, of which the entry shares a single row, nothing across that row.

    Parameters
    ----------
    entry
        Entry that was fitted.
    outcome
        What the fit wrote.
    """
    out = np.tile(AS_EXPECTED, (len(outcome.parameters), 1, 1))
    part = light_found(outcome.brightness)
    unlike = np.flatnonzero((part != 1.0).any(1) & np.isfinite(outcome.covariance).all((1, 2)))
    if not len(unlike):
        return out
    place = softened(outcome.shift_information[unlike], entry.priors.wander)
    design = shift_design(entry.reflections)[:, :, :6]
    lost = np.einsum("ng,gia,ngij,gjb->nab", 1.0 - part[unlike], design, place, design, optimize=True)
    # In units of sigma, where what is lost is a part of one: what couples to gain and level counts twice, but not more.
    values, vectors = np.linalg.eigh(outcome.covariance[unlike, :6, :6])
    sigma = np.sqrt(np.maximum(values, 1e-12 * values[:, -1:]))[:, None]
    to_sigma = vectors * sigma
    share, axes = np.linalg.eigh(to_sigma.swapaxes(1, 2) @ lost @ to_sigma)
    answer = axes / (1.0 - np.minimum(share, 1.0 - LEAST))[:, None] @ axes.swapaxes(1, 2)
    out[unlike] = (to_sigma @ answer @ (vectors / sigma).swapaxes(1, 2))[:, :4]
    return out


def light_found(brightness: FloatArray) -> FloatArray:
    """Part of the supposed counts that each disk has, 1 where no pattern of noise is exceeded, ``(n, reflection)``.

    Deviations are shrunk by what noise gives to their scatter. What is brighter than it should be makes nothing surer.
    """
    supposed, beyond, variance = np.moveaxis(brightness, -1, 0)
    known = np.isfinite(variance) & (supposed > 0)
    deviation = np.where(known, beyond / np.where(known, supposed, 1.0), 0.0)
    noise = np.where(known, variance / np.where(known, supposed, 1.0) ** 2, np.inf)
    square, count = (deviation**2 / noise).sum(1), known.sum(1)
    unlike = square > count + SURELY_UNLIKE * np.sqrt(2.0 * np.maximum(count, 1))
    weight = np.where(known, 1.0 / noise, 0.0)
    excess = (square - count) / np.maximum(weight.sum(1), 1e-300)  # variance of deviations over that of noise
    shrunk = deviation * (excess[:, None] / (excess[:, None] + noise))
    return np.where(unlike[:, None] & known, np.clip(1.0 + shrunk, LEAST, 1.0), 1.0)


def is_checked(entry: Entry, brightness: FloatArray) -> BoolArray:
    """Whether more reflections were seen in each pattern than fix its affine, in more than one direction, ``(n,)``.

    Parameters
    ----------
    entry
        Entry that was fitted.
    brightness
        See `Outcome`.
    """
    counts, deviation = brightness[..., 0] + brightness[..., 1], np.sqrt(brightness[..., 2])
    shown = np.isfinite(deviation) & (counts > SHOWN * deviation)
    g = entry.reflections
    across = np.linalg.norm(g[:, None] + g, axis=-1)
    partner = np.where(across.min(1) < PARTNER * np.linalg.norm(g, axis=1), across.argmin(1), len(g))
    pair = np.minimum(np.arange(len(g)), partner)
    of_pair = pair[:, None] == np.arange(len(g))
    one, two = ((shown * g[:, k]) for k in (0, 1))
    area = (one**2).sum(1) * (two**2).sum(1) - (one * two).sum(1) ** 2
    in_plane = area > 1e-3 * ((one**2).sum(1) + (two**2).sum(1)) ** 2
    return np.asarray(((shown.astype(int) @ of_pair) > 0).sum(1) >= ENOUGH) & in_plane
