"""Dislocations of a result: cores, walls, and the map of their density."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.microstructure.circuits import circuits
from cyclestrain.microstructure.cores import Core, find_cores
from cyclestrain.microstructure.lattice_field import LatticeField, lattice_field
from cyclestrain.microstructure.tables import write_table
from cyclestrain.microstructure.walls import Wall, find_walls
from cyclestrain.result import save_result

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Defects", "find_defects"]


@dataclass(frozen=True)
class Defects:
    """Dislocations of a scan; ``pandas.DataFrame(found.cores)`` is a table of them.

    Attributes
    ----------
    cores, walls
        Dislocations, the surest first, and the small-angle boundaries that equal ones in a row form.
    density
        `alpha_13` and `alpha_23`, components of the dislocation density with Burgers vectors along x and y of the scan,
        their `_sigma`, at the middles of every four positions: the Burgers vector per area, in 1/nm (per position where
        the step is unknown). Attributes say what the cores are in.
    notes
        What the maps do not tell.
    """

    cores: tuple[Core, ...]
    walls: tuple[Wall, ...]
    density: xr.Dataset
    notes: tuple[str, ...]

    @property
    def dataset(self) -> xr.Dataset:
        """Density, cores (dimension ``core``) and walls (``wall``) as one data set."""
        out = self.density
        for kind, dim, rows in ((Core, "core", self.cores), (Wall, "wall", self.walls)):
            names = [one.name for one in fields(kind) if one.name != "cores"]
            out = out.assign({f"{dim}_{name}": ((dim,), np.array([getattr(r, name) for r in rows])) for name in names})
        return out

    def save(self, path: str | os.PathLike[str], force: bool = False) -> tuple[Path, ...]:
        """Write the cores as CSV, with any walls beside them (``NAME_walls.csv``), or all of it as ``.nc``.

        Parameters
        ----------
        path
            File to write.
        force
            Whether an existing file is replaced.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() == ".nc":
            save_result(self.dataset, target, force)
            return (target,)
        write_table(self.cores, Core, target, force)
        if not self.walls:
            return (target,)
        beside = target.with_name(f"{target.stem}_walls{target.suffix or '.csv'}")
        write_table(self.walls, Wall, beside, force)
        return target, beside

    def __str__(self) -> str:
        unit = self.density.attrs["burgers_unit"]
        lines = [f"{len(self.cores)} dislocations, {len(self.walls)} walls"]
        for n, one in enumerate(self.cores[:12], 1):
            size = np.hypot(one.by, one.bx)
            lines.append(
                f"  {n}: at ({one.ry:.1f}, {one.rx:.1f}), b = ({one.by:+.3f}, {one.bx:+.3f}) {unit}, "
                f"|b| = {size:.3f} +- {one.sigma:.3f}, {100 * one.confidence:.1f} %"
            )
        for wall in self.walls:
            lines.append(
                f"  wall of {len(wall.cores)}: spacing {wall.spacing:.3g} {unit}, by Frank {wall.frank_deg:.2f} deg, "
                f"measured {abs(wall.measured_deg):.2f} +- {wall.measured_sigma_deg:.2f} deg"
            )
        return "\n".join([*lines, *self.notes])


def find_defects(maps: xr.Dataset) -> Defects:
    """Find the dislocations of a result.

    Parameters
    ----------
    maps
        A whole result.

    Raises
    ------
    InputError
        If it does not hold its transforms.
    """
    field = lattice_field(maps)
    has_step = str(maps.attrs.get("real_step_unit")) == "nm"
    unit = float(maps.attrs["real_step"]) if has_step else 1.0
    cores = find_cores(field, unit)
    return Defects(cores, find_walls(cores, field, unit), _density(field, maps, unit, has_step), _notes(maps, field))


def _notes(maps: xr.Dataset, field: LatticeField) -> tuple[str, ...]:
    out = []
    if not field.is_scaled:
        out.append(
            "Burgers vectors are as measured, in positions: to name lattice vectors, step and pixel size have to be "
            "known (map with --step and --pixel)"
        )
    if not maps.attrs.get("scan_rotation_known", 1):
        out.append("the rotation of the scan is not known: it was taken for none (map with --scan-rotation)")
    elif float(maps.attrs.get("scan_rotation_deg", 0.0)) == 0.0:
        out.append("scan and detector are taken to have the same axes; if they do not, map with --scan-rotation")
    return tuple(out)


def _density(field: LatticeField, maps: xr.Dataset, unit: float, has_step: bool) -> xr.Dataset:
    """Dislocation density at the middle of every four positions."""
    import xarray as xr

    found = circuits(field, 1)
    rows, columns = (n - 1 for n in field.area.shape)
    value, spread = np.full(found.planes.shape, np.nan), np.full(found.covariance.shape, np.nan)
    for area in np.unique(field.area[field.area >= 0]):
        mine = field.area[:-1, :-1] == area
        real = -np.linalg.inv(field.mean(area)) / unit  # a Burgers vector per area of one position
        value[mine], spread[mine] = found.planes[mine] @ real.T, real @ found.covariance[mine] @ real.T
    units = "1/nm" if has_step else "1/position"
    variables: dict[str, Any] = {}
    for name, k, axis in (("alpha_13", 1, "x"), ("alpha_23", 0, "y")):
        text = f"dislocation density, Burgers vectors along {axis} of the scan"
        variables[name] = (("my", "mx"), value[..., k], {"units": units, "long_name": text})
        sigma = _sigma(spread[..., k, k], value[..., k])
        variables[f"{name}_sigma"] = (("my", "mx"), sigma, {"units": units, "long_name": f"sigma of {name}"})
    words: dict[str, Any] = {"units": "positions", "long_name": "middle of four positions"}
    coords = {
        "my": ("my", np.arange(rows) + 0.5, words),
        "mx": ("mx", np.arange(columns) + 0.5, words),
    }
    attrs = {"burgers_unit": "nm" if has_step else "positions", "real_step": unit, "name": maps.attrs.get("name", "")}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _sigma(variance: FloatArray, value: FloatArray) -> FloatArray:
    return np.where(np.isfinite(value), np.sqrt(variance), np.nan)
