"""Measured patterns: a raw scan as it is, and single patterns made into scans of known strain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage
from scipy.stats import chi2

import cyclestrain as cs
from cyclestrain.affine import left_polar, reciprocal, symmetric
from cyclestrain.cli import main
from cyclestrain.data import FloatArray
from cyclestrain.io import read
from cyclestrain.result import load_group, load_result

COMPONENTS = ("exx", "eyy", "exy", "rotation")


@pytest.fixture(scope="module")
def blo(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Map of a raw scan of one crystal: 3 x 2 positions, sharp spots on a strong inelastic background."""
    result = tmp_path_factory.mktemp("blo") / "strain.nc"
    assert main(["map", str(measured / "real" / "test1.blo"), "-o", str(result)]) == 0
    return result


class TestRawScan:
    SEEN = ((38, 59), (66, 42), (86, 37), (106, 33), (78, 105), (98, 101), (118, 96))
    """Reflections that a person sees in the first pattern, detector pixels (y, x)."""

    def test_the_dictionary_holds_what_a_person_sees(self, blo: Path) -> None:
        maps, dictionary = load_result(blo), load_group(blo, "dictionary").isel({"class": 0})
        found = np.stack([dictionary["reflection_y"], dictionary["reflection_x"]], -1)
        found = found[np.isfinite(found).all(1)]
        assert len(found) >= 12
        centre = [float(maps[name].mean()) for name in ("centre_y", "centre_x")]
        # The entry may be turned against the detector.
        turns = np.deg2rad(np.arange(-180, 180, 0.25))
        matrices = np.stack([[np.cos(turns), np.sin(turns)], [-np.sin(turns), np.cos(turns)]]).transpose(2, 0, 1)
        wanted = np.array(self.SEEN) - centre
        turned = np.einsum("tij,gj->tgi", matrices, found)
        distance = np.linalg.norm(turned[:, :, None] - wanted, axis=-1).min(1)
        assert distance.max(1).min() < 2.0
        assert abs(turns[distance.max(1).argmin()]) < np.deg2rad(3.0) or abs(
            abs(turns[distance.max(1).argmin()]) - np.pi
        ) < np.deg2rad(3.0)

    def test_every_position_is_measured(self, blo: Path) -> None:
        maps = load_result(blo)
        assert maps["exx"].shape == (3, 2)
        assert maps["valid"].all()
        assert float(maps["exx_raw_sigma"].max()) < 5e-3
        assert float(np.abs(maps["gain"] - 1).max()) < 0.3

    @pytest.mark.parametrize("name", COMPONENTS)
    def test_positions_of_one_crystal_agree_within_their_uncertainties(self, name: str, blo: Path) -> None:
        maps = load_result(blo)
        value, sigma = maps[f"{name}_raw"].values.ravel(), maps[f"{name}_raw_sigma"].values.ravel()
        mean = np.average(value, weights=1 / sigma**2)
        chi_square = (((value - mean) / sigma) ** 2).sum()
        assert chi2.sf(chi_square, value.size - 1) > 1e-3
        assert chi2.cdf(chi_square, value.size - 1) > 1e-3  # nor are the uncertainties far too large

    def test_figures_can_be_drawn(self, blo: Path) -> None:
        assert main(["show", str(blo), "-o", str(blo.with_name("strain.png"))]) == 0


def test_a_pattern_without_crystal_is_refused(measured: Path, tmp_path: Path) -> None:
    """Repeats of a measured frame of the direct beam alone."""
    frame = np.asarray(read(measured / "real" / "merlin_test_CL30cm.mib").source[0, 0]).astype(float)
    draws = np.random.default_rng(0).poisson(
        np.clip(ndimage.gaussian_filter(frame, 1.0), 0, None), (4, 4, *frame.shape)
    )
    with pytest.raises(cs.InputError, match=r"no crystal|no position"):
        cs.map(draws.astype(np.uint16))


