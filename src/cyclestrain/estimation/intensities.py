"""Intensities of all reflections of a scan, at the transforms that were found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cyclestrain.data import AffineField, FloatArray, Scan
from cyclestrain.estimation.block import chunks
from cyclestrain.learning import Knowledge
from cyclestrain.pattern import Intensities, Start, disks_touch, gather, measure_intensities, predicted_positions

__all__ = ["scan_intensities"]


def scan_intensities(
    scan: Scan,
    knowledge: Knowledge,
    field: AffineField,
    centre: FloatArray,
    gain: FloatArray,
    advance: Callable[[int], object],
) -> Intensities:
    """Intensity of every reflection at every position, reading the scan once.

    Parameters
    ----------
    scan
        Scan, counted from its pedestal.
    knowledge
        Calibration, noise and dictionary.
    field
        Transform of every position, in the labelling in which the reflections are wanted.
    centre, gain
        Beam centre ``(y, x)``, pixels, and brightness relative to the entry, shapes ``(ry, rx, 2)`` and ``(ry, rx)``.
    advance
        Called with the number of positions done.

    Returns
    -------
    intensities
        Shape ``(ry, rx, g)``, where `g` runs over the reflections of all entries, one entry after the other; NaN for
        those of another entry than that of the position, and for entries whose disks touch.
    """
    entries, n = knowledge.dictionary.entries, scan.n_positions
    first = np.cumsum([0, *(len(entry.reflections) for entry in entries)])
    value = np.full((n, first[-1]), np.nan, np.float32)
    sigma = value.copy()
    there = (field.usable & np.isfinite(centre).all(-1)).ravel()
    told = np.array([not disks_touch(entry) for entry in entries])
    there &= told[np.maximum(field.label.ravel(), 0)]
    label, affine = np.where(there, field.label.ravel(), -1), field.affine.reshape(-1, 2, 2)
    for block in scan.blocks():
        for k, entry in enumerate(entries):
            for part in chunks(np.flatnonzero(label[block.positions] == k), block.patterns):
                at = block.positions[part]
                beam, bright = centre.reshape(-1, 2)[at], gain.ravel()[at]
                places = predicted_positions(Start(affine[at], beam, bright, bright), entry.reflections)
                stack = gather(block.patterns[part], places, entry.probe.half, knowledge.calibration.good)
                found = measure_intensities(
                    stack, entry, places, beam, gain=bright, noise_scale=knowledge.dictionary.noise_scale
                )
                own = slice(first[k], first[k + 1])
                value[at, own], sigma[at, own] = found.value, found.sigma
        advance(len(block.positions))
    shape = (*scan.scan_shape, first[-1])
    return Intensities(value.reshape(shape), sigma.reshape(shape))
