r"""The physical limit: the least scatter that any unbiased estimate of one pattern's strain can have.

Counts are Poisson with means :math:`\lambda(p)`; the Fisher information of parameters :math:`\vartheta` is

.. math:: I_{ij} = \sum_p \frac{1}{\lambda(p)} \frac{\partial \lambda(p)}{\partial \vartheta_i}
          \frac{\partial \lambda(p)}{\partial \vartheta_j}

and no unbiased estimate has a covariance below :math:`I^{-1}` (Cramer 1946, Rao 1945; for counted images e.g. Chao,
Ward and Ober, J. Opt. Soc. Am. A 33, B36, 2016). Parameters are the affine (4) and, as nuisance, the beam centre (2),
the gain of the reflections and the level of the background. Only neighbouring positions can tell more than that.

`bound_of_pattern` knows nothing of the model: it differentiates the patterns that the simulator draws. `bound_of_entry`
is that of the model with a learned dictionary entry. The direct beam is left out of both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cyclestrain.affine import deformation, reciprocal
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.pattern import Entry, Start, gather, predicted_positions, refine
from cyclestrain.simulation import Acquisition, uniform
from cyclestrain.simulation.patterns import PatternModel, background, make_pattern_model
from cyclestrain.simulation.sample import Sample
from cyclestrain.strain import Reference, relative_strain

__all__ = ["Bound", "BoundTable", "bound_of_entry", "bound_of_pattern", "tabulate"]

SHIFT = 0.02
"""Shift of the outermost reflection, in pixels, over which patterns are differentiated: a tenth of the edge's blur."""
DIRECT_BEAM = 2.0
"""Radius of the excluded centre in units of the disk radius."""
NEGLIGIBLE = 1e-9
"""Expected counts, relative to the largest, below which a pixel tells nothing."""
UNKNOWN_CENTRE = 1e3
"""Standard deviation in pixels of a centre that is not known."""
MEAN_OVER_STD = float(np.sqrt(2 / np.pi))
"""Mean absolute error of a Gaussian in units of its standard deviation, 0.798."""


@dataclass(frozen=True)
class Bound:
    """Least standard deviations of the strain of one pattern.

    Attributes
    ----------
    eyy, exx, exy, rotation
        Strain as a fraction, in detector axes, rotation in radians.
    covariance
        In that order, shape ``(4, 4)``.
    """

    eyy: float
    exx: float
    exy: float
    rotation: float
    covariance: FloatArray

    @classmethod
    def from_affine(cls, affine: FloatArray, covariance: FloatArray, reference: FloatArray | None = None) -> Bound:
        """Bound of the strain from that of the affine ``A = F^-T``.

        Parameters
        ----------
        affine
            Shape ``(2, 2)``.
        covariance
            Of ``(A_yy, A_yx, A_xy, A_xx)``, shape ``(4, 4)``.
        reference
            The known ``F_ref`` that strain is relative to; by default the unstrained lattice.
        """
        field = AffineField(
            affine[None, None], covariance[None, None], np.zeros((1, 1), np.int64), np.ones((1, 1), bool),
            (np.eye(2)[None],),
        )  # fmt: skip
        known = np.eye(2) if reference is None else reference
        maps = relative_strain(field, Reference.known(known[None]))
        eyy, exx, exy, rotation = (float(value) for value in maps.sigma[0, 0])
        return cls(eyy, exx, exy, rotation, maps.covariance[0, 0])


