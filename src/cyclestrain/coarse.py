"""Coarse rotation and class of every pattern, from nothing.

In polar coordinates about the beam centre a rotation is a circular shift, so correlating along the angle is
rotation-equivariant and needs no training. The first template is a locally averaged pattern of the scan itself; it then
is replaced, again and again, by the average of all patterns turned onto it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numba as nb
import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import gamma

from cyclestrain.affine import wrap_angle
from cyclestrain.data import BoolArray, Calibration, FloatArray, IntArray

__all__ = [
    "Alignment",
    "PolarGrid",
    "Templates",
    "align",
    "class_confidence",
    "correlation_noise",
    "correlations",
    "learn_templates",
    "local_means",
    "mean_of_members",
    "neighbour_members",
    "peak_significance",
    "shows_nothing",
    "to_polar",
]

CLIP = 6.0
"""Polar intensities are clipped at this many standard deviations of their shot noise: bright spots must not rule."""
SAME_CENTRE = 0.5
"""Distance, pixels, between beam centres up to which patterns may be added up."""
LEAST_SHARE = 0.3
"""Least share of good pixels in the box around a polar sample."""
STRUCTURED = 6.0
"""Significance from which a local mean shows more than noise."""
CHANCE = 1e-3
"""Of noise being taken for power of a crystal, at each radius and frequency."""
NOISE_POSITIONS = 256
"""On so many the noise of spectra is measured."""
SHOWN, SHOWN_ALONE = 3.0, 5.0
"""Least heights of the correlation of a local mean and of a pattern alone with a crystal, in standard deviations."""
_UNSEEN = np.float32(-1e30)


@dataclass(frozen=True)
class PolarGrid:
    """Where patterns are sampled: ``radii`` (px) and `n_angles` angles from +x towards +y, after a `box` blur."""

    radii: FloatArray
    n_angles: int
    box: int

    @classmethod
    def fitting(cls, calibration: Calibration) -> PolarGrid:
        """Grid that resolves disks of the calibrated size within the calibrated ring."""
        box = 2 * int(calibration.disk_radius / 2) + 1
        inner, outer = calibration.ring
        step = max(1.0, box / 2)
        radii = np.arange(inner, max(outer - box / 2, inner + 3 * step), step)
        n_angles = int(np.clip(2 * np.pi * radii[-1] / step, 180, 480))
        return cls(radii, scipy.fft.next_fast_len(n_angles, real=True), box)


@dataclass(frozen=True)
class Templates:
    """Polar templates of the classes.

    Attributes
    ----------
    grid
        Where they are sampled.
    spectra
        Fourier transform along the angle, shape ``(class, radius, frequency)``, unit norm each.
    level
        Mean intensity at each radius, by which patterns are whitened, shape ``(radius,)``.
    """

    grid: PolarGrid
    spectra: NDArray[np.complexfloating[Any, Any]]
    level: FloatArray

    def only(self, classes: list[int]) -> Templates:
        """Some of the classes, in the order given."""
        return Templates(self.grid, self.spectra[classes], self.level)

    def whitened(self, level: FloatArray) -> Templates:
        """The same crystals in units of the noise at another mean intensity of each radius."""
        ratio = (_noise(self.level) / _noise(level)).astype(np.float32)[:, None]
        return Templates(self.grid, np.stack([_unit(template * ratio) for template in self.spectra]), level)


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
        Rotation to the template of every class, radians, shape ``(n, class)``.
    """

    label: IntArray
    theta: FloatArray
    height: FloatArray
    thetas: FloatArray


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _blur(pattern: Any, good: Any, norm: Any, box: int, column: Any, out: Any) -> None:  # pragma: no cover
    """Mean of the good pixels of the box around each pixel; `norm` is one over their number, 0 where too few are."""
    n_y, n_x = good.shape
    half = box // 2
    inner = column[half : half + n_x]
    column[:] = 0.0
    for y in range(-half, n_y):
        enters, leaves = y + half, y - half - 1
        if enters < n_y:
            for x in range(n_x):
                inner[x] += np.float32(pattern[enters, x]) if good[enters, x] else np.float32(0.0)
        if leaves >= 0:
            for x in range(n_x):
                inner[x] -= np.float32(pattern[leaves, x]) if good[leaves, x] else np.float32(0.0)
        if y >= 0:
            row = out[y]
            row[:] = column[:n_x]
            for shift in range(1, box):  # a running sum would wait for each pixel before the next
                shifted = column[shift : shift + n_x]
                for x in range(n_x):
                    row[x] += shifted[x]
            for x in range(n_x):
                row[x] *= norm[y, x]


