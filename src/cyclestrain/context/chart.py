r"""Coordinates in which a crystal is simple: equivalent labellings unified, then :math:`A = V R(\theta)` (left polar).

Components are ``(V_yy - 1, V_xx - 1, V_yx, theta)``: constant in a grain, linear in a bent crystal. ``theta`` is
unwrapped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba as nb
import numpy as np

from cyclestrain.affine import rotation, symmetric
from cyclestrain.data import AffineField, BoolArray, FloatArray, IntArray
from cyclestrain.strain import jacobian

__all__ = ["FLOOR", "LIMIT", "UPPER", "Chart", "full", "to_chart"]

LIMIT = 18.47
"""Squared distance above which two estimates differ: chance exceeds it once in a thousand (chi-square, 4 degrees)."""
FLOOR = 1e-9
"""Standard deviation added to every component, so that the information of noise-free estimates stays finite."""
UPPER = np.triu_indices(4)
"""Rows and columns of the upper triangle of a 4x4 matrix, the order in which symmetric matrices are stored."""


@dataclass(frozen=True)
class Chart:
    """Estimates of all positions, flat, in the coordinates of the chart.

    Attributes
    ----------
    shape
        Scan ``(ry, rx)``, with ``n = ry * rx``.
    label
        Dictionary entry, -1 for positions that take no part, shape ``(n,)``.
    value
        Shape ``(n, 4)``.
    covariance
        Of `value`, shape ``(n, 4, 4)``.
    precision
        Fourth root of the determinant of the information: inverse of a mean variance, shape ``(n,)``.
    metric
        Information over `precision`, upper triangle, shape ``(n, 10)``.
    variant
        Operator ``S`` that leads from the labelling of the input to that of the chart, shape ``(n, 2, 2)``.
    """

    shape: tuple[int, int]
    label: IntArray
    value: FloatArray
    covariance: FloatArray
    precision: FloatArray
    metric: FloatArray
    variant: FloatArray

    def with_covariance(self, covariance: FloatArray) -> Chart:
        """The same with other covariances, shape ``(n, 4, 4)``."""
        precision, metric = _metric(covariance)
        return replace(self, covariance=covariance, precision=precision, metric=metric)

    def to_affine(self, value: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Affine in the labelling of the input, shape ``(n, 2, 2)``, and its covariance, shape ``(n, 4, 4)``.

        Parameters
        ----------
        value, covariance
            Estimates in the coordinates of the chart, shapes ``(n, 4)`` and ``(n, 4, 4)``.
        """
        affine = symmetric(1 + value[:, 0], 1 + value[:, 1], value[:, 2]) @ rotation(value[:, 3])
        back = np.linalg.inv(self.variant)
        jac = _relabelling(back) @ np.linalg.inv(jacobian(affine))
        return affine @ back, jac @ covariance @ jac.swapaxes(-1, -2)


def full(upper: FloatArray) -> FloatArray:
    """Symmetric 4x4 matrices from their upper triangles, shape ``(n, 10)``."""
    out = np.empty((len(upper), 4, 4))
    out[:, UPPER[0], UPPER[1]] = upper
    out[:, UPPER[1], UPPER[0]] = upper
    return out


def to_chart(field: AffineField) -> Chart:
    """Chart of a field; positions without a finite affine or without a positive covariance take no part."""
    n = field.label.size
    affine, covariance = field.affine.reshape(n, 2, 2), field.covariance.reshape(n, 4, 4)
    good = _usable(field)
    label = np.where(good, field.label.ravel(), -1).astype(np.int64)
    affine = np.where(good[:, None, None], affine, np.eye(2)).astype(float)
    covariance = np.where(good[:, None, None], covariance, np.eye(4)).astype(float)
    table = field.operator_table
    scale = np.sqrt(np.einsum("nii->n", covariance) / 4 + FLOOR**2)
    which, turn = _unify(field.label.shape, label, affine, table.operators, table.order, scale)
    variant = table.operators[np.maximum(label, 0), which]
    jac = jacobian(affine @ variant) @ _relabelling(variant)
    covariance = jac @ covariance @ jac.swapaxes(-1, -2) + FLOOR**2 * np.eye(4)
    value = _coordinates(affine @ variant)
    value[:, 3] += turn
    return Chart(field.label.shape, label, value, covariance, *_metric(covariance), variant)


