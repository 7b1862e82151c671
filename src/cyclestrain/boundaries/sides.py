r"""Boundaries: positions where the probe holds several crystals, or a crystal and vacuum.

Near a change of crystal each pattern is explained as a mixture of the crystals around it
(`cyclestrain.pattern.decompose`). What these look like is known from clean positions of each side, much better than
from the pattern itself. A mixture has to explain the pattern better than its own single fit does, so that a smooth
field, where neighbours differ as well, has none. How far from an edge mixtures are looked for is read off the gain,
which is smaller where a part of the probe is elsewhere. Crystals that lie above each other have no edge nearby; there a
single fit explains the pattern badly, and the crystals of a wider neighbourhood are tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from scipy.ndimage import distance_transform_cdt

from cyclestrain.boundaries.overlaps import around_overlaps, find_overlaps, stands_out
from cyclestrain.boundaries.sources import UNKNOWN, FlatField, compare_neighbours, find_sources
from cyclestrain.data import (
    IN_TURN,
    AffineField,
    BoolArray,
    FloatArray,
    IntArray,
    OperatorTable,
    Spread,
    Tile,
    tiles_of,
)
from cyclestrain.loops import on_threads
from cyclestrain.pattern import Candidates, Dictionary
from cyclestrain.strain import Lattices, is_same_crystal, nearest_step

__all__ = ["COST", "MOST", "Sides", "find_sides", "lattices_of"]

MOST = 3
"""Most crystals of the surroundings that a pattern is explained with."""
COST = np.array([13.0, *[1.0] * MOST])
"""Chi-square that a crystal costs: the pattern's own fit, with a transform of its own, and known ones."""
AGREEING = 3
"""Neighbours of its own kind that make a position a source where there is no clean one."""
APART, LEAST_APART = 0.3, 0.5
"""Disks farther apart are two, in disk radii and at least in pixels: nearer ones a single fit sees as one."""
FURTHEST = 4
"""Largest distance from an edge at which mixtures are looked for, positions."""
FARTHEST_SOURCE = 16.0
"""Largest distance of the crystals that may lie above each other at a position that is explained badly."""
LEAST_BESIDE = 0.1
"""Least share that is told of a crystal where a pattern is only looked at because mixtures are beside it.

What a background or a probe that is a little off leaves, a few hundredths of another crystal explain in every pattern,
and areas of mixtures would go on growing.
"""
LACKING = 0.01
"""Share of the gain that has to be lacking at some distance from an edge for mixtures to be looked for there."""
VACUUM = -1
"""Label of a position without a crystal."""


@nb.njit(cache=True)
def _own_likeness(label: Any, affine: Any, variance: Any, lattices: Any, like: Any) -> None:  # pragma: no cover
    """Number of the candidate that the first one is a copy of, -1 for none."""
    for n in range(len(label)):
        like[n] = -1
        for k in range(1, label.shape[1]):
            if label[n, 0] >= 0 and label[n, 0] == label[n, k] and like[n] < 0:
                both = variance[n, 0] + variance[n, k]
                if is_same_crystal(affine[n, 0], affine[n, k], both, label[n, 0], lattices):
                    like[n] = k


@nb.njit(cache=True)
def _departures(label: Any, affine: Any, lattices: Any, out: Any) -> None:  # pragma: no cover
    """How far each candidate is from the first one, in the nearest labelling: `out` times a reflection, in pixels."""
    for n in range(len(label)):
        k = label[n, 0]
        if k < 0:
            continue
        root = np.linalg.cholesky(lattices.moment[k])
        for m in range(label.shape[1]):
            if label[n, m] != k:
                continue
            nearest_step(affine[n, 0], affine[n, m], k, lattices, out[n, m])
            out[n, m] = out[n, m] @ root


_PER_POSITION = ("position", "source", "gain", "vacuum", "beside", "label", "affine", "variance", "noise")


