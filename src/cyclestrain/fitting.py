"""Every pattern's transform: coarse rotation, refinement, and a second look that starts from the neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from cyclestrain.beam import locate_beam
from cyclestrain.boundaries import COST, Sides, find_sides
from cyclestrain.coarse import (
    Templates,
    align,
    class_confidence,
    correlations,
    mean_of_members,
    neighbour_members,
    to_polar,
)
from cyclestrain.data import AffineField, Block, BoolArray, Calibration, FloatArray, IntArray, Scan
from cyclestrain.infer import infer
from cyclestrain.io import check_patterns
from cyclestrain.mixtures import Mixtures
from cyclestrain.model.autoencoder import Autoencoder
from cyclestrain.model.dictionary import Dictionary, Entry
from cyclestrain.model.mixture import Palette, decompose
from cyclestrain.model.windows import gather
from cyclestrain.neighbourhood import Correlated, surrounded
from cyclestrain.refine import PatternFit, Start, approach, predicted_positions, refine
from cyclestrain.result import Fields
from cyclestrain.runfolder import RunFolder
from cyclestrain.strain import agreeing_neighbours

__all__ = ["SUMS", "Knowledge", "Store", "centre_prior", "fit_scan", "revisit", "to_fields"]

CHUNK = 512
"""Patterns fitted at a time: their windows stay in the processor's cache and memory stays small."""
SURE_SIGNIFICANCE = 8.0
MIN_SIGNIFICANCE = 5.0
FAINT_SIGNIFICANCE = 2.5
"""Significance from which a pattern counts as crystal: alone, where two and where three of its neighbours agree.

The best of all rotations of an empty pattern has more than 5 in one of a hundred, and never had 8.
"""
ENCLOSING = 0.5
"""Share of agreeing crystals among the neighbours of a position that is within a crystal."""
SUMS = (1, 2)
"""Half widths of the squares of positions that are summed where patterns are faint, one after the other."""
HOPELESS = 3.5
"""Significance of a sum below which no larger one is tried: most of vacuum."""
MIN_GAIN = 0.05
"""Least brightness of a crystal relative to its entry: a blank pattern fits any transform with certainty."""
MAX_STRAIN = 0.15
GAIN_REACH = 2
"""Half width of the square over which the brightness of crystals is averaged."""
VAGUE_POSITION = 0.12
"""Uncertainty of the outermost reflection, pixels, from which a pattern is fitted again from its neighbours."""


@dataclass(frozen=True)
class Knowledge:
    """All that is learned before the first pattern is fitted for good.

    `correlation_noise` is the standard deviation of the correlation of a pattern with the template of its class.
    """

    calibration: Calibration
    templates: Templates
    dictionary: Dictionary
    correlation_noise: float = 1.0


def centre_prior(calibration: Calibration) -> float:
    """Standard deviation of the beam centre that the fit is given, pixels."""
    return max(0.1, 3.0 * calibration.centre_sigma)


@dataclass
class Store:
    """Outcome of every position, filled block by block.

    `beam` is the centre each fit was given as its prior, `summed` the significance of the sum with the neighbours where
    a position was fitted from one, `shared` as in `AffineField`.
    """

    affine: FloatArray
    covariance: FloatArray
    centre: FloatArray
    beam: FloatArray
    gain: FloatArray
    misfit: FloatArray
    significance: FloatArray
    label: IntArray
    confidence: FloatArray
    summed: FloatArray
    shared: FloatArray

    @classmethod
    def empty(cls, n: int) -> Store:
        """Nothing known of `n` positions."""
        return cls(
            np.full((n, 2, 2), np.nan),
            np.full((n, 4, 4), np.nan),
            np.full((n, 2), np.nan),
            np.full((n, 2), np.nan),
            np.full(n, np.nan),
            np.full(n, np.nan),
            np.zeros(n),
            np.full(n, -1),
            np.zeros(n),
            np.zeros(n),
            np.zeros(n),
        )


def fit_scan(
    scan: Scan,
    knowledge: Knowledge,
    advance: Any,
    run: RunFolder | None = None,
    network: Autoencoder | None = None,
) -> Store:
    """Fit every position, reading the scan once: by maximum likelihood, or with a trained network alone."""
    store = Store.empty(scan.n_positions)
    centres = knowledge.calibration.centre.reshape(-1, 2)
    done = run.restore(vars(store)) if run else np.zeros(scan.n_positions, bool)
    advance(int(done.sum()))
    for block in scan.blocks(done=done):
        at = block.positions
        check_patterns(block.patterns, int(at[0]))
        store.beam[at] = locate_beam(block.patterns, knowledge.calibration, centres[at])
        if network is None:
            _fit_block(block, scan, knowledge, store, advance)
        else:
            _encode_block(block, store.beam, knowledge, network, store)
            advance(len(block.positions))
        if run:
            run.save_block(block.positions, vars(store))
    return store