def bound_of_pattern(
    truth: xr.Dataset,
    position: tuple[int, int] = (0, 0),
    *,
    nuisance: bool = True,
    reference: FloatArray | None = None,
) -> Bound:
    """Bound of one pattern of a simulated scan, from its own expected counts, shot noise assumed.

    Parameters
    ----------
    truth
        Truth of the simulated scan.
    position
        Which pattern ``(ry, rx)``; where several crystals meet, the dominant one is taken to be alone.
    nuisance
        Whether beam centre, gain and background are unknown as well; otherwise the affine is the only unknown.
    reference
        Deformation gradient ``F_ref`` that strain is relative to, exactly known, shape ``(2, 2)``; by default the
        unstrained lattice.
    """
    gradient = truth["F"].values[position]
    if not np.isfinite(gradient).all():
        raise InputError(f"position {position} of the simulated scan is vacuum: there is no strain to estimate")
    model = _varied(truth, position)
    expected, derivatives = _derivatives(model)
    y, x = np.indices(expected.shape)
    centre = model.centres[0, 0]
    used = np.hypot(y - centre[0], x - centre[1]) > DIRECT_BEAM * model.acquisition.disk_radius
    used &= expected > NEGLIGIBLE * expected.max()
    d = derivatives[: 8 if nuisance else 4, used]
    scale = np.sqrt((d**2 / expected[used]).sum(1))
    keep = scale > 0  # without background its level is no parameter
    d = d[keep] / scale[keep, None]
    covariance = np.linalg.inv(d / expected[used] @ d.T) / np.outer(scale[keep], scale[keep])
    return Bound.from_affine(reciprocal(gradient), covariance[:4, :4], reference)


def _acquisition(truth: xr.Dataset) -> Acquisition:
    """How a simulated scan was recorded, from the attributes of its truth."""
    given: dict[str, Any] = {}
    for field in dataclasses.fields(Acquisition):
        value = truth.attrs[field.name]
        value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        given[field.name] = tuple(value) if isinstance(value, list) else value
    given["noise_free"] = bool(given["noise_free"])
    return Acquisition(**given)


def _steps(acquisition: Acquisition) -> FloatArray:
    """Step of each element of the affine, and of the centre in pixels."""
    reach = float(np.hypot(*acquisition.make_lattice().vectors.T).max())
    return np.array([SHIFT / reach] * 4 + [SHIFT] * 2)


def _varied(truth: xr.Dataset, position: tuple[int, int]) -> PatternModel:
    """One scan row: the pattern itself, then each parameter a step up and a step down."""
    recorded = _acquisition(truth)
    if truth.attrs["phantom"] == "two_phase" and truth["class"].values[position] > 0:
        raise InputError("the bound of a simulated pattern is that of the first phase")
    steps = _steps(recorded)
    affine = np.repeat(reciprocal(truth["F"].values[position])[None], 13, 0)
    centres = np.repeat([[truth["centre_y"].values[position], truth["centre_x"].values[position]]], 13, 0)
    for k in range(6):
        for sign, n in ((1, 1 + 2 * k), (-1, 2 + 2 * k)):
            if k < 4:
                affine[n].flat[k] += sign * steps[k]
            else:
                centres[n, k - 4] += sign * steps[k]
    acquisition = dataclasses.replace(recorded, scan=(1, 13), drift=0.0)
    sample = Sample.from_field(acquisition.make_lattice(), deformation(affine)[None])
    grain = int(truth["grain"].values[position])
    sample = dataclasses.replace(sample, grain=np.full_like(sample.grain, grain))
    return dataclasses.replace(make_pattern_model(sample, acquisition), centres=centres[None])


def _derivatives(model: PatternModel) -> tuple[FloatArray, FloatArray]:
    """Expected counts, shape ``(qy, qx)``, and their derivatives, shape ``(8, qy, qx)``."""
    acquisition = model.acquisition
    images = model.expected_row(0).astype(float)
    steps = _steps(acquisition)
    centre = model.centres[0, 0]
    smooth = background(acquisition.detector, centre[0], centre[1])
    level = acquisition.counts * acquisition.background * smooth
    by_parameter = (images[1::2] - images[2::2]) / (2 * steps[:, None, None])
    return images[0], np.concatenate([by_parameter, (images[0] - level)[None], level[None]])


