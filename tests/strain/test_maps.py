"""From affines to strain: known deformations come back, whatever the gauge, the labelling, the axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclestrain.affine import deformation, left_polar, reciprocal, right_polar, rotation, symmetric
from cyclestrain.data import AffineField, FloatArray, StrainMaps
from cyclestrain.strain import Reference, jacobian, relative_strain, turn_axes
from cyclestrain.strain.coherence import coherent_regions
from cyclestrain.strain.reference import measure_reference
from laws import numerical_jacobian, one_class_field, random_gradient

ROUNDING = 1e-11
strains = st.floats(-0.08, 0.08)
angles = st.floats(-np.pi, np.pi)


@st.composite
def gradients(draw: st.DrawFn) -> FloatArray:
    """Deformation gradients of up to 8 % strain in every component, any rotation."""
    stretch = np.eye(2) + np.array([[draw(strains), draw(strains)], [draw(strains), draw(strains)]])
    return stretch @ rotation(draw(angles))


def known(gradient: FloatArray, covariance: FloatArray | None = None) -> Reference:
    """A reference that was not measured on the scan."""
    reference = Reference.known(gradient[None])
    return reference if covariance is None else replace(reference, covariance=covariance[None])


def vector(maps: StrainMaps) -> FloatArray:
    """``eyy, exx, exy, rotation``, shape ``(ry, rx, 4)``."""
    return np.stack([maps.eyy, maps.exx, maps.exy, maps.rotation], -1)


def tensor(maps: StrainMaps) -> FloatArray:
    return symmetric(maps.eyy, maps.exx, maps.exy)


def strain_of(gradient: FloatArray, reference: FloatArray, operators: FloatArray | None = None) -> FloatArray:
    field = one_class_field(reciprocal(gradient)[None, None], operators=operators)
    return vector(relative_strain(field, known(reference)))[0, 0]


def n_fold(order: int) -> FloatArray:
    return rotation(2 * np.pi * np.arange(order) / order)


class TestRelativeStrain:
    @given(gradients(), gradients())
    def test_deformation_applied_to_the_reference_comes_back(self, applied: FloatArray, reference: FloatArray) -> None:
        stretch, theta = left_polar(applied)
        found = strain_of(applied @ reference, reference)
        expected = [stretch[0, 0] - 1, stretch[1, 1] - 1, stretch[0, 1], theta]
        np.testing.assert_allclose(found[:3], expected[:3], atol=ROUNDING)
        assert np.exp(1j * found[3]) == pytest.approx(np.exp(1j * expected[3]))

    @given(angles, gradients())
    def test_pure_rotation_is_no_strain(self, theta: float, reference: FloatArray) -> None:
        found = strain_of(rotation(theta) @ reference, reference)
        np.testing.assert_allclose(found[:3], 0.0, atol=ROUNDING)

    @given(gradients(), gradients(), gradients())
    def test_gauge_of_the_dictionary_cancels(self, own: FloatArray, reference: FloatArray, gauge: FloatArray) -> None:
        """Another dictionary entry, ``A -> A M`` for all patterns, changes no strain."""
        plain = one_class_field(np.stack([reciprocal(own), reciprocal(reference)])[None])
        other = one_class_field(plain.affine @ gauge)
        mask = np.array([[False, True]])
        for one, two in zip(
            *(vector(relative_strain(f, measure_reference(f, mask)))[0] for f in (plain, other)), strict=True
        ):
            np.testing.assert_allclose(one[:3], two[:3], atol=ROUNDING)
            assert np.exp(1j * one[3]) == pytest.approx(np.exp(1j * two[3]))

    @pytest.mark.parametrize("order", [2, 3, 4, 6])
    @given(gradients(), st.integers(0, 5), st.integers(0, 5))
    def test_equivalent_labels_change_nothing(self, order: int, own: FloatArray, i: int, j: int) -> None:
        """Pattern and reference may each be labelled in any of the equivalent ways of a strained entry."""
        gauge = np.array([[1.01, 0.004], [-0.006, 0.985]])
        operators = gauge @ n_fold(order) @ np.linalg.inv(gauge)
        affine = np.stack([reciprocal(own) @ gauge @ rotation(0.05), np.eye(2)])
        relabelled = np.stack([affine[0] @ operators[i % order], affine[1] @ operators[j % order]])
        mask = np.array([[False, True]])
        found = []
        for a in (affine, relabelled):
            field = one_class_field(a[None], operators=operators)
            maps = relative_strain(field, measure_reference(field, mask))
            found.append((vector(maps)[0, 0], maps.gradient[0, 0]))
        (one, one_gradient), (two, two_gradient) = found
        if np.pi / order - abs(one[3]) < 1e-6:  # two labellings turn by the same angle
            return
        turn = one_gradient @ np.linalg.inv(two_gradient)
        # The reference itself may be labelled differently: the same strain, seen from an equivalent reference.
        np.testing.assert_allclose(one[:3], two[:3], atol=ROUNDING)
        np.testing.assert_allclose(turn, np.eye(2), atol=1e-9)

    @pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
    @given(gradients())
    def test_rotation_is_the_smallest_of_the_equivalent_ones(self, order: int, own: FloatArray) -> None:
        found = strain_of(own, np.eye(2), n_fold(order))
        assert abs(found[3]) <= np.pi / order + 1e-9
        expected = [left_polar(own @ v)[1] for v in n_fold(order)]
        assert abs(found[3]) == pytest.approx(np.min(np.abs(expected)))

    def test_invalid_positions_and_classes_without_reference_are_blank(self) -> None:
        affine = np.broadcast_to(np.eye(2), (2, 2, 2, 2)).copy()
        affine[1, 0] = np.nan
        field = AffineField(
            affine,
            np.broadcast_to(1e-8 * np.eye(4), (2, 2, 4, 4)),
            np.array([[0, 1], [0, -1]]),
            np.array([[True, True], [True, False]]),
            (np.eye(2)[None], np.eye(2)[None]),
        )
        maps = relative_strain(field, measure_reference(field, field.label == 0))
        np.testing.assert_array_equal(np.isfinite(maps.exx), [[True, False], [False, False]])
        np.testing.assert_array_equal(np.isfinite(maps.sigma[..., 0]), [[True, False], [False, False]])


class TestUncertainty:
    @given(gradients())
    def test_jacobian_is_the_derivative(self, gradient: FloatArray) -> None:
        _, middle = left_polar(gradient)

        def strain(flat: FloatArray) -> FloatArray:
            stretch, theta = left_polar(flat.reshape(2, 2))
            theta = middle + (theta - middle + np.pi) % (2 * np.pi) - np.pi
            return np.array([stretch[0, 0], stretch[1, 1], stretch[0, 1], theta])

        np.testing.assert_allclose(jacobian(gradient), numerical_jacobian(strain, gradient.ravel()), atol=1e-8)

    @pytest.mark.parametrize("order", [1, 6])
    def test_covariance_is_that_of_many_draws(self, order: int) -> None:
        """Errors of the pattern and of its reference, both correlated, are drawn; the scatter is what was stated."""
        rng = np.random.default_rng(3)
        n = 20_000
        own = random_gradient(rng, 0.05, 0.4) @ rotation(np.pi / 3)
        reference = random_gradient(rng, 0.05, 0.1) @ rotation(1.3)
        roots = 4e-4 * rng.standard_normal((2, 4, 4))
        covariance = roots @ roots.swapaxes(-1, -2)
        affine = reciprocal(own) + (rng.standard_normal((n, 4)) @ roots[0].T).reshape(n, 2, 2)
        gradient = reference + (rng.standard_normal((n, 4)) @ roots[1].T).reshape(n, 2, 2)
        operators = n_fold(order)
        field = one_class_field(reciprocal(own)[None, None], operators=operators)
        object.__setattr__(field, "covariance", covariance[0][None, None])
        stated = relative_strain(field, known(reference, covariance[1]))
        drawn = np.array(
            [strain_of(deformation(a), f, operators) for a, f in zip(affine[:2000], gradient[:2000], strict=True)]
        )
        whitened = np.linalg.solve(np.linalg.cholesky(stated.covariance[0, 0]), (drawn - vector(stated)[0, 0]).T)
        error = 1 / np.sqrt(2 * drawn.shape[0])
        np.testing.assert_allclose(whitened.std(1), 1.0, atol=4 * error)
        np.testing.assert_allclose(np.corrcoef(whitened), np.eye(4), atol=4 * np.sqrt(2) * error)

    def test_reference_of_many_positions_is_known_better(self) -> None:
        """The covariance of the reference is that of its mean, from the scatter that is really there."""
        rng = np.random.default_rng(0)
        errors = []
        stated = []
        for _ in range(300):
            affine = np.eye(2) + 1e-3 * rng.standard_normal((8, 8, 2, 2))
            reference = measure_reference(one_class_field(affine, 1e-3), np.ones((8, 8), bool))
            errors.append((reference.gradient[0] - np.eye(2)).ravel())
            stated.append(np.diag(reference.covariance[0]))
        ratio = np.std(errors, 0) / np.sqrt(np.mean(stated, 0))
        np.testing.assert_allclose(ratio, 1.0, atol=0.15)
        np.testing.assert_allclose(np.std(errors, 0), 1e-3 / 8, rtol=0.15)

    def test_what_varies_smoothly_over_the_reference_is_no_error_of_its_mean(self) -> None:
        """A bent, strained region: its mean is what strain is relative to, as sure as its members are without noise."""
        rng, mask, x = np.random.default_rng(1), np.zeros((6, 12), bool), np.arange(12) * np.ones((6, 1))
        mask[:, :6] = True
        strain = 1e-3 * np.sin(x / 2.5)
        true = symmetric(1.0 + strain, 1.0 - strain, 0.5 * strain) @ rotation(2e-3 * x)
        found, stated = [], []
        for _ in range(300):
            affine = reciprocal(true) + 1e-3 * rng.standard_normal((6, 12, 2, 2))
            field = one_class_field(affine, 1e-3)
            maps = relative_strain(field, measure_reference(field, mask))
            found.append(vector(maps)[~mask])
            stated.append(maps.sigma[~mask])
        ratio = np.std(found, 0) / np.mean(stated, 0)
        np.testing.assert_allclose(ratio.mean(0), 1.0, atol=0.05)

    @pytest.mark.parametrize("side", [1, 2, 5])
    def test_members_of_the_reference_are_known_better_relative_to_it(self, side: int) -> None:
        """Their errors are in the reference too; elsewhere both errors add up. A member alone differs by nothing."""
        rng = np.random.default_rng(side)
        mask = np.zeros((6, 6), bool)
        mask[:side, :side] = True
        z = []
        for _ in range(400):
            affine = np.eye(2) + 1e-3 * rng.standard_normal((6, 6, 2, 2))
            field = one_class_field(affine, 1e-3)
            maps = relative_strain(field, measure_reference(field, mask))
            z.append(vector(maps) / maps.sigma)
        scatter = np.sqrt(np.mean(np.square(z), (0, 3)))
        np.testing.assert_allclose(scatter[~mask].mean(), 1.0, atol=0.07)
        np.testing.assert_allclose(scatter[mask], 0.0 if side == 1 else 1.0, atol=0.17)

    @pytest.mark.parametrize("side", [2, 3, 4, 6])
    def test_a_small_reference_is_not_sure_by_chance(self, side: int) -> None:
        """A few members often scatter by less than their noise: their mean is no surer for that."""
        rng, z = np.random.default_rng(side), []
        for _ in range(600):
            affine = np.eye(2) + 1e-3 * rng.standard_normal((side, side, 2, 2))
            reference = measure_reference(one_class_field(affine, 1e-3), np.ones((side, side), bool))
            z.append((reference.gradient[0] - np.eye(2)).ravel() / np.sqrt(np.diag(reference.covariance[0])))
        np.testing.assert_allclose(np.sqrt(np.mean(np.square(z), 0)), 1.0, atol=0.13)
        assert (np.abs(z) > 3.5).mean() < 0.003  # a normal distribution has .0005

    def test_members_that_neighbours_made_surer_are_as_sure_as_the_reference(self) -> None:
        """Smoothed, all members may share one small error: what they differ by from the reference is its error."""
        rng, mask, z = np.random.default_rng(7), np.zeros((6, 6), bool), []
        mask[:4, :4] = True
        for _ in range(400):
            noise = 1e-3 * rng.standard_normal((6, 6, 2, 2))
            reference = measure_reference(one_class_field(np.eye(2) + noise, 1e-3), mask)
            field = one_class_field(np.broadcast_to(np.eye(2) + noise.mean((0, 1)), noise.shape), 1e-3 / 6)
            maps = relative_strain(field, reference)
            z.append(vector(maps) / maps.sigma)
        assert 0.7 < np.sqrt(np.mean(np.square(z), (0, 3)))[mask].mean() < 1.1


class TestAxes:
    def random_maps(self, order: int = 1) -> StrainMaps:
        rng = np.random.default_rng(order)
        gradient = np.array([[random_gradient(rng) for _ in range(3)] for _ in range(2)])
        return relative_strain(one_class_field(reciprocal(gradient)), known(np.eye(2)))

    @given(angles)
    def test_scan_axes_turn_the_tensor(self, phi: float) -> None:
        maps = self.random_maps()
        turned = turn_axes(maps, "scan", phi)
        basis = rotation(phi)  # its columns are the new y and x axes
        np.testing.assert_allclose(tensor(turned), basis.T @ tensor(maps) @ basis, atol=ROUNDING)
        np.testing.assert_array_equal(turned.rotation, maps.rotation)
        # What does not depend on axes does not change.
        np.testing.assert_allclose(np.linalg.eigvalsh(tensor(turned)), np.linalg.eigvalsh(tensor(maps)), atol=ROUNDING)

    @given(angles, angles)
    def test_turns_add(self, one: float, two: float) -> None:
        maps = self.random_maps()
        twice, once = turn_axes(turn_axes(maps, "scan", one), "scan", two), turn_axes(maps, "scan", one + two)
        np.testing.assert_allclose(vector(twice), vector(once), atol=ROUNDING)
        np.testing.assert_allclose(twice.covariance, once.covariance, atol=1e-18)

    def test_crystal_axes_are_those_of_the_right_polar_decomposition(self) -> None:
        maps = self.random_maps()
        stretch, theta = right_polar(maps.gradient)
        np.testing.assert_allclose(tensor(turn_axes(maps, "crystal", 0.0)), stretch - np.eye(2), atol=ROUNDING)
        np.testing.assert_allclose(maps.rotation, theta, atol=ROUNDING)

    def test_crystal_strain_does_not_depend_on_how_the_crystal_lies(self) -> None:
        rng = np.random.default_rng(1)
        stretch = symmetric(1 + rng.uniform(-0.02, 0.02, 9), 1 + rng.uniform(-0.02, 0.02, 9), rng.uniform(-0.02, 0, 9))
        turned = rotation(rng.uniform(-3, 3, 9)) @ stretch
        maps = relative_strain(one_class_field(reciprocal(turned)[None]), known(np.eye(2)))
        np.testing.assert_allclose(tensor(turn_axes(maps, "crystal", 0.0))[0], stretch - np.eye(2), atol=ROUNDING)

    @pytest.mark.parametrize("axes", ["scan", "crystal"])
    def test_uncertainty_turns_along(self, axes: str) -> None:
        """Against draws from the covariance in detector axes."""
        rng = np.random.default_rng(5)
        maps = self.random_maps()
        root = 1e-4 * rng.standard_normal((4, 4))
        covariance = np.broadcast_to(root @ root.T, maps.covariance.shape)
        maps = StrainMaps(maps.eyy, maps.exx, maps.exy, maps.rotation, covariance, maps.gradient)
        turned = turn_axes(maps, axes, 0.3)  # type: ignore[arg-type]
        draws = (vector(maps)[..., None] + root @ rng.standard_normal((4, 4000)))[0, 0]
        # First order: the axes stay where the mean rotation has them.
        basis = rotation(0.3 + (maps.rotation[0, 0] if axes == "crystal" else 0.0))
        moved = basis.T @ symmetric(draws[0], draws[1], draws[2]) @ basis
        drawn = np.array([moved[:, 0, 0], moved[:, 1, 1], moved[:, 0, 1], draws[3]])
        np.testing.assert_allclose(np.cov(drawn), turned.covariance[0, 0], atol=0.1 * np.trace(root @ root.T) / 4)


class TestReference:
    def test_outliers_do_not_move_it(self) -> None:
        rng = np.random.default_rng(0)
        affine = np.eye(2) + 1e-3 * rng.standard_normal((10, 10, 2, 2))
        spoilt = affine.copy()
        spoilt[:2] += 0.05  # a fifth of the region is another crystal
        clean, found = (measure_reference(one_class_field(a, 1e-3), np.ones((10, 10), bool)) for a in (affine, spoilt))
        assert not found.mask[:2].any()
        assert found.mask[2:].mean() > 0.97
        np.testing.assert_allclose(found.gradient, clean.gradient, atol=4e-4)  # three standard errors

    def test_precise_positions_count_more(self) -> None:
        affine = np.broadcast_to(np.eye(2), (1, 20, 2, 2)).copy()
        affine[0, ::2] += 1e-3
        field = one_class_field(affine, 1e-3)
        covariance = field.covariance.copy()
        covariance[0, ::2] *= 1e4
        object.__setattr__(field, "covariance", covariance)
        found = measure_reference(field, np.ones((1, 20), bool))
        np.testing.assert_allclose(found.gradient[0], np.eye(2), atol=1e-6)

    def test_labels_of_its_positions_may_differ(self) -> None:
        rng = np.random.default_rng(0)
        operators = n_fold(6)
        affine = np.eye(2) + 1e-3 * rng.standard_normal((10, 10, 2, 2))
        mixed = affine @ operators[rng.integers(0, 6, (10, 10))]
        for a in (affine, mixed):
            found = measure_reference(one_class_field(a, 1e-3, operators), np.ones((10, 10), bool))
            assert found.mask.all()
            apart = np.abs(found.gradient[0] - operators).max((1, 2)).min()
            assert apart < 4e-4

    def test_one_for_each_class_in_the_region(self) -> None:
        affine = np.broadcast_to(np.eye(2), (2, 4, 2, 2)).copy()
        affine[1] = reciprocal(np.diag([1.01, 1.02]))
        field = AffineField(
            affine,
            np.broadcast_to(1e-8 * np.eye(4), (2, 4, 4, 4)),
            np.array([[0] * 4, [2] * 4]),
            np.ones((2, 4), bool),
            (np.eye(2)[None],) * 3,
        )
        found = measure_reference(field, np.ones((2, 4), bool))
        np.testing.assert_allclose(found.gradient[[0, 2]], [np.eye(2), np.diag([1.01, 1.02])], atol=ROUNDING)
        assert np.isnan(found.gradient[1]).all()
        only_first = measure_reference(field, field.label == 0)
        assert np.isnan(only_first.gradient[2]).all()

    def test_a_bent_reference_is_not_shrunk(self) -> None:
        theta = np.deg2rad(np.linspace(-6, 6, 200))[None]
        affine = rotation(theta) @ symmetric(1.004, 0.997, 0.002)
        field = one_class_field(affine, 1e-6, n_fold(6))
        reference = measure_reference(field, np.ones(theta.shape, bool))
        own = deformation(field.affine[0, 100])
        lengths = np.linalg.svd(reference.gradient[0], compute_uv=False)
        assert np.allclose(lengths, np.linalg.svd(own, compute_uv=False), atol=1e-5)


class TestCoherentRegions:
    def grains(self, noise: float) -> AffineField:
        """Three vertical grains, 4, 8 and 6 columns wide, 1 % or 2 degrees apart."""
        rng = np.random.default_rng(0)
        states = [np.eye(2), symmetric(np.array(1.01), np.array(1.0), np.array(0.0)), rotation(np.deg2rad(2.0))]
        widths = [4, 8, 6]
        row = np.concatenate([np.repeat(reciprocal(s)[None], w, 0) for s, w in zip(states, widths, strict=True)])
        affine = np.broadcast_to(row, (12, 18, 2, 2)) + noise * rng.standard_normal((12, 18, 2, 2))
        return one_class_field(affine, max(noise, 1e-6))

    @pytest.mark.parametrize("noise", [0.0, 5e-4])
    def test_grains_are_told_apart_largest_first(self, noise: float) -> None:
        found = coherent_regions(self.grains(noise))
        np.testing.assert_array_equal(found, np.broadcast_to(np.repeat([2, 0, 1], [4, 8, 6]), (12, 18)))

    def test_slow_change_is_one_region(self) -> None:
        ramp = np.eye(2) + 2e-3 * np.arange(20)[None, :, None, None] * np.ones((8, 1, 2, 2))
        assert (coherent_regions(one_class_field(ramp)) == 0).all()

    def test_equivalent_labels_are_one_region(self) -> None:
        rng = np.random.default_rng(1)
        operators = n_fold(4)
        affine = rotation(0.2) @ operators[rng.integers(0, 4, (6, 6))]
        assert (coherent_regions(one_class_field(affine, operators=operators)) == 0).all()
        assert coherent_regions(one_class_field(affine)).max() > 0

    def test_invalid_positions_belong_to_none(self) -> None:
        valid = np.ones((12, 18), bool)
        valid[3:5] = False
        found = coherent_regions(one_class_field(self.grains(0.0).affine, valid=valid))
        assert (found[3:5] == -1).all()
        assert len(np.unique(found[valid])) == 6  # the blank rows cut each grain in two
