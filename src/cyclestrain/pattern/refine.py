"""Refinement: a few Fisher-scoring steps per pattern on the Poisson likelihood; its information gives covariances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cyclestrain.affine import rotation
from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.loops import on_threads
from cyclestrain.pattern.blur import blur_levels, measure_blur, nearest_level, pooled_blur
from cyclestrain.pattern.common_shift import with_common_shift
from cyclestrain.pattern.dictionary import Entry, Priors
from cyclestrain.pattern.disk_images import NO_IMAGES
from cyclestrain.pattern.elimination import N_PARAMETERS
from cyclestrain.pattern.film import measure_film
from cyclestrain.pattern.light import AS_EXPECTED, is_checked, responses, shift_design
from cyclestrain.pattern.likelihood import Model, Outcome, Steps, fit_patterns
from cyclestrain.pattern.overlapping import Disks, fit_overlapping
from cyclestrain.pattern.probe import Probe
from cyclestrain.pattern.reflection import N_LOCAL
from cyclestrain.pattern.windows import Windows, WindowStack, cut_share

__all__ = ["START_ONLY", "PatternFit", "Start", "blurs_in", "film_in", "predicted_positions", "refine"]

START_ONLY = 1e-9
"""A `tolerance` of `refine` that ends no climb, pixels: only the parameters are found, not their covariance."""

MOST_SHARED = 0.999
"""Largest part of a covariance that comes from contrast: a fit that is all prior has some noise of its own."""


@dataclass(frozen=True)
class Start:
    """Parameters from which the fit of each pattern begins.

    Attributes
    ----------
    affine
        Affine from the entry to the pattern, shape ``(n, 2, 2)``.
    centre
        Beam centre ``(y, x)``, pixels, shape ``(n, 2)``.
    gain, level
        Factors of the entry's intensities and background, shape ``(n,)``.
    """

    affine: FloatArray
    centre: FloatArray
    gain: FloatArray
    level: FloatArray

    def only(self, which: Any) -> Start:
        """Starts of some of the patterns, chosen by a mask, indices or a slice."""
        return Start(self.affine[which], self.centre[which], self.gain[which], self.level[which])

    def with_others(self, index: IntArray, other: Start) -> Start:
        """These parameters, or those of `other` for the patterns of an index, shape ``(k,)``."""
        out = Start(self.affine.copy(), self.centre.copy(), self.gain.copy(), self.level.copy())
        for mine, others in zip(_arrays(out), _arrays(other), strict=True):
            mine[index] = others
        return out

    @classmethod
    def turned(cls, theta: FloatArray, centre: FloatArray, patterns: FloatArray | None = None) -> Start:
        """Starts that are a rotation without strain.

        Parameters
        ----------
        theta
            Rotation from the entry to each pattern, radians, shape ``(n,)``.
        centre
            Beam centre ``(y, x)``, pixels, shape ``(n, 2)``.
        patterns
            Number of patterns summed in each, which becomes gain and level, shape ``(n,)``; by default one.
        """
        gain = np.ones(len(theta)) if patterns is None else patterns.astype(float)
        return cls(rotation(theta), centre, gain, gain)


def _arrays(start: Start) -> tuple[FloatArray, ...]:
    return start.affine, start.centre, start.gain, start.level


@dataclass(frozen=True)
class PatternFit:
    """Maximum-likelihood fit of many patterns with one dictionary entry.

    Attributes
    ----------
    start
        Fitted parameters, which can be the start of another fit.
    covariance
        Covariance of ``(A_yy, A_yx, A_xy, A_xx, c_y, c_x, gain, level)``, corrected for misfit, shape ``(n, 8, 8)``.
    local
        Deviations of each reflection, shape ``(n, reflection, 13)``: intensity (counts), background level and slopes,
        and contrast inside the disk (slopes, bowl, saddles, third order).
    chi_square, n_pixels
        Pearson chi-square in units of the noise scale and number of pixels of each reflection, shape ``(n,
        reflection)``. Pixels on a background so dark that its variance is below the least one count for less.
    chi_error
        Standard deviation of that chi-square by counting statistics, shape ``(n, reflection)``.
    shift_score, shift_information
        Score and information of the residual shift of each reflection, shapes ``(n, reflection, 2)`` and ``(n,
        reflection, 2, 2)``.
    prior
        Variance of the score by deviations drawn from their priors, without counting noise, shape ``(n, 8, 8)``.
    coherent
        What is to be added to `prior` because contrast is alike in all disks and moves them together, see
        `Priors.coherence` and `Priors.common_shift`; the fit itself takes each for its own, shape ``(n, 8, 8)``.
    scatter
        Variance of the reflections about the common affine over what their noise and wandering explain, 1 where it is
        no more or where disks have no contrast, shape ``(n,)``.
    saturated
        Share of the pixels at the end of the detector's scale in the disk that has most of them, shape ``(n,)``.
    response
        What becomes of an error of ``(A_yy, A_yx, A_xy, A_xx, c_y, c_x)`` in the affine where disks are surely darker
        than the fit supposed, the identity elsewhere, shape ``(n, 4, 6)``; see `responses`.
    checked
        Whether more reflections were seen than fix the affine, shape ``(n,)``; see `is_checked`.
    film
        How much of the entry's `film` the background holds, zero where that has none, shape ``(n,)``.
    blur
        Variance of the blur of the disks about the probe, below zero where they are sharper, pixels squared; zero where
        the entry has none, shape ``(n,)``.
    brightness
        Counts that each disk was expected to have, what was found beyond these, and the variance of that, infinite
        where it is not seen, shape ``(n, reflection, 3)``.
    """

    start: Start
    covariance: FloatArray
    local: FloatArray
    chi_square: FloatArray
    n_pixels: FloatArray
    chi_error: FloatArray
    shift_score: FloatArray
    shift_information: FloatArray
    prior: FloatArray
    coherent: FloatArray
    scatter: FloatArray
    saturated: FloatArray
    response: FloatArray
    checked: BoolArray
    film: FloatArray
    blur: FloatArray
    brightness: FloatArray

    def only(self, which: Any) -> PatternFit:
        """Fits of some of the patterns, chosen by a mask, indices or a slice."""
        arrays = {name: getattr(self, name)[which] for name in self.__dataclass_fields__ if name != "start"}
        return PatternFit(self.start.only(which), **arrays)

    def where(self, better: BoolArray, other: PatternFit) -> PatternFit:
        """These fits, or those of `other` where they are `better`, shape ``(n,)``."""

        def pick(one: FloatArray, two: FloatArray) -> FloatArray:
            return np.where(better.reshape(-1, *[1] * (one.ndim - 1)), two, one)

        names = [name for name in self.__dataclass_fields__ if name != "start"]
        start = Start(*(pick(a, b) for a, b in zip(_arrays(self.start), _arrays(other.start), strict=True)))
        arrays: dict[str, Any] = {name: pick(getattr(self, name), getattr(other, name)) for name in names}
        return PatternFit(start, **arrays)

    def penalty(self, entry: Entry) -> FloatArray:
        """Misfit of each pattern, robust against reflections that do not fit, with that of its deviations, ``(n,)``.

        Twice the negative logarithm of the posterior up to a constant: what tells which of two maxima is the better.
        """
        n = np.maximum(self.n_pixels, 1)
        misfit = np.where(self.chi_square > n, n * (1 + np.log(np.maximum(self.chi_square, 1e-9) / n)), self.chi_square)
        width = np.broadcast_to(entry.priors.of_deviations, self.local.shape).copy()
        width[..., 0] *= self.start.gain[:, None] * entry.intensity
        deviation = np.where(width > 0, self.local / np.maximum(width, 1e-9), 0.0)
        # Less what noise leaves: a fit whose windows left the detector has fewer pixels, and is not better for that.
        return np.asarray((misfit - self.n_pixels).sum(1) / entry.grain.edge + (deviation**2).sum((1, 2)))

    def scatter_of_places(self, entry: Entry) -> FloatArray:
        """Variance of the reflections about their common affine over what noise and wandering explain, shape ``(n,)``.

        A residual shift with the covariance `T` of noise and wandering, where the affine predicts its place with `P`,
        has the covariance ``T - P``. What contrast of high order does to single disks shows there, pattern by pattern.
        """
        seen = self.n_pixels > 0
        own = np.linalg.inv(self.shift_information + 1e-12 * np.eye(2))
        shift = np.einsum("ngij,ngj->ngi", own, self.shift_score)
        precision = np.linalg.inv(own + (entry.priors.wander**2)[:, None, None] * np.eye(2))
        design = shift_design(entry.reflections)
        predicted = np.einsum("gia,nab,gjb->ngij", design, np.nan_to_num(self.covariance), design, optimize=True)
        square = np.einsum("ngi,ngij,ngj->ng", shift, precision, shift)
        freedom = 2.0 - np.einsum("ngij,ngji->ng", precision, predicted)
        return np.asarray((square * seen).sum(1) / np.maximum((np.maximum(freedom, 0.0) * seen).sum(1), 1.0))

    @property
    def shared(self) -> FloatArray:
        """Share of the affine's covariance that comes from contrast and brightness instead of counting, ``(n,)``."""
        out = np.zeros(len(self.prior))
        if not (self.prior.any() or self.coherent.any()):
            return out
        known = np.flatnonzero(np.isfinite(self.covariance).all((1, 2)) & np.isfinite(self.prior).all((1, 2)))
        covariance = self.covariance[known]
        part = (covariance @ (self.prior[known] + self.coherent[known]) @ covariance)[:, :4, :4]
        out[known] = np.einsum("nii->n", np.linalg.pinv(self.affine_covariance[known]) @ part) / 4
        out = np.clip(out, 0.0, MOST_SHARED)
        return 1.0 - (1.0 - out) / self.scatter  # what displaces disks beyond their noise is shared as well

    @property
    def affine_covariance(self) -> FloatArray:
        """Covariance of ``(A_yy, A_yx, A_xy, A_xx)`` with contrast that is alike in all disks, shape ``(n, 4, 4)``."""
        out = self.covariance
        if self.coherent.any():
            out = out + out @ self.coherent @ out
        unlike = np.flatnonzero((self.response != AS_EXPECTED).any((1, 2)))
        affine = out[:, :4, :4].copy() if len(unlike) else out[:, :4, :4]
        response = self.response[unlike]
        affine[unlike] = response @ out[unlike, :6, :6] @ response.swapaxes(1, 2)
        return np.asarray(affine)

    @property
    def misfit(self) -> FloatArray:
        """Chi-square per degree of freedom of each pattern, 1 where model and noise explain it, shape ``(n,)``."""
        freedom = np.maximum(self.n_pixels.sum(1) - N_PARAMETERS, 1)
        return self.chi_square.sum(1) / freedom

    @property
    def inflation(self) -> FloatArray:
        """Factor by which misfit of pixels and places beyond their noise widens the covariance, 1 without, ``(n,)``."""
        freedom = np.maximum(self.n_pixels.sum(1) - N_PARAMETERS, 1)
        error = np.sqrt((self.chi_error**2).sum(1)) / freedom
        return np.where(self.misfit > 1.0 + 3.0 * error, self.misfit, 1.0) * self.scatter

    @property
    def significance(self) -> FloatArray:
        """Gain in units of its own standard deviation: how surely a pattern shows the crystal, shape ``(n,)``."""
        return self.start.gain / np.sqrt(np.maximum(self.covariance[:, 6, 6], 1e-30))


