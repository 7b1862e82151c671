"""What the probe holds where it holds several crystals, or a crystal and vacuum, and its effect on the maps.

A mixture has the class and the rotation of its dominant crystal. Its strain is the mean of the crystals' strains, each
taken from a clean position nearby, weighted by their shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from cyclestrain.affine import wrap_angle
from cyclestrain.boundaries.sides import MOST, Sides
from cyclestrain.data import AffineField, BoolArray, Doubt, Fields, FloatArray, IntArray, StrainMaps
from cyclestrain.pattern import Candidates, Decomposition

__all__ = ["Mixtures"]

LEAST = 0.002
"""Share of the summed amplitudes below which a crystal's amplitude is set to zero."""
TOO_BRIGHT = 2.0
"""Standard deviations by which the summed amplitudes exceed 1 where a crystal is brighter than where it is alone."""
SMALL = 0.05
"""Share of the summed amplitudes up to which a crystal may be an error of the others."""
SURE, SURE_BESIDE_VACUUM = 4.0, 2.5
"""Standard deviations by which the summed amplitudes fall short of 1 where the crystals do not fill the whole probe.

The first holds in general, the second where vacuum lies within the reach of the probe.
"""
AROUND = ((-1, 0), (0, -1), (0, 1), (1, 0))
"""Rows and columns to the positions that share a side with one."""
BENT = 0.05
"""Rotation between neighbours, radians, from which they are not one crystal that bends."""
WIDTHS, FITTED_WIDTHS, LEAST_MORE, ENOUGH = 3.0, 6.0, 0.15, 12
"""Robust widths, the second where a position has a fit of its own, and part of what is typical, by which the best
explanation by crystals around must leave more than those by own fits to be none; and how many of these tell that.
"""
BY_CHANCE = 9.49
"""Chi-square of four numbers up to which a fit is off the dominant crystal of a mixture by its noise: 95 of a hundred
are."""
_PER_POSITION = ("position", "source", "vacuum", "amplitude", "covariance", "changed", "misfit")


