"""What patterns share of their noise: single exposures nothing, averaged and filtered scans much, rebuilt ones all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cyclestrain.calibration.echo import Echo, measure_echo
from cyclestrain.data import BoolArray, FloatArray

SIDE, PIXELS = 16, 64
ROWS, COLUMNS = np.divmod(np.arange(SIDE * SIDE), SIDE)


def scan(counts: float = 3.0, flicker: float = 0.0, bands: float = 0.0, seed: int = 0) -> FloatArray:
    """A falling background with disks that wander slowly, counted; with `flicker` of the beam and bands that move."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((PIXELS, PIXELS)) - PIXELS / 2
    out = np.empty((SIDE, SIDE, PIXELS, PIXELS))
    for row, column in np.ndindex(SIDE, SIDE):
        expected = counts * (1 + 5 / (1 + np.hypot(y, x) / 10))
        for ny, nx in ((0, 18), (18, 0), (-18, 0), (0, -18)):
            expected += 10 * counts * (np.hypot(y - ny - 0.1 * row, x - nx - 0.1 * column) < 3)
        expected *= 1 + bands * (np.abs(x + y - 2 * column) < 5)
        out[row, column] = rng.poisson(expected * rng.lognormal(0.0, flicker))
    return out


def echo_of(patterns: FloatArray) -> Echo:
    return measure_echo(patterns.reshape(-1, PIXELS, PIXELS), ROWS, COLUMNS, outside())


def outside() -> BoolArray:
    y, x = np.indices((PIXELS, PIXELS)) - PIXELS / 2
    return np.asarray(np.hypot(y, x) > 8)


def of_few_components(patterns: FloatArray, number: int) -> FloatArray:
    flat = patterns.reshape(SIDE * SIDE, -1)
    u, size, v = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    return np.asarray(((u[:, :number] * size[:number]) @ v[:number] + flat.mean(0)).reshape(patterns.shape))


@pytest.mark.parametrize("counts", [0.1, 3.0, 3e3])
def test_single_exposures_have_none(counts: float) -> None:
    assert echo_of(scan(counts)) == Echo()
    assert echo_of(scan(counts, flicker=0.4, bands=0.3)) == Echo()
    uneven = np.random.default_rng(1).normal(1.0, 0.1, (PIXELS, PIXELS))
    assert echo_of(scan(counts, flicker=0.4) * uneven) == Echo()


def test_a_background_that_leans_from_pattern_to_pattern_is_none() -> None:
    """What neighbours share of it is smooth on the detector, and no noise."""
    lean = ndimage.uniform_filter(np.random.default_rng(2).normal(size=(2, SIDE, SIDE)), (0, 2, 2), mode="wrap")
    y, x = np.indices((PIXELS, PIXELS)) - PIXELS / 2
    leaning = lean[0][:, :, None, None] * y + lean[1][:, :, None, None] * x
    assert echo_of(scan(30.0) + leaning) == Echo()


@pytest.mark.parametrize(
    ("kernel", "gain"),
    [([[1.0] * 3] * 3, 9.0), ([[1.0, 1.0]], 2.0), ([[0.25, 0.75]], 1.6), ([[1.0], [2.0], [1.0]], 2.67)],
)
def test_a_scan_that_was_averaged(kernel: list[list[float]], gain: float) -> None:
    """The gain is that of a mean over many, the square of the sum of the weights over the sum of their squares."""
    weights = np.array(kernel)[:, :, None, None]
    assert gain == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=0.01)
    found = echo_of(ndimage.convolve(scan(), weights, mode="wrap"))
    assert found.gain == pytest.approx(gain, rel=0.15)
    assert not found.is_rebuilt


@pytest.mark.parametrize("number", [6, 40])
def test_patterns_of_few_components_have_no_noise_of_their_own(number: int) -> None:
    assert echo_of(of_few_components(scan(), number)).is_rebuilt
    assert not echo_of(of_few_components(scan(), SIDE * SIDE)).is_rebuilt


def test_copies_and_patterns_without_noise_are_not_rebuilt() -> None:
    few = scan().reshape(-1, PIXELS, PIXELS)[np.arange(SIDE * SIDE) % 40]
    assert not echo_of(few).is_rebuilt
    assert echo_of(np.ones((SIDE, SIDE, PIXELS, PIXELS))) == Echo()
    blank = scan()
    blank[:, : SIDE - 4] = 0
    assert not echo_of(blank).is_rebuilt