def _fit_block(block: Block, scan: Scan, knowledge: Knowledge, store: Store, advance: Any) -> None:
    centres = store.beam
    correlation = _correlations(block, centres, knowledge)
    alone = align(correlation)
    store.label[block.positions] = alone.label
    store.confidence[block.positions] = class_confidence(correlation, knowledge.correlation_noise)
    for k in range(len(knowledge.dictionary.entries)):
        for part in _chunks(np.flatnonzero(alone.label == k)):
            at = block.positions[part]
            start = Start.turned(alone.theta[part], centres[at])
            fit = _fit(block.patterns[part], centres[at], start, k, knowledge)
            _keep(store, at, fit, np.ones(len(at), bool))
            advance(len(part))
    faint = block.positions[np.nan_to_num(store.significance[block.positions]) < 2 * MIN_SIGNIFICANCE]
    own, look = Correlated(block, correlation), partial(_look, knowledge, store)
    for reach in SUMS:
        for wide, part in surrounded(own, faint, scan, look, reach):
            _fit_together(wide, part, reach, scan.scan_shape, knowledge, store)
        faint = faint[(store.summed[faint] > HOPELESS) & (store.summed[faint] < SURE_SIGNIFICANCE)]


def _look(knowledge: Knowledge, store: Store, block: Block) -> Correlated:
    """Find the beam in positions that may not have been fitted yet, and correlate them."""
    at, smooth = block.positions, knowledge.calibration.centre.reshape(-1, 2)
    store.beam[at] = locate_beam(block.patterns, knowledge.calibration, smooth[at])
    return Correlated(block, _correlations(block, store.beam, knowledge))


def _fit_together(
    own: Correlated, faint: IntArray, reach: int, shape: tuple[int, int], knowledge: Knowledge, store: Store
) -> None:
    """Fit the faint positions of a block, which holds their neighbours, from the sums with these."""
    at = own.block.positions
    rows, columns = np.divmod(at, shape[1])
    for part in _chunks(np.searchsorted(at, faint)):
        members = neighbour_members(rows, columns, part, reach, store.beam[at])
        together = align(mean_of_members(own.correlation, members))
        for k in np.unique(together.label).tolist():
            mine = together.label == k
            _fit_faint(own.block, part[mine], members[mine], together.theta[mine], store.beam, k, knowledge, store)


def _encode_block(block: Block, centres: FloatArray, knowledge: Knowledge, network: Autoencoder, store: Store) -> None:
    """What the network says of a block; the likelihood is only asked how well that explains the patterns."""
    at, good = block.positions, knowledge.calibration.good
    thetas = align(_correlations(block, centres, knowledge)).thetas
    inferred = infer(network, block.patterns, good, thetas, centres[at])
    store.label[at], store.confidence[at] = inferred.label, inferred.confidence
    for k, entry in enumerate(knowledge.dictionary.entries):
        for part in _chunks(np.flatnonzero(inferred.label == k)):
            found = inferred.start
            start = Start(found.affine[part], found.centre[part], found.gain[part], found.level[part])
            fit = _refined(block.patterns[part], centres[at[part]], start, entry, knowledge, iterations=0)
            _keep(store, at[part], fit, np.ones(len(part), bool))
            store.covariance[at[part]] = inferred.affine_covariance[part] * fit.inflation[:, None, None]
    store.significance[at[inferred.is_vacuum]] = 0.0


def _chunks(index: IntArray) -> Iterator[IntArray]:
    for first in range(0, len(index), CHUNK):
        yield index[first : first + CHUNK]


def _correlations(block: Block, centres: FloatArray, knowledge: Knowledge) -> NDArray[np.float32]:
    """Correlation of a block's patterns with every template over all angles."""
    good, grid = knowledge.calibration.good, knowledge.templates.grid
    return np.concatenate(
        [
            correlations(
                to_polar(block.patterns[part], good, centres[block.positions[part]], grid), knowledge.templates
            )
            for part in _chunks(np.arange(len(block.positions)))
        ]
    )


def _fit(
    patterns: NDArray[Any],
    centres: FloatArray,
    start: Start,
    k: int,
    knowledge: Knowledge,
    members: IntArray | None = None,
) -> PatternFit:
    """Fit patterns, or sums of their `members`, from a coarse rotation."""
    entry, sigma = knowledge.dictionary.entries[k], centre_prior(knowledge.calibration)
    start = approach(patterns, knowledge.calibration.good, entry, start, centre_sigma=sigma, members=members)
    return _refined(patterns, centres, start, entry, knowledge, iterations=3, members=members)


