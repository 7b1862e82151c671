"""From the transform of every position to strain relative to a reference: once in a run, again for any other reference.

All of it is stored in a result, so that a reference is changed without fitting anything again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyclestrain.boundaries import Mixtures
from cyclestrain.data import AffineField, BoolArray, Doubt, FloatArray, IntArray, Quantity, StrainMaps
from cyclestrain.errors import InputError
from cyclestrain.result.dataset import strain_variables
from cyclestrain.result.patterns import stored_entries, whole_covariance
from cyclestrain.strain import (
    Ellipse,
    Reference,
    Wanted,
    grain_rotation,
    parse_reference,
    pick_reference,
    pixel_size,
    relabelled,
    relative_strain,
    stored_lattices,
    strain_in_grains,
    turn_axes,
    without_reference,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Strained", "Transforms", "mixture_variables", "relative_to"]

SYSTEMATIC = 1e-4
"""Error of a reflection's modelled position that all neighbours share, pixels: what is left without any noise."""
_MIXTURE = {
    "mixture_position": ("position", ("mixture",), "flat index of a position near a change of crystal"),
    "mixture_source": ("source", ("mixture", "crystal"), "flat index that each crystal is taken from, -1 for none"),
    "mixture_vacuum": ("vacuum", ("mixture",), "what the crystals do not fill is vacuum"),
    "mixture_amplitude": ("amplitude", ("mixture", "crystal"), "amplitude of each crystal"),
    "mixture_covariance": ("covariance", ("mixture", "crystal", "other"), "covariance of the amplitudes"),
    "mixture_changed": ("changed", ("mixture",), "it holds something else than its own fit says"),
}
"""Variables of a result that hold its mixtures: field of `Mixtures`, dimensions and description."""


