"""Loops look at every item once, whatever the number of threads, and parts are copied into them."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import pytest

from cyclestrain.loops import on_threads, part
from cyclestrain.machine import threads


@part()
def _scaled(factor: float, value: float) -> float:  # pragma: no cover - compiled
    return factor / value


@nb.njit(nogil=True, error_model="numpy")
def _add(factor: float, out: Any, start: int, stop: int) -> None:  # pragma: no cover - compiled
    for i in range(start, stop):
        out[i] += _scaled(factor, np.float64(i))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 8, 9, 64, 65, 1000])
@pytest.mark.parametrize("least", [1, 8, 300])
def test_every_item_is_looked_at_once(n: int, jobs: int, least: int) -> None:
    out = np.zeros(n)
    with threads(jobs):
        on_threads(_add, n, 3.0, out, least=least)
    with np.errstate(divide="ignore"):  # parts divide by zero as NumPy does
        np.testing.assert_array_equal(out, 3.0 / np.arange(n))


def test_pieces_are_no_smaller_than_what_is_asked_for() -> None:
    pieces: list[tuple[int, int]] = []
    with threads(2):
        on_threads(lambda start, stop: pieces.append((start, stop)), 100, least=30)
    assert sorted(pieces) == [(0, 30), (30, 60), (60, 90), (90, 100)]


def test_what_goes_wrong_in_a_loop_is_told() -> None:
    def fails(start: int, stop: int) -> None:
        raise ZeroDivisionError(start)

    with threads(2), pytest.raises(ZeroDivisionError):
        on_threads(fails, 100)