def _fit_faint(
    block: Block,
    part: IntArray,
    members: IntArray,
    theta: FloatArray,
    centres: FloatArray,
    k: int,
    knowledge: Knowledge,
    store: Store,
) -> None:
    """Fit faint patterns from the sum of their neighbours; what they found alone stays where it is much surer.

    Alone, a faint pattern finds its best fit among all rotations, which chance makes surer by about two standard
    deviations than what it says where its neighbours are.
    """
    at, n = block.positions[part], (members >= 0).sum(1)
    start = Start.turned(theta, centres[at], n)
    summed = _fit(block.patterns, centres[at], start, k, knowledge, members)
    entry, found = knowledge.dictionary.entries[k], summed.start
    start = Start(found.affine, found.centre, np.maximum(found.gain / n, MIN_GAIN), found.level / n)
    fit = _refined(block.patterns[part], centres[at], start, entry, knowledge, iterations=1)
    store.summed[at] = np.nan_to_num(summed.significance)
    surer = np.nan_to_num(fit.significance) > np.nan_to_num(store.significance[at]) - 2.0
    store.label[at[surer]] = k
    _keep(store, at, fit, surer)


def to_fields(store: Store, shape: tuple[int, int], dictionary: Dictionary) -> Fields:
    """Maps of the outcome, with what counts as crystal and what can be trusted."""
    sample = _is_crystal(store, shape, dictionary)
    sigma = np.sqrt(np.einsum("nii->ni", store.covariance).max(1, initial=0.0))
    stretch = np.linalg.svd(np.nan_to_num(store.affine, nan=1.0), compute_uv=False)
    valid = sample & np.isfinite(sigma) & (sigma < MAX_STRAIN / 3) & (np.abs(stretch - 1).max(1) < MAX_STRAIN)
    field = _affine_field(store, shape, dictionary, np.where(sample, store.label, -1), valid)
    return Fields(
        field,
        field,
        store.centre.reshape(*shape, 2),
        store.gain.reshape(shape),
        store.misfit.reshape(shape),
        sample.reshape(shape),
        store.confidence.reshape(shape),
    )


def _affine_field(
    store: Store, shape: tuple[int, int], dictionary: Dictionary, label: IntArray, valid: BoolArray
) -> AffineField:
    return AffineField(
        store.affine.reshape(*shape, 2, 2),
        store.covariance.reshape(*shape, 4, 4),
        label.reshape(shape),
        valid.reshape(shape),
        tuple(e.operators for e in dictionary.entries),
        store.shared.reshape(shape),
    )


def _is_crystal(store: Store, shape: tuple[int, int], dictionary: Dictionary) -> BoolArray:
    """Patterns that surely show a crystal, and fainter ones that agree with two or three of their neighbours.

    Noise alone reaches a few standard deviations, since the best rotation is picked, but it picks a different one at
    every position. Where the sum with the neighbours surely shows a crystal, a pattern has to show half as much of it
    as the neighbours do.
    """
    significance = np.where(np.nan_to_num(store.gain) > MIN_GAIN, np.nan_to_num(store.significance), 0.0)
    around = np.nanquantile(_neighbours(significance.reshape(shape), np.nan), 0.75, axis=0).ravel()
    within = (store.summed > SURE_SIGNIFICANCE) & (significance > 0.5 * around)
    faint = ((significance > FAINT_SIGNIFICANCE) | within) & np.isfinite(store.covariance[:, 0, 0])
    field = _affine_field(store, shape, dictionary, store.label, faint)
    agree = agreeing_neighbours(field).ravel()
    likely = (significance > MIN_SIGNIFICANCE) & (agree >= 2)
    crystal: BoolArray = (significance > SURE_SIGNIFICANCE) | likely | (faint & (agree >= 3))
    while (found := _enclosed(store, crystal, significance, shape, dictionary)).any():
        crystal |= found
    return crystal


