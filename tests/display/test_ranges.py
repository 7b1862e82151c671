from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclestrain.display.ranges import (
    format_length,
    format_number,
    nice_ceiling,
    nice_floor,
    rotation_scale,
    scale_bar_length,
    sequential_scale,
    summarise,
    symmetric_scale,
)

positive = st.floats(1e-8, 1e8)


@given(positive)
def test_nice_numbers_bracket_the_value_closely(value: float) -> None:
    tolerance = 1 + 1e-5
    assert value <= nice_ceiling(value) * tolerance <= 1.34 * value * tolerance**2
    assert value / 2.51 <= nice_floor(value) <= value * tolerance


@pytest.mark.parametrize(("value", "expected"), [(1.0, 1.0), (1.01, 1.2), (0.0299, 0.03), (0.03, 0.03), (9.0, 10.0)])
def test_nice_ceiling_is_round(value: float, expected: float) -> None:
    assert nice_ceiling(value) == expected


def test_symmetric_scale_shows_the_asked_share_and_ignores_outliers_and_gaps() -> None:
    values = np.concatenate([np.linspace(-1.9, 1.9, 999), [1e6, np.nan, np.inf]])
    scale = symmetric_scale(values)
    assert (scale.low, scale.high) == (-2.0, 2.0)
    masked = np.ma.masked_greater(np.array([0.4, -0.4, 90.0]), 50.0)
    assert symmetric_scale(masked).high == 0.4


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [0.0, 0.0]])
def test_symmetric_scale_without_information_has_the_smallest_width(values: list[float]) -> None:
    assert symmetric_scale(values, smallest=0.05).high == 0.05


def test_sequential_scale() -> None:
    assert (sequential_scale([0.01, 0.029]).low, sequential_scale([0.01, 0.029]).high) == (0.0, 0.03)
    assert sequential_scale([np.nan]).width == 1.0
    assert sequential_scale([0.0, 0.0]).width == 1.0
    scale = sequential_scale(np.linspace(0.93, 1.07, 100), from_zero=False)
    assert scale.low <= 0.932
    assert scale.high >= 1.068
    assert scale.width < 0.2
    assert sequential_scale([3.0, 3.0], from_zero=False).width == 1.0


def test_rotation_is_cyclic_only_where_it_fills_its_period() -> None:
    rng = np.random.default_rng(0)
    anywhere = rotation_scale(rng.uniform(-30, 30, 400), 60)
    assert anywhere.cyclic
    assert (anywhere.low, anywhere.high) == (-30, 30)
    narrow = rotation_scale(rng.uniform(-0.7, 0.7, 400), 60)
    assert not narrow.cyclic
    assert narrow.high == 0.8
    # Close to zero modulo the period is close to zero.
    assert not rotation_scale(60 + rng.uniform(-0.7, 0.7, 400), 60).cyclic
    # A grain across the end of the period would be cut by any other scale.
    assert rotation_scale([-29.9, 29.9, 0.0], 60).cyclic
    assert not rotation_scale(np.array([]), 60).cyclic


def test_a_few_wrong_positions_do_not_make_the_rotation_cyclic() -> None:
    values = np.zeros(1000)
    values[:5] = 25.0
    assert not rotation_scale(values, 60).cyclic


@pytest.mark.parametrize(
    ("target", "whole", "expected"),
    [(12.7, False, 10), (4.9, False, 2), (0.6, False, 0.5), (0.6, True, 1), (77, True, 50)],
)
def test_scale_bar_length(target: float, whole: bool, expected: float) -> None:
    assert scale_bar_length(target, whole=whole) == expected


@pytest.mark.parametrize(
    ("length", "unit", "text"),
    [
        (5, "nm", "5 nm"),
        (2000, "nm", "2 µm"),
        (0.5, "um", "0.5 µm"),
        (1, "positions", "1 position"),
        (20, "positions", "20 positions"),
    ],
)
def test_format_length(length: float, unit: str, text: str) -> None:
    assert format_length(length, unit) == text


def test_numbers_carry_the_decimals_of_their_spread() -> None:
    assert format_number(0.12345, 0.034) == "0.123"
    assert format_number(-1.5, 1.2) == "\N{MINUS SIGN}1.5"
    assert format_number(-0.0001, 0.1) == "0.00"
    assert format_number(3.0, 0.0) == "3.00"


def test_summary_of_a_normal_distribution_is_its_mean_and_sigma() -> None:
    summary = summarise(np.random.default_rng(3).normal(2.0, 0.5, 20_000))
    assert summary is not None
    assert summary.median == pytest.approx(2.0, abs=0.02)
    assert summary.spread == pytest.approx(0.5, rel=0.03)
    assert summarise([np.nan]) is None
