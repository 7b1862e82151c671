"""What the disk of each reflection has beyond the common probe in all patterns: contrast that does not change."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.learning.probe_image import (
    PARTS, STENCIL, _add_windows, _drawn_at, _enough, _Known, _likeliest, _n_splines, _prior, _Sums,
)
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern.dictionary import Entry, Shapes

__all__ = ["measure_shapes"]

STEP = 4


def measure_shapes(fits: Fits, entry: Entry, noise_scale: float) -> Shapes:
    form = entry.probe
    local = fits.local.copy()
    local[..., 4:] = 0.0
    chosen = _enough(fits._replace(local=local), form)
    n, size = len(entry.intensity), _n_splines(form.half)
    sums = _Sums(np.zeros((n, PARTS, STENCIL + 1, 2 * STENCIL + 1, size, size)), np.zeros((n, PARTS, size, size)))
    known = _Known(form.values, form.oversampling, form.support, form.radius, entry.background, entry.variance_floor)
    _add_windows(chosen, known, np.arange(n), sums)
    height = float(form.values.max())
    prior = _prior(size, form.half, form.radius) / height**2
    m = (form.half + 1) * STEP
    images = np.zeros((n, 2 * m + 1, 2 * m + 1))
    for g in range(n):
        found = _likeliest(sums.normal[g].sum(0) / noise_scale, sums.rhs[g].sum(0) / noise_scale, prior)
        if found is not None:
            images[g] = _drawn_at(found[1], np.arange(-m, m + 1) / STEP, form.half)
    return Shapes(images, STEP)
