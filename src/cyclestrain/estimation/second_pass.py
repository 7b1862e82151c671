"""Second pass: patterns refitted from their neighbours' estimates, and explained as mixtures near boundaries.

Where counts are scarce the likelihood has many maxima, and climbing the nearest one loses precision: a single step from
a good start does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import uniform_filter

from cyclestrain.boundaries import Mixtures, Sides, find_sides, lattices_of
from cyclestrain.boundaries.sides import COST
from cyclestrain.data import (
    AffineField,
    Block,
    BoolArray,
    Centres,
    FloatArray,
    IntArray,
    Scan,
    clearest_neighbour,
    count_around,
)
from cyclestrain.estimation.block import (
    MIN_GAIN,
    MIN_SIGNIFICANCE,
    SETTLING,
    BlockFit,
    chunks,
    fit_from_start,
    is_faint,
)
from cyclestrain.estimation.crystals import ENCLOSING
from cyclestrain.estimation.running import HERE, Runner
from cyclestrain.learning import Knowledge
from cyclestrain.pattern import Palette, Start, decompose

__all__ = ["Starts", "explain_boundaries", "find_starts", "fit_again", "second_pass"]

GAIN_REACH = 2
"""Half width of the square over which the brightness of crystals is averaged."""
MOST_FITS, OUTLYING = 16384, 3.0
"""Most fits that tell where a crystal has its origin; none is farther off than so many times the typical one."""
LOOKS = 4
"""Most further looks at mixtures with crystals from where none was told; each may find them in a wider area."""
SURER = 1.0
"""Significance that a refit has to gain to replace a fit, or may lose to replace one that cannot be."""
VAGUE_POSITION = 0.12
"""Uncertainty of the outermost reflection, pixels, above which a pattern is refitted from its neighbours' estimates."""


def second_pass(
    scan: Scan,
    knowledge: Knowledge,
    first: BlockFit,
    context: AffineField,
    advance: Callable[[int], object],
    runner: Runner = HERE,
) -> tuple[BlockFit, Mixtures]:
    """Refit the patterns of a scan, and explain those near a change of crystal as mixtures.

    Parameters
    ----------
    scan, knowledge
        As for `cyclestrain.estimation.first_pass.first_pass`.
    first
        Outcome of the first pass.
    context
        Smoothed affine of every position.
    advance
        Called with the number of positions done.
    runner
        Where blocks are fitted.

    Returns
    -------
    fit, mixtures
        Outcome of every position, and what the probe holds near changes of crystal.
    """
    shape, palette = scan.scan_shape, Palette.of(knowledge.dictionary)
    lattices = lattices_of(knowledge.dictionary, context.operator_table)
    gain, significance, misfit = (part.reshape(shape) for part in (first.gain, first.significance, first.misfit))
    sides = find_sides(context, gain, significance, misfit, lattices, spread=runner)
    starts = find_starts(first, context, knowledge)
    shared, fits, mixtures = (knowledge.with_centres(None), palette), [], []

    def part(positions: IntArray) -> tuple[BlockFit, Starts, Sides, Centres]:
        here = sides.within(int(positions[0]), int(positions[-1]))
        centres = knowledge.calibration.centres_around(positions, 0)
        return first.only(positions), starts.only(positions), here, centres

    for fitted, explained in runner.run(_second_fit, scan, shared, part):
        advance(len(fitted.positions))
        fits.append(fitted)
        mixtures.append(explained)
    fit, told = BlockFit.gathered(fits, scan.n_positions), Mixtures.joined(mixtures)

    def again(positions: IntArray) -> tuple[BlockFit, Sides, Centres]:
        here = sides.within(int(positions[0]), int(positions[-1]))
        return fit.only(positions), here, knowledge.calibration.centres_around(positions, 0)

    seen, before = np.zeros(shape, bool), sides
    for _ in range(LOOKS):
        of_mixtures = told.from_mixtures(shape)
        mixed = told.told(shape)
        around = find_sides(context, gain, significance, misfit, lattices, mixed, wanted=of_mixtures, spread=runner)
        looked = around.overlap | of_mixtures
        sides, before = around.unlike(before), around  # the answer to the same question is known
        if not (looked & ~seen).any() or not len(sides.position):
            break
        seen |= looked
        done = np.ones(scan.n_positions, bool)
        done[sides.position] = False
        told = told.updated(Mixtures.joined(list(runner.run(_explained, scan, shared, again, done))))
    return fit, told


def _second_fit(
    scan: Scan, block: Block, shared: tuple[Knowledge, Palette], part: tuple[BlockFit, Starts, Sides, Centres]
) -> tuple[BlockFit, Mixtures]:
    """Refit a block and explain it, see `cyclestrain.estimation.running.Work`."""
    first, starts, sides, centres = part
    knowledge, palette = shared[0].with_centres(centres), shared[1]
    fit = fit_again(block, first, starts, knowledge)
    return fit, explain_boundaries(block, fit, sides, palette, knowledge)