def _enclosed(
    store: Store, crystal: BoolArray, significance: FloatArray, shape: tuple[int, int], dictionary: Dictionary
) -> BoolArray:
    r"""What lies within crystal, is none so far and is more probably crystal than not.

    The significance is normal with variance 1 around that of the neighbours, :math:`s`, or around 0, so that it tells
    by :math:`s (z - s / 2)`. The odds before are those of the rule of succession: `n` of the 24 positions around are
    crystal. Half of the next ones are, and agree with the position, so that little vacuum beside an edge comes in.
    """
    (next_to, next_all), (around, around_all) = (_count_around(crystal.reshape(shape), reach) for reach in (1, 2))
    enclosed = (next_to >= ENCLOSING * next_all).ravel()
    at = np.flatnonzero(~crystal & enclosed & (significance > 0) & np.isfinite(store.covariance[:, 0, 0]))
    found = np.zeros(len(crystal), bool)
    if len(at):
        near = _neighbours(np.where(crystal, significance, np.nan).reshape(shape), np.nan).reshape(-1, len(crystal))
        typical, n = np.nanmedian(near[:, at], axis=0), around.ravel()[at]
        odds = typical * (significance[at] - 0.5 * typical) + np.log((n + 1) / (around_all.ravel()[at] + 1 - n))
        found[at[odds > 0]] = True
        field = _affine_field(store, shape, dictionary, store.label, crystal | found)
        found &= (agreeing_neighbours(field) >= ENCLOSING * next_all).ravel()
    return found


def revisit(scan: Scan, knowledge: Knowledge, store: Store, context: AffineField, advance: Any) -> Mixtures:
    """Fit patterns again, starting from what their neighbours say, and keep what is surer.

    Where counts are scarce the likelihood has many maxima, and climbing the nearest one loses precision: a single step
    from a good start does not. Faint patterns also try the clearest neighbour's crystal; those that showed none while
    most of their neighbours do, are left with it. Near a change of crystal the patterns are explained as mixtures.

    Parameters
    ----------
    scan, knowledge
        As for `fit_scan`.
    store
        Outcome so far; improved in place.
    context
        Smoothed affine of every position.
    advance
        Called with the number of positions done.

    Returns
    -------
    mixtures
        What the probe holds near changes of crystal.
    """
    shape = scan.scan_shape
    sides = find_sides(context, store.gain.reshape(shape), store.significance.reshape(shape))
    mixtures, palette = Mixtures.unknown(sides), Palette.of(knowledge.dictionary)
    affine, label = context.affine.reshape(-1, 2, 2), store.label.copy()
    near, lost = _teachers(context.label >= 0, store.significance.reshape(shape))
    near_affine, near_label, near_sure = affine[near], label[near], store.significance[near]
    gain = _local_gain(store, shape)
    vague, every = _is_vague(store, knowledge), np.ones(len(label), bool)
    faint = (np.nan_to_num(store.significance) < 2 * MIN_SIGNIFICANCE) & (near_sure > MIN_SIGNIFICANCE)
    for block in scan.blocks():
        for k in range(len(knowledge.dictionary.entries)):
            for mine, start, wanted, replace in (
                (label, affine, vague & ~lost, every),
                (near_label, near_affine, faint | lost, lost),
            ):
                members = np.flatnonzero((mine[block.positions] == k) & wanted[block.positions])
                for part in _chunks(members):
                    at = block.positions[part]
                    _fit_again(block.patterns[part], at, start[at], gain[at], k, knowledge, store, replace[at])
        _unmix(block, sides, palette, knowledge, store, mixtures)
        advance(len(block.positions))
    return mixtures


def _unmix(
    block: Block, sides: Sides, palette: Palette, knowledge: Knowledge, store: Store, mixtures: Mixtures
) -> None:
    """Explain the patterns of a block that are near a change of crystal."""
    part = np.arange(*np.searchsorted(sides.position, [block.positions[0], block.positions[-1] + 1]))
    calibration, at = knowledge.calibration, sides.position[part]
    variance = np.einsum("nii->ni", store.covariance[at]).max(1, initial=0.0)
    centre = np.where(np.isfinite(store.centre[at]), store.centre[at], calibration.centre.reshape(-1, 2)[at])
    candidates = sides.candidates(part, store.label[at], store.affine[at], variance, centre)
    found = decompose(block.patterns, at - block.positions[0], calibration.good, palette, candidates, COST)
    mixtures.put(part, candidates, found)


def _is_vague(store: Store, knowledge: Knowledge) -> BoolArray:
    """Positions where the outermost reflection is uncertain by a good part of the probe's edge."""
    reach = np.array([np.hypot(*e.reflections.T).max() for e in knowledge.dictionary.entries])
    sigma = np.sqrt(np.einsum("nii->ni", store.covariance).max(1, initial=0.0))
    with np.errstate(invalid="ignore"):
        return np.asarray(sigma * reach[np.maximum(store.label, 0)] > VAGUE_POSITION)