def _metric(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Precision and metric of a chart, see `Chart`."""
    information = np.linalg.inv(covariance)
    precision = np.linalg.det(information) ** 0.25
    metric = (information / precision[:, None, None])[:, UPPER[0], UPPER[1]]
    return precision, np.ascontiguousarray(metric)


def _usable(field: AffineField) -> BoolArray:
    """Positions with a finite affine of positive determinant and a covariance without negative variances, ``(n,)``."""
    affine, covariance = field.affine.reshape(-1, 2, 2), field.covariance.reshape(-1, 4, 4)
    good: BoolArray = (field.valid & (field.label >= 0)).ravel()
    good &= np.isfinite(affine).all((1, 2)) & np.isfinite(covariance).all((1, 2))
    where = np.flatnonzero(good)
    floor = -1e-9 * np.trace(covariance[where], axis1=1, axis2=2)
    good[where] = (np.linalg.det(affine[where]) > 0) & (np.linalg.eigvalsh(covariance[where])[:, 0] >= floor)
    return good


def _relabelling(operators: FloatArray) -> FloatArray:
    """Derivative of ``vec(A S)`` with respect to ``vec(A)``, shape ``(n, 4, 4)``."""
    out: FloatArray = np.einsum("ik,nlj->nijkl", np.eye(2), operators).reshape(-1, 4, 4)
    return out


def _coordinates(affine: FloatArray) -> FloatArray:
    out = np.empty((len(affine), 4))
    _fill_coordinates(affine, out)
    return out


@nb.njit(inline="always")
def _polar(a: Any, out: Any) -> None:  # pragma: no cover
    """Chart coordinates of one affine."""
    theta = np.arctan2(a[0, 1] - a[1, 0], a[0, 0] + a[1, 1])
    cos, sin = np.cos(theta), np.sin(theta)
    out[0] = a[0, 0] * cos + a[0, 1] * sin - 1
    out[1] = a[1, 1] * cos - a[1, 0] * sin - 1
    out[2] = a[0, 1] * cos - a[0, 0] * sin
    out[3] = theta


@nb.njit(cache=True)
def _fill_coordinates(affine: Any, out: Any) -> None:  # pragma: no cover
    for i in range(len(affine)):
        _polar(affine[i], out[i])


@nb.njit(inline="always")
def _nearest(theta: float, affine: Any, operators: Any, order: int, out: Any) -> tuple[int, float]:  # pragma: no cover
    """Labelling whose rotation is nearest to `theta`, and the whole turns to add; its coordinates go to `out`."""
    best, which, turn = 1e9, 0, 0.0
    trial = np.empty(4)
    for k in range(order):
        s = operators[k]
        variant = np.empty((2, 2))
        for r in range(2):
            for c in range(2):
                variant[r, c] = affine[r, 0] * s[0, c] + affine[r, 1] * s[1, c]
        _polar(variant, trial)
        whole = 2 * np.pi * np.round((theta - trial[3]) / (2 * np.pi))
        distance = abs(theta - trial[3] - whole)
        if distance < best - 1e-9:
            best, which, turn = distance, k, whole
            out[:] = trial
    out[3] += turn
    return which, turn


@nb.njit(cache=True)
def _unify(
    shape: Any, label: Any, affine: Any, operators: Any, order: Any, scale: Any
) -> tuple[Any, Any]:  # pragma: no cover
    """Same labelling for neighbours of one crystal, by growing regions from position to position that agrees.

    A new region begins near the labelling of a finished neighbour, the first one near no rotation.

    Returns
    -------
    which, turn
        Number of the operator and whole turns to add to the rotation, shape ``(n,)``.
    """
    rows, columns = shape
    n = rows * columns
    which, turn, value = np.zeros(n, np.int64), np.zeros(n), np.zeros((n, 4))
    done, queue, trial = label < 0, np.empty(n, np.int64), np.empty(4)
    for seed in range(n):
        if done[seed]:
            continue
        theta = 0.0
        if seed >= columns and label[seed - columns] == label[seed]:
            theta = value[seed - columns, 3]
        elif seed % columns > 0 and label[seed - 1] == label[seed]:
            theta = value[seed - 1, 3]
        k = label[seed]
        which[seed], turn[seed] = _nearest(theta, affine[seed], operators[k], order[k], value[seed])
        done[seed], queue[0], head, tail = True, seed, 0, 1
        while head < tail:
            i, head = queue[head], head + 1
            for step in range(4):
                y, x = i // columns + (step == 0) - (step == 1), i % columns + (step == 2) - (step == 3)
                j = y * columns + x
                if y < 0 or y >= rows or x < 0 or x >= columns or done[j] or label[j] != label[i]:
                    continue
                w, t = _nearest(value[i, 3], affine[j], operators[label[j]], order[label[j]], trial)
                distance = np.sum((trial - value[i]) ** 2)
                if distance <= LIMIT * (scale[i] ** 2 + scale[j] ** 2):
                    which[j], turn[j], done[j], queue[tail] = w, t, True, j
                    value[j] = trial
                    tail += 1
    return which, turn