def _explained(
    scan: Scan, block: Block, shared: tuple[Knowledge, Palette], part: tuple[BlockFit, Sides, Centres]
) -> Mixtures:
    """Explain a block again, see `cyclestrain.estimation.running.Work`."""
    fit, sides, centres = part
    return explain_boundaries(block, fit, sides, shared[1], shared[0].with_centres(centres))


@dataclass(frozen=True)
class Starts:
    """Starts of the refits: the smoothed estimate of each position, and that of its donor, the clearest neighbour.

    Attributes
    ----------
    label, affine
        Entry of each position and its smoothed affine, shapes ``(n,)`` and ``(n, 2, 2)``.
    wanted
        Positions that are refitted from these, shape ``(n,)``.
    donor_label, donor_affine
        Entry and smoothed affine of the donor neighbour, shapes ``(n,)`` and ``(n, 2, 2)``.
    from_donor
        Positions that are refitted from the donor neighbour, shape ``(n,)``.
    lost
        Positions within a crystal at which none was found: they keep the refit from the donor in any case, shape
        ``(n,)``.
    astray
        Positions within a crystal whose own fit is too far strained to count: the refit need not be surer than that,
        shape ``(n,)``. Disks of uneven brightness may be fitted as well by a lattice that is sheared onto itself.
    gain
        Brightness relative to the entry to start from, shape ``(n,)``.
    centre
        Origin of the lattice ``(y, x)`` to start from, pixels, shape ``(n, 2)``; see `_origins`.
    """

    label: IntArray
    affine: FloatArray
    wanted: BoolArray
    donor_label: IntArray
    donor_affine: FloatArray
    from_donor: BoolArray
    lost: BoolArray
    astray: BoolArray
    gain: FloatArray
    centre: FloatArray

    def only(self, which: IntArray) -> Starts:
        """Starts of some of the positions."""
        return Starts(*(getattr(self, field.name)[which] for field in fields(self)))


def find_starts(first: BlockFit, context: AffineField, knowledge: Knowledge) -> Starts:
    """Starts from which the positions of a scan are refitted.

    Faint patterns also try the crystal of the clearest neighbour; patterns without a crystal, most of whose neighbours
    have one, keep that fit.

    Parameters
    ----------
    first
        Outcome of the first pass, all positions of the scan.
    context
        Smoothed affine of every position.
    knowledge
        Calibration and dictionary.
    """
    shape, affine = context.label.shape, context.affine.reshape(-1, 2, 2)
    donor, lost, astray = _donor_neighbours(context.label >= 0, context.usable, first.significance.reshape(shape))
    from_donor = (is_faint(first) & (first.significance[donor] > MIN_SIGNIFICANCE)) | lost | astray
    wanted = _is_vague(first, knowledge) & ~lost & ~astray
    return Starts(
        first.label, affine, wanted, first.label[donor], affine[donor], from_donor, lost, astray,
        _local_gain(first, shape), _origins(first),
    )  # fmt: skip


def fit_again(block: Block, fit: BlockFit, starts: Starts, knowledge: Knowledge) -> BlockFit:
    """Refit the patterns of a block, one Fisher step from their starts.

    Parameters
    ----------
    block
        Positions and patterns.
    fit, starts
        Outcome so far and starts of the same positions.
    knowledge
        Calibration, noise and dictionary.
    """
    least = np.where(starts.lost, -np.inf, np.nan_to_num(fit.significance) + np.where(starts.astray, -SURER, SURER))
    for k in range(len(knowledge.dictionary.entries)):
        own = np.flatnonzero((starts.label == k) & starts.wanted)
        for part in chunks(own, block.patterns):
            fit = _one_step(block, part, starts, starts.affine[part], k, fit, np.full(len(part), -np.inf), knowledge)
        donated = np.flatnonzero((starts.donor_label == k) & starts.from_donor)
        for part in chunks(donated, block.patterns):
            fit = _one_step(block, part, starts, starts.donor_affine[part], k, fit, least[part], knowledge)
    return fit


def _one_step(
    block: Block,
    part: IntArray,
    starts: Starts,
    affine: FloatArray,
    k: int,
    fit: BlockFit,
    least: FloatArray,
    knowledge: Knowledge,
) -> BlockFit:
    """One step from `affine`, or all where disks have contrast; kept where its significance is above the `least`."""
    entry = knowledge.dictionary.entries[k]
    good = np.isfinite(affine).all((1, 2))
    part, affine, least = part[good], affine[good], least[good]
    if not len(part):
        return fit
    ones = np.ones(len(part))
    # Where intensities are free, the gain is not that of a step: from that of the entry no step is too long.
    start = Start(affine, starts.centre[part], ones if entry.has_free_intensities else starts.gain[part], ones)
    steps = SETTLING[-1] if entry.has_contrast else 1
    patterns, centre = block.patterns, start.centre
    again = fit_from_start(patterns, centre, start, entry, knowledge, iterations=steps, members=part[:, None])
    better = (again.significance > least) | np.isneginf(least)
    return fit.with_fits(part[better], again.only(better), k)


