"""Which patterns a report shows: the best, the median and the worst fit, and the faintest crystal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from cyclestrain.data import BoolArray, Doubt, FloatArray, Scan
from cyclestrain.display.ranges import format_number
from cyclestrain.figures import Example
from cyclestrain.result import expected, pixel_noise, predicted, recorded_pattern

__all__ = ["chosen_positions", "examples"]


def chosen_positions(maps: xr.Dataset) -> list[tuple[str, int, int]]:
    """Title, row and column of the positions that stand for the others.

    Parameters
    ----------
    maps
        A result.
    """
    fit = maps["log_likelihood"].transpose("ry", "rx").values.astype(float)
    gain = maps["gain"].transpose("ry", "rx").values.astype(float)
    fitted = np.isfinite(maps["affine"].transpose("ry", "rx", "row", "column").values).all((-1, -2))
    valid = maps["valid"].transpose("ry", "rx").values.astype(bool) & fitted & np.isfinite(fit)
    found: list[tuple[str, int, int]] = []
    if valid.any():
        found += _at("best fit", fit, valid, 1.0)
        found += _at("median fit", fit, valid, 0.5)
        found += _at("worst valid fit", fit, valid, 0.0)
        found += _at("faintest valid", gain, valid, 0.0)
    doubted = fitted & ~valid & np.isfinite(fit)
    if doubted.any():
        found += _at("worst fit, not valid", fit, doubted, 0.0)
    return found


def _at(title: str, values: FloatArray, among: BoolArray, quantile: float) -> list[tuple[str, int, int]]:
    """The position whose value has a given rank."""
    rows, columns = np.nonzero(among)
    order = np.argsort(values[among], kind="stable")
    chosen = order[round(quantile * (len(order) - 1))]
    return [(title, int(rows[chosen]), int(columns[chosen]))]


def examples(maps: xr.Dataset, scan: Scan) -> Iterator[Example]:
    """The chosen patterns with their fits; a position that stands for two is shown once.

    Parameters
    ----------
    maps
        A result.
    scan
        The scan it was made from.
    """
    titles: dict[tuple[int, int], list[str]] = {}
    for title, ry, rx in chosen_positions(maps):
        titles.setdefault((ry, rx), []).append(title)
    for (ry, rx), names in titles.items():
        recorded = recorded_pattern(maps, scan, ry, rx).values.astype(float)
        fitted, disks = expected(maps, scan, ry, rx).values, predicted(maps, ry, rx)
        yield Example(
            title=",\n".join(names),
            note=_note(maps.isel(ry=ry, rx=rx), ry, rx),
            recorded=recorded,
            fitted=fitted,
            noise=pixel_noise(maps, fitted),
            disks=np.stack([disks["y"].values, disks["x"].values], -1),
            radius=float(disks.attrs["disk_radius"]),
        )


def _note(here: xr.Dataset, ry: int, rx: int) -> str:
    """A few lines about one position."""
    lines = [f"row {ry}, column {rx}", f"class {int(here['class'])}"]
    for name in ("exx", "eyy", "exy"):
        value, sigma = 100 * float(here[name]), 100 * float(here[f"{name}_sigma"])
        if np.isfinite(value):
            number, error = format_number(value, sigma), format_number(sigma, sigma)
            lines.append(f"{name} = ({number} \N{PLUS-MINUS SIGN} {error}) %")
    lines.append(f"misfit {-2 * float(here['log_likelihood']):.3f}")
    lines += [flag.label for flag in Doubt if int(here["doubt"]) & flag]
    return "\n".join(lines)
