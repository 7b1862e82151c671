"""Maps of tilt, thickness and polarization from the intensities of a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.affine import left_polar, rotation
from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.errors import InputError
from cyclestrain.result import maps_beside, with_sigma
from cyclestrain.specimen.asymmetry import dipole, friedel_asymmetry
from cyclestrain.specimen.crystal import NotThisCrystalError, ScanLibrary, lay_library
from cyclestrain.specimen.fitting import Found, Measured, fit_library
from cyclestrain.specimen.library import Axes
from cyclestrain.specimen.placing import best_placement
from cyclestrain.specimen.structure import Zone
from cyclestrain.specimen.verdict import Caution

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["measure_specimen"]

FEWEST = 8
"""Reflections that a position needs."""
RARE = 0.01
"""Probability of thickness and tilt far beyond their standard deviations up to which nothing else competes."""
OPPOSITE = 0.002
"""Probability of the other sign of a displacement up to which it has a sign."""
MISFIT = 4.0
"""Chi-square per degree of freedom, with the error of the library in it, beyond which nothing is explained."""
BAD_LIBRARY = 0.1
"""Error of a library, relative, beyond which it is of another crystal or misses beams, and nothing is valid; also the
share of the beam that higher Laue zones may take, of which no library knows."""
FLOOR = (0.005, 1e-5)
"""What a library leaves open besides: thickness, relative (scattering factors), and tilt, radians (interpolation)."""
SURE_SIGN = 4.0
"""Standard deviations from zero from which a displacement has a sign."""
OPEN = 5e-4
"""Standard deviation of the tilt along either axis, radians, beyond which it is not known."""


@dataclass(frozen=True)
class _Maps:
    """Numbers of every position, flat."""

    tilt: FloatArray
    tilt_covariance: FloatArray
    thickness: FloatArray
    displacement: FloatArray
    rival_tilt: FloatArray
    rival_odds: FloatArray
    misfit: FloatArray
    arrow: FloatArray
    caution: IntArray

    @classmethod
    def blank(cls, n: int) -> _Maps:
        """Nothing known."""
        return cls(
            np.full((n, 2), np.nan), np.full((n, 2, 2), np.nan), np.full((n, 2), np.nan), np.full((n, 2), np.nan),
            np.full((n, 2), np.nan), np.full(n, np.nan), np.full(n, np.nan), np.full((n, 2), np.nan),
            np.full(n, int(Caution.FEW_REFLECTIONS)),
        )  # fmt: skip


def measure_specimen(
    maps: xr.Dataset, intensities: xr.Dataset, zone: Zone | None, axes: Axes, radii: FloatArray, *,
    vibration: float | None = None, pixel: float | None = None, advance: Callable[[int], object] = lambda n: None,
) -> xr.Dataset:  # fmt: skip
    """Tilt and thickness, and with an axis of displacements polarization, of every position.

    Parameters
    ----------
    maps
        A result, for its coordinates and attributes.
    intensities
        Its intensities.
    zone
        The known crystal; None for what is said without one.
    axes
        What the library runs over.
    radii
        Radius of the disks of every class, pixels: that of the learned probe, since in a thick crystal dark bands
        across the direct beam make that one look smaller.
    vibration, pixel, advance
        As for `cyclestrain.specimen.crystal.lay_library`.

    Returns
    -------
    specimen
        Dimensions ``(ry, rx)``; see `cyclestrain.tilt`.

    Raises
    ------
    InputError
        If no class of the scan is this crystal.
    """
    shape = (maps.sizes["ry"], maps.sizes["rx"])
    values, sigmas = (
        intensities[name].values.reshape(np.prod(shape), -1).astype(float) for name in ("intensity", "intensity_sigma")
    )
    vectors = np.stack([intensities["g_y"].values, intensities["g_x"].values], 1)
    friedel, label = intensities["g_friedel"].values, intensities["g_class"].values
    everything = Measured(values, sigmas)
    turn = rotation(left_polar(intensities["labelled_affine"].values.reshape(-1, 2, 2))[1])  # from the entry
    plain = {
        name: _turned(turn, *function(everything, vectors, friedel))
        for name, function in (("dipole", dipole), ("asymmetry", friedel_asymmetry))
    }
    found, facts = _Maps.blank(len(values)), {}
    others: list[InputError] = []
    for k in np.unique(label).tolist() if zone is not None else ():
        assert zone is not None
        own = label == k
        at = np.flatnonzero((everything.weight[:, own].sum(1) >= FEWEST) & np.all(np.isfinite(turn), axis=(1, 2)))
        if not len(at):
            continue
        data = everything.part(at).only(own)
        try:
            laid = lay_library(
                data, vectors[own], zone, axes, float(radii[k]), vibration=vibration, pixel=pixel, advance=advance
            )
        except NotThisCrystalError as error:  # a class may be another phase
            others.append(error)
            found.caution[at] = int(Caution.MISFIT)
            continue
        _fill(found, at, data.only(laid.used), laid, turn[at])
        facts[f"class_{k}"] = (
            f"vibration {laid.vibration:.2f} square angstrom, error of the library {100 * laid.misfit:.1f} %, "
            f"half angle of the beam {1e3 * laid.aperture:.2f} mrad"
        )
    if others and not facts:
        raise others[0]
    return _dataset(maps, found, plain, zone is not None, axes.is_polar).assign_attrs(facts)


def _turned(turn: FloatArray, value: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A vector of the entry, turned with every position's crystal, and its standard deviation."""
    covariance = turn * (sigma**2)[:, None] @ turn.swapaxes(1, 2)
    return np.einsum("nij,nj->ni", turn, value), np.sqrt(np.einsum("nii->ni", covariance))