def predicted_positions(start: Start, reflections: FloatArray) -> FloatArray:
    """Detector positions ``c + A g`` of the reflections, pixels, shape ``(n, reflection, 2)``.

    Parameters
    ----------
    start
        Affine `A` and beam centre `c` of each pattern.
    reflections
        Positions `g` in the entry relative to its centre, pixels, shape ``(reflection, 2)``.
    """
    return start.centre[:, None, :] + np.einsum("nij,gj->ngi", start.affine, reflections)


def refine(
    windows: Windows | WindowStack,
    entry: Entry,
    start: Start,
    *,
    centre: FloatArray,
    centre_sigma: float,
    iterations: int = 3,
    probe: Probe | None = None,
    noise_scale: float = 1.0,
    max_shift: float = 1.5,
    robust: bool = True,
    tolerance: float = 0.0,
    ceiling: float = np.inf,
    settled: float = 0.0,
) -> PatternFit:
    """Fit affine, centre, gain and background of every pattern by Fisher scoring.

    Parameters
    ----------
    windows
        Windows around the entry's reflections.
    entry
        Dictionary entry to fit.
    start
        Parameters to begin from.
    centre, centre_sigma
        Prior of the beam centre ``(y, x)``: its mean, shape ``(n, 2)``, and standard deviation, pixels.
    iterations
        Number of Fisher-scoring steps.
    probe
        Disk shape instead of the entry's, for example blurred to reach further.
    noise_scale
        Variance over mean of a pixel.
    max_shift
        Largest move of any reflection in one step, pixels.
    robust
        Whether reflections that do not fit get less weight.
    tolerance
        If above zero, only the parameters are found, and steps end when no reflection moves by more, pixels.
    ceiling
        Value at which pixels stop counting.
    settled
        Length of a step, in units of its standard deviation, below which no other follows it.
    """
    probe, parameters = probe or entry.probe, _parameters(start)
    windows = windows.windows if isinstance(windows, WindowStack) else windows
    n, n_reflections = windows.origin.shape[:2]
    covariance = np.full((n, N_PARAMETERS, N_PARAMETERS), np.nan)
    outcome = Outcome(
        parameters, np.zeros((n, n_reflections, N_LOCAL)), covariance, np.zeros((n, n_reflections, 3)),
        np.zeros((n, n_reflections, 2)), np.zeros((n, n_reflections, 2, 2)), np.zeros_like(covariance),
        np.zeros_like(covariance), np.full((n, n_reflections, 3), np.inf),
    )  # fmt: skip
    steps = Steps(
        1.0 / max(centre_sigma, 1e-3) ** 2, float(noise_scale), float(entry.grain.edge), robust, float(max_shift),
        iterations, float(tolerance), float(settled),
    )  # fmt: skip
    centre, blur = np.ascontiguousarray(centre, float), np.zeros(n, float)
    film = film_in(windows, entry, start, noise_scale, probe)
    if entry.overlaps:
        on_threads(fit_overlapping, n, windows, _disks(entry, probe), steps, centre, outcome)
    else:
        model = _model(entry, probe)._replace(background=entry.backgrounds(film).astype(np.float32))
        blur, model = _with_blur(windows, entry, probe, model, parameters, noise_scale)
        on_threads(fit_patterns, n, windows, model, steps, centre, outcome)
    fitted = Start(parameters[:, :4].reshape(n, 2, 2), parameters[:, 4:6], parameters[:, 6], parameters[:, 7])
    chi_square, n_pixels, inverse = np.moveaxis(outcome.misfit, -1, 0)
    chi_variance = (2.0 * n_pixels + inverse * noise_scale) * 0.5 * (1.0 + entry.grain.edge)
    whole = tolerance == 0  # else it is a start for another fit
    response = responses(entry, outcome) if whole else np.tile(AS_EXPECTED, (n, 1, 1))
    checked = is_checked(entry, outcome.brightness) if whole else np.zeros(n, bool)
    fit = PatternFit(
        fitted, covariance, outcome.local, chi_square / noise_scale, n_pixels,
        np.sqrt(chi_variance), outcome.shift_score, outcome.shift_information, outcome.prior, outcome.coherent,
        np.ones(n), cut_share(windows, probe.radius, ceiling), response, checked, film, blur, outcome.brightness,
    )  # fmt: skip
    if entry.has_contrast and whole:
        fit = replace(fit, scatter=np.maximum(fit.scatter_of_places(entry), 1.0))
    return _with_common_shift(fit, entry.reflections, entry.priors) if whole else fit


