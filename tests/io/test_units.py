"""Steps come out in nm, 1/nm and mrad, however the instrument writes them."""

import pytest

from cyclestrain.data import Quantity
from cyclestrain.io.units import real_step, reciprocal_step


@pytest.mark.parametrize(
    ("scale", "unit", "value"),
    [
        (2, "nm", 2),
        (-2, "nm", 2),
        (2, "Å", 0.2),
        (2, "\u212b", 0.2),
        (2, "A", 0.2),
        (2e-9, "m", 2),
        (2, "µm", 2000),
        (2, "\u03bcm", 2000),
        (2, "[n_m]", 2),
        (2, b"um", 2000),
        (500, "pm", 0.5),
    ],
)
def test_lengths(scale, unit, value):
    assert real_step((scale, unit)) == Quantity(pytest.approx(value), "nm")
    assert reciprocal_step((scale, unit)) is None


@pytest.mark.parametrize("unit", ["1/nm", "nm^-1", "nm-1", "1 / nm", "[n_m^-1]", "nm⁻¹", "inv_nm", "(nm)^(-1)"])
def test_wavenumbers(unit):
    assert reciprocal_step((0.5, unit)) == Quantity(0.5, "1/nm")
    assert real_step((0.5, unit)) is None


@pytest.mark.parametrize(
    ("scale", "unit", "value"), [(0.1, "A^-1", 1), (0.1, "Å⁻¹", 1), (0.1, "1/Å", 1), (2e8, "1/m", 0.2)]
)
def test_other_wavenumbers(scale, unit, value):
    assert reciprocal_step((scale, unit)) == Quantity(pytest.approx(value), "1/nm")


def test_angles():
    assert reciprocal_step((0.5, "mrad")) == Quantity(0.5, "mrad")
    assert reciprocal_step((0.0005, "rad")) == Quantity(0.5, "mrad")


@pytest.mark.parametrize(
    "pair", [(1, ""), (1, None), (1, "px"), (0, "nm"), (float("nan"), "nm"), ("x", "nm"), (1, "cm^")]
)
def test_unknown_is_none(pair):
    assert real_step(pair) is None
    assert reciprocal_step(pair) is None


def test_first_meaningful_pair_counts():
    assert real_step((1, "px"), (3, "nm"), (4, "nm")) == Quantity(3, "nm")
    assert real_step() is None
