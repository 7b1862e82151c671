"""Derivatives by which the covariance of a transform becomes the covariance of strain and rotation.

Matrices are flattened row by row: ``vec(M) = (M_yy, M_yx, M_xy, M_xx)``.
"""

from __future__ import annotations

import numpy as np

from cyclestrain.affine import deformation, left_polar, rotation
from cyclestrain.data import FloatArray

__all__ = ["gradient_jacobian", "jacobian", "own_jacobian"]


def jacobian(gradient: FloatArray) -> FloatArray:
    r"""Derivative of ``(eyy, exx, exy, rotation)`` with respect to ``(F_yy, F_yx, F_xy, F_xx)``, shape ``(..., 4, 4)``.

    From :math:`dF R^T = dV + d\theta\, V J`, :math:`J = dR/d\theta\, R^T`: the antisymmetric part gives
    :math:`d\theta = (M_{yx} - M_{xy}) / \operatorname{tr} V` for :math:`M = dF R^T`.
    """
    stretch, theta = left_polar(gradient)
    turn = rotation(theta)
    generator = np.array([[0.0, 1.0], [-1.0, 0.0]])
    trace = stretch[..., 0, 0] + stretch[..., 1, 1]
    spin = stretch @ generator
    out = np.empty((*gradient.shape[:-2], 4, 4))
    for k in range(4):
        basis = np.zeros((2, 2))
        basis.flat[k] = 1.0
        m = basis @ turn.swapaxes(-1, -2)
        omega = (m[..., 0, 1] - m[..., 1, 0]) / trace
        d_stretch = m - omega[..., None, None] * spin
        out[..., 0, k] = d_stretch[..., 0, 0]
        out[..., 1, k] = d_stretch[..., 1, 1]
        out[..., 2, k] = 0.5 * (d_stretch[..., 0, 1] + d_stretch[..., 1, 0])
        out[..., 3, k] = omega
    return out


def gradient_jacobian(gradient: FloatArray) -> FloatArray:
    """Derivative of ``vec(F)`` with respect to ``vec(A)`` for ``F = A^-T``, at the given `F`, shape ``(..., 4, 4)``."""
    # dF = -F dA^T F, so dF_ij = -F_il dA_kl F_kj.
    jac = -np.einsum("...il,...kj->...ijkl", gradient, gradient)
    return jac.reshape(*gradient.shape[:-2], 4, 4)


def own_jacobian(own: FloatArray, affine: FloatArray) -> FloatArray:
    """Derivative of ``vec(F)`` with respect to ``vec(A)`` where ``F = (A S)^-T``, shape ``(n, 4, 4)``.

    Parameters
    ----------
    own
        Deformation gradients `F` in the labelling that was chosen, shape ``(n, 2, 2)``.
    affine
        Affines `A` in the labelling of the entry, shape ``(n, 2, 2)``; ``S = A^-1 F^-T`` is taken as fixed.
    """
    # d own = -own d(AS)^T own and d(AS) = dA S, so d own_ij = -own_im S_lm dA_kl own_kj.
    label = np.linalg.inv(affine) @ deformation(own)
    left = own @ label.swapaxes(-1, -2)  # own_im S^T_ml
    jac = -np.einsum("nil,nkj->nijkl", left, own)
    return jac.reshape(-1, 4, 4)
