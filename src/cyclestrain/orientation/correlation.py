"""Coarse rotation and class of every pattern by circular correlation with the templates along the angle.

Correlation is rotation-equivariant and needs no training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cyclestrain.affine import wrap_angle
from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.loops import on_threads
from cyclestrain.machine import thread_count
from cyclestrain.orientation.templates import Templates, counting_noise

__all__ = [
    "CLIP",
    "SHOWN",
    "Alignment",
    "align",
    "class_confidence",
    "correlate",
    "correlation_noise",
    "correlations",
    "find_peak",
    "peak_significance",
    "shows_nothing",
    "spectra_of",
]

CLIP = 6.0
"""Standard deviations of shot noise at which polar intensities are clipped, so that bright spots do not decide."""
SHADE = 1
"""Frequency along the angle up to which patterns are left out: that of a background brighter on one side, which stays
where it is when a crystal turns, while spots have power at all frequencies."""
SHOWN, SHOWN_ALONE = 3.0, 5.0
"""Least significance of the peak of a local mean, and of a pattern alone, that shows a crystal."""


@dataclass(frozen=True)
class Alignment:
    """Best class and rotation of each pattern.

    Attributes
    ----------
    label
        Class, shape ``(n,)``.
    theta
        Rotation from the template to the pattern, radians, shape ``(n,)``.
    height
        Height of the correlation peak, shape ``(n,)``.
    thetas
        Rotation from the template of every class to the pattern, radians, shape ``(n, class)``.
    """

    label: IntArray
    theta: FloatArray
    height: FloatArray
    thetas: FloatArray


@nb.njit(cache=True, nogil=True, fastmath=True)
def _whiten(polar: Any, scale: Any, clip: Any, out: Any, start: int, stop: int) -> None:  # pragma: no cover - compiled
    """What each ring is off its mean, in units of its noise, clipped."""
    for n in range(start, stop):
        for i in range(polar.shape[1]):
            ring, own = polar[n, i], out[n, i]
            total = np.float32(0.0)
            for j in range(ring.shape[0]):
                total += ring[j]
            mean = total / np.float32(ring.shape[0])
            for j in range(ring.shape[0]):
                own[j] = min(max((ring[j] - mean) * scale[i], -clip), clip)


@nb.njit(cache=True, nogil=True)
def _multiply(spectra: Any, templates: Any, out: Any, start: int, stop: int) -> None:  # pragma: no cover - compiled
    """Products with every template, summed radius by radius: no bit depends on how many patterns there are."""
    for n in range(start, stop):
        for c in range(templates.shape[0]):
            total = out[n, c]
            for i in range(spectra.shape[1]):
                one, two = spectra[n, i], templates[c, i]
                for f in range(total.shape[0]):
                    total[f] += one[f] * two[f]


def spectra_of(polar: NDArray[np.float32], level: FloatArray, box: int) -> NDArray[np.complex64]:
    """Whitened and clipped polar patterns, Fourier transformed along the angle, shape ``(n, radius, frequency)``.

    Frequencies up to `SHADE` are zero.

    Parameters
    ----------
    polar
        Patterns in polar coordinates, shape ``(n, radius, angle)``.
    level
        Mean intensity at each radius, shape ``(radius,)``.
    box
        Width of the blur that the patterns were sampled with, pixels, see `PolarGrid`.
    """
    white = np.empty_like(polar)
    scale = (box / counting_noise(level)).astype(np.float32)
    on_threads(_whiten, len(polar), polar, scale, np.float32(CLIP), white)
    spectra = scipy.fft.rfft(white, axis=-1, workers=thread_count())
    spectra[..., : SHADE + 1] = 0
    return spectra


def correlate(
    spectra: NDArray[Any], templates: NDArray[Any], n_angles: int, frequency: IntArray | None = None
) -> NDArray[np.float32]:
    """Circular correlation of every pattern with every template, shape ``(n, class, angle)``.

    Parameters
    ----------
    spectra, templates
        Spectra along the angle, shapes ``(n, radius, frequency)`` and ``(class, radius, frequency)``.
    n_angles
        Number of angles of the polar grid.
    frequency
        Frequencies that the spectra have, shape ``(frequency,)``; by default all from 0.
    """
    product: NDArray[Any] = np.zeros((len(spectra), len(templates), spectra.shape[-1]), spectra.dtype)
    conjugate = templates.conj().astype(spectra.dtype)
    on_threads(_multiply, len(spectra), spectra, conjugate, product)
    if frequency is not None:
        product, some = np.zeros((*product.shape[:2], n_angles // 2 + 1), product.dtype), product
        product[..., frequency] = some
    return scipy.fft.irfft(product, n_angles, axis=-1, workers=thread_count())


def find_peak(correlation: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Height and angle (radians, refined by a parabola) of the largest value along the last axis."""
    n = correlation.shape[-1]
    k = correlation.argmax(-1)
    at = [np.take_along_axis(correlation, ((k + d) % n)[..., None], -1)[..., 0].astype(float) for d in (-1, 0, 1)]
    curvature = np.minimum(at[0] - 2 * at[1] + at[2], -1e-12)
    offset = 0.5 * (at[0] - at[2]) / curvature
    return at[1], wrap_angle(2 * np.pi * (k + np.clip(offset, -0.5, 0.5)) / n)