def bound_of_entry(
    entry: Entry,
    pattern: Start | None = None,
    *,
    detector: tuple[int, int] | None = None,
    noise_scale: float = 1.0,
    centre_sigma: float = UNKNOWN_CENTRE,
    reference: FloatArray | None = None,
) -> Bound:
    """Bound of a pattern that a dictionary entry explains, from the information of its reflections' windows.

    Parameters
    ----------
    entry
        A learned (or made) entry; what its priors let deviate from pattern to pattern counts as unknown.
    pattern
        Affine, beam centre and brightness of the one pattern; by default the entry itself in the middle of the
        detector.
    detector
        Its size ``(qy, qx)``; by default one that, about its middle, holds every reflection.
    noise_scale
        Variance of a pixel divided by its mean.
    centre_sigma
        How well the centre is known beforehand, pixels; by default not at all.
    reference
        Deformation gradient ``F_ref`` that strain is relative to, in the entry's frame; by default the entry.
    """
    matrix = np.eye(2) if pattern is None else pattern.affine[0]
    if detector is None:
        extent = np.abs(entry.reflections @ matrix.T).max() + entry.probe.half + 4
        detector = (2 * int(np.ceil(extent)) + 1,) * 2
    middle = (np.array(detector) - 1) / 2
    start = pattern or Start(matrix[None], middle[None], np.ones(1), np.ones(1))
    nothing: NDArray[np.float32] = np.zeros((1, *detector), np.float32)
    positions = predicted_positions(start, entry.reflections)
    stack = gather(nothing, positions, entry.probe.half + 1, np.ones(detector, bool))
    fit = refine(
        stack, entry, start, centre=start.centre, centre_sigma=centre_sigma, iterations=0, noise_scale=noise_scale,
        robust=False,
    )  # fmt: skip
    return Bound.from_affine(matrix, fit.covariance[0, :4, :4], reference)


@dataclass(frozen=True)
class BoundTable:
    """Bounds over the background.

    Attributes
    ----------
    backgrounds
        Share of the counts in the background.
    bounds, affine_only
        Of each level, with everything unknown, and with centre, gain and background known.
    counts
        Electrons per pattern.
    """

    backgrounds: tuple[float, ...]
    bounds: tuple[Bound, ...]
    affine_only: tuple[Bound, ...]
    counts: float

    def to_table(self) -> str:
        """Text table, one line per level."""
        lines = [
            f"Cramer-Rao bound of one pattern, {self.counts:g} electrons, in units of 1e-4 (rotation: 0.01 degrees)",
            "background      exx      eyy      exy  rotation   MAE exx   MAE exy   affine only: exx      exy",
        ]
        for share, full, alone in zip(self.backgrounds, self.bounds, self.affine_only, strict=True):
            values = "".join(f"{1e4 * value:9.2f}" for value in (full.exx, full.eyy, full.exy))
            errors = "".join(f"{1e4 * MEAN_OVER_STD * value:10.2f}" for value in (full.exx, full.exy))
            known = f"{1e4 * alone.exx:19.2f}{1e4 * alone.exy:9.2f}"
            lines.append(f"{share:10.0%}{values}{1e2 * np.degrees(full.rotation):10.2f}{errors}{known}")
        lines.append(f"MAE: {MEAN_OVER_STD:.3f} x std, what an unbiased Gaussian estimate at the bound has")
        return "\n".join(lines)

    def __str__(self) -> str:
        """Return the table of `to_table`."""
        return self.to_table()


def tabulate(backgrounds: Sequence[float], *, rotation_deg: float = 17.0, **acquisition: Any) -> BoundTable:
    """Bounds of the benchmark's unstrained pattern over the background.

    Parameters
    ----------
    backgrounds
        Share of the counts in the smooth background.
    rotation_deg
        Rotation of the crystal in degrees.
    **acquisition
        Fields of `cyclestrain.simulation.Acquisition`.
    """
    truths = [
        uniform(scan=(1, 1), rotation_deg=rotation_deg, background=share, **acquisition).truth for share in backgrounds
    ]
    return BoundTable(
        tuple(float(share) for share in backgrounds),
        tuple(bound_of_pattern(truth) for truth in truths),
        tuple(bound_of_pattern(truth, nuisance=False) for truth in truths),
        float(acquisition.get("counts", Acquisition.counts)),
    )
