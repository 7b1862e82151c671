r"""Elliptic distortion of the detector, distinguished from strain by what crystals of different rotation share.

A distortion `E` stretches every pattern alike, whatever the rotation of its crystal: :math:`A = E\,F^{-T}`. Strains
differ from grain to grain. In the anisotropic part of the stretch of each orientation `n`, the complex number
:math:`q = (V_{xx} - V_{yy}) / 2 + i V_{xy}`, the distortion is therefore the constant :math:`q_E` of
:math:`q_n = q_E + q_0 e^{2 i \theta_n} + s_n`. A lattice with a 3-, 4- or 6-fold axis is isotropic by itself, so there
:math:`q_0 = 0`; for others it is unknown. The strains :math:`s_n` have an unknown scatter. With priors for all three
the answer never is "nothing, surely": what is not told by the scan stays in the uncertainty.

A strain that all orientations share in the axes of the detector cannot be told from a distortion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import rotation, symmetric, wrap_angle
from cyclestrain.data import AffineField, FloatArray, IntArray, StrainMaps
from cyclestrain.strain.branches import grain_labels
from cyclestrain.strain.jacobians import jacobian
from cyclestrain.strain.maps import relative_strain
from cyclestrain.strain.reference import Reference
from cyclestrain.strain.variants import ideal_shape

__all__ = ["Ellipse", "measure_ellipse"]

SAME_DEG = 5.0
"""Difference of rotation, degrees, below which grains count as one, since they may be parts of one crystal."""
DISTORTION = 0.01
"""Standard deviation of each component of a distortion before anything is known: axes in the ratio 1.02."""
SHAPE = 0.02
"""The same of the anisotropy of an entry whose symmetry does not fix it."""
SCATTER, WEIGHT = 3e-3, 1.0
"""Scatter of strain from grain to grain before anything is known, and how many strains that knowledge is worth."""
SCATTERS = np.geomspace(2e-4, 5e-2, 40)
"""Scatters that are summed over."""
SIGNIFICANCE = 3e-3
"""Probability that chance alone makes grains share as much as was found, below which it is corrected."""


@dataclass(frozen=True)
class Ellipse:
    """Elliptic distortion of the detector at constant area.

    Attributes
    ----------
    q
        ``(E_xx - E_yy) / 2`` and ``E_xy`` of the matrix logarithm of the distortion `E`, shape ``(2,)``.
    covariance
        Covariance of `q`, shape ``(2, 2)``.
    orientations
        Number of orientations it was measured on; None if it was given.
    """

    q: FloatArray
    covariance: FloatArray
    orientations: int | None = None

    @classmethod
    def given(cls, ratio: float, degrees: float) -> Ellipse:
        """An ellipse that is known, without uncertainty.

        Parameters
        ----------
        ratio
            Long over short axis.
        degrees
            Angle of the long axis, degrees, positive from +x (column) towards +y (row).
        """
        angle = 2 * np.deg2rad(degrees)
        return cls(0.5 * np.log(ratio) * np.array([np.cos(angle), np.sin(angle)]), np.zeros((2, 2)))

    @classmethod
    def of_pixels(cls, ratio: float) -> Ellipse:
        """What rectangular pixels do to a pattern.

        Parameters
        ----------
        ratio
            Height of a pixel over its width: where they are higher than wide, fewer of them fit along y, so that a
            round pattern appears long along x.
        """
        return cls(np.array([0.5 * np.log(ratio), 0.0]), np.zeros((2, 2)))

    @property
    def ratio(self) -> float:
        """Long over short axis."""
        return float(np.exp(2 * np.hypot(*self.q)))

    @property
    def degrees(self) -> float:
        """Angle of the long axis from +x towards +y, 0 to 180 degrees."""
        return float(np.degrees(np.arctan2(self.q[1], self.q[0]) / 2) % 180)

    @property
    def matrix(self) -> FloatArray:
        """Matrix that takes undistorted to recorded vectors ``(y, x)``, shape ``(2, 2)``, determinant 1."""
        turn, size = rotation(np.deg2rad(self.degrees)), np.hypot(*self.q)
        return turn @ np.diag(np.exp([-size, size])) @ turn.T

    def corrected(self, field: AffineField) -> AffineField:
        """The field that an undistorted detector would have given, without the uncertainty that `widened` adds."""
        inverse = np.linalg.inv(self.matrix)
        both = np.kron(inverse, np.eye(2))
        return replace(field, affine=inverse @ field.affine, covariance=both @ field.covariance @ both.T)

    def widened(self, maps: StrainMaps, *, absolute: bool = False) -> StrainMaps:
        """Strain with the uncertainty of the distortion added to its covariance.

        It vanishes where the crystal is neither turned nor strained relative to the reference, unless the reference is
        not distorted.

        Parameters
        ----------
        maps
            Strain relative to a reference.
        absolute
            Whether the reference is a known lattice instead of one that was recorded with the same distortion.
        """
        gradient = maps.gradient
        units = [symmetric(-1.0, 1.0, 0.0), symmetric(0.0, 0.0, 1.0)]
        moved = [unit @ gradient - (0.0 if absolute else gradient @ unit) for unit in units]
        moves = np.stack([move.reshape(*gradient.shape[:-2], 4) for move in moved], -1)
        change = jacobian(gradient) @ moves
        return replace(maps, covariance=maps.covariance + change @ self.covariance @ change.swapaxes(-1, -2))

    def __str__(self) -> str:
        if self.orientations is None:
            return f"{self._axes}, as given" if self.q.any() else "none, as given"
        seen = f"{self.orientations} orientation" + ("s" if self.orientations != 1 else "")
        if self.q.any():
            return f"{self._axes}, from {seen}"
        least = f"{1 + 2 * float(np.sqrt(np.linalg.eigvalsh(self.covariance).max())):.4f}"
        where = "where crystals are turned against the reference, everywhere if that is ideal or a known lattice"
        if self.orientations < 2:
            why = "grains that are turned against each other would tell it"
            return f"not measured, {seen} only: {why}; a ratio of {least} is in sigma {where}"
        return f"none that is sure, from {seen}; a ratio of {least} is in sigma {where}"

    @property
    def _axes(self) -> str:
        error = 2 * self.ratio * float(np.sqrt(np.trace(self.covariance) / 2))
        doubt = f" +- {error:.4f}" if error else ""
        return f"axes in the ratio {self.ratio:.4f}{doubt}, the long one at {self.degrees:.0f} deg"


def measure_ellipse(field: AffineField) -> Ellipse:
    """Distortion that all orientations share, with its uncertainty.

    What is within the reach of chance, or known from one orientation only, is not corrected: correcting it would harm
    every scan without a distortion. It is added to the uncertainty instead.

    Parameters
    ----------
    field
        Affine of every position.
    """
    label, theta, q = _orientations(field)
    design = np.ones((len(q), 1), complex)
    for k in np.unique(label):
        if len(field.operators[k]) < 3:
            design = np.column_stack([design, (label == k) * np.exp(2j * theta)])
    mean, variance = _posterior(q, design) if len(q) else (0j, DISTORTION**2)
    found = np.array([mean.real, mean.imag])
    if len(q) > 1 and abs(mean) ** 2 > -2 * np.log(SIGNIFICANCE) * variance:
        return Ellipse(found, variance * np.eye(2), len(q))
    return Ellipse(np.zeros(2), variance * np.eye(2) + np.outer(found, found), len(q))


def ideal_gradients(field: AffineField) -> FloatArray:
    """Deformation gradient of each entry's lattice at its most symmetric shape and no rotation, ``(entry, 2, 2)``."""
    return np.stack([np.linalg.inv(ideal_shape(operators)) for operators in field.operators])


