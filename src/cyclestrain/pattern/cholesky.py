"""Small positive definite systems of equations, solved in place inside compiled loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cyclestrain.loops import part

__all__ = ["cholesky_solve", "factorise", "substitute"]


@part()
def cholesky_solve(matrix: Any, rhs: Any, n: int, m: int) -> bool:  # pragma: no cover
    """Solve a positive definite system in place; False, with nothing solved, if the matrix is not positive definite.

    Parameters
    ----------
    matrix
        Symmetric, of which the lower triangle of the first `n` rows is read and overwritten with the Cholesky factor.
    rhs
        Right-hand sides ``rhs[:n, :m]``, overwritten with the solutions.
    n, m
        Number of unknowns and of right-hand sides.
    """
    if not factorise(matrix, n):
        return False
    substitute(matrix, rhs, n, m)
    return True


@part()
def factorise(matrix: Any, n: int) -> bool:  # pragma: no cover
    """Put the Cholesky factor of a symmetric matrix into its lower triangle; False if it is not positive definite.

    Parameters
    ----------
    matrix, n
        As for `cholesky_solve`.
    """
    for j in range(n):
        d = matrix[j, j]
        for k in range(j):
            d -= matrix[j, k] * matrix[j, k]
        if d <= 1e-12 * abs(matrix[j, j]) or not math.isfinite(d) or d <= 0:
            return False
        d = np.sqrt(d)
        matrix[j, j] = d
        for i in range(j + 1, n):
            t = matrix[i, j]
            for k in range(j):
                t -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = t / d
    return True


@part()
def substitute(matrix: Any, rhs: Any, n: int, m: int) -> None:  # pragma: no cover
    """Solve a system whose matrix holds its factor, see `factorise`.

    Parameters
    ----------
    matrix, rhs, n, m
        As for `cholesky_solve`.
    """
    for c in range(m):
        for i in range(n):
            t = rhs[i, c]
            for k in range(i):
                t -= matrix[i, k] * rhs[k, c]
            rhs[i, c] = t / matrix[i, i]
        for i in range(n - 1, -1, -1):
            t = rhs[i, c]
            for k in range(i + 1, n):
                t -= matrix[k, i] * rhs[k, c]
            rhs[i, c] = t / matrix[i, i]
