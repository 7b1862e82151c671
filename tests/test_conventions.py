"""Each numbered sentence of docs/conventions.md, pinned."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr

from cyclestrain.affine import deformation, left_polar, reciprocal, right_polar, rotation, symmetric, wrap_angle
from cyclestrain.data import AffineField, Fields, Quantity, Scan, StrainMaps
from cyclestrain.io import parse_mask, read
from cyclestrain.pattern import Dictionary
from cyclestrain.result import pattern_variables, predicted
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import uniform
from cyclestrain.strain import (
    Ellipse,
    Reference,
    Wanted,
    grain_rotation,
    parse_known,
    parse_reference,
    pick_reference,
    principal_strains,
    relative_strain,
    strain_in_grains,
    turn_axes,
    without_reference,
)
from laws import made_up_entry, one_class_field, ring_of_reflections

X, Y = np.array([0.0, 1.0]), np.array([1.0, 0.0])
UP_TO_ROUNDING = 1e-12
DOCUMENT = Path(__file__).parents[1] / "docs" / "conventions.md"


def six_fold() -> np.ndarray:
    return rotation(np.arange(6) * np.pi / 3)


def field(gradient: np.ndarray, operators: np.ndarray | None = None) -> AffineField:
    """One row of positions with the given deformation gradients, all of entry 0."""
    gradient = np.atleast_3d(gradient).reshape(1, -1, 2, 2)
    shape = gradient.shape[:2]
    return AffineField(
        affine=reciprocal(gradient),
        covariance=np.broadcast_to(1e-8 * np.eye(4), (*shape, 4, 4)).copy(),
        label=np.zeros(shape, int),
        operators=(np.eye(2)[None] if operators is None else operators,),
        valid=np.ones(shape, bool),
    )


def strain(gradient: np.ndarray, reference: np.ndarray, operators: np.ndarray | None = None) -> StrainMaps:
    known = Reference.known(reference[None])
    return relative_strain(field(gradient, operators), known)


def tensor(maps: StrainMaps) -> np.ndarray:
    return symmetric(maps.eyy, maps.exx, maps.exy)[0, 0]


def sheared(seed: int = 0) -> np.ndarray:
    """A deformation gradient of a few percent, with rotation."""
    return rotation(0.07) @ (np.eye(2) + 0.02 * np.random.default_rng(seed).standard_normal((2, 2)))


def test_every_sentence_has_a_test_and_every_test_a_sentence() -> None:
    sentences = {int(n) for n in re.findall(r"^- \*\*C(\d+)\*\*", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)}
    pinned = {int(match[1]) for name in globals() if (match := re.match(r"test_c(\d+)_", name))}
    assert sentences == pinned == set(range(1, len(sentences) + 1))


def test_c1_a_scan_is_ry_rx_qy_qx() -> None:
    scan = Scan(np.zeros((2, 3, 4, 5)))
    assert scan.scan_shape == (2, 3)
    assert scan.detector_shape == (4, 5)
    assert scan.n_positions == 6
    # Flat positions are row-major: the column moves fastest.
    assert next(scan.blocks()).positions.tolist() == [0, 1, 2, 3, 4, 5]


def test_c2_pixel_centres_are_at_integers_and_y_grows_downwards() -> None:
    """A beam half a pixel from the middle of an even detector lies on a pixel, in the lower right of the four."""
    direct_beam_only = {"detector": (32, 32), "radius": 3.0, "spacing": 15.0, "background": 0.0}
    made = uniform(scan=(1, 1), centre_offset=(0.5, 1.5), **direct_beam_only)
    pattern = np.asarray(made.scan.source)[0, 0].astype(float)[10:24, 10:24]
    y, x = np.mgrid[10:24, 10:24]
    assert (made.truth.centre_y, made.truth.centre_x) == (16.0, 17.0)
    assert (y * pattern).sum() / pattern.sum() == pytest.approx(16.0, abs=0.02)
    assert (x * pattern).sum() / pattern.sum() == pytest.approx(17.0, abs=0.02)


def test_c3_vectors_and_matrices_are_in_y_x_order() -> None:
    stretch_y = symmetric(np.array(2.0), np.array(1.0), np.array(0.0))
    assert (stretch_y @ Y == 2 * Y).all()
    assert (stretch_y @ X == X).all()
    assert stretch_y[0, 0] == 2.0


@pytest.mark.parametrize("degrees", [0, 10, 90, 200])
def test_c4_a_positive_angle_turns_x_towards_y(degrees: int) -> None:
    theta = np.deg2rad(degrees)
    np.testing.assert_allclose(rotation(theta) @ X, [np.sin(theta), np.cos(theta)], atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(rotation(np.pi / 2) @ X, Y, atol=UP_TO_ROUNDING)


def test_c5_rotations_compose_by_adding() -> None:
    np.testing.assert_allclose(rotation(0.3) @ rotation(0.5), rotation(0.8), atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(np.linalg.inv(rotation(0.3)), rotation(0.3).T, atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(rotation(0.3).T, rotation(-0.3), atol=UP_TO_ROUNDING)


def test_c6_radians_inside_degrees_in_options() -> None:
    assert strain(rotation(0.1), np.eye(2)).rotation[0, 0] == pytest.approx(0.1)
    option = MapSettings.model_fields["scan_rotation"]
    assert option.annotation == float | Literal["auto"] | None
    assert Scan(np.zeros((1, 1, 1, 1)), scan_rotation=np.pi / 2).scan_rotation == np.pi / 2


def test_c7_the_gradient_takes_reference_vectors_to_deformed_ones() -> None:
    """Distances in real space and spacings in the pattern are reciprocal: g . r does not change."""
    gradient, r, g = sheared(), np.array([3.0, -1.0]), np.array([0.2, 0.5])
    assert (reciprocal(gradient) @ g) @ (gradient @ r) == pytest.approx(g @ r)


def test_c8_first_turned_then_stretched() -> None:
    stretch, theta = left_polar(sheared())
    np.testing.assert_allclose(stretch, stretch.T, atol=UP_TO_ROUNDING)
    assert (np.linalg.eigvalsh(stretch) > 0).all()
    np.testing.assert_allclose(stretch @ rotation(theta), sheared(), atol=UP_TO_ROUNDING)
    # A quarter turn followed by a stretch along x: the crystal's own y, now lying along x, is what got longer.
    gradient = symmetric(np.array(1.0), np.array(1.01), np.array(0.0)) @ rotation(np.pi / 2)
    stretch, theta = left_polar(gradient)
    assert theta == pytest.approx(np.pi / 2)
    assert stretch[1, 1] == pytest.approx(1.01)


def test_c9_strain_is_v_minus_one_in_detector_axes() -> None:
    maps = strain(symmetric(np.array(1.01), np.array(1.02), np.array(0.003)) @ rotation(0.4), np.eye(2))
    assert maps.eyy[0, 0] == pytest.approx(0.01)
    assert maps.exx[0, 0] == pytest.approx(0.02)
    assert maps.exy[0, 0] == pytest.approx(0.003)
    assert maps.rotation[0, 0] == pytest.approx(0.4)


def test_c10_tension_is_positive() -> None:
    longer_along_x = np.diag([1.0, 1.01])
    assert np.linalg.norm(longer_along_x @ X) > 1
    assert strain(longer_along_x, np.eye(2)).exx[0, 0] == pytest.approx(0.01)


def test_c11_exy_is_the_tensor_shear() -> None:
    exy = 1e-3
    gradient = np.eye(2) + np.array([[0.0, exy], [exy, 0.0]])
    x, y = gradient @ X, gradient @ Y
    closing = np.pi / 2 - np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert closing == pytest.approx(2 * exy, rel=1e-4)
    assert strain(gradient, np.eye(2)).exy[0, 0] == pytest.approx(exy)
    assert np.linalg.norm(gradient @ (X + Y)) > np.linalg.norm(X + Y)


def test_c12_the_affine_of_a_pattern_is_not_the_strain() -> None:
    affine = reciprocal(np.diag([1.0, 1.02]))
    np.testing.assert_allclose(affine @ X, X / 1.02, atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(affine @ Y, Y, atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(reciprocal(sheared()), np.linalg.inv(sheared()).T, atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(deformation(reciprocal(sheared())), sheared(), atol=UP_TO_ROUNDING)


def test_c13_a_rotation_turns_pattern_and_lattice_alike() -> None:
    np.testing.assert_allclose(reciprocal(rotation(0.3)), rotation(0.3), atol=UP_TO_ROUNDING)


def test_c14_relative_to_a_reference_gradients_divide_and_strains_are_not_subtracted() -> None:
    own, reference = rotation(0.5) @ sheared(1), sheared(2)
    stretch, theta = left_polar(own @ np.linalg.inv(reference))
    maps = strain(own, reference)
    np.testing.assert_allclose(tensor(maps), stretch - np.eye(2), atol=UP_TO_ROUNDING)
    assert maps.rotation[0, 0] == pytest.approx(theta)
    subtracted = left_polar(own)[0] - left_polar(reference)[0]
    assert np.abs(tensor(maps) - subtracted).max() > 1e-3
    # A class without a reference is blank, and that is told.
    two = field(np.stack([own, own]))
    two = replace(two, label=np.array([[0, 1]]), operators=two.operators * 2)
    known = Reference.known(np.stack([reference, np.full((2, 2), np.nan)]))
    np.testing.assert_array_equal(np.isnan(relative_strain(two, known).exx), [[False, True]])
    np.testing.assert_array_equal(without_reference(two, known)[0], [[False, True]])


def test_c15_the_affine_of_the_dictionary_cancels() -> None:
    own, reference, gauge = sheared(1), sheared(2), sheared(3)
    one, two = strain(own, reference), strain(own @ gauge, reference @ gauge)
    np.testing.assert_allclose(tensor(one), tensor(two), atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(one.rotation, two.rotation, atol=UP_TO_ROUNDING)


def test_c15_the_ideal_lattice_gives_the_strain_of_the_crystal_itself() -> None:
    gauge = sheared(3)  # of an entry whose lattice is no more symmetric than that
    basis = reciprocal(gauge) @ np.array([[0.0, np.sin(np.pi / 3)], [1.0, 0.5]])
    operators = reciprocal(gauge) @ six_fold() @ np.linalg.inv(reciprocal(gauge))
    own = symmetric(np.array([0.99, 1.01]), np.array([1.02, 1.0]), np.array([0.003, 0.0])) @ rotation(
        np.array([0.1, 0.3])
    )
    crystals = replace(field(own, operators), affine=(reciprocal(own) @ np.linalg.inv(reciprocal(gauge)))[None])
    maps = relative_strain(crystals, pick_reference(crystals, Wanted("ideal"), basis[None]))
    spacing = np.linalg.det(own).prod() ** 0.25
    expected = left_polar(own / spacing)[0] - np.eye(2)
    np.testing.assert_allclose(symmetric(maps.eyy, maps.exx, maps.exy)[0], expected, atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(maps.rotation[0], [0.1, 0.3], atol=1e-9)


@pytest.mark.parametrize("turns", range(-3, 4))
def test_c16_of_symmetric_variants_the_smallest_rotation_is_chosen(turns: int) -> None:
    own, reference = sheared(1), sheared(2)
    one = strain(own, reference, six_fold())
    other = strain(own @ rotation(turns * np.pi / 3), reference, six_fold())
    np.testing.assert_allclose(tensor(one), tensor(other), atol=UP_TO_ROUNDING)
    assert one.rotation[0, 0] == pytest.approx(other.rotation[0, 0])
    far = strain(rotation(np.deg2rad(50)), np.eye(2), six_fold())
    assert np.rad2deg(far.rotation[0, 0]) == pytest.approx(-10)


def test_c16_one_variant_for_each_grain_and_a_doubt_where_two_are_as_good() -> None:
    reference = Reference.known(np.diag([0.99, 1.01])[None])
    degrees = np.repeat([10.0, 29.0, 29.8], 8)  # three grains in a row
    grains = field(rotation(np.deg2rad(degrees)), six_fold())
    near = grain_rotation(relative_strain(grains, reference), grains)
    maps, unsure = strain_in_grains(grains, reference, near)
    np.testing.assert_allclose(np.rad2deg(maps.rotation[0]), degrees, atol=1e-6)
    np.testing.assert_array_equal(unsure[0], degrees > 29.5)
    # The numbers of the document.
    grain = [100 * float(values[0, 8]) for values in (maps.exx, maps.eyy, maps.exy)]
    np.testing.assert_allclose(grain, [-0.5, 0.5, -0.85], atol=0.05)
    other = relative_strain(grains, reference, np.full(near.shape, np.deg2rad(-31.0)))
    assert 100 * other.exy[0, 8] == pytest.approx(0.88, abs=0.01)
    # In doubt both are within the uncertainty that is told.
    assert (np.abs(other.exy - maps.exy)[unsure] < 2.1 * maps.sigma[..., 2][unsure]).all()
    # Relative to the ideal lattice nothing depends on it.
    one, two = (relative_strain(grains, Reference.known(np.eye(2)[None]), np.full(near.shape, a)) for a in (0.5, -0.5))
    np.testing.assert_allclose(one.exy, two.exy, atol=UP_TO_ROUNDING)


def test_c17_detector_axes_are_the_default() -> None:
    assert MapSettings().axes == "detector"
    maps = strain(np.diag([1.01, 1.02]), np.eye(2))
    assert turn_axes(maps, "detector", 0.7) is maps


def test_c18_scan_axes_are_turned_by_the_scan_rotation() -> None:
    phi = 0.3
    along_scan_x = rotation(phi) @ X
    gradient = np.eye(2) + 0.02 * np.outer(along_scan_x, along_scan_x)
    maps = strain(gradient @ rotation(0.2), np.eye(2))
    turned = turn_axes(maps, "scan", phi)
    np.testing.assert_allclose(tensor(turned), [[0, 0], [0, 0.02]], atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(tensor(turned), rotation(phi).T @ tensor(maps) @ rotation(phi), atol=UP_TO_ROUNDING)
    assert turned.rotation[0, 0] == maps.rotation[0, 0]


def test_c19_crystal_axes_turn_with_the_lattice() -> None:
    gradient, reflection = rotation(0.4) @ symmetric(np.array(1.01), np.array(1.03), np.array(0.002)), 0.25
    stretch, theta = right_polar(gradient)
    np.testing.assert_allclose(rotation(theta) @ stretch, gradient, atol=UP_TO_ROUNDING)
    np.testing.assert_allclose(
        stretch, rotation(theta).T @ left_polar(gradient)[0] @ rotation(theta), atol=UP_TO_ROUNDING
    )
    maps = strain(gradient, np.eye(2))
    np.testing.assert_allclose(tensor(turn_axes(maps, "crystal", 0.0)), stretch - np.eye(2), atol=UP_TO_ROUNDING)
    along = rotation(reflection) @ X
    expected = along @ (stretch - np.eye(2)) @ along
    assert turn_axes(maps, "crystal", reflection).exx[0, 0] == pytest.approx(expected)


def test_c20_reflections_are_at_the_beam_centre_plus_the_affine_of_the_entry() -> None:
    entry = made_up_entry(ring_of_reflections())
    affine = np.broadcast_to(reciprocal(sheared()), (1, 2, 2, 2))
    one = one_class_field(affine)
    centre, ones = np.full((1, 2, 2), (63.0, 65.5)), np.ones((1, 2))
    fields = Fields(one, one, centre, ones, ones, ones > 0, ones)
    names = {"class": 0, "gain": 1.0, "centre_y": 63.0, "centre_x": 65.5}
    maps = xr.Dataset({name: (("ry", "rx"), np.full((1, 2), value)) for name, value in names.items()})
    maps = maps.assign(pattern_variables(fields, Dictionary((entry,), 1.0), np.ones((128, 128), bool)))
    found = predicted(maps, 0, 1)
    places = np.stack([found["y"], found["x"]], 1)
    np.testing.assert_allclose(places, (63.0, 65.5) + entry.reflections @ reciprocal(sheared()).T, atol=1e-5)


def test_c21_on_a_mirrored_detector_shear_and_rotation_change_their_signs() -> None:
    phi, flip = 0.3, np.diag([-1.0, 1.0])
    in_scan = np.eye(2) + np.array([[0.01, 0.004], [0.002, -0.02]])
    on_detector = rotation(phi) @ flip @ in_scan @ flip @ rotation(-phi)
    seen = turn_axes(strain(on_detector, np.eye(2)), "scan", phi, mirrored=True)
    expected = strain(in_scan, np.eye(2))
    np.testing.assert_allclose(tensor(seen), tensor(expected), atol=UP_TO_ROUNDING)
    assert seen.rotation[0, 0] == pytest.approx(expected.rotation[0, 0])


def test_c22_transpose_exchanges_the_axes_of_the_detector_and_flip_reverses_what_comes_of_it() -> None:
    array = np.random.default_rng(0).integers(0, 99, (2, 3, 17, 19)).astype(np.uint16)
    turned = array.swapaxes(2, 3)
    for options, expected in (
        ({"flip": "y"}, array[:, :, ::-1]),
        ({"flip": "x"}, array[..., ::-1]),
        ({"transpose": True}, turned),
        ({"transpose": True, "flip": "y"}, turned[:, :, ::-1]),
        ({"transpose": True, "flip": "yx"}, turned[:, :, ::-1, ::-1]),
    ):
        scan = read(array, **options)
        np.testing.assert_array_equal(scan.row_band(0, 2), expected)
        np.testing.assert_array_equal(scan.source[1, 1:, 2:5, 3], expected[1, 1:, 2:5, 3])


def test_c23_a_pixel_is_height_and_width() -> None:
    scan = read(np.ones((2, 2, 16, 16)), pixel="0.12,0.1/nm")
    assert scan.pixel_ratio == pytest.approx(1.2)
    assert scan.reciprocal_step == Quantity(pytest.approx(0.1 * 1.2**0.5), "1/nm")
    assert read(np.ones((2, 2, 16, 16)), pixel="0.12,0.1/nm", transpose=True).pixel_ratio == pytest.approx(1 / 1.2)
    # A vector of (1, 1) in 1/nm lies at (1/0.12, 1/0.1) pixels; what is corrected has its true direction and size.
    recorded, mean = np.array([1 / 0.12, 1 / 0.1]), 0.1 * 1.2**0.5
    true = mean * np.linalg.inv(Ellipse.of_pixels(1.2).matrix) @ recorded
    np.testing.assert_allclose(true, [1.0, 1.0], atol=UP_TO_ROUNDING)


def test_c24_regions_keep_the_coordinates_of_the_scan() -> None:
    scan = read(np.ones((5, 7, 16, 16)), scan_roi="1:4,2:6")
    assert scan.origin == (1, 2)


def test_c25_masks_are_true_where_something_is_used() -> None:
    mask = parse_mask("1:2,0:3", (3, 4), "--sample")
    assert mask.sum() == 3
    assert mask[1, :3].all()


def test_c26_a_known_lattice_is_unstrained_with_its_first_vector_along_x() -> None:
    """Silicon along [110] of known spacing, at a pixel of 0.1 1/nm with an uncertainty of 1 %."""
    (silicon,) = parse_known("a=5.431,structure=diamond,zone=110")
    gradient = sheared(3)
    basis = silicon.basis / 0.1
    drawn = field(gradient)  # the entry is the lattice itself
    wanted = parse_reference("auto", (1, 1), (silicon,), (0.1, 0.01))
    reference = pick_reference(drawn, wanted, basis[None])
    maps = reference.widened(relative_strain(drawn, reference))
    np.testing.assert_allclose(tensor(maps), left_polar(gradient)[0] - np.eye(2), atol=1e-9)
    upright = reciprocal(reference.gradient[0]) @ basis
    np.testing.assert_allclose(upright[:, 0], [0.0, 10 * np.sqrt(3) / 5.431 / 0.1], atol=1e-9)
    # The camera length makes exx and eyy wrong together: all of their mean, nothing of their difference.
    covariance = maps.covariance[0, 0]
    assert covariance[0, 0] == pytest.approx((0.01 * (1 + maps.eyy[0, 0])) ** 2, rel=0.01)
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] < 1e-6


def test_c27_the_direction_of_the_largest_strain_counts_from_x_to_y() -> None:
    along = rotation(0.4) @ X
    stretched = 0.02 * np.outer(along, along)
    found = principal_strains(np.array([stretched[0, 0], stretched[1, 1], stretched[0, 1]]), 1e-12 * np.eye(3))
    assert found["angle"].value == pytest.approx(0.4)
    assert found["largest"].value == pytest.approx(0.02)
    assert found["shear"].value == pytest.approx(0.01)


def test_torch_and_numpy_agree_and_keep_precision() -> None:
    torch = pytest.importorskip("torch")
    matrix = sheared().astype(np.float32)
    stretch, theta = left_polar(torch.tensor(matrix))
    pairs = [
        (rotation(np.float32(0.3)), rotation(torch.tensor(0.3))),
        (deformation(matrix), deformation(torch.tensor(matrix))),
        (left_polar(matrix)[0], stretch),
        (left_polar(matrix)[1], theta),
    ]
    for ours, theirs in pairs:
        assert ours.dtype == np.float32
        assert theirs.dtype == torch.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 5])
def test_angles_wrap_into_half_open_periods(turns: int) -> None:
    assert wrap_angle(0.2 + turns * np.pi / 3, np.pi / 3) == pytest.approx(0.2)
    assert wrap_angle(np.pi, 2 * np.pi) == -np.pi