def correlations(polar: NDArray[np.float32], templates: Templates) -> NDArray[np.float32]:
    """Correlation of patterns with every template over all angles, shape ``(n, class, angle)``.

    Parameters
    ----------
    polar
        Patterns in polar coordinates, shape ``(n, radius, angle)``.
    templates
        Templates on the same polar grid.
    """
    spectra = spectra_of(polar, templates.level, templates.grid.box)
    return correlate(spectra, templates.spectra, templates.grid.n_angles)


def align(correlation: NDArray[np.float32]) -> Alignment:
    """Class and rotation with the highest correlation, from correlations of shape ``(n, class, angle)``."""
    height, theta = find_peak(correlation)
    label = height.argmax(1)
    pick = (np.arange(len(label)), label)
    return Alignment(label, theta[pick], height[pick], theta)


def correlation_noise(correlation: NDArray[np.float32]) -> float:
    """Standard deviation that noise alone gives correlations, which have the shape ``(n, class, angle)``.

    With their peaks shifted onto each other, correlations of the patterns of one class differ by noise only.
    """
    label = correlation.max(-1).argmax(1)
    own = correlation[np.arange(len(label)), label]
    n = own.shape[1]
    aligned = np.take_along_axis(own, (own.argmax(1)[:, None] + np.arange(n)) % n, 1)
    groups = [aligned[label == k] for k in np.unique(label)]
    return max(1.4826 * float(np.median(np.abs(group - np.median(group, axis=0)))) for group in groups)


def class_confidence(correlation: NDArray[np.float32], noise: float) -> FloatArray:
    """Probability of the best class, from the heights of the correlation peaks, shape ``(n,)``.

    Parameters
    ----------
    correlation
        Correlations over all angles, shape ``(n, class, angle)``.
    noise
        Their standard deviation by noise, see `correlation_noise`.
    """
    heights = correlation.max(-1).astype(float)
    evidence = 0.5 * (heights**2 - heights.max(1, keepdims=True) ** 2) / max(noise, 1e-6) ** 2
    return np.asarray(1.0 / np.exp(np.clip(evidence, -50, 0)).sum(1))


def shows_nothing(correlation: NDArray[np.float32], means: NDArray[np.float32]) -> BoolArray:
    """Mask of the patterns that show no crystal, neither alone nor with their neighbours, shape ``(n,)``.

    Parameters
    ----------
    correlation
        Correlation of each pattern with every template over all angles, shape ``(n, class, angle)``.
    means
        The same averaged over neighbours.
    """
    height = means.max((1, 2))
    low = height < 0.5 * np.quantile(height, 0.9)
    return low & (peak_significance(means) < SHOWN) & (peak_significance(correlation) < SHOWN_ALONE)


def peak_significance(correlation: NDArray[np.float32]) -> FloatArray:
    """Height of the highest peak over all angles and classes in standard deviations of its class, shape ``(n,)``.

    Parameters
    ----------
    correlation
        Correlations over all angles, shape ``(n, class, angle)``.
    """
    own = correlation[np.arange(len(correlation)), correlation.max(-1).argmax(1)].astype(float)
    middle = np.median(own, axis=1, keepdims=True)
    return np.asarray(own.max(1) / (1.4826 * np.median(np.abs(own - middle), axis=1) + 1e-30))
