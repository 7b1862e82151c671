"""What is made of a block depends on its patterns alone: not on the cuts, the order, or the process it runs in."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cyclestrain.boundaries import find_sides, lattices_of
from cyclestrain.context import smooth
from cyclestrain.data import Block, Scan
from cyclestrain.estimation import (
    BlockFit,
    explain_boundaries,
    find_starts,
    first_look,
    first_pass,
    fit_again,
    fit_alone,
    fit_sums,
    second_pass,
    to_fields,
)
from cyclestrain.learning import Knowledge
from cyclestrain.pattern import Palette
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import polycrystal
from stored import Stored


@pytest.fixture(scope="module", params=[1.5e4, 6e3])
def faint(request: pytest.FixtureRequest) -> tuple[Scan, Knowledge]:
    """A scan with few counts, most of whose patterns are fitted from sums with 8, or 24, neighbours."""
    options = {"scan": (9, 11), "detector": (96, 96), "grain_size": 60.0, "radius": 3.0}
    made = polycrystal(**options, background=0.6, counts=request.param, seed=3)  # type: ignore[arg-type]
    scan, knowledge = prepare(made.scan, MapSettings(), SilentProgress())
    return replace(scan, source=Stored(np.asarray(scan.source))), knowledge


def outcome(scan: Scan, knowledge: Knowledge, patterns_per_block: int) -> dict[str, NDArray[Any]]:
    limited = replace(scan, memory_bytes=16 * patterns_per_block * scan.pattern_bytes)
    first = first_pass(limited, knowledge, lambda n: None)
    fields = to_fields(first, scan.scan_shape, knowledge.dictionary)
    fit, mixtures = second_pass(limited, knowledge, first, smooth(fields.affine), lambda n: None)
    return fit.arrays | vars(mixtures)


@pytest.mark.parametrize("patterns_per_block", [1, 4, 11, 33, 60])
def test_results_do_not_depend_on_the_memory_limit(faint: tuple[Scan, Knowledge], patterns_per_block: int) -> None:
    scan, knowledge = faint
    whole, cut = outcome(scan, knowledge, scan.n_positions), outcome(scan, knowledge, patterns_per_block)
    assert np.median(whole["significance"]) < 10.0
    for name, expected in whole.items():
        np.testing.assert_array_equal(cut[name], expected, err_msg=name)


def same(one: BlockFit, other: BlockFit) -> None:
    np.testing.assert_array_equal(one.positions, other.positions)
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name], err_msg=name)


def elsewhere(*values: object) -> tuple:
    """The values as another process gets them."""
    return pickle.loads(pickle.dumps(values))


def test_blocks_run_in_any_order_and_anywhere(faint: tuple[Scan, Knowledge]) -> None:
    """Every function of a block, on pickled arguments, last block first, gives what the passes give."""
    scan, knowledge = faint
    shape, n = scan.scan_shape, scan.n_positions
    first = first_pass(scan, knowledge, lambda n: None)
    context = smooth(to_fields(first, shape, knowledge.dictionary).affine)
    second, mixtures = second_pass(scan, knowledge, first, context, lambda n: None)
    blocks = list(scan.blocks(22 * scan.pattern_bytes))
    alone, again = [], []
    for block in reversed(blocks):
        halo = scan.around(block, block.positions, 2)
        wide = Block.joined([block, halo] if halo else [block])
        wide, block, known = elsewhere(wide, block, knowledge)
        fit = fit_alone(block, first_look(block, known), known)
        around = (wide, first_look(wide, known))
        alone.append(elsewhere(fit_sums(fit, lambda *_, around=around: around, known, shape))[0])
    same(BlockFit.gathered(alone, n), first)
    lattices = lattices_of(knowledge.dictionary, context.operator_table)
    gain, significance, misfit = (part.reshape(shape) for part in (first.gain, first.significance, first.misfit))
    sides = find_sides(context, gain, significance, misfit, lattices)
    starts, palette, shares = find_starts(first, context, knowledge), Palette.of(knowledge.dictionary), []
    for block in reversed(blocks):
        ends = int(block.positions[0]), int(block.positions[-1])
        part = elsewhere(block, first.only(block.positions), starts.only(block.positions), knowledge)
        fit = fit_again(*part)
        again.append(fit)
        shares.append(explain_boundaries(*elsewhere(block, fit, sides.within(*ends), palette, knowledge)))
    same(BlockFit.gathered(again, n), second)
    for name, values in vars(type(mixtures).joined(shares)).items():
        np.testing.assert_array_equal(values, vars(mixtures)[name], err_msg=name)


def test_refits_start_where_the_crystal_has_the_origin_of_its_lattice(faint: tuple[Scan, Knowledge]) -> None:
    """Beside the centroid of the beam, by a vector of which a part turns with the crystal, or at the centroid."""
    scan, knowledge = faint
    first = first_pass(scan, knowledge, lambda n: None)
    context = smooth(to_fields(first, scan.scan_shape, knowledge.dictionary).affine)
    a, b = np.array([0.4, -0.3]), np.array([-0.2, 0.6])
    noise = np.random.default_rng(1).normal(0.0, 0.05, first.beam.shape)
    noise[::9] += 3.0  # fits that ended elsewhere
    crystal = first.label >= 0
    beside = a + (first.affine - np.eye(2)) @ b
    clear, vague = (replace(first, significance=np.where(crystal, much, 0.0)) for much in (8.0, 3.0))
    moved = find_starts(replace(clear, centre=first.beam + beside + noise), context, knowledge)
    still = find_starts(replace(clear, centre=first.beam + noise), context, knowledge)
    unknown = find_starts(replace(vague, centre=first.beam + beside + noise), context, knowledge)
    assert np.abs((moved.centre - first.beam - beside)[crystal]).max() < 0.05
    assert np.abs((still.centre - first.beam)[crystal]).max() < 0.05
    np.testing.assert_array_equal(moved.centre[~crystal], first.beam[~crystal])
    np.testing.assert_array_equal(unknown.centre, first.beam)


def test_a_refit_knows_nothing_of_the_centroid_of_the_beam(faint: tuple[Scan, Knowledge]) -> None:
    """It starts from the origin that it is given, which is its prior as well."""
    scan, knowledge = faint
    first = first_pass(scan, knowledge, lambda n: None)
    starts = find_starts(first, smooth(to_fields(first, scan.scan_shape, knowledge.dictionary).affine), knowledge)
    block = scan.part(slice(None), slice(None))
    one, other = (fit_again(block, each, starts, knowledge) for each in (first, replace(first, beam=first.beam + 0.7)))
    elsewhere = fit_again(block, first, replace(starts, centre=starts.centre + 0.7), knowledge)
    again = (one.affine != first.affine).any((1, 2))
    assert again.sum() > 20
    np.testing.assert_array_equal(other.affine, one.affine)
    assert (elsewhere.affine[again] != one.affine[again]).any((1, 2)).all()


def test_nine_patterns_are_a_block(faint: tuple[Scan, Knowledge]) -> None:
    """A test, or a live stream, can fit a handful of patterns; nothing of what is given changes."""
    scan, knowledge = faint
    block = scan.part(slice(2, 5), slice(3, 6))
    before = elsewhere(block, knowledge)
    seen = first_look(block, knowledge)
    alone = fit_alone(block, seen, knowledge)
    kept = elsewhere(alone)[0]
    summed = fit_sums(alone, lambda *_: (block, seen), knowledge, scan.scan_shape)
    assert len(summed.positions) == 9
    assert np.isfinite(summed.affine).all()
    same(alone, kept)
    np.testing.assert_array_equal(block.patterns, before[0].patterns)
    np.testing.assert_array_equal(knowledge.dictionary.entries[0].intensity, before[1].dictionary.entries[0].intensity)
