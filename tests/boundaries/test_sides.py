"""Where mixtures are looked for, and what is made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boundaries.halves import CERTAIN, FITTING, SHAPE, SIXFOLD, halves, sides_of
from cyclestrain.affine import rotation, symmetric
from cyclestrain.boundaries import Sides, find_sides
from cyclestrain.data import InTurn
from laws import lattices_seen, one_class_field


def columns(sides: Sides) -> set[int]:
    return set((sides.position % SHAPE[1]).tolist())


class TestSides:
    def test_both_sides_of_an_edge(self) -> None:
        gain = np.where(np.arange(SHAPE[1]) < 10, 1.0, 0.6) * np.ones(SHAPE)
        sides = sides_of(halves(), gain)
        assert columns(sides) == {9, 10}
        of = np.where(sides.source < 0, -1, sides.source % SHAPE[1])
        here = (sides.position % SHAPE[1] == 9)[:, None]
        np.testing.assert_array_equal(of[:, :2], np.where(here, [8, 11], [11, 8]))
        assert (of[:, 2:] == -1).all()
        np.testing.assert_allclose(sides.gain[:, :2], np.where(here, [1.0, 0.6], [0.6, 1.0]))

    @pytest.mark.parametrize("slope", [0.002, 0.008])
    def test_a_smooth_field_has_none(self, slope: float) -> None:
        wave = np.sin(np.arange(SHAPE[1]) / 1.6) * 1.6 * slope * np.ones(SHAPE)
        sides = sides_of(one_class_field(symmetric(1.0 + 0 * wave, 1.0 + wave, 0 * wave) @ rotation(wave)))
        assert len(sides.position) == 0

    def test_an_edge_whose_single_steps_are_small_is_one(self) -> None:
        """Blends of crystals whose disks are 2 pixels apart: no step is above .8, where those above 1 are edges."""
        along = np.interp(np.arange(SHAPE[1]), [8, 9, 10, 11], [0.0, 0.3, 0.7, 1.0]) * np.ones(SHAPE)
        bend = 0.003 * np.arange(SHAPE[1])
        sides = sides_of(one_class_field(rotation(bend + 0.065 * along), 1e-5))
        assert {9, 10} <= columns(sides) <= {8, 9, 10, 11}
        assert (sides.source[np.isin(sides.position % SHAPE[1], [9, 10]), 1] >= 0).all()

    @pytest.mark.parametrize("slope", [0.012, 0.03])
    def test_a_bend_has_no_edge(self, slope: float) -> None:
        column = np.arange(SHAPE[1]) * np.ones(SHAPE)
        sides = sides_of(one_class_field(rotation(slope * column + 0.05 * np.cos(column / 9)), 1e-5))
        assert len(sides.position) == 0

    def test_noise_is_no_edge(self) -> None:
        rng = np.random.default_rng(1)
        field = one_class_field(np.eye(2) + 8e-3 * rng.standard_normal((*SHAPE, 2, 2)), 8e-3, SIXFOLD)
        assert len(sides_of(field).position) < 0.05 * SHAPE[0] * SHAPE[1]

    def test_vacuum_is_a_side_without_a_crystal(self) -> None:
        field = halves(turn=0.0)
        label = np.where(np.arange(SHAPE[1]) < 10, 0, -1) * np.ones(SHAPE, int)
        sides = sides_of(replace(field, label=label, valid=label >= 0))
        assert columns(sides) == {9}
        assert sides.vacuum.all()
        assert (sides.source[:, 1:] == -1).all()
        assert not sides_of(halves()).vacuum.any()

    def test_a_wide_probe_is_seen_in_the_gain(self) -> None:
        far = np.abs(np.arange(SHAPE[1]) - 9.5) + 0.5
        for lost, expected in (([1.0] * 4, 1), ([0.7, 0.93, 1.0, 1.0], 2), ([0.6, 0.8, 0.94, 1.0], 3)):
            gain = np.interp(far, [1, 2, 3, 4], lost) * np.ones(SHAPE)
            assert columns(sides_of(halves(), gain)) == set(range(10 - expected, 10 + expected))

    def test_a_position_without_an_estimate_may_hold_its_neighbours(self) -> None:
        field = halves(turn=0.0)
        valid = np.ones(SHAPE, bool)
        valid[5, 5] = False
        field.affine[5, 5] = np.nan
        sides = sides_of(replace(field, valid=valid))
        assert sides.position.tolist() == [5 * SHAPE[1] + 5]
        unknown, nothing = np.full((1, 2, 2), np.nan), np.zeros((1, 2))
        own = sides.candidates(np.array([0]), unknown, np.array([np.nan]), nothing[:, 0], nothing)
        assert own.label[0, 0] == -1
        assert own.label[0, 1] == 0

    @pytest.mark.parametrize("slope", [0.02, 0.03])
    def test_a_bent_crystal_is_one_on_both_sides_of_what_has_no_estimate(self, slope: float) -> None:
        """Its disks are apart from three or two positions on: what lies between is no mixture of its two sides."""
        bend, valid = rotation(slope * np.arange(SHAPE[1])), np.ones(SHAPE, bool)
        field = one_class_field(np.tile(bend, (SHAPE[0], 1, 1, 1)), operators=SIXFOLD)
        field.affine[::2, ::2] = field.affine[::2, ::2] @ SIXFOLD[2]
        valid[4:7, 8:11] = False
        field.affine[~valid] = np.nan
        sides = sides_of(replace(field, valid=valid))
        assert set(sides.position.tolist()) >= set(np.flatnonzero(~valid).tolist())
        assert (sides.source[:, 0] >= 0).all()
        assert (sides.source[:, 1:] == -1).all()

    def test_two_bent_crystals_are_two(self) -> None:
        field = halves(turn=0.2)
        field.affine[:] = rotation(0.01 * np.arange(SHAPE[1])) @ field.affine
        of = sides_of(field).source % SHAPE[1]
        np.testing.assert_array_equal(np.sort(of[:, :2], 1), np.tile([8, 11], (len(of), 1)))

    def test_the_own_fit_is_recognised_in_any_labelling(self) -> None:
        sides = sides_of(halves())
        part = np.arange(len(sides.position))
        for turn, wanted in ((0.0, {9: 1, 10: 2}), (0.3, {9: 2, 10: 1}), (0.15, {9: -1, 10: -1})):
            affine = np.broadcast_to(rotation(turn) @ SIXFOLD[4], (len(part), 2, 2))
            nothing = np.zeros((len(part), 2))
            found = sides.candidates(np.zeros(len(part), int), affine, np.full(len(part), 1e-8), nothing[:, 0], nothing)
            assert found.like.tolist() == [wanted[c] for c in (sides.position % SHAPE[1]).tolist()]

    def test_what_neighbours_share_is_no_doubt_about_a_crystal(self) -> None:
        """An error that all patterns of a crystal have is in its known transform and in the part of a mixture alike."""
        field = halves(sigma=1e-3)
        sides = sides_of(replace(field, shared=np.full(SHAPE, 0.99)))
        n = len(sides.position)
        affine, zero = field.affine.reshape(-1, 2, 2)[sides.position], np.zeros((n, 2))
        found = sides.candidates(np.zeros(n, int), affine, np.full(n, 1e-6), np.full(n, 0.96), zero)
        there = sides.source >= 0
        np.testing.assert_allclose((found.uncertainty[:, 1:] / found.uncertainty[:, :1])[there], 0.5)

    @pytest.mark.parametrize(("vague", "expected"), [(8, 0.1), (slice(0, 10), 1.0)])
    def test_a_crystal_is_known_as_well_as_it_is_anywhere_around(self, vague: int | slice, expected: float) -> None:
        """Blends make the smoothed field less sure next to an edge; the crystal is not less known for that."""
        field = halves(sigma=1e-4)
        field.covariance[:, vague] *= 100.0
        wanted = (np.arange(SHAPE[1]) == 9) * np.ones(SHAPE, bool)
        sides = find_sides(field, np.ones(SHAPE), CERTAIN, FITTING, lattices_seen(field), wanted=wanted)
        n = len(sides.position)
        assert (sides.source[:, :2] % SHAPE[1] == [8, 11]).all()
        affine, zero = field.affine.reshape(-1, 2, 2)[sides.position], np.zeros((n, 2))
        found = sides.candidates(np.zeros(n, int), affine, np.full(n, 1e-6), zero[:, 0], zero)
        ratio = found.uncertainty[:, 1:3] / found.uncertainty[:, :1]
        np.testing.assert_allclose(ratio, np.tile([expected, 0.1], (n, 1)))

    @pytest.mark.parametrize(("strain", "expected"), [(0.02, set()), (0.06, {9, 10})])
    def test_only_disks_apart_are_two_crystals(self, strain: float, expected: set[int]) -> None:
        """A step of 2 % moves disks 30 px away by 0.4 px on the average, one of 6 % by 1.3 px."""
        field = halves(turn=0.0)
        field.affine[:, 10:] = symmetric(1.0, 1.0 + strain, 0.0) @ field.affine[:, 10:]
        assert columns(sides_of(field)) == expected

    def test_the_distance_is_that_of_the_bright_reflections(self) -> None:
        affine = np.tile(np.eye(2), (*SHAPE, 1, 1))
        affine[:, 10:] = symmetric(1.0, 1.06, 0.0)
        field = one_class_field(affine)
        seen = lattices_seen(field)
        along = seen._replace(moment=np.array([[[900.0, 0.0], [0.0, 1.0]]]))  # all on the axis that is not strained
        assert len(find_sides(field, np.ones(SHAPE), CERTAIN, FITTING, along).position) == 0
        assert len(find_sides(field, np.ones(SHAPE), CERTAIN, FITTING, seen).position) > 0

    def test_what_is_explained_badly_may_hold_crystals_from_afar(self) -> None:
        """Two crystals lie above each other over eight columns; the edge that single fits show is in the middle."""
        misfit = np.where((np.arange(SHAPE[1]) >= 6) & (np.arange(SHAPE[1]) < 14), 3.0, 1.0) * np.ones(SHAPE)
        misfit += 0.01 * np.random.default_rng(0).standard_normal(SHAPE)
        field = halves()
        sides = find_sides(field, np.ones(SHAPE), CERTAIN, misfit, lattices_seen(field))
        assert columns(sides) == set(range(6, 14))
        of = np.sort(sides.source[:, :2] % SHAPE[1], 1)
        assert (of == [5, 14]).all()
        assert (sides.source[:, 2] == -1).all()

    def test_beside_an_overlap_is_looked_at_and_crystals_come_from_outside(self) -> None:
        """Mixtures over six columns, wider than an edge: no column of these or beside them stands for a crystal."""
        field, mixed = halves(), np.zeros(SHAPE, bool)
        mixed[:, 7:13] = True
        mixed[4, 8] = False  # one that was not told
        sides = find_sides(field, np.ones(SHAPE), CERTAIN, FITTING, lattices_seen(field), mixed)
        assert columns(sides) == set(range(5, 15))
        assert len(sides.position) == 10 * SHAPE[0]
        np.testing.assert_array_equal(sides.overlap, np.isin(np.arange(SHAPE[1]), range(5, 15)) & np.ones(SHAPE, bool))
        of = np.sort(sides.source[:, :2] % SHAPE[1], 1)
        assert (of[:, 0] < 5).all()
        assert (of[:, 1] > 14).all()

    def test_where_only_mixtures_beside_it_are_a_reason_a_crystal_needs_a_larger_share(self) -> None:
        field, mixed, misfit = halves(), np.zeros(SHAPE, bool), FITTING.copy()
        mixed[:, 7:13] = True
        misfit[:, 6] = 3.0
        sides = find_sides(field, np.ones(SHAPE), CERTAIN, misfit, lattices_seen(field), mixed)
        column = sides.position % SHAPE[1]
        misfit_or_edge = np.isin(column, [6, 9, 10])
        np.testing.assert_array_equal(sides.beside, ~misfit_or_edge)
        n = len(column)
        affine, zero = field.affine.reshape(-1, 2, 2)[sides.position], np.zeros((n, 2))
        found = sides.candidates(np.zeros(n, int), affine, np.full(n, 1e-8), zero[:, 0], zero)
        np.testing.assert_array_equal(found.least > 0, sides.beside)

    def test_mixtures_at_an_edge_are_no_overlap(self) -> None:
        field, mixed = halves(), np.zeros(SHAPE, bool)
        mixed[:, 9:11] = True
        sides = find_sides(field, np.ones(SHAPE), CERTAIN, FITTING, lattices_seen(field), mixed)
        assert not sides.overlap.any()
        assert columns(sides) == {9, 10}
        wanted = mixed & (np.arange(SHAPE[1]) == 9)
        sides = find_sides(field, np.ones(SHAPE), CERTAIN, FITTING, lattices_seen(field), mixed, wanted=wanted)
        assert columns(sides) == {9}

    def test_tiles_of_any_size_tell_the_same(self) -> None:
        """Grains, vacuum and areas that are explained badly; the tiles are smaller than what is looked at."""
        shape, rng = (41, 47), np.random.default_rng(0)
        y, x = np.mgrid[: shape[0], : shape[1]]
        grain, vacuum = (y // 9 + x // 13) % 4, (x - 30) ** 2 + (y - 30) ** 2 < 16
        affine = rotation(0.05 * grain + 0.0005 * rng.standard_normal(shape))
        label = np.where(vacuum, -1, grain % 2)
        field = replace(halves(), affine=affine, covariance=np.tile(1e-6 * np.eye(4), (*shape, 1, 1)), label=label)
        field = replace(field, valid=~vacuum & (rng.random(shape) > 0.02), operators=field.operators[:1] * 2)
        misfit = np.where((x - 12) ** 2 + (y - 20) ** 2 < 60, 3.0, 1.0) + 0.01 * rng.standard_normal(shape)
        given = field, 1 + 0.1 * rng.random(shape), np.full(shape, 50.0), misfit, lattices_seen(field)
        whole = find_sides(*given)
        assert len(whole.position) > 500
        assert (whole.source[:, 1] >= 0).sum() > 100
        for side in (5, 16, 32):
            tiled = find_sides(*given, spread=InTurn(side))
            for name in ("position", "source", "gain", "vacuum", "beside", "label", "affine", "variance", "noise"):
                np.testing.assert_array_equal(getattr(tiled, name), getattr(whole, name), err_msg=name)

    def test_only_new_questions_are_asked_again(self) -> None:
        """Positions whose crystals around are what they were have their answer; the others do not."""
        field = halves()
        before = sides_of(field)
        assert len(before.position) > 0
        assert len(before.unlike(before).position) == 0
        moved = field.affine.copy()
        moved[5, 10:] = moved[5, 10:] @ rotation(1e-3)
        after = sides_of(replace(field, affine=moved))
        asked = after.unlike(before)
        changed = {
            int(p) for p, s in zip(after.position, after.source, strict=True) if (s[s >= 0] // SHAPE[1] == 5).any()
        }
        assert changed
        assert set(asked.position.tolist()) == changed
        assert len(replace(after, scatter=0.5).unlike(before).position) == len(after.position)