def _teachers(crystal: BoolArray, significance: FloatArray) -> tuple[IntArray, BoolArray]:
    """Which neighbour a faint pattern may learn its crystal from, flat, and where none was found within a crystal.

    There it is the clearest one that has a crystal: one that has none can be clear by chance.
    """
    there, all_around = _count_around(crystal, 1)
    lost = ~crystal & (there >= ENCLOSING * all_around)
    of_crystal = _clearest_neighbour(np.where(crystal, significance, 0.0))
    return np.where(lost, of_crystal, _clearest_neighbour(significance)).ravel(), lost.ravel()


def _clearest_neighbour(significance: FloatArray) -> IntArray:
    """Flat index of the most significant of the eight neighbours of every position."""
    values = _neighbours(np.nan_to_num(significance), -1.0)
    places = _neighbours(np.arange(significance.size).reshape(significance.shape), 0)
    return np.take_along_axis(places, values.argmax(0)[None], 0)[0]


def _neighbours(values: NDArray[Any], outside: float, reach: int = 1) -> NDArray[Any]:
    """Values of the neighbours of every position in a square of ``2 reach + 1``, shape ``(neighbour, ry, rx)``."""
    rows, columns = values.shape
    padded = np.pad(values, reach, constant_values=outside)
    around = range(2 * reach + 1)
    shifts = [(y, x) for y in around for x in around if (y, x) != (reach, reach)]
    return np.stack([padded[y : y + rows, x : x + columns] for y, x in shifts])


def _local_gain(store: Store, shape: tuple[int, int]) -> FloatArray:
    """Brightness of the crystal in every position, flat: around it where the pattern is faint, 1 where there is none.

    A single step is as long as the pattern is bright over what the step assumed.
    """
    gain = np.maximum(np.nan_to_num(store.gain), MIN_GAIN)
    weight = np.where(store.significance > 0, (np.nan_to_num(store.significance) / gain) ** 2, 0.0).reshape(shape)
    size = 2 * GAIN_REACH + 1
    known = uniform_filter(weight, size, mode="constant")
    total = uniform_filter(weight * gain.reshape(shape), size, mode="constant")
    around = np.where(known > 0, total / np.maximum(known, 1e-300), 1.0).ravel()
    return np.where(np.nan_to_num(store.significance) < 2 * MIN_SIGNIFICANCE, around, gain)


def _count_around(there: BoolArray, reach: int) -> tuple[IntArray, IntArray]:
    """How many of the neighbours of every position are `there`, and how many it has, shape ``(ry, rx)`` each."""
    some, every = (_neighbours(each, False, reach).sum(0) for each in (there, np.ones(there.shape, bool)))
    return some, every


def _fit_again(
    patterns: NDArray[Any],
    at: IntArray,
    affine: FloatArray,
    gain: FloatArray,
    k: int,
    knowledge: Knowledge,
    store: Store,
    replace: BoolArray,
) -> None:
    """One step from `affine`, kept where it is to `replace` what is there and where it is clearly surer."""
    entry = knowledge.dictionary.entries[k]
    good = np.isfinite(affine).all((1, 2))
    patterns, at, affine, gain, replace = patterns[good], at[good], affine[good], gain[good], replace[good]
    if not len(at):
        return
    ones = np.ones(len(at))
    # Where intensities are free, the gain is not that of a step: from that of the entry no step is too long.
    start = Start(affine, store.beam[at], ones if entry.has_free_intensities else gain, ones)
    fit = _refined(patterns, store.beam[at], start, entry, knowledge, iterations=1)
    better = replace | (fit.significance > np.nan_to_num(store.significance[at]) + 1.0)
    store.label[at[better]] = k
    _keep(store, at, fit, better)


def _refined(
    patterns: NDArray[Any],
    centres: FloatArray,
    start: Start,
    entry: Entry,
    knowledge: Knowledge,
    iterations: int,
    members: IntArray | None = None,
) -> PatternFit:
    calibration = knowledge.calibration
    stack = gather(
        patterns, predicted_positions(start, entry.reflections), entry.probe.half + 1, calibration.good, members
    )
    return refine(
        stack,
        entry,
        start,
        centre=centres,
        centre_sigma=centre_prior(calibration),
        noise_scale=knowledge.dictionary.noise_scale,
        iterations=iterations,
    )


def _keep(store: Store, at: IntArray, fit: PatternFit, which: BoolArray) -> None:
    to = at[which]
    store.affine[to], store.centre[to], store.gain[to] = (
        fit.start.affine[which],
        fit.start.centre[which],
        fit.start.gain[which],
    )
    store.covariance[to] = (fit.affine_covariance * fit.inflation[:, None, None])[which]
    store.misfit[to], store.significance[to] = fit.misfit[which], fit.significance[which]
    store.shared[to] = fit.shared[which]
