"""The truth, fed back as a result, has no error; a known error is found where it is."""

import numpy as np
import pytest
import xarray as xr

from cyclestrain.affine import left_polar, rotation, wrap_angle
from cyclestrain.errors import InputError
from cyclestrain.evaluation import classes_found, compare, error_map, relative_truth, renamed
from cyclestrain.simulation import polycrystal, two_phase

EXACT = 1e-12


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return polycrystal(scan=(40, 40), detector=(16, 16), counts=10, seed=2, grain_size=250).truth


def perfect(truth: xr.Dataset, grain: int, relabel: int = 0, order: int = 6) -> xr.Dataset:
    """What a perfect analysis gives relative to one grain, the lattice relabelled by `relabel` steps of symmetry."""
    mask = (truth["grain"] == grain).values
    reference = truth["F"].values[mask & truth["interior"].values][0]
    turn = rotation(np.float64(2 * np.pi / order * relabel))
    stretch, theta = left_polar(truth["F"].values @ turn @ np.linalg.inv(reference))
    dims = ("ry", "rx")
    maps = {"exx": stretch[..., 1, 1] - 1, "eyy": stretch[..., 0, 0] - 1, "exy": stretch[..., 0, 1], "rotation": theta}
    result = xr.Dataset({name: (dims, values) for name, values in maps.items()})
    result["reference"] = (dims, mask)
    result["valid"] = (dims, np.ones(mask.shape, bool))
    return result


def largest_grain(truth: xr.Dataset) -> int:
    grain = truth["grain"].values
    return int(np.bincount(grain[truth["interior"].values]).argmax())


@pytest.mark.parametrize("relabel", [0, 1, 4])
def test_perfect_result_has_no_interior_error_however_the_lattice_is_labelled(truth: xr.Dataset, relabel: int) -> None:
    accuracy = compare(perfect(truth, largest_grain(truth), relabel), truth)
    for component in accuracy.components:
        assert component.mae_interior < EXACT
        assert component.bias_rms < EXACT
        assert component.scatter < EXACT
    assert accuracy.failures == 0
    assert accuracy.n_interior == int(truth["interior"].sum())
    assert np.isnan(accuracy.class_accuracy)


def test_relabelling_changes_the_strain_through_the_reference(truth: xr.Dataset) -> None:
    grain = next(g for g in range(6) if abs(truth["exx"].values[truth["grain"].values == g]).max() > 0.009)
    plain, relabelled = perfect(truth, grain), perfect(truth, grain, relabel=1)
    assert float(abs(plain["exx"] - relabelled["exx"]).max()) > 1e-3


def test_known_lattice_is_compared_with_the_absolute_truth(truth: xr.Dataset) -> None:
    result = truth[["exx", "eyy", "exy", "rotation"]].assign_attrs(reference_kind="lattice")
    accuracy = compare(result, truth)
    assert max(component.mae for component in accuracy.components) < EXACT
    xr.testing.assert_allclose(relative_truth(result, truth)["exx"], truth["exx"])


def test_offset_of_a_grain_is_its_bias_and_noise_is_scatter(truth: xr.Dataset) -> None:
    rng = np.random.default_rng(0)
    result = perfect(truth, largest_grain(truth))
    result["exx"] = result["exx"] + 1e-3
    result["exy"] = result["exy"] + 2e-3 * rng.standard_normal(result["exy"].shape)
    result["exy_sigma"] = xr.full_like(result["exy"], 2e-3)
    result["rotation"] = result["rotation"] + np.deg2rad(0.2)
    accuracy = compare(result, truth)
    exx, exy = accuracy.exx, accuracy.exy
    assert (exx.bias_rms, exx.bias_rms_large, exx.bias_max_large) == pytest.approx((1e-3, 1e-3, 1e-3))
    assert exx.mae_interior == pytest.approx(1e-3)
    assert exx.scatter < EXACT
    assert np.isnan(exx.z_std)
    assert exy.scatter == pytest.approx(2e-3, rel=0.1)
    assert exy.bias_rms < 4e-4
    assert exy.z_std == pytest.approx(1.0, abs=0.1)
    assert exy.coverage_68 == pytest.approx(0.683, abs=0.05)
    assert exy.coverage_95 == pytest.approx(0.95, abs=0.03)
    assert accuracy.rotation.mae_interior == pytest.approx(0.2)
    assert accuracy.eyy.mae_interior < EXACT


def test_boundary_errors_count_in_all_but_not_in_the_interior(truth: xr.Dataset) -> None:
    result = perfect(truth, largest_grain(truth))
    accuracy = compare(result, truth)  # the result is the dominant grain's strain, the label a blend
    assert accuracy.exx.mae > 1e-5 > accuracy.exx.mae_interior


def test_the_mean_of_the_crystals_under_the_probe_has_no_error_anywhere(truth: xr.Dataset) -> None:
    grain = largest_grain(truth)
    result = perfect(truth, grain)
    reference = truth["F"].values[(truth["grain"] == grain).values & truth["interior"].values][0]
    typical = {int(g): float(np.median(result["rotation"].values[truth["grain"].values == g])) for g in range(6)}
    strains = np.zeros((truth.sizes["crystal"], 2, 2))
    for k, gradient in enumerate(truth["crystal_F"].values):
        variants = [gradient @ rotation(j * np.pi / 3) @ np.linalg.inv(reference) for j in range(6)]
        stretch, theta = left_polar(np.stack(variants))
        strains[k] = stretch[np.argmin(np.abs(wrap_angle(theta - typical.get(k, 0.0))))]
    mean = np.einsum("yxk,yxkij->yxij", truth["part_share"].values, strains[truth["part_crystal"].values]) - np.eye(2)
    edge = ~truth["interior"].values
    for name, row, column in (("exx", 1, 1), ("eyy", 0, 0), ("exy", 0, 1)):
        result[name].values[edge] = mean[edge, row, column]
    accuracy = compare(result, truth)
    assert max(c.mae for c in accuracy.components[:3]) < EXACT