@dataclass(frozen=True)
class Strained:
    """Strain relative to a reference.

    Attributes
    ----------
    best, raw
        Strain with and without the neighbours' information, in the axes that are wanted.
    reference
        What it is relative to.
    blank, unsure
        Positions of a class without a reference, and those where another labelling is as near, shape ``(ry, rx)``.
    angle
        Angle of the strain's x axis in detector axes, radians.
    notes
        Sentences on the choices.
    positions
        Number of reference positions of each class.
    kind
        ``region``, ``ideal`` or ``known``.
    label
        Class of every position, -1 where it is not valid, shape ``(ry, rx)``.
    near
        Rotation of every position relative to the reference in the labelling of its grain, on the detector, radians.
    """

    best: StrainMaps
    raw: StrainMaps
    reference: Reference
    blank: BoolArray
    unsure: BoolArray
    angle: float
    notes: tuple[str, ...]
    positions: tuple[int, ...]
    kind: Literal["region", "ideal", "known"]
    label: IntArray
    near: FloatArray

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of a result that say what strain is relative to."""
        return {
            "reference": self.reference.text,
            "reference_kind": self.kind,
            "reference_positions": list(self.positions),
            "strain_axes_angle_deg": float(np.degrees(self.angle)),
        } | lattice_attributes(self.reference, self.raw, self.label)


@dataclass(frozen=True)
class Transforms:
    """The transform of every position of a scan, and what strain depends on beside it and the reference.

    Attributes
    ----------
    raw, best
        Affine from each pattern alone and the best estimate, as recorded, with the distortion of the detector.
    ellipse
        That distortion.
    bases
        Reciprocal-lattice vectors of every entry as columns, pixels, shape ``(entry, 2, 2)``.
    lengths
        Mean distance of the reflections of every entry from the centre, pixels, shape ``(entry,)``.
    axes
        Axes in which strain is wanted.
    scan_rotation, scan_rotation_sigma, mirrored
        Angle of the scan's x axis in detector axes and its standard deviation, radians, and whether scan and detector
        are mirror images.
    pixel_ratio
        Height of a detector pixel over its width.
    mixtures
        Positions that hold several crystals; None where none were looked for.
    along
        Reflection of the first entry along which the x axis of the crystal is.
    """

    raw: AffineField
    best: AffineField
    ellipse: Ellipse
    bases: FloatArray
    lengths: FloatArray
    axes: Literal["detector", "scan", "crystal"] = "detector"
    scan_rotation: float = 0.0
    scan_rotation_sigma: float = 0.0
    mirrored: bool = False
    pixel_ratio: float = 1.0
    mixtures: Mixtures | None = None
    along: tuple[int, int] = (1, 0)

    def on_a_true_detector(self, field: AffineField) -> AffineField:
        """A field as a detector with square pixels and without a distortion would have recorded it."""
        return self.ellipse.corrected(Ellipse.of_pixels(self.pixel_ratio).corrected(field))

    def relative_to(self, wanted: Wanted) -> Strained:
        """Strain and rotation relative to a reference.

        Parameters
        ----------
        wanted
            What the reference is.

        Raises
        ------
        InputError
            If the scan does not hold the reference that is asked for.
        """
        raw, context = self.on_a_true_detector(self.raw), self.on_a_true_detector(self.best)
        reference = pick_reference(self._unmixed(raw, wanted), wanted, self.bases)
        blank, missing = without_reference(context, reference)
        several = context.usable & np.isin(context.label, reference.unsure)
        near = grain_rotation(relative_strain(context, reference), context)
        systematic = SYSTEMATIC / float(self.lengths.min())
        (alone, _), (best, unsure) = (
            strain_in_grains(field, reference, near, systematic=systematic) for field in (raw, context)
        )
        angle = self._axes_angle(reference)
        alone, best = (
            self._turned(self.ellipse.widened(maps, absolute=reference.absolute), angle) for maps in (alone, best)
        )
        if self.mixtures is not None:
            best = self.mixtures.blend(best, context)
            blank = blank | (self.mixtures.holding(blank) & context.usable)
        alone, best = reference.widened(alone), reference.widened(best)
        notes = (f"reference: {reference.text}", *([missing] if missing else []))
        positions = tuple(int((reference.mask & (raw.label == k)).sum()) for k in range(len(self.bases)))
        label = np.where(raw.usable, raw.label, -1)
        kind: Literal["region", "ideal", "known"]
        kind = "known" if reference.phases else "ideal" if reference.absolute else "region"
        return Strained(best, alone, reference, blank, unsure | several, angle, notes, positions, kind, label, near)

    def _unmixed(self, raw: AffineField, wanted: Wanted) -> AffineField:
        """A field without positions that hold several crystals: one transform cannot be right for all of them.

        They are only left where a class has no others, in the region that is wanted.
        """
        if self.mixtures is None:
            return raw
        mixed = self.mixtures.told(raw.label.shape)
        here = raw.usable if wanted.region is None else raw.usable & wanted.region
        pure = np.isin(raw.label, np.unique(raw.label[here & ~mixed]))
        return replace(raw, valid=raw.valid & ~(mixed & pure))

    def labelled(self, strained: Strained) -> AffineField:
        """The best estimate as recorded, its affine (not its covariance) in the labelling of each grain.

        Any other labelling puts the same reflections at the same places under other names; in this one a reflection
        keeps its name over a grain.
        """
        square, affine = self.on_a_true_detector(self.best), self.best.affine.copy()
        new = relabelled(square, strained.reference.gradient, strained.near)
        changed = self.best.usable & (new != square.affine).any((-2, -1))
        affine[changed] = affine[changed] @ np.linalg.solve(square.affine[changed], new[changed])
        return replace(self.best, affine=affine)

    def _turned(self, maps: StrainMaps, angle: float) -> StrainMaps:
        """Strain in the axes that are wanted."""
        scan = self.axes == "scan"
        sigma = self.scan_rotation_sigma if scan else 0.0
        return turn_axes(maps, self.axes, angle, mirrored=scan and self.mirrored, sigma=sigma)

    def _axes_angle(self, reference: Reference) -> float:
        """Angle of the strain's x axis in detector axes, radians."""
        if self.axes == "scan":
            return self.scan_rotation
        if self.axes == "crystal":
            # The reflection of the first entry, as it lies in the reference.
            k = int(np.flatnonzero(np.isfinite(reference.gradient).all((1, 2)))[0])
            vector = np.linalg.inv(reference.gradient[k]).T @ self.bases[k] @ np.array(self.along, float)
            return float(np.arctan2(vector[0], vector[1]))
        return 0.0

    @classmethod
    def stored(cls, maps: xr.Dataset) -> Transforms:
        """Those of a result.

        Parameters
        ----------
        maps
            A whole result.

        Raises
        ------
        InputError
            If it does not hold them, or is a part of a result.
        """
        missing = [name for name in ("affine", "affine_raw", "operators", "class_raw") if name not in maps]
        if missing:
            raise InputError(
                f"this result holds no {missing[0]!r}, from which strain is computed again; earlier versions did not "
                "store it: map the scan again, with `cyclestrain map --config RESULT.nc`"
            )
        shape = (maps.sizes["ry"], maps.sizes["rx"])
        if tuple(np.atleast_1d(maps.attrs["scan_shape"])) != shape:
            raise InputError(
                f"this is a part, {shape}, of a result: change the reference of the whole one first, then cut it"
            )
        entries, mixtures = stored_entries(maps), None
        if "mixture_position" in maps:
            stored = {field: maps[name].values for name, (field, _, _) in _MIXTURE.items()}
            mixtures = Mixtures(**stored, misfit=np.ones(len(stored["position"])))  # it was judged when they were found
        along = np.atleast_1d(maps.attrs.get("along", [1, 0]))
        q = Ellipse.given(*(float(value) for value in maps.attrs["ellipse"])).q
        return cls(
            _stored_field(maps, "_raw"), _stored_field(maps, ""),
            Ellipse(q, np.reshape(maps.attrs["ellipse_covariance"], (2, 2))),
            np.stack([entry.basis for entry in entries]),
            np.array([np.hypot(*entry.reflections.T).mean() for entry in entries]),
            maps.attrs["axes"], float(np.radians(maps.attrs["scan_rotation_deg"])),
            float(np.radians(maps.attrs.get("scan_rotation_sigma_deg", 0.0))),
            bool(maps.attrs.get("scan_mirrored", False)), float(maps.attrs.get("pixel_ratio", 1.0)), mixtures,
            (int(along[0]), int(along[1])),
        )  # fmt: skip


