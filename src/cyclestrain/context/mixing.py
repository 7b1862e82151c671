"""Loops over positions that compare two fits by their risks and mix them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from cyclestrain.context.chart import LIMIT
from cyclestrain.context.estimates import MISFIT, SELF_WEIGHT, VARIANCE, WIDTH, Data, blank, square
from cyclestrain.data import FloatArray

__all__ = ["Mixed", "compare", "mix"]

TEMPERATURE = 6.0
"""Divides the log weight of a risk; 4 is optimal for independent samples, neighbouring risks are correlated."""


class Mixed(NamedTuple):
    """Two fits mixed."""

    fit: FloatArray
    share: FloatArray  # weight of the second, (n,)
    excess: FloatArray  # part of its departure from the first that noise does not explain, (n,)

    @classmethod
    def blank(cls, data: Data) -> Mixed:
        """Raw values, nothing mixed in."""
        n = len(data.label)
        return cls(blank(data), np.zeros(n), np.zeros(n))


@nb.njit(nogil=True, cache=True, fastmath=True)
def compare(data: Any, old: Any, new: Any, out: Any, start: int, stop: int) -> None:  # pragma: no cover
    r"""What two estimates say at each position, in units of the raw variance.

    Columns of `out`:

    0. difference of their squared biases; Stein's :math:`E |y - f|^2_J = 4 (1 - 2 l) + \text{risk}` (four components),
       with `l` the self weight, and risk = 4 (variance + squared bias),
    1. squared distance of the two, and
    2. what noise alone would make it, the larger neighbourhood being the better estimate of what the smaller measures.

    Parameters
    ----------
    data
        Raw estimates and neighbourhood.
    old, new
        The fits.
    out
        Receives the columns, shape ``(n, 3)``.
    start, stop
        Positions.
    """
    metric, precision = data.metric, data.precision
    for i in range(start, stop):
        q = precision[i]
        out[i, 0] = (old[i, MISFIT] - new[i, MISFIT]) / 4 + 2 * (old[i, SELF_WEIGHT] - new[i, SELF_WEIGHT])
        out[i, 0] -= q * (old[i, VARIANCE] - new[i, VARIANCE])
        d0, d1, d2, d3 = new[i, 0] - old[i, 0], new[i, 1] - old[i, 1], new[i, 2] - old[i, 2], new[i, 3] - old[i, 3]
        out[i, 1] = q * square(metric, i, d0, d1, d2, d3)
        out[i, 2] = 4 * q * max(old[i, VARIANCE] - new[i, VARIANCE], 0.0)


@nb.njit(nogil=True, cache=True, fastmath=True)
def mix(
    data: Any, taken: Any, compared: Any, old: Any, new: Any, mixed: Any, start: int, stop: int
) -> None:  # pragma: no cover
    """Mix two estimates with exponential weights of their risks, biases averaged over the neighbours taken in.

    Parameters
    ----------
    data
        Raw estimates and neighbourhood.
    taken
        Bit by bit, which of the nearest neighbours share their risk, see `Hood`.
    compared
        Columns of `compare`.
    old, new
        The fits.
    mixed
        `Mixed`, which receives the result.
    start, stop
        Positions.
    """
    out, share, excess = mixed
    columns, label, offsets, precision = data.columns, data.label, data.offsets, data.precision
    for i in range(start, stop):
        if label[i] < 0:
            continue
        n, k, bits = 0, 0, taken[i]
        advantage, moved, noise = 0.0, 1e-30, 0.0
        while bits:
            if bits & 1:
                j = i + offsets[k, 0] * columns + offsets[k, 1]
                advantage += compared[j, 0]
                moved += compared[j, 1]
                noise += compared[j, 2]
                n += 1
            bits, k = bits >> 1, k + 1
        advantage += n * precision[i] * (old[i, VARIANCE] - new[i, VARIANCE])
        w = 1 / (1 + np.exp(-min(max(4 * advantage / TEMPERATURE, -500.0), 500.0)))
        if new[i, MISFIT] > LIMIT * (1 - new[i, VARIANCE] * precision[i]) + 1e-9:
            w = 0.0  # this position is not like its neighbours
        share[i], excess[i] = w, max(0.0, 1 - noise / moved)
        for c in range(WIDTH):
            out[i, c] = (1 - w) * old[i, c] + w * new[i, c]
        # the data of the better estimate contain the other's: its variance is their covariance
        a, b = old[i, VARIANCE], new[i, VARIANCE]
        out[i, VARIANCE] = (1 - w) ** 2 * a + w * w * b + 2 * w * (1 - w) * min(a, b)
        d0, d1 = out[i, 0] - data.raw[i, 0], out[i, 1] - data.raw[i, 1]
        d2, d3 = out[i, 2] - data.raw[i, 2], out[i, 3] - data.raw[i, 3]
        out[i, MISFIT] = precision[i] * square(data.metric, i, d0, d1, d2, d3)