@dataclass(frozen=True)
class Disks:
    """A measured pattern taken apart: every disk (as spline coefficients), and what is left without them."""

    places: np.ndarray
    patches: list[FloatArray]
    rest: FloatArray
    beam: FloatArray


def take_apart(image: FloatArray, radius: float) -> Disks:
    """Cut every disk that stands out as a patch with a soft round mask; fill the holes from around them.

    The rest is smoothed over more than a disk, so that no edge of a disk, nor its halo, stays behind unmoved.
    """
    image = np.clip(ndimage.gaussian_filter(ndimage.median_filter(image, 3), 0.7) - np.percentile(image, 2), 0, None)
    smooth = ndimage.gaussian_filter(image, radius / 1.5)
    around = ndimage.gaussian_filter(ndimage.minimum_filter(smooth, int(4 * radius)), 2 * radius)
    peak = smooth == ndimage.maximum_filter(smooth, int(2.4 * radius))
    peak &= smooth > 1.12 * around + 0.004 * np.percentile(smooth, 99)
    half = int(np.ceil(1.7 * radius))
    places = np.argwhere(peak)
    inside = ((places > half + 5) & (places < np.array(image.shape) - half - 6)).all(1)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    mask = np.clip(1.6 * radius - np.hypot(y, x), 0, 1)
    covered = np.zeros(image.shape)
    for py, px in places:
        top, left = max(py - half, 0), max(px - half, 0)
        part = mask[top - py + half :, left - px + half :]
        part = part[: image.shape[0] - top, : image.shape[1] - left]
        covered[top : top + part.shape[0], left : left + part.shape[1]] += part
    free = np.clip(1 - covered, 0, 1)
    rest = ndimage.gaussian_filter(image * free, 1.5 * radius) / np.maximum(
        ndimage.gaussian_filter(free, 1.5 * radius), 1e-6
    )
    places = places[inside]
    patches, brightness = [], []
    for py, px in places:
        window = np.s_[py - half : py + half + 1, px - half : px + half + 1]
        patch = np.clip(image[window] - rest[window], 0, None) * mask / np.maximum(covered[window], 1)
        brightness.append(patch.sum())
        patches.append(ndimage.spline_filter(patch))
    return Disks(places, patches, rest, places[int(np.argmax(brightness))].astype(float))


def draw(disks: Disks, gradient: FloatArray, counts: float, rng: np.random.Generator) -> FloatArray:
    """Poisson counts of the pattern after every disk has moved by ``(F^-T - 1) g``, its shape kept."""
    expected = disks.rest.copy()
    affine = reciprocal(gradient)
    for place, patch in zip(disks.places, disks.patches, strict=True):
        move = (affine - np.eye(2)) @ (place - disks.beam)
        whole = np.rint(move).astype(int)
        half = patch.shape[0] // 2
        y, x = place + whole
        moved = ndimage.shift(patch, move - whole, order=3, mode="constant", prefilter=False)
        expected[y - half : y + half + 1, x - half : x + half + 1] += np.clip(moved, 0, None)
    return rng.poisson(counts * expected / expected.sum()).astype(np.uint16)