@nb.njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def _polar(
    patterns: Any, good: Any, norm: Any, known: Any, centres: Any, radii: Any, turns: Any, box: int, out: Any
) -> None:  # pragma: no cover
    """Sample blurred patterns; `known` says where the four pixels from here on have a `norm`, see `_blur`."""
    n_y, n_x = good.shape
    n_angles = turns.shape[1]
    for n in nb.prange(patterns.shape[0]):
        blurred = np.empty((n_y, n_x), np.float32)
        _blur(patterns[n], good, norm, box, np.empty(n_x + box - 1, np.float32), blurred)
        flat = blurred.reshape(-1)
        for i in range(radii.shape[0]):
            ring = out[n, i]
            seen, total = 0, np.float32(0.0)
            for j in range(n_angles):
                y = min(max(centres[n, 0] + radii[i] * turns[0, j], 0.0), n_y - 1.001)
                x = min(max(centres[n, 1] + radii[i] * turns[1, j], 0.0), n_x - 1.001)
                iy, ix = np.uint32(y), np.uint32(x)
                k = iy * np.uint32(n_x) + ix
                fy, fx = np.float32(y - iy), np.float32(x - ix)
                low = flat[k] + fx * (flat[k + 1] - flat[k])
                high = flat[k + n_x] + fx * (flat[k + n_x + 1] - flat[k + n_x])
                if known[iy, ix]:
                    ring[j] = low + fy * (high - low)
                    seen += 1
                    total += ring[j]
                else:
                    ring[j] = _UNSEEN
            if seen < n_angles:  # what no pixel shows says nothing: it is as bright as the rest of its ring
                for j in range(n_angles):
                    if ring[j] == _UNSEEN:
                        ring[j] = total / max(seen, 1)


def to_polar(patterns: NDArray[Any], good: BoolArray, centres: FloatArray, grid: PolarGrid) -> NDArray[np.float32]:
    """Patterns in polar coordinates about their beam centres, shape ``(n, radius, angle)``."""
    out = np.empty((len(patterns), len(grid.radii), grid.n_angles), np.float32)
    count = ndimage.uniform_filter(good.astype(float), grid.box, mode="constant") * grid.box**2
    norm = np.where(count > LEAST_SHARE * grid.box**2, 1.0 / np.maximum(count, 1.0), 0.0).astype(np.float32)
    known = (norm[:-1, :-1] > 0) & (norm[:-1, 1:] > 0) & (norm[1:, :-1] > 0) & (norm[1:, 1:] > 0)
    angles = 2.0 * np.pi * np.arange(grid.n_angles) / grid.n_angles
    turns = np.stack([np.sin(angles), np.cos(angles)])
    _polar(patterns, good, norm, known, np.ascontiguousarray(centres), grid.radii, turns, grid.box, out)
    return out


def _noise(level: FloatArray) -> FloatArray:
    """Counting noise at the mean intensity of each radius, shape ``(radius,)``."""
    return np.sqrt(np.maximum(level, 1e-3 * level.max() + 1e-12))


def _spectra(polar: NDArray[np.float32], level: FloatArray, box: int) -> NDArray[np.complex64]:
    """Whitened and clipped polar patterns, Fourier transformed along the angle."""
    white = polar - polar.mean(-1, keepdims=True)
    white /= _noise(level).astype(np.float32)[:, None] / box
    np.clip(white, -CLIP, CLIP, out=white)
    spectra = scipy.fft.rfft(white, axis=-1, workers=2)
    spectra[..., 0] = 0
    return spectra


def _correlate(spectra: NDArray[Any], templates: NDArray[Any], n_angles: int) -> NDArray[np.float32]:
    """Circular correlation of every pattern with every template, shape ``(n, class, angle)``."""
    # Summed radius by radius, so that no bit depends on how many patterns there are.
    product = np.stack([(spectra * template).sum(1) for template in templates.conj()], 1)
    return scipy.fft.irfft(product, n_angles, axis=-1, workers=2)