@dataclass(frozen=True)
class Sides:
    """Positions near a change of crystal, and the crystals around them.

    Attributes
    ----------
    position
        Flat index, ascending, shape ``(n,)``.
    source
        Flat index of the position that stands for each crystal, nearest first, -1 for none, shape ``(n, MOST)``.
    gain
        Mean brightness of each crystal at such positions, shape ``(n, MOST)``.
    vacuum
        There is vacuum within the reach of the probe, shape ``(n,)``.
    beside
        Nothing but mixtures beside it is a reason to look there, shape ``(n,)``.
    scatter
        Relative scatter of the gain between clean neighbours beyond that of counting.
    label, affine, variance
        Dictionary entry (-1 for none), affine and largest variance of its elements at each source, shapes ``(n,
        MOST)``, ``(n, MOST, 2, 2)`` and ``(n, MOST)``.
    noise
        Variance of each crystal, without what neighbours have in common, at the position around that knows it best:
        next to an edge, fits of blends make a crystal seem less known than it is, shape ``(n, MOST)``.
    lattices
        Of every entry.
    overlap
        Positions in and beside areas where crystals were found above each other, shape ``(ry, rx)``.
    """

    position: IntArray
    source: IntArray
    gain: FloatArray
    vacuum: BoolArray
    beside: BoolArray
    scatter: float
    label: IntArray
    affine: FloatArray
    variance: FloatArray
    noise: FloatArray
    lattices: Lattices
    overlap: BoolArray

    def within(self, first: int, last: int) -> Sides:
        """Those of a block of consecutive positions.

        Parameters
        ----------
        first, last
            Flat positions at its ends, both included.
        """
        return self._only(slice(*np.searchsorted(self.position, [first, last + 1])))

    def unlike(self, others: Sides) -> Sides:
        """Those whose crystals around are not what `others` say of the same position, bit by bit."""
        if not len(others.position) or self.scatter != others.scatter:
            return self
        there = np.minimum(np.searchsorted(others.position, self.position), len(others.position) - 1)
        alike = np.ones(len(self.position), bool)
        for name in _PER_POSITION:
            equal = getattr(self, name) == getattr(others, name)[there]
            alike &= equal.all(tuple(range(1, equal.ndim)))
        return self._only(~alike)

    def _only(self, which: Any) -> Sides:
        some: dict[str, Any] = {name: getattr(self, name)[which] for name in _PER_POSITION}
        return replace(self, **some)

    def candidates(
        self, label: IntArray, affine: FloatArray, variance: FloatArray, shared: FloatArray, centre: FloatArray
    ) -> Candidates:
        """Crystals that the positions may hold, first their own fits.

        Parameters
        ----------
        label, affine, variance
            Entry, affine and largest variance of each position's own fit, shapes ``(n,)``, ``(n, 2, 2)`` and ``(n,)``;
            fits that are not finite take no part.
        shared
            Share of the own fit's variance that neighbours have in common: it is no reason to doubt what they show,
            shape ``(n,)``.
        centre
            Beam centre ``(y, x)``, pixels, shape ``(n, 2)``.
        """
        finite = np.isfinite(affine).all((1, 2)) & np.isfinite(variance)
        labels = np.column_stack([np.where(finite, label, -1), self.label])
        affines = np.concatenate([np.where(finite[:, None, None], affine, np.eye(2))[:, None], self.affine], 1)
        variances = np.column_stack([np.where(finite, variance, 0.0), self.variance])
        like = np.empty(len(labels), np.int64)
        _own_likeness(labels, affines, variances, self.lattices, like)
        nearest = np.take_along_axis(self.gain, np.maximum(like - 1, 0)[:, None], 1)
        off = np.full(affines.shape, np.nan)
        _departures(labels, affines, self.lattices, off)
        overlap = self.lattices.radius[np.maximum(labels[:, 0], 0)]
        moment = np.einsum("nii->n", self.lattices.moment)[np.maximum(labels, 0)]
        noise = np.column_stack([variances[:, 0] * (1.0 - shared), self.noise])
        return Candidates(
            labels, affines, np.concatenate([nearest, self.gain], 1), like, centre,
            off, overlap, np.sqrt(noise * moment), np.where(self.beside, LEAST_BESIDE, 0.0),
        )  # fmt: skip


