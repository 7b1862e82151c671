"""Templates learned from the scan itself, without any starting guess.

The first template is a locally averaged pattern, which is then replaced repeatedly by the average of all patterns
turned onto it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from cyclestrain.data import FloatArray, IntArray, neighbour_weights, weighted_means
from cyclestrain.loops import on_threads
from cyclestrain.orientation.correlation import correlate, find_peak, spectra_of
from cyclestrain.orientation.polar import PolarGrid
from cyclestrain.orientation.templates import Templates, unit_norm

__all__ = ["CHANCE", "NOISE_POSITIONS", "STRUCTURED", "learn_templates"]

STRUCTURED = 6.0
"""Significance from which a local mean shows more than noise."""
CHANCE = 1e-3
"""Probability that noise is taken for the power of a crystal, at each radius and frequency."""
NOISE_POSITIONS = 256
"""Number of positions on which the noise of the spectra is measured."""
AT_A_TIME = 32
"""Patterns whose spectra are looked at together."""


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
        Polar grid of the sample.
    rng
        Random generator that picks the seeds.
    max_classes
        Largest number of templates.
    """
    level = polar.mean((0, 2), dtype=np.float64)
    spectra = spectra_of(polar, level, grid.box)
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
        seeds = rng.choice(strongest, min(6, len(strongest)), replace=False)
        grown = _bootstrap(clear, grid.n_angles, members, np.searchsorted(members, seeds))
        own, template = _coherence(clear, grown, grid.n_angles), clear.whole(grown)
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


def _squares(spectra: NDArray[Any]) -> FloatArray:
    """Squared magnitudes, without the square roots of `abs`."""
    return np.asarray(spectra.real**2 + spectra.imag**2)


def _powers(spectra: NDArray[Any]) -> FloatArray:
    """Sum of the squared magnitudes of each, shape ``(n,)``, a few at a time, which stay in the processor's cache."""
    few = range(0, len(spectra), AT_A_TIME)
    return np.concatenate([_squares(spectra[k : k + AT_A_TIME]).sum((1, 2)) for k in few])


