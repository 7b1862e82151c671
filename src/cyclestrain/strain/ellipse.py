r"""Elliptic distortion of the detector, distinguished from strain by what crystals of different rotation share.

A distortion `E` stretches every pattern alike, whatever the rotation of its crystal: :math:`A = E\,F^{-T}`. Strains
differ from grain to grain, and an error of the dictionary entry turns with the crystal. In the anisotropic part of the
stretch of each grain, the complex number :math:`q = (V_{xx} - V_{yy}) / 2 + i V_{xy}`, the distortion is therefore the
constant :math:`q_E` of :math:`q_n = q_E + q_0 e^{2 i \theta_n}`, and the scatter about this model gives its
uncertainty. A strain that all grains share in the axes of the detector cannot be told from a distortion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cyclestrain.affine import left_polar, rotation, symmetric
from cyclestrain.data import AffineField, FloatArray, StrainMaps
from cyclestrain.strain.coherence import coherent_regions
from cyclestrain.strain.jacobians import jacobian
from cyclestrain.strain.variants import nearest_variant

__all__ = ["Ellipse", "measure_ellipse"]

BIN_DEG = 5.0
"""Difference of rotation, degrees, below which grains count as one, since they may be parts of one crystal."""
LEAST_BINS = 6
"""Least number of groups of grains, each of another rotation, from which a distortion is measured."""
SIGNIFICANCE = 1e-4
"""Largest probability that chance alone makes grains share as much as was found."""


@dataclass(frozen=True)
class Ellipse:
    """Elliptic distortion of the detector at constant area.

    Attributes
    ----------
    q
        ``(E_xx - E_yy) / 2`` and ``E_xy`` of the matrix logarithm of the distortion `E`, shape ``(2,)``.
    covariance
        Covariance of `q`, shape ``(2, 2)``.
    grains
        Number of groups of grains it was measured on, 0 if it was given.
    """

    q: FloatArray
    covariance: FloatArray
    grains: int = 0

    @classmethod
    def none(cls) -> Ellipse:
        """An undistorted detector."""
        return cls(np.zeros(2), np.zeros((2, 2)))

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

    def widened(self, maps: StrainMaps) -> StrainMaps:
        """Strain with the uncertainty of the distortion added to its covariance.

        It vanishes where the crystal is neither turned nor strained relative to the reference.
        """
        gradient = maps.gradient
        units = [symmetric(-1.0, 1.0, 0.0), symmetric(0.0, 0.0, 1.0)]
        moves = np.stack([(unit @ gradient - gradient @ unit).reshape(*gradient.shape[:-2], 4) for unit in units], -1)
        change = jacobian(gradient) @ moves
        return replace(maps, covariance=maps.covariance + change @ self.covariance @ change.swapaxes(-1, -2))

    def __str__(self) -> str:
        if not self.q.any():
            return "none"
        how = f"shared by {self.grains} groups of grains" if self.grains else "as given"
        return f"axes in the ratio {self.ratio:.4f}, the long one at {self.degrees:.0f} deg, {how}"


def measure_ellipse(field: AffineField) -> Ellipse:
    """Distortion that all grains share beyond chance; none where the grains show none or are too few.

    Parameters
    ----------
    field
        Affine of every position.

    Notes
    -----
    A weighted regression of the model in the module's docstring over groups of grains, with one constant that turns
    with the crystal for each dictionary entry, and an F-test of the constant that all share.
    """
    grains = _grains(field)
    if len(grains) < LEAST_BINS:
        return Ellipse.none()
    label, theta, q, weight = grains.T
    classes = np.unique(label.real)
    design = np.stack([np.ones(len(q)), *((label == k) * np.exp(2j * theta.real) for k in classes)], 1)
    freedom = len(q) - design.shape[1]
    if freedom < LEAST_BINS - 2:
        return Ellipse.none()
    normal = design.conj().T @ (weight[:, None] * design)
    inverse = np.linalg.pinv(normal, hermitian=True)
    found = inverse @ design.conj().T @ (weight * q)
    scatter = float((weight.real * np.abs(q - design @ found) ** 2).sum() / (2 * freedom))
    variance = scatter * float(inverse[0, 0].real)
    chance = stats.f.sf(abs(found[0]) ** 2 / (2 * max(variance, 1e-30)), 2, 2 * freedom)
    if chance > SIGNIFICANCE:
        return Ellipse.none()
    return Ellipse(np.array([found[0].real, found[0].imag]), variance * np.eye(2), len(q))


def _grains(field: AffineField) -> NDArray[Any]:
    """Class, rotation, anisotropy `q` of the pattern's stretch and number of grains, for groups of grains."""
    regions = coherent_regions(field)
    size = np.bincount(regions[regions >= 0]) if (regions >= 0).any() else np.zeros(0, int)
    groups: dict[tuple[int, int], list[complex]] = {}
    for region in np.flatnonzero(size >= max(4, 0.002 * regions.size)):
        here = regions == region
        k = int(np.bincount(field.label[here]).argmax())
        operators = field.operators[k]
        one = nearest_variant(field.affine[here], operators, np.eye(2))
        stretch, theta = left_polar(np.median(one, axis=0))
        group = (k, round(float(np.degrees(theta)) / BIN_DEG))
        # The pattern is stretched by the inverse of what its lattice is.
        groups.setdefault(group, []).append(complex((stretch[0, 0] - stretch[1, 1]) / 2, -stretch[0, 1]))
    rows = [(k, np.deg2rad(BIN_DEG * step), np.mean(q), len(q)) for (k, step), q in groups.items()]
    return np.array(rows, complex).reshape(-1, 4)
