"""Which positions show a crystal, and which of their transforms can be trusted."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cyclestrain.data import (
    AffineField,
    BoolArray,
    Doubt,
    Fields,
    FloatArray,
    IntArray,
    count_around,
    upper_quartile,
    values_around,
)
from cyclestrain.estimation.block import MIN_GAIN, MIN_SIGNIFICANCE, BlockFit, is_faint
from cyclestrain.estimation.first_pass import SURE_SIGNIFICANCE
from cyclestrain.learning.recognition import MAX_MISMATCH
from cyclestrain.pattern import Dictionary
from cyclestrain.strain import agreeing_neighbours

__all__ = ["ENCLOSING", "to_fields"]

FAINT_SIGNIFICANCE = 2.5
"""Significance from which a pattern counts as crystal where three of its neighbours agree (5 where two do)."""
ENCLOSING = 0.5
"""Share of the neighbours that have to be agreeing crystal for a position to lie within a crystal."""
LEAST_SEEN = 0.7
"""Share of an entry's reflections below which a fit rests on few: others left the detector, or their windows."""
MOST_SATURATED = 0.05
"""Share of the pixels of a disk at the end of the detector's scale above which what is lost there may matter."""
FADED = 0.75
"""Brightness, in units of that of its class, below which a pattern that is strained far shows another crystal.

Lattices that share some distances share some of their reflections, at a strain: 0.3 to 0.7 of the light of recorded
precipitates was found at 9 to 13 % of strain.
"""
MAX_SHAPE = 0.1
"""Difference of the two principal strains from which they are far, even if each is not: crystals break before."""
MAX_STRAIN = 0.15
"""Largest strain that counts as measured: a fit with more has found something else."""
MOST_REFUSED, AREA = 0.25, 3
"""Share of an area strained far, of so many positions or more, that may show something else: beyond it, all of it does.

Where brightness or strain are near what is allowed, noise lets some positions of another crystal pass.
"""


def to_fields(fit: BlockFit, shape: tuple[int, int], dictionary: Dictionary) -> Fields:
    """Maps of the outcome, with masks of what counts as crystal and of what can be trusted.

    Parameters
    ----------
    fit
        Outcome of all positions of a scan.
    shape
        Shape of the scan, ``(ry, rx)``.
    dictionary
        Dictionary that was fitted.
    """
    sample = _is_crystal(fit, shape, dictionary)
    sigma = np.sqrt(np.einsum("nii->ni", fit.covariance).max(1, initial=0.0))
    stretch = np.linalg.svd(np.nan_to_num(fit.affine, nan=1.0), compute_uv=False)
    largest = np.abs(stretch - 1).max(1)
    beyond = (largest > MAX_MISMATCH) | (stretch[:, 0] > (1.0 + MAX_SHAPE) * stretch[:, 1])
    unchecked = beyond & (fit.checked < 1)
    faded, too_far = beyond & _is_faded(fit, sample & ~beyond), largest >= MAX_STRAIN
    other = faded | _of_others((sample & beyond).reshape(shape), (faded | too_far).reshape(shape)).ravel()
    valid = sample & np.isfinite(sigma) & (sigma < MAX_STRAIN / 3) & ~too_far & ~unchecked & ~other
    field = _affine_field(fit, shape, dictionary, np.where(sample, fit.label, -1), valid)
    fields = Fields(
        field,
        field,
        fit.centre.reshape(*shape, 2),
        fit.gain.reshape(shape),
        fit.misfit.reshape(shape),
        sample.reshape(shape),
        fit.confidence.reshape(shape),
    )
    doubts = {
        Doubt.FAINT: is_faint(fit),
        Doubt.FEW_REFLECTIONS: (fit.seen < LEAST_SEEN) | unchecked,
        Doubt.SATURATION: fit.saturated > MOST_SATURATED,
        Doubt.STRAIN_RANGE: beyond,
        Doubt.OTHER_STRUCTURE: other,
    }
    for why, where in doubts.items():
        fields = fields.doubted((sample & where).reshape(shape), why)
    return fields