def _fill(maps: _Maps, at: IntArray, data: Measured, laid: ScanLibrary, turn: FloatArray) -> None:
    """Fit some positions and write what was found, in the axes of the detector."""
    each = [fit_library(data, place.library, laid.misfit) for place in laid.placements]
    found, arrow = best_placement(each, laid.placements)
    best, other = found.parameters[:, 0], found.parameters[:, 1]
    covariance = found.covariance + 0.0
    covariance[:, 0, 0] += FLOOR[0] ** 2 * best[:, 0] ** 2
    covariance[:, [1, 2], [1, 2]] += FLOOR[1] ** 2
    sigma = np.sqrt(np.einsum("nii->ni", covariance))
    maps.tilt[at] = np.einsum("nij,nj->ni", turn, best[:, 1:3])
    maps.tilt_covariance[at] = turn @ covariance[:, 1:3, 1:3] @ turn.swapaxes(1, 2)
    maps.thickness[at] = np.stack([best[:, 0], sigma[:, 0]], 1)
    odds = found.deviance[:, 1] - found.deviance[:, 0]
    maps.rival_odds[at] = odds
    maps.rival_tilt[at] = np.einsum("nij,nj->ni", turn, other[:, 1:3])
    maps.misfit[at] = found.chi_square
    caution = np.zeros(len(at), int)
    caution |= np.where(~found.inside, int(Caution.EDGE), 0)
    deep = np.maximum(best[:, 0], np.median(best[:, 0]))  # one that looks thin may have found a wrong minimum
    poor = (laid.misfit > BAD_LIBRARY) | (laid.lost_at(deep) > BAD_LIBRARY)
    caution |= np.where((found.chi_square > MISFIT) | poor, int(Caution.MISFIT), 0)
    unknown = (sigma[:, 1:3].max(1) > OPEN) | (found.tail > RARE)
    caution |= np.where(unknown, int(Caution.COMPETING), 0)
    caution |= int(Caution.ORIENTATION) if laid.rival is not None else 0
    if arrow is not None:
        maps.displacement[at] = np.stack([best[:, 3], sigma[:, 3]], 1)
        maps.arrow[at] = np.einsum("nij,nj->ni", turn, arrow)
        caution |= np.where(_open_sign(found, sigma[:, 3]), int(Caution.NOT_SEPARABLE), 0)
    maps.caution[at] = caution


