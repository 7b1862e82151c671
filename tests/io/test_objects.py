"""Objects of other libraries are scans, with their calibration; stand-ins where a library is not installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.data import Quantity
from cyclestrain.errors import InputError

COUNTS = np.arange(3 * 4 * 16 * 18).reshape(3, 4, 16, 18).astype(np.uint16)


def axis(scale: float, units: str) -> SimpleNamespace:
    return SimpleNamespace(scale=scale, units=units)


def hyperspy_signal(data: Any) -> Any:
    """A Signal2D, of HyperSpy where it is installed; else what it offers, as seen with HyperSpy 2.5."""
    try:
        import hyperspy.api as hs
    except ImportError:
        manager = SimpleNamespace(
            navigation_axes=(axis(0.5, "nm"), axis(0.5, "nm")), signal_axes=(axis(0.01, "1/nm"), axis(0.01, "1/nm"))
        )
        metadata = SimpleNamespace(General=SimpleNamespace(title="a scan"))
        return SimpleNamespace(data=data, axes_manager=manager, metadata=metadata)
    signal = hs.signals.Signal2D(data)
    for one in signal.axes_manager.navigation_axes:
        one.scale, one.units = 0.5, "nm"
    for one in signal.axes_manager.signal_axes:
        one.scale, one.units = 0.01, "1/nm"
    signal.metadata.General.title = "a scan"
    return signal.as_lazy() if hasattr(data, "dask") else signal


def data_cube(data: Any, flip: bool = False) -> Any:
    """A DataCube, of py4DSTEM where it is installed; else what it offers, as seen with py4DSTEM 0.14.18."""
    try:
        import py4DSTEM
    except ImportError:
        calibration = SimpleNamespace(
            get_R_pixel_size=lambda: 0.5,
            get_R_pixel_units=lambda: "nm",
            get_Q_pixel_size=lambda: 0.02,
            get_Q_pixel_units=lambda: "A^-1",
            get_QR_rotation=lambda: 0.3,
            get_QR_flip=lambda: flip,
        )
        return SimpleNamespace(data=data, calibration=calibration, name="datacube")
    cube = py4DSTEM.DataCube(data)
    cube.calibration.set_R_pixel_size(0.5)
    cube.calibration.set_R_pixel_units("nm")
    cube.calibration.set_Q_pixel_size(0.02)
    cube.calibration.set_Q_pixel_units("A^-1")
    cube.calibration.set_QR_rotation(0.3)
    cube.calibration.set_QR_flip(flip)
    return cube


@pytest.mark.parametrize("data", [COUNTS, da.from_array(COUNTS, chunks=(1, 4, 16, 18))], ids=["numpy", "dask"])
def test_hyperspy_signal(data: Any) -> None:
    scan = cs.read(hyperspy_signal(data))
    np.testing.assert_array_equal(scan.row_band(0, 3), COUNTS)
    assert (scan.real_step, scan.reciprocal_step) == (Quantity(0.5, "nm"), Quantity(0.01, "1/nm"))
    assert scan.name == "a scan"


def test_hyperspy_signal_of_spectra_is_refused() -> None:
    signal = SimpleNamespace(
        data=COUNTS, axes_manager=SimpleNamespace(navigation_axes=(), signal_axes=(1,)), metadata=None
    )
    with pytest.raises(InputError, match="two signal axes"):
        cs.read(signal)


@pytest.mark.parametrize("flip", [False, True])
def test_py4dstem_data_cube(flip: bool) -> None:
    scan = cs.read(data_cube(COUNTS, flip))
    np.testing.assert_array_equal(scan.row_band(0, 3), COUNTS)
    assert scan.real_step == Quantity(0.5, "nm")
    assert scan.reciprocal_step is not None
    assert scan.reciprocal_step.value == pytest.approx(0.2)
    assert scan.scan_rotation == (0.0 if flip else pytest.approx(0.3))


def test_libertem_data_set() -> None:
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    dataset = api.Context.make_with("inline").load("memory", data=COUNTS, sig_dims=2)
    scan = cs.read(dataset)
    np.testing.assert_array_equal(scan.row_band(1, 3), COUNTS[1:3])
    assert scan.source.dtype == np.uint16


class TestXarray:
    def test_named_axes_come_in_any_order(self) -> None:
        coords = {
            "ry": ("ry", 0.3 * np.arange(3), {"units": "nm"}),
            "qx": ("qx", 0.1 * np.arange(18), {"units": "mrad"}),
        }
        array = xr.DataArray(COUNTS, dims=("ry", "rx", "qy", "qx"), coords=coords, name="made").transpose("qy", ...)
        scan = cs.read(array)
        np.testing.assert_array_equal(scan.row_band(0, 3), COUNTS)
        assert scan.real_step == Quantity(pytest.approx(0.3), "nm")
        assert scan.reciprocal_step == Quantity(pytest.approx(0.1), "mrad")
        assert scan.name == "made"

    def test_other_names_keep_their_order(self) -> None:
        scan = cs.read(xr.DataArray(da.from_array(COUNTS), dims=("a", "b", "c", "d"), coords={"a": list("xyz")}))
        np.testing.assert_array_equal(scan.row_band(0, 3), COUNTS)
        assert scan.real_step is None

    def test_a_dataset_is_asked_which(self) -> None:
        with pytest.raises(InputError, match=r"several arrays \(one, two\); give one of them"):
            cs.read(xr.Dataset({"one": ("a", [1]), "two": ("a", [2])}))
