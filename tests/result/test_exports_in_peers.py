"""Exported files in the tools they are for, each in its own environment: same numbers, signs, axes and units."""

import importlib.util
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cyclestrain.affine import rotation
from cyclestrain.result import export_maps
from made_up import SHAPE, made_up_result

pytestmark = pytest.mark.slow

ENVIRONMENTS = Path(__file__).parents[2] / "benchmarks" / "peers" / "environments.py"

IN_HYPERSPY = """
import json, sys, warnings
warnings.simplefilter("ignore")
import hyperspy.api as hs
s = hs.load(sys.argv[1])
print(json.dumps({
    "kind": type(s).__name__, "data": s.data.tolist(), "notes": s.metadata.cyclestrain.notes,
    "channels": s.metadata.cyclestrain.channels,
    "navigation": [[a.name, a.size] for a in s.axes_manager.navigation_axes],
    "signal": [[a.name, a.size, a.scale, str(a.units)] for a in s.axes_manager.signal_axes],
}))
"""

IN_PY4DSTEM = """
import contextlib, io, json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
with contextlib.redirect_stdout(io.StringIO()):
    import py4DSTEM
    from py4DSTEM.data import RealSlice
    from py4DSTEM.process.strain.latticevectors import get_strain_from_reference_g1g2, get_rotated_strain_map
    ours = py4DSTEM.read(sys.argv[1])
    affine = np.load(sys.argv[2])  # (ry, rx, 2, 2), of the pattern, vectors (row, column)
    g1, g2 = np.array([30.0, 4.0]), np.array([-7.0, 33.0])
    moved = [affine @ g for g in (g1, g2)]
    data = np.stack([moved[0][..., 0], moved[0][..., 1], moved[1][..., 0], moved[1][..., 1], np.ones(affine.shape[:2])])
    lattice = RealSlice(data, slicelabels=["g1x", "g1y", "g2x", "g2y", "mask"])
    theirs = get_strain_from_reference_g1g2(lattice, g1, g2)
    turned = get_rotated_strain_map(ours, 1.0, 0.0, False)
names = ["e_xx", "e_yy", "e_xy", "theta", "mask"]
print(json.dumps({
    "kind": type(ours).__name__, "labels": list(ours.slicelabels),
    "ours": {n: ours.get_slice(n).data.tolist() for n in names},
    "theirs": {n: theirs.get_slice(n).data.tolist() for n in names},
    "turned": {n: turned.get_slice(n).data.tolist() for n in names},
    "step": [ours.calibration.get_R_pixel_size(), ours.calibration.get_R_pixel_units()],
    "notes": ours.metadata["cyclestrain"]["notes"],
}))
"""


def python_of(peer):
    spec = importlib.util.spec_from_file_location("environments", ENVIRONMENTS)
    environments = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(environments)
    try:
        return environments.PEERS[peer]()
    except subprocess.CalledProcessError:
        pytest.skip(f"the environment of {peer} cannot be made here: no package index")


def run(peer, program, *arguments):
    done = subprocess.run(
        [python_of(peer), "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_hyperspy_shows_the_same_maps(tmp_path, suffix):
    result, path = made_up_result(), tmp_path / f"strain.{suffix}"
    export_maps(result, path)
    seen = run("hyperspy", IN_HYPERSPY, path)
    assert seen["kind"] == "Signal2D"
    channels = seen["channels"].split(", ")
    assert seen["navigation"] == [["map", len(channels)]]
    assert seen["signal"] == [["x", SHAPE[1], 0.5, "nm"], ["y", SHAPE[0], 0.5, "nm"]]
    for name in ("exx", "eyy", "exy", "rotation", "exx_sigma", "valid"):
        ours = np.where(result["valid"], result[name].astype(float), np.nan if name != "valid" else 0)
        np.testing.assert_array_equal(np.array(seen["data"][channels.index(name)], float), ours)
    assert "positive from +x (column)" in seen["notes"]


def test_py4dstem_shows_what_it_would_have_measured(tmp_path):
    """Lattice vectors moved by a known F: py4DSTEM's own strain of them is what we export for F."""
    rng = np.random.default_rng(2)
    size = 1e-3  # small: py4DSTEM's strain is infinitesimal, the difference of second order
    stretch, theta = rng.normal(0, size, (*SHAPE, 2, 2)), rng.normal(0, size, SHAPE)
    stretch = 0.5 * (stretch + stretch.swapaxes(-1, -2))
    gradient = (np.eye(2) + stretch) @ rotation(theta)
    maps = {"exx": stretch[..., 1, 1], "eyy": stretch[..., 0, 0], "exy": stretch[..., 0, 1], "rotation": theta}
    result = xr.Dataset(
        {name: (("ry", "rx"), values) for name, values in maps.items()},
        attrs={"real_step": 2.5, "real_step_unit": "nm"},
    )
    export_maps(result, tmp_path / "strain.emd")
    np.save(tmp_path / "affine.npy", np.linalg.inv(gradient).swapaxes(-1, -2))
    seen = run("py4dstem", IN_PY4DSTEM, tmp_path / "strain.emd", tmp_path / "affine.npy")
    assert seen["kind"] == "RealSlice"
    assert seen["labels"] == ["e_xx", "e_yy", "e_xy", "theta", "mask"]
    assert seen["step"] == [2.5, "nm"]
    for name, ours in {"e_xx": "eyy", "e_yy": "exx", "e_xy": "exy", "theta": "rotation"}.items():
        np.testing.assert_array_equal(seen["ours"][name], maps[ours])
        np.testing.assert_allclose(seen["theirs"][name], maps[ours], atol=30 * size**2)
        np.testing.assert_allclose(seen["turned"][name], maps[ours], atol=1e-15)  # an axis along x turns nothing
        assert np.abs(maps[ours]).max() > 30 * 30 * size**2  # the comparison tells signs and axes apart
    assert np.all(np.array(seen["ours"]["mask"]) == 1)
    assert "e_xx is our eyy" in seen["notes"]