def _is_faded(fit: BlockFit, usual: BoolArray) -> BoolArray:
    """Patterns that show much less of their entry than the `usual` ones do, shape ``(n,)``."""
    out = np.zeros(len(usual), bool)
    most = np.nan_to_num(fit.gain) * (1.0 + 1.0 / np.maximum(np.nan_to_num(fit.significance), 1e-3))
    for k in np.unique(fit.label[usual]):
        mine = fit.label == k
        out |= mine & (most < FADED * np.median(fit.gain[mine & usual]))
    return out


def _of_others(beyond: BoolArray, refused: BoolArray) -> BoolArray:
    """Areas strained far of which so many positions are `refused` that the rest shows another crystal as well."""
    area, n = ndimage.label(beyond, np.ones((3, 3)))
    size, lost = (np.bincount(area[where], minlength=n + 1) for where in (beyond, beyond & refused))
    return np.asarray(((size >= AREA) & (lost > MOST_REFUSED * size))[area])


def _affine_field(
    fit: BlockFit, shape: tuple[int, int], dictionary: Dictionary, label: IntArray, valid: BoolArray
) -> AffineField:
    return AffineField(
        fit.affine.reshape(*shape, 2, 2),
        fit.covariance.reshape(*shape, 4, 4),
        label.reshape(shape),
        valid.reshape(shape),
        tuple(e.operators for e in dictionary.entries),
        fit.shared.reshape(shape),
    )


def _is_crystal(fit: BlockFit, shape: tuple[int, int], dictionary: Dictionary) -> BoolArray:
    """Patterns that surely show a crystal, and fainter ones that agree with two or three of their neighbours.

    Noise alone reaches a few standard deviations, since the best rotation is picked, but it picks a different one at
    every position. Where the sum with the neighbours surely shows a crystal, a pattern has to show half as much of it
    as the neighbours do.
    """
    significance = np.where(np.nan_to_num(fit.gain) > MIN_GAIN, np.nan_to_num(fit.significance), 0.0)
    around = upper_quartile(values_around(significance.reshape(shape), np.nan)).ravel()
    within = (fit.summed > SURE_SIGNIFICANCE) & (significance > 0.5 * around)
    faint = ((significance > FAINT_SIGNIFICANCE) | within) & np.isfinite(fit.covariance[:, 0, 0])
    field = _affine_field(fit, shape, dictionary, fit.label, faint)
    agree = agreeing_neighbours(field).ravel()
    likely = (significance > MIN_SIGNIFICANCE) & (agree >= 2)
    crystal: BoolArray = (significance > SURE_SIGNIFICANCE) | likely | (faint & (agree >= 3))
    while (found := _enclosed(fit, crystal, significance, shape, dictionary)).any():
        crystal |= found
    return crystal


def _enclosed(
    fit: BlockFit, crystal: BoolArray, significance: FloatArray, shape: tuple[int, int], dictionary: Dictionary
) -> BoolArray:
    """Positions without a crystal so far that lie within crystal and more probably show it than not.

    The significance is normal with variance 1 around that of the neighbours, :math:`s`, or around 0, so its
    log-likelihood ratio is :math:`s (z - s / 2)`. The prior odds are those of the rule of succession: `n` of the 24
    positions around are crystal. At least half of the adjacent ones must be, and agree with the position, so that
    little vacuum beside an edge is included.
    """
    (next_to, next_all), (around, around_all) = (count_around(crystal.reshape(shape), reach) for reach in (1, 2))
    enclosed = (next_to >= ENCLOSING * next_all).ravel()
    at = np.flatnonzero(~crystal & enclosed & (significance > 0) & np.isfinite(fit.covariance[:, 0, 0]))
    found = np.zeros(len(crystal), bool)
    if len(at):
        near = values_around(np.where(crystal, significance, np.nan).reshape(shape), np.nan).reshape(-1, len(crystal))
        typical, n = np.nanmedian(near[:, at], axis=0), around.ravel()[at]
        odds = typical * (significance[at] - 0.5 * typical) + np.log((n + 1) / (around_all.ravel()[at] + 1 - n))
        found[at[odds > 0]] = True
        field = _affine_field(fit, shape, dictionary, fit.label, crystal | found)
        found &= (agreeing_neighbours(field) >= ENCLOSING * next_all).ravel()
    return found