def explain_boundaries(block: Block, fit: BlockFit, sides: Sides, palette: Palette, knowledge: Knowledge) -> Mixtures:
    """Explain the patterns of a block that are near a change of crystal as mixtures.

    Parameters
    ----------
    block
        Consecutive positions and their patterns.
    fit
        Fit of each of them.
    sides
        Those of the positions that are near a change of crystal, and the crystals around each.
    palette
        The dictionary as arrays for the decomposition.
    knowledge
        Calibration.
    """
    at, calibration = sides.position - block.positions[0], knowledge.calibration
    variance = np.einsum("nii->ni", fit.covariance[at]).max(1, initial=0.0)
    smooth = calibration.centres_at(sides.position)
    centre = np.where(np.isfinite(fit.centre[at]), fit.centre[at], smooth)
    candidates = sides.candidates(fit.label[at], fit.affine[at], variance, fit.shared[at], centre)
    return Mixtures.found(sides, candidates, decompose(block.patterns, at, calibration.good, palette, candidates, COST))


def _is_vague(fit: BlockFit, knowledge: Knowledge) -> BoolArray:
    """Positions where the outermost reflection is uncertain by a good part of the probe's edge."""
    reach = np.array([np.hypot(*e.reflections.T).max() for e in knowledge.dictionary.entries])
    sigma = np.sqrt(np.einsum("nii->ni", fit.covariance).max(1, initial=0.0))
    with np.errstate(invalid="ignore"):
        return np.asarray(sigma * reach[np.maximum(fit.label, 0)] > VAGUE_POSITION)


def _donor_neighbours(
    crystal: BoolArray, usable: BoolArray, significance: FloatArray
) -> tuple[IntArray, BoolArray, BoolArray]:
    """Flat index of each position's donor neighbour, and masks of the positions within a crystal that are not of it.

    At the first ones no crystal was found, at the second ones one whose transform is not `usable`. Their donor is their
    clearest neighbour with a crystal whose transform is: one without can be clear by chance.
    """
    sure = crystal & usable
    there, all_around = count_around(sure, 1)
    enclosed = there >= ENCLOSING * all_around
    lost, astray = enclosed & ~crystal, enclosed & crystal & ~usable
    of_crystal = clearest_neighbour(np.where(sure, significance, 0.0))
    donor = np.where(lost | astray, of_crystal, clearest_neighbour(significance))
    return donor.ravel(), lost.ravel(), astray.ravel()


def _local_gain(fit: BlockFit, shape: tuple[int, int]) -> FloatArray:
    """Brightness of the crystal in every position, flat: around it where the pattern is faint, 1 where there is none.

    A single step is as long as the pattern is bright over what the step assumed.
    """
    significance = np.nan_to_num(fit.significance)
    gain = np.maximum(np.nan_to_num(fit.gain), MIN_GAIN)
    weight = np.where(fit.significance > 0, (significance / gain) ** 2, 0.0).reshape(shape)
    size = 2 * GAIN_REACH + 1
    known = uniform_filter(weight, size, mode="constant")
    total = uniform_filter(weight * gain.reshape(shape), size, mode="constant")
    around = np.where(known > 0, total / np.maximum(known, 1e-300), 1.0).ravel()
    return np.where(is_faint(fit), around, gain)


def _origins(fit: BlockFit) -> FloatArray:
    """Where the crystal of every position has the origin of its lattice, flat; the beam's centre where none is clear.

    Where light within the direct beam is uneven, its centroid lies beside that origin, by a vector of which a part
    turns with the crystal: ``a + (A - 1) b``. A single step from the centroid does not mend that where disks are
    brighter or darker than expected.
    """
    out, fitted = fit.beam.copy(), (fit.label >= 0) & np.isfinite(fit.centre).all(1)
    clear, turned = fitted & (np.nan_to_num(fit.significance) > MIN_SIGNIFICANCE), fit.affine - np.eye(2)
    for k in np.unique(fit.label[clear]):
        mine, some = (np.flatnonzero(these & (fit.label == k)) for these in (fitted, clear))
        some = some[:: -(-len(some) // MOST_FITS)]
        a, b = _offset(turned[some], fit.centre[some] - fit.beam[some])
        out[mine] += a + turned[mine] @ b
    return out


def _offset(turned: FloatArray, offset: FloatArray) -> FloatArray:
    """The vectors `a` and `b` of `_origins`, expected to be of the order of a pixel, shape ``(2, 2)``."""
    design = np.concatenate([np.broadcast_to(np.eye(2), turned.shape), turned], 2)  # (n, axis, parameter)
    known, vectors = np.ones(len(offset), bool), np.zeros(4)
    for _ in range(3):  # without fits that ended elsewhere
        normal = np.einsum("nip,niq->pq", design[known], design[known])
        variance = np.mean(np.square(offset[known] - design[known] @ vectors))
        vectors = np.linalg.solve(
            normal + (variance + 1e-6) * np.eye(4), np.einsum("nip,ni->p", design[known], offset[known])
        )
        away = np.hypot(*(offset - design @ vectors).T)
        known = away <= OUTLYING * np.median(away)
    return vectors.reshape(2, 2)
