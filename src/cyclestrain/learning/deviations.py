"""Widths of the deviations of single reflections beyond noise: intensity, background, position and contrast."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.learning.profiles import Deviations
from cyclestrain.pattern import Entry, PatternFit, outwards, shift_design
from cyclestrain.pattern.elimination import STEEPEST

__all__ = ["brightness_spread", "measure_coherence", "measure_deviations", "settled"]

MOST_OWN = 0.9
"""Largest part of a prediction that a reflection may have in itself."""
FARTHEST = 5.0
"""Slope, in units of its width, from which it counts no more."""
MOST_COHERENT = 2.0
"""Where all slopes are radial, their variance along that direction is twice that of a component."""


def measure_deviations(deviations: Deviations, entry: Entry, fit: PatternFit, trust: FloatArray) -> FloatArray:
    """Standard deviations of the deviations beyond noise, empirical-Bayes priors of shape ``(reflection, 9)``.

    Intensities, positions and contrast get one width per reflection, background level and slopes one for all
    reflections. A width that is not three times its own uncertainty above zero is zero: where nothing deviates nothing
    is lost.

    Parameters
    ----------
    deviations
        Deviations of intensity, background level and slopes, and contrast, with their variances.
    entry, fit
        The entry and its fit, whose residual shifts of each reflection give the width of its position.
    trust
        Weight of each reflection of each pattern, zero to leave it out, shape ``(n, reflection)``.
    """
    spread = np.zeros_like(entry.priors.spread)
    value = deviations.value.copy()
    variance = deviations.variance.copy()
    reference = np.maximum(fit.start.gain[:, None] * entry.intensity, 1e-12)
    value[..., 0] /= reference
    variance[..., 0] /= reference**2
    for p in range(4):
        spread[:, p] = _spread(*_excess_variance(value[..., p], variance[..., p], axis=0 if p == 0 else None))
    shift, variance = _shift_from_others(entry, fit) if entry.has_contrast else _own_shift(fit)
    noise = np.where(trust > 0, 0.5 * np.trace(variance, axis1=-2, axis2=-1), np.nan)
    squares = np.where(trust > 0, 0.5 * (shift**2).sum(-1), np.nan)
    spread[:, 4] = np.minimum(_spread(*_excess_variance(np.sqrt(squares), noise, axis=0)), 3.0)
    for column, modes in ((5, slice(4, 6)), (6, slice(6, 7)), (7, slice(7, 9)), (8, slice(9, 13))):
        if not np.isfinite(deviations.value[..., modes]).any():
            continue
        spread[:, column] = _contrast_spread(deviations.value[..., modes], deviations.variance[..., modes])
    return spread


def settled(before: FloatArray, now: FloatArray) -> FloatArray:
    """Widths between those a fit was given and those it leads to; zero where it shows none.

    What a fit is free to take up, it does not leave to the next one: taken as they are, widths can swing from round to
    round, and what is learned would depend on which round is the last.

    Parameters
    ----------
    before, now
        Widths that a fit was given, and those measured after it, of one shape.
    """
    return np.where((before > 0) & (now > 0), np.sqrt(0.5 * (before**2 + now**2)), now)


def brightness_spread(value: FloatArray, variance: FloatArray) -> FloatArray:
    """Standard deviation of the brightness of every reflection beyond noise, as by `measure_deviations`.

    Parameters
    ----------
    value, variance
        Relative deviations and their variances, NaN where not measured, shape ``(n, reflection)``.
    """
    return _spread(*_excess_variance(value, variance, axis=0))


def measure_coherence(
    deviations: Deviations, spread: FloatArray, entry: Entry, fit: PatternFit, trust: FloatArray
) -> float:
    """How far contrast along the direction from the beam is alike in all disks of a pattern, see `Priors.coherence`.

    The covariance of the radial slopes of different disks over their widths, zero unless three times its own
    uncertainty. What is the same in every pattern cancels against the reference: slopes count from their mean.

    Parameters
    ----------
    deviations, entry, fit, trust
        As for `measure_deviations`.
    spread
        Widths that were measured.
    """
    direction = outwards(fit.start.affine, entry.reflections)
    width = spread[:, 5]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (deviations.value[..., 4:6] * direction).sum(-1) / width
        noise = (deviations.variance[..., 4:6] * direction**2).sum(-1) / width**2
    used = (trust > 0) & np.isfinite(value) & np.isfinite(noise)
    weight = np.where(used, 1.0 / (1.0 + np.where(used, noise, 0.0)), 0.0)
    value = np.where(used, value, 0.0)
    value -= (weight * value).sum(0) / np.maximum(weight.sum(0), 1e-12)
    part = weight * np.clip(value, -FARTHEST, FARTHEST)
    products = part.sum(1) ** 2 - (part**2).sum(1)
    pairs = weight.sum(1) ** 2 - (weight**2).sum(1)
    total = max(float(pairs.sum()), 1e-12)
    found = float(products.sum()) / total
    error = float(np.sqrt(((products - found * pairs) ** 2).sum())) / total
    return min(found, MOST_COHERENT) if found > 3.0 * error else 0.0


def _own_shift(fit: PatternFit) -> tuple[FloatArray, FloatArray]:
    """Residual shift of every reflection from the fit of its pattern, pixels, and the covariance of its noise."""
    covariance = np.linalg.inv(fit.shift_information + 1e-12 * np.eye(2))
    return np.einsum("ngij,ngj->ngi", covariance, fit.shift_score), covariance


def _shift_from_others(entry: Entry, fit: PatternFit) -> tuple[FloatArray, FloatArray]:
    """Shift of every reflection from where all others of its pattern predict it, and its covariance without wandering.

    A few bright reflections fix a pattern together: each pulls the fit towards itself, so that its residual shift hides
    what contrast does to it.
    """
    design = shift_design(entry.reflections)
    predicted = np.einsum("gia,nab,gjb->ngij", design, np.nan_to_num(fit.covariance), design, optimize=True)
    shift, own = _own_shift(fit)
    width = entry.priors.wander**2
    total = own + width[:, None, None] * np.eye(2)
    # Woodbury: of the part that a reflection has in its own prediction, no more than nine tenths are taken out.
    part = predicted @ np.linalg.inv(total)
    size = np.trace(part, axis1=-2, axis2=-1)[..., None, None] / 2
    part *= np.minimum(1.0, MOST_OWN / np.maximum(size, 1e-12))
    rest = np.linalg.inv(np.eye(2) - part)
    return np.einsum("ngij,ngj->ngi", rest, shift), own + rest @ predicted


def _contrast_spread(value: FloatArray, variance: FloatArray) -> FloatArray:
    """Width of modes of contrast, shape ``(n, reflection, mode)``, zero unless all reflections together show some."""
    n_reflections = value.shape[1]
    value, variance = (array.swapaxes(1, 2).reshape(-1, n_reflections) for array in (value, variance))
    shown = _spread(*_excess_variance(value, variance, axis=None)) > 0
    return np.minimum(_spread(*_excess_variance(value, variance, axis=0)), STEEPEST) * shown


def _spread(excess: FloatArray, error: FloatArray) -> FloatArray:
    return np.sqrt(np.where(excess > 3.0 * error, excess, 0.0))


def _excess_variance(value: FloatArray, variance: FloatArray, axis: int | None) -> tuple[FloatArray, FloatArray]:
    """Variance of `value` beyond `variance` and its standard error, by weighted moments."""
    weight = 1.0 / variance**2
    weight = np.where(np.isfinite(value * weight), weight, 0.0)
    clean, noise = np.nan_to_num(value), np.nan_to_num(variance)
    total = np.maximum(weight.sum(axis), 1e-300)
    squares = np.minimum(clean**2, 25.0 * np.maximum(noise, np.nanmedian(clean**2)))
    excess = (weight * (squares - noise)).sum(axis) / total
    difference = squares - noise - (excess if axis is None else excess[None])
    scatter = (weight**2 * difference**2).sum(axis)
    return np.asarray(excess), np.sqrt(np.asarray(scatter)) / total