def _with_common_shift(fit: PatternFit, reflections: FloatArray, priors: Priors) -> PatternFit:
    """The fit with what moves all disks of a pattern together in its covariance."""
    if not priors.common_shift > 0:
        return fit
    coherent = with_common_shift(
        fit.start.affine, reflections, fit.shift_information, priors.wander, fit.covariance, fit.coherent,
        priors.common_shift,
    )  # fmt: skip
    return replace(fit, coherent=coherent)


def film_in(windows: Windows, entry: Entry, start: Start, noise_scale: float, probe: Probe | None = None) -> FloatArray:
    """How much of the entry's `film` patterns hold, zero where it has none, shape ``(n,)``.

    Parameters
    ----------
    windows, entry, start, noise_scale, probe
        As for `refine`.
    """
    if not entry.has_film:
        return np.zeros(len(start.gain))
    model = _model(entry, probe or entry.probe)
    return measure_film(windows, model, entry.film, _parameters(start), noise_scale * entry.grain.area)


def blurs_in(
    windows: Windows, entry: Entry, start: Start, noise_scale: float, levels: FloatArray, *, bowl: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Variance of the blur of every disk, and the information on it, shapes ``(n, reflection)``.

    Parameters
    ----------
    windows, entry, start, noise_scale
        As for `refine`.
    levels
        Variances that are looked for, in equal steps about zero, see `blur_levels`.
    bowl
        Whether contrast that is alike all around each disk is measured instead, see `measure_blur`.
    """
    background = entry.backgrounds(film_in(windows, entry, start, noise_scale)).astype(np.float32)
    model = _model(entry, entry.probe)._replace(
        tables=entry.probe.compared_softened(levels), background=background,
    )  # fmt: skip
    return measure_blur(windows, model, levels, _parameters(start), noise_scale * entry.grain.area, bowl)


def _with_blur(
    windows: Windows, entry: Entry, probe: Probe, model: Model, parameters: FloatArray, noise_scale: float
) -> tuple[FloatArray, Model]:
    """Blur of every pattern, shape ``(n,)``, and a model whose disks are as soft; the same where the entry has none."""
    if not entry.blur > 0 or probe is not entry.probe:
        return np.zeros(len(parameters)), model
    levels = blur_levels(entry.blur)
    softer = model._replace(tables=entry.probe.compared_softened(levels))
    variance, information = measure_blur(windows, softer, levels, parameters, noise_scale * entry.grain.area)
    level = nearest_level(pooled_blur(variance, information, entry.blur), levels)
    return levels[level], softer._replace(level=level)


def _parameters(start: Start) -> FloatArray:
    """Where fits start, as compiled loops read it, shape ``(n, 8)``."""
    affine, centre, gain, level = _arrays(start)
    return np.concatenate([affine.reshape(len(gain), 4), centre, gain[:, None], level[:, None]], 1).astype(float)


def _model(entry: Entry, probe: Probe) -> Model:
    """An entry whose disks have windows of their own, as the compiled loop reads it."""
    tables, grid = probe.compared
    disks = entry.disks if probe is entry.probe else NO_IMAGES  # a blurred probe has lost them
    return Model(
        tables[None], np.zeros(1, np.int64), grid, entry.background.astype(np.float32)[None],
        np.ascontiguousarray(entry.reflections, float),
        np.ascontiguousarray(entry.intensity, float), np.ascontiguousarray(entry.priors.spread, float),
        float(probe.radius), float(entry.variance_floor), probe.half, float(entry.priors.coherence),
        disks.tables, float(disks.step),
    )  # fmt: skip


def _disks(entry: Entry, probe: Probe) -> Disks:
    """An entry whose disks overlap, as the compiled loop reads it."""
    inner, outer = entry.annulus or (0.0, np.inf)
    return Disks(
        probe.squares, entry.background.astype(np.float32),
        np.ascontiguousarray(entry.reflections, float), np.ascontiguousarray(entry.intensity, float),
        np.ascontiguousarray(entry.priors.spread[:, 0], float), float(inner), float(outer), float(entry.variance_floor),
    )  # fmt: skip