def _posterior(q: NDArray[Any], design: NDArray[Any]) -> tuple[complex, float]:
    """Mean and variance per component of the first coefficient, the scatter of the strains summed over."""
    prior = np.full(design.shape[1], SHAPE**2)
    prior[0] = DISTORTION**2
    common = (design * prior) @ design.conj().T
    weights, means, variances = [], [], []
    for scatter in SCATTERS:
        inverse = np.linalg.inv(common + scatter**2 * np.eye(len(q)))
        gain = prior[0] * design[:, 0].conj() @ inverse
        means.append(gain @ q)
        variances.append(prior[0] * (1 - float((gain @ design[:, 0]).real)))
        evidence = np.linalg.slogdet(inverse)[1] - float((q.conj() @ inverse @ q).real) / 2
        weights.append(evidence - WEIGHT * (np.log(scatter) + (SCATTER / scatter) ** 2 / 2))
    weight = np.exp(np.array(weights) - max(weights))
    weight /= weight.sum()
    mean = complex(weight @ np.array(means))
    return mean, float(weight @ (np.array(variances) + np.abs(np.array(means) - mean) ** 2 / 2))


def _orientations(field: AffineField) -> tuple[IntArray, FloatArray, NDArray[Any]]:
    """Class, rotation and anisotropy `q` of the pattern's stretch of each orientation, shape ``(n,)`` each.

    Grains of one class that lie within `SAME_DEG` of each other count as one.
    """
    maps = relative_strain(field, Reference.known(ideal_gradients(field)))
    area = np.where(field.usable, grain_labels(field, maps.rotation), -1)
    size = np.bincount(area[area >= 0]) if (area >= 0).any() else np.zeros(0, int)
    found: list[tuple[int, float, list[complex]]] = []
    for one in np.argsort(-size, kind="stable"):
        if size[one] < max(4, 0.002 * area.size):
            break
        here = area == one
        k = int(field.label[here][0])
        period = 2 * np.pi / len(field.operators[k])
        theta = float(np.angle(np.exp(2j * np.pi / period * maps.rotation[here]).mean()) * period / (2 * np.pi))
        yy, xx, xy = (float(np.median(values[here])) for values in (maps.eyy, maps.exx, maps.exy))
        # The pattern is stretched by the inverse of what its lattice is.
        q = complex(yy - xx, -2 * xy) / (2 + yy + xx)
        for other, turned, same in found:
            if other == k and abs(wrap_angle(theta - turned, period)) < np.deg2rad(SAME_DEG):
                same.append(q)
                break
        else:
            found.append((k, theta, [q]))
    label = np.array([k for k, _, _ in found], int)
    return label, np.array([theta for _, theta, _ in found]), np.array([np.mean(q) for _, _, q in found], complex)