def lattices_of(dictionary: Dictionary, operators: OperatorTable) -> Lattices:
    """Lattices of a dictionary, with how far apart their disks have to be to be told apart.

    Parameters
    ----------
    dictionary
        The entries.
    operators
        Equivalent labellings of each.
    """
    moment = [
        np.einsum("g,gi,gj->ij", e.intensity, e.reflections, e.reflections) / e.intensity.sum()
        for e in dictionary.entries
    ]
    apart = [max(APART * e.probe.radius, LEAST_APART) for e in dictionary.entries]
    radius = np.array([e.probe.radius for e in dictionary.entries])
    return Lattices(operators.operators, operators.order, np.array(moment), np.array(apart), radius)


def find_sides(
    context: AffineField,
    gain: FloatArray,
    significance: FloatArray,
    misfit: FloatArray,
    lattices: Lattices,
    mixed: BoolArray | None = None,
    *,
    wanted: BoolArray | None = None,
    spread: Spread = IN_TURN,
) -> Sides:
    """Find positions that may hold several crystals, and the crystals around each.

    Parameters
    ----------
    context
        Smoothed affine of every position; label -1 where there is no crystal.
    gain, significance
        Brightness of every position and its own over its standard deviation, shape ``(ry, rx)``.
    misfit
        Chi-square per degree of freedom of the single fits, shape ``(ry, rx)``: where it stands out, another crystal
        may lie above or below however far away the next edge is.
    lattices
        Those of the dictionary, see `lattices_of`.
    mixed
        Positions that were told as mixtures in an earlier look, shape ``(ry, rx)``: no crystal is taken from there, and
        where they are more than the edge of a crystal what is beside them is looked at as well.
    wanted
        Positions that are asked for besides those in `Sides.overlap`, shape ``(ry, rx)``; by default all.
    spread
        Where the tiles of the scan are searched, which gives the same bits everywhere.
    """
    field = FlatField.of(context, lattices)
    shape, n = context.label.shape, context.label.size
    agreeing, differing = np.zeros(n, np.int64), np.zeros(n, np.int64)
    on_threads(compare_neighbours, len(field.label), field, agreeing, differing)
    crystal = (field.label >= 0).reshape(shape)
    distance = _distance(differing.reshape(shape) > 0)
    reach = _reach(distance, crystal, gain)
    blended = stands_out(misfit, context.label)
    mixed = np.zeros(shape, bool) if mixed is None else mixed
    overlap = around_overlaps(mixed, reach)
    odd = find_overlaps(blended, distance > reach) | overlap
    clean = crystal & (distance > reach) & ~odd & ~mixed
    at_edge = (distance <= reach) & crystal | (field.label == UNKNOWN).reshape(shape)
    looked_at = at_edge | odd
    if wanted is not None:
        looked_at &= overlap | wanted
    rank = np.where(clean.ravel(), 2, ((agreeing >= AGREEING) & ~(blended | mixed).ravel()).astype(np.int64))
    offsets = _offsets(FARTHEST_SOURCE)
    near = int(((offsets**2).sum(1) <= (reach + 1.9) ** 2).sum())
    seen = np.where(looked_at, np.where(odd | blended | mixed, len(offsets), near), 0).ravel()
    position = np.flatnonzero(looked_at)
    source, brightness, noise = _nothing_found(len(position))

    def part(tile: Tile) -> _Around:
        gain_there = tile.cut(np.nan_to_num(gain).ravel())
        return _Around(tile, field.cut(tile), gain_there, tile.cut(rank), tile.cut(seen), near, offsets)

    for _, (at, *found) in spread.over(tiles_of(shape, spread.side, int(FARTHEST_SOURCE) + 1), _sources, part):
        here = np.searchsorted(position, at)
        source[here], brightness[here], noise[here] = found
    some = source[:, 0] >= 0
    scatter = _scatter(gain, significance, clean)
    vacuum = _distance((field.label == VACUUM).reshape(shape)).ravel() <= reach + 2
    position, source, brightness, noise = position[some], source[some], brightness[some], noise[some]
    label = np.where(source >= 0, field.label[source], -1)
    return Sides(
        position, source, brightness, vacuum[position], (overlap & ~at_edge & ~blended).ravel()[position], scatter,
        label, field.affine[source], field.variance[source], noise, lattices, overlap,
    )  # fmt: skip


