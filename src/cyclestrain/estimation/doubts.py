"""What should not be believed beyond its sigma: entries that are hardly crystals, and patterns of another structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from cyclestrain.data import AffineField, BoolArray, Doubt, Fields, FloatArray, values_around
from cyclestrain.learning import Knowledge
from cyclestrain.strain import same_crystal

__all__ = ["unexplained", "with_doubts"]

WIDTHS, LEAST = 6.0, 0.15
"""Robust widths, and part of the typical misfit, by which a pattern must misfit more than its class to be unexplained.

Both have to be exceeded. The misfit of a class scatters by 0.024 at 1e5 counts; patterns of another structure that are
fitted with its entry lie 0.5 (70 % background) to 10 above it.
"""
ALONE, AREA = 1.0, 3
"""Part of the typical misfit that is asked of positions with fewer than so many of their like side by side.

Where counts are few, chi-square has a heavy tail: 5 of 84 draws of a recorded CCD pattern at 1e4 counts, each by
itself, lay 0.3 to 0.6 above their class though the model is theirs.
"""
SMALLEST = 12
"""Least number of positions of a class from which its typical misfit is known."""
REACH = 2
"""Half width of the square of neighbours, positions."""
ONE_CRYSTAL, TOLD_APART = 0.05, 0.03
"""Difference of the transforms (strain, or rotation in radians) of neighbours that are one crystal, bent at most; the
second where a mixture of them is told, which less will do for."""
PURE, MIXED_REACH = 0.98, 6
"""Share of the dominant crystal below which a position is a mixture, and how near different crystals then are.

The second is the half width of a square, positions: a pattern of another structure looks like a mixture too, but lies
anywhere.
"""


def with_doubts(fields: Fields, knowledge: Knowledge) -> Fields:
    """Fields with the doubts that rest on the dictionary, and without the patterns it does not explain.

    Parameters
    ----------
    fields
        What was found at every position; where mixtures were looked for, with them.
    knowledge
        Dictionary, whose entries may be doubtful.
    """
    entries = np.isin(fields.context.label, list(knowledge.doubts)) & (fields.context.label >= 0)
    noisy = np.isfinite(knowledge.pixel_noise)  # without noise every model misfits
    other = unexplained(fields) & noisy
    affine, context = (replace(each, valid=each.valid & ~other) for each in (fields.affine, fields.context))
    fields = replace(fields, affine=affine, context=context)
    return fields.doubted(entries, Doubt.ENTRY).doubted(other, Doubt.MISFIT | Doubt.OTHER_STRUCTURE)


def unexplained(fields: Fields) -> BoolArray:
    """Positions that their entry explains far worse than most of its class and than their neighbours of the class.

    Thickness and tilt change the misfit as well, but from position to position only a little: so the border of an area
    that misfits has to be sharp, or the position must stand out by itself. Where neighbours are different crystals, or
    the position is a mixture of them, misfit is what is to be expected.

    Parameters
    ----------
    fields
        What was found at every position.
    """
    out = np.zeros(fields.sample.shape, bool)
    for k in range(len(fields.affine.operators)):
        mine = fields.affine.usable & (fields.affine.label == k) & np.isfinite(fields.misfit)
        if mine.sum() >= SMALLEST:
            out |= _unlike_class(fields.misfit, mine)
    explained = _crystals_meet(fields.affine, out, 1, ONE_CRYSTAL)
    if fields.share is not None:
        explained |= (fields.share < PURE) & _crystals_meet(fields.affine, out, MIXED_REACH, TOLD_APART)
    return out & ~explained


def _unlike_class(misfit: FloatArray, mine: BoolArray) -> BoolArray:
    """Positions of one class that misfit more than the class, and more than the neighbours they border on."""
    low, typical = np.quantile(misfit[mine], [0.16, 0.5])

    def limit(value: FloatArray | float) -> FloatArray:
        return np.asarray(value + np.maximum(WIDTHS * (typical - low), LEAST * value))

    suspect = mine & (misfit > limit(typical))
    if not suspect.any():
        return suspect
    outside, around = (_median_around(misfit, where) for where in (mine & ~suspect, mine))
    area, n = ndimage.label(suspect, np.ones((3, 3)))
    border = suspect & np.isfinite(outside)
    steep = border & (misfit > limit(np.nan_to_num(outside)))
    count = np.arange(1, n + 1)
    alone = ndimage.sum_labels(suspect, area, count) < AREA
    faint = np.concatenate([[False], alone])[area] & (misfit < (1 + ALONE) * typical)
    sharp = ndimage.sum_labels(steep, area, count) >= 0.5 * ndimage.sum_labels(border, area, count)
    spike = misfit > limit(np.nan_to_num(around, nan=np.inf))
    return suspect & ~faint & (np.concatenate([[False], sharp])[area] | spike)


def _median_around(values: FloatArray, where: BoolArray) -> FloatArray:
    """Median of the neighbours in a mask, NaN where there is none, in the shape of the values."""
    around = np.sort(values_around(np.where(where, values, np.nan), np.nan, REACH), axis=0)
    n = np.isfinite(around).sum(0)
    middle = [np.take_along_axis(around, np.maximum(k, 0)[None], 0)[0] for k in ((n - 1) // 2, n // 2)]
    return np.where(n > 0, 0.5 * (middle[0] + middle[1]), np.nan)


def _crystals_meet(field: AffineField, left_out: BoolArray, reach: int, apart: float) -> BoolArray:
    """Positions with crystals around them that are `apart`, those that are `left_out` not counted."""
    index = np.arange(left_out.size).reshape(left_out.shape)
    there = field.usable & ~left_out
    around = values_around(np.where(there, index, -1), -1, reach).reshape(-1, index.size)
    first = around.max(0)
    out = np.zeros(left_out.size, bool)
    for other in around:
        both = np.flatnonzero((other >= 0) & left_out.ravel())
        one, two = (np.unravel_index(each[both], left_out.shape) for each in (first, other))
        out[both] |= ~same_crystal(field, one, two, apart)
    return out.reshape(left_out.shape)