def _turned_mean(
    spectra: NDArray[Any], theta: FloatArray, weight: FloatArray, frequency: IntArray | None = None
) -> NDArray[Any]:
    """Weighted mean of patterns turned back by `theta`; all frequencies from 0, or those that are given."""
    frequency = np.arange(spectra.shape[-1]) if frequency is None else frequency
    chosen = np.flatnonzero(weight)
    phase = (weight[chosen, None] * np.exp(1j * theta[chosen, None] * frequency)).astype(spectra.dtype)
    total: NDArray[Any] = np.zeros(spectra.shape[1:], spectra.dtype)
    on_threads(_add_turned, spectra.shape[1], spectra, chosen, phase, total)
    return total / max(float(weight.sum()), 1e-12)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add_turned(
    spectra: Any, chosen: Any, phase: Any, total: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Sum over the chosen patterns, radius by radius: no bit depends on how the radii are shared out."""
    for i in range(start, stop):
        own = total[i]
        for k in range(chosen.shape[0]):
            one, turn = spectra[chosen[k], i], phase[k]
            for f in range(own.shape[0]):
                own[f] += one[f] * turn[f]


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
    radii, frequency
        Which radii and frequencies of all these are.
    full
        Number of all radii and frequencies.
    """

    means: NDArray[Any]
    share: FloatArray
    noise: FloatArray
    radii: IntArray
    frequency: IntArray
    full: tuple[int, int]

    @classmethod
    def of(cls, means: NDArray[Any], share: FloatArray, noise: FloatArray) -> _Signal:
        """Signal at all radii and frequencies."""
        full = means.shape[1], means.shape[2]
        return cls(means, share, noise, np.arange(full[0]), np.arange(full[1]), full)

    @cached_property
    def power(self) -> FloatArray:
        """Noise-free power of each, shape ``(n,)``."""
        return np.asarray(_powers(self.means) - self.share * self.noise.sum())

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
        some = np.array_split(members, -(-len(members) // AT_A_TIME))
        seen = np.sum([_squares(self.means[few]).sum(0) for few in some], axis=0) / len(members)
        gain = np.where(seen > gammainccinv(n, CHANCE) / n * noise, 1.0 - noise / np.maximum(seen, 1e-30), 0.0)
        if not gain.any():
            return self
        radii, frequency = gain.any(1), gain.any(0)
        left = np.ix_(radii, frequency)
        return replace(
            self,
            means=np.ascontiguousarray(self.means[:, left[0], left[1]]) * gain[left].astype(np.float32),
            noise=self.noise[left] * gain[left] ** 2,
            radii=self.radii[radii],
            frequency=self.frequency[frequency],
        )

    def whole(self, template: NDArray[Any]) -> NDArray[Any]:
        """A template at all radii and frequencies from one at these."""
        out: NDArray[Any] = np.zeros(self.full, template.dtype)
        out[np.ix_(self.radii, self.frequency)] = template
        return out


def _bootstrap(clear: _Signal, n_angles: int, members: IntArray, candidates: IntArray, rounds: int = 6) -> NDArray[Any]:
    """Template that grew, from the best of several seeds among the members, to agree with most of them."""
    few, frequency = clear.means[members], clear.frequency
    norm = np.maximum(np.sqrt(_powers(few)), 1e-12)
    best, best_total = unit_norm(few[candidates[0]]), -np.inf
    for seed in candidates:
        template = unit_norm(few[seed])
        for _ in range(rounds):
            height, theta = find_peak(correlate(few, template[None], n_angles, frequency)[:, 0])
            agreement = np.clip(height / norm, 0, None)
            weight = np.where(agreement >= np.median(agreement), agreement**2, 0)
            template = unit_norm(_turned_mean(few, theta, weight, frequency))
        total = float(np.median(agreement))
        if total > best_total:
            best, best_total = template, total
    return best


def _signal(spectra: NDArray[Any], rows: IntArray, columns: IntArray) -> _Signal:
    """Average neighbours, and measure the noise on what they differ by."""
    weights = neighbour_weights(rows, columns, 2)
    means = weighted_means(weights, spectra)
    share = np.asarray((weights.multiply(weights)).sum(1)).ravel()
    some = np.linspace(0, len(rows) - 1, min(len(rows), NOISE_POSITIONS)).astype(int)
    some = some[share[some] < 0.99]
    if not len(some):  # no two positions are neighbours
        return _Signal.of(means, share, 0.5 * np.median(_squares(spectra), axis=0))
    # |mean|^2 = signal + share * noise and mean of |pattern|^2 = signal + noise, where neighbours are alike.
    averaged = weighted_means(weights[some], _squares(spectra))
    noise = (averaged - _squares(means[some])) / (1 - share[some])[:, None, None]
    return _Signal.of(means, share, np.maximum(np.median(noise, axis=0), 1e-12))


def _coherence(clear: _Signal, template: NDArray[Any], n_angles: int) -> FloatArray:
    """Share of each local mean's signal power that a template explains, shape ``(n,)``."""
    height, _ = find_peak(correlate(clear.means, template[None], n_angles, clear.frequency)[:, 0])
    return np.asarray(np.clip(height, 0, None) ** 2 / np.maximum(clear.power, 1e-12))


def _is_new(template: NDArray[Any], known: NDArray[Any], means: NDArray[Any], n_angles: int) -> bool:
    """A template is a new crystal if it is no turned copy of a known one and explains most of some patterns better."""
    alike = find_peak(correlate(template[None], known, n_angles))[0].max()
    height, _ = find_peak(correlate(means, np.concatenate([known, template[None]]), n_angles))
    return bool(alike < 0.7 and np.mean(height.argmax(1) == len(known)) > 0.5)


def _polish(spectra: NDArray[Any], templates: NDArray[Any], n_angles: int, rounds: int = 3) -> NDArray[Any]:
    """Replace each template by the mean of the single patterns that agree with it best, turned onto it."""
    for _ in range(rounds):
        height, theta = find_peak(correlate(spectra, templates, n_angles))
        label, best = height.argmax(1), height.max(1)
        for k in range(len(templates)):
            own = label == k
            if own.sum() >= 2:
                weight = np.clip(best - np.quantile(best[own], 0.3), 0, None)
                weight += 1e-6 * best  # without noise all may be alike
                templates[k] = unit_norm(_turned_mean(spectra, theta[:, k], np.where(own, weight, 0.0)))
    return templates
