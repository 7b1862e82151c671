"""Known lattices: their reflections by textbook formulas, entries matched to them, and absolute strain."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cyclestrain.affine import left_polar, reciprocal, rotation
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.strain import (
    Reference,
    Wanted,
    parse_known,
    parse_reference,
    pick_reference,
    relative_strain,
    without_reference,
)
from cyclestrain.strain.known import lattices_text, stored_lattices
from laws import one_class_field, random_gradient

SILICON, GOLD = "a=5.431,structure=diamond,zone=110,name=Si", "a=4.0782,structure=fcc,zone=001,name=Au"
PIXEL = 0.15


@pytest.mark.parametrize(
    ("text", "lengths", "angle"),
    [
        # Shortest two reflections that are not absent, 1/nm, from d_hkl of each structure; angle between them.
        ("a=5.431,structure=diamond,zone=110", [10 * 3**0.5 / 5.431] * 2, np.degrees(np.arccos(1 / 3))),
        ("a=5.431,structure=diamond,zone=001", [10 * 8**0.5 / 5.431] * 2, 90),
        ("a=4,structure=fcc,zone=001", [5.0] * 2, 90),
        ("a=4,structure=fcc,zone=111", [10 * 8**0.5 / 4] * 2, 60),
        ("a=5.65,structure=zincblende,zone=1-10", [10 * 3**0.5 / 5.65] * 2, np.degrees(np.arccos(1 / 3))),
        ("a=5.64,structure=rocksalt,zone=[0 0 1]", [20 / 5.64] * 2, 90),
        ("a=2.866,structure=bcc,zone=001", [10 * 2**0.5 / 2.866] * 2, 90),
        ("a=2.866,structure=bcc,zone=111", [10 * 2**0.5 / 2.866] * 2, 60),
        ("a=3,structure=sc,zone=001", [10 / 3] * 2, 90),
        ("a=3,c=4,structure=sc,zone=100", [2.5, 10 / 3], 90),
        ("a=2.46,structure=graphene,zone=001", [20 / 3**0.5 / 2.46] * 2, 60),
        ("a=2.95,c=4.68,structure=hcp,zone=0001", [20 / 3**0.5 / 2.95] * 2, 60),
        # 0001 itself is absent, but 10-10 and 10-11 differ by it.
        ("a=2.95,c=4.68,structure=hcp,zone=11-20", [10 / 4.68, 20 / 3**0.5 / 2.95], 90),
    ],
)
def test_reflections_of_a_zone(text: str, lengths: list[float], angle: float) -> None:
    basis = parse_known(text)[0].basis
    np.testing.assert_allclose(np.hypot(*basis), lengths, rtol=1e-9)
    cosine = abs(basis[:, 0] @ basis[:, 1]) / np.prod(np.hypot(*basis))
    assert np.degrees(np.arccos(cosine)) == pytest.approx(angle)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a=5.4,structure=diamond", "zone axis"),
        ("a=5.4,structure=dimond,zone=110", "structure is one of"),
        ("structure=fcc,zone=110", "lattice constant in angstrom"),
        ("a=0.5431e-9,structure=fcc,zone=110", "lattice constant in angstrom"),
        ("a=5.4,structure=fcc,zone=11", "no zone axis"),
        ("a=5.4,structure=fcc,zone=000", "no zone axis"),
        ("a=5.4,structure=fcc,zone=110,b=3", "not understood"),
        ("", "not understood"),
        ("nowhere.cif,zone=110", "no file|not installed"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_known(text)


CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{name}1 {name} 0 0 0
"""


