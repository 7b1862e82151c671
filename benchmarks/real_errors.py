"""Errors of a map against the truth of a `Specimen`, and what the semi-real benchmark reports of them."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from specimens import COMPONENTS, Crystal, Specimen, parts, turn

SURELY_WRONG = 6.0
"""Stated sigmas beyond which a valid value is wrong."""
EVEN = 0.1
"""Where the two largest shares differ by less, which crystal is the dominant one, and so the rotation, has no truth."""


@dataclass(frozen=True)
class Row:
    """One method in one part of one scan; strain as a fraction, rotation in radians, NaN where a measure has no value.

    Attributes
    ----------
    set, counts, side, seed, method, region
        Which.
    valid
        Share of the positions that are valid, mean over the draws.
    mae_*
        Mean absolute error of the valid positions, the draws pooled.
    z_*
        Standard deviation of ``(e1 - e2) / sqrt(s1^2 + s2^2)`` over positions valid in both draws, where `e` are the
        errors and `s` the stated sigmas: what the truth lacks is the same in both and drops out.
    pull_*
        Standard deviation of ``e / s`` of both draws together: as `z_*`, but with all errors in it.
    common_*
        Root of the mean of ``e1 e2``, zero where that is negative: the error that both draws share.
    wrong
        Share of the valid positions with an error of any component above 6 sigma, the draws pooled.
    right_class
        Share of the valid positions in the right structure, structures named by the best assignment.
    found
        Number of dictionary entries in each draw, and how many structures there are.
    seconds
        Of one run, everything included.
    failure
        What a run said that gave no result.
    """

    set: str
    counts: float
    side: int
    seed: int
    method: str
    region: str
    valid: float = np.nan
    mae_exx: float = np.nan
    mae_eyy: float = np.nan
    mae_exy: float = np.nan
    mae_rotation: float = np.nan
    z_exx: float = np.nan
    z_eyy: float = np.nan
    z_exy: float = np.nan
    z_rotation: float = np.nan
    pull_exx: float = np.nan
    pull_eyy: float = np.nan
    pull_exy: float = np.nan
    pull_rotation: float = np.nan
    common_exx: float = np.nan
    common_eyy: float = np.nan
    common_exy: float = np.nan
    common_rotation: float = np.nan
    wrong: float = np.nan
    right_class: float = np.nan
    found: str = ""
    seconds: float = np.nan
    failure: str = ""

    @property
    def condition(self) -> tuple[str, float, int]:
        """Set, dose and seed: what one measurement replaces."""
        return self.set, self.counts, self.seed


@dataclass(frozen=True)
class Found:
    """Errors of one method on one draw.

    Attributes
    ----------
    error, sigma
        By component, NaN where not valid or without truth, shape ``(ry, rx)``.
    valid
        Where there is a value that is meant to be used.
    label
        Class found.
    entries
        Number of dictionary entries.
    """

    error: dict[str, np.ndarray]
    sigma: dict[str, np.ndarray]
    valid: np.ndarray
    label: np.ndarray
    entries: int


def errors(specimen: Specimen, maps: xr.Dataset, suffix: str, *, blend: bool) -> Found:
    """Errors of an estimate; with `blend` against the mean strain of all crystals, else that of the dominant one."""
    values = {name: maps[name + suffix].values for name in COMPONENTS}
    valid = maps["valid"].values.astype(bool) & np.isfinite(values["exx"])
    label = np.where(valid, maps["class"].values, -1).astype(int)
    order = np.atleast_1d(maps.attrs.get("symmetry", [1] * len(specimen.patterns)))
    truth = relative_truth(specimen, values["rotation"], np.where(valid, order[label], 1), blend=blend)
    if specimen.dilates:
        lost = (values["exx"] + values["eyy"] - truth["exx"] - truth["eyy"]) / 2
        truth |= {name: truth[name] + lost for name in ("exx", "eyy")}
    error = {name: np.where(valid, values[name] - truth[name], np.nan) for name in COMPONENTS}
    error["rotation"] = wrapped(error["rotation"])
    unknown = np.full(valid.shape, np.nan)
    sigma = {name: np.where(valid, maps.get(f"{name}{suffix}_sigma", unknown), np.nan) for name in COMPONENTS}
    return Found(error, sigma, valid, label, len(order))


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Angle between minus pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def relative_truth(
    specimen: Specimen, rotation: np.ndarray, order: np.ndarray, *, blend: bool
) -> dict[str, np.ndarray]:
    """Truth relative to the reference region, modulo the `order`-fold symmetry: the variant nearest to `rotation`."""
    shares, dominant = specimen.shares, specimen.shares.argmax(0)
    each = [variant(specimen, crystal, rotation, order) for crystal in specimen.crystals]
    weight = shares / shares.sum(0) if blend else dominant == np.arange(len(each))[:, None, None]
    truth = {name: (weight * np.stack([one[name] for one in each])).sum(0) for name in COMPONENTS[:3]}
    turned = np.take_along_axis(np.stack([one["rotation"] for one in each]), dominant[None], 0)[0]
    ranked = np.sort(np.concatenate([shares, np.zeros((1, *dominant.shape))]), 0)
    return truth | {"rotation": np.where(ranked[-1] - ranked[-2] < EVEN, np.nan, turned)}


def variant(specimen: Specimen, crystal: Crystal, rotation: np.ndarray, order: np.ndarray) -> dict[str, np.ndarray]:
    """One crystal relative to the reference of its structure, turned by symmetry to be nearest to `rotation`."""
    region = specimen.reference & (specimen.structure == crystal.structure)
    reference = np.linalg.inv(specimen.gradient[region].mean(0))
    candidates = []
    for step in range(int(order.max())):
        same = crystal.gradient @ turn(2 * np.pi * np.minimum(step, order - 1) / order) @ reference
        candidates.append(np.stack(list(parts(same).values())))
    stacked = np.stack(candidates)
    nearest = np.abs(wrapped(stacked[:, COMPONENTS.index("rotation")] - rotation))
    best = np.where(np.isfinite(nearest), nearest, np.inf).argmin(0)
    return dict(zip(COMPONENTS, np.take_along_axis(stacked, best[None, None], 0)[0], strict=True))


def measures(specimen: Specimen, found: list[Found], mask: np.ndarray) -> dict[str, float | str]:
    """Fields of a row that are measured."""
    made: dict[str, float | str] = {"valid": float(np.mean([one.valid[mask] for one in found]))}
    for name in COMPONENTS:
        error = np.stack([one.error[name][mask] for one in found])
        sigma = np.stack([one.sigma[name][mask] for one in found])
        made[f"mae_{name}"] = mean(np.abs(error))
        made[f"pull_{name}"] = spread(error / sigma)
        if len(found) == 2:
            made[f"z_{name}"] = spread((error[0] - error[1]) / np.hypot(*sigma))
            made[f"common_{name}"] = np.sqrt(max(mean(error[0] * error[1]), 0.0))
    ratio = [np.stack([np.abs(one.error[n] / one.sigma[n])[mask & one.valid] for n in COMPONENTS]) for one in found]
    worst = np.concatenate([np.where(np.isfinite(r), r, 0.0).max(0) for r in ratio])
    has_sigma = np.isfinite(found[0].sigma["exx"]).any()
    made["wrong"] = mean((worst > SURELY_WRONG).astype(float)) if has_sigma else np.nan
    made["right_class"] = mean(np.concatenate([right_class(specimen, one)[mask & one.valid] for one in found]))
    entries = ", ".join(str(one.entries) for one in found)
    made["found"] = f"{entries} of {len(specimen.patterns)}"
    return made


def mean(values: np.ndarray) -> float:
    """Mean of the values there are, NaN where there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


def spread(values: np.ndarray) -> float:
    """Standard deviation of the values there are, NaN where there are fewer than two."""
    values = values[np.isfinite(values)]
    return float(values.std()) if values.size > 1 else np.nan


def right_class(specimen: Specimen, found: Found) -> np.ndarray:
    """Whether a position is in the class that best stands for its structure, 1 or 0."""
    structure = specimen.structure
    table = np.zeros((len(specimen.patterns), found.entries))
    np.add.at(table, (structure[found.valid], found.label[found.valid]), 1)
    row, column = linear_sum_assignment(-table)
    named = np.full(len(specimen.patterns), -2)
    named[row] = column
    return (named[structure] == found.label).astype(float)


def read(path: Path) -> list[Row]:
    """Rows of earlier runs, none where there is no file."""
    if not path.exists():
        return []
    types = {f.name: {"str": str, "int": int}.get(str(f.type), float) for f in fields(Row)}
    with path.open(newline="") as file:
        return [Row(**{name: types[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def save(rows: list[Row], path: Path) -> None:
    """Write what `read` reads."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