@dataclass(frozen=True)
class Mixtures:
    """What the probe holds at positions near a change of crystal.

    Attributes
    ----------
    position
        Flat index, ascending, shape ``(n,)``.
    source
        Flat index of the position that each crystal's transform is taken from, the position itself first, -1 for none,
        shape ``(n, 1 + MOST)``.
    vacuum
        Positions where what the crystals do not fill is vacuum, shape ``(n,)``.
    amplitude
        Amplitude of each crystal over its gain where it is alone, shape ``(n, 1 + MOST)``; all zero where no pattern
        was decomposed.
    covariance
        Covariance of the amplitudes, shape ``(n, 1 + MOST, 1 + MOST)``.
    changed
        Positions that hold something else than their own fit says: several crystals, or another one, shape ``(n,)``.
    misfit
        Chi-square per pixel that the best explanation leaves, shape ``(n,)``.
    """

    position: IntArray
    source: IntArray
    vacuum: BoolArray
    amplitude: FloatArray
    covariance: FloatArray
    changed: BoolArray
    misfit: FloatArray

    @classmethod
    def found(cls, sides: Sides, candidates: Candidates, decomposition: Decomposition) -> Mixtures:
        """What some positions hold; a single crystal that the position's own fit is a copy of counts as the own fit.

        Parameters
        ----------
        sides
            The positions and the crystals around each.
        candidates
            Crystals that the patterns were explained with.
        decomposition
            Amplitude of each candidate in the patterns.
        """
        chosen = decomposition.amplitude > LEAST * decomposition.amplitude.sum(1, keepdims=True)
        amplitude = np.where(chosen, decomposition.amplitude, 0.0)
        scatter = (sides.scatter * amplitude[:, :, None]) ** 2 * np.eye(1 + MOST)
        # Crystals that fill more than the probe are not as bright as they were taken to be, it is unknown which.
        error = np.sqrt(decomposition.covariance.sum((1, 2)))
        beyond = np.where(amplitude.sum(1) > 1.0 + TOO_BRIGHT * error, amplitude.sum(1) - 1.0, 0.0)
        scatter += (beyond[:, None] * amplitude)[:, :, None] ** 2 * np.eye(1 + MOST)
        alone, first = chosen.sum(1) == 1, chosen.argmax(1)
        own = alone & ((first == 0) | (first == candidates.like))
        source = np.column_stack([sides.position, sides.source])
        source[own, first[own]] = sides.position[own]
        return cls(
            sides.position, source, sides.vacuum, amplitude, decomposition.covariance + scatter,
            chosen.any(1) & ~own, decomposition.misfit,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[Mixtures]) -> Mixtures:
        """All positions of some blocks (at least one), in ascending order."""
        order = np.argsort(np.concatenate([part.position for part in parts]))
        arrays = {name: np.concatenate([getattr(part, name) for part in parts])[order] for name in _PER_POSITION}
        return cls(**arrays)

    def updated(self, later: Mixtures) -> Mixtures:
        """With what a later look found at its positions."""
        kept = ~np.isin(self.position, later.position)
        rest = Mixtures(**{name: getattr(self, name)[kept] for name in _PER_POSITION})
        return Mixtures.joined([rest, later])

    def told(self, shape: tuple[int, int]) -> BoolArray:
        """Mask of the positions that hold several crystals, each with more than a small share.

        Parameters
        ----------
        shape
            Scan ``(ry, rx)``.
        """
        several = self.amplitude > SMALL * self.amplitude.sum(1, keepdims=True)
        return self._mask(several.sum(1) > 1, shape)

    def from_mixtures(self, shape: tuple[int, int]) -> BoolArray:
        """Mask of the positions that hold a crystal whose transform is that of another mixture, see `told` for `shape`.

        The maps of such a position are those of its dominant crystal, which may be another one.
        """
        used, changed = (self.amplitude > 0) & (self.source != self.position[:, None]), self._mask(self.changed, shape)
        return self._mask((used & changed.ravel()[self.source]).any(1), shape)

    def _mask(self, which: BoolArray, shape: tuple[int, int]) -> BoolArray:
        """Mask of the scan, ``(ry, rx)``, of those of the positions that are chosen, shape ``(n,)``."""
        out = np.zeros(shape, bool)
        out.flat[self.position[which]] = True
        return out

    def only(self, good: BoolArray) -> Mixtures:
        """Mixtures all of whose crystals are taken from positions that are `good`, shape ``(ry, rx)``."""
        there = self.amplitude > 0
        keep = there.any(1) & (good.ravel()[self.source] | ~there).all(1)
        return Mixtures(**{name: getattr(self, name)[keep] for name in _PER_POSITION})

    def unexplained(self, fitted: BoolArray) -> BoolArray:
        """Positions that none of the crystals around explain about as well as own fits explain others, shape ``(n,)``.

        Such a position holds a crystal that was found nowhere, and looks the more like one of these the less they fit.

        Parameters
        ----------
        fitted
            Positions with a fit of their own that can be used, shape ``(ry, rx)``: more has to speak against what is
            said of these.
        """
        own = ~self.changed & (self.amplitude > 0).any(1)
        known = self.misfit[own if own.sum() >= ENOUGH else slice(None)]
        if len(known) < ENOUGH:
            return np.zeros(len(self.misfit), bool)
        typical, high = np.quantile(known, [0.5, 0.84])
        widths = np.where(fitted.ravel()[self.position], FITTED_WIDTHS, WIDTHS)
        return self.changed & (self.misfit > typical + np.maximum(widths * (high - typical), LEAST_MORE * typical))

    @property
    def weight(self) -> FloatArray:
        """Share of each crystal in what the crystals fill, shape ``(n, 1 + MOST)``; each row sums to 1."""
        return self.amplitude / self.amplitude.sum(1, keepdims=True)

    @property
    def weight_covariance(self) -> FloatArray:
        """Covariance of `weight`, shape ``(n, 1 + MOST, 1 + MOST)``."""
        jac = (np.eye(1 + MOST) - self.weight[:, :, None]) / self.amplitude.sum(1)[:, None, None]
        return jac @ self.covariance @ jac.swapaxes(1, 2)

    @property
    def filled(self) -> FloatArray:
        """Part of the probe that the crystals fill, 1 unless they surely fill less, shape ``(n,)``."""
        total, sure = self.amplitude.sum(1), np.where(self.vacuum, SURE_BESIDE_VACUUM, SURE)
        return np.where(total < 1.0 - sure * self.filled_error, total, 1.0)

    @property
    def filled_error(self) -> FloatArray:
        """Standard deviation of the summed amplitudes, shape ``(n,)``."""
        return np.sqrt(self.covariance.sum((1, 2)))

    @property
    def dominant(self) -> IntArray:
        """Index, along the last axis of `amplitude`, of the crystal with the largest share, shape ``(n,)``."""
        return self.amplitude.argmax(1)

    @property
    def doubt(self) -> FloatArray:
        """Probability of each crystal to be dominant instead of `dominant`, 0 for that one, shape ``(n, 1 + MOST)``.

        Where none has half of what is filled, at least its share: two of the others may be parts of one crystal.
        """
        first, weight, covariance = self.dominant[:, None], self.weight, self.weight_covariance
        lead = np.take_along_axis(weight, first, 1) - weight
        variance = np.einsum("nii->ni", covariance)
        cross = np.take_along_axis(covariance, first[:, :, None], 1)[:, 0]
        variance = variance + np.take_along_axis(variance, first, 1) - 2 * cross
        chance = ndtr(-lead / np.sqrt(np.maximum(variance, 1e-12)))
        minority = weight.max(1, keepdims=True) < 0.5
        chance = np.where(minority, np.maximum(chance, weight), chance)
        np.put_along_axis(chance, first, 0.0, 1)
        return np.asarray(chance)

    def _of(self, crystals: BoolArray) -> FloatArray:
        """Share of some of the crystals, shape ``(n, 1 + MOST)``, in what all of them fill, shape ``(n,)``."""
        return np.where(crystals & (self.amplitude > 0), self.weight, 0.0).sum(1)

    def holding(self, crystals: BoolArray) -> BoolArray:
        """Mask of the positions of which crystals of some other positions are more than a small share.

        Parameters
        ----------
        crystals
            Positions whose crystals they are, shape ``(ry, rx)``.
        """
        return self._mask(self._of((self.source >= 0) & crystals.ravel()[self.source]) > SMALL, crystals.shape)

    def _dominated(self, context: AffineField) -> AffineField:
        """Field in which every mixture has the affine and the label of its dominant crystal."""
        origin = np.take_along_axis(self.source, self.dominant[:, None], 1)[self.changed, 0]
        out = {}
        for name in ("affine", "covariance", "label", "valid"):
            given = getattr(context, name)
            values = given.reshape(-1, *given.shape[2:]).copy()
            values[self.position[self.changed]] = values[origin]
            out[name] = values.reshape(given.shape)
        return replace(context, **out)

    def _as_one(self, alone: AffineField, dominated: AffineField) -> AffineField:
        """Fits of one crystal each, with sigmas that hold how far those of mixtures are from the dominant crystal.

        A second crystal whose disks lie near draws such a fit towards it, by more than its noise and misfit say.

        Parameters
        ----------
        alone
            What each pattern alone led to.
        dominated
            See `_dominated`.
        """
        at = self.position[self.changed]
        at = at[(alone.label.flat[at] >= 0) & (alone.label.flat[at] == dominated.label.flat[at])]
        one, dominant = (field.affine.reshape(-1, 1, 2, 2)[at] for field in (alone, dominated))
        variants = dominant @ alone.operator_table.operators[alone.label.flat[at]]  # every labelling of it
        off = (one - variants).reshape(*variants.shape[:2], 4)
        off = off[np.arange(len(at)), (off**2).sum(2).argmin(1)]
        covariance = alone.covariance.reshape(-1, 4, 4).copy()
        known = np.isfinite(off).all(1) & np.isfinite(covariance[at]).all((1, 2))
        at, off = at[known], off[known]
        square = np.einsum("ni,nij,nj->n", off, np.linalg.pinv(covariance[at]), off)
        beyond = 1.0 - BY_CHANCE / np.maximum(square, BY_CHANCE)
        covariance[at] += beyond[:, None, None] * off[:, :, None] * off[:, None, :]
        return replace(alone, covariance=covariance.reshape(alone.covariance.shape))

    def with_dominant_crystal(self, found: Fields) -> Fields:
        """Fields whose context has the dominant crystal of every mixture, or vacuum; with shares, confidence, doubt."""
        context, n, first = self._dominated(found.context), np.arange(len(self.position)), self.dominant
        found = replace(found, affine=self._as_one(found.affine, context))
        share, confidence = (context.label.ravel() >= 0).astype(float), found.confidence.ravel().copy()
        sigma, weight, filled = np.zeros(share.shape), self.weight[n, first], self.filled
        share[self.position] = weight * filled
        of_filled = np.where(self.vacuum | (filled < 1.0), self.filled_error, 0.0)
        sigma[self.position] = np.hypot(filled * np.sqrt(self.weight_covariance[n, first, first]), weight * of_filled)
        label = context.label.ravel()[self.source]
        doubt = (self.doubt * ((self.source >= 0) & (label != label[n, first][:, None]))).sum(1)
        confidence[self.position] = confidence[self.source[n, first]] * (1.0 - np.minimum(doubt, 0.5))
        maps = {"share": share, "share_sigma": sigma, "confidence": confidence}
        shape = context.label.shape
        shaped: dict[str, Any] = {name: values.reshape(shape) for name, values in maps.items()}
        mostly_vacuum = self._mask(self.vacuum & (filled < 0.5), shape)
        affine, context = (
            replace(field, label=np.where(mostly_vacuum, -1, field.label), valid=field.valid & ~mostly_vacuum)
            for field in (found.affine, context)
        )
        odd = self._mask(self.unexplained(found.affine.usable), shape) & ~mostly_vacuum
        context = replace(context, valid=context.valid & ~odd)
        found = replace(found, affine=affine, context=context, sample=found.sample & ~mostly_vacuum, **shaped)
        found = found.doubted(odd, Doubt.MISFIT | Doubt.OTHER_STRUCTURE)
        several = self._mask((self.amplitude > 0).sum(1) > 1, shape)
        beside = self._mask(np.ones(len(n), bool), shape)
        return found.doubted(several, Doubt.MIXTURE).doubted(beside & ~several & ~mostly_vacuum, Doubt.BOUNDARY)

    def blend(self, maps: StrainMaps, context: AffineField) -> StrainMaps:
        """Strain maps in which a mixture has the mean strain of its crystals and the rotation of the dominant one.

        It has none if more than a small share of it is of crystals without.

        Parameters
        ----------
        maps
            Strain of the (dominant) crystal of every position, in any axes.
        context
            Field that `maps` were computed from.
        """
        n, first = np.arange(len(self.position)), self.dominant
        flat = np.stack([maps.eyy, maps.exx, maps.exy, maps.rotation], -1).reshape(-1, 4)
        values = flat[np.where(self.source >= 0, self.source, self.position[:, None])]
        defined = np.isfinite(values).all(2)
        values = np.where(defined[..., None], values, values[n, first][:, None])
        mean = np.einsum("nk,nkc->nc", self.weight, values)
        mean[:, 3] = values[n, first, 3]
        covariance = maps.covariance.reshape(-1, 4, 4).copy()
        far = self._far(flat, context)
        covariance[self.position] = self._covariance(covariance, values - mean[:, None], far, context)
        undefined = self._of(~defined)
        unknown = np.where(self.vacuum, 0.0, 1.0 - self.filled) + undefined  # of some other crystal of the scan
        covariance[self.position[:, None], range(3), range(3)] += (unknown**2)[:, None] * np.nanvar(flat[:, :3], 0)
        flat[self.position[self.changed]] = mean[self.changed]
        flat[self.position[undefined > SMALL]] = np.nan
        flat[~context.valid.ravel()] = np.nan
        shape = maps.exx.shape
        eyy, exx, exy, rotation = (flat[:, c].reshape(shape) for c in range(4))
        return StrainMaps(eyy, exx, exy, rotation, covariance.reshape(*shape, 4, 4), maps.gradient)

    def _far(self, flat: FloatArray, context: AffineField) -> FloatArray:
        """How far strain and rotation of each crystal may have changed since the position they are taken from.

        By as much for each position in between as they change there, between neighbours of one entry that are turned
        against each other by little; shape ``(n, 1 + MOST, 4)``.
        """
        source = np.where(self.source >= 0, self.source, self.position[:, None])
        rows, columns = context.label.shape
        label = np.where(context.usable, context.label, -1).ravel()
        places, at = np.unique(source, return_inverse=True)
        y, x = np.divmod(places, columns)
        square, count = np.zeros((len(places), 4)), np.zeros(len(places))
        for dy, dx in AROUND:
            v, u = np.clip(y + dy, 0, rows - 1), np.clip(x + dx, 0, columns - 1)
            there = v * columns + u
            change = np.abs(flat[there] - flat[places])
            near = (there != places) & (label[there] == label[places]) & (label[places] >= 0)
            near &= np.isfinite(change).all(1) & (change[:, 3] < BENT)
            square[near] += change[near] ** 2
            count += near
        step = np.sqrt(square / np.maximum(count, 1)[:, None])[at.reshape(source.shape)]
        down, across = (
            a - b[:, None] for a, b in zip(np.divmod(source, columns), np.divmod(self.position, columns), strict=True)
        )
        return np.asarray(step * np.hypot(down, across)[..., None])

    def _covariance(self, covariance: FloatArray, off: FloatArray, far: FloatArray, context: AffineField) -> FloatArray:
        """Covariance of the mean: that of the crystals' strains, of their shares, and of which one is the dominant.

        Parameters
        ----------
        covariance
            Of the strain of every position, flat.
        off
            Strain and rotation of each crystal relative to the mean, shape ``(n, 1 + MOST, 4)``.
        far
            See `_far`.
        context
            See `blend`.
        """
        n, first = np.arange(len(self.position)), self.dominant
        period = 2 * np.pi / context.operator_table.order[context.label.ravel()[self.source[n, first]]]
        turn, off = wrap_angle(off[..., 3], period[:, None]), off * (1.0, 1.0, 1.0, 0.0)
        share = np.repeat(self.weight[:, :, None], 4, 2)
        share[..., 3] = np.arange(1 + MOST) == first[:, None]
        each = np.nan_to_num(covariance[self.source]) + far[..., None] ** 2 * np.eye(4)
        out = np.einsum("nkc,nkl,nld->ncd", off, self.weight_covariance, off)
        out += np.einsum("nkc,nkcd,nkd->ncd", share, each, share)
        out[:, 3, 3] += (self.doubt * turn**2).sum(1)
        return np.asarray(out)
