"""First pass: every pattern by itself, and faint patterns from sums with their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cyclestrain.data import Block, Centres, IntArray, Scan, mean_of_members, neighbour_members
from cyclestrain.data.neighbours import SUMS
from cyclestrain.estimation.block import (
    MIN_GAIN,
    BlockFit,
    chunks,
    fit_from_rotation,
    fit_from_start,
    is_faint,
)
from cyclestrain.estimation.running import HERE, Runner
from cyclestrain.io import can_be_wrong, check_patterns
from cyclestrain.learning import Knowledge
from cyclestrain.orientation import Look, align, class_confidence, look
from cyclestrain.pattern import Start
from cyclestrain.storage import RunFolder

__all__ = ["SURE_SIGNIFICANCE", "first_look", "first_pass", "fit_alone", "fit_sums"]

SURE_SIGNIFICANCE = 8.0
"""Significance from which a pattern counts as crystal by itself, and a sum as one.

The best of all rotations of an empty pattern exceeds 5 in one of a hundred patterns, and never reached 8.
"""
HOPELESS = 3.5
"""Significance of a sum below which no larger sum is tried; most sums in vacuum stay below."""


def first_pass(
    scan: Scan,
    knowledge: Knowledge,
    advance: Callable[[int], object],
    run: RunFolder | None = None,
    fit_block: Callable[[Block, Knowledge], BlockFit] | None = None,
    runner: Runner = HERE,
) -> BlockFit:
    """Fit every position of a scan, reading it once.

    Parameters
    ----------
    scan
        Scan to fit.
    knowledge
        Calibration, templates and dictionary.
    advance
        Called with the number of positions done.
    run
        Run folder that keeps every finished block and returns those of an interrupted run.
    fit_block
        Replaces the fit of a block, for example by the answer of a trained network.
    runner
        Where blocks are fitted.

    Raises
    ------
    InputError
        If a value of the scan is NaN or infinite.
    """
    restored = BlockFit.unknown(np.arange(scan.n_positions))
    done = run.restore(restored.arrays) if run else np.zeros(scan.n_positions, bool)
    parts = [restored.only(done)]
    advance(int(done.sum()))
    shared = knowledge.with_centres(None), fit_block

    def part(positions: IntArray) -> Centres:
        return knowledge.calibration.centres_around(positions, max(SUMS))

    for fit in runner.run(_first_fit, scan, shared, part, done):
        advance(len(fit.positions))
        if run:
            run.save_block(int(fit.positions[0]), fit.arrays)
        parts.append(fit)
    return BlockFit.gathered(parts, scan.n_positions)


def _first_fit(scan: Scan, block: Block, shared: tuple[Any, ...], centres: Centres) -> BlockFit:
    """Fit a block of patterns of which nothing is known, see `cyclestrain.estimation.running.Work`."""
    knowledge, fit_block = shared[0].with_centres(centres), shared[1]
    if can_be_wrong(block.patterns.dtype):
        check_patterns(block.patterns, int(block.positions[0]))
    fit: BlockFit = fit_block(block, knowledge) if fit_block else _fit_with_neighbours(scan, block, knowledge)
    return fit


def _fit_with_neighbours(scan: Scan, block: Block, knowledge: Knowledge) -> BlockFit:
    """Fit a block, and read what lies around it where faint positions at its border need it."""
    seen = first_look(block, knowledge)

    def around(faint: IntArray, reach: int) -> tuple[Block, Look]:
        halo = scan.around(block, faint, reach)
        near = block.near(faint, reach, scan.scan_shape[1])
        inside = block.only(near), seen.only(near)
        return inside if halo is None else _joined(*inside, halo, first_look(halo, knowledge))

    return fit_sums(fit_alone(block, seen, knowledge), around, knowledge, scan.scan_shape)


def _joined(block: Block, seen: Look, halo: Block, around: Look) -> tuple[Block, Look]:
    """A block with its halo, and what was seen in both."""
    order = np.argsort(np.concatenate([block.positions, halo.positions]))
    centre = np.concatenate([seen.centre, around.centre])[order]
    correlation = np.concatenate([seen.correlation, around.correlation])[order]
    return Block.joined([block, halo]), Look(centre, correlation)


def first_look(block: Block, knowledge: Knowledge) -> Look:
    """Beam centres of a block, and the correlations of its patterns with every template.

    Parameters
    ----------
    block
        Positions and patterns.
    knowledge
        Calibration and templates.
    """
    calibration = knowledge.calibration
    smooth = calibration.centres_at(block.positions)
    return look(block.patterns, calibration, smooth, knowledge.templates)


def fit_alone(block: Block, seen: Look, knowledge: Knowledge) -> BlockFit:
    """Fit every pattern of a block by itself, from its coarse rotation.

    Parameters
    ----------
    block
        Positions and patterns.
    seen
        First look at them.
    knowledge
        Calibration, noise and dictionary.
    """
    alone = seen.alignment
    confidence = class_confidence(seen.correlation, knowledge.correlation_noise)
    everywhere = np.arange(len(block.positions))
    fit = BlockFit.unknown(block.positions)
    fit = fit.with_values(everywhere, beam=seen.centre, label=alone.label, confidence=confidence)
    for k, entry in enumerate(knowledge.dictionary.entries):
        for part in chunks(np.flatnonzero(alone.label == k), block.patterns):
            start = Start.turned(alone.theta[part], seen.centre[part])
            found = fit_from_rotation(block.patterns, start, entry, knowledge, part[:, None])
            fit = fit.with_fits(part, found, k).with_values(part, alone=found.start.affine)
    return fit


def fit_sums(
    fit: BlockFit,
    around: Callable[[IntArray, int], tuple[Block, Look]],
    knowledge: Knowledge,
    shape: tuple[int, int],
) -> BlockFit:
    """Fit faint patterns again from sums with their neighbours, with larger sums where smaller ones are too faint.

    Parameters
    ----------
    fit
        What each pattern of a block shows by itself.
    around
        Gives the patterns within so many rows and columns of some positions, ascending, and the first look at them;
        what is missing counts as outside the scan.
    knowledge
        Calibration, noise and dictionary.
    shape
        Shape of the scan, ``(ry, rx)``.
    """
    faint = np.flatnonzero(is_faint(fit))
    for reach in SUMS:
        if len(faint):
            block, seen = around(fit.positions[faint], reach)
            fit = _fit_sums(block, seen, fit, faint, reach, knowledge, shape)
            faint = faint[(fit.summed[faint] > HOPELESS) & (fit.summed[faint] < SURE_SIGNIFICANCE)]
    return fit


def _fit_sums(
    block: Block, seen: Look, fit: BlockFit, faint: IntArray, reach: int, knowledge: Knowledge, shape: tuple[int, int]
) -> BlockFit:
    """Fit the `faint` ones of some patterns from sums of one size."""
    rows, columns = np.divmod(block.positions, shape[1])
    for part in chunks(faint, block.patterns):
        own = np.searchsorted(block.positions, fit.positions[part])
        members = neighbour_members(rows, columns, own, reach, seen.centre)
        together = align(mean_of_members(seen.correlation, members))
        for k in np.unique(together.label).tolist():
            mine = together.label == k
            fit = _fit_sum(block, part[mine], members[mine], together.theta[mine], fit, k, knowledge)
    return fit


def _fit_sum(
    block: Block, part: IntArray, members: IntArray, theta: np.ndarray, fit: BlockFit, k: int, knowledge: Knowledge
) -> BlockFit:
    """Fit faint patterns from the sum of their neighbours; a pattern's own fit is kept where it is much surer.

    Alone, a faint pattern finds its best fit among all rotations, which by chance is about two standard deviations
    surer than its fit at the neighbours' rotation.
    """
    entry, centre, n = knowledge.dictionary.entries[k], fit.beam[part], (members >= 0).sum(1)
    summed = fit_from_rotation(block.patterns, Start.turned(theta, centre, n), entry, knowledge, members)
    found = summed.start
    start = Start(found.affine, found.centre, np.maximum(found.gain / n, MIN_GAIN), found.level / n)
    own = fit_from_start(block.patterns, centre, start, entry, knowledge, iterations=1, members=members[:, :1])
    fit = fit.with_values(part, summed=np.nan_to_num(summed.significance))
    surer = np.nan_to_num(own.significance) > np.nan_to_num(fit.significance[part]) - 2.0
    return fit.with_fits(part[surer], own.only(surer), k)