class _Around(NamedTuple):
    """What tells the crystals around the positions of a tile."""

    tile: Tile
    field: FlatField
    gain: FloatArray
    rank: IntArray
    seen: IntArray  # how many of the offsets are looked at where `near` hold fewer than two crystals; 0 for no look
    near: int
    offsets: IntArray


def _sources(around: _Around) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Flat positions of the tile that are looked at, and sources, gains and noise of the crystals around each."""
    tile, field, gain, rank, seen, near, offsets = around
    inside = np.zeros(tile.shape, bool)
    inside[tile.inner] = True
    at = np.flatnonzero(inside.ravel() & (seen > 0))
    source, brightness, noise = found = _nothing_found(len(at))
    looks = np.column_stack([at, np.full(len(at), near), seen[at]])
    on_threads(find_sources, len(at), field, gain, rank, offsets, looks, found)
    return tile.in_scan(at), np.where(source >= 0, tile.in_scan(source), -1), brightness, noise


def _nothing_found(n: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Sources, gains and noise of the crystals around some positions before any is found."""
    return np.full((n, MOST), -1), np.zeros((n, MOST)), np.full((n, MOST), np.inf)


def _distance(near: BoolArray) -> IntArray:
    """Distance from the nearest of some positions, 1 at these themselves."""
    if not near.any():
        return np.full(near.shape, FURTHEST + 2)
    return np.asarray(1 + distance_transform_cdt(~near, "chessboard"))


def _offsets(radius: float) -> IntArray:
    """Steps to all positions within a radius, nearest first."""
    most = int(radius)
    y, x = (axis.ravel() for axis in np.mgrid[-most : most + 1, -most : most + 1])
    order = np.argsort(y**2 + x**2, kind="stable")
    inside = order[(y**2 + x**2)[order] <= radius**2]
    return np.stack([y, x], 1)[inside[1:]]


def _differences(gain: FloatArray, here: BoolArray, there: BoolArray) -> FloatArray:
    """Relative differences of the gain between neighbours, of which one is `here` and the other `there`."""
    out = [np.empty(0)]
    for one, two in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        for a, b in ((one, two), (two, one)):
            pair = here[a] & there[b]
            out.append(1.0 - gain[a][pair] / gain[b][pair])
    joined = np.concatenate(out)
    return joined[np.isfinite(joined)]


def _scatter(gain: FloatArray, significance: FloatArray, clean: BoolArray) -> float:
    """Relative scatter of the gain between clean neighbours beyond that of counting."""
    differences = _differences(gain, clean, clean)
    if not len(differences):
        return 0.0
    return float(np.sqrt(max(np.mean(differences**2) / 2 - np.mean(1.0 / significance[clean] ** 2), 0.0)))


def _reach(distance: IntArray, crystal: BoolArray, gain: FloatArray) -> int:
    """Largest distance from an edge at which some of the gain is lacking, at least 1."""
    for reach in range(1, FURTHEST):
        lacking = _differences(gain, crystal & (distance == reach + 1), crystal & (distance == reach + 2))
        if len(lacking) < 10:
            return reach
        error = lacking.std() / np.sqrt(len(lacking))
        if lacking.mean() < max(LACKING, 4.0 * error):
            return reach
    return FURTHEST
