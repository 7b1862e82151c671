"""The sentences of a report: what was measured, how far to trust it, and how it was done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from cyclestrain.data import BoolArray, Doubt
from cyclestrain.display.ranges import format_number

__all__ = [
    "CITATIONS",
    "DoubtRow",
    "choices",
    "doubts",
    "methods",
    "phases",
    "settings_given",
    "summary",
    "uncertainty_holds",
]

STRAINS = ("exx", "eyy", "exy")
CITATIONS = (
    "S. Qin, N. Tran, J. Agar, Extremely Noisy 4D-TEM Strain Mapping Using Cycle Consistent Spatial Transforming "
    "Autoencoders, Machine Learning and the Physical Sciences Workshop, NeurIPS 2023.",
    "The cyclestrain developers, cyclestrain {version}.",
)
"""What to cite: the method, and the software in the version that made the result."""


@dataclass(frozen=True)
class DoubtRow:
    """One reason for doubt: its name and meaning, and how many positions have it, of all and of the valid ones."""

    name: str
    meaning: str
    positions: int
    valid: int


def _valid(maps: xr.Dataset) -> BoolArray:
    return np.asarray(maps["valid"].values, bool)


def _percent(mask: BoolArray) -> str:
    return f"{100 * float(mask.mean()):.1f} %"


def _typical(maps: xr.Dataset, names: list[str], good: BoolArray) -> str:
    """Median of some uncertainties over the valid positions, as a percentage of strain."""
    values = np.concatenate([maps[name].values[good] for name in names if name in maps])
    values = values[np.isfinite(values)]
    return f"{100 * float(np.median(values)):.2g} %" if values.size else "unknown"


def summary(maps: xr.Dataset) -> list[str]:
    """What was measured, and how precisely, a few sentences.

    Parameters
    ----------
    maps
        A result.
    """
    valid, sample = _valid(maps), np.asarray(maps["sample"].values, bool)
    ny, nx = valid.shape
    said = [
        f"{ny} x {nx} probe positions, of which {_percent(sample)} hold a crystal and {_percent(valid)} have a valid "
        "result."
    ]
    if not valid.any():
        return [*said, "No position has a valid result: the doubts below say why."]
    low, high = (
        float(q) for q in np.quantile(np.concatenate([maps[n].values[valid] for n in STRAINS]), [0.005, 0.995])
    )
    sigmas = [f"{name}_sigma" for name in STRAINS]
    said.append(
        f"Strain runs from {100 * low:.2f} to {100 * high:.2f} % (99 % of the values), relative to "
        f"{maps.attrs.get('reference', 'its reference')}."
    )
    alone = _typical(maps, [f"{name}_raw_sigma" for name in STRAINS], valid)
    said.append(
        f"The typical (median) uncertainty of a strain is {_typical(maps, sigmas, valid)}; of one pattern alone it is "
        f"{alone}."
    )
    if float(maps.attrs.get("ellipse_sigma", 0.0)) > 0:
        said.append(
            "It holds what is not known of an elliptic distortion of the detector (see the choices), which all "
            "patterns share: neighbours and more counts do not lessen that part, a calibrated --ellipse does."
        )
    said += phases(maps)
    doubted = valid & (np.asarray(maps["doubt"].values) != 0)
    said.append(
        f"{_percent(doubted)} of the positions are valid and have a doubt as well, see below."
        if doubted.any()
        else "No valid position has a doubt."
    )
    return said


def phases(maps: xr.Dataset) -> list[str]:
    """What every class is, where strain is relative to known lattices, with its mean lattice constant; else nothing.

    Parameters
    ----------
    maps
        A result.
    """
    if not maps.attrs.get("phases"):
        return []
    names = str(maps.attrs["phases"]).split("; ")
    sizes, sigmas = (np.atleast_1d(maps.attrs[f"lattice_parameter{kind}"]) for kind in ("", "_sigma"))
    return [
        f"Class {k} is {name}"
        + (
            f", with a mean lattice constant of {format_number(size, sigma)} \N{PLUS-MINUS SIGN} "
            f"{format_number(sigma, sigma)} angstrom in the plane of the pattern."
            if np.isfinite(size)
            else "."
        )
        for k, (name, size, sigma) in enumerate(zip(names, sizes, sigmas, strict=True))
    ]


def doubts(maps: xr.Dataset) -> list[DoubtRow]:
    """Every reason for doubt that some position has, the most frequent first.

    Parameters
    ----------
    maps
        A result.
    """
    found, valid = np.asarray(maps["doubt"].values).astype(int), _valid(maps)
    rows = []
    for flag in Doubt:
        here = (found & int(flag)) != 0
        if here.any():
            rows.append(DoubtRow(str(flag.name).lower(), flag.meaning, int(here.sum()), int((here & valid).sum())))
    return sorted(rows, key=lambda row: -row.positions)


def uncertainty_holds(maps: xr.Dataset) -> str:
    """What an uncertainty of this result holds, and what it does not.

    Parameters
    ----------
    maps
        A result.
    """
    known = maps.attrs.get("reference_kind") == "known"
    shared = " and, for strain of a known lattice, of the size of a pixel" if known else ""
    not_held = "" if known else "a wrong camera length, or "
    return (
        "An uncertainty is one standard deviation of the random error from counting statistics, with what is not known "
        f"of an elliptic distortion of the detector{shared}. It does not hold {not_held}contrast inside the disks of a "
        "thick crystal that all its neighbours have alike."
    )


def choices(maps: xr.Dataset) -> list[tuple[str, str]]:
    """Every automatic choice as pairs of subject and what was chosen.

    Parameters
    ----------
    maps
        A result.
    """
    lines = str(maps.attrs.get("choices", "")).splitlines()
    symmetry = ", ".join(f"{int(fold)}-fold" for fold in np.atleast_1d(maps.attrs.get("symmetry", [])))
    pairs = [(subject, rest.strip()) for subject, _, rest in (line.partition(":") for line in lines) if rest]
    return [*pairs, ("symmetry of the entries", symmetry)] if symmetry else pairs


def settings_given(maps: xr.Dataset) -> list[tuple[str, str]]:
    """Settings and reading options of the run that have a value, as pairs of name and value.

    Parameters
    ----------
    maps
        A result.
    """
    stored: dict[str, Any] = {}
    for group in ("settings", "reading"):
        stored |= json.loads(maps.attrs.get(group) or "{}")
    return [(name, str(value)) for name, value in stored.items() if value is not None]


def methods(maps: xr.Dataset, reflections: list[int]) -> str:
    """A paragraph for the methods section of a paper.

    Parameters
    ----------
    maps
        A result.
    reflections
        Number of reflections of each entry of the dictionary.
    """
    version, valid = maps.attrs.get("cyclestrain_version", ""), _valid(maps)
    entries = f"{len(reflections)} averaged diffraction pattern" + ("s" if len(reflections) != 1 else "")
    most, least = max(reflections, default=0), min(reflections, default=0)
    number = f"{most}" if most == least else f"{least} to {most}"
    learned = "taken from a model" if maps.attrs.get("model") else "learned from the scan itself"
    context = (
        " Estimates of neighbouring positions of the same crystal were combined as far as they agree within their "
        "uncertainties."
        if maps.attrs.get("stage", "context") == "context"
        else ""
    )
    return (
        f"Strain was mapped with cyclestrain {version} [1, 2]. A dictionary of {entries} was {learned}. For each of "
        f"the {valid.shape[0]} x {valid.shape[1]} patterns, its class and the affine transform to the dictionary were "
        f"found by maximising the Poisson likelihood of the recorded counts around {number} reflections, with the "
        f"background and the intensity of each reflection fitted along.{context} The strain is V - I of the left polar "
        f"decomposition F = V R of the deformation gradient relative to {maps.attrs.get('reference', 'the reference')}"
        f", in the axes of the {maps.attrs.get('axes', 'detector')}; tension is positive. Uncertainties are one "
        f"standard deviation, with a median of {_typical(maps, [f'{n}_sigma' for n in STRAINS], valid)} of strain. "
        f"{_percent(~valid)} of the positions have no valid result and are left blank."
    )
