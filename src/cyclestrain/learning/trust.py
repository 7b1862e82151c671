"""Which patterns and reflections an entry is learned from, and the noise they show."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.pattern import Entry, PatternFit
from cyclestrain.pattern.elimination import N_PARAMETERS

__all__ = ["trusted", "typical_misfit", "typical_scatter"]


def trusted(fit: PatternFit) -> FloatArray:
    """Weight of every reflection: none in patterns without crystal or far from the model, less where it misfits.

    Parameters
    ----------
    fit
        Fit of an entry to many patterns.
    """
    misfit, significance = fit.misfit, fit.significance
    typical = np.median(misfit)
    width = 1.4826 * np.median(np.abs(misfit - typical)) + 1e-3 * typical
    good = (misfit < typical + 5 * width) & (significance > 5) & np.isfinite(fit.covariance[:, 0, 0])
    per_pixel = fit.chi_square / np.maximum(fit.n_pixels, 1)
    limit = 1.0 + 4.0 * fit.chi_error / np.maximum(fit.n_pixels, 1)
    weight = np.where(per_pixel > limit, 1.0 / np.maximum(per_pixel, 1e-9), 1.0)
    return np.where((fit.n_pixels > 0) & good[:, None], weight, 0.0)


def typical_misfit(fit: PatternFit) -> float:
    """Chi-square per pixel of the typical reflection; strong ones may misfit by more than noise (contrast inside).

    Parameters
    ----------
    fit
        Fit of an entry to many patterns.
    """
    clear = trusted(fit).any(1)
    if not clear.any():
        return float(np.median(fit.misfit))
    freedom = 1.0 - N_PARAMETERS / np.maximum(fit.n_pixels[clear].sum(1), N_PARAMETERS + 1)
    pixels = (fit.n_pixels[clear] * freedom[:, None]).sum(0)
    return float(np.median(fit.chi_square[clear].sum(0)[pixels > 0] / pixels[pixels > 0]))


def typical_scatter(fit: PatternFit, entry: Entry) -> float:
    """Variance of the disks about the affine of their pattern, of the typical pattern, over what its noise explains.

    NaN where no pattern is clear. Disks must not overlap.

    Parameters
    ----------
    fit
        Fit of an entry to many patterns.
    entry
        That entry.
    """
    clear = trusted(fit).any(1)
    if not clear.any():
        return float("nan")
    return float(np.median(fit.only(clear).scatter_of_places(entry)))
