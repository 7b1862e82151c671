"""What contrast does to all disks at one distance from the beam alike: it moves them outwards or inwards together.

Where a crystal is thick and its disks are small, contrast inside a disk and the place of the disk cannot be told apart.
By symmetry all reflections of one length (a shell) have much the same contrast along their direction from the beam, so
that they move together, and a pattern looks strained. No single disk shows that. Shells do: each of them has a dilation
of its own, and if these differ by more than noise, their mean is off as well.
"""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.pattern import Entry, PatternFit, radial_shifts

__all__ = ["measure_common_shift"]

SAME_LENGTH = 1.04
"""Ratio of two lengths, one next to the other, within which reflections belong to one shell."""
CLEAR = 2.0
"""How many times its own uncertainty a shift has to be."""
ODD_PART = 0.05
"""Part of the patterns whose shells may differ by more than the rest: mixtures, and fits that failed."""
SHIFTS = np.geomspace(1e-3, 1.0, 61)
"""Shifts that are tried, pixels."""


def measure_common_shift(entry: Entry, fit: PatternFit, trust: FloatArray) -> float:
    """Standard deviation of what moves all disks of a shell outwards together, see `Priors.common_shift`, pixels.

    It is the shift with which the dilations of the shells of one pattern, each about its mean over all patterns, differ
    by as much as they do (the random effect of a meta-analysis, Paule and Mandel 1982); zero where noise explains that.

    Parameters
    ----------
    entry, fit
        The entry and its fit.
    trust
        Weight of each reflection of each pattern, zero to leave it out, shape ``(n, reflection)``.
    """
    shell, length = _shells(entry.reflections)
    dilation, precision = _dilations(entry, fit, trust, shell)
    seen = (precision > 0).all(1)
    if len(length) < 2 or seen.sum() < 3:
        return 0.0
    dilation, precision = dilation[seen], precision[seen]
    dilation -= (precision * dilation).sum(0) / precision.sum(0)
    excess = np.stack([_excess(dilation, precision, shift / length) for shift in (0.0, *SHIFTS)])
    excess = np.minimum(excess, np.quantile(excess, 1.0 - ODD_PART, axis=1, keepdims=True))
    mean, error = excess.mean(1), excess.std(1) / np.sqrt(len(dilation))
    if not mean[0] > CLEAR * error[0]:
        return 0.0
    return float(np.interp(0.0, -mean[1:], SHIFTS))


def _shells(reflections: FloatArray) -> tuple[IntArray, FloatArray]:
    """Number of the shell of every reflection, and the mean length in each shell, pixels."""
    length = np.hypot(*reflections.T)
    order = np.argsort(length)
    shell = np.empty(len(length), int)
    shell[order] = np.cumsum(np.r_[0, length[order[1:]] > SAME_LENGTH * length[order[:-1]]])
    return shell, np.bincount(shell, length) / np.bincount(shell)


def _dilations(entry: Entry, fit: PatternFit, trust: FloatArray, shell: IntArray) -> tuple[FloatArray, FloatArray]:
    """By how much each shell is larger than the fit has it, relative, and the precision of that, ``(n, shell)``."""
    shift, precision = radial_shifts(
        fit.start.affine, entry.reflections, fit.shift_score, fit.shift_information, entry.priors.wander
    )
    precision = np.where(trust > 0, precision, 0.0)
    length = np.hypot(*entry.reflections.T)
    of_shell = np.equal.outer(shell, np.arange(shell.max() + 1)).astype(float)
    known = (precision * length**2) @ of_shell
    return (precision * shift * length) @ of_shell / np.maximum(known, 1e-30), known


def _excess(dilation: FloatArray, precision: FloatArray, width: FloatArray) -> FloatArray:
    """Chi-square of the dilations of each pattern beyond what is expected of it, shape ``(n,)``.

    Parameters
    ----------
    dilation, precision
        Of every shell, shape ``(n, shell)``.
    width
        Standard deviation that each has beyond its noise, shape ``(shell,)``.
    """
    weight = 1.0 / (1.0 / precision + width**2)
    mean = (weight * dilation).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    return np.asarray((weight * (dilation - mean) ** 2).sum(1) - (dilation.shape[1] - 1))
