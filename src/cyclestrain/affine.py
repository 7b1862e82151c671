r"""Two-by-two matrices of the package: parameters, rotation, polar decomposition.

Vectors are ``(y, x)``: row first, column second, pixel centres at integers. A matrix acts on such a column vector, so
``M[..., 0, 0]`` is ``M_yy`` and ``M[..., 1, 1]`` is ``M_xx``. Angles are radians, positive from +x (column) towards +y
(row):

.. math:: R(\theta) = \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}

which takes the unit vector ``(0, 1)`` along +x to ``(sin theta, cos theta)``. Every function takes NumPy arrays or
torch tensors with any leading dimensions and keeps their type and precision.

Convention
----------
Vectors are ``(y, x)``: row first, column second, pixel centres at integers. A matrix acts on such a column
vector, so ``M[..., 0, 0]`` is ``M_yy`` and ``M[..., 1, 1]`` is ``M_xx``.
Angles are radians, positive from +x (column) towards +y (row):

.. math:: R(\theta) = \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}

which takes the +x unit vector ``(0, 1)`` to ``(sin theta, cos theta)``.
Every function takes NumPy arrays or torch tensors with any leading dimensions and keeps type and precision.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["deformation", "left_polar", "reciprocal", "right_polar", "rotation", "symmetric", "wrap_angle"]


def _namespace(array: Any) -> ModuleType:
    if isinstance(array, np.ndarray | np.generic | float | int):
        return np
    import torch

    return torch


def _matrix(yy: Any, yx: Any, xy: Any, xx: Any) -> Any:
    xp = _namespace(yy)
    return xp.stack([xp.stack([yy, yx], -1), xp.stack([xy, xx], -1)], -2)


def rotation(theta: Any) -> Any:
    """Rotation matrices of shape ``(..., 2, 2)`` for angles of shape ``(...)``, radians, positive from +x towards +y.

    Examples
    --------
    A quarter turn takes the unit vector along +x, which is ``(0, 1)``, to the one along +y, which is ``(1, 0)``:

    >>> import numpy as np
    >>> from cyclestrain.affine import rotation
    >>> (rotation(np.pi / 2) @ np.array([0.0, 1.0])).round(6)
    array([1., 0.])
    """
    xp = _namespace(theta)
    cos, sin = xp.cos(theta), xp.sin(theta)
    return _matrix(cos, sin, -sin, cos)


def symmetric(yy: Any, xx: Any, yx: Any) -> Any:
    """Symmetric matrices ``[[yy, yx], [yx, xx]]``, shape ``(..., 2, 2)``.

    Parameters
    ----------
    yy, xx, yx
        Elements, shape ``(...)`` each; the diagonal comes first, y before x.
    """
    return _matrix(yy, yx, yx, xx)


def wrap_angle(theta: Any, period: Any = 2 * np.pi) -> Any:
    """Angle brought into ``[-period / 2, period / 2)`` by adding multiples of the period.

    Parameters
    ----------
    theta, period
        Angle and period in the same unit, numbers or arrays that broadcast; by default a full turn in radians.
    """
    return (theta + period / 2) % period - period / 2


def _transpose(matrix: Any) -> Any:
    return matrix.swapaxes(-1, -2)


def deformation(affine: Any) -> Any:
    """Real-space deformation gradient :math:`F = A^{-T}` of a pattern affine `A`, shape ``(..., 2, 2)``.

    Reciprocal-lattice vectors move as :math:`g' = A g = F^{-T} g`. The function is its own inverse: :math:`A = F^{-T}`.

    Examples
    --------
    Reflections that move inwards along x by 1 % belong to a lattice that is longer along x:

    >>> import numpy as np
    >>> from cyclestrain.affine import deformation
    >>> deformation(np.diag([1.0, 0.99])).round(4)
    array([[1.    , 0.    ],
           [0.    , 1.0101]])
    """
    xp = _namespace(affine)
    return _transpose(xp.linalg.inv(affine))


# The map is its own inverse: A = F^-T and F = A^-T.
reciprocal = deformation


def left_polar(matrix: Any) -> tuple[Any, Any]:
    r"""Left polar decomposition :math:`F = V R(\theta)` of 2x2 matrices with positive determinant.

    Parameters
    ----------
    matrix
        Shape ``(..., 2, 2)``.

    Returns
    -------
    stretch, theta
        Symmetric `V`, shape ``(..., 2, 2)``, and the angle in radians in ``(-pi, pi]``, shape ``(...)``.

    Examples
    --------
    A lattice turned by 5 degrees and then stretched by 2 % along y:

    >>> import numpy as np
    >>> from cyclestrain.affine import left_polar, rotation
    >>> stretch, theta = left_polar(np.diag([1.02, 1.0]) @ rotation(np.deg2rad(5.0)))
    >>> np.abs(stretch.round(6))
    array([[1.02, 0.  ],
           [0.  , 1.  ]])
    >>> round(float(np.rad2deg(theta)), 6)
    5.0
    """
    xp = _namespace(matrix)
    theta = xp.arctan2(matrix[..., 0, 1] - matrix[..., 1, 0], matrix[..., 0, 0] + matrix[..., 1, 1])
    return matrix @ _transpose(rotation(theta)), theta


def right_polar(matrix: Any) -> tuple[Any, Any]:
    r"""Right polar decomposition :math:`F = R(\theta) U` of 2x2 matrices as ``(U, theta)``, see `left_polar`."""
    _, theta = left_polar(matrix)
    return _transpose(rotation(theta)) @ matrix, theta