def _peak(correlation: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Height and angle (radians, refined by a parabola) of the largest value along the last axis."""
    n = correlation.shape[-1]
    k = correlation.argmax(-1)
    at = [np.take_along_axis(correlation, ((k + d) % n)[..., None], -1)[..., 0].astype(float) for d in (-1, 0, 1)]
    curvature = np.minimum(at[0] - 2 * at[1] + at[2], -1e-12)
    offset = 0.5 * (at[0] - at[2]) / curvature
    return at[1], wrap_angle(2 * np.pi * (k + np.clip(offset, -0.5, 0.5)) / n)


def _turned_mean(spectra: NDArray[Any], theta: FloatArray, weight: FloatArray) -> NDArray[Any]:
    """Weighted mean of patterns turned back by `theta`."""
    frequency = np.arange(spectra.shape[-1])
    phase = (weight[:, None] * np.exp(1j * theta[:, None] * frequency)).astype(np.complex64)
    return np.einsum("nrf,nf->rf", spectra, phase) / max(float(weight.sum()), 1e-12)


def _unit(template: NDArray[Any]) -> NDArray[Any]:
    return template / max(float(np.linalg.norm(template)), 1e-30)


def neighbour_members(
    rows: IntArray, columns: IntArray, of: IntArray, reach: int, centre: FloatArray | None = None
) -> IntArray:
    """Indices of the positions in a square of ``2 reach + 1`` around some positions, themselves first.

    Parameters
    ----------
    rows, columns
        Scan positions, shape ``(n,)``.
    of
        Which of them are asked for, shape ``(k,)``.
    reach
        Half width of the square.
    centre
        Beam centre of every position, shape ``(n, 2)``: those whose beam is elsewhere cannot be added up.

    Returns
    -------
    members
        Shape ``(k, (2 reach + 1)^2)``, -1 where there is no such position.
    """
    index = np.full((rows.max() + 1 + 2 * reach, columns.max() + 1 + 2 * reach), -1)
    index[rows + reach, columns + reach] = np.arange(len(rows))
    steps = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    steps.sort(key=lambda step: step != (0, 0))
    members = np.stack([index[rows[of] + reach + y, columns[of] + reach + x] for y, x in steps], -1)
    if centre is None:
        return members
    apart = np.hypot(*np.moveaxis(centre[members] - centre[of][:, None], -1, 0))
    return np.where(apart < SAME_CENTRE, members, -1)


def mean_of_members(values: NDArray[Any], members: IntArray) -> NDArray[Any]:
    """Mean of `values`, shape ``(n, ...)``, over some members each, see `neighbour_members`, shape ``(k, ...)``."""
    total = values[members[:, 0]].copy()
    for some in members.T[1:]:
        there = some >= 0
        total[there] += values[some[there]]
    return np.asarray(total / (members >= 0).sum(1).reshape(-1, *[1] * (values.ndim - 1)), values.dtype)


def correlation_noise(correlation: NDArray[np.float32]) -> float:
    """Standard deviation of correlations over all angles, shape ``(n, class, angle)``, by noise alone.

    With their peaks on top of each other, correlations of the patterns of one class differ by noise only.
    """
    label = correlation.max(-1).argmax(1)
    own = correlation[np.arange(len(label)), label]
    n = own.shape[1]
    aligned = np.take_along_axis(own, (own.argmax(1)[:, None] + np.arange(n)) % n, 1)
    groups = [aligned[label == k] for k in np.unique(label)]
    return max(1.4826 * float(np.median(np.abs(group - np.median(group, axis=0)))) for group in groups)


def class_confidence(correlation: NDArray[np.float32], noise: float) -> FloatArray:
    """Probability of the best class from the heights of the correlation peaks, shape ``(n,)``.

    Parameters
    ----------
    correlation
        Shape ``(n, class, angle)``.
    noise
        Its standard deviation, see `correlation_noise`.
    """
    heights = correlation.max(-1).astype(float)
    evidence = 0.5 * (heights**2 - heights.max(1, keepdims=True) ** 2) / max(noise, 1e-6) ** 2
    return np.asarray(1.0 / np.exp(np.clip(evidence, -50, 0)).sum(1))


def shows_nothing(correlation: NDArray[np.float32], means: NDArray[np.float32]) -> BoolArray:
    """Which patterns show no crystal, neither alone nor with their neighbours, shape ``(n,)``.

    Parameters
    ----------
    correlation
        Of each pattern with every template over all angles, shape ``(n, class, angle)``.
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
        Shape ``(n, class, angle)``.
    """
    own = correlation[np.arange(len(correlation)), correlation.max(-1).argmax(1)].astype(float)
    middle = np.median(own, axis=1, keepdims=True)
    return np.asarray(own.max(1) / (1.4826 * np.median(np.abs(own - middle), axis=1) + 1e-30))


def _neighbour_weights(rows: IntArray, columns: IntArray, reach: int) -> Any:
    """Sparse matrix that averages over a square of ``2 reach + 1`` positions, those outside the sample left out."""
    from scipy.sparse import csr_array, diags_array
    from scipy.spatial import cKDTree

    pairs = cKDTree(np.stack([rows, columns], -1)).query_pairs(reach + 0.1, p=np.inf, output_type="ndarray")
    i = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(len(rows))])
    j = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(len(rows))])
    weights = csr_array((np.ones(len(i), np.float32), (i, j)), shape=(len(rows), len(rows)))
    return csr_array(diags_array((1.0 / weights.sum(1)).astype(np.float32)) @ weights)


def _apply(weights: Any, values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:]), values.dtype)


def local_means(values: NDArray[Any], rows: IntArray, columns: IntArray, reach: int) -> NDArray[Any]:
    """Mean over neighbouring positions (a square of ``2 reach + 1``), positions outside the sample left out.

    Parameters
    ----------
    values
        Shape ``(n, ...)``.
    rows, columns
        Scan positions, shape ``(n,)``.
    reach
        Half width of the square.
    """
    return _apply(_neighbour_weights(rows, columns, reach), values)


def _bootstrap(spectra: NDArray[Any], n_angles: int, candidates: IntArray, rounds: int = 6) -> NDArray[Any]:
    """Template that grew, from the best of several seeds, to agree with most patterns."""
    best, best_total = _unit(spectra[candidates[0]]), -np.inf
    norm = np.maximum(np.linalg.norm(spectra, axis=(1, 2)), 1e-12)
    for seed in candidates:
        template = _unit(spectra[seed])
        for _ in range(rounds):
            height, theta = _peak(_correlate(spectra, template[None], n_angles)[:, 0])
            agreement = np.clip(height / norm, 0, None)
            template = _unit(_turned_mean(spectra, theta, np.where(agreement >= np.median(agreement), agreement**2, 0)))
        total = float(np.median(agreement))
        if total > best_total:
            best, best_total = template, total
    return best


@dataclass(frozen=True)
class _Signal:
    """Locally averaged patterns and the counting noise left in them.

    Attributes
    ----------
    means
        Spectra of the averages, shape ``(n, radius, frequency)``.
    share
        One over the number of patterns averaged, shape ``(n,)``.
    noise
        Power of the noise of one pattern, shape ``(radius, frequency)``.
    """

    means: NDArray[Any]
    share: FloatArray
    noise: FloatArray

    @cached_property
    def power(self) -> FloatArray:
        """Noise-free power of each, shape ``(n,)``."""
        return np.asarray(np.linalg.norm(self.means, axis=(1, 2)) ** 2 - self.share * self.noise.sum())

    @cached_property
    def significance(self) -> FloatArray:
        """That power over its own counting error, shape ``(n,)``."""
        return np.asarray(self.power / (self.share * np.sqrt(2.0 * (self.noise**2).sum())))

    def filtered(self, members: IntArray) -> _Signal:
        """Without the radii and frequencies where some positions show no more than noise (a Wiener filter).

        A crystal has reflections at a few radii and, by its symmetry, power at a few frequencies.
        """
        noise = self.share[members].mean() * self.noise
        n = max(1.0, float(self.share[members].sum()))  # averages that share no pattern
        seen = (np.abs(self.means[members]) ** 2).mean(0)
        gain = np.where(seen > gamma.isf(CHANCE, n) / n * noise, 1.0 - noise / np.maximum(seen, 1e-30), 0.0)
        if not gain.any():
            return self
        return replace(self, means=self.means * gain.astype(np.float32), noise=self.noise * gain**2)


def _signal(spectra: NDArray[Any], rows: IntArray, columns: IntArray) -> _Signal:
    """Average neighbours, and measure the noise on what they differ by."""
    weights = _neighbour_weights(rows, columns, 2)
    means = _apply(weights, spectra)
    share = np.asarray((weights.multiply(weights)).sum(1)).ravel()
    some = np.linspace(0, len(rows) - 1, min(len(rows), NOISE_POSITIONS)).astype(int)
    some = some[share[some] < 0.99]
    if not len(some):  # no two positions are neighbours
        return _Signal(means, share, 0.5 * np.median(np.abs(spectra) ** 2, axis=0))
    # |mean|^2 = signal + share * noise and mean of |pattern|^2 = signal + noise, where neighbours are alike.
    averaged = _apply(weights[some], np.abs(spectra) ** 2)
    noise = (averaged - np.abs(means[some]) ** 2) / (1 - share[some])[:, None, None]
    return _Signal(means, share, np.maximum(np.median(noise, axis=0), 1e-12))


def _coherence(signal: _Signal, templates: NDArray[Any], n_angles: int) -> FloatArray:
    """Share of each local mean's signal power that the best template explains, shape ``(n,)``."""
    height, _ = _peak(_correlate(signal.means, templates, n_angles))
    return np.asarray(np.clip(height.max(1), 0, None) ** 2 / np.maximum(signal.power, 1e-12))


def learn_templates(
    polar: NDArray[np.float32],
    rows: IntArray,
    columns: IntArray,
    grid: PolarGrid,
    rng: np.random.Generator,
    max_classes: int = 6,
) -> Templates:
    """Learn polar templates of all crystals from a sample of patterns, without any starting guess.

    The first template grows from the patterns with most structure. Patterns that have structure but agree with no
    template yet give the next one, until too few are left or what they give is no new crystal.

    Parameters
    ----------
    polar
        Sample in polar coordinates, shape ``(n, radius, angle)``.
    rows, columns
        Scan positions of the sample, shape ``(n,)``.
    grid
        The polar grid.
    rng
        Picks the seeds.
    max_classes
        Most templates.
    """
    level = polar.mean((0, 2), dtype=np.float64)
    spectra = _spectra(polar, level, grid.box)
    signal = _signal(spectra, rows, columns)
    unexplained = np.ones(len(rows), bool)
    templates: list[NDArray[Any]] = []
    typical = 0.0
    for _ in range(max_classes):
        if not unexplained.any():
            break
        clear = signal.filtered(np.flatnonzero(unexplained))
        structured = np.maximum(signal.significance, clear.significance) > STRUCTURED
        if not templates and structured.sum() < 2:
            structured = signal.significance >= np.median(signal.significance)
        members = np.flatnonzero(unexplained & structured)
        if len(members) < max(12, 0.01 * len(rows)) and templates:
            break
        clear = signal.filtered(members)
        strongest = members[np.argsort(clear.power[members])[-max(1, len(members) // 4) :]]
        template = _bootstrap(
            clear.means[members],
            grid.n_angles,
            np.searchsorted(members, rng.choice(strongest, min(6, len(strongest)), replace=False)),
        )
        own = _coherence(clear, template[None], grid.n_angles)
        if templates and not (
            np.mean(own[members] > 0.5 * typical) > 0.4
            and _is_new(template, np.stack(templates), signal.means[members], grid.n_angles)
        ):
            break
        templates.append(template)
        typical = typical or float(np.quantile(own[members], 0.8))
        unexplained[members[own[members] > 0.5 * typical]] = False
    found = np.stack(templates)
    return Templates(grid, _polish(spectra, found, grid.n_angles), level)


def _is_new(template: NDArray[Any], known: NDArray[Any], means: NDArray[Any], n_angles: int) -> bool:
    """A template is a new crystal if it is no turned copy of a known one and explains most of some patterns better."""
    alike = _peak(_correlate(template[None], known, n_angles))[0].max()
    height, _ = _peak(_correlate(means, np.concatenate([known, template[None]]), n_angles))
    return bool(alike < 0.7 and np.mean(height.argmax(1) == len(known)) > 0.5)


def _polish(spectra: NDArray[Any], templates: NDArray[Any], n_angles: int, rounds: int = 3) -> NDArray[Any]:
    """Replace each template by the mean of the single patterns that agree with it best, turned onto it."""
    for _ in range(rounds):
        height, theta = _peak(_correlate(spectra, templates, n_angles))
        label, best = height.argmax(1), height.max(1)
        for k in range(len(templates)):
            own = label == k
            if own.sum() >= 2:
                weight = np.clip(best[own] - np.quantile(best[own], 0.3), 0, None)
                weight += 1e-6 * best[own]  # without noise all may be alike
                templates[k] = _unit(_turned_mean(spectra[own], theta[own, k], weight))
    return templates


def correlations(polar: NDArray[np.float32], templates: Templates) -> NDArray[np.float32]:
    """Correlation of patterns with every template over all angles, shape ``(n, class, angle)``."""
    spectra = _spectra(polar, templates.level, templates.grid.box)
    return _correlate(spectra, templates.spectra, templates.grid.n_angles)


def align(correlation: NDArray[np.float32]) -> Alignment:
    """Class and rotation with the highest correlation, shape ``(n,)`` each."""
    height, theta = _peak(correlation)
    label = height.argmax(1)
    pick = (np.arange(len(label)), label)
    return Alignment(label, theta[pick], height[pick], theta)