def _open_sign(found: Found, sigma: FloatArray) -> BoolArray:
    """Whether the sign or the axis is open: no displacement beyond uncertainty, or another one explains it as well."""
    return np.asarray((found.opposite > OPPOSITE) | (np.abs(found.parameters[:, 0, 3]) < SURE_SIGN * sigma))


_TEXTS = {
    "tilt_y": ("rad", "direction of the beam in the crystal along y: the centre of the Laue circle is at minus this"),
    "tilt_x": ("rad", "direction of the beam in the crystal along x: the centre of the Laue circle is at minus this"),
    "thickness": ("nm", "thickness of the crystal along the beam"),
    "displacement": ("1", "polar displacement, in units of that of the given structure, along `polar_y`, `polar_x`"),
    "dipole_y": ("1", "dipole of the intensities along y, relative"),
    "dipole_x": ("1", "dipole of the intensities along x, relative"),
    "asymmetry_y": ("1", "mean inequality of Friedel pairs along y"),
    "asymmetry_x": ("1", "mean inequality of Friedel pairs along x"),
    "competing_tilt_y": ("rad", "tilt along y of the next best explanation"),
    "competing_tilt_x": ("rad", "tilt along x of the next best explanation"),
    "competing_odds": ("1", "by how much -2 log likelihood of the next best explanation is larger"),
    "polar_y": ("1", "unit vector of the polarization at positive displacement, along y"),
    "polar_x": ("1", "unit vector of the polarization at positive displacement, along x"),
    "misfit": ("1", "chi-square per degree of freedom, with the error of the library in it"),
}


def _dataset(maps: xr.Dataset, found: _Maps, plain: dict[str, Any], known: bool, polar: bool) -> xr.Dataset:
    shape = (maps.sizes["ry"], maps.sizes["rx"])
    out: dict[str, Any] = {}

    def put(name: str, value: FloatArray, sigma: FloatArray | None = None) -> None:
        unit, text = _TEXTS[name]
        if sigma is None:
            out[name] = (("ry", "rx"), value.reshape(shape), {"units": unit, "long_name": text})
        else:
            out.update(with_sigma(name, value.reshape(shape), sigma.reshape(shape), unit, text))

    for name, (value, sigma) in plain.items():
        for axis, letter in enumerate("yx"):
            put(f"{name}_{letter}", value[:, axis], sigma[:, axis])
    if known:
        for axis, letter in enumerate("yx"):
            put(f"tilt_{letter}", found.tilt[:, axis], np.sqrt(found.tilt_covariance[:, axis, axis]))
            put(f"competing_tilt_{letter}", found.rival_tilt[:, axis])
            if polar:
                put(f"polar_{letter}", found.arrow[:, axis])
        put("thickness", *found.thickness.T)
        put("competing_odds", found.rival_odds)
        put("misfit", found.misfit)
        if polar:
            put("displacement", *found.displacement.T)
        flags = list(Caution)
        words = {
            "flag_masks": np.array([int(flag) for flag in flags]),
            "flag_meanings": " ".join((flag.name or "").lower() for flag in flags),
            "meanings": "; ".join(flag.meaning for flag in flags),
            "long_name": "reasons why it may be wrong beyond its sigma",
        }  # fmt: skip
        out["caution"] = (("ry", "rx"), found.caution.reshape(shape), words)
        fatal = found.caution & ~int(Caution.NOT_SEPARABLE)
        out["valid"] = (("ry", "rx"), (fatal == 0).reshape(shape), {"long_name": "tilt and thickness may be used"})
        if polar:
            attrs = {"long_name": "the sign of the polarization is told apart from a tilt"}
            out["separable"] = (("ry", "rx"), (found.caution == 0).reshape(shape), attrs)
    return maps_beside(maps, out)