def semi_real(path: Path, radius: float, scan: tuple[int, int], seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """A scan of `scan` positions at 1e4 counts with strains of up to 1 %, the first row unstrained."""
    rng = np.random.default_rng(seed)
    disks = take_apart(np.asarray(read(path).source[0, 0] if path.suffix == ".dm3" else np.load(path), float), radius)
    strain = rng.uniform(-0.01, 0.01, (*scan, 3))
    strain[0] = 0.0
    gradient = symmetric(1 + strain[..., 0], 1 + strain[..., 1], strain[..., 2])
    patterns = np.stack([[draw(disks, one, 1e4, rng) for one in row] for row in gradient])
    return patterns, gradient


def check_recovered(scans: Sequence[tuple[xr.Dataset, FloatArray]]) -> None:
    """Check errors and their sigma over all scans together: those of 70 positions alone scatter by a tenth and more."""
    errors, z, strains = (dict[str, list[FloatArray]]() for _ in range(3))
    n_reference = 0
    for maps, gradient in scans:
        stretch, theta = left_polar(gradient)
        truth = {"exx": stretch[..., 1, 1] - 1, "eyy": stretch[..., 0, 0] - 1, "exy": stretch[..., 0, 1]}
        assert maps["valid"].values.mean() > 0.97
        valid = maps["valid"].values[1:]
        n_reference += int(maps["reference"].sum())
        for name, true in {**truth, "rotation": theta}.items():
            error = (maps[f"{name}_raw"].values - true)[1:][valid]
            errors.setdefault(name, []).append(error)
            z.setdefault(name, []).append(error / maps[f"{name}_raw_sigma"].values[1:][valid])
            strains.setdefault(name, []).append(true[1:][valid])
    for name in COMPONENTS:
        error = np.concatenate(errors[name])
        of_the_mean = error.std() * np.sqrt(1 / error.size + 1 / n_reference)
        assert abs(error.mean()) < 3e-4 + 3 * of_the_mean, name
        assert 0.6 < np.concatenate(z[name]).std() < 1.4, name
        if name != "rotation":
            slope, covariance = np.polyfit(np.concatenate(strains[name]), error, 1, cov=True)
            assert abs(slope[0]) < 0.05 + 3 * np.sqrt(covariance[0, 0]), name


FILES = [("qem_dp-spots.npy", 11.0), ("ba50_dd020.dm3", 6.5)]
"""A measured pattern and the radius of its disks, pixels."""


@pytest.mark.parametrize(("name", "radius"), FILES)
def test_known_strain_of_a_measured_pattern(name: str, radius: float, measured: Path) -> None:
    drawn = [semi_real(measured / "real" / name, radius, (7, 12), seed) for seed in range(3)]
    check_recovered([(cs.map(patterns, reference="0:1,:"), gradient) for patterns, gradient in drawn])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "radius"), FILES)
def test_known_strain_of_a_measured_pattern_with_less_noise(name: str, radius: float, measured: Path) -> None:
    patterns, gradient = semi_real(measured / "real" / name, radius, (24, 24))
    check_recovered([(cs.map(patterns, reference="0:1,:"), gradient)])


def bent(path: Path, radius: float, counts: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """A scan without strain whose rotation swings by 1.5 degrees, and that rotation."""
    rng = np.random.default_rng(seed)
    disks = take_apart(np.asarray(read(path).source[0, 0], float), radius)
    theta = np.deg2rad(1.5 * np.sin(np.arange(16) / 5))
    turned = [np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]) for t in theta]
    patterns = np.stack([[draw(disks, one, counts, rng) for _ in range(16)] for one in turned])
    return patterns, np.repeat(theta[:, None], 16, 1)


@pytest.mark.parametrize(("counts", "seed"), [(1e4, 2), pytest.param(3e3, 3, marks=pytest.mark.slow)])
def test_few_counts_of_disks_with_contrast(counts: float, seed: int, measured: Path) -> None:
    """What is inside the disks is learned at few counts as well, and rotation is not taken for strain."""
    patterns, theta = bent(measured / "real" / "ba50_dd020.dm3", 6.5, counts, seed)
    maps = cs.map(patterns, reference=":,:")
    assert "contrast in the disks: the same in most patterns" in maps.attrs["choices"]
    assert maps["valid"].values.mean() > 0.98
    valid = maps["valid"].values
    for name in ("exx", "eyy", "exy"):
        for suffix, least, most in (("_raw", 0.8, 1.3), ("", 0.0, 1.2)):
            error, sigma = maps[f"{name}{suffix}"].values[valid], maps[f"{name}{suffix}_sigma"].values[valid]
            assert least < np.sqrt(np.mean((error / sigma) ** 2)) < most, name + suffix
            assert (np.abs(error) < 6 * sigma).all()
        slope, covariance = np.polyfit(theta[valid], maps[f"{name}_raw"].values[valid], 1, cov=True)
        assert abs(slope[0]) < 0.02 + 3 * np.sqrt(covariance[0, 0]), name
