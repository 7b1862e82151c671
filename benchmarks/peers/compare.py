"""Peers on a simulated file: told what they need, run in their own environment, brought into our form of result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from environments import PEERS  # noqa: E402
from lattice_fit import Told  # noqa: E402

from cyclestrain.affine import rotation  # noqa: E402
from cyclestrain.data import AffineField  # noqa: E402
from cyclestrain.simulation.lattice import make_lattice  # noqa: E402
from cyclestrain.strain import relative_strain  # noqa: E402
from cyclestrain.strain.reference import measure_reference  # noqa: E402

MODES = {
    "py4dstem": {"poly": [], "multicorr": ["--subpixel", "multicorr"]},
    "quantem": {"parabolic": [], "upsample": ["--subpixel", "upsample"]},
}
"""Ways of sub-pixel refinement of each peer, the fast one first."""


@dataclass(frozen=True)
class PeerRun:
    """What a peer made of a scan.

    Attributes
    ----------
    maps
        ``exx, eyy, exy, rotation`` relative to the reference, and ``valid``, dims ``(ry, rx)``.
    patterns_per_second
        Detection and lattice fit, reading and start-up left out.
    """

    maps: xr.Dataset
    patterns_per_second: float


def tell(truth: xr.Dataset, path: Path) -> Path:
    """Write what the peers are told: lattice, rotation of every pattern, beam centre, disk radius."""
    lattice = make_lattice(str(truth.attrs["lattice"]), float(truth.attrs["spacing"]))
    centre = np.stack([truth["centre_y"].values, truth["centre_x"].values], -1)
    Told(lattice.vectors, truth["rotation"].fillna(0.0).values, centre, float(truth.attrs["radius"])).save(path)
    return path


def run_peer(
    peer: str, mode: str, scan: Path, told: Path, reference: np.ndarray, fold: int = 1, more: Sequence[str] = ()
) -> PeerRun:
    """Run `peer` on a scan file; its deformation gradients are made relative to `reference` as ours are.

    With the `fold` of the lattice's axis the labelling that turns least is taken, as for ours; otherwise the one told.
    `more` are further arguments of its runner.
    """
    output = told.with_name(f"{told.stem}_{peer}_{mode}.npz")
    command = [PEERS[peer](), HERE / f"run_{peer}.py", scan, told, output, *MODES[peer][mode], *more]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=environment)
    with np.load(output) as file:
        gradient, speed = file["F"], float(file["patterns"] / file["seconds"])
    output.unlink()
    return PeerRun(relative_maps(gradient, reference, fold), speed)


def relative_maps(gradient: np.ndarray, reference: np.ndarray, fold: int = 1) -> xr.Dataset:
    """Strain maps from absolute deformation gradients, shape ``(ry, rx, 2, 2)``, relative to a region."""
    operators = rotation(2 * np.pi * np.arange(fold) / fold)
    valid = np.isfinite(gradient).all((-1, -2))
    affine = np.linalg.inv(np.where(valid[..., None, None], gradient, np.eye(2))).swapaxes(-1, -2)
    covariance = np.broadcast_to(1e-6 * np.eye(4), (*valid.shape, 4, 4))  # equal weights
    field = AffineField(affine, covariance, np.zeros(valid.shape, np.int64), valid, (operators,))
    dims = ("ry", "rx")
    names = ("exx", "eyy", "exy", "rotation")
    if (reference & valid).any():
        strain = relative_strain(field, measure_reference(field, reference))
        maps = {name: (dims, getattr(strain, name)) for name in names}
    else:
        maps = {name: (dims, np.full(valid.shape, np.nan)) for name in names}
    return xr.Dataset({**maps, "reference": (dims, reference), "valid": (dims, valid)})