def test_failures_are_wrong_rotations_and_invalid_positions(truth: xr.Dataset) -> None:
    result = perfect(truth, largest_grain(truth))
    y, x = np.argwhere(truth["interior"].values)[[3, 40, 80]].T
    result["rotation"].values[y[0], x[0]] += np.deg2rad(5.0)
    relabelled = perfect(truth, largest_grain(truth), relabel=1)
    for name in ("exx", "eyy", "exy", "rotation"):
        result[name].values[y[1], x[1]] = relabelled[name].values[y[1], x[1]]  # the same lattice
    result["valid"].values[y[2], x[2]] = False
    result["exx"].values[y[2], x[2]] = 99.0
    accuracy = compare(result, truth)
    assert accuracy.failures == 2
    assert accuracy.failure_share == pytest.approx(2 / accuracy.n_interior)
    assert accuracy.exx.mae_interior < 1e-4
    assert accuracy.rotation.mae_interior == pytest.approx(5.0 / (accuracy.n_interior - 1))


def test_raw_maps_are_compared_on_request(truth: xr.Dataset) -> None:
    result = perfect(truth, largest_grain(truth))
    for name in ("exx", "eyy", "exy", "rotation"):
        result[f"{name}_raw"] = result[name] + 1e-3
    result["exx_raw_sigma"] = xr.full_like(result["exx"], 1e-3)
    raw = compare(result, truth, "raw")
    assert raw.exx.mae_interior == pytest.approx(1e-3)
    assert raw.estimate == "raw"
    assert np.isfinite(raw.exx.z_std)
    assert compare(result, truth).exx.mae_interior < EXACT
    assert "each pattern alone" in str(raw)
    assert "exx" in str(raw)


def test_classes_are_matched_and_vacuum_is_not_a_failure() -> None:
    truth = two_phase(scan=(40, 40), detector=(16, 16), counts=10, grain_size=150).truth
    label = truth["class"].values
    result = truth[["exx", "eyy", "exy", "rotation"]].assign_attrs(reference_kind="lattice")
    result["class"] = (("ry", "rx"), np.select([label == 0, label == 1], [1, 0], -1))
    result["valid"] = truth["class"] >= 0
    accuracy = compare(result, truth)
    assert accuracy.class_accuracy == 1.0
    assert accuracy.failures == 0
    assert accuracy.n_positions == int((label >= 0).sum())
    y, x = np.argwhere(truth["interior"].values & (label == 0))[0]
    result["class"].values[y, x] = -1
    counted = int((truth["interior"].values | (truth["share"].values < 1e-3)).sum())
    assert compare(result, truth).class_accuracy == pytest.approx(1 - 1 / counted)


def test_each_phase_has_its_own_reference() -> None:
    truth = two_phase(scan=(40, 40), detector=(16, 16), counts=10, grain_size=150).truth
    result = truth[["exx", "eyy", "exy", "rotation"]].copy()
    result["reference"] = (truth["class"] == 0) & truth["interior"]
    known = np.isfinite(relative_truth(result, truth)["exx"].values)
    assert np.array_equal(known, truth["class"].values == 0)


def test_a_result_without_what_is_needed_is_refused(truth: xr.Dataset) -> None:
    result = truth[["exx", "eyy", "exy", "rotation"]]
    with pytest.raises(InputError, match="reference"):
        compare(result, truth)
    with pytest.raises(InputError, match="exx_raw"):
        compare(result, truth, "raw")
    with pytest.raises(InputError, match="positions"):
        compare(result.isel(ry=slice(3)).assign_attrs(reference_kind="lattice"), truth)


def test_classes_are_named_as_in_the_truth_and_one_too_many_is_told_apart() -> None:
    label = np.array([[0, 0, 0, 1, 1, 1, -1, -1]])
    result = xr.Dataset({"class": (("ry", "rx"), np.array([[2, 2, 0, 1.0, 0, 0, np.nan, 1]]))})
    result["sample"] = (("ry", "rx"), np.array([[1, 1, 1, 1, 1, 1, 1, 0]], bool))
    found = classes_found(result)
    np.testing.assert_array_equal(found, [[2, 2, 0, 1, 0, 0, -1, -1]])
    np.testing.assert_array_equal(renamed(found, label), [[0, 0, 1, -2, 1, 1, -1, -1]])
    np.testing.assert_array_equal(renamed(np.full_like(label, -1), label), np.full_like(label, -1))


@pytest.mark.parametrize("order", [4, 6])
def test_the_error_of_a_rotation_knows_the_symmetry_of_its_lattice(order: int) -> None:
    truth = two_phase(scan=(40, 40), detector=(16, 16), counts=10, grain_size=150).truth
    result = truth[["exx", "eyy", "exy", "rotation"]].assign_attrs(reference_kind="lattice")
    result["rotation"] = result["rotation"] + 2 * np.pi / order + 1e-3
    error = error_map(result, truth, relative_truth(result, truth), "rotation")
    same = np.array(truth.attrs["symmetry"])[truth["class"].values] == order
    here = same & (truth["class"].values >= 0) & np.isfinite(error)
    assert here.any()
    np.testing.assert_allclose(error[here], 1e-3)