def _stored_field(maps: xr.Dataset, suffix: str) -> AffineField:
    affine, triangle = (maps[f"affine{suffix}{part}"].values.astype(float) for part in ("", "_covariance"))
    operators = maps["operators"].values
    return AffineField(
        affine,
        whole_covariance(triangle),
        maps[f"class{suffix}"].values.astype(int),
        np.isfinite(affine).all((-1, -2)),
        tuple(group[np.isfinite(group).all((-1, -2))] for group in operators),
    )


LATTICE_ATTRIBUTES = ("phases", "lattice_parameter", "lattice_parameter_sigma", "pixel_used", "pixel_used_sigma")
"""Attributes of a result whose strain is relative to known lattices."""


def lattice_attributes(reference: Reference, maps: StrainMaps, label: IntArray) -> dict[str, Any]:
    """Phases by name and their mean lattice constants, where strain is relative to known lattices; else nothing.

    Parameters
    ----------
    reference
        The known lattices.
    maps
        Strain relative to them from each pattern alone, with the uncertainty of the camera length.
    label
        Class of every position, -1 where it is not valid, shape ``(ry, rx)``.
    """
    if not reference.phases or reference.pixel is None:
        return {}
    found = []
    for k, parameter in enumerate(reference.parameters):
        here = (label == k) & np.isfinite(maps.exx)
        if not here.any() or reference.mask.any():  # calibrated on these lattices: their mean size is put in
            found.append((np.nan, np.nan))
            continue
        dilation = (maps.exx + maps.eyy)[here] / 2
        scatter = float(dilation.std()) / np.sqrt(here.sum())
        size = parameter * (1 + float(dilation.mean()))
        found.append((size, size * float(np.hypot(reference.scale_sigma, scatter))))
    constants, sigmas = zip(*found, strict=True)
    size, relative = reference.pixel
    values = ("; ".join(reference.phases), list(constants), list(sigmas), size, size * relative)
    return dict(zip(LATTICE_ATTRIBUTES, values, strict=True))


def stored_pixel(maps: xr.Dataset) -> tuple[float, float] | None:
    """Pixel size of a result's scan, 1/nm, and its relative uncertainty, see `cyclestrain.strain.pixel_size`."""
    if "reciprocal_step" not in maps.attrs:
        return None
    sigma = maps.attrs.get("reciprocal_step_sigma")
    value, unit = float(maps.attrs["reciprocal_step"]), str(maps.attrs["reciprocal_step_unit"])
    return pixel_size(Quantity(value, unit, None if sigma is None else float(sigma)))


def mixture_variables(mixtures: Mixtures | None) -> dict[str, Any]:
    """Variables of a result that hold its mixtures, none where there are none; positions are flat indices."""
    if mixtures is None:
        return {}
    return {
        name: (dims, getattr(mixtures, field), {"long_name": text}) for name, (field, dims, text) in _MIXTURE.items()
    }


def relative_to(maps: xr.Dataset, reference: str) -> xr.Dataset:
    """The result with its strain relative to another reference; nothing is fitted again.

    Parameters
    ----------
    maps
        A whole result.
    reference
        As in `cyclestrain.MapSettings`.

    Raises
    ------
    InputError
        If the result does not hold that reference, or not its transforms.
    """
    transforms = Transforms.stored(maps)
    shape = maps["class"].shape
    lattices = stored_lattices(str(maps.attrs.get("known_lattices", "[]")))
    wanted = parse_reference(reference, (shape[0], shape[1]), lattices, stored_pixel(maps))
    strained = transforms.relative_to(wanted)
    doubt = maps["doubt"].values & ~np.uint16(Doubt.NO_REFERENCE | Doubt.BRANCH)
    doubt |= np.where(strained.blank, np.uint16(Doubt.NO_REFERENCE), np.uint16(0))
    doubt |= np.where(strained.unsure, np.uint16(Doubt.BRANCH), np.uint16(0))
    new = {
        "valid": transforms.best.valid & np.isfinite(strained.best.exx),
        "reference": np.broadcast_to(strained.reference.mask, shape),
        "doubt": doubt,
    }
    out = maps.assign(strain_variables(strained.best, "") | strain_variables(strained.raw, "_raw"))
    out = out.assign({name: (("ry", "rx"), values, maps[name].attrs) for name, values in new.items()})
    kept = {name: value for name, value in maps.attrs.items() if name not in LATTICE_ATTRIBUTES}
    out.attrs = kept | strained.attributes
    settings = json.loads(maps.attrs.get("settings", "{}")) | {"reference": reference}
    out.attrs |= {"settings": json.dumps(settings), "choices": _with_notes(str(maps.attrs["choices"]), strained.notes)}
    return out


def _with_notes(choices: str, notes: tuple[str, ...]) -> str:
    """Choices of a run with those on the reference replaced."""
    kept = [line for line in choices.splitlines() if not line.startswith(("reference: ", "no reference for "))]
    return "\n".join([*kept, *notes])