def test_cif_files_are_expanded_by_their_symmetry(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    for name, a in (("Au", 4.0782), ("Al", 4.0496)):
        (tmp_path / f"{name}.cif").write_text(CIF.format(name=name, a=a))
    gold, aluminium = parse_known(f"{tmp_path / 'Au.cif'},{tmp_path / 'Al.cif'},zone=001")
    np.testing.assert_allclose(np.hypot(*gold.basis), 20 / 4.0782, rtol=1e-9)
    assert (gold.name, aluminium.name) == ("Au [001]", "Al [001]")
    (tmp_path / "text.cif").write_text("no crystal")
    with pytest.raises(InputError, match="not a CIF file"):
        parse_known(f"{tmp_path / 'text.cif'},zone=001")


def test_cif_files_need_ase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase.io", None)
    with pytest.raises(InputError, match=r"cyclestrain\[crystals\]"):
        parse_known("some.cif,zone=110")


def test_lattices_come_back_from_a_result() -> None:
    lattices = parse_known(SILICON) + parse_known(GOLD)
    again = stored_lattices(lattices_text(lattices))
    assert [one.name for one in again] == ["Si", "Au"]
    np.testing.assert_array_equal(again[1].basis, lattices[1].basis)
    assert again[0].parameter == 5.431
    with pytest.raises(InputError, match="damaged"):
        stored_lattices('[{"name": 3}]')


def recorded(text: str, gradient: FloatArray, rng: np.random.Generator) -> tuple[AffineField, FloatArray]:
    """Field and basis as a run would find them: turned, mirrored and labelled in any way, each position at an affine.

    The entry's frame is a deformed lattice; only ``affine @ basis`` has a meaning.
    """
    relabelled = np.array([[2, 1], [1, 1]]) if rng.random() < 0.5 else np.array([[1, 0], [-1, 1]])
    mirror = np.diag([rng.choice([-1.0, 1.0]), 1.0])
    vectors = mirror @ parse_known(text)[0].basis @ relabelled / PIXEL
    gauge = random_gradient(rng)
    return one_class_field(reciprocal(gradient) @ np.linalg.inv(gauge), 1e-6), (gauge @ vectors)[None]


def absolute(
    field: AffineField, bases: FloatArray, known: list[str], pixel: tuple[float, float] | None, words: str = "known"
) -> Reference:
    lattices = tuple(lattice for text in known for lattice in parse_known(text))
    shape = field.label.shape
    return pick_reference(field, parse_reference(words, (shape[0], shape[1]), lattices, pixel), bases)


def some_gradients(rng: np.random.Generator, shape: tuple[int, int] = (4, 5), dilation: float = 0.0) -> FloatArray:
    common = np.eye(2) * (1 + dilation)
    turned = [random_gradient(rng, 0.012) @ common for _ in range(shape[0] * shape[1])]
    return np.reshape(turned, (*shape, 2, 2))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("text", [SILICON, GOLD, "a=2.46,structure=graphene,zone=001", "a=3,c=4,structure=sc,zone=110"])
def test_strain_is_absolute_in_any_orientation_labelling_and_handedness(text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradient = some_gradients(rng, dilation=0.008)
    field, bases = recorded(text, gradient, rng)
    reference = absolute(field, bases, [text], (PIXEL, 0.0))
    maps = relative_strain(field, reference)
    stretch, _ = left_polar(gradient)
    np.testing.assert_allclose(maps.eyy, stretch[..., 0, 0] - 1, atol=1e-9)
    np.testing.assert_allclose(maps.exx, stretch[..., 1, 1] - 1, atol=1e-9)
    np.testing.assert_allclose(maps.exy, stretch[..., 0, 1], atol=1e-9)


def test_a_wrong_camera_length_is_in_sigma_and_the_rest_is_free_of_it() -> None:
    rng = np.random.default_rng(1)
    gradient = some_gradients(rng)
    stretch, _ = left_polar(gradient)
    field, bases = recorded(SILICON, gradient, rng)
    for stated in rng.normal(1.0, 0.02, 20):
        reference = absolute(field, bases, [SILICON], (PIXEL * stated, 0.02))
        maps = reference.widened(relative_strain(field, reference))
        pulls = (maps.exx - stretch[..., 1, 1] + 1) / maps.sigma[..., 1]
        np.testing.assert_allclose(pulls, (1 - stated) / 0.02, atol=1e-3)
        assert np.abs(maps.exx - maps.eyy - (stretch[..., 1, 1] - stretch[..., 0, 0])).max() < 3e-3
        spread = np.array([1.0, -1.0, 0.0, 0.0])
        assert np.sqrt(spread @ maps.covariance[0, 0] @ spread) < 1e-3
    assert "2 %" in reference.text
    assert "said to be exact" in absolute(field, bases, [SILICON], (PIXEL, 0.0)).text


def test_the_pixel_is_calibrated_where_it_is_not_stated() -> None:
    rng = np.random.default_rng(2)
    gradient = some_gradients(rng)
    gradient[:2] = 1.0 * rotation(0.3)
    field, bases = recorded(GOLD, gradient, rng)
    whole = absolute(field, bases, [GOLD], None)
    maps = relative_strain(field, whole)
    assert abs((maps.exx + maps.eyy).mean()) < 1e-4
    assert whole.mask.all()
    assert "exx + eyy is relative to that mean" in whole.text
    part = absolute(field, bases, [GOLD], (0.5, 0.1), "known 0:2,:")  # a stated pixel is set aside
    assert part.pixel is not None
    assert part.pixel[0] == pytest.approx(PIXEL, rel=1e-9)
    assert part.mask[:2].all()
    assert not part.mask[2:].any()
    np.testing.assert_allclose(relative_strain(field, part).exx[:2], 0.0, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        GOLD,
        "a=5.431,structure=diamond,zone=001",
        "a=5.431,structure=diamond,zone=111",
        "a=5.0,structure=diamond,zone=110",
        "a=2.9,c=4.7,structure=hcp,zone=11-20",
    ],
)
def test_another_lattice_is_not_accepted(wrong: str) -> None:
    rng = np.random.default_rng(3)
    field, bases = recorded(SILICON, some_gradients(rng), rng)
    with pytest.raises(InputError, match=r"no class of the scan is the lattice of --known\. Measured: class 0, 3\."):
        absolute(field, bases, [wrong], (PIXEL, 0.01))


@pytest.mark.parametrize("seed", range(4))
def test_no_lattice_is_found_in_a_made_up_one(seed: int) -> None:
    """An oblique lattice at a spacing of its own is none of the candidates, with a camera length known to 2 %."""
    rng = np.random.default_rng(seed)
    field, _ = recorded(SILICON, some_gradients(rng), rng)
    bases = np.array([[[0.0, 19.0 + 2 * seed], [27.0, 7.5]]])
    with pytest.raises(InputError, match="no class"):
        absolute(field, bases, [SILICON, GOLD], (PIXEL, 0.02))


@pytest.mark.parametrize(
    ("words", "axis"),
    [
        ("a=4.05,structure=fcc,zone=110", 2),
        ("a=4.05,structure=fcc,zone=112", 6),
        ("a=2.46,structure=hexagonal,zone=001", 3),
        ("a=2.95,c=4.68,structure=hcp,zone=001", 3),
        ("a=2.95,c=4.68,structure=hcp,zone=100", 0),
    ],
)
def test_axes_about_which_lattices_coincide(words: str, axis: int) -> None:
    (lattice,) = parse_known(words)
    assert lattice.axis == axis


def test_few_lattices_pass_for_silicon_by_chance() -> None:
    """Reduced lattices of any shape and spacing: one in a hundred with a camera length, one in ten without."""
    rng = np.random.default_rng(0)
    silicon = parse_known(SILICON)
    passed = {0.02: 0, None: 0}
    for _ in range(100):
        angle = np.radians(rng.uniform(60, 90))
        basis = np.array([[0.0, np.sin(angle)], [1.0, np.cos(angle)]]) * (1.0, rng.uniform(1, 1.8)) * rng.uniform(2, 8)
        for sigma in passed:
            try:
                pixel = None if sigma is None else (1.0, sigma)
                Wanted("known", lattices=silicon, pixel=pixel).check(basis[None])
                passed[sigma] += 1
            except InputError:
                pass
    assert passed[0.02] <= 2
    assert passed[None] <= 10


def two_classes(one: str, other: str) -> tuple[AffineField, FloatArray]:
    rng = np.random.default_rng(5)
    gradient = some_gradients(rng, (4, 6))
    field, first = recorded(one, gradient, rng)
    second_field, second = recorded(other, gradient, rng)
    label = np.repeat([[0, 0, 0, 1, 1, 1]], 4, 0)
    affine = np.where((label == 0)[..., None, None], field.affine, second_field.affine)
    operators = (np.eye(2)[None], np.eye(2)[None])
    return replace(field, affine=affine, label=label, operators=operators), np.concatenate([first, second])


def test_phases_are_named_and_others_are_unknown() -> None:
    field, bases = two_classes(SILICON, GOLD)
    both = absolute(field, bases, [GOLD, SILICON], (PIXEL, 0.02))
    assert both.phases == ("Si", "Au")
    assert both.parameters == (5.431, 4.0782)
    only = absolute(field, bases, [GOLD], (PIXEL, 0.02))
    assert only.phases == ("unknown", "Au")
    assert only.classes.tolist() == [False, True]
    blank, text = without_reference(field, only)
    np.testing.assert_array_equal(blank, field.label == 0)
    assert "one more --known" in text


def test_candidates_that_are_too_much_alike_are_not_chosen_between() -> None:
    """Gold and aluminium differ by 0.7 %, less than a camera length of 2 % tells, or than strain does."""
    rng = np.random.default_rng(6)
    field, bases = recorded(GOLD, some_gradients(rng), rng)
    aluminium = "a=4.0496,structure=fcc,zone=001,name=Al"
    with pytest.raises(InputError, match=r"Au or Al|Al or Au"):
        absolute(field, bases, [GOLD, aluminium], (PIXEL, 0.02))


def test_ratios_between_phases_count_where_the_camera_length_is_unknown() -> None:
    """Without a pixel size, fcc gold and fcc platinum look the same, but not beside silicon."""
    platinum = "a=3.9242,structure=fcc,zone=001,name=Pt"
    copper = "a=3.6149,structure=fcc,zone=001,name=Cu"
    field, bases = two_classes(SILICON, GOLD)
    assert absolute(field, bases, [SILICON, GOLD, copper], None).phases == ("Si", "Au")
    alone, one = recorded(GOLD, some_gradients(np.random.default_rng(7)), np.random.default_rng(7))
    with pytest.raises(InputError, match="Pt"):
        absolute(alone, one, [GOLD, platinum], None)


def test_where_only_every_second_reflection_is_seen() -> None:
    """Silicon along [110] of which only 220 and 004 stand out: a lattice twice as sparse."""
    rng = np.random.default_rng(8)
    gradient = some_gradients(rng)
    field, _ = recorded(SILICON, gradient, rng)
    basis = (
        np.linalg.inv(field.affine[0, 0]) @ reciprocal(gradient[0, 0]) @ np.diag([10 * 8**0.5, 40.0]) / 5.431 / PIXEL
    )
    reference = absolute(field, basis[None], [SILICON], (PIXEL, 0.01))
    assert reference.phases == ("Si",)
    np.testing.assert_allclose(relative_strain(field, reference).exx, left_polar(gradient)[0][..., 1, 1] - 1, atol=1e-9)


def test_a_lattice_that_only_looks_square_is_told() -> None:
    """Tetragonal by 1 %, learned as four-fold: variants turned by 90 degrees cannot be told from strain."""
    text, rng = "a=4,c=4.04,structure=sc,zone=100", np.random.default_rng(9)
    basis = parse_known(text)[0].basis / PIXEL
    turns = rotation(np.arange(4) * np.pi / 2)
    square = basis @ np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
    field = one_class_field(reciprocal(some_gradients(rng)), 1e-6, square @ np.linalg.inv(basis))
    reference = absolute(field, basis[None], [text], (PIXEL, 0.0))
    assert "turned variants show the difference" in reference.text
    assert reference.unsure == (0,)
    gold = parse_known(GOLD)[0].basis / PIXEL
    four = one_class_field(reciprocal(some_gradients(rng)), 1e-6, turns)
    assert "turned variants" not in absolute(four, gold[None], [GOLD], (PIXEL, 0.0)).text


def test_known_is_what_auto_means_where_a_lattice_is_given() -> None:
    lattices = parse_known(GOLD)
    assert parse_reference("auto", (4, 5), lattices) == Wanted("known", lattices=lattices)
    with pytest.raises(InputError, match="needs the lattice"):
        parse_reference("known", (4, 5))
